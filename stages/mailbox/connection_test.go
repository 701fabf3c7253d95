package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// TestTokensAreRefreshed proves that a server whose sessions end when the token
// does is copied from in one pass, each new connection with a new token.
func TestTokensAreRefreshed(t *testing.T) {
	for name, end := range map[string]func(*imaptest.Moment){
		"with a BYE":            func(m *imaptest.Moment) { m.Raw, m.Cut = "* BYE Session expired\r\n", 23 },
		"with a NO":             func(m *imaptest.Moment) { m.Refuse("NO", "[AUTHENTICATIONFAILED] token is invalid") },
		"with Exchange's BAD":   func(m *imaptest.Moment) { m.Refuse("BAD", "User is authenticated but not connected.") },
		"by hanging up at once": func(m *imaptest.Moment) { m.HangUp(0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, imaptest.Full, imaptest.Full)
			for i := range 120 { // several groups
				s.from.Add("INBOX", letter(i+200))
			}
			tokens := 0
			s.pass.Source.Server.Auth = "xoauth2"
			s.pass.Source.Login.Secret = func(context.Context) (string, error) {
				s.from.Renew(fmt.Sprint("token ", tokens+1)) // what an identity provider does
				tokens++
				return fmt.Sprint("token ", tokens), nil
			}
			s.source.Inject(imaptest.Fault{Name: "expires", On: "BODY", From: 2, Not: 2, Once: 3, Before: end})
			res := run(t, s.pass)
			if sessions, _ := s.source.Sessions(); res.Copied != 140 || len(res.Skipped) > 0 || sessions < 3 || tokens < 3 {
				t.Errorf("%d copied, %d sessions, %d tokens, named %+v", res.Copied, sessions, tokens, res.Skipped)
			}
			s.honest(res.Skipped)
		})
	}
}

// TestATokenThatExpiredOnItsWay is refused once, and a new one asked for.
func TestATokenThatExpiredOnItsWay(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	e := s.pass.Source
	e.Server.Auth = "xoauth2"
	asked := 0
	e.Login.Secret = func(context.Context) (string, error) {
		if asked++; asked == 1 {
			return "an old one", nil
		}
		return imaptest.Secret, nil
	}
	if err := mailbox.CheckLogin(t.Context(), e); err != nil || asked != 2 {
		t.Errorf("asked %d times for a token: %v", asked, err)
	}
	e.Login.Secret = secret("never the right one")
	if err := mailbox.CheckLogin(t.Context(), e); !errors.Is(err, mailbox.ErrLogin) || !strings.Contains(err.Error(), "status 400") {
		t.Errorf("got %v", err)
	}
}

