package imaptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// session is one connection.
type session struct {
	s      *Server
	conn   net.Conn
	br     *bufio.Reader
	number int

	account  *Account
	folder   *folder
	writable bool
	told     int // EXISTS as told last
}

func newSession(s *Server, c net.Conn, number int) *session {
	return &session{s: s, conn: c, br: bufio.NewReader(c), number: number}
}

// value is one argument of a command.
type value struct {
	text string
	list []value // of a list in parentheses
	lit  bool
}

// command is what one command brought along: its line without literals, and
// the literals.
type command struct {
	tag, line string
	lits      [][]byte
}

const maxBody = 64 << 20

// run serves a connection until it ends.
func (v *session) run() {
	if !v.do(command{line: "GREETING"}) {
		return
	}
	for {
		c, err := v.read()
		if err != nil || !v.do(c) {
			return
		}
	}
}

// errRefusedEarly ends the reading of a command that was answered before its
// literal came.
var errRefusedEarly = errors.New("answered before the literal")

// read reads one command with its literals. A fault may answer it before a
// literal is read, or hang up in the middle of one.
func (v *session) read() (c command, err error) {
	refused := false // the bytes come anyway, and are thrown away
	for {
		line, err := v.br.ReadString('\n')
		if err != nil {
			return c, err
		}
		line = strings.TrimRight(line, "\r\n")
		if c.tag == "" {
			c.tag, line, _ = strings.Cut(line, " ")
		}
		n, plus, ok := literalAt(line)
		if !ok && refused { // what is left of a command that was answered
			c, refused = command{}, false
			continue
		}
		if !ok {
			c.line += line
			return c, nil
		}
		c.line += line[:strings.LastIndexByte(line, '{')] + fmt.Sprintf("{%d}", len(c.lits))
		if plus && strings.Contains(line, "~{") {
			v.s.complain("a literal8 came that nobody had asked for")
		}
		if n > maxBody {
			return c, fmt.Errorf("a literal of %d bytes", n)
		}
		if !refused {
			switch v.early(c) {
			case hangUp:
				return c, errRefusedEarly
			case drop:
				if !plus {
					_, _ = io.WriteString(v.conn, "+ go on\r\n") // the other side may be gone
				}
				_, _ = io.CopyN(io.Discard, v.br, n/2)
				return c, errRefusedEarly
			case refuse:
				refused = true
			}
		}
		if refused && !plus {
			c, refused = command{}, false
			continue
		}
		if !plus {
			if _, err := io.WriteString(v.conn, "+ go on\r\n"); err != nil {
				return c, err
			}
		}
		lit := make([]byte, n)
		if _, err := io.ReadFull(v.br, lit); err != nil {
			return c, err
		}
		c.lits = append(c.lits, lit)
	}
}

// literalAt parses a trailing {n} or {n+}.
func literalAt(line string) (n int64, plus, ok bool) {
	i := strings.LastIndexByte(line, '{')
	if i < 0 || !strings.HasSuffix(line, "}") {
		return 0, false, false
	}
	text, plus := strings.CutSuffix(line[i+1:len(line)-1], "+")
	n, err := strconv.ParseInt(text, 10, 64)
	return n, plus, err == nil
}

// args parses what stands behind the command's word.
func (c command) args(line string) []value {
	p := parser{c: c, text: line}
	return p.values()
}

type parser struct {
	c    command
	text string
	pos  int
}

func (p *parser) values() (out []value) {
	for p.pos < len(p.text) {
		switch ch := p.text[p.pos]; ch {
		case ' ', '~':
			p.pos++
		case ')':
			p.pos++
			return out
		case '(':
			p.pos++
			out = append(out, value{list: p.values()})
		case '"':
			out = append(out, value{text: p.quoted()})
		case '{':
			end := strings.IndexByte(p.text[p.pos:], '}')
			n, _ := strconv.Atoi(p.text[p.pos+1 : p.pos+end])
			p.pos += end + 1
			out = append(out, value{text: string(p.c.lits[n]), lit: true})
		default:
			out = append(out, value{text: p.atom()})
		}
	}
	return out
}

func (p *parser) quoted() string {
	var b strings.Builder
	for p.pos++; p.pos < len(p.text) && p.text[p.pos] != '"'; p.pos++ {
		if p.text[p.pos] == '\\' && p.pos+1 < len(p.text) {
			p.pos++
		}
		b.WriteByte(p.text[p.pos])
	}
	p.pos++
	return b.String()
}

// atom reads to the next blank or parenthesis outside brackets.
func (p *parser) atom() string {
	from, depth := p.pos, 0
	for ; p.pos < len(p.text); p.pos++ {
		switch ch := p.text[p.pos]; {
		case ch == '[':
			depth++
		case ch == ']':
			depth--
		case depth == 0 && (ch == ' ' || ch == '(' || ch == ')'):
			return p.text[from:p.pos]
		}
	}
	return p.text[from:p.pos]
}
