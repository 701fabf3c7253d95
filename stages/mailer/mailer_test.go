package mailer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/stages/mailer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDelivered(t *testing.T) {
	tests := map[string]sinkOptions{
		"over implicit TLS":               {},
		"over STARTTLS":                   {tls: "starttls"},
		"in clear where the plan says so": {tls: "none"},
		"signed in by PLAIN":              {login: true, plain: true},
		"signed in by LOGIN":              {login: true},
		"signed in after STARTTLS":        {tls: "starttls", login: true, plain: true},
	}
	for name, options := range tests {
		t.Run(name, func(t *testing.T) {
			sink := startSink(t, options)
			sender := sink.sender()
			if err := sender.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			send(t, sender, message(), mailer.Accepted)
			if mails := sink.mails(); len(mails) != 1 || len(mails[0].to) != 1 || mails[0].to[0] != "anna@one.example" {
				t.Errorf("got %+v", mails)
			}
		})
	}
}

func TestQueueIDIsKept(t *testing.T) {
	relay := startScript(t, map[string]string{"dot": "250 2.0.0 \x1b[31mqueued\u202e as 4711 " + strings.Repeat("x", 300)})
	got := send(t, relay.sender(), message(), mailer.Accepted)
	if !strings.Contains(got.Text, "as 4711") || strings.ContainsAny(got.Text, "\x1b\u202e\r\n") || len([]rune(got.Text)) > 200 {
		t.Errorf("got %q", got.Text)
	}
}

func TestVerdictOfEveryAnswer(t *testing.T) {
	steps := []struct {
		command string
		at      mailer.Step
	}{
		{"connect", mailer.Connect},
		{"EHLO", mailer.Connect},
		{"AUTH", mailer.Auth},
		{"MAIL", mailer.Mail},
		{"RCPT", mailer.Rcpt},
		{"DATA", mailer.Data},
		{"dot", mailer.Dot},
	}
	for _, step := range steps {
		answers := map[string]mailer.Verdict{
			"450 4.2.0 later": mailer.Later, "550 5.1.1 no such\x1b[0m user": mailer.Refused,
			"421 4.3.2 closing": mailer.Later, "cut": mailer.Later, "hang": mailer.Later,
			"299 what": mailer.Later, "garbage": mailer.Later, strings.Repeat("2", 3000): mailer.Later,
		}
		if step.command == "dot" {
			for _, answer := range []string{"cut", "hang", "299 what", "garbage", strings.Repeat("2", 3000)} {
				answers[answer] = mailer.Unknown
			}
		}
		if step.command == "RCPT" {
			delete(answers, "299 what") // go-smtp takes any 25x here, and 299 is none: covered by garbage
		}
		for answer, want := range answers {
			t.Run(fmt.Sprintf("%s answered by %.20q", step.command, answer), func(t *testing.T) {
				t.Parallel()
				relay := startScript(t, map[string]string{step.command: answer, "DATA refused": map[bool]string{true: "yes"}[step.command == "DATA"]}, "AUTH PLAIN")
				sender := relay.sender()
				sender.Server.Login = "migration"
				sender.Server.Secret = func(context.Context) (string, error) { return password, nil }
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if answer == "hang" { // ten minutes are waited after the dot
					sender.Timeout = 2 * time.Second
					time.AfterFunc(4*time.Second, cancel)
				}
				t.Cleanup(func() { sender.Close() })
				got := sender.Send(ctx, message())
				if got.Verdict != want || got.At != step.at {
					t.Errorf("got %+v, want %s at %s", got, want, step.at)
				}
				if code, _, _ := strings.Cut(answer, " "); len(code) == 3 && code != "cut" && !strings.Contains(got.Text, code) {
					t.Errorf("the relay's answer is missing: %q", got.Text)
				}
				if strings.ContainsAny(got.Text, "\x1b\r\n") || len([]rune(got.Text)) > 200 || strings.Contains(got.Text, password) {
					t.Errorf("unfit to be shown: %q", got.Text)
				}
				relay.mutex.Lock()
				defer relay.mutex.Unlock()
				if want := map[bool]int{true: 1}[step.command == "dot"]; relay.took != want {
					t.Errorf("the relay has %d messages, want %d", relay.took, want)
				}
			})
		}
	}
}

// large is more than the buffers between two sockets hold, so that a cut is
// noticed while the body is being written.
func large() mailer.Message {
	m := message()
	m.Text = strings.Repeat(strings.Repeat("x", 70)+"\n", 300_000)
	return m
}

func TestCutBeforeTheFinalDotIsLater(t *testing.T) {
	relay := startScript(t, map[string]string{"body": "cut"})
	got := send(t, relay.sender(), large(), mailer.Later)
	if got.At != mailer.Data || relay.took != 0 {
		t.Errorf("got %+v, taken %d", got, relay.took)
	}
}

