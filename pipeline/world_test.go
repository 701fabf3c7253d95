package pipeline_test

import (
	"context"
	"errors"
	"fmt"
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

// world is a hoster made of fake stages: they do what the real ones write into
// the ledger, and remember what happened when.
type world struct {
	t        *testing.T
	dir      string
	mu       sync.Mutex
	clock    pipeline.Clock
	log      []string
	mails    []string                                                // of the last run
	fails    map[string]func(pipeline.Task) (pipeline.Result, error) // by stage and step: "freeze", "copy final"
	undo     func() error
	refuse   map[string]bool // readers whose copies are refused
	full     atomic.Bool     // the ledger's disk
	patience time.Duration
	change   func(*plans.Plan) // of what was loaded
	guard    *pipeline.Guard
}

const list = `service,account,contact,source_secret,target_secret
acme,anna@acme.example,it@contact.example,env:GODWIT_X,env:GODWIT_X
acme,ben@acme.example,it@contact.example,env:GODWIT_X,env:GODWIT_X
zeta,zoe@zeta.example,zoe@contact.example,env:GODWIT_X,env:GODWIT_X
`

const plan = `version: 1
name: spring
timezone: Europe/Paris
source: {imap: {address: "imap.old.example:993"}, freeze: {driver: exec, command: ["/bin/true"]}}
targets:
  new: {imap: {address: "imap.new.example:993"}}
notices:
  from: "M <m@host.example>"
  smtp: {address: "smtp.host.example:587", tls: starttls}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00"}
batches:
  - {name: one, date: 2026-12-02, accounts: list.csv}
`

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), fails: map[string]func(pipeline.Task) (pipeline.Result, error){}, refuse: map[string]bool{}}
	w.put("list.csv", list)
	w.put("plan.yaml", plan)
	return w
}

func (w *world) put(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) edit(name, old, with string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil || !strings.Contains(string(data), old) {
		w.t.Fatalf("%s has no %q (%v)", name, old, err)
	}
	w.put(name, strings.Replace(string(data), old, with, 1))
}

