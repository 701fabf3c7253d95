package main_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	godwit "godwit/cmd/godwit"
	"godwit/stages/demohost"
	"godwit/stages/platform/zimbra/zimbratest"
)

// asBefore is what an account of the source has of its own, and newRoute where
// its mail goes once it has moved.
var asBefore = map[string]string{"zimbraMailTransport": "lmtp:old.example:7025", "zimbraNotes": "pays yearly"}

const newRoute = "smtp:[mx.new.example]:25"

// zimbraSource is the crash test's programme with Zimbra as the source's admin
// side, on the eve of the night.
type zimbraSource struct {
	*crashWorld
	server *zimbratest.Server
	users  []string
}

func newZimbraSource(t *testing.T, settle string, users ...string) *zimbraSource {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	w := &zimbraSource{newCrashWorld(t, bin.godwit), zimbratest.New(t), nil}
	w.users = users
	for _, address := range append([]string{bystander}, users...) {
		w.server.Add(address, "", asBefore)
	}
	list := ""
	for line := range strings.Lines(w.read("list.csv")) {
		if user := strings.Split(line, ",")[1]; user == "account" || slices.Contains(users, user) {
			list += line
		}
	}
	w.write("list.csv", list)
	w.write("zimbra", w.server.AdminPassword)
	w.canaries.Add("the administrator's password", w.server.AdminPassword)
	freeze := regexp.MustCompile(`freeze: \{driver: exec.*`)
	w.write("plan.yaml", freeze.ReplaceAllString(w.read("plan.yaml"), fmt.Sprintf(
		`freeze: {driver: zimbra, url: %q, login: %s, secret: "file:zimbra", ca_file: %q, route: %q, settle: %s}`,
		w.server.URL, w.server.Admin, w.server.CAFile, newRoute, settle)))
	return w
}

// standing counts the accounts whose delivery waits, is as it was, and goes to
// the target.
func (w *zimbraSource) standing() (waiting, before, moved int) {
	w.t.Helper()
	for _, address := range w.users {
		a, _ := w.server.Get(address)
		transport := a.Attrs["zimbraMailTransport"]
		switch {
		case strings.HasPrefix(transport, "retry:"):
			waiting++
		case maps.Equal(a.Attrs, asBefore):
			before++
		case transport == newRoute:
			moved++
		}
		if status, ok := a.Attrs["zimbraAccountStatus"]; ok {
			w.t.Errorf("the status of %s was set to %s: that shuts Godwit out too", address, status)
		}
	}
	return waiting, before, moved
}

func (w *crashWorld) read(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *zimbraSource) until(what string, come func() bool) {
	w.t.Helper()
	for begin := time.Now(); !come(); time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > inTime+time.Minute {
			w.t.Fatalf("it does not come: %s", what)
		}
	}
}

// frozen starts the night's run and returns when an account's delivery waits.
func (w *zimbraSource) frozen() *exec.Cmd {
	w.t.Helper()
	cmd := w.command(nights[2])
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	w.until("a freeze", func() bool { waiting, _, _ := w.standing(); return waiting > 0 })
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed, as wanted
}

// A run that is killed while delivery waits leaves it so for nobody: the guard
// puts the old transport back, and where the guard is killed too, thaw does,
// without the plan. The next night moves everybody; a rollback puts back what
// was there before.
func TestAKilledRunHoldsNoMailBackOnZimbra(t *testing.T) {
	w := newZimbraSource(t, "60s", crashUsers...)
	defer w.close()
	all := len(crashUsers)
	w.run(nights[0], 0)
	w.run(nights[1], 0)

	kill(t, w.frozen())
	w.until("the guard puts the transports back", func() bool { _, before, _ := w.standing(); return before == all })

	run := w.frozen()
	ledger := filepath.Join(w.dir, "out/crash.ledger")
	if err := godwit.KillGuard(ledger); err != nil {
		t.Fatal(err)
	}
	kill(t, run)
	if waiting, _, _ := w.standing(); waiting == 0 {
		t.Fatal("the transports are back though nobody was there to do it")
	}
	good := w.read("plan.yaml")
	w.write("plan.yaml", "no plan")
	if out, err := w.program("thaw", "out/crash.ledger").CombinedOutput(); err != nil {
		t.Fatalf("thaw: %v\n%s", err, out)
	}
	if _, before, _ := w.standing(); before != all {
		t.Errorf("after thaw %d of %d are as before", before, all)
	}
	if strings.Contains(w.read("out/crash.ledger"), w.server.AdminPassword) {
		t.Error("the ledger holds the administrator's password")
	}

	w.write("plan.yaml", strings.Replace(good, "settle: 60s", "settle: 0s", 1))
	w.run("2026-12-02T23:30", 0)
	if _, _, moved := w.standing(); moved != all {
		t.Errorf("%d of %d have moved", moved, all)
	}
	for _, row := range w.rows("acme/report.csv")[1:] {
		if row[4] != "done" || !strings.Contains(row[5], "could still sign in to the old mailbox") {
			t.Errorf("the report says %q: %q", row[4], row[5])
		}
	}
	if out, err := w.program("rollback", "plan.yaml", "--now", "2026-12-03T09:00", "--service", "acme").CombinedOutput(); err != nil {
		t.Fatalf("rollback: %v\n%s", err, out)
	}
	if _, before, moved := w.standing(); before != 2 || moved != 1 {
		t.Errorf("after the rollback of acme %d are as before and %d moved, want 2 and 1", before, moved)
	}
	if a, _ := w.server.Get(bystander); !maps.Equal(a.Attrs, asBefore) {
		t.Errorf("%s was changed: %v", bystander, a.Attrs)
	}
}

// Every request to Zimbra as the source goes wrong once, in two ways, one
// programme for each: the account moves all the same, its mail is held back for
// no longer than that, and nobody else's transport is touched.
func TestEveryFaultOfZimbraAsTheSource(t *testing.T) {
	calm := newZimbraSource(t, "0s", crashUsers[0])
	defer calm.close()
	for _, at := range nights {
		calm.run(at, 0)
	}
	requests := calm.server.Log()
	slots := make(chan struct{}, 3)
	var wg sync.WaitGroup
	worlds := 0
	for n, request := range requests {
		for _, how := range []zimbratest.Failure{zimbratest.Lost, zimbratest.Dropped} {
			if how == zimbratest.Dropped && request != "ModifyAccount" {
				continue // the same as a lost answer
			}
			worlds++
			w := newZimbraSource(t, "0s", crashUsers[0])
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				defer w.close()
				w.server.FailAt(n, how)
				for _, at := range nights {
					tryTo(t, w.bin, w.dir, at, true, w.canaries)
				}
				label := fmt.Sprintf("request %d, %s, %s", n, request, how)
				if _, _, moved := w.standing(); moved != 1 {
					a, _ := w.server.Get(w.users[0])
					t.Errorf("%s: not moved: %v", label, a.Attrs)
				}
				if a, _ := w.server.Get(bystander); !maps.Equal(a.Attrs, asBefore) {
					t.Errorf("%s: %s was changed: %v", label, bystander, a.Attrs)
				}
				source, err := w.host.Mailbox(demohost.Source, w.users[0])
				target, err2 := w.host.Mailbox(demohost.Target, w.users[0])
				if errors.Join(err, err2) != nil || len(source) == 0 || len(source) != len(target) {
					t.Errorf("%s: %d messages at the target, %d at the source, %v", label, len(target), len(source), errors.Join(err, err2))
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d requests, %d programmes with one of them gone wrong", len(requests), worlds)
	if len(requests) < 8 {
		t.Errorf("only %d requests: %v", len(requests), requests)
	}
}
