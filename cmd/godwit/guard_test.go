package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	godwit "godwit/cmd/godwit"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
)

// inTime is what a guard may take (issue 4), and what a busy machine adds.
const inTime = 30 * time.Second

// frozenNight is a lab with the driver dovecot, on the eve of a night whose
// cutovers take long: every mailbox has to be quiet for a minute.
func frozenNight(t *testing.T) *laboratory {
	l := newLaboratory(t, 60, "60s", []user{
		{"acme.example", "anna@acme.example", "own-Password-anna", "keep"},
		{"acme.example", "ben@acme.example", "own-Password-ben", "keep"},
		{"club.example", "zoe@club.example", "own-Password-zoe", "temporary"},
	})
	plan := l.read("plan.yaml")
	before, rest, _ := strings.Cut(plan, "  freeze: {")
	_, after, _ := strings.Cut(rest, "\n")
	l.write(filepath.Join(l.dir, "postfix"), "")
	l.write(filepath.Join(l.dir, "postmap"), "#!/bin/sh\nexec cp \"$1\" \"$1.db\"\n")
	if err := os.Chmod(filepath.Join(l.dir, "postmap"), 0o700); err != nil {
		t.Fatal(err)
	}
	doveadm := strings.TrimSpace(l.readFile(filepath.Join(l.home, "source", "doveadm.secret")))
	l.env = append(l.env, "DOVEADM_SECRET="+doveadm)
	l.canaries.Given("godwit", "the secret of doveadm", doveadm)
	l.write(filepath.Join(l.dir, "plan.yaml"), before+`  freeze:
    driver: dovecot
    url: "`+l.up.Source.Doveadm.URL+`"
    ca_file: "`+l.up.CA+`"
    secret: env:DOVEADM_SECRET
    deny_file: "`+l.up.Source.DenyFile+`"
    transport_map: postfix
    postmap: ["./postmap", "`+filepath.Join(l.dir, "postfix")+`"]
    route: "smtp:[mx.new.example]:25"
    settle: 60s
`+after)
	out, code := l.godwit("validate", "plan.yaml")
	if code != 0 {
		t.Fatalf("validate ended with %d:\n%s", code, out)
	}
	l.run("2026-11-25T03:00")
	l.run("2026-12-01T03:00")
	return l
}

func (l *laboratory) readFile(path string) string {
	l.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		l.t.Fatal(err)
	}
	return string(data)
}

func (l *laboratory) read(name string) string { return l.readFile(filepath.Join(l.dir, name)) }

// freeze starts the night's run and returns when everybody is locked out.
func (l *laboratory) freeze() *exec.Cmd {
	l.t.Helper()
	cmd := exec.Command(l.bin.godwit, "run", "plan.yaml", "--now", "2026-12-02T22:30")
	cmd.Dir, cmd.Env = l.dir, append(os.Environ(), l.env...)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	l.eventually(time.Minute, "everybody is frozen", func() bool { return !l.anyIn() && l.begun() == len(l.users) })
	return cmd
}

// begun counts the freezes that stand in the ledger as done.
func (l *laboratory) begun() (n int) {
	for _, s := range l.underway() {
		store, err := sqlite.Read(l.t.Context(), filepath.Join(l.dir, "out/lab.ledger"))
		if err != nil {
			l.t.Fatal(err)
		}
		marks, err := store.Marks(l.t.Context(), s.Key)
		if err != nil {
			l.t.Fatal(err)
		}
		store.Close()
		if marks["freeze"] == ledger.Done {
			n++
		}
	}
	return n
}