func (w *world) load() *plans.Plan {
	w.t.Helper()
	p, err := plans.Load(filepath.Join(w.dir, "plan.yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Root.Close() })
	if w.change != nil {
		w.change(p)
	}
	return p
}

// run is one run beginning at a time in Paris; it returns what happened.
func (w *world) run(at string) ([]string, pipeline.Tally) {
	w.t.Helper()
	return w.runWith(context.Background(), at)
}

func (w *world) runWith(ctx context.Context, at string) ([]string, pipeline.Tally) {
	w.t.Helper()
	steps, tally, err := w.runErr(ctx, at)
	if err != nil {
		w.t.Fatal(err)
	}
	return steps, tally
}

// retry is a person's word for a service.
func (w *world) retry(service string) {
	w.t.Helper()
	l, err := sqlite.Open(w.t.Context(), filepath.Join(w.dir, "spring.ledger"), true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	if _, err := pipeline.Retry(w.t.Context(), l, w.clock, []string{"one"}, func(k ledger.Key) bool { return k.Service == service }); err != nil {
		w.t.Fatal(err)
	}
}

// filling is a ledger whose disk can be full.
type filling struct {
	ledger.Ledger
	full *atomic.Bool
}

func (f filling) Write(ctx context.Context, changes ...ledger.Change) error {
	if f.full.Load() {
		return errors.New("no space left on device")
	}
	return f.Ledger.Write(ctx, changes...)
}

func (w *world) runErr(ctx context.Context, at string) ([]string, pipeline.Tally, error) {
	w.t.Helper()
	p := w.load()
	start, err := time.ParseInLocation("2006-01-02 15:04", at, p.Timezone)
	if err != nil {
		w.t.Fatal(err)
	}
	w.clock = pipeline.Starting(start)
	l, err := sqlite.Open(ctx, filepath.Join(w.dir, "spring.ledger"), true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	r := pipeline.Runner{Plan: p, Ledger: filling{l, &w.full}, Stages: w.stages(), Guard: w.guard, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Patience: w.patience}
	w.mu.Lock() // a guard's thaw may still be writing
	w.log = nil
	w.mu.Unlock()
	tally, err := r.Run(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mails = nil
	steps := w.log[:0:0]
	for _, l := range w.log {
		if strings.HasPrefix(l, "mail ") {
			w.mails = append(w.mails, l)
		} else {
			steps = append(steps, l)
		}
	}
	slices.Sort(steps)
	slices.Sort(w.mails)
	return steps, tally, err
}

// states is the ledger's view after a run, by account.
func (w *world) states() map[string]ledger.State {
	w.t.Helper()
	l, err := sqlite.Read(w.t.Context(), filepath.Join(w.dir, "spring.ledger"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	rows, err := l.States(w.t.Context(), "one")
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]ledger.State{}
	for _, s := range rows {
		all[s.Key.Service+"/"+s.Key.Account] = s
	}
	return all
}

func (w *world) happened(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, what)
}

func (w *world) stages() []pipeline.Stage {
	names := []string{pipeline.Validate, pipeline.Notify, pipeline.Freeze, pipeline.Copy, pipeline.Credentials}
	var list []pipeline.Stage
	for _, n := range names {
		if n == pipeline.Freeze {
			list = append(list, freezer{fake{w, n}})
			continue
		}
		list = append(list, fake{w, n})
	}
	return list
}

type fake struct {
	w    *world
	name string
}

func (f fake) Name() string { return f.name }

func (f fake) Run(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	what := t.Stage
	if t.Step != "" {
		what += " " + string(t.Step)
	}
	if t.Stage == pipeline.Notify {
		what = "notify " + t.Notice.Plan.Template
	}
	who := t.Account.Address
	if who == "" {
		who = t.Service.Name
	}
	f.w.happened(what + " " + who)
	if err := j.Begin(ctx, what, f.begin(t)); err != nil {
		return pipeline.Result{}, err
	}
	if fail := f.w.fails[what]; fail != nil {
		if result, err := fail(t); err != nil || result.Outcome != "" {
			return result, err
		}
	}
	if t.Stage == pipeline.Notify {
		if err := f.w.deliver(ctx, t, j); err != nil {
			return pipeline.Result{}, err
		}
	}
	return pipeline.Done(""), j.End(ctx, what, ledger.Done, "", f.end(t))
}

func (f fake) begin(t pipeline.Task) func(*ledger.State) {
	return func(s *ledger.State) {
		switch {
		case t.Stage == pipeline.Freeze:
			s.Phase = ledger.Frozen
			pipeline.SetDeadline(s, f.w.clock.Now(), t.Batch.Window.MaxInterruption)
		case t.Step == pipeline.Switch:
			s.Phase = ledger.Switching
		}
	}
}

func (f fake) end(t pipeline.Task) func(*ledger.State) {
	now := f.w.clock.Now()
	return func(s *ledger.State) {
		switch {
		case t.Stage == pipeline.Validate:
			s.ValidatedAt = now
		case t.Step == pipeline.Precopy:
			s.Phase, s.PassedAt = ledger.Copied, now
			s.Passes++
		case t.Step == pipeline.CatchUp:
			s.PassedAt = now
		case t.Step == pipeline.Final:
			s.Phase, s.PassedAt = ledger.Verified, now
		case t.Step == pipeline.Apply:
			s.Phase = ledger.Ready
		case t.Step == pipeline.Prepare:
			s.PasswordAt = now
		case t.Step == pipeline.Switch:
			s.Phase, s.SwitchedAt = ledger.Switched, now
			s.Release(now)
		}
	}
}

// deliver hands every copy over; refuse says to whom it does not go.
func (w *world) deliver(ctx context.Context, t pipeline.Task, j pipeline.Journal) error {
	for _, r := range t.Notice.To {
		d := &ledger.Delivery{To: r.Address, Verdict: "accepted", At: w.clock.Now(), Night: t.Night.Date, Only: t.Notice.Only}
		if w.refuse[r.Address] {
			d.Verdict = "refused"
		}
		w.happened(fmt.Sprintf("mail %s #%d %s", t.Notice.Plan.When, t.Notice.Sequence, r.Address))
		of := j
		if r.Account != "" {
			of = j.Account(r.Account)
		}
		err := of.End(ctx, t.Notice.ID, ledger.Done, "", func(s *ledger.State) {
			if s.Notices == nil {
				s.Notices = map[string]*ledger.Delivery{}
			}
			s.Notices[t.Notice.ID] = d
		})
		if err != nil {
			return err
		}
	}
	return pipeline.Conclude(ctx, t, j, w.clock.Now())
}

type freezer struct{ fake }

func (f freezer) Undo(ctx context.Context, _ pipeline.Task, j pipeline.Journal) error {
	s := j.State()
	if !s.InCutover() || s.Phase == ledger.Switching {
		return nil
	}
	f.w.happened("thaw " + s.Key.Account)
	if f.w.undo != nil {
		if err := f.w.undo(); err != nil {
			return err
		}
	}
	return j.End(ctx, "thaw", ledger.Done, "", func(s *ledger.State) {
		s.Phase = ledger.Copied
		s.Release(f.w.clock.Now())
	})
}

func is(t *testing.T, when string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", when, strings.Join(got, "; "), strings.Join(want, "; "))
	}
}

func each(what string, who ...string) []string {
	var list []string
	for _, w := range who {
		list = append(list, fmt.Sprintf("%s %s", what, w))
	}
	return list
}
