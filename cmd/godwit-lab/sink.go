package main

import (
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// sink takes any mail by SMTP and keeps it below Mail as 000001.eml, the
// octets, and 000001.json, the envelope; the envelope comes last, so where it
// is the mail is whole.
type sink struct {
	Address string `json:"address"` // implicit TLS
	Mail    string `json:"dir"`
	login

	secret string
	count  atomic.Int64
	server *smtp.Server
}

// envelope is what SMTP said of a mail.
type envelope struct {
	From string    `json:"from"`
	To   []string  `json:"to"`
	At   time.Time `json:"at"`
}

func startSink(dir string) (*sink, error) {
	k := &sink{Mail: filepath.Join(dir, "smtp"), login: login{"notices", filepath.Join(dir, "smtp.secret")}}
	var err error
	if k.secret, err = ensureSecret(k.SecretFile); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(k.Mail, 0o700); err != nil {
		return nil, err
	}
	kept, err := filepath.Glob(filepath.Join(k.Mail, "*.eml"))
	if err != nil {
		return nil, err
	}
	k.count.Store(int64(len(kept)))
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	k.Address = listener.Addr().String()
	k.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{sink: k}, nil }))
	k.server.Domain = "localhost"
	k.server.EnableSMTPUTF8 = true
	k.server.AllowInsecureAuth = true // the listener is TLS already
	go func() { _ = k.server.Serve(listener) }()
	return k, nil
}

func (k *sink) close() { _ = k.server.Close() }

// session is one SMTP connection.
type session struct {
	sink   *sink
	signed bool
	envelope
}

// AuthMechanisms implements smtp.AuthSession.
func (*session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, password string) error {
		if name != s.sink.Login || subtle.ConstantTimeCompare([]byte(password), []byte(s.sink.secret)) != 1 {
			return smtp.ErrAuthFailed
		}
		s.signed = true
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.signed {
		return smtp.ErrAuthRequired
	}
	s.From = from
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.To = append(s.To, to)
	return nil
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	name := filepath.Join(s.sink.Mail, fmt.Sprintf("%06d", s.sink.count.Add(1)))
	file, err := os.OpenFile(name+".eml", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, r)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	s.At = time.Now()
	text, err := json.Marshal(s.envelope)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".tmp", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name+".json")
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.envelope = envelope{} }

// Logout implements smtp.Session.
func (*session) Logout() error { return nil }
