package stages_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages"
	"godwit/stages/demohost"
	"godwit/stages/platform"
	"godwit/stages/platform/program"
)

// driver is a platform that counts its calls and can be told to lie.
type driver struct {
	platform.Freezer
	mu     sync.Mutex
	calls  []string
	lies   string                      // this action is said to be done, and is not
	sees   platform.State              // what check says, whatever is true; "": the truth
	before func(action string) error   // nil: nothing
	last   map[string]platform.Request // by action
}

func (d *driver) called(action string, r platform.Request) (lies bool, err error) {
	d.mu.Lock()
	d.calls = append(d.calls, action)
	if d.last == nil {
		d.last = map[string]platform.Request{}
	}
	d.last[action] = r
	d.mu.Unlock()
	if d.before != nil {
		err = d.before(action)
	}
	return d.lies == action, err
}

func (d *driver) Freeze(ctx context.Context, r platform.Request) error {
	if lies, err := d.called("freeze", r); lies || err != nil {
		return err
	}
	return d.Freezer.Freeze(ctx, r)
}

func (d *driver) Thaw(ctx context.Context, r platform.Request) error {
	if lies, err := d.called("thaw", r); lies || err != nil {
		return err
	}
	return d.Freezer.Thaw(ctx, r)
}

func (d *driver) Switch(ctx context.Context, r platform.Request) error {
	if lies, err := d.called("switch", r); lies || err != nil {
		return err
	}
	return d.Freezer.Switch(ctx, r)
}

func (d *driver) Check(ctx context.Context, r platform.Request) (platform.State, error) {
	if d.sees != "" && d.count("thaw") == 0 {
		return d.sees, nil
	}
	return d.Freezer.Check(ctx, r)
}

func (d *driver) count(action string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		if c == action {
			n++
		}
	}
	return n
}

// undo takes anna's freeze back.
func (h *hoster) undo(f stages.Freeze) error {
	task := h.task(pipeline.Freeze, "", anna)
	return f.Undo(h.t.Context(), task, h.journal(task.Key()))
}

func TestFreezeFrozen(t *testing.T) {
	h := newHoster(t)
	h.outcome("done", h.freeze(), "", anna)
	s := h.state(anna)
	if h.State(anna) != "frozen" || s.Phase != ledger.Frozen || !s.Out() || h.State(ben) != "open" {
		t.Errorf("anna %s, ben %s; the ledger says %q", h.State(anna), h.State(ben), s.Phase)
	}
	if got := s.Deadline.Sub(s.FrozenAt); got != h.plan.Window.MaxInterruption {
		t.Errorf("the deadline is %s after the freeze", got)
	}
}

// A crash between the freeze and anything else must leave enough to thaw.
func TestFreezeHasItsDeadlineInTheLedgerFirst(t *testing.T) {
	h := newHoster(t)
	var seen ledger.State
	h.freezer = &driver{Freezer: h.freezer, before: func(action string) error {
		if action == "freeze" {
			seen = h.state(anna)
		}
		return nil
	}}
	h.outcome("done", h.freeze(), "", anna)
	if seen.Phase != ledger.Frozen || seen.Deadline.IsZero() || seen.Thaw == nil || seen.Thaw.Driver != "exec" || len(seen.Thaw.Command) == 0 || seen.Thaw.Request["account"] != anna {
		t.Errorf("when the driver was called the ledger said %+v", seen)
	}
	if r := h.freezer.(*driver).last["freeze"]; r.Account != anna || r.Service != acme || r.Plan != "spring" || !r.Deadline.Equal(seen.Deadline) {
		t.Errorf("the driver was asked for %+v", r)
	}
}

func TestFreezeWithoutTheIntentOnDiskDoesNothing(t *testing.T) {
	h := newHoster(t)
	d := &driver{Freezer: h.freezer}
	h.freezer = d
	task := h.task(pipeline.Freeze, "", anna)
	if _, err := h.freeze().Run(t.Context(), task, h.mortal(task.Key(), &fate{dieAt: 1})); !errors.Is(err, errKilled) {
		t.Errorf("got %v", err)
	}
	if len(d.calls) != 0 {
		t.Errorf("the driver was called: %q", d.calls)
	}
}

