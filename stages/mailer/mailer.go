// Package mailer sends one notice by SMTP and says whether it was taken: yes,
// no, or unknown.
//
//	Message ─► compose ─► one connection, kept ─► Receipt
//	              │            (connect)
//	              └─► Refused: the message itself is wrong, nothing was sent
//
// The line that matters is the final dot (RFC 5321, 4.1.1.4). As long as it is
// not written, the relay cannot have taken the message; from then until its
// answer nobody can know, so whatever goes wrong there is Unknown and must not
// be sent again by itself.
package mailer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Server is the relay that notices go through.
type Server struct {
	Address string // host:port
	TLS     string // implicit | starttls | none; "" is implicit
	CAFile  string // PEM, "" for the system's roots
	Login   string // "" for no AUTH
	Secret  func(context.Context) (string, error)

	Region    string   // where it stands
	Residency []string // the regions that were promised; nil: any. No connection is made to others
}

// Message is one notice to one recipient.
type Message struct {
	From      string // Name <address>
	To        string // one address
	Subject   string
	Text      string
	HTML      string // "" for none
	MessageID string // without <>
	Date      time.Time
	Locale    string
	Invite    *Invite
}

// Invite is the interruption as an iCalendar event (RFC 5545, iMIP RFC 6047).
type Invite struct {
	UID        string
	Sequence   int
	Start, End time.Time
	Summary    string
	Cancelled  bool
}

// Verdict is what became of a message.
type Verdict string

const (
	Accepted Verdict = "accepted" // the relay answered 250 after the final dot
	Refused  Verdict = "refused"  // permanently: 5xx
	Later    Verdict = "later"    // temporarily: 4xx, or nothing was handed over yet
	Unknown  Verdict = "unknown"  // cut after the final dot: it may have been taken
)

// Receipt is the relay's answer.
type Receipt struct {
	Verdict Verdict
	Text    string // the relay's words, with its queue id where it gave one
	At      Step   // how far it got; a refusal up to Auth is not about this message
}

// Step is a part of the conversation with the relay.
type Step string

const (
	Compose Step = "compose" // nothing was sent
	Connect Step = "connect" // dialling, greeting, EHLO
	TLS     Step = "tls"
	Auth    Step = "auth"
	Mail    Step = "mail"
	Rcpt    Step = "rcpt"
	Data    Step = "data"
	Dot     Step = "dot" // the message was handed over
)

// Sender keeps one connection to the relay and sends through it. It may be
// used from several goroutines, which then wait for each other.
type Sender struct {
	Server Server

	// Timeout is the longest wait for one answer, 0 for two minutes. After the
	// final dot it is ten minutes at least (RFC 5321, 4.5.3.2.6): a relay that
	// is slow there would leave the outcome unknown.
	Timeout time.Duration

	mutex   sync.Mutex
	session *session // nil before the first Send and after trouble
}

// Send hands m to the relay. A problem of m itself (CR or LF in a header, two
// addresses) is Refused, and nothing is sent. The receipt's text is safe to
// show: it has no control characters and at most 200 runes.
func (s *Sender) Send(ctx context.Context, m Message) Receipt {
	letter, err := compose(m)
	if err != nil {
		return Receipt{Refused, safe("notice: " + err.Error()), Compose}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	live, err := s.ready(ctx)
	if err != nil {
		return receipt(err)
	}
	stop := live.closeWith(ctx)
	text, err := live.deliver(letter)
	stop()
	if err == nil {
		return Receipt{Accepted, safe(text), Dot}
	}
	if !usable(err) {
		s.drop()
	}
	return receipt(because(ctx, err))
}

// Probe connects, starts TLS and signs in, and sends nothing.
func (s *Sender) Probe(ctx context.Context) error {
	live, err := connect(ctx, s.Server, s.Timeout)
	if err != nil {
		return err
	}
	live.quit()
	return nil
}

// Close ends the connection. The Sender can be used again.
func (s *Sender) Close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.session != nil {
		s.session.quit()
		s.session = nil
	}
	return nil
}

