package mailer_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"godwit/stages/mailer"
)

const password = "correct-horse-battery"

// sink is a real SMTP server that keeps what it takes.
type sink struct {
	address, caFile, tls, login string

	mutex sync.Mutex
	got   []mail
	conns int
}

type mail struct {
	from string
	to   []string
	raw  string
}

type sinkOptions struct {
	tls      string // as in Server; "" is implicit
	login    bool
	plain    bool // offer PLAIN, else LOGIN only
	smtputf8 bool
	host     string // in the certificate, "" for 127.0.0.1
	oldest   uint16 // newest TLS version it speaks, 0 for any
}

func startSink(t *testing.T, o sinkOptions) *sink {
	t.Helper()
	s := &sink{tls: o.tls}
	certificate, caFile := certify(t, o.host)
	s.caFile = caFile
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.conns++
		if o.login {
			return &authSession{session{sink: s}, o.plain}, nil
		}
		return &session{sink: s}, nil
	}))
	server.ErrorLog = log.New(io.Discard, "", 0)
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10, MaxVersion: o.oldest}
	server.EnableSMTPUTF8 = o.smtputf8
	server.AllowInsecureAuth = o.tls == "none"
	if o.login {
		s.login = "migration"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	if o.tls == "" || o.tls == "implicit" {
		listener = tls.NewListener(listener, server.TLSConfig)
	}
	if o.tls == "none" {
		server.TLSConfig = nil
	}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); listener.Close(); <-done })
	return s
}

func (s *sink) sender() *mailer.Sender {
	return &mailer.Sender{Timeout: 5 * time.Second, Server: mailer.Server{
		Address: s.address, TLS: s.tls, CAFile: s.caFile, Login: s.login,
		Secret: func(context.Context) (string, error) { return password, nil },
	}}
}

func (s *sink) mails() []mail {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.got)
}

func (s *sink) connections() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.conns
}

type session struct {
	sink *sink
	mail mail
}

func (s *session) Reset()        { s.mail = mail{} }
func (s *session) Logout() error { return nil }
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mail = mail{from: from}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.to = append(s.mail.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.raw = string(raw)
	s.sink.mutex.Lock()
	defer s.sink.mutex.Unlock()
	s.sink.got = append(s.sink.got, s.mail)
	return nil
}

type authSession struct {
	session
	plain bool
}

func (s *authSession) AuthMechanisms() []string {
	if s.plain {
		return []string{sasl.Plain}
	}
	return []string{sasl.Login}
}

func (s *authSession) Auth(string) (sasl.Server, error) {
	check := func(login, secret string) error {
		if login != "migration" || secret != password {
			return errors.New("wrong")
		}
		return nil
	}
	if s.plain {
		return sasl.NewPlainServer(func(_, login, secret string) error { return check(login, secret) }), nil
	}
	return &loginServer{check: check}, nil
}

// loginServer is the server's side of AUTH LOGIN, which go-sasl has no longer.
type loginServer struct {
	check func(login, secret string) error
	login string
}

func (l *loginServer) Next(response []byte) ([]byte, bool, error) {
	if l.login == "" {
		l.login = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.login, string(response))
}

// certify makes a certificate for host, signed by itself.
func certify(t *testing.T, host string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sink"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if host == "" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// send hands m over and fails unless the verdict is want.
func send(t *testing.T, s *mailer.Sender, m mailer.Message, want mailer.Verdict) mailer.Receipt {
	t.Helper()
	t.Cleanup(func() { s.Close() })
	got := s.Send(t.Context(), m)
	if got.Verdict != want {
		t.Errorf("got %+v, want %s", got, want)
	}
	return got
}

// script is a relay that answers by the book, but for the words in its answers.
// An answer "cut" closes the connection, "hang" says nothing more.
type script struct {
	address string
	answers map[string]string // by command; "connect", "dot"; else the usual one
	offers  []string          // in EHLO

	mutex sync.Mutex
	heard []string
	took  int // messages whose final dot came
	conns int
	stop  chan struct{}
}

func startScript(t *testing.T, answers map[string]string, offers ...string) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{address: listener.Addr().String(), answers: answers, offers: offers, stop: make(chan struct{})}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	})
	t.Cleanup(func() { close(s.stop); listener.Close(); open.Wait() })
	return s
}

func (s *script) sender() *mailer.Sender {
	return &mailer.Sender{Timeout: 2 * time.Second, Server: mailer.Server{Address: s.address, TLS: "none"}}
}

func (s *script) note(line string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.heard = append(s.heard, line)
}

func (s *script) commands() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return strings.Join(s.heard, "\n")
}

// say answers a command and tells whether the conversation goes on.
func (s *script) say(conn net.Conn, command, usual string) bool {
	answer := s.next(command)
	switch answer {
	case "cut":
		return false
	case "hang":
		<-s.stop
		return false
	case "":
		answer = usual
	}
	io.WriteString(conn, strings.ReplaceAll(answer, "\n", "\r\n")+"\r\n")
	return !strings.HasPrefix(answer, "421")
}

// next is the answer to command, "" for the usual one. Of "first|then", first
// is said once, then from then on.
func (s *script) next(command string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	first, then, twice := strings.Cut(s.answers[command], "|")
	if twice {
		s.answers[command] = then
	}
	return first
}

func (s *script) serve(conn net.Conn) {
	s.mutex.Lock()
	s.conns++
	s.mutex.Unlock()
	lines := bufio.NewReader(conn)
	if !s.say(conn, "connect", "220 sink") {
		return
	}
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		s.note(line)
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		usual := "250 ok"
		switch verb {
		case "EHLO":
			usual = "250 sink"
			if len(s.offers) > 0 {
				usual = "250-sink\n250-" + strings.Join(append(s.offers, "HELP"), "\n250-") + "\n250 SIZE"
			}
		case "DATA":
			usual = "354 go on"
		case "AUTH":
			usual = "235 in"
		case "QUIT":
			usual = "221 bye"
		case "*":
			usual = "501 given up"
		}
		if !s.say(conn, verb, usual) {
			return
		}
		if verb == "DATA" && s.next("DATA refused") == "" {
			if s.next("body") == "cut" {
				return
			}
			for line := ""; line != ".\r\n"; {
				if line, err = lines.ReadString('\n'); err != nil {
					return
				}
			}
			s.mutex.Lock()
			s.took++
			s.mutex.Unlock()
			if !s.say(conn, "dot", "250 2.0.0 queued as 4711") {
				return
			}
		}
	}
}
