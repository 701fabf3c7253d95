package mailbox_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"net"
	"strings"
	"testing"

	"godwit/stages/mailbox"
)

// A server that repeats what it refuses must not make us say a secret.
func TestAServerThatRepeatsTheLoginTellsNobody(t *testing.T) {
	const canary = `Canary-"pw\9`
	for _, auth := range []string{"password", "master", "authzid", "xoauth2"} {
		for name, capabilities := range map[string]string{"with SASL": "IMAP4rev1 AUTH=PLAIN SASL-IR AUTH=XOAUTH2", "with LOGIN": "IMAP4rev1 AUTH=XOAUTH2"} {
			t.Run(auth+" "+name, func(t *testing.T) {
				server := &mailbox.Server{
					Address: echo(t, capabilities), TLS: "none", Auth: auth, Login: "migrator",
					Secret: func(context.Context) (string, error) { return canary, nil },
				}
				login := mailbox.Login{User: "anna@old.example", Secret: server.Secret}
				err := mailbox.CheckLogin(t.Context(), mailbox.Endpoint{Server: server, Login: login})
				if err == nil {
					t.Fatal("let in")
				}
				text := err.Error()
				for _, word := range strings.Fields(text) {
					if plain, err := base64.StdEncoding.DecodeString(strings.Trim(word, `"`)); err == nil {
						text += " " + string(plain)
					}
				}
				if strings.Contains(text, "Canary") {
					t.Errorf("the secret is told: %q", text)
				}
			})
		}
	}
}

// echo refuses everything, repeating it.
func echo(t *testing.T, capabilities string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				_, _ = conn.Write([]byte("* OK [CAPABILITY " + capabilities + "] ready\r\n"))
				for lines.Scan() {
					tag, _, _ := strings.Cut(lines.Text(), " ")
					_, _ = conn.Write([]byte(tag + " NO [AUTHENTICATIONFAILED] you said: " + lines.Text() + "\r\n"))
				}
			}()
		}
	}()
	return l.Addr().String()
}