func TestCancelled(t *testing.T) {
	tests := map[string]struct {
		answers map[string]string
		want    mailer.Verdict
	}{
		"while connecting": {map[string]string{"connect": "hang"}, mailer.Later},
		"before the dot":   {map[string]string{"RCPT": "hang"}, mailer.Later},
		"while it is waited for the answer to the dot": {map[string]string{"dot": "hang"}, mailer.Unknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			relay := startScript(t, tt.answers)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			sender := relay.sender()
			sender.Timeout = time.Minute
			t.Cleanup(func() { sender.Close() })
			start := time.Now()
			got := sender.Send(ctx, message())
			if got.Verdict != tt.want || !strings.Contains(got.Text, "deadline exceeded") || time.Since(start) > 20*time.Second {
				t.Errorf("got %+v after %s", got, time.Since(start))
			}
		})
	}
	relay := startScript(t, nil)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := relay.sender().Send(ended, message()); got.Verdict != mailer.Later || relay.conns != 0 {
		t.Errorf("a context that has ended: %+v, %d connections", got, relay.conns)
	}
}

func TestOneConnectionIsKept(t *testing.T) {
	tests := map[string]struct {
		answers  map[string]string
		verdicts []mailer.Verdict
		conns    int
	}{
		"for many notices":                       {nil, []mailer.Verdict{"accepted", "accepted", "accepted"}, 1},
		"after a refused recipient":              {map[string]string{"RCPT": "550 no|"}, []mailer.Verdict{"refused", "accepted"}, 1},
		"but not after 421 in mid-batch":         {map[string]string{"MAIL": "|421 closing|"}, []mailer.Verdict{"accepted", "later", "accepted"}, 2},
		"nor where the relay died in between":    {map[string]string{"RSET": "cut|"}, []mailer.Verdict{"accepted", "accepted"}, 2},
		"nor where it says 421 to RSET":          {map[string]string{"RSET": "421 idle|"}, []mailer.Verdict{"accepted", "accepted"}, 2},
		"nor after an unknown outcome":           {map[string]string{"dot": "cut|"}, []mailer.Verdict{"unknown", "accepted"}, 2},
		"nor after 421 in answer to the message": {map[string]string{"dot": "421 full|"}, []mailer.Verdict{"later", "accepted"}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			relay := startScript(t, tt.answers)
			sender := relay.sender()
			for _, want := range tt.verdicts {
				send(t, sender, message(), want)
			}
			relay.mutex.Lock()
			defer relay.mutex.Unlock()
			if relay.conns != tt.conns {
				t.Errorf("%d connections, want %d", relay.conns, tt.conns)
			}
		})
	}
}

func TestSeveralGoroutinesShareASender(t *testing.T) {
	sink := startSink(t, sinkOptions{})
	sender := sink.sender()
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			m := message()
			m.To = fmt.Sprintf("user%d@one.example", i)
			if got := sender.Send(t.Context(), m); got.Verdict != mailer.Accepted {
				t.Errorf("got %+v", got)
			}
		})
	}
	all.Wait()
	sender.Close()
	told := map[string]int{}
	for _, mail := range sink.mails() {
		told[mail.to[0]]++
	}
	if len(told) != 20 || len(sink.mails()) != 20 || sink.connections() != 1 {
		t.Errorf("%d recipients, %d mails, %d connections", len(told), len(sink.mails()), sink.connections())
	}
}

func TestNoLoginWithoutVerifiedTLS(t *testing.T) {
	tests := map[string]struct {
		sink   sinkOptions
		change func(*mailer.Server)
		want   string
	}{
		"a certificate by nobody we know":  {sinkOptions{login: true, plain: true}, func(s *mailer.Server) { s.CAFile = "" }, "certificate"},
		"a certificate for another host":   {sinkOptions{login: true, plain: true, host: "other.example"}, nil, "certificate"},
		"the same after STARTTLS":          {sinkOptions{tls: "starttls", login: true, plain: true, host: "other.example"}, nil, "certificate"},
		"TLS 1.1":                          {sinkOptions{login: true, plain: true, oldest: tls.VersionTLS11}, nil, "protocol version"},
		"plaintext where TLS was expected": {sinkOptions{tls: "none", login: true, plain: true}, func(s *mailer.Server) { s.TLS = "implicit" }, "tls:"},
		"a CA file without certificates":   {sinkOptions{}, func(s *mailer.Server) { s.CAFile = "sink_test.go" }, "holds no PEM certificate"},
		"a CA file that is not there":      {sinkOptions{}, func(s *mailer.Server) { s.CAFile = "nowhere.pem" }, "nowhere.pem"},
		"a misspelt mode":                  {sinkOptions{}, func(s *mailer.Server) { s.TLS = "start-tls" }, `"start-tls" is none of implicit, starttls, none`},
		"outside of the promised regions":  {sinkOptions{login: true, plain: true}, func(s *mailer.Server) { s.Region, s.Residency = "US", []string{"FR", "DE"} }, "stays in FR, DE; no connection was made"},
		"no region where one was promised": {sinkOptions{login: true, plain: true}, func(s *mailer.Server) { s.Residency = []string{"FR"} }, `its region is ""`},
		"no port":                          {sinkOptions{}, func(s *mailer.Server) { s.Address = "localhost" }, "not host:port"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sink := startSink(t, tt.sink)
			sender := sink.sender()
			asked := false
			sender.Server.Secret = func(context.Context) (string, error) { asked = true; return password, nil }
			if tt.change != nil {
				tt.change(&sender.Server)
			}
			got := send(t, sender, message(), mailer.Later)
			if !strings.Contains(got.Text, tt.want) || asked || len(sink.mails()) != 0 {
				t.Errorf("got %+v, want %q; secret opened: %v", got, tt.want, asked)
			}
			if err := sender.Probe(t.Context()); err == nil || err.Error() != got.Text {
				t.Errorf("probe says %v", err)
			}
		})
	}
}

