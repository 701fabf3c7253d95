package dovecot_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// conn is a user's own session, by hand.
type conn struct {
	net   *tls.Conn
	lines *bufio.Reader
}

func (l *lab) dial(t *testing.T) *conn {
	t.Helper()
	c, err := tls.Dial("tcp", l.Source.Address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &conn{c, bufio.NewReader(c)}
}

func (c *conn) say(t *testing.T, line, until string) {
	t.Helper()
	fmt.Fprint(c.net, line+"\r\n")
	for {
		got, err := c.lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(got, until) {
			return
		}
	}
}

// gone waits for the server to end the session.
func (c *conn) gone(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c.lines); err != nil {
		t.Errorf("the session goes on: %v", err)
	}
}
