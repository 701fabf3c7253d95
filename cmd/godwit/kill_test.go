package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/pipeline/ledger/sqlite"
)

// What has to be hit for the kills to prove anything: mail was on its way, at
// first or in a later pass, or somebody was kept out of the mailbox.
const (
	kills          = 50
	fewestCopying  = 5
	fewestLater    = 3
	fewestFrozen   = 3
	killedMessages = 3000
	stepsOfPass    = 20 // writes to the ledger, about
	stepsOfFreeze  = 6  // from the first freeze on; accounts side by side share theirs
)

// The program is killed again and again, at random moments of the first copy,
// of later passes and of the cutover, on real servers and at full speed. Then
// it runs once, and all is as if nobody had disturbed it. GODWIT_SEED chooses
// when.
func TestFiftyKillsOnRealServers(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("GODWIT_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("GODWIT_SEED=%d", seed)
	users := twelve()[:4]
	for i := range users {
		users[i].mode = "keep"
	}
	l := newLaboratory(t, killedMessages, "0s", users)
	k := &killer{laboratory: l, rng: rand.New(rand.NewPCG(seed, 1)), steps: killedMessages / 100}
	k.withoutNotices()
	l.remember()

	// The first copy is killed on and on; what is left of it is done in peace.
	clock := time.Date(2026, 11, 29, 23, 0, 0, 0, time.UTC) // of the plan's zone, which the flag means
	k.run(clock, kills*2/5)
	copying := k.worked
	k.calm(clock.Add(3 * time.Hour))
	for round := 1; round <= 9; round++ { // a pass every seven hours
		l.act(round)
		k.steps = stepsOfPass
		k.run(clock.Add(time.Duration(3+7*round)*time.Hour), kills*7/10)
	}
	later := k.worked - copying
	l.act(10)
	k.steps, k.atFreeze = stepsOfPass, true
	k.run(time.Date(2026, 12, 2, 22, 10, 0, 0, time.UTC), kills)
	k.atFreeze = false
	k.calm(time.Date(2026, 12, 3, 2, 0, 0, 0, time.UTC)) // the same night: who was taken back goes again
	for hour := 8; k.kills < kills; hour++ {             // all have switched: nothing may change any more
		k.run(time.Date(2026, 12, 3, hour, 10, 0, 0, time.UTC), kills)
	}
	k.calm(time.Date(2026, 12, 4, 1, 30, 0, 0, time.UTC))

	t.Logf("%d kills: %d while the first mail was on its way, %d in later passes, %d while somebody was frozen", k.kills, copying, later, k.frozen)
	if copying < fewestCopying || later < fewestLater || k.frozen < fewestFrozen {
		t.Errorf("want at least %d, %d and %d of them", fewestCopying, fewestLater, fewestFrozen)
	}
	l.equal()
	l.untouched()
	for _, r := range l.csv("one/report.csv") {
		if r["status"] != "done" || r["verified"] == "" {
			t.Errorf("report: %v", r)
		}
	}
	for _, u := range users {
		if !l.letInTarget(u.address, u.password) {
			t.Errorf("%s cannot sign in at the target", u.address)
		}
	}
	ledger, err := sqlite.Read(t.Context(), filepath.Join(l.dir, "out/lab.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	if frozen, err := ledger.Underway(t.Context()); err != nil || len(frozen) > 0 {
		t.Errorf("frozen: %v, %v", frozen, err)
	}
}

// killer runs the program and kills it, at a moment that does not depend on how
// fast the machine is: after so many writes to the ledger, and a bit.
type killer struct {
	*laboratory
	rng   *rand.Rand
	steps int // writes of a run that came to its end

	atFreeze bool // three of four kills, by chance, wait until somebody is kept out

	kills  int
	worked int // kills of a run that had changed something at the target
	frozen int // kills while somebody was kept out
}

// withoutNotices takes the notices out of the plan: a kill between the relay's
// yes and the ledger leaves a notice that only a person can settle.
func (k *killer) withoutNotices() {
	path := filepath.Join(k.dir, "plan.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		k.t.Fatal(err)
	}
	plan := regexp.MustCompile(`(?s)notices:\n.*?\nwindow:`).ReplaceAllString(string(text), "window:")
	k.write(path, plan)
}

// run starts a run at a time of the plan's zone and kills it, and the next a
// minute later, until one comes to its end or there are enough kills.
func (k *killer) run(at time.Time, most int) {
	k.t.Helper()
	for k.kills < most && !k.killed(at) {
		at = at.Add(time.Minute)
	}
}

// killed starts a run and kills it. It tells whether the run had come to its
// end before.
func (k *killer) killed(at time.Time) (ended bool) {
	k.t.Helper()
	before := k.target()
	var out bytes.Buffer
	cmd := exec.Command(k.bin.godwit, "run", "plan.yaml", "--now", at.Format(planTime))
	cmd.Dir, cmd.Stdout, cmd.Stderr = k.dir, &out, &out
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	steps, frozen := k.strike(cmd.Process, done)
	k.canaries.Output("the output of a killed run", out.Bytes())
	if exit := new(exec.ExitError); steps.err != nil && !errors.As(steps.err, &exit) {
		k.t.Fatal(steps.err)
	}
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		k.steps = max(steps.seen, 3)
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			k.t.Fatalf("a run at %s after %d kills ended with %d:\n%s", at.Format(planTime), k.kills, code, out.String())
		}
		return true
	}
	k.kills++
	if k.target() != before {
		k.worked++
	}
	if frozen {
		k.frozen++
	}
	return false
}

