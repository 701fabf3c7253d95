package mailer

import (
	"bytes"
	"errors"
	"net"
	"time"
)

var errInjected = errors.New("the relay sent bytes between its answer to STARTTLS and the handshake: somebody may be tampering with the connection")

// wire is the TCP connection below go-smtp. It sees what go-smtp does not tell:
// whether the final dot left this machine, and whether plaintext was slipped in
// before the TLS handshake. go-smtp sets no deadline while a body is written,
// so wire does.
type wire struct {
	net.Conn
	timeout time.Duration

	armed bool // the final dot is about to be written
	cut   bool // it was not written whole, so the relay cannot have it

	upgrading bool   // STARTTLS was sent, the handshake has not begun
	answer    []byte // what came meanwhile
}

// arm is called right before the final dot.
func (w *wire) arm() { w.armed, w.cut = true, false }

// Read ends the watch for the final dot: go-smtp reads only once it is written.
// What fails to be written later (say, a TLS alert) says nothing about it.
func (w *wire) Read(b []byte) (int, error) {
	w.armed = false
	n, err := w.Conn.Read(b)
	if w.upgrading {
		w.answer = append(w.answer, b[:n]...)
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	if w.upgrading && len(w.answer) > 0 {
		w.upgrading = false // this is the ClientHello
		if !oneAnswer(w.answer) {
			return 0, errInjected
		}
	}
	if bytes.EqualFold(b, []byte("STARTTLS\r\n")) {
		w.upgrading, w.answer = true, nil
	}
	if err := w.Conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, err
	}
	n, err := w.Conn.Write(b)
	if err != nil && w.armed {
		w.cut = true
	}
	return n, err
}

// oneAnswer tells whether b is exactly one SMTP answer, the last line of which
// has a space after its code (RFC 5321, 4.2.1).
func oneAnswer(b []byte) bool {
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return false
		}
		if len(line) < 4 || line[3] != '-' {
			return len(rest) == 0
		}
		b = rest
	}
}
