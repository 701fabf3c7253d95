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

// door is a server that only knows how to let somebody in.
func door(t *testing.T, stall time.Duration, answer func(tag, command string) string) mailbox.Endpoint {
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
				fmt.Fprint(c, "* OK hi\r\n")
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
		e := door(t, 5*time.Second, func(tag, command string) string {
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
	for name, says := range map[string]string{
		"asks for more in no base64":              "+ !!!\r\n",
		"asks for more and refuses in one breath": "+ \r\nTAG NO [UNAVAILABLE] later\r\n",
		"an empty line and nothing more":          "\r\n",
		"a line without a tag":                    " OK\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := door(t, 500*time.Millisecond, func(tag, command string) string {
				switch {
				case command == "CAPABILITY":
					return "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2\r\n" + tag + " OK done\r\n"
				case strings.HasPrefix(command, "AUTHENTICATE"):
					return strings.ReplaceAll(says, "TAG", tag)
				}
				return ""
			})
			for try := range 6 {
				if try%2 == 1 {
					e.Server.Auth = "xoauth2"
					e.Login.Secret = func(context.Context) (string, error) { return time.Now().String(), nil }
				}
				done := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { done <- mailbox.CheckLogin(ctx, e) }()
				select {
				case err := <-done:
					if err == nil || errors.Is(err, mailbox.ErrLogin) {
						t.Errorf("got %v", err)
					}
				case <-time.After(30 * time.Second):
					t.Error("the sign-in hangs")
				}
				cancel()
			}
		})
	}
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
