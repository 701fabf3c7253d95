package mailbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"

	"godwit/stages/mailbox"
)

func same(t testing.TB, source, target mailbox.Endpoint) {
	t.Helper()
	if diff := cmp.Diff(dial(t, source).contents(), dial(t, target).contents()); diff != "" {
		t.Errorf("source and target differ (-source +target):\n%s", diff)
	}
}

func TestPassOnDovecot(t *testing.T) {
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c := dial(t, source)
	for i := range 100 {
		c.add("INBOX", mail(strings.Repeat("x", i+1), "s", strings.Repeat("line\r\n", i)), day.Add(time.Duration(i)*time.Second), imap.FlagSeen, "$Forwarded")
	}
	c.add("INBOX", mail("large", "l", strings.Repeat(strings.Repeat("z", 70)+"\r\n", 50000)), day)
	c.must(c.Create("Entwürfe/Ärger & Söhne", nil).Wait())
	c.must(c.Subscribe("Entwürfe/Ärger & Söhne").Wait())
	twin := mail("twin", "t", "same")
	c.add("Entwürfe/Ärger & Söhne", twin, day)
	c.add("Entwürfe/Ärger & Söhne", twin, day)
	var moving []imap.UID
	for i := range 20 {
		moving = append(moving, c.add("Entwürfe/Ärger & Söhne", mail("m"+strings.Repeat("y", i), "t", "same"), day, imap.FlagFlagged))
	}
	store := newMemory()
	p := mailbox.Pass{Source: source, Target: target, Store: store, Options: mailbox.Options{MaxDelete: 0.1, Connections: 2}}
	res := run(t, p)
	if res.Copied != 123 || res.Messages != 123 {
		t.Errorf("first pass: %+v", res)
	}
	same(t, source, target)
	verified(t, p, "content")

	if res := run(t, p); res.Copied+res.Updated+res.Moved+res.Deleted != 0 || res.Messages != 123 {
		t.Errorf("a pass with nothing to do: %+v", res)
	}

	// delta: new, flags, moves, deletions
	_, err := c.Select("INBOX", nil).Wait()
	c.must(err)
	c.must(c.Store(imap.UIDSetNum(1, 2, 3), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagAnswered, "work"}}, nil).Close())
	c.must(c.Store(imap.UIDSetNum(4), &imap.StoreFlags{Op: imap.StoreFlagsDel, Silent: true, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close())
	c.must(c.Store(imap.UIDSetNum(10, 11), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	_, err = c.Select("Entwürfe/Ärger & Söhne", nil).Wait()
	c.must(err)
	if _, err := c.Move(imap.UIDSetNum(moving[3:6]...), "INBOX").Wait(); err != nil {
		t.Fatal(err)
	}
	c.add("INBOX", mail("new", "n", "new"), day)
	res = run(t, p)
	if res.Copied != 1 || res.Updated != 4 || res.Moved != 3 || res.Deleted != 2 {
		t.Errorf("delta pass: %+v", res)
	}
	same(t, source, target)
	verified(t, p, "content")
	verified(t, p, "headers")

	// a lost ledger doubles nothing
	p.Store = newMemory()
	res = run(t, p)
	if res.Copied != 0 || res.AlreadyThere != 122 {
		t.Errorf("after the ledger was lost: %+v", res)
	}
	same(t, source, target)
	verified(t, p, "content")

	// too many deletions stop before anything is changed
	_, err = c.Select("INBOX", nil).Wait()
	c.must(err)
	c.must(c.Store(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	if _, err := p.Run(context.Background()); !errors.Is(err, mailbox.ErrTooManyDeletions) {
		t.Errorf("an emptied source: got %v, want ErrTooManyDeletions", err)
	}
}

func TestSignIn(t *testing.T) {
	d := startDovecot(t, slashes)
	e := d.account()
	with := func(change func(*mailbox.Server, *mailbox.Endpoint)) mailbox.Endpoint {
		s := mailbox.Server{Address: e.Server.Address, TLS: "implicit", CAFile: e.Server.CAFile}
		out := mailbox.Endpoint{Server: &s, Login: e.Login}
		change(&s, &out)
		return out
	}
	tests := map[string]struct {
		endpoint mailbox.Endpoint
		is       error
		says     string
	}{
		"a password":              {with(func(*mailbox.Server, *mailbox.Endpoint) {}), nil, ""},
		"a wrong password":        {with(func(_ *mailbox.Server, e *mailbox.Endpoint) { e.Login.Secret = secret("wrong") }), mailbox.ErrLogin, ""},
		"starttls":                {with(func(s *mailbox.Server, _ *mailbox.Endpoint) { s.Address, s.TLS = d.imap, "starttls" }), nil, ""},
		"none where it is said":   {with(func(s *mailbox.Server, _ *mailbox.Endpoint) { s.Address, s.TLS = d.imap, "none" }), nil, ""},
		"an unknown authority":    {with(func(s *mailbox.Server, _ *mailbox.Endpoint) { s.CAFile = "" }), nil, "certificate"},
		"clear text where TLS is": {with(func(s *mailbox.Server, _ *mailbox.Endpoint) { s.Address = d.imap }), nil, "tls"},
		"a master user": {with(func(s *mailbox.Server, _ *mailbox.Endpoint) {
			s.Auth, s.Login, s.MasterFormat, s.Secret = "master", "migrator", "{account}*{login}", secret(masterSecret)
		}), nil, ""},
		"a master user's typo": {with(func(s *mailbox.Server, _ *mailbox.Endpoint) {
			s.Auth, s.Login, s.MasterFormat, s.Secret = "master", "migrator", "{account}*{login}", secret("x")
		}), mailbox.ErrLogin, ""},
		"an authorization id": {with(func(s *mailbox.Server, _ *mailbox.Endpoint) {
			s.Auth, s.Login, s.Secret = "authzid", "migrator", secret(masterSecret)
		}), nil, ""},
		"a sign-in nobody offers":   {with(func(s *mailbox.Server, _ *mailbox.Endpoint) { s.Auth = "xoauth2" }), nil, "server said"},
		"a word that means nothing": {with(func(s *mailbox.Server, _ *mailbox.Endpoint) { s.Auth = "magic" }), nil, "not one of"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := mailbox.CheckLogin(ctx, tt.endpoint)
			if (err == nil) != (tt.is == nil && tt.says == "") || !errors.Is(err, tt.is) && tt.is != nil {
				t.Fatalf("got %v, want %v %q", err, tt.is, tt.says)
			}
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q, want it to say %q", err, tt.says)
			}
		})
	}
}
