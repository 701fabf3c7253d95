package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"
	"golang.org/x/sync/errgroup"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

const (
	// grace is how long cutovers may go on after the first Ctrl-C.
	grace = 30 * time.Second
	// rounds bounds how often one service is asked in one run, against a stage
	// that says Done and is due again at once.
	rounds = 200
)

// Runner runs what is due.
type Runner struct {
	Plan   *plans.Plan
	Ledger ledger.Ledger
	Stages []Stage
	Clock  Clock
	Log    *slog.Logger
	Batch  string          // only this one; "" for all
	Hurry  <-chan struct{} // closed: undo at once (second Ctrl-C); may be nil

	// Patience is how long a run waits for a retry that falls due in its window,
	// before it leaves the rest to the next run.
	Patience time.Duration

	slots chan struct{} // accounts at once
}

// Tally is how a run ended.
type Tally struct {
	Tasks   int               // carried out
	Trouble *multierror.Error // one error per account or service that waits
	Frozen  []ledger.State    // may still be frozen: the loudest lines
}

// Run does whatever is due and whatever falls due while it works. It begins by
// releasing what an earlier run left frozen. The error is about Godwit itself;
// what accounts ran into stands in the Tally.
func (r *Runner) Run(ctx context.Context) (Tally, error) {
	r.slots = make(chan struct{}, max(1, r.Plan.Copy.Accounts))
	released, err := Release(ctx, r.Ledger, r.Stages, r.Clock, r.Log, nil)
	if err != nil {
		return Tally{Frozen: released}, err
	}
	var tally Tally
	for {
		var wait time.Time
		worked := 0
		for _, batch := range r.Plan.Batches {
			if r.Batch != "" && batch.Name != r.Batch {
				continue
			}
			n, next, err := r.batch(ctx, batch)
			worked += n
			if err != nil {
				return tally, err
			}
			if wait.IsZero() || !next.IsZero() && next.Before(wait) {
				wait = next
			}
		}
		tally.Tasks += worked
		if ctx.Err() != nil || worked == 0 && !r.sleep(ctx, wait) {
			break
		}
	}
	return r.end(context.WithoutCancel(ctx), tally)
}

// sleep waits for what falls due soon; false means there is nothing to wait for.
func (r *Runner) sleep(ctx context.Context, until time.Time) bool {
	if until.IsZero() {
		return false
	}
	r.Log.Info("waiting", "until", until.In(r.Plan.Timezone).Format(time.RFC3339))
	select {
	case <-time.After(until.Sub(r.Clock.Now())):
		return true
	case <-ctx.Done():
		return false
	}
}

// batch works on the batch's services side by side, small ones first, and then
// has the reports written. It returns how many tasks it ran, and when the next
// one falls due if that is soon.
func (r *Runner) batch(ctx context.Context, batch *plans.Batch) (int, time.Time, error) {
	b, err := open(ctx, r.Ledger, r.Clock, batch.Name)
	if err != nil {
		return 0, time.Time{}, err
	}
	subjects := r.subjects(b, batch)
	slices.SortStableFunc(subjects, func(x, y Subject) int { return cmp.Compare(size(x), size(y)) })
	var mu sync.Mutex
	worked, next := 0, time.Time{}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(max(1, r.Plan.Copy.Accounts))
	for _, s := range subjects {
		group.Go(func() error {
			n, soon, err := r.service(inner, b, s)
			mu.Lock()
			defer mu.Unlock()
			worked += n
			if next.IsZero() || !soon.IsZero() && soon.Before(next) {
				next = soon
			}
			return err
		})
	}
	err = group.Wait()
	if len(b.rows) > 0 {
		err = errors.Join(err, r.report(context.WithoutCancel(ctx), b, batch))
	}
	return worked, next, err
}

func (r *Runner) subjects(b *book, batch *plans.Batch) []Subject {
	var list []Subject
	for service := range batch.Services() {
		list = append(list, subject(r.Plan, batch, service, b.rows))
	}
	return list
}

func subject(plan *plans.Plan, batch *plans.Batch, service plans.Service, rows map[ledger.Key]ledger.State) Subject {
	key := ledger.Key{Batch: batch.Name, Service: service.Name}
	s := Subject{Plan: plan, Batch: batch, Service: service, State: rows[key], Accounts: map[string]ledger.State{}}
	for _, a := range service.Accounts {
		key.Account = a.Address
		s.Accounts[a.Address] = rows[key]
	}
	return s
}

func size(s Subject) (bytes int64) {
	for _, state := range s.Accounts {
		bytes += state.Bytes
	}
	return bytes
}