// ready returns the kept connection if it still answers, else a new one.
func (s *Sender) ready(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, trouble{at: Connect, err: err}
	}
	if s.session != nil {
		stop := s.session.closeWith(ctx)
		err := s.session.client.Reset()
		stop()
		if err == nil {
			return s.session, nil
		}
		s.drop()
	}
	live, err := connect(ctx, s.Server, s.Timeout)
	if err != nil {
		return nil, err
	}
	s.session = live
	return live, nil
}

func (s *Sender) drop() {
	_ = s.session.client.Close() // it is of no use any more
	s.session = nil
}

// deliver sends one letter and returns the relay's words after the final dot.
func (s *session) deliver(l letter) (string, error) {
	options := &smtp.MailOptions{Size: int64(len(l.data)), UTF8: l.utf8}
	if ok, _ := s.client.Extension("SMTPUTF8"); l.utf8 && !ok {
		return "", trouble{at: Rcpt, refused: true, err: errors.New("the relay takes no addresses beyond ASCII (it does not offer SMTPUTF8)")}
	}
	if err := s.client.Mail(l.from, options); err != nil {
		return "", trouble{at: Mail, err: err}
	}
	// One RCPT per notice: nobody sees who else is moved.
	if err := s.client.Rcpt(l.to, nil); err != nil {
		return "", trouble{at: Rcpt, err: err}
	}
	data, err := s.client.Data()
	if err != nil {
		return "", trouble{at: Data, err: err}
	}
	if _, err := bytes.NewReader(l.data).WriteTo(data); err != nil {
		return "", trouble{at: Data, err: err}
	}
	s.wire.arm()
	answer, err := data.CloseWithResponse()
	if err != nil && s.wire.cut {
		return "", trouble{at: Data, err: err}
	}
	if err != nil {
		return "", trouble{at: Dot, err: err}
	}
	return answer.StatusText, nil
}

// usable tells whether the connection is in step after err: the relay answered,
// and did not say that it is closing (421).
func usable(err error) bool {
	var t trouble
	if errors.As(err, &t) && t.refused {
		return true
	}
	var answer *smtp.SMTPError
	return errors.As(err, &answer) && answer.Code != 421 && (answer.Code/100 == 4 || answer.Code/100 == 5)
}

// receipt turns trouble into a verdict.
func receipt(err error) Receipt {
	var t trouble
	if !errors.As(err, &t) {
		t = trouble{at: Connect, err: err}
	}
	return Receipt{t.verdict(), t.Error(), t.at}
}

// trouble is what went wrong, and at which step.
type trouble struct {
	at      Step
	refused bool // for good, though no 5xx says so
	hide    []string
	err     error
}

func (t trouble) Unwrap() error { return t.err }

// Error is safe to show, whatever the relay wrote into its answer.
func (t trouble) Error() string {
	text := t.err.Error()
	var answer *smtp.SMTPError
	if errors.As(t.err, &answer) {
		text = fmt.Sprintf("%d %s", answer.Code, answer.Message)
		if e := answer.EnhancedCode; e[0] > 0 {
			text = fmt.Sprintf("%d %d.%d.%d %s", answer.Code, e[0], e[1], e[2], answer.Message)
		}
	}
	return safe(string(t.at) + ": " + redact(text, t.hide))
}

func (t trouble) verdict() Verdict {
	code := 0
	var answer *smtp.SMTPError
	if errors.As(t.err, &answer) {
		code = answer.Code
	}
	switch {
	case t.refused, code/100 == 5:
		return Refused
	case code/100 == 4, t.at != Dot:
		return Later
	}
	return Unknown
}

// because puts the context's end in the place of the closed connection that it
// led to; an answer of the relay stays.
func because(ctx context.Context, err error) error {
	var t trouble
	var answer *smtp.SMTPError
	if ctx.Err() == nil || !errors.As(err, &t) || errors.As(err, &answer) {
		return err
	}
	t.err = context.Cause(ctx)
	return t
}
