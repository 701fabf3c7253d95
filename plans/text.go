package plans

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// badBytes finds what is no UTF-8 text: the line, and what would be right.
func badBytes(data string) (line int, why string) {
	switch {
	case strings.HasPrefix(data, "\xff\xfe"), strings.HasPrefix(data, "\xfe\xff"),
		len(data) > 3 && data[0] != 0 && data[1] == 0 && data[3] == 0,
		len(data) > 3 && data[0] == 0 && data[1] != 0 && data[2] == 0:
		return 1, "is UTF-16; save it as UTF-8"
	}
	if i := strings.IndexByte(data, 0); i >= 0 {
		return lineOf(data, i), "holds a NUL byte: it is no text file, or it is damaged"
	}
	if !utf8.ValidString(data) {
		i := 0
		for {
			r, n := utf8.DecodeRuneInString(data[i:])
			if r == utf8.RuneError && n <= 1 {
				return lineOf(data, i), fmt.Sprintf("byte 0x%02x is not UTF-8 (Latin-1 perhaps); save the file as UTF-8", data[i])
			}
			i += n
		}
	}
	if strings.Contains(data, "\r") && !strings.Contains(data, "\n") {
		return 1, "its lines end with CR only, as on old Macs; save it with LF or CRLF"
	}
	return 0, ""
}

func lineOf(data string, i int) int { return 1 + strings.Count(data[:i], "\n") }

// badControl finds what YAML cannot hold, before its library does, which names
// no line.
func badControl(data string) (line int, why string) {
	for i, r := range data {
		if bad, is := control(string(r)); is && !strings.ContainsRune("\t\n\r", r) {
			return lineOf(data, i), fmt.Sprintf("holds the control character %U; take it out", bad)
		}
	}
	return 0, ""
}

var (
	syntaxLine = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)`)
	tabIndent  = regexp.MustCompile(`^ *\t[ \t]*[^ \t#\r]`)
)

// syntax reports what the YAML library could not read. Its words may quote an
// alias, so only those known to be harmless are passed on.
func (d *decoder) syntax(data []byte, err error) {
	lines := strings.Split(string(data), "\n")
	tabs := false
	for i, line := range lines {
		if tabIndent.MatchString(line) {
			tabs = true
			d.add(Pos{d.file, i + 1, 1 + strings.IndexByte(line, '\t')}, "a tab indents this line; YAML wants blanks")
		}
	}
	if tabs {
		return
	}
	m := syntaxLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	line, text := 1, "it cannot be read"
	if m != nil {
		line, _ = strconv.Atoi(m[1])
		line, text = min(max(line, 1), len(lines)), m[2]
	}
	if strings.Contains(text, "unknown anchor") {
		text = "an alias (*) is not allowed in a plan; write the value itself, or in quotes if it begins with *"
		line = max(line, lineWith(lines, "*"))
	}
	if hint, ok := syntaxHints[text]; ok {
		text = hint
	}
	column := 1 + len(lines[line-1]) - len(strings.TrimLeft(lines[line-1], " "))
	d.add(Pos{d.file, line, column}, "not YAML: %s", text)
}

func lineWith(lines []string, text string) int {
	for i, line := range lines {
		if strings.Contains(line, text) {
			return i + 1
		}
	}
	return 1
}

// syntaxHints say in a hoster's words what the library says in its own.
var syntaxHints = map[string]string{ //nolint:gosec // words, no credential
	"mapping values are not allowed in this context":               "a colon too many here, or the line is indented wrongly; put text with a colon in quotes",
	"did not find expected key":                                    "near here a line is indented wrongly, or a quote or bracket is not closed",
	"could not find expected ':'":                                  "near here a key has no colon, or a quote is not closed",
	"did not find expected alphabetic or numeric character":        "near here a value begins with * or &; put it in quotes",
	"did not find expected ',' or '}'":                             "near here a { is not closed, or a comma is missing",
	"did not find expected ',' or ']'":                             "near here a [ is not closed, or a comma is missing",
	"found unexpected end of stream":                               "a quote is not closed",
	"found character that cannot start any token":                  "near here a value begins with a character that must be in quotes",
	"did not find expected node content":                           "near here a value is missing",
	"found a tab character that violates indentation":              "a tab indents a line; YAML wants blanks",
	"did not find expected <document start>":                       "near here a line is indented less than the first",
	"block sequence entries are not allowed in this context":       "near here a list item (-) stands where none can be",
	"did not find expected '-' indicator":                          "near here a list item is indented wrongly",
	"control characters are not allowed":                           "it holds a control character",
	"found unknown escape character":                               `near here a \ in double quotes; use single quotes`,
	"did not find URI escaped octet":                               "tags (!) are not allowed in a plan; put text that begins with ! in quotes",
	"did not find expected tag URI":                                "tags (!) are not allowed in a plan; put text that begins with ! in quotes",
	"found undefined tag handle":                                   "tags (!) are not allowed in a plan; put text that begins with ! in quotes",
	"did not find expected whitespace or line break":               "near here a blank is missing",
	"while scanning a tag":                                         "tags (!) are not allowed in a plan; put text that begins with ! in quotes",
	"found an indentation indicator equal to 0":                    "near here an indentation of 0",
	"found a tab character where an indentation space is expected": "a tab indents a line; YAML wants blanks",
	"did not find expected comment or line break":                  "near here a line goes on after | or >",
	"found unexpected document indicator":                          "a quote is not closed before ---",
	"did not find expected ',' or '}' or ']'":                      "near here a bracket is not closed",
	"block mapping entries are not allowed in this context":        "near here a key stands where none can be",
	"mapping keys are not allowed in this context":                 "near here a ? stands where none can be",
	"did not find expected hexdecimal number":                      `near here a \x, \u or \U in double quotes; use single quotes`,
	"exceeded max depth of 10000":                                  "nested deeper than 20 levels; a plan needs no more than 6",
	"found duplicate %YAML directive":                              "directives (%) are not allowed in a plan",
	"found unknown directive name":                                 "directives (%) are not allowed in a plan",
}
