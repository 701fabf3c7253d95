package mailbox

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Responses that carry data are read here and not by the library, which ends
// the connection at the first value it does not know. This reader believes
// nothing and refuses nothing: what it cannot read it leaves out, and the
// caller finds it missing.

// token is one value of a response: an atom, a string or a list.
type token struct {
	text string
	str  bool // a quoted string or a literal
	list []token
	kind byte // 'a' atom, 's' string, 'l' list
}

func (t token) isNil() bool { return t.kind == 'a' && strings.EqualFold(t.text, "NIL") }

// number is the token's value, 0 where it is none.
func (t token) number() uint64 {
	n, err := strconv.ParseUint(t.text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// response is one response of a server: its lines, with the literals between
// them.
type response struct {
	lines [][]byte // without the line end; each but the last ends in {n}
	lits  [][]byte
	tag   string    // "*", "+" or a tag
	word  string    // upper case: OK, LIST, FETCH…
	num   uint32    // of "* 12 FETCH"
	rest  int       // where in lines[0] the data begin
	taker *exchange // who has the bodies in it
}

// head reads tag, number and word of the first line.
func (r *response) head() {
	line := r.lines[0]
	tag, rest, _ := bytes.Cut(line, []byte(" "))
	if r.tag = "*"; string(tag) != "*" {
		r.tag = string(tag)
	}
	word, _, _ := bytes.Cut(rest, []byte(" "))
	at := len(tag) + 1 + len(word)
	if len(word) > 0 && word[0] >= '0' && word[0] <= '9' && r.tag == "*" {
		if n, err := strconv.ParseUint(string(word), 10, 32); err == nil {
			r.num = uint32(n)
			_, rest, _ = bytes.Cut(rest, []byte(" "))
			word, _, _ = bytes.Cut(rest, []byte(" "))
			at += 1 + len(word)
		}
	}
	if r.word = "FETCH"; string(word) != "FETCH" { // most are that
		r.word = strings.ToUpper(string(word))
	}
	r.rest = min(at, len(line))
}

// goesOn tells whether the line behind a body goes on as a FETCH does, with
// ")" or the next item. Where it does not, the body's length was a lie, and its
// end is somewhere else.
func (r *response) goesOn() bool {
	n := len(r.lines)
	if n == 1 || r.lits[n-2] != nil {
		return true // the literal was none of ours to stream
	}
	line := bytes.TrimRight(r.lines[n-1], " ")
	if len(line) == 0 || line[0] != ')' && line[0] != ' ' {
		return false
	}
	if _, more := literalAt(line); more {
		return true
	}
	return line[len(line)-1] == ')'
}

// reply reads a status response. The bracket part of Exchange holds quotes and
// brackets of its own ([Error="…"]), so it is cut, not parsed.
func (r *response) reply() reply {
	out := reply{Kind: r.word}
	text := strings.TrimSpace(string(r.lines[0][r.rest:]))
	if strings.HasPrefix(text, "[") {
		if end := strings.IndexByte(text, ']'); end > 0 {
			code, args, _ := strings.Cut(text[1:end], " ")
			out.Code, out.Args = strings.ToUpper(code), args
			text = strings.TrimSpace(text[end+1:])
		}
	}
	out.Text = text
	return out
}

// tokens reads the data behind the word.
func (r *response) tokens() []token {
	s := scanner{r: r, pos: r.rest}
	return s.values(false, 0)
}

const maxDepth = 50

type scanner struct {
	r    *response
	line int
	pos  int
}

func (s *scanner) values(inList bool, depth int) (out []token) {
	if line := s.r.lines[s.line]; inList && s.pos < len(line) && line[s.pos] != ')' {
		most := 8 // what a FETCH tells of a message
		if depth > 1 {
			most = 2 // flags
		}
		out = make([]token, 0, most)
	}
	for {
		line := s.r.lines[s.line]
		if s.pos >= len(line) {
			return out
		}
		switch c := line[s.pos]; {
		case c == ' ' || c == '\t':
			s.pos++
		case c == ')':
			s.pos++
			if inList {
				return out
			}
		case c == '(':
			s.pos++
			if depth >= maxDepth {
				return out
			}
			out = append(out, token{kind: 'l', list: s.values(true, depth+1)})
		case c == '"':
			out = append(out, s.quoted(line))
		case (c == '{' || c == '~') && s.atLiteral(line):
			out = append(out, token{kind: 's', str: true, text: string(s.r.lits[s.line])})
			s.line++
			s.pos = 0
		default:
			out = append(out, s.atom(line))
		}
	}
}

func (s *scanner) atLiteral(line []byte) bool {
	if s.line >= len(s.r.lits) || s.line+1 >= len(s.r.lines) {
		return false
	}
	_, ok := literalAt(line[s.pos:])
	return ok && bytes.IndexByte(line[s.pos:], '}') == len(line)-s.pos-1
}

func (s *scanner) quoted(line []byte) token {
	s.pos++
	if end := bytes.IndexAny(line[s.pos:], `"\`); end >= 0 && line[s.pos+end] == '"' { // nearly always
		text := string(line[s.pos : s.pos+end])
		s.pos += end + 1
		return token{kind: 's', str: true, text: text}
	}
	var b []byte
	for ; s.pos < len(line); s.pos++ {
		c := line[s.pos]
		if c == '\\' && s.pos+1 < len(line) {
			s.pos++
			b = append(b, line[s.pos])
			continue
		}
		if c == '"' {
			s.pos++
			break
		}
		b = append(b, c)
	}
	return token{kind: 's', str: true, text: string(b)}
}

// atom reads up to a space or a parenthesis; what stands in the brackets of
// BODY[HEADER.FIELDS (DATE)] belongs to it. In a folder's name a bracket is
// just that.
func (s *scanner) atom(line []byte) token {
	from, bracket := s.pos, 0
	for ; s.pos < len(line); s.pos++ {
		c := line[s.pos]
		switch {
		case c == '[' && (bracket > 0 || hasBrackets(line[from:s.pos])):
			bracket++
		case c == ']' && bracket > 0:
			bracket--
		case bracket > 0:
		case c == ' ' || c == '(' || c == ')':
			return token{kind: 'a', text: atomText(line[from:s.pos])}
		}
	}
	return token{kind: 'a', text: atomText(line[from:s.pos])}
}

// atomText makes no string of its own for what nearly every line holds.
func atomText(b []byte) string {
	switch string(b) {
	case "UID":
		return "UID"
	case "FLAGS":
		return "FLAGS"
	case "INTERNALDATE":
		return "INTERNALDATE"
	case "RFC822.SIZE":
		return "RFC822.SIZE"
	case "MODSEQ":
		return "MODSEQ"
	case `\Seen`:
		return `\Seen`
	}
	return string(b)
}

func hasBrackets(item []byte) bool {
	return bytes.EqualFold(item, []byte("BODY")) || bytes.EqualFold(item, []byte("BINARY")) || bytes.EqualFold(item, []byte("BODY.PEEK"))
}

// literalAt parses a trailing {n}, {n+} or ~{n}.
func literalAt(line []byte) (n int64, ok bool) {
	if len(line) < 3 || line[len(line)-1] != '}' {
		return 0, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return 0, false
	}
	num := strings.TrimSuffix(string(line[i+1:len(line)-1]), "+")
	n, err := strconv.ParseInt(num, 10, 64)
	return n, err == nil && n >= 0
}

// dateLayouts are how servers write INTERNALDATE; the first is the standard.
var dateLayouts = []string{"_2-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 -0700", "02-Jan-2006 15:04:05 MST"}

// parseDate reads an INTERNALDATE; zero where it is none.
func parseDate(s string) time.Time {
	s = strings.TrimSpace(s)
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
