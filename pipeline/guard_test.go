package pipeline_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
)

// guarded has a guard look after the world's runs, as one that is a process does.
type guarded struct {
	*world
	starts  atomic.Int32
	thaws   atomic.Int32 // beside the run
	ended   sync.WaitGroup
	process *pipeline.GuardProcess // the last one
}

func newGuarded(t *testing.T, limit time.Duration) *guarded {
	w := announced(t)
	w.change = func(p *plans.Plan) { p.Batches[0].Window.MaxInterruption = limit } // a plan has at least 1m
	g := &guarded{world: w}
	w.guard = &pipeline.Guard{Start: g.start, Log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		if err := w.guard.Close(); err != nil {
			t.Error(err)
		}
		g.ended.Wait()
	})
	return g
}

func (g *guarded) start() (*pipeline.GuardProcess, error) {
	g.starts.Add(1)
	in, ours, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	theirs, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	g.ended.Go(func() {
		done <- g.watcher().Watch(ctx, in, out)
		in.Close()
		out.Close()
	})
	wait := sync.OnceValue(func() error { return <-done })
	g.process = &pipeline.GuardProcess{In: ours, Out: theirs, Wait: wait, Kill: func() {
		in.Close() // as if it were dead: it hears and says nothing any more
		out.Close()
		cancel()
		_ = wait()
	}}
	return g.process, nil
}

func (g *guarded) watcher() *pipeline.Watcher {
	file := filepath.Join(g.dir, "spring.ledger")
	return &pipeline.Watcher{
		Stages: g.stages(), Log: slog.New(slog.DiscardHandler),
		Pace: pipeline.Pace{Spare: 200 * time.Millisecond, Again: 100 * time.Millisecond},
		Thaw: func(_ context.Context, s ledger.State) error {
			g.thaws.Add(1)
			g.happened("guard thaws " + s.Key.Account)
			return nil
		},
		Switch: func(_ context.Context, s ledger.State) error {
			g.happened("guard switches " + s.Key.Account)
			return nil
		},
		Open: func(ctx context.Context) (ledger.Ledger, pipeline.Clock, error) {
			l, err := sqlite.Open(ctx, file, true)
			return l, g.clock, err
		},
		Look: func(ctx context.Context) ([]ledger.State, error) {
			l, err := sqlite.Read(ctx, file)
			if err != nil {
				return nil, err
			}
			defer l.Close()
			return l.Underway(ctx)
		},
	}
}

// A run that hangs has its accounts thawed by the guard, and when it wakes up
// again it switches none of them.
func TestARunThatHangsIsThawedAndNeverSwitches(t *testing.T) {
	for _, step := range []string{"freeze", "copy final", "credentials apply", "credentials switch"} {
		t.Run(step, func(t *testing.T) {
			g := newGuarded(t, 5*time.Second) // of real time, in which ben has to get through
			var once sync.Once
			g.fails[step] = func(task pipeline.Task) (pipeline.Result, error) {
				if task.Account.Address != annaA {
					return pipeline.Result{}, nil
				}
				once.Do(func() { // deaf to its context, until the guard has done it
					for end := time.Now().Add(20 * time.Second); g.thaws.Load() == 0 && time.Now().Before(end) && step != "credentials switch"; {
						time.Sleep(10 * time.Millisecond)
					}
				})
				return pipeline.Result{}, nil
			}
			g.run("2026-12-02 22:30")
			anna, ben := g.states()["acme/"+annaA], g.states()["acme/"+ben]
			if ben.Phase != ledger.Switched {
				t.Errorf("ben is %s", ben.Phase)
			}
			if step == "credentials switch" { // it was granted before the deadline
				if anna.Phase != ledger.Switched || g.thaws.Load() != 0 {
					t.Errorf("anna is %s, thawed %d times", anna.Phase, g.thaws.Load())
				}
				return
			}
			if anna.InCutover() || !anna.SwitchedAt.IsZero() || g.thaws.Load() == 0 {
				t.Errorf("anna is %s, switched at %s, thawed %d times", anna.Phase, anna.SwitchedAt, g.thaws.Load())
			}
			if anna.Reason != "too-long" {
				t.Errorf("anna waits because of %q: %s", anna.Reason, anna.Detail)
			}
		})
	}
}

func TestAGuardThatDiesIsReplacedAndToldAgain(t *testing.T) {
	g := newGuarded(t, time.Minute)
	g.fails["copy final"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == annaA {
			g.process.Kill()
		}
		return pipeline.Result{}, nil
	}
	g.run("2026-12-02 22:30")
	for who, s := range g.states() {
		if strings.Contains(who, "@") && s.Phase != ledger.Switched {
			t.Errorf("%s is %s: %s", who, s.Phase, s.Detail)
		}
	}
	if n := g.starts.Load(); n != 2 {
		t.Errorf("%d guards were started, want 2", n)
	}
}

