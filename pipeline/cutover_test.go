package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
)

func TestNobodyWaitsForANeighboursMailbox(t *testing.T) {
	w := announced(t)
	moved := make(chan struct{})
	w.fails["copy final"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == annaA {
			select {
			case <-moved:
			case <-time.After(time.Minute):
				t.Error("ben waits for anna's mailbox")
			}
		}
		return pipeline.Result{}, nil
	}
	w.fails["credentials switch"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == ben {
			close(moved)
		}
		return pipeline.Result{}, nil
	}
	w.run("2026-12-02 22:30")
	states := w.states()
	slow, quick := states["acme/"+annaA], states["acme/"+ben]
	if slow.Phase != ledger.Switched || quick.Phase != ledger.Switched || slow.SwitchedAt.Before(quick.SwitchedAt) {
		t.Errorf("ben is %s, %v; anna is %s, %v", quick.Phase, quick.SwitchedAt, slow.Phase, slow.SwitchedAt)
	}
}

func TestAServiceTogetherIsUndoneWholeWithOneSlot(t *testing.T) {
	for _, step := range []string{"freeze", "copy final", "credentials apply"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.edit("plan.yaml", `until: "05:00"`, `until: "05:00", unit: service`)
			w.edit("plan.yaml", "batches:\n", "copy: {accounts: 1}\nbatches:\n")
			for _, at := range []string{"2026-11-25 03:00", "2026-12-01 03:00", "2026-12-02 18:00"} {
				w.run(at)
			}
			w.fails[step] = func(task pipeline.Task) (pipeline.Result, error) {
				if task.Account.Address == annaA {
					return pipeline.Later("busy", "on purpose"), nil
				}
				return pipeline.Result{}, nil
			}
			got, tally := w.run("2026-12-02 22:30")
			if len(tally.Frozen) > 0 || has(got, "credentials switch "+annaA) || has(got, "credentials switch "+ben) {
				t.Errorf("frozen %v, %v", tally.Frozen, got)
			}
			for _, who := range []string{annaA, ben} {
				if s := w.states()["acme/"+who]; s.InCutover() {
					t.Errorf("%s is %s", who, s.Phase)
				}
			}
			w.fails = nil
			got, _ = w.run("2026-12-03 01:00")
			if !slices.Contains(got, "credentials switch "+annaA) || !slices.Contains(got, "credentials switch "+ben) {
				t.Errorf("later in the same window: %v", got)
			}
		})
	}
}

func TestAServicesSwitchIsCompletedWhole(t *testing.T) {
	w := newWorld(t)
	w.edit("plan.yaml", `until: "05:00"`, `until: "05:00", unit: service`)
	for _, at := range []string{"2026-11-25 03:00", "2026-12-01 03:00", "2026-12-02 18:00"} {
		w.run(at)
	}
	w.fails["credentials switch"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == ben {
			return pipeline.Result{}, errors.New("the power went")
		}
		return pipeline.Result{}, nil
	}
	_, tally := w.run("2026-12-02 22:30")
	if s := w.states()["acme/"+ben]; s.Phase != ledger.Switching || len(tally.Frozen) == 0 {
		t.Fatalf("ben is %s, named: %v", s.Phase, tally.Frozen)
	}
	w.fails = nil
	got, _ := w.run("2026-12-03 12:00")
	if has(got, "thaw") || !slices.Contains(got, "credentials switch "+ben) {
		t.Errorf("got %v", got)
	}
}

func TestAHalfDoneSwitchIsFinishedWhateverThePlanSays(t *testing.T) {
	edits := map[string][2]string{
		"the batch is held": {"accounts: list.csv", "accounts: list.csv, hold: true"},
		"the row is gone":   {"", ""},
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			w := announced(t)
			w.fails["credentials switch"] = func(pipeline.Task) (pipeline.Result, error) {
				return pipeline.Result{}, errors.New("the power went")
			}
			w.run("2026-12-02 22:30")
			w.fails = nil
			if edit[0] != "" {
				w.edit("plan.yaml", edit[0], edit[1])
			} else {
				w.edit("list.csv", "acme,anna@acme.example,it@contact.example,env:GODWIT_X,env:GODWIT_X\n", "")
			}
			_, tally := w.run("2026-12-03 12:00")
			if s := w.states()["acme/"+annaA]; s.Phase != ledger.Switched || len(tally.Frozen) > 0 {
				t.Errorf("anna is %s, named: %v", s.Phase, tally.Frozen)
			}
		})
	}
}

