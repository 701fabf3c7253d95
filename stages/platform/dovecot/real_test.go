package dovecot_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/stages/mailbox"
	"godwit/stages/platform"
	"godwit/stages/platform/dovecot"
)

// lab is the source of a lab: a real Dovecot with a deny file and an HTTP API.
type lab struct {
	Dir    string
	CA     string
	Source struct {
		Address  string
		Doveadm  struct{ URL string }
		DenyFile string `json:"deny_file"`
	}
	Master struct{ Login string }
}

func startLab(t *testing.T) *lab {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/dovecot"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Dovecot: apt-get install dovecot-imapd")
		}
		t.Skip("no Dovecot: apt-get install dovecot-imapd")
	}
	bin := filepath.Join(t.TempDir(), "lab")
	if out, err := exec.Command("go", "build", "-o", bin, "../../../cmd/godwit-lab").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	up := exec.Command(bin, "up", "-dir", t.TempDir(), "-fsync", "never")
	stdin, err := up.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	up.Stderr = os.Stderr
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = up.Wait() })
	l := &lab{}
	if err := json.NewDecoder(stdout).Decode(l); err != nil {
		t.Fatal(err)
	}
	user := exec.Command(bin, "user", "-dir", l.Dir, "-side", "source", anna, "-")
	user.Stdin = strings.NewReader("secret")
	if out, err := user.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return l
}

func (l *lab) file(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		data, err := os.ReadFile(filepath.Join(l.Dir, name))
		return strings.TrimSpace(string(data)), err
	}
}

// in says whether anna, or the migrator as anna, is let in.
func (l *lab) in(t *testing.T, auth string) bool {
	t.Helper()
	server := &mailbox.Server{Address: l.Source.Address, TLS: "implicit", CAFile: l.CA, Auth: "password"}
	secret := func(context.Context) (string, error) { return "secret", nil }
	if auth == "master" {
		server.Auth, server.Login, server.MasterFormat, server.Secret = "master", l.Master.Login, "{account}*{login}", l.file("master.secret")
	}
	err := mailbox.CheckLogin(t.Context(), mailbox.Endpoint{Server: server, Login: mailbox.Login{User: anna, Secret: secret}})
	if err != nil && !errors.Is(err, mailbox.ErrLogin) {
		t.Fatal(err)
	}
	return err == nil
}

// The real Dovecot does as the driver says, and each time at once.
func TestRealDovecot(t *testing.T) {
	l := startLab(t)
	d, err := dovecot.New(dovecot.Config{URL: l.Source.Doveadm.URL, CAFile: l.CA, Secret: l.file("source/doveadm.secret"), DenyFile: l.Source.DenyFile})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Probe(); err != nil {
		t.Fatal(err)
	}
	r := request(anna)
	session := l.dial(t) // begun before the freeze
	session.say(t, "a LOGIN "+anna+" secret", "a OK")
	if err := d.Freeze(t.Context(), request("nobody@old.example")); !errors.Is(err, platform.ErrNoAccount) {
		t.Errorf("an unknown account: %v", err)
	}
	steps := []struct {
		action string
		do     func(context.Context, platform.Request) error
		state  platform.State
	}{
		{"nothing", func(context.Context, platform.Request) error { return nil }, platform.Open},
		{"freeze", d.Freeze, platform.Frozen},
		{"thaw", d.Thaw, platform.Open},
		{"freeze again", d.Freeze, platform.Frozen},
		{"switch", d.Switch, platform.Switched},
	}
	for _, s := range steps {
		if err := s.do(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", s.action, err)
		}
		if state, err := d.Check(t.Context(), r); state != s.state || err != nil {
			t.Errorf("%s: it says %s, %v", s.action, state, err)
		}
		if in := l.in(t, "password"); in != (s.state == platform.Open) {
			t.Errorf("%s: anna is let in: %v", s.action, in)
		}
		if !l.in(t, "master") {
			t.Errorf("%s: Godwit is kept out", s.action)
		}
		if s.action == "freeze" {
			session.gone(t)
		}
	}
}
