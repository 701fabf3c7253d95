package program

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// head keeps the first bytes written to it. It embeds no bytes.Buffer: io.Copy
// would go around the limit through its ReadFrom.
type head struct {
	limit int
	kept  []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), h.limit-len(h.kept))]...)
	return len(p), nil
}

// lastLine keeps the last line that is not blank; of a long line its start.
type lastLine struct {
	limit      int
	line, done []byte
}

func (l *lastLine) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		l.line = append(l.line, part[:min(len(part), l.limit-len(l.line))]...)
		if ended {
			l.end()
		}
		p = rest
	}
	return total, nil
}

func (l *lastLine) end() {
	if len(bytes.TrimSpace(l.line)) > 0 {
		l.done = append(l.done[:0], l.line...)
	}
	l.line = l.line[:0]
}

func (l *lastLine) String() string {
	l.end()
	return strings.TrimSpace(string(l.done))
}

// redact cuts the password out of text, also as JSON, Go and URLs write it.
func redact(text, password string) string {
	if password == "" {
		return text
	}
	quoted := strconv.Quote(password)
	forms := []string{password, quoted[1 : len(quoted)-1], url.QueryEscape(password), url.PathEscape(password)}
	if raw, err := json.Marshal(password); err == nil {
		forms = append(forms, string(raw[1:len(raw)-1]))
	}
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, "[secret]")
	}
	return text
}

// maxWords is how much of a foreign text a message quotes, in runes.
const maxWords = 200

// safe makes a foreign text fit for a terminal and a log: one line, control,
// bidirectional and zero-width characters escaped, cut to maxWords.
func safe(text string) string {
	var out strings.Builder
	for n := 0; len(text) > 0; {
		r, size := utf8.DecodeRuneInString(text)
		form := text[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			form = `\x` + strconv.FormatUint(uint64(text[0])|0x100, 16)[1:]
		case !strconv.IsPrint(r): // IsPrint refuses Unicode's format characters too
			form = strings.Trim(strconv.QuoteRune(r), "'")
		}
		n += utf8.RuneCountInString(form)
		if n > maxWords || n == maxWords && size < len(text) {
			out.WriteString("…")
			break
		}
		out.WriteString(form)
		text = text[size:]
	}
	return out.String()
}
