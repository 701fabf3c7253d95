package main_test

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"godwit/stages/demohost"
	"godwit/stages/platform/zimbra/zimbratest"
)

// bystander is an account of the target that is not in any list.
const bystander = "boss@new.example"

// zimbraWorld is the crash test's programme with Zimbra as the target's admin
// side; its passwords open the mailboxes of the pretend hoster.
type zimbraWorld struct {
	*crashWorld
	server *zimbratest.Server
}

func newZimbraWorld(t *testing.T, bin string) *zimbraWorld {
	t.Helper()
	w := &zimbraWorld{newCrashWorld(t, bin), zimbratest.New(t)}
	z := w.server
	z.Domains = []string{"acme.example", "zeta.example", "new.example"}
	z.Add(bystander, "untouched", nil)
	z.Add("zoe@zeta.example", "own-password-2", nil) // keeps her password
	w.host.AddAccount(demohost.Target, "zoe@zeta.example", "own-password-2")
	z.OnCreate = func(account string) { w.host.AddAccount(demohost.Target, account, "") }
	z.OnPassword = func(account, password string) { w.host.SetPassword(demohost.Target, account, password) }
	w.write("zimbra", z.AdminPassword)
	admin := regexp.MustCompile(`admin: \{driver: exec.*`)
	w.write("plan.yaml", admin.ReplaceAllString(w.read("plan.yaml"), fmt.Sprintf(
		`admin: {driver: zimbra, url: %q, login: %s, secret: "file:zimbra", ca_file: %q, create: true}`, z.URL, z.Admin, z.CAFile)))
	return w
}

// settled checks what must hold when the programme is over, however it went.
func (w *zimbraWorld) settled(label string) {
	t := w.t
	t.Helper()
	rows := w.rows("acme/passwords.csv")
	if len(rows) != 3 {
		t.Errorf("%s: the list has %d rows, want 2 passwords and a header", label, len(rows))
	}
	for _, row := range rows[1:] {
		a, ok := w.server.Get(row[2])
		if !ok || a.Password != row[3] {
			t.Errorf("%s: the listed password of %s is not the one on the target", label, row[2])
		}
		if a.Attrs["zimbraPasswordMustChange"] != "TRUE" {
			t.Errorf("%s: %s need not change the password", label, row[2])
		}
	}
	for name, password := range map[string]string{bystander: "untouched", "zoe@zeta.example": "own-password-2"} {
		if a, _ := w.server.Get(name); a.Password != password || len(a.Attrs) != 0 {
			t.Errorf("%s: %s was changed: %v", label, name, a.Attrs)
		}
	}
	for _, address := range crashUsers {
		source, err := w.host.Mailbox(demohost.Source, address)
		if err != nil {
			t.Fatal(err)
		}
		target, err := w.host.Mailbox(demohost.Target, address)
		if err != nil || len(target) != len(source) {
			t.Errorf("%s: %s: %d messages at the target, %d at the source, %v", label, address, len(target), len(source), err)
		}
	}
}

// TestTheProgrammeOnZimbra: temporary passwords on a server that behaves like
// Zimbra; then the same with every request to it going wrong once, in each way,
// one programme for each. However it goes: every pair in the list logs in, who
// has to choose a new password is told to, and nobody else is touched.
func TestTheProgrammeOnZimbra(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	calm := newZimbraWorld(t, bin.godwit)
	defer calm.close()
	for _, at := range nights {
		calm.run(at, 0)
	}
	calm.settled("undisturbed")
	requests := calm.server.Log()
	t.Logf("%d requests to fail", len(requests))
	if len(requests) < 20 { // or the test is empty in silence

		t.Fatalf("only %d requests: %v", len(requests), requests)
	}
	slots := make(chan struct{}, 3)
	var wg sync.WaitGroup
	for n, request := range requests {
		for _, how := range []zimbratest.Failure{zimbratest.Lost, zimbratest.Dropped} {
			if strings.HasPrefix(request, "Get") && how == zimbratest.Dropped {
				continue // the same as a lost answer
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				w := newZimbraWorld(t, bin.godwit)
				defer w.close()
				w.server.FailAt(n, how)
				label := fmt.Sprintf("request %d, %s, %s", n, request, how)
				for _, at := range nights {
					w.try(at)
					w.try(strings.Replace(at, ":00", ":40", 1))
				}
				w.try("2026-12-02T23:55")
				w.settled(label)
			})
		}
	}
	wg.Wait()
}

// try is a run that may put something off. It is not left to wait for the next
// try: the run that follows makes it.
func (w *zimbraWorld) try(at string) {
	w.t.Helper()
	cmd := w.command(at)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Error(err)
		return
	}
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "msg=waiting") {
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	_ = cmd.Wait() // its code is looked at below
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 && code != 130 {
		w.t.Errorf("run --now %s ended with %d:\n%s", at, code, log.String())
	}
	if strings.Contains(log.String(), w.server.AdminPassword) {
		w.t.Errorf("run --now %s shows the administrator's password", at)
	}
}
