package mailbox_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// TestWhatIsOfferedAfterTheLogin proves that what a server offers is asked for
// again once somebody is in, where the login's answer does not tell it.
func TestWhatIsOfferedAfterTheLogin(t *testing.T) {
	for range 200 {
		s := &script{say: func(s *script, command string) (string, bool, bool) {
			in := slices.ContainsFunc(s.seen, func(c string) bool { return strings.HasPrefix(c, "AUTHENTICATE") })
			return "* CAPABILITY IMAP4rev1 UIDPLUS MULTIAPPEND\r\nTAG OK done\r\n", in && command == "CAPABILITY", false
		}}
		caps, owed, err := mailbox.SignIn(t.Context(), s.start(t))
		if err != nil || !slices.Contains(caps, "MULTIAPPEND") || owed != 0 {
			t.Fatalf("got %q, %d answers owed, %v", caps, owed, err)
		}
	}
}

// TestSignInsThatLeadNowhere proves that a server which refuses in the midst of
// a sign-in, or says nothing that counts, is given up.
func TestSignInsThatLeadNowhere(t *testing.T) {
	for name, tt := range map[string]struct{ greeting, says string }{
		"asks for more and refuses in one breath": {says: "+ \r\nTAG NO [UNAVAILABLE] later\r\n"},
		"asks for more in no base64":              {says: "+ !!!\r\n"},
		"asks for more with a literal":            {says: "+ {0}\r\n\r\n"},
		"ends with a literal":                     {says: "TAG OK {0}\r\n\r\n"},
		"an empty line and nothing more":          {says: "\r\n"},
		"a line without a tag":                    {says: " OK\r\n"},
		"greets with a blank":                     {greeting: " "},
		"greets with a word of its own":           {greeting: "* FOO"},
		"greets with a literal":                   {greeting: "* OK {0}\r\n"},
		"greets with what it can do":              {greeting: "* CAPABILITY IMAP4rev1"},
		"greets with a request to go on":          {greeting: "+ go on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{greeting: tt.greeting, caps: "IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2", say: func(_ *script, command string) (string, bool, bool) {
				return tt.says, strings.HasPrefix(command, "AUTHENTICATE"), false
			}}
			e := s.start(t)
			e.Server.Stall = 500 * time.Millisecond
			for _, auth := range []string{"password", "xoauth2"} {
				e.Server.Auth = auth
				e.Login.Secret = func(context.Context) (string, error) { return time.Now().String(), nil }
				t.Log(auth, ": ", goesNowhere(t, e))
			}
		})
	}
}

// goesNowhere fails the test where a sign-in succeeds, hangs, or reads as a
// wrong password.
func goesNowhere(t *testing.T, e mailbox.Endpoint) (err error) {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- mailbox.CheckLogin(ctx, e) }()
	select {
	case err = <-done:
		if err == nil || errors.Is(err, mailbox.ErrLogin) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the sign-in hangs")
	}
	return err
}

// TestASignInThatNeverEnds proves that a server which says something now and
// then, and never lets anybody in, is given up as well, with words for it.
func TestASignInThatNeverEnds(t *testing.T) {
	err := goesNowhere(t, mailbox.Endpoint{
		Server: &mailbox.Server{TLS: "none", Stall: 300 * time.Millisecond, Address: listen(t, func(c net.Conn) {
			defer c.Close()
			for _, err := io.WriteString(c, "* FOO\r\n"); err == nil; _, err = io.WriteString(c, "* FOO\r\n") {
				time.Sleep(50 * time.Millisecond)
			}
		})},
		Login: mailbox.Login{User: "anna", Secret: secret(userSecret)},
	})
	if err != nil && (!strings.Contains(err.Error(), "for 1.5s the server has said something now and then, and has not let us in") || strings.Contains(err.Error(), "closed")) {
		t.Errorf("got %v", err)
	}
}

// TestPasswordsThatLookLikeCommands proves that what goes out as a literal is
// not taken for a command.
func TestPasswordsThatLookLikeCommands(t *testing.T) {
	s := &script{caps: "IMAP4rev1", say: func(_ *script, command string) (string, bool, bool) {
		switch {
		case strings.HasPrefix(command, "LOGIN {"), strings.HasPrefix(command, "é {"):
			return "+ go on\r\n", true, false
		case command == "é":
			return "T2 NO [AUTHENTICATIONFAILED] no\r\n", true, false
		}
		return "", false, false
	}}
	e := s.start(t)
	e.Server.Stall = 5 * time.Second
	e.Login = mailbox.Login{User: "T1 é", Secret: secret("T1 é")}
	if err := mailbox.CheckLogin(t.Context(), e); !errors.Is(err, mailbox.ErrLogin) || !slices.Contains(s.told(), "é") {
		t.Errorf("got %v; told %q", err, s.told())
	}
}

// TestAStrangersEnd proves that the end of a command that nobody gave, of which
// the library sees nothing, leaves those that were given their time limit.
func TestAStrangersEnd(t *testing.T) {
	s := &script{say: func(_ *script, command string) (string, bool, bool) {
		return "T9 OK {0}\r\n\r\n", strings.HasPrefix(command, "EXAMINE") || command == "CLOSE", false
	}}
	e := s.start(t)
	e.Server.Stall = 500 * time.Millisecond
	t.Log(goesNowhere(t, e))
}
