package mailbox_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// TestAnAnswerIsTakenToItsEnd proves that who waits on a connection that fails
// goes on only when nobody writes any more into what was asked for.
func TestAnAnswerIsTakenToItsEnd(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	c := &deafConn{Conn: here}
	w := mailbox.NewWire(c)
	_, _ = io.WriteString(there, "* OK hi\r\n")
	_, _ = io.WriteString(there, "* 1") // is read once the greeting has been taken
	go func() {
		_, _ = there.Read(make([]byte, 100))
		_, _ = io.WriteString(there, " EXISTS\r\n")
	}()
	inside, release := make(chan struct{}), make(chan struct{})
	seen, quiet := 0, func() { t.Error("an answer that nobody gave") }
	wait, err := w.Ask("NOOP", func() {
		close(inside)
		<-release
		seen++
	})
	if err != nil {
		t.Fatal(err)
	}
	<-inside
	c.deaf.Store(true)
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	if _, err := w.Ask("NOOP", quiet); err == nil || seen != 1 {
		t.Errorf("the command that could not be sent: %v, %d answers taken", err, seen)
	}
	if err := wait(); err == nil || seen != 1 {
		t.Errorf("the command before it: %v, %d answers taken", err, seen)
	}
	if _, err := w.Ask("NOOP", quiet); err == nil {
		t.Error("a command goes out on a connection that has ended")
	}
}

// TestNothingIsSaidIntoAMessage proves that a connection which somebody uses is
// not kept alive meanwhile: the NOOP would get into what he has begun to send.
func TestNothingIsSaidIntoAMessage(t *testing.T) {
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	w := mailbox.NewWire(here)
	_, _ = io.WriteString(there, "* OK hi\r\n")
	told := make(chan string)
	go func() {
		for lines := bufio.NewScanner(there); lines.Scan(); {
			told <- lines.Text()
		}
		close(told)
	}()
	go func() { _, _ = w.Ask("APPEND INBOX {9999}", func() {}) }()
	if line := <-told; line != "G1 APPEND INBOX {9999}" {
		t.Fatalf("told %q", line)
	}
	done := make(chan error, 1)
	go func() { done <- w.KeepAlive() }()
	select {
	case err := <-done:
		if err == nil {
			t.Error("kept alive by nobody's answer")
		}
	case line := <-told:
		t.Errorf("said into a message: %q", line)
	}
	_ = there.Close()
	for range told { // until the connection is closed
	}
}

// deafConn takes nothing more once it is deaf.
type deafConn struct {
	net.Conn
	deaf atomic.Bool
}

func (c *deafConn) Write(p []byte) (int, error) {
	if c.deaf.Load() {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}