func TestFreezeThatGoesWrongIsThawed(t *testing.T) {
	tests := map[string]struct {
		prepare func(*hoster)
		outcome pipeline.Outcome // "": an error
		reason  string
		mark    ledger.Mark
	}{
		"a driver that refuses is a surprise":        {func(h *hoster) { h.FailNext("freeze", 1, demohost.Broken) }, "", "", ledger.Failed},
		"a driver that says later is tried later":    {func(h *hoster) { h.FailNext("freeze", 1, demohost.Later) }, "deferred", "busy", ledger.Failed},
		"a lost answer may have been done":           {func(h *hoster) { h.FailNext("freeze", 1, demohost.Lost) }, "", "", ledger.Unknown},
		"a driver that did nothing is found out":     {func(h *hoster) { h.freezer = &driver{Freezer: h.freezer, lies: "freeze"} }, "deferred", "not-frozen", ledger.Failed},
		"a driver whose check lies too is found out": {func(h *hoster) { h.freezer = &driver{Freezer: h.freezer, lies: "freeze", sees: platform.Frozen} }, "deferred", "not-frozen", ledger.Failed},
		"a check without an answer may be frozen":    {func(h *hoster) { h.FailNext("check", 1, demohost.Broken) }, "", "", ledger.Failed},
		"a check whose answer is lost is the same":   {func(h *hoster) { h.FailNext("check", 1, demohost.Lost) }, "", "", ledger.Unknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			tt.prepare(h)
			task := h.task(pipeline.Freeze, "", anna)
			result, err := h.freeze().Run(t.Context(), task, h.journal(task.Key()))
			if result.Outcome != tt.outcome || result.Reason != tt.reason || (err == nil) != (tt.outcome != "") {
				t.Errorf("got %s %s %s, %v", result.Outcome, result.Reason, result.Text, err)
			}
			if got := h.journal(task.Key()).Last("freeze"); got != tt.mark {
				t.Errorf("recorded as %q; want %q", got, tt.mark)
			}
			if s := h.state(anna); s.Phase != ledger.Frozen {
				t.Errorf("the ledger says %q: nobody would thaw it", s.Phase)
			}
			must(t, h.undo(h.freeze()))
			if s := h.state(anna); h.State(anna) != "open" || s.Out() || s.InCutover() {
				t.Errorf("after undo: %s, the ledger says %q", h.State(anna), s.Phase)
			}
		})
	}
}

// The runner undoes by itself, and the next run tries again.
func TestFreezeWhoseAnswerWasLostIsThawedByTheRun(t *testing.T) {
	h := newHoster(t)
	h.untilTheNight()
	h.FailNext("freeze", 3, demohost.Lost)
	tally := h.run("2026-12-02 22:05")
	for _, address := range []string{anna, ben, zoe} {
		if got := h.State(address); got != "open" {
			t.Errorf("%s is %s", address, got)
		}
	}
	if tally.Trouble == nil || len(tally.Frozen) != 0 {
		t.Errorf("trouble %v, frozen %v", tally.Trouble, tally.Frozen)
	}
	h.run("2026-12-02 23:00")
	if got := h.State(anna); got != "switched" {
		t.Errorf("in the same night: %s: %s", got, h.state(anna).Detail)
	}
}

func TestFreezeUndo(t *testing.T) {
	t.Run("twice is once", func(t *testing.T) {
		h := newHoster(t)
		d := &driver{Freezer: h.freezer}
		h.freezer = d
		h.outcome("done", h.freeze(), "", anna)
		for range 2 {
			must(t, h.undo(h.freeze()))
		}
		if d.count("thaw") != 1 || h.State(anna) != "open" {
			t.Errorf("%s after %q", h.State(anna), d.calls)
		}
	})
	t.Run("of nothing does nothing", func(t *testing.T) {
		h := newHoster(t)
		d := &driver{Freezer: h.freezer}
		h.freezer = d
		must(t, h.undo(h.freeze()))
		if len(d.calls) != 0 || h.state(anna).Phase != ledger.New {
			t.Errorf("%q, %q", d.calls, h.state(anna).Phase)
		}
	})
	t.Run("never of a switch", func(t *testing.T) {
		h := newHoster(t)
		d := &driver{Freezer: h.freezer}
		h.freezer = d
		h.outcome("done", h.freeze(), "", anna)
		h.set(anna, func(s *ledger.State) { s.Phase = ledger.Switching })
		must(t, h.undo(h.freeze()))
		if d.count("thaw") != 0 || h.state(anna).Phase != ledger.Switching {
			t.Errorf("%q, %q", d.calls, h.state(anna).Phase)
		}
	})
	for name, action := range map[string]string{"refused": "thaw", "not sure": "check"} {
		t.Run(name+" says so and can be repeated", func(t *testing.T) {
			h := newHoster(t)
			h.outcome("done", h.freeze(), "", anna)
			h.FailNext(action, 1, demohost.Broken)
			if err := h.undo(h.freeze()); err == nil {
				t.Error("no error")
			}
			if s := h.state(anna); !s.Out() || s.Phase != ledger.Frozen {
				t.Errorf("the ledger takes it for thawed: %q", s.Phase)
			}
			must(t, h.undo(h.freeze()))
			if h.State(anna) != "open" || h.state(anna).Out() {
				t.Errorf("%s", h.State(anna))
			}
		})
	}
	t.Run("a thaw that did nothing is found out", func(t *testing.T) {
		h := newHoster(t)
		h.outcome("done", h.freeze(), "", anna)
		h.freezer = &driver{Freezer: h.freezer, lies: "thaw"}
		if err := h.undo(h.freeze()); err == nil || !strings.Contains(err.Error(), "frozen") {
			t.Errorf("got %v", err)
		}
		if !h.state(anna).Out() {
			t.Error("the ledger takes it for thawed")
		}
	})
}