func TestStartTLSIsMandatory(t *testing.T) {
	tests := map[string]struct {
		answers map[string]string
		offers  []string
	}{
		"stripped by somebody in between": {nil, []string{"AUTH PLAIN"}},
		"answered by no":                  {map[string]string{"STARTTLS": "454 not now"}, []string{"STARTTLS", "AUTH PLAIN"}},
		"answered by never":               {map[string]string{"STARTTLS": "554 never"}, []string{"STARTTLS", "AUTH PLAIN"}},
		"followed by plaintext":           {map[string]string{"STARTTLS": "220 go\n250-sink\n250 AUTH PLAIN"}, []string{"STARTTLS"}},
		"followed by plaintext, folded":   {map[string]string{"STARTTLS": "220-go\n220 on\n235 in"}, []string{"STARTTLS"}},
		"and then nothing":                {map[string]string{"STARTTLS": "hang"}, []string{"STARTTLS"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			relay := startScript(t, tt.answers, tt.offers...)
			sender := relay.sender()
			if sender.Timeout = 5 * time.Second; name == "and then nothing" {
				sender.Timeout = 300 * time.Millisecond
			}
			sender.Server.TLS, sender.Server.Login = "starttls", "migration"
			sender.Server.Secret = func(context.Context) (string, error) { t.Error("the secret was opened"); return password, nil }
			t.Cleanup(func() { sender.Close() })
			got := sender.Send(t.Context(), message())
			if got.At != mailer.TLS && got.At != mailer.Connect || got.Verdict == mailer.Accepted || got.Verdict == mailer.Unknown {
				t.Errorf("got %+v", got)
			}
			if strings.Contains(name, "plaintext") && !strings.Contains(got.Text, "tampering") {
				t.Errorf("the injection goes unnoticed: %q", got.Text)
			}
			if heard := relay.commands(); strings.Contains(heard, "AUTH") || strings.Contains(heard, "MAIL") {
				t.Errorf("went on in clear:\n%s", heard)
			}
		})
	}
}

func TestSigningIn(t *testing.T) {
	secret := func(context.Context) (string, error) { return password, nil }
	tests := map[string]struct {
		answers map[string]string
		offers  []string
		secret  func(context.Context) (string, error)
		verdict mailer.Verdict
		want    string
	}{
		"nothing that we speak is offered": {nil, []string{"AUTH CRAM-MD5"}, secret, mailer.Later, "offers neither AUTH PLAIN nor LOGIN"},
		"no AUTH at all":                   {nil, nil, secret, mailer.Later, "offers neither"},
		"the secret cannot be had":         {nil, []string{"AUTH PLAIN"}, func(context.Context) (string, error) { return "", errors.New("env:X is not set") }, mailer.Later, "auth: secret: env:X is not set"},
		"no secret":                        {nil, []string{"AUTH PLAIN"}, nil, mailer.Later, "a login without a secret"},
		"a relay that repeats what it was told": {
			map[string]string{"AUTH": "535 5.7.8 bad AUTH PLAIN AG1pZ3JhdGlvbgBjb3JyZWN0LWhvcnNlLWJhdHRlcnk= " + password},
			[]string{"AUTH PLAIN"},
			secret, mailer.Refused, "auth: 535 5.7.8 bad AUTH PLAIN [secret] [secret]",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			relay := startScript(t, tt.answers, tt.offers...)
			sender := relay.sender()
			sender.Server.Login, sender.Server.Secret = "migration", tt.secret
			got := send(t, sender, message(), tt.verdict)
			if !strings.Contains(got.Text, tt.want) || got.At != mailer.Auth || strings.Contains(relay.commands(), "MAIL") {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

func TestARelayThatIsNotThereIsLater(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	sender := &mailer.Sender{Server: mailer.Server{Address: address, TLS: "none"}}
	got := send(t, sender, message(), mailer.Later)
	if got.At != mailer.Connect || !strings.Contains(got.Text, "refused") {
		t.Errorf("got %+v", got)
	}
	if err := sender.Close(); err != nil {
		t.Error(err)
	}
}