// planTime is how --now is written, in the plan's zone.
const planTime = "2006-01-02T15:04"

// steps is how many writes to the ledger were seen until a run ended, and how.
type steps struct {
	seen int
	err  error
}

// strike kills the process after a random number of writes to the ledger, from
// the start or from the first freeze, and returns once it has ended. frozen
// tells whether somebody was kept out then.
func (k *killer) strike(process *os.Process, done <-chan error) (s steps, frozen bool) {
	after := 1 + k.rng.IntN(k.steps)
	bit := time.Duration(k.rng.Int64N(int64(5 * time.Millisecond)))
	if k.atFreeze && k.rng.IntN(4) > 0 {
		after = math.MaxInt
	}
	var last time.Time
	for {
		if after == math.MaxInt && k.keptOut() > 0 {
			after = s.seen + k.rng.IntN(stepsOfFreeze)
		}
		if info, err := os.Stat(filepath.Join(k.dir, "out", "lab.ledger-wal")); err == nil && !info.ModTime().Equal(last) {
			last = info.ModTime()
			s.seen++
		}
		wait := 500 * time.Microsecond
		if s.seen >= after {
			wait = bit
		}
		select {
		case s.err = <-done:
			return s, false
		case <-time.After(wait):
		}
		if s.seen >= after {
			frozen = k.keptOut() > 0
			_ = process.Kill() // it may have ended in this moment
			s.err = <-done
			return s, frozen
		}
	}
}

// calm is a run that nobody disturbs.
func (k *killer) calm(at time.Time) {
	k.t.Helper()
	k.laboratory.run(at.Format(planTime))
}

// target is another whenever mail at the target is: a Maildir has the flags in
// the names of its files.
func (k *killer) target() string {
	k.t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(filepath.Join(k.home, "target", "mail"), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed meanwhile
		}
		if err == nil && !d.IsDir() && (strings.Contains(path, "/cur/") || strings.Contains(path, "/new/")) {
			fmt.Fprintln(sum, path)
		}
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// keptOut counts who may not sign in at the source and is not switched: who
// would be locked out if nobody came.
func (k *killer) keptOut() (n int) {
	k.t.Helper()
	denied, err := os.ReadDir(filepath.Join(k.home, "source", "denied"))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, d := range denied {
		if _, err := os.Stat(filepath.Join(k.home, "source", "routed", d.Name())); err != nil {
			n++
		}
	}
	return n
}
