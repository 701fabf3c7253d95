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
	ways := map[string]func(tag, line string) string{
		"in the text": func(tag, line string) string {
			return tag + " NO [AUTHENTICATIONFAILED] you said: " + line + "\r\n"
		},
		"as its tag": func(_, line string) string {
			return line[strings.LastIndex(line, " ")+1:] + " NO no\r\n"
		},
		"as its word": func(tag, line string) string {
			return tag + line[strings.LastIndex(line, " "):] + " no\r\n"
		},
	}
	for how, repeat := range ways {
		t.Run(how, func(t *testing.T) { tellsNobody(t, canary, repeat) })
	}
}

func tellsNobody(t *testing.T, canary string, repeat func(tag, line string) string) {
	for _, auth := range []string{"password", "master", "authzid", "xoauth2"} {
		for name, capabilities := range map[string]string{"with SASL": "IMAP4rev1 AUTH=PLAIN SASL-IR AUTH=XOAUTH2", "with LOGIN": "IMAP4rev1 AUTH=XOAUTH2"} {
			t.Run(auth+" "+name, func(t *testing.T) {
				server := &mailbox.Server{
					Address: echo(t, capabilities, repeat), TLS: "none", Auth: auth, Login: "migrator",
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
				if strings.Contains(strings.ToLower(text), "canary") || strings.Contains(strings.ToUpper(text), strings.ToUpper(base64.StdEncoding.EncodeToString([]byte(canary)))) {
					t.Errorf("the secret is told: %q", text)
				}
			})
		}
	}
}

// echo refuses everything, repeating it.
func echo(t *testing.T, capabilities string, repeat func(tag, line string) string) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		defer conn.Close()
		lines := bufio.NewScanner(conn)
		_, _ = conn.Write([]byte("* OK [CAPABILITY " + capabilities + "] ready\r\n"))
		for lines.Scan() {
			tag, _, _ := strings.Cut(lines.Text(), " ")
			_, _ = conn.Write([]byte(repeat(tag, lines.Text())))
		}
	})
}
