package demohost_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"go.uber.org/goleak"

	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// self is a copy of the test binary in a folder that only we may write to:
// started with "demo-hook SOCKET" it does what `godwit demo-hook` does.
var self string

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "demo-hook" {
		syscall.Exit(demohost.Hook(context.Background(), os.Args[2], os.Stdin, os.Stdout)) // os.Exit sleeps for a second under -race
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	folder, err := os.MkdirTemp("", "godwit")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	self = filepath.Join(folder, "godwit")
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	data, err := os.ReadFile(exe)
	if err == nil {
		err = os.WriteFile(self, data, 0o700)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	return code
}

const anna, ben = "anna@old.example", "ben@old.example"

// start gives a host with two source accounts, of which ben is at the target too.
func start(t *testing.T) *demohost.Host {
	t.Helper()
	h, err := demohost.Start(t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	h.AddAccount(demohost.Source, anna, "anna-secret")
	h.AddAccount(demohost.Source, ben, "ben-secret")
	h.AddAccount(demohost.Target, ben, "ben-new")
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func trust(t *testing.T, h *demohost.Host) *tls.Config {
	t.Helper()
	authority, err := os.ReadFile(h.CAFile)
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		t.Fatal("ca.pem holds no certificate")
	}
	return &tls.Config{RootCAs: pool}
}

func address(h *demohost.Host, side demohost.Side) string {
	if side == demohost.Target {
		return h.TargetAddress
	}
	return h.SourceAddress
}

func dial(t *testing.T, h *demohost.Host, side demohost.Side) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialTLS(address(h, side), &imapclient.Options{TLSConfig: trust(t, h)})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// migrate signs in as the migrator for account.
func migrate(t *testing.T, h *demohost.Host, side demohost.Side, account string) *imapclient.Client {
	t.Helper()
	c := dial(t, h, side)
	m := h.Migrator()
	must(t, c.Authenticate(sasl.NewPlainClient(account, m.Login, m.Secret)))
	return c
}

func TestWhoMaySignIn(t *testing.T) {
	h := start(t)
	m := h.Migrator()
	plain := func(identity, user, secret string) func(*imapclient.Client) error {
		return func(c *imapclient.Client) error { return c.Authenticate(sasl.NewPlainClient(identity, user, secret)) }
	}
	login := func(user, secret string) func(*imapclient.Client) error {
		return func(c *imapclient.Client) error { return c.Login(user, secret).Wait() }
	}
	h.AddAccount(demohost.Source, "frozen@old.example", "secret")
	must(t, demohost.Platform{Host: h}.Freeze(t.Context(), platform.Request{Account: "frozen@old.example"}))
	h.AddAccount(demohost.Target, "locked@new.example", "")
	tests := map[string]struct {
		side demohost.Side
		by   func(*imapclient.Client) error
		ok   bool
	}{
		"a user by LOGIN":                           {demohost.Source, login(anna, "anna-secret"), true},
		"a user by PLAIN":                           {demohost.Source, plain("", anna, "anna-secret"), true},
		"a user who names herself twice":            {demohost.Source, plain(anna, anna, "anna-secret"), true},
		"a wrong password":                          {demohost.Source, login(anna, "ben-secret"), false},
		"an unknown user":                           {demohost.Source, login("nobody@old.example", ""), false},
		"an account without a password":             {demohost.Target, login("locked@new.example", ""), false},
		"the migrator as identity":                  {demohost.Source, plain(anna, m.Login, m.Secret), true},
		"the migrator at the target":                {demohost.Target, plain(ben, m.Login, m.Secret), true},
		"the migrator by the master format":         {demohost.Source, login(anna+"*"+m.Login, m.Secret), true},
		"the migrator with a wrong secret":          {demohost.Source, plain(anna, m.Login, "anna-secret"), false},
		"the migrator for nobody":                   {demohost.Source, plain("nobody@old.example", m.Login, m.Secret), false},
		"the migrator without an account":           {demohost.Source, login(m.Login, m.Secret), false},
		"a user for another user":                   {demohost.Source, plain(ben, anna, "anna-secret"), false},
		"a frozen user":                             {demohost.Source, login("frozen@old.example", "secret"), false},
		"the migrator for a frozen account":         {demohost.Source, plain("frozen@old.example", m.Login, m.Secret), true},
		"the password of the source at the target":  {demohost.Target, login(ben, "ben-secret"), false},
		"the password of the target at the target ": {demohost.Target, login(ben, "ben-new"), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := dial(t, h, tt.side)
			err := tt.by(c)
			if (err == nil) != tt.ok {
				t.Fatalf("got %v; want success: %v", err, tt.ok)
			}
			if tt.ok {
				_, err := c.Select("INBOX", nil).Wait()
				must(t, err)
			}
		})
	}
	if got := h.Logins(demohost.Source, anna); got != 3 {
		t.Errorf("anna signed in %d times; want 3: the migrator does not count", got)
	}
}

func TestNobodyElseIsTrusted(t *testing.T) {
	h := start(t)
	if c, err := imapclient.DialTLS(h.SourceAddress, nil); err == nil {
		c.Close()
		t.Error("the certificate is trusted without ca.pem")
	}
	info, err := os.Stat(h.AdminSocket)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the admin socket has mode %04o", info.Mode().Perm())
	}
}

