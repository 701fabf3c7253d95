package demohost

import (
	"crypto/subtle"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// sink is what the SMTP server keeps, guarded by Host.mu.
type sink struct {
	mails   []Mail
	refused map[string][]int // reply codes by recipient, the next first; see forever
	forever map[string]int
	cuts    []bool // for each of the next mails to cut: was it taken?
}

// Mails lists what the SMTP sink took, one for each recipient, oldest first.
func (h *Host) Mails() []Mail {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.sink.mails)
}

// RefuseRecipient lets the sink answer code (4xx or 5xx) to the next times RCPT
// commands for address; times < 0 means always, code 0 ends that.
func (h *Host) RefuseRecipient(address string, code, times int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sink.refused == nil {
		h.sink.refused, h.sink.forever = map[string][]int{}, map[string]int{}
	}
	address = strings.ToLower(address)
	switch {
	case code == 0:
		delete(h.sink.refused, address)
		delete(h.sink.forever, address)
	case times < 0:
		h.sink.forever[address] = code
	default:
		for range times {
			h.sink.refused[address] = append(h.sink.refused[address], code)
		}
	}
}

// CutNextMail lets the sink drop the connection after the final dot of the next
// mail, without an answer. taken says whether it keeps the mail.
func (h *Host) CutNextMail(taken bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sink.cuts = append(h.sink.cuts, taken)
}

// refusal returns the code for a recipient, 0 to take it; Host.mu is held.
func (s *sink) refusal(address string) int {
	address = strings.ToLower(address)
	if list := s.refused[address]; len(list) > 0 {
		s.refused[address] = list[1:]
		return list[0]
	}
	return s.forever[address]
}

// submission is one SMTP connection.
type submission struct {
	host *Host
	conn *smtp.Conn
	ok   bool // signed in
	from string
	to   []string
}

var _ smtp.AuthSession = (*submission)(nil)

func (s *submission) Reset()                   { s.from, s.to = "", nil }
func (s *submission) Logout() error            { return nil }
func (s *submission) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *submission) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		m := s.host.migrator
		if username != m.SMTPLogin || subtle.ConstantTimeCompare([]byte(password), []byte(m.SMTPSecret)) != 1 {
			return smtp.ErrAuthFailed
		}
		s.ok = true
		return nil
	}), nil
}

func (s *submission) Mail(from string, _ *smtp.MailOptions) error {
	if !s.ok {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return nil
}

func (s *submission) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	if code := s.host.sink.refusal(to); code != 0 {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: "recipient refused by the demo host"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *submission) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.host.mu.Lock()
	defer s.host.mu.Unlock()
	sink, taken := &s.host.sink, true
	if len(sink.cuts) > 0 {
		taken, sink.cuts = sink.cuts[0], sink.cuts[1:]
		_ = s.conn.Conn().Close()
	}
	if taken {
		for _, to := range s.to {
			sink.mails = append(sink.mails, Mail{From: s.from, To: to, Data: data, At: time.Now()})
		}
	}
	return nil
}
