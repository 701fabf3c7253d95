package templates

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

const columns = 76

var emptyLines = regexp.MustCompile(`\n{3,}`)

// tidy takes away what conditions in a template leave behind: spaces at line
// ends, and more than one empty line.
func tidy(body string) string {
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t")
	}
	return strings.Trim(emptyLines.ReplaceAllString(strings.Join(lines, "\n"), "\n\n"), "\n") + "\n"
}

// wrap breaks long lines at spaces; the rest of a list item is indented. A word
// that is too long (a link) stays whole, and a no-break space is no space.
func wrap(body string) string {
	lines := strings.Split(body, "\n")
	for i, line := range lines {
		lines[i] = wrapLine(line)
	}
	return strings.Join(lines, "\n")
}

func wrapLine(line string) string {
	if utf8.RuneCountInString(line) <= columns {
		return line
	}
	content := strings.TrimLeft(line, " ")
	indent := strings.Repeat(" ", len(line)-len(content))
	hanging := indent
	if strings.HasPrefix(content, "- ") {
		hanging += "  "
	}
	var out strings.Builder
	out.WriteString(indent)
	width, first := len(indent), true
	for word := range strings.SplitSeq(content, " ") {
		size := utf8.RuneCountInString(word)
		switch {
		case first:
		case width+1+size > columns:
			out.WriteString("\n" + hanging)
			width = len(hanging)
		default:
			out.WriteByte(' ')
			width++
		}
		out.WriteString(word)
		width, first = width+size, false
	}
	return out.String()
}
