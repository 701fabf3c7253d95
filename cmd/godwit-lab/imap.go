package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// patience is how long a server may be silent.
const patience = 2 * time.Minute

// conn is an IMAP connection of the lab's own making, so that a fault in the
// library Godwit uses cannot hide itself from the comparison.
type conn struct {
	net   net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	count int
	keep  int64 // longer literals are digested, not kept
	stop  func() bool
}

// value is a piece of a response: an atom or string, or a list.
type value struct {
	text string
	list []value // not nil for a list
	sum  [sha256.Size]byte
	kept [sha256.Size]byte // of what servers are known to make of it, see settled
	size int64
}

// openMailbox signs in as user with the master's rights.
func (l *lab) openMailbox(ctx context.Context, address, user string) (*conn, error) {
	master, ca := l.Master, l.CA
	for _, s := range []server{l.Source, l.Target} {
		if s.Address == address && s.Master != nil {
			master, ca = *s.Master, s.CA
		}
	}
	secret, err := readSecret(master.SecretFile, nil)
	if err != nil {
		return nil, err
	}
	c, err := dial(ctx, address, ca)
	if err != nil {
		return nil, err
	}
	plain := base64.StdEncoding.EncodeToString([]byte(user + "\x00" + master.Login + "\x00" + secret))
	if _, err := c.do(nil, "AUTHENTICATE PLAIN "+plain); err != nil {
		c.close()
		return nil, fmt.Errorf("%s does not let the master in as %s (is there such a user?): %w", address, user, err)
	}
	return c, nil
}

func dial(ctx context.Context, address, caFile string) (*conn, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", caFile)
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	n, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &conn{net: n, in: bufio.NewReaderSize(n, 1<<16), out: bufio.NewWriterSize(n, 1<<16), keep: 1 << 20}
	c.stop = context.AfterFunc(ctx, func() { _ = n.Close() })
	greeting, err := c.line()
	if err == nil && !strings.HasPrefix(greeting, "* OK") {
		err = fmt.Errorf("%s greets with %q", address, greeting)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) close() {
	c.stop()
	_ = c.net.Close()
}

// logout ends the session as polite clients do.
func (c *conn) logout() {
	_, _ = c.do(nil, "LOGOUT") // the connection ends anyhow
	c.close()
}

// do sends a command and hands each untagged response but the status ones to
// on. It returns the tagged answer's text, an error if that is not OK.
func (c *conn) do(on func([]value) error, command string) (string, error) {
	tag := c.send(command)
	if err := c.out.Flush(); err != nil {
		return "", err
	}
	return c.await(tag, on)
}

// send writes a command without waiting.
func (c *conn) send(command string) (tag string) {
	c.count++
	tag = "t" + strconv.Itoa(c.count)
	_, _ = c.out.WriteString(tag + " " + command + "\r\n") // Flush says it
	return tag
}

// await reads up to the tagged answer.
func (c *conn) await(tag string, on func([]value) error) (string, error) {
	var first error
	for {
		if err := c.net.SetDeadline(time.Now().Add(patience)); err != nil {
			return "", err
		}
		start, err := c.word()
		if err != nil {
			return "", err
		}
		if start == tag {
			text, err := c.line()
			if err == nil && !strings.HasPrefix(text, "OK") {
				err = refusal(text)
			}
			return text, errors.Join(err, first)
		}
		if start != "*" {
			return "", fmt.Errorf("the server's answer starts with %q", start)
		}
		response, err := c.response()
		if err != nil {
			return "", err
		}
		if on != nil && response != nil && first == nil {
			first = on(response)
		}
	}
}

// refusal is a NO or BAD: the server's words.
type refusal string

func (r refusal) Error() string { return string(r) }

// response reads the rest of an untagged line; nil for OK, NO, BAD and BYE,
// which are text for people.
func (c *conn) response() ([]value, error) {
	word, err := c.word()
	if err != nil {
		return nil, err
	}
	switch word {
	case "OK", "NO", "BAD", "BYE":
		_, err := c.line()
		return nil, err
	}
	rest, err := c.values('\n')
	return append([]value{{text: word}}, rest...), err
}

// word reads up to the next space.
func (c *conn) word() (string, error) {
	text, err := c.in.ReadSlice(' ')
	if err != nil {
		return "", fmt.Errorf("reading from the server: %w", err)
	}
	return string(text[:len(text)-1]), nil
}

func (c *conn) line() (string, error) {
	text, err := c.in.ReadString('\n')
	return trimLine(text), err
}

// values reads until the end of a list, ')', or of the line, '\n'.
func (c *conn) values(end byte) ([]value, error) {
	list := []value{}
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return nil, err
		}
		switch b {
		case end:
			return list, nil
		case ' ', '\r':
			continue
		}
		v, err := c.value(b)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (c *conn) value(first byte) (value, error) {
	switch first {
	case '(':
		list, err := c.values(')')
		return value{list: list}, err
	case '"':
		return c.quoted()
	case '{':
		return c.literal()
	case '~': // a literal8, RFC 3516
		if next, err := c.in.Peek(1); err == nil && next[0] == '{' {
			_, _ = c.in.Discard(1) // it is there
			return c.literal()
		}
	}
	return c.atom(first)
}

// quoted reads a string; RFC 3501, 4.3.
func (c *conn) quoted() (value, error) {
	var text []byte
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return value{}, err
		}
		switch b {
		case '"':
			return c.text(string(text))
		case '\\':
			if b, err = c.in.ReadByte(); err != nil {
				return value{}, err
			}
		}
		text = append(text, b)
	}
}

// literal reads {N} and N octets.
func (c *conn) literal() (value, error) {
	head, err := c.line()
	if err != nil {
		return value{}, err
	}
	size, err := strconv.ParseInt(strings.TrimSuffix(head, "}"), 10, 64)
	if err != nil || size < 0 {
		return value{}, fmt.Errorf("the server announces a literal of {%s", head)
	}
	return c.stream(io.LimitReader(c.in, size), size)
}

// text is a value that is in memory.
func (c *conn) text(text string) (value, error) {
	v, err := c.stream(strings.NewReader(text), int64(len(text)))
	v.text = text
	return v, err
}

// stream reads a value of size octets and digests it.
func (c *conn) stream(from io.Reader, size int64) (value, error) {
	digest, after := sha256.New(), newSettled()
	var kept strings.Builder
	to := io.MultiWriter(digest, after)
	if size <= c.keep {
		to = io.MultiWriter(to, &kept)
	}
	if _, err := io.CopyN(to, from, size); err != nil {
		return value{}, err
	}
	v := value{text: kept.String(), size: size}
	digest.Sum(v.sum[:0])
	after.to.Sum(v.kept[:0])
	return v, nil
}

// atom reads anything else, such as 12, \Seen or BODY[HEADER.FIELDS (DATE)].
func (c *conn) atom(first byte) (value, error) {
	text := []byte{first}
	brackets := 0
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return value{}, err
		}
		switch {
		case b == '[' && string(text) == "BODY":
			brackets++
		case b == ']' && brackets > 0:
			brackets--
		case brackets > 0 && b != '\n':
		case b == ' ' || b == '(' || b == ')' || b == '\r' || b == '\n':
			return value{text: string(text)}, c.in.UnreadByte()
		}
		text = append(text, b)
	}
}

// quote writes s as a quoted string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
