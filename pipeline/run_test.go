package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
)

const (
	annaA = "anna@acme.example"
	ben   = "ben@acme.example"
	zoe   = "zoe@zeta.example"
)

// announced brings the world to the evening of the move.
func announced(t *testing.T) *world {
	w := newWorld(t)
	is(t, "T-8", first(w.run("2026-11-24 03:00")))
	is(t, "T-7", first(w.run("2026-11-25 03:00")), append(each("validate", "acme", "zeta"), each("notify announce", "acme", "zeta")...)...)
	is(t, "T-7 again", first(w.run("2026-11-25 04:00")))
	is(t, "T-2", first(w.run("2026-11-30 03:00")), append(each("validate", "acme", "zeta"), each("copy precopy", annaA, ben, zoe)...)...)
	is(t, "T-1", first(w.run("2026-12-01 03:00")), slices.Concat(each("validate", "acme", "zeta"), each("notify remind", "acme", "zeta"), each("copy precopy", annaA, ben, zoe))...)
	is(t, "T, before the window", first(w.run("2026-12-02 18:00")), append(each("validate", "acme", "zeta"), each("copy precopy", annaA, ben, zoe)...)...)
	return w
}

func first[A, B any](a A, _ B) A { return a }

var cutover = slices.Concat(each("freeze", annaA, ben, zoe), each("copy final", annaA, ben, zoe),
	each("credentials apply", annaA, ben, zoe), each("credentials switch", annaA, ben, zoe), each("notify done", "acme", "zeta"))

func TestTheProgrammeFromAnnouncementToCatchUp(t *testing.T) {
	w := announced(t)
	is(t, "in the window", first(w.run("2026-12-02 22:30")), cutover...)
	is(t, "again", first(w.run("2026-12-02 22:45")))
	is(t, "catch-up", first(w.run("2026-12-03 12:00")), each("copy catch-up", annaA, ben, zoe)...)
	is(t, "long after", first(w.run("2026-12-20 12:00")))
	for _, s := range w.states() {
		if s.Trouble != ledger.None {
			t.Errorf("%v: %s %s", s.Key, s.Trouble, s.Detail)
		}
	}
}

func TestAStalePassIsRenewedBeforeTheFreeze(t *testing.T) {
	w := announced(t)
	got, _ := w.run("2026-12-03 01:00")
	is(t, "late in the window", got, append(each("copy precopy", annaA, ben, zoe), cutover...)...)
}

func TestAFailureBeforeTheSwitchIsUndone(t *testing.T) {
	for _, step := range []string{"freeze", "copy final", "credentials apply"} {
		t.Run(step, func(t *testing.T) {
			w := announced(t)
			w.fails[step] = func(task pipeline.Task) (pipeline.Result, error) {
				if task.Account.Address == annaA {
					return pipeline.Failed("internal", "broken on purpose"), nil
				}
				return pipeline.Result{}, nil
			}
			got, tally := w.run("2026-12-02 22:30")
			if !slices.Contains(got, "thaw "+annaA) || slices.Contains(got, "thaw "+ben) {
				t.Errorf("only %s is thawed: %v", annaA, got)
			}
			if !slices.Contains(got, "credentials switch "+ben) {
				t.Errorf("another account was stopped: %v", got)
			}
			if len(tally.Frozen) != 0 || tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), annaA) {
				t.Errorf("tally: %+v", tally)
			}
			if s := w.states()["acme/"+annaA]; s.InCutover() || s.Phase != ledger.Copied {
				t.Errorf("state: %+v", s)
			}
		})
	}
}

func TestAnErrorAfterTheSwitchBeganIsNeverUndone(t *testing.T) {
	w := announced(t)
	ctx, cancel := context.WithCancel(context.Background())
	w.fails["credentials switch"] = func(pipeline.Task) (pipeline.Result, error) {
		cancel()
		return pipeline.Result{}, errors.New("answer lost")
	}
	got, tally := w.runWith(ctx, "2026-12-02 22:30")
	if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "thaw") }) {
		t.Errorf("thawed after the intent to switch: %v", got)
	}
	if len(tally.Frozen) == 0 {
		t.Error("an unfinished switch is not named")
	}
	w.fails = nil
	got, tally = w.run("2026-12-04 12:00") // also outside the window
	if !slices.Contains(got, "credentials switch "+annaA) || len(tally.Frozen) != 0 {
		t.Errorf("the next run does not complete it: %v, %+v", got, tally)
	}
}

func TestOneServiceTogether(t *testing.T) {
	w := newWorld(t)
	w.edit("plan.yaml", `until: "05:00"`, `until: "05:00", unit: service`)
	for _, at := range []string{"2026-11-25 03:00", "2026-12-01 03:00", "2026-12-02 18:00"} {
		w.run(at)
	}
	w.fails["credentials apply"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == annaA {
			return pipeline.Failed("internal", "broken on purpose"), nil
		}
		return pipeline.Result{}, nil
	}
	got, _ := w.run("2026-12-02 22:30")
	for _, who := range []string{annaA, ben} {
		if !slices.Contains(got, "thaw "+who) || slices.Contains(got, "credentials switch "+who) {
			t.Errorf("%s: all or nothing: %v", who, got)
		}
	}
	if !slices.Contains(got, "credentials switch "+zoe) {
		t.Errorf("another service was stopped: %v", got)
	}
}

