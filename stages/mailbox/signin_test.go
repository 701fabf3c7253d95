package mailbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

const hi = "* OK hi\r\n"

// door is a server that only knows how to let somebody in.
func door(t *testing.T, stall time.Duration, greeting string, answer func(tag, command string) string) mailbox.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprint(c, greeting)
				for lines := bufio.NewScanner(c); lines.Scan(); {
					tag, command, _ := strings.Cut(lines.Text(), " ")
					fmt.Fprint(c, answer(tag, command))
				}
			}()
		}
	}()
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: l.Addr().String(), TLS: "none", Stall: stall},
		Login:  mailbox.Login{User: "anna", Secret: secret("secret")},
	}
}

// TestWhatIsOfferedAfterTheLogin proves that what a server offers is asked for
// again once somebody is in, where the login's answer does not tell it.
func TestWhatIsOfferedAfterTheLogin(t *testing.T) {
	for range 200 {
		in := false
		e := door(t, 5*time.Second, hi, func(tag, command string) string {
			switch {
			case command == "CAPABILITY" && in:
				return "* CAPABILITY IMAP4rev1 UIDPLUS MULTIAPPEND\r\n" + tag + " OK done\r\n"
			case command == "CAPABILITY":
				return "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n" + tag + " OK done\r\n"
			case strings.HasPrefix(command, "AUTHENTICATE"):
				in = true
			}
			return tag + " OK done\r\n"
		})
		caps, owed, err := mailbox.SignIn(t.Context(), e)
		if err != nil || !slices.Contains(caps, "MULTIAPPEND") || owed != 0 {
			t.Fatalf("got %q, %d answers owed, %v", caps, owed, err)
		}
	}
}

// TestSignInsThatLeadNowhere proves that a server which refuses in the midst of
// a sign-in, or says nothing that counts, is given up.
func TestSignInsThatLeadNowhere(t *testing.T) {
	for name, tt := range map[string]struct {
		greeting, says string // TAG: of the command
	}{
		"asks for more and refuses in one breath": {hi, "+ \r\nTAG NO [UNAVAILABLE] later\r\n"},
		"asks for more in no base64":              {hi, "+ !!!\r\n"},
		"asks for more with a literal":            {hi, "+ {0}\r\n\r\n"},
		"ends with a literal":                     {hi, "TAG OK {0}\r\n\r\n"},
		"an empty line and nothing more":          {hi, "\r\n"},
		"a line without a tag":                    {hi, " OK\r\n"},
		"greets with an empty line":               {"\r\n", ""},
		"greets with a word of its own":           {"* FOO\r\n", ""},
		"greets with a literal":                   {"* OK {0}\r\n\r\n", ""},
		"greets with what it can do":              {"* CAPABILITY IMAP4rev1\r\n", ""},
		"greets with a request to go on":          {"+ go on\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := door(t, 500*time.Millisecond, tt.greeting, func(tag, command string) string {
				switch {
				case command == "CAPABILITY":
					return "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2\r\n" + tag + " OK done\r\n"
				case strings.HasPrefix(command, "AUTHENTICATE"):
					return strings.ReplaceAll(tt.says, "TAG", tag)
				}
				return ""
			})
			for _, auth := range []string{"password", "xoauth2"} {
				e.Server.Auth = auth
				e.Login.Secret = func(context.Context) (string, error) { return time.Now().String(), nil }
				goesNowhere(t, e)
			}
		})
	}
}

func goesNowhere(t *testing.T, e mailbox.Endpoint) {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { done <- mailbox.CheckLogin(ctx, e) }()
	select {
	case err := <-done:
		if err == nil || errors.Is(err, mailbox.ErrLogin) {
			t.Errorf("got %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the sign-in hangs")
	}
}

// TestASignInThatNeverEnds proves that a server which says something now and
// then, and never lets anybody in, is given up as well.
func TestASignInThatNeverEnds(t *testing.T) {
	goesNowhere(t, mailbox.Endpoint{
		Server: &mailbox.Server{Address: drip(t, "* FOO\r\n", 50*time.Millisecond), TLS: "none", Stall: 300 * time.Millisecond},
		Login:  mailbox.Login{User: "anna", Secret: secret("secret")},
	})
}

// drip is a server that says the same again and again.
func drip(t *testing.T, line string, pause time.Duration) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for _, err := fmt.Fprint(c, line); err == nil; _, err = fmt.Fprint(c, line) {
					time.Sleep(pause)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// TestPasswordsThatLookLikeCommands proves that what goes out as a literal is
// not taken for a command.
func TestPasswordsThatLookLikeCommands(t *testing.T) {
	var user, password bool
	e := door(t, 5*time.Second, hi, func(tag, command string) string {
		switch {
		case command == "CAPABILITY":
			return "* CAPABILITY IMAP4rev1\r\n" + tag + " OK done\r\n"
		case strings.HasPrefix(command, "LOGIN {"):
			return "+ go on\r\n"
		case tag == "T1" && strings.HasPrefix(command, "é {"):
			user = true
			return "+ go on\r\n"
		case tag == "T1" && command == "é":
			password = true
			return "T2 NO [AUTHENTICATIONFAILED] no\r\n"
		}
		return tag + " BAD what\r\n"
	})
	e.Login = mailbox.Login{User: "T1 é", Secret: secret("T1 é")}
	if err := mailbox.CheckLogin(t.Context(), e); !errors.Is(err, mailbox.ErrLogin) || !user || !password {
		t.Errorf("got %v; the user %v, the password %v", err, user, password)
	}
}

// TestAStrangersEnd proves that the end of a command that nobody gave, of which
// the library sees nothing, leaves those that were given their time limit.
func TestAStrangersEnd(t *testing.T) {
	e := door(t, 500*time.Millisecond, hi, func(tag, command string) string {
		switch {
		case command == "CAPABILITY":
			return "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n" + tag + " OK done\r\n"
		case strings.HasPrefix(command, "AUTHENTICATE"):
			return tag + " OK [CAPABILITY IMAP4rev1] done\r\n"
		case strings.HasPrefix(command, "EXAMINE"):
			return "T9 OK {0}\r\n\r\n"
		}
		return ""
	})
	goesNowhere(t, e)
}

// TestNothingIsSaidIntoAMessage proves that a connection is not kept alive in
// the midst of an APPEND.
func TestNothingIsSaidIntoAMessage(t *testing.T) {
	for range 10 {
		s := newScenario(t, imaptest.Full, imaptest.Full)
		for n := range 40 {
			m := letter(400 + n)
			m.Body = append(m.Body, strings.Repeat("0123456789abcde\r\n", 4000)...)
			s.from.Add(strings.Repeat("F", 1+n%8), m)
		}
		s.pass.Options.Verify, s.pass.Options.Final = "", false
		s.patient()
		s.pass.Target.Server.Idle = 20 * time.Microsecond
		run(t, s.pass)
		for _, list := range s.to.Contents() {
			for _, m := range list {
				if strings.Contains(string(m.Body), " NOOP\r\n") {
					t.Fatal("a message holds a NOOP")
				}
			}
		}
	}
}