func TestFreezeEndsTheUsersConnections(t *testing.T) {
	h := start(t)
	user, migrator := dial(t, h, demohost.Source), migrate(t, h, demohost.Source, anna)
	must(t, user.Login(anna, "anna-secret").Wait())
	must(t, demohost.Platform{Host: h}.Freeze(t.Context(), platform.Request{Account: anna}))
	select {
	case <-user.Closed():
	case <-time.After(10 * time.Second):
		t.Error("the user's connection lives on")
	}
	must(t, migrator.Noop().Wait())
}

func TestDeliveryFollowsTheRouting(t *testing.T) {
	h := start(t)
	p, r := demohost.Platform{Host: h}, platform.Request{Account: anna, TargetAccount: "anna@new.example"}
	deliver := func(text string) {
		t.Helper()
		must(t, h.Deliver(anna, demohost.Message{Body: []byte("\r\n" + text)}))
	}
	count := func(side demohost.Side, address string, want int) {
		t.Helper()
		mails, err := h.Mailbox(side, address)
		must(t, err)
		if len(mails) != want {
			t.Errorf("%s of %s has %d mails; want %d", side, address, len(mails), want)
		}
	}
	deliver("open")
	count(demohost.Source, anna, 1)
	must(t, p.Freeze(t.Context(), r))
	deliver("frozen")
	count(demohost.Source, anna, 1)
	if got := h.Queued(anna); got != 1 {
		t.Errorf("%d mails wait; want 1", got)
	}
	must(t, p.Thaw(t.Context(), r))
	count(demohost.Source, anna, 2)
	must(t, p.Freeze(t.Context(), r))
	deliver("frozen again")
	if err := p.Switch(t.Context(), r); err == nil {
		t.Error("switched to a target account that does not exist")
	}
	must(t, p.Ensure(t.Context(), r))
	must(t, p.Switch(t.Context(), r))
	deliver("switched")
	count(demohost.Source, anna, 2)
	count(demohost.Target, "anna@new.example", 2)
	if err := h.Deliver("nobody@old.example", demohost.Message{}); err == nil {
		t.Error("delivered to nobody")
	}
}

func TestAUserCanChangeTheSourceUntilItIsFrozen(t *testing.T) {
	h := start(t)
	for _, text := range []string{"one", "two", "three"} {
		must(t, h.Put(demohost.Source, anna, demohost.Message{Body: []byte("\r\n" + text), Flags: []string{`\Seen`}}))
	}
	must(t, h.SetFlags(anna, "INBOX", 1, `\Flagged`, "$Label1"))
	must(t, h.Move(anna, "INBOX", 2, "Projects/R&D"))
	must(t, h.Delete(anna, "INBOX", 3))
	mails, err := h.Mailbox(demohost.Source, anna)
	must(t, err)
	if len(mails) != 2 || mails[0].Folder != "INBOX" || mails[0].UID != 1 || mails[1].Folder != "Projects/R&D" || string(mails[1].Body) != "\r\ntwo" {
		t.Errorf("got %+v", mails)
	} else if f := mails[0].Flags; len(f) != 2 || f[0] != "$Label1" || f[1] != `\Flagged` {
		t.Errorf("flags are %q", f)
	}
	must(t, demohost.Platform{Host: h}.Freeze(t.Context(), platform.Request{Account: anna}))
	if err := h.Delete(anna, "INBOX", 1); err == nil {
		t.Error("a user deleted a mail in a frozen mailbox")
	}
	if h.MutationCount() != 0 {
		t.Error("what users do past IMAP counts as a change by IMAP sessions")
	}
}