func TestCtrlCBeginsNoFurtherFreeze(t *testing.T) {
	w := newWorld(t)
	w.edit("plan.yaml", "batches:\n", "copy: {accounts: 1}\nbatches:\n")
	for _, at := range []string{"2026-11-25 03:00", "2026-12-01 03:00", "2026-12-02 18:00"} {
		w.run(at)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.fails["freeze"] = func(pipeline.Task) (pipeline.Result, error) {
		cancel()
		return pipeline.Result{}, nil
	}
	got, tally := w.runWith(ctx, "2026-12-02 22:30")
	freezes := 0
	for _, g := range got {
		if strings.HasPrefix(g, "freeze") {
			freezes++
		}
	}
	if freezes != 1 || len(tally.Frozen) > 0 {
		t.Errorf("%d freezes, frozen %v: %v", freezes, tally.Frozen, got)
	}
	if !has(got, "credentials switch") {
		t.Errorf("what had begun was not finished: %v", got)
	}
}

// A ledger that cannot be written keeps nobody out, and whoever is out is named.
func TestAFullDiskKeepsNobodyOut(t *testing.T) {
	w := announced(t)
	w.fails["copy final"] = func(pipeline.Task) (pipeline.Result, error) {
		w.full.Store(true)
		return pipeline.Result{}, errors.New("disk full")
	}
	got, tally, err := w.runErr(t.Context(), "2026-12-02 22:30")
	if err == nil {
		t.Error("the run says nothing of the ledger")
	}
	if !has(got, "thaw ") || len(tally.Frozen) == 0 {
		t.Errorf("thawed %v; named %d", got, len(tally.Frozen))
	}
	w.full.Store(false)
	w.fails = nil
	if _, tally := w.run("2026-12-03 12:00"); len(tally.Frozen) > 0 {
		t.Errorf("frozen: %v", tally.Frozen)
	}
}

func TestAThawThatFailedIsTriedAgainInTheSameRun(t *testing.T) {
	w := announced(t)
	tries := 0
	w.patience = time.Minute
	w.undo = func() error {
		if tries++; tries < 6 {
			return errors.New("the driver is away")
		}
		return nil
	}
	w.fails["copy final"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == annaA {
			return pipeline.Failed("internal", "x"), nil
		}
		return pipeline.Result{}, nil
	}
	if testing.Short() {
		t.Skip("waits for the second round of thawing")
	}
	_, tally := w.run("2026-12-02 22:30")
	if len(tally.Frozen) > 0 {
		t.Errorf("still frozen after %d tries: %v", tries, tally.Frozen)
	}
}

func TestALaterBatchHoldsUpNobodysNight(t *testing.T) {
	w := newWorld(t)
	rows := strings.SplitAfter(list, "\n")
	w.put("list.csv", rows[0]+rows[1]+rows[2])
	w.put("other.csv", rows[0]+rows[3])
	w.edit("plan.yaml", "batches:\n", "batches:\n  - {name: two, date: 2026-12-03, accounts: other.csv}\n")
	for _, at := range []string{"2026-11-25 03:00", "2026-11-26 03:00", "2026-12-01 03:00", "2026-12-02 18:00"} {
		w.run(at)
	}
	mu := make(chan struct{})
	w.fails["copy precopy"] = func(pipeline.Task) (pipeline.Result, error) { <-mu; return pipeline.Result{}, nil }
	w.fails["credentials switch"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == ben {
			close(mu) // only then does the other batch's pre-copy end
		}
		return pipeline.Result{}, nil
	}
	w.edit("plan.yaml", "date: 2026-12-03", "date: 2026-12-03, short_notice: true")
	got, _ := w.run("2026-12-02 23:59")
	if !slices.Contains(got, "credentials switch "+ben) {
		t.Errorf("got %v", got)
	}
}

func TestNobodyWaitsForTheServiceBeyondTheDeadline(t *testing.T) {
	w := newWorld(t)
	w.edit("plan.yaml", `until: "05:00"`, `until: "05:00", unit: service`)
	w.change = func(p *plans.Plan) { p.Batches[0].Window.MaxInterruption = 2 * time.Second } // a plan has at least 1m
	w.edit("plan.yaml", "batches:\n", "copy: {accounts: 1}\nbatches:\n")
	for _, at := range []string{"2026-11-25 03:00", "2026-12-01 03:00", "2026-12-02 18:00"} {
		w.run(at)
	}
	slow := ""
	w.fails["copy final"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Service.Name == "acme" && slow == "" {
			slow = "first" // the first one gets ready, the second takes too long
		} else if task.Service.Name == "acme" {
			time.Sleep(4 * time.Second)
		}
		return pipeline.Result{}, nil
	}
	_, tally := w.run("2026-12-02 22:30")
	states := w.states()
	for _, who := range []string{annaA, ben} {
		if s := states["acme/"+who]; s.InCutover() || s.Phase == ledger.Switched {
			t.Errorf("%s is %s", who, s.Phase)
		}
	}
	if quickest := min(states["acme/"+annaA].Interrupted, states["acme/"+ben].Interrupted); quickest > 3*time.Second {
		t.Errorf("the one that was ready waited %v", quickest)
	}
	if len(tally.Frozen) > 0 {
		t.Errorf("frozen: %v", tally.Frozen)
	}
}