// A typo in the plan keeps nobody out: the ledger alone is enough.
func TestThawNeedsNoPlan(t *testing.T) {
	self, err := os.Executable()
	must(t, err)
	h := newHoster(t)
	h.edit("/bin/true]}\ntargets", self+", demo-hook, "+quoted(h.AdminSocket)+"]}\ntargets")
	open := func(how ledger.Thaw) (platform.Freezer, error) {
		if how.Driver != "exec" {
			t.Errorf("driver %q", how.Driver)
		}
		return program.New(how.Command, how.Dir, how.Timeout), nil
	}
	f := h.freeze()
	f.Open = open
	h.outcome("done", f, "", anna)
	if h.State(anna) != "frozen" {
		t.Fatalf("anna is %s", h.State(anna))
	}
	key := h.key(anna)
	must(t, os.WriteFile(h.plan.File, []byte("verson: 1\n"), 0o600))
	fresh := stages.Freeze{Open: open, Now: time.Now}
	task := pipeline.Task{
		Stage: pipeline.Freeze, Batch: &plans.Batch{Name: key.Batch},
		Service: plans.Service{Name: key.Service}, Account: plans.Account{Address: key.Account},
	}
	must(t, fresh.Undo(t.Context(), task, h.journal(key)))
	if h.State(anna) != "open" {
		t.Errorf("anna is %s", h.State(anna))
	}
}

func quoted(s string) string { return `"` + s + `"` }

func TestFreezeDriverNone(t *testing.T) {
	h := newHoster(t, "driver: exec, command: [FREEZE]", "driver: none")
	h.freezer = nil // must not be asked for
	h.outcome("done", h.freeze(), "", anna)
	s := h.state(anna)
	if h.State(anna) != "open" || s.Phase != ledger.Frozen || !s.NotFrozen || s.Out() || s.Deadline.IsZero() {
		t.Errorf("%s; the ledger says %+v", h.State(anna), s)
	}
	must(t, h.undo(h.freeze()))
	if s := h.state(anna); s.InCutover() {
		t.Errorf("after undo: %q", s.Phase)
	}
}

func TestFreezeWaitsUntilTheSourceIsQuiet(t *testing.T) {
	const settle = 400 * time.Millisecond
	for range 20 {
		h := newHoster(t)
		h.plan.Source.Freeze.Settle = settle
		last := time.Now() // a delivery's begin
		dense := true
		var writing sync.WaitGroup
		writing.Go(func() { // deliveries that were on their way already
			for range 4 {
				before := last
				last = time.Now()
				h.letter(anna, "INBOX", "late")
				dense = dense && time.Since(before) < settle
				time.Sleep(150 * time.Millisecond)
			}
		})
		h.outcome("done", h.freeze(), "", anna)
		ended := time.Now()
		writing.Wait()
		if !dense {
			continue // the machine is busy: it was quiet in between
		}
		if ended.Before(last.Add(settle)) {
			t.Errorf("went on %s after the last delivery; settle is %s", ended.Sub(last), settle)
		}
		return
	}
	t.Error("the machine is too busy to deliver side by side")
}
