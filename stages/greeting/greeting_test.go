package greeting_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/stages/greeting"
)

// authority signs certificates; its own stands in file.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	der := a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	var err error
	if a.cert, err = x509.ParseCertificate(der.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	a.key = der.PrivateKey.(*ecdsa.PrivateKey)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a certificate from what; without an authority one that signs itself.
func (a *authority) sign(t *testing.T, what *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	what.SerialNumber = big.NewInt(time.Now().UnixNano())
	if what.NotAfter.IsZero() {
		what.NotAfter = time.Now().Add(time.Hour)
	}
	what.NotBefore = what.NotAfter.Add(-24 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = what, key
	}
	der, err := x509.CreateCertificate(rand.Reader, what, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// server greets on loopback: with TLS first where cert is given and script is
// nil, else in clear, answering lines as script says until it brings TLS up.
type server struct {
	cert     *tls.Certificate
	greeting string
	script   map[string]string
}

func (s server) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) })
		}
	})
	return l.Addr().String()
}

func (s server) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if s.cert != nil && s.script == nil {
		conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
	}
	fmt.Fprint(conn, s.greeting)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		said := s.script[strings.ToUpper(lines.Text())]
		fmt.Fprint(conn, said)
		if strings.Contains(strings.ToUpper(lines.Text()), "STARTTLS") || strings.HasPrefix(lines.Text(), "STLS") {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}}).Handshake()
			return
		}
	}
}

func TestLook(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	cert := func(a *authority, host string, until time.Duration) *tls.Certificate {
		c := a.sign(t, &x509.Certificate{DNSNames: []string{host}, NotAfter: time.Now().Add(until)})
		return &c
	}
	good := cert(ca, "imap.old.example", time.Hour)
	imap := "* OK Dovecot ready.\r\n"
	tests := map[string]struct {
		server server
		want   greeting.Greeting
		err    string
	}{
		"IMAP":                        {server{good, imap, nil}, greeting.Greeting{Protocol: greeting.IMAP, Text: "* OK Dovecot ready."}, ""},
		"SMTP":                        {server{good, "220-one\r\n220 two\r\n", nil}, greeting.Greeting{Protocol: greeting.SMTP, Text: "220 two"}, ""},
		"POP3":                        {server{good, "+OK hello\x1b[2J\r\n", nil}, greeting.Greeting{Protocol: greeting.POP3, Text: "+OK hello [2J"}, ""},
		"IMAP with STARTTLS":          {server{good, imap, map[string]string{"A STARTTLS": "* CAPABILITY\r\na OK go\r\n"}}, greeting.Greeting{Protocol: greeting.IMAP, Text: "* OK Dovecot ready."}, ""},
		"POP3 with STARTTLS":          {server{good, "+OK\r\n", map[string]string{"STLS": "+OK go\r\n"}}, greeting.Greeting{Protocol: greeting.POP3, Text: "+OK"}, ""},
		"SMTP with STARTTLS":          {server{good, "220 x\r\n", map[string]string{"EHLO LOCALHOST": "250-x\r\n250 STARTTLS\r\n", "STARTTLS": "220 go\r\n"}}, greeting.Greeting{Protocol: greeting.SMTP, Text: "220 x"}, ""},
		"no STARTTLS":                 {server{good, imap, map[string]string{"A STARTTLS": "a BAD what\r\n"}}, greeting.Greeting{Protocol: greeting.IMAP, Text: "* OK Dovecot ready."}, "it takes no STARTTLS: a BAD what"},
		"a certificate of another":    {server{cert(ca, "mail.new.example", time.Hour), imap, nil}, greeting.Greeting{}, "the certificate is for mail.new.example, not for imap.old.example"},
		"one that has expired":        {server{cert(ca, "imap.old.example", -time.Hour), imap, nil}, greeting.Greeting{}, "the certificate has expired on "},
		"one of an unknown authority": {server{cert(other, "imap.old.example", time.Hour), imap, nil}, greeting.Greeting{}, "the certificate's authority is not known"},
		"no mail server":              {server{good, "HTTP/1.1 400 Bad Request\r\n", nil}, greeting.Greeting{}, "it greets as no mail server does: HTTP/1.1 400 Bad Request"},
		"wrong after STARTTLS":        {server{cert(ca, "x.example", time.Hour), imap, map[string]string{"A STARTTLS": "a OK go\r\n"}}, greeting.Greeting{Protocol: greeting.IMAP, Text: "* OK Dovecot ready."}, "the certificate is for x.example"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := greeting.Look(t.Context(), tt.server.start(t), "imap.old.example", ca.file)
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %+v, %v; want %+v, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestUnlike(t *testing.T) {
	tests := map[string]struct {
		a, b   string
		unlike bool
	}{
		"the same":                {"* OK Dovecot ready.", "* OK Dovecot ready.", false},
		"other capabilities":      {"* OK [CAPABILITY IMAP4rev1 ID] Dovecot ready.", "* OK Dovecot ready.", false},
		"other host and time":     {"* OK mx1.a.example Cyrus IMAP 3.6 server ready", "* OK mx2.b.example Cyrus IMAP 3.8 server ready", false},
		"another software":        {"* OK Dovecot ready.", "* OK The Microsoft Exchange IMAP4 service is ready. [UwBFAA==]", true},
		"the same, set up apart":  {"* OK Dovecot ready.", "* OK Dovecot (Debian) ready.", true},
		"another, of few letters": {"* OK ready", "* OK go", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := greeting.Unlike(greeting.Greeting{Protocol: greeting.IMAP, Text: tt.a}, greeting.Greeting{Protocol: greeting.IMAP, Text: tt.b})
			if got != tt.unlike {
				t.Errorf("got %v; want %v", got, tt.unlike)
			}
		})
	}
}
