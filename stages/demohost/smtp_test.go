package demohost_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"godwit/stages/demohost"
)

func send(t *testing.T, h *demohost.Host, secret, to string) error {
	t.Helper()
	c, err := smtp.DialTLS(h.SMTPAddress, trust(t, h))
	must(t, err)
	defer c.Close()
	if secret != "" {
		if err := c.Auth(sasl.NewPlainClient("", h.Migrator().SMTPLogin, secret)); err != nil {
			return err
		}
	}
	return c.SendMail("migration@host.example", []string{to}, strings.NewReader("Subject: x\r\n\r\n.dot\r\ntext\r\n"))
}

func TestSinkKeepsWhatItTook(t *testing.T) {
	const to = "owner@contact.example"
	h := start(t)
	secret := h.Migrator().SMTPSecret
	code := func(err error) int {
		var reply *smtp.SMTPError
		if errors.As(err, &reply) {
			return reply.Code
		}
		return 0
	}
	if err := send(t, h, "", to); err == nil {
		t.Error("took a mail without AUTH")
	}
	if err := send(t, h, "wrong", to); code(err) != 535 {
		t.Errorf("a wrong secret: %v", err)
	}
	h.RefuseRecipient(to, 451, 1)
	if err := send(t, h, secret, to); code(err) != 451 {
		t.Errorf("refused for now: %v", err)
	}
	h.RefuseRecipient("Gone@contact.example", 550, -1)
	for range 2 {
		if err := send(t, h, secret, "gone@contact.example"); code(err) != 550 {
			t.Errorf("refused for ever: %v", err)
		}
	}
	h.RefuseRecipient("gone@contact.example", 0, 0)
	must(t, send(t, h, secret, "gone@contact.example"))
	h.CutNextMail(false)
	h.CutNextMail(true)
	for range 2 {
		if err := send(t, h, secret, to); err == nil || code(err) != 0 {
			t.Errorf("cut after the final dot: %v", err)
		}
	}
	must(t, send(t, h, secret, to))
	mails := h.Mails()
	if len(mails) != 3 || mails[0].To != "gone@contact.example" || mails[2].To != to || mails[2].From != "migration@host.example" {
		t.Fatalf("got %d mails: %v", len(mails), mails)
	}
	if got := string(mails[2].Data); got != "Subject: x\r\n\r\n.dot\r\ntext\r\n" {
		t.Errorf("got %q", got)
	}
}
