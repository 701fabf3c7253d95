package main_test

import (
	"database/sql"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	godwit "godwit/cmd/godwit"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// limit is max_interruption in these tests: a plan allows no less than a minute.
const limit = 6 * time.Second

// line is the way to a server, which can go dead: it stays open, and nothing
// passes any more.
type line struct {
	listener net.Listener
	dead     chan struct{}
	once     sync.Once
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, dead: make(chan struct{})}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go l.pass(client, server)
			go l.pass(server, client)
		}
	}()
	return l
}

func (l *line) pass(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-l.dead:
			_, _ = io.Copy(io.Discard, from) // until the other side gives up
		default:
		}
		if _, unwritten := to.Write(buffer[:n]); err != nil || unwritten != nil {
			from.Close()
			to.Close()
			return
		}
	}
}

func (l *line) die() { l.once.Do(func() { close(l.dead) }) }

// history is what was written down of an account, in order.
func (w *crashWorld) history(account string) (list []string) {
	w.t.Helper()
	l, err := sqlite.Read(w.t.Context(), filepath.Join(w.dir, "out/crash.ledger"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	for e, err := range l.Entries(w.t.Context(), ledger.Key{Account: account}) {
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, e.Effect+" "+string(e.Mark))
	}
	return list
}

// Whatever hangs while anna is frozen, she is let in again by the deadline and
// half a minute. A run that wakes up again later switches nobody it should not:
// guard_test.go and pipeline/guard_test.go.
func TestWhateverHangsLocksNobodyOut(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	const who = "anna@acme.example"
	tests := map[string]struct {
		env  string                                                   // of the night's run
		host func(*demohost.Host)                                     // before it
		then func(w *crashWorld, run *exec.Cmd, source, target *line) // once anna is frozen
	}{
		"the copy":                         {env: "GODWIT_HANG_AT=before " + who + " put"},
		"the ledger":                       {env: "GODWIT_HANG_AT=before " + who + " freeze done"},
		"the source":                       {then: func(_ *crashWorld, _ *exec.Cmd, source, _ *line) { source.die() }},
		"the target":                       {then: func(_ *crashWorld, _ *exec.Cmd, _, target *line) { target.die() }},
		"the driver, which has frozen her": {host: func(h *demohost.Host) { h.FailNext("freeze", 1, demohost.Lost) }},
		"the driver, when it is to thaw": {
			env:  "GODWIT_HANG_AT=before " + who + " put",
			host: func(h *demohost.Host) { h.FailNext("thaw", 1, demohost.Lost) },
		},
		"the ledger's lock": {then: func(w *crashWorld, _ *exec.Cmd, _, _ *line) { w.lockLedger() }},
		"the whole run": {then: func(w *crashWorld, run *exec.Cmd, _, _ *line) {
			if err := run.Process.Signal(syscall.SIGSTOP); err != nil {
				w.t.Error(err)
			}
		}},
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, len(tests)) // most of it is waiting
	for name, tt := range tests {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			w := newCrashWorld(t, bin.godwit)
			defer w.close()
			source, target := newLine(t, w.host.SourceAddress), newLine(t, w.host.TargetAddress)
			w.replace(w.host.SourceAddress, source.listener.Addr().String())
			w.replace(w.host.TargetAddress, target.listener.Addr().String())
			w.replace("settle: 0s", "settle: 2s")
			w.write("list.csv", "service,account,contact,passwords\nacme,"+who+",it@contact.example,temporary\n")
			for _, at := range []string{nights[0], nights[1], "2026-12-02T18:00"} {
				w.run(at, 0)
			}
			w.put(who, "INBOX", 99) // something to copy
			if tt.host != nil {
				tt.host(w.host)
			}
			run := exec.Command(w.bin, "run", "plan.yaml", "--now", nights[2])
			run.Dir, run.Env = w.dir, append(os.Environ(), "GODWIT_INTERRUPTION="+limit.String(), tt.env)
			if err := run.Start(); err != nil {
				t.Error(err)
				return
			}
			defer func() {
				_ = run.Process.Kill()
				_ = run.Wait()
				if w.unlock != nil {
					w.unlock()
				}
				w.until(name+": the guard has ended", time.Minute, func() bool {
					_, err := godwit.GuardOf(filepath.Join(w.dir, "out/crash.ledger"))
					return err != nil
				})
			}()
			w.until(name+": anna is frozen", time.Minute, func() bool { return w.host.State(who) == platform.Frozen })
			frozen := time.Now()
			if tt.then != nil {
				tt.then(w, run, source, target)
			}
			w.until(name+": anna is open", limit+inTime+time.Minute, func() bool { return w.host.State(who) == platform.Open })
			took := time.Since(frozen)
			t.Logf("%s: frozen for %s", name, took.Round(100*time.Millisecond))
			if took > limit+inTime {
				t.Errorf("%s: frozen for %s", name, took)
			}
			if took < limit/2 {
				t.Errorf("%s: frozen for %s: this does not hang", name, took)
			}
		})
	}
	all.Wait()
}

// Where a run hangs and its guard is gone as well, a person can thaw beside it
// whom it keeps out for too long, and nobody else.
func TestAPersonThawsBesideARunThatHangs(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	w := newCrashWorld(t, bin.godwit)
	defer w.close()
	const who = "anna@acme.example"
	w.write("list.csv", "service,account,contact,passwords\nacme,"+who+",it@contact.example,temporary\n")
	for _, at := range nights[:2] {
		w.run(at, 0)
	}
	run := exec.Command(w.bin, "run", "plan.yaml", "--now", nights[2])
	run.Dir, run.Env = w.dir, append(os.Environ(), "GODWIT_INTERRUPTION="+limit.String(), "GODWIT_HANG_AT=before "+who+" freeze done")
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = run.Process.Kill(); _ = run.Wait() }()
	w.until("anna is frozen", time.Minute, func() bool { return w.host.State(who) == platform.Frozen })
	began := time.Now()
	if err := godwit.KillGuard(filepath.Join(w.dir, "out/crash.ledger")); err != nil {
		t.Fatal(err)
	}
	w.until("anna is open", time.Minute, func() bool {
		thaw := exec.Command(w.bin, "thaw", "plan.yaml", "--overdue")
		thaw.Dir = w.dir
		out, err := thaw.CombinedOutput()
		if err != nil {
			t.Errorf("thaw: %v\n%s", err, out)
		}
		return w.host.State(who) == platform.Open
	})
	if took := time.Since(began); took < limit/2 {
		t.Errorf("thawed after %s, long before the deadline", took)
	}
}

// lockLedger has another program write into the ledger and never end.
func (w *crashWorld) lockLedger() {
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "out/crash.ledger"))
	if err != nil {
		w.t.Error(err)
		return
	}
	w.unlock = func() { db.Close() }
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("pragma busy_timeout = 10000; begin immediate"); err != nil {
		w.t.Error(err)
	}
}

func (w *crashWorld) until(what string, limit time.Duration, come func() bool) {
	for end := time.Now().Add(limit); !come(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Errorf("not within %s: %s", limit, what)
			return
		}
	}
}

func (w *crashWorld) replace(old, with string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "plan.yaml"))
	if err != nil || !strings.Contains(string(data), old) {
		w.t.Errorf("the plan has no %q (%v)", old, err)
	}
	w.write("plan.yaml", strings.ReplaceAll(string(data), old, with))
}