func TestAMissedNightIsDeferredWithNotice(t *testing.T) {
	w := announced(t)
	got, _ := w.run("2026-12-03 12:00") // the machine was off all night
	if !slices.Contains(got, "notify deferred acme") || slices.Contains(got, "freeze "+annaA) {
		t.Errorf("after the night: %v", got)
	}
	if s := w.states()["acme/"+annaA]; s.Night != "2026-12-04" || s.Deferrals != 1 {
		t.Errorf("new night: %q, %d deferrals", s.Night, s.Deferrals)
	}
	got, _ = w.run("2026-12-04 22:30")
	if !slices.Contains(got, "credentials switch "+annaA) {
		t.Errorf("the next window: %v", got)
	}
}

func TestThreeDeferralsNeedAPerson(t *testing.T) {
	w := announced(t)
	var tally pipeline.Tally
	for _, at := range []string{"2026-12-03 12:00", "2026-12-05 12:00", "2026-12-07 12:00", "2026-12-08 22:30"} {
		_, tally = w.run(at)
	}
	if s := w.states()["acme/"+annaA]; s.Trouble != ledger.Held || s.Phase == ledger.Switched {
		t.Errorf("got %q, phase %q", s.Trouble, s.Phase)
	}
	if tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), annaA) {
		t.Errorf("it is not named: %v", tally.Trouble)
	}
}

func TestAnnouncedMeansLocked(t *testing.T) {
	tests := map[string]struct {
		old, with string
		at        string
		held      string // "" : the notice changed goes out
	}{
		"an earlier date is held":         {"2026-12-02", "2026-12-01", "2026-11-28 03:00", "announced for 2026-12-02, the plan now says 2026-12-01; announced today it could move on 2026-12-03 at the earliest"},
		"a later date is announced again": {"2026-12-02", "2026-12-09", "2026-11-28 03:00", ""},
		"short notice goes round it":      {"date: 2026-12-02,", "date: 2026-12-01, short_notice: true,", "2026-11-28 03:00", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run("2026-11-25 03:00")
			w.edit("plan.yaml", tt.old, tt.with)
			got, tally := w.run(tt.at)
			if tt.held == "" {
				if !slices.Contains(got, "notify changed acme") {
					t.Errorf("no notice: %v %+v", got, tally)
				}
				return
			}
			if tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), tt.held) {
				t.Errorf("got %v", tally.Trouble)
			}
			if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "copy") || strings.HasPrefix(s, "notify") }) {
				t.Errorf("it went on: %v", got)
			}
			w.edit("plan.yaml", tt.with, tt.old)
			if _, tally := w.run(tt.at); tally.Trouble != nil {
				t.Errorf("the plan is right again: %v", tally.Trouble)
			}
		})
	}
}

func TestWhoWasNotToldIsNeverFrozen(t *testing.T) {
	w := newWorld(t)
	for _, at := range []string{"2026-11-30 03:00", "2026-12-01 03:00", "2026-12-02 22:30", "2026-12-03 12:00"} {
		got, _ := w.run(at)
		if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "freeze") || strings.HasPrefix(s, "notify") }) {
			t.Errorf("%s: %v", at, got)
		}
	}
}

func TestACancelledAccountIsToldAndLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.run("2026-11-25 03:00")
	w.edit("list.csv", "service,account,contact,", "service,account,action,reason,contact,")
	w.edit("list.csv", "acme,anna@acme.example,it", "acme,anna@acme.example,skip,cancelled,it")
	w.edit("list.csv", "acme,ben@acme.example,it", "acme,ben@acme.example,,,it")
	w.edit("list.csv", "zeta,zoe@zeta.example,zoe", "zeta,zoe@zeta.example,,,zoe")
	got, _ := w.run("2026-12-01 03:00")
	if !slices.Contains(got, "notify cancelled acme") || slices.Contains(got, "copy precopy "+annaA) || !slices.Contains(got, "copy precopy "+ben) {
		t.Errorf("got %v", got)
	}
	if got, _ := w.run("2026-12-01 04:00"); slices.Contains(got, "notify cancelled acme") {
		t.Errorf("told twice: %v", got)
	}
}

func TestWhatACrashLeftFrozenIsThawedFirst(t *testing.T) {
	w := announced(t)
	w.undo = func() error { return errors.New("the driver is away") }
	w.fails["copy final"] = func(pipeline.Task) (pipeline.Result, error) { return pipeline.Failed("internal", "x"), nil }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if testing.Short() {
		t.Skip("the tries to thaw take some seconds")
	}
	_, tally := w.runWith(ctx, "2026-12-02 22:30")
	if len(tally.Frozen) != 3 {
		t.Fatalf("frozen: %+v", tally.Frozen)
	}
	w.undo = nil
	got, tally := w.run("2026-12-03 12:00")
	if len(tally.Frozen) != 0 || !slices.Contains(got, "thaw "+annaA) {
		t.Errorf("got %v, %+v", got, tally.Frozen)
	}
}
