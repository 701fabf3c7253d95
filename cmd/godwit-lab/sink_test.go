package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// smtpClient connects to the lab's sink.
func smtpClient(t *testing.T, dir string, k *sink) *smtp.Client {
	t.Helper()
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := smtp.DialTLS(k.Address, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSinkKeepsMailWithItsEnvelope(t *testing.T) {
	dir := t.TempDir()
	if err := makeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	k, err := startSink(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	secret, err := readSecret(k.SecretFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := smtpClient(t, dir, k)
	if err := c.Auth(sasl.NewPlainClient("", k.Login, "wrong")); err == nil {
		t.Error("a wrong secret was taken")
	}
	if err := c.Mail("a@old.example", nil); err == nil {
		t.Error("mail was taken without a login")
	}
	c = smtpClient(t, dir, k)
	if err := c.Auth(sasl.NewPlainClient("", k.Login, secret)); err != nil {
		t.Fatal(err)
	}
	mail := "Subject: ü\r\n\r\n.dot\r\n"
	if err := c.SendMail("a@old.example", []string{"b@old.example", "c@old.example"}, strings.NewReader(mail)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(k.Mail, "000001.json"))
	if err != nil {
		t.Fatal(err)
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if e.From != "a@old.example" || strings.Join(e.To, " ") != "b@old.example c@old.example" {
		t.Errorf("got envelope %+v", e)
	}
	body, err := os.ReadFile(filepath.Join(k.Mail, "000001.eml"))
	if err != nil || string(body) != mail {
		t.Errorf("got %q, %v; want %q", body, err, mail)
	}
}