// TestServersWishes proves that a server that has too many connections gets
// fewer, that the reason is told, and that they grow again when it is calm.
func TestServersWishes(t *testing.T) {
	source, target := imaptest.Start(t, imaptest.Full...), imaptest.Start(t, imaptest.Full...)
	from := &mailbox.Server{Address: source.Address, TLS: "none", Connections: 8, Calm: time.Hour, Stall: 5 * time.Second}
	to := &mailbox.Server{Address: target.Address, TLS: "none", Stall: 5 * time.Second}
	pass := func(name string) mailbox.Pass {
		for i := range 20 {
			source.Account(name).Add(fmt.Sprint("folder", i%4), letter(i+1))
		}
		target.Account(name)
		login := mailbox.Login{User: name, Secret: secret(imaptest.Secret)}
		return mailbox.Pass{
			Source: mailbox.Endpoint{Server: from, Login: login}, Target: mailbox.Endpoint{Server: to, Login: login},
			Store: newMemory(), Options: mailbox.Options{Connections: 4},
		}
	}
	source.Inject(imaptest.Fault{Name: "two at most", On: "AUTHENTICATE", Before: func(m *imaptest.Moment) {
		if m.Open > 2 {
			m.Refuse("NO", "[LIMIT] two connections are enough")
		}
	}})
	var wg sync.WaitGroup
	for i := range 6 {
		p := pass(fmt.Sprint("user", i))
		wg.Go(func() {
			for try := range 20 {
				res, err := p.Run(t.Context())
				switch {
				case err == nil && res.Copied < 20 && try == 0:
					t.Errorf("%d copied", res.Copied)
				case err != nil && !errors.Is(err, mailbox.ErrBusy):
					t.Errorf("got %v", err)
				}
				if err == nil {
					return
				}
				time.Sleep(5 * time.Millisecond) // until the server knows who has left
			}
			t.Error("never let in")
		})
	}
	wg.Wait()
	res := run(t, pass("late"))
	if len(res.Slowed) != 1 || !strings.Contains(res.Slowed[0], "two connections are enough") || !strings.Contains(res.Slowed[0], "at most") {
		t.Errorf("told: %q", res.Slowed)
	}
	from.Calm = time.Nanosecond
	if res := run(t, pass("later")); len(res.Slowed) != 0 {
		t.Errorf("after a calm time: %q", res.Slowed)
	}
	if err := mailbox.CheckLogin(t.Context(), pass("more").Source); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestMaxConnectionsCountsEverybody proves that users' logins count together
// with Godwit's own.
func TestMaxConnectionsCountsEverybody(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	server := s.pass.Target.Server
	server.Connections = 2
	user := mailbox.Endpoint{Server: server.AsUser(), Login: s.pass.Target.Login}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			e := user
			if i%2 == 0 {
				e = s.pass.Target
			}
			if err := mailbox.CheckLogin(t.Context(), e); err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if all, most := s.target.Sessions(); all != 16 || most > 2 {
		t.Errorf("%d sessions, %d at once", all, most)
	}
}

// TestConnectionsAreBounded proves that passes share a server's connections
// and do not wait for each other for ever, in whatever direction they go.
func TestConnectionsAreBounded(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	s.pass.Source.Server.Connections, s.pass.Target.Server.Connections = 2, 1
	var wg sync.WaitGroup
	for i := range 12 {
		p := mailbox.Pass{Source: s.pass.Source, Target: s.pass.Target, Store: newMemory(), Options: mailbox.Options{Connections: 3}}
		if i%2 == 1 {
			p.Source, p.Target = p.Target, p.Source
		}
		p.Options.Exclude = []string{"*"} // side by side into one mailbox is not what is asked here
		wg.Go(func() { run(t, p) })
	}
	wg.Wait()
	for server, bound := range map[*imaptest.Server]int{s.source: 2, s.target: 1} {
		if all, most := server.Sessions(); all < 12 || most > bound {
			t.Errorf("%d sessions, %d at once, want at most %d", all, most, bound)
		}
	}
}

// TestIdleConnectionsAreKept proves that a side which waits long for the other
// is heard of meanwhile, and that commands and NOOPs do not meet.
func TestIdleConnectionsAreKept(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	s.pass.Source.Server.Idle, s.pass.Target.Server.Idle = 2*time.Millisecond, time.Hour
	s.pass.Source.Server.Stall, s.pass.Target.Server.Stall = time.Minute, time.Minute
	heard := make(chan struct{})
	var once sync.Once
	s.source.Inject(imaptest.Fault{On: "NOOP", Before: func(*imaptest.Moment) { once.Do(func() { close(heard) }) }})
	s.target.Inject(imaptest.Fault{On: "APPEND", Once: 1, After: func(m *imaptest.Moment) {
		m.Flood = func(io.Writer) { // the target takes its time until the source has heard of us
			select {
			case <-heard:
			case <-t.Context().Done():
			}
		}
	}})
	if res := run(t, s.pass); res.Copied != 20 {
		t.Errorf("got %+v", res)
	}
	if all, _ := s.source.Sessions(); all != 1 {
		t.Errorf("%d connections to the source", all)
	}
}

// TestConnectionsThatAreRefused holds what must not be signed in on against
// what is said, and proves that no secret was sent.
func TestConnectionsThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		tls   string
		caps  []string
		fault imaptest.Fault
		says  string
	}{
		"already signed in":   {"none", imaptest.Full, imaptest.Fault{On: "GREETING", After: func(m *imaptest.Moment) { m.Raw = "* PREAUTH hello\r\n" }}, "PREAUTH"},
		"STARTTLS stripped":   {"starttls", imaptest.Full, imaptest.Fault{}, "stripping STARTTLS"},
		"LOGIN is disabled":   {"none", []string{"IMAP4rev1", "LOGINDISABLED"}, imaptest.Fault{}, "disabled LOGIN"},
		"says BYE":            {"none", imaptest.Full, imaptest.Fault{On: "GREETING", After: func(m *imaptest.Moment) { m.Raw, m.Cut = "* BYE closed for the night\r\n", 28 }}, "closed for the night"},
		"hangs up with a BYE": {"none", imaptest.Full, imaptest.Fault{On: "AUTHENTICATE", After: func(m *imaptest.Moment) { m.Raw, m.Cut = "* BYE no backend for you\r\n", 26 }}, "no backend for you"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, tt.caps, imaptest.Full)
			s.source.Inject(tt.fault)
			e := s.pass.Source
			e.Server.TLS = tt.tls
			err := mailbox.CheckLogin(t.Context(), e)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), imaptest.Secret) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
			sent := slices.ContainsFunc(s.source.Commands(), func(c string) bool {
				return strings.HasPrefix(c, "LOGIN") || strings.HasPrefix(c, "AUTHENTICATE")
			})
			if sent && tt.fault.On != "AUTHENTICATE" {
				t.Errorf("a secret was sent: %q", s.source.Commands())
			}
		})
	}
}

// TestNoConnectionLeavesThePromisedRegions: not even to greet.
func TestNoConnectionLeavesThePromisedRegions(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	e := s.pass.Source
	e.Server.Residency = []string{"FR", "DE"}
	for region, allowed := range map[string]bool{"FR": true, "DE": true, "US": false, "": false} {
		for _, server := range []*mailbox.Server{e.Server, e.Server.AsUser()} {
			server.Region = region
			before, _ := s.source.Sessions()
			err := mailbox.CheckLogin(t.Context(), mailbox.Endpoint{Server: server, Login: e.Login})
			after, _ := s.source.Sessions()
			if allowed == errors.Is(err, mailbox.ErrResidency) || allowed != (after > before) {
				t.Errorf("region %q: %d sessions more, %v", region, after-before, err)
			}
		}
	}
}