func TestNobodyIsFrozenWithoutAGuard(t *testing.T) {
	g := newGuarded(t, time.Minute)
	g.guard.Start = func() (*pipeline.GuardProcess, error) { return nil, errors.New("no process any more") }
	g.fails["freeze"] = func(pipeline.Task) (pipeline.Result, error) {
		t.Error("the driver is asked to freeze")
		return pipeline.Result{}, nil
	}
	_, tally := g.run("2026-12-02 22:30")
	if tally.Trouble == nil || len(tally.Frozen) > 0 {
		t.Errorf("trouble %v, frozen %v", tally.Trouble, tally.Frozen)
	}
	if s := g.states()["acme/"+annaA]; s.InCutover() || !strings.Contains(s.Detail, "no process any more") {
		t.Errorf("anna is %s: %s", s.Phase, s.Detail)
	}
}

func TestTheGuardEndsWithARunThatLeavesNobody(t *testing.T) {
	g := newGuarded(t, time.Minute)
	g.run("2026-12-02 22:30")
	if err := g.guard.Close(); err != nil {
		t.Error(err)
	}
	g.ended.Wait()
	if g.starts.Load() != 1 || g.thaws.Load() != 0 {
		t.Errorf("%d started, %d thaws", g.starts.Load(), g.thaws.Load())
	}
}

// What a dead run left is ended at once: thawed, or switched where that had begun.
func TestTheGuardEndsWhatADeadRunLeft(t *testing.T) {
	tests := map[string]struct {
		phase ledger.Phase
		want  ledger.Phase
	}{
		"frozen":                   {ledger.Frozen, ledger.Copied},
		"verified":                 {ledger.Verified, ledger.Copied},
		"ready":                    {ledger.Ready, ledger.Copied},
		"on the way to the switch": {ledger.Switching, ledger.Switched},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, time.Minute)
			var died, buried atomic.Bool
			g.fails[map[bool]string{true: "credentials switch", false: "copy final"}[tt.phase == ledger.Switching]] = func(task pipeline.Task) (pipeline.Result, error) {
				if task.Account.Address == annaA && !buried.Load() {
					g.full.Store(true) // nothing of what it does from now on is remembered: it is dead
					died.Store(true)
					return pipeline.Result{}, errors.New("kill -9")
				}
				return pipeline.Result{}, nil
			}
			g.undo = func() error {
				if g.full.Load() {
					return errors.New("kill -9")
				}
				return nil
			}
			if _, _, err := g.runErr(t.Context(), "2026-12-02 22:30"); err == nil {
				t.Fatal("the run did not die")
			}
			if !died.Load() {
				t.Fatal("it died of something else")
			}
			buried.Store(true)
			g.full.Store(false)
			if tt.phase == ledger.Verified || tt.phase == ledger.Ready {
				g.set(annaA, func(s *ledger.State) { s.Phase = tt.phase })
			}
			if err := g.guard.Close(); err != nil {
				t.Error(err)
			}
			g.ended.Wait()
			if s := g.states()["acme/"+annaA]; s.Phase != tt.want {
				t.Errorf("anna is %s, want %s", s.Phase, tt.want)
			}
		})
	}
}

// set changes a row of the ledger between runs.
func (w *world) set(account string, change func(*ledger.State)) {
	w.t.Helper()
	l, err := sqlite.Open(w.t.Context(), filepath.Join(w.dir, "spring.ledger"), true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	rows, err := l.States(w.t.Context(), "one")
	if err != nil {
		w.t.Fatal(err)
	}
	i := slices.IndexFunc(rows, func(s ledger.State) bool { return s.Key.Account == account })
	change(&rows[i])
	if err := l.Write(w.t.Context(), ledger.Change{Key: rows[i].Key, State: &rows[i]}); err != nil {
		w.t.Fatal(err)
	}
}

func TestOverdue(t *testing.T) {
	boot, up := pipeline.Uptime()
	if boot == "" {
		t.Fatal("the machine does not tell its uptime")
	}
	now := time.Now()
	tests := map[string]struct {
		state ledger.State
		want  bool
	}{
		"within the time":                         {ledger.State{FrozenAt: now, Deadline: now.Add(time.Hour)}, false},
		"past it":                                 {ledger.State{FrozenAt: now.Add(-time.Hour), Deadline: now}, true},
		"a clock set back is not believed":        {ledger.State{FrozenAt: now.Add(time.Hour), Deadline: now.Add(2 * time.Hour)}, true},
		"this boot's uptime decides: not yet":     {ledger.State{FrozenAt: now.Add(-2 * time.Hour), Deadline: now.Add(-time.Hour), Boot: boot, DeadlineUp: up + time.Hour}, false},
		"this boot's uptime decides: past it":     {ledger.State{FrozenAt: now, Deadline: now.Add(time.Hour), Boot: boot, DeadlineUp: up}, true},
		"another boot's uptime says nothing":      {ledger.State{FrozenAt: now, Deadline: now.Add(time.Hour), Boot: "other", DeadlineUp: 0}, false},
		"another boot's, and a clock before that": {ledger.State{FrozenAt: now.Add(time.Minute), Deadline: now.Add(time.Hour), Boot: "other", DeadlineUp: up + time.Hour}, true},
	}
	for name, tt := range tests {
		if got := pipeline.Overdue(tt.state, pipeline.Clock{}); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
