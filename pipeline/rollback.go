package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// ErrNothingToRollBack means that no account of a service can be put back.
var ErrNothingToRollBack = errors.New("nothing to roll back")

// ToRollBack returns the accounts that a rollback of the service concerns: those
// switched less than rollback_for ago, those whose rollback has begun, and for
// as long those that are back and may have late arrivals. late names switched
// ones whose time has passed. The error, ErrNothingToRollBack, says why there
// are none.
func ToRollBack(s Subject, now time.Time) (list []plans.Account, late, err error) {
	most := s.Plan.RollbackFor
	var all *multierror.Error
	for _, a := range s.Service.Accounts {
		state := s.Accounts[a.Address]
		until := state.SwitchedAt.Add(most)
		if state.Phase == ledger.RolledBack {
			until = state.RolledAt.Add(most)
		}
		switch {
		case state.Phase == ledger.RollingBack, state.Moved() && now.Before(until):
			list = append(list, a)
		case state.Moved():
			all = multierror.Append(all, fmt.Errorf("%s: a rollback was possible until %s (rollback_for %s after the switch)",
				a.Address, until.In(s.Plan.Timezone).Format("2006-01-02 15:04"), days(most)))
		}
	}
	if all != nil {
		all.ErrorFormat = oneLine
	}
	switch {
	case len(list) == 0 && all != nil:
		return nil, nil, fmt.Errorf("%w: %w", ErrNothingToRollBack, all)
	case len(list) == 0:
		return nil, nil, fmt.Errorf("%w: no account of %s has been switched", ErrNothingToRollBack, s.Service.Name)
	}
	slices.SortStableFunc(list, func(x, y plans.Account) int {
		return cmp.Compare(s.Accounts[x.Address].Bytes, s.Accounts[y.Address].Bytes)
	})
	return list, all.ErrorOrNil(), nil
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

// Rollback puts a service back, small mailboxes first, has its readers told and
// writes the reports. It may be interrupted anywhere and run again. said is told
// what came of each account.
func (r *Runner) Rollback(ctx context.Context, service string, said func(account string, result Result)) (Tally, error) {
	r.slots = newSlots(accountsAtOnce(r.Plan))
	stop := r.grace(ctx)
	defer stop()
	if _, err := Release(ctx, r.Ledger, r.Stages, r.Clock, r.Log, nil); err != nil {
		return r.end(nil, Tally{}, err)
	}
	r.wakeAll = true
	jobs, err := r.jobs(ctx)
	if err != nil {
		return Tally{}, err
	}
	i := slices.IndexFunc(jobs, func(j *job) bool { return j.subject.Service.Name == service })
	if i < 0 {
		return Tally{}, fmt.Errorf("%w: the plan has no service %q", ErrNothingToRollBack, service)
	}
	j := jobs[i]
	list, late, err := ToRollBack(j.subject, r.Clock.Now())
	if err != nil {
		return Tally{}, err
	}
	tally := Tally{Tasks: len(list)}
	if late != nil {
		tally.Trouble = multierror.Append(tally.Trouble, late)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, a := range list {
		if !r.slots.queue(true, 0).take(ctx) {
			break
		}
		wg.Go(func() {
			defer r.slots.give()
			result, failed := r.rollBack(ctx, j, a)
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, failed)
			if result.Outcome != done {
				tally.Trouble = multierror.Append(tally.Trouble, fmt.Errorf("%s: %s: %s", a.Address, result.Outcome, result.Text))
			} else {
				said(a.Address, result)
			}
		})
	}
	wg.Wait()
	for _, t := range rolledBack(j.book.subject(j.subject), r.Clock.Now()) {
		err = errors.Join(err, r.task(ctx, j.book, t))
	}
	return tally, errors.Join(err, r.report(context.WithoutCancel(ctx), j.book, j.subject.Batch))
}

// Looking hands the account's task and journal to look, which changes nothing.
func Looking(ctx context.Context, l ledger.Ledger, clock Clock, s Subject, a plans.Account, look func(Task, Journal) error) error {
	b, err := openBook(ctx, l, clock, s.Batch.Name)
	if err != nil {
		return err
	}
	t := s.accountTask(Rollback, Whole, a)
	j, err := b.journal(ctx, t.Key(), Rollback)
	if err != nil {
		return err
	}
	return look(t, j)
}

// rollBack puts one account back and writes down what came of it.
func (r *Runner) rollBack(ctx context.Context, j *job, a plans.Account) (Result, error) {
	t := j.subject.accountTask(Rollback, Whole, a)
	stage := find(r.Stages, Rollback)
	if stage == nil {
		return Result{}, fmt.Errorf("there is no stage %q", Rollback)
	}
	result, err := r.attempt(ctx, j.book, stage, t)
	if err != nil {
		result = surprised(ctx, t, err)
	}
	r.Log.Info(string(result.Outcome), "task", t.String(), "text", result.Text)
	return result, r.settle(ctx, j.book, t, result)
}

// MoveAgain is a person's word that accounts which were rolled back may move once
// more. They keep what was copied; their service is checked and announced anew.
// It returns how many there are.
func MoveAgain(ctx context.Context, l ledger.Ledger, clock Clock, batches []string, match func(ledger.Key) bool) (int, error) {
	changed := 0
	for _, name := range batches {
		b, err := openBook(ctx, l, clock, name)
		if err != nil {
			return changed, err
		}
		for _, key := range sorted(b.rows) {
			if b.state(key).Phase != ledger.RolledBack || !match(key) {
				continue
			}
			service := ledger.Key{Batch: key.Batch, Service: key.Service}
			entry := &ledger.Entry{Stage: Rollback, Effect: "move again", Mark: ledger.Note, Text: "a person said so"}
			if err := b.writeAll(ctx, []ledger.Key{key, service}, entry, anew); err != nil {
				return changed, err
			}
			changed++
		}
	}
	return changed, nil
}

// anew forgets the promise and the move, of an account or of its service.
func anew(s *ledger.State) {
	s.Kept, s.ValidatedAt = nil, time.Time{}
	if s.Key.Account == "" {
		return
	}
	s.Phase, s.Promise, s.Night, s.Waved = ledger.Copied, nil, "", nil
	s.PassedAt, s.VerifiedAt, s.SwitchedAt, s.RolledAt, s.PasswordSet = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	s.ToldDone, s.ToldBack, s.CaughtUp, s.CarriedBack = false, false, false, 0
}