// service carries a service on until nothing is due.
func (r *Runner) service(ctx context.Context, b *book, s Subject) (worked int, soon time.Time, err error) {
	for range rounds {
		b.mu.Lock()
		s = subject(r.Plan, s.Batch, s.Service, b.rows)
		b.mu.Unlock()
		now := r.Clock.Now()
		if err := r.block(ctx, b, s, now); err != nil {
			return worked, soon, err
		}
		tasks := Due(s, now)
		if ctx.Err() != nil { // only what somebody waits for
			tasks = slices.DeleteFunc(tasks, func(t Task) bool { return !t.cutover() || t.Stage == Freeze })
		}
		if len(tasks) == 0 {
			return worked, soonest(s, now, r.Patience), nil
		}
		if err := r.tasks(ctx, b, s, tasks); err != nil {
			return worked, soon, err
		}
		worked += len(tasks)
	}
	return worked, soon, fmt.Errorf("%s: the same work is due again and again: %s", s.Service.Name, "please report this")
}

// block writes down that a service is held by its plan, or no longer is.
func (r *Runner) block(ctx context.Context, b *book, s Subject, now time.Time) error {
	const origin = "plan"
	why := Blocked(s, now)
	if s.Batch.Hold || len(s.moving()) == 0 || !s.startedBy(now) {
		why = nil
	}
	key := ledger.Key{Batch: s.Batch.Name, Service: s.Service.Name}
	state := b.state(key)
	byPlan := state.Trouble == ledger.Held && state.Origin == origin
	switch {
	case why == nil && byPlan:
		return b.write(ctx, key, &ledger.Entry{Key: key, Stage: origin, Effect: "hold", Mark: ledger.Note, Text: "lifted"}, func(s *ledger.State) {
			s.Trouble, s.Origin, s.Reason, s.Detail = ledger.None, "", "", ""
		})
	case why != nil && (!byPlan || state.Detail != why.Text):
		r.Log.Warn("held", "service", s.Service.Name, "why", why.Text)
		return b.write(ctx, key, &ledger.Entry{Key: key, Stage: origin, Effect: "hold", Mark: ledger.Note, Text: why.Text}, func(s *ledger.State) {
			s.Trouble, s.Origin, s.Reason, s.Detail = ledger.Held, origin, why.Reason, why.Text
		})
	}
	return nil
}

// startedBy says that the service's time has begun: something was or should
// have been done for it.
func (s Subject) startedBy(now time.Time) bool {
	if s.State.Promise != nil {
		return true
	}
	for _, n := range before(s.Batch) {
		if !now.Before(noticeDue(s.Batch.Date, n.Days)) {
			return true
		}
	}
	return false
}

// soonest is when the service's next retry falls due, if a run should wait.
func soonest(s Subject, now time.Time, patience time.Duration) time.Time {
	var soon time.Time
	consider := func(state ledger.State, wanted bool) {
		if wanted && !waitsForPerson(state) && state.Next.After(now) && state.Next.Before(now.Add(patience)) && (soon.IsZero() || state.Next.Before(soon)) {
			soon = state.Next
		}
	}
	consider(s.State, true)
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		night := nightFor(s.Batch, state)
		consider(state, state.Phase == ledger.Switching || night.Contains(state.Next) && Fits(s.Plan, s.Batch, state, night, state.Next))
	}
	return soon
}

// tasks runs tasks of one kind side by side. One task's trouble never stops
// another's.
func (r *Runner) tasks(ctx context.Context, b *book, s Subject, tasks []Task) error {
	var group multierror.Group
	for _, t := range tasks {
		group.Go(func() error {
			if t.Account.Address != "" {
				r.slots <- struct{}{}
				defer func() { <-r.slots }()
			}
			return r.task(ctx, b, s, t)
		})
	}
	return group.Wait().ErrorOrNil()
}

// end names what waits for somebody, and counts what may still be frozen.
func (r *Runner) end(ctx context.Context, tally Tally) (Tally, error) {
	var err error
	if tally.Frozen, err = r.Ledger.Frozen(ctx); err != nil {
		return tally, err
	}
	for _, batch := range r.Plan.Batches {
		if r.Batch != "" && batch.Name != r.Batch {
			continue
		}
		states, err := r.Ledger.States(ctx, batch.Name)
		if err != nil {
			return tally, err
		}
		for _, s := range states {
			if s.Phase == ledger.Switching {
				tally.Frozen = append(tally.Frozen, s)
			}
			if s.Trouble != ledger.None {
				tally.Trouble = multierror.Append(tally.Trouble, fmt.Errorf("%s: %s: %s", orDefault(s.Key.Account, s.Key.Service), s.Trouble, s.Detail))
			}
		}
	}
	return tally, nil
}