func (l *laboratory) underway() []ledger.State {
	l.t.Helper()
	store, err := sqlite.Read(l.t.Context(), filepath.Join(l.dir, "out/lab.ledger"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer store.Close()
	states, err := store.Underway(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return states
}

func (l *laboratory) anyIn() bool { return l.in() > 0 }

// in counts the users who can log in at the source.
func (l *laboratory) in() (n int) {
	for _, u := range l.users {
		if l.letIn(u) {
			n++
		}
	}
	return n
}

// eventually waits until what has come.
func (l *laboratory) eventually(limit time.Duration, what string, come func() bool) time.Duration {
	l.t.Helper()
	begin := time.Now()
	for !come() {
		if time.Since(begin) > limit {
			l.t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(begin)
}

// A run that is killed in mid-freeze locks nobody out: its guard lets everybody
// in again. Where the guard is killed too, the next start of anything does,
// before it does anything else; and a plan that has become wrong keeps nobody
// out. The next night moves them all.
func TestAKilledRunLocksNobodyOut(t *testing.T) {
	l := frozenNight(t)
	file := filepath.Join(l.dir, "out/lab.ledger")

	run := l.freeze()
	if !strings.Contains(l.read("postfix.db"), "anna@acme.example\tretry:") {
		t.Error("delivery to anna goes on")
	}
	if err := run.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	took := l.eventually(inTime+time.Minute, "everybody is let in", func() bool { return l.in() == len(l.users) })
	t.Logf("killed: everybody was let in after %s", took.Round(100*time.Millisecond))
	if took > inTime {
		t.Errorf("it took %s", took)
	}
	l.eventually(inTime, "the guard writes it down", func() bool { return len(l.underway()) == 0 })
	if strings.Contains(l.read("postfix.db"), "anna") {
		t.Error("delivery to anna still waits")
	}

	good := l.read("plan.yaml")
	starts := map[string]struct {
		args []string
		code int
	}{
		"run of a wrong plan": {[]string{"run", "plan.yaml"}, 2},
		"retry":               {[]string{"retry", "plan.yaml", "--service", "acme.example"}, 2}, // there is nothing to clear
	}
	for name, start := range starts {
		run := l.freeze()
		if err := godwit.KillGuard(file); err != nil {
			t.Fatal(err)
		}
		if err := run.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = run.Wait() // killed, as wanted
		if l.anyIn() {
			t.Errorf("%s: somebody is let in though nobody is there to do it", name)
		}
		if name == "run of a wrong plan" {
			l.write(filepath.Join(l.dir, "plan.yaml"), strings.Replace(good, "timezone:", "timezon:", 1))
		}
		out, code := l.godwit(start.args...)
		if code != start.code {
			t.Errorf("%s ended with %d:\n%s", name, code, out)
		}
		if n := l.in(); n != len(l.users) || len(l.underway()) != 0 {
			t.Errorf("after %s %d of %d are let in, %d underway:\n%s", name, n, len(l.users), len(l.underway()), out)
		}
		l.write(filepath.Join(l.dir, "plan.yaml"), good)
	}

	l.write(filepath.Join(l.dir, "plan.yaml"), strings.Replace(good, "settle: 60s", "settle: 1s", 1))
	l.run("2026-12-02T23:30")
	l.equal()
	for line := range strings.Lines(l.read("out/one/interruptions.csv")) {
		if strings.Contains(line, ",-") { // the guard goes by the rehearsal's clock
			t.Errorf("an interruption shorter than none: %s", line)
		}
	}
	if l.anyIn() || !strings.Contains(l.read("postfix.db"), "anna@acme.example\tsmtp:[mx.new.example]:25\n") {
		t.Errorf("not switched: %d are let in at the source; the map:\n%s", l.in(), l.read("postfix.db"))
	}
	if strings.Contains(l.read("out/lab.ledger"), strings.TrimPrefix(l.env[len(l.env)-1], "DOVEADM_SECRET=")) {
		t.Error("the ledger holds the secret")
	}
}

// A run that hangs as a whole, and is no longer heard of, is the guard's as well.
// Waking up again it switches nobody.
func TestAStoppedRunLocksNobodyOut(t *testing.T) {
	l := frozenNight(t)
	l.env = append(l.env, "GODWIT_INTERRUPTION=8s")
	run := l.freeze()
	if err := run.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.eventually(8*time.Second+inTime+time.Minute, "everybody is let in", func() bool { return l.in() == len(l.users) })
	if len(l.underway()) != len(l.users) {
		t.Error("somebody else wrote into the ledger of a run that lives")
	}
	if err := run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := run.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = run.Wait() // interrupted: its code is not zero
	if n := l.in(); n != len(l.users) || len(l.underway()) != 0 {
		t.Errorf("the run woke up, and %d of %d are let in, %d underway", n, len(l.users), len(l.underway()))
	}
}
