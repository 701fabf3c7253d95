package mailbox_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"godwit/stages/mailbox"
)

// TestAlterations proves that what servers are known to change is carried,
// verified and noted, and that one refused message does not hold up its group.
func TestAlterations(t *testing.T) {
	s := &script{caps: sourceCaps, list: []string{`() "/" INBOX`}, messages: []scripted{plainMessage(1), plainMessage(2), plainMessage(3), {uid: 4, date: `"04-Mar-2021 05:06:07 +0200"`, size: "0"}, plainMessage(5)}}
	s.messages[0].body = "Subject: a\n\nbare\nline ends\n"
	s.messages[1].body = "Subject: a\r\n\r\nNUL\x00\r\n"
	s.messages[2].date = `"04-Mar-1899 05:06:07 +0000"`
	p := mailbox.Pass{Source: s.start(t), Target: startDovecot(t, slashes).account(), Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	if res := run(t, p); res.Copied != 4 || len(res.Skipped) != 1 || res.Skipped[0].Reason != mailbox.Refused || res.Skipped[0].UID != 4 {
		t.Errorf("got %+v", res)
	}
	verified(t, p, "content")
	_, notes, err := p.Named(t.Context())
	if err != nil || len(notes) != 3 {
		t.Errorf("notes: %+v, %v", notes, err)
	}
	for _, n := range notes {
		if n.Reason != mailbox.Altered {
			t.Errorf("got %+v", n)
		}
	}
}

// TestQuotaAndLimits proves that a full target stops the account and that a
// message too large is named, and is not tried again.
func TestQuotaAndLimits(t *testing.T) {
	d := startDovecot(t, slashes+`
mail_plugins = quota
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User
  quota_rule = *:storage=100K
}
`)
	source, target := startMemory(t, modern...).account(t), d.account()
	c := dial(t, source)
	for i := range 10 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", strings.Repeat("0123456789\r\n", 400)), day)
	}
	c.add("INBOX", mail("large", "s", strings.Repeat("0123456789\r\n", 2000)), day)
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, MaxMessage: 20000}}
	survey, err := p.Examine(t.Context())
	if err != nil || survey.Quota != 100*1024 || len(survey.Findings) != 1 || survey.Findings[0].Reason != mailbox.TooLarge {
		t.Errorf("examine: %+v, %v", survey, err)
	}
	res := run(t, p)
	if res.Copied != 10 || len(res.Skipped) != 1 || res.Skipped[0].Reason != mailbox.TooLarge {
		t.Errorf("got %+v", res)
	}
	if res := run(t, p); len(res.Skipped) != 1 || res.Copied != 0 {
		t.Errorf("second pass: %+v", res)
	}
	for i := range 20 {
		c.add("INBOX", mail(fmt.Sprint("more", i), "s", strings.Repeat("0123456789\r\n", 400)), day)
	}
	if _, err := p.Run(t.Context()); !errors.Is(err, mailbox.ErrOverQuota) {
		t.Errorf("got %v, want ErrOverQuota", err)
	}
}
