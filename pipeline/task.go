package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-multierror"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// cutover says that somebody waits for a mailbox while the task runs.
func (t Task) cutover() bool {
	return t.Stage == Freeze || t.Step == Final || t.Step == Apply || t.Step == Switch
}

// task runs one task, writes down what came of it, and undoes a cutover that
// cannot go on. The error is about the ledger.
func (r *Runner) task(ctx context.Context, b *book, s Subject, t Task) error {
	stage := find(r.Stages, t.Stage)
	if stage == nil {
		return fmt.Errorf("there is no stage %q", t.Stage)
	}
	j, err := b.journal(ctx, t.Key(), t.Stage)
	if err != nil {
		return err
	}
	work, cancel := r.limit(ctx, b, t)
	defer cancel()
	log := r.Log.With("task", t.String())
	log.Info("begin")
	result, err := attempt(work, stage, t, j)
	if err != nil {
		result = surprised(ctx, work, t, err)
	}
	log.Info(string(result.Outcome), "text", result.Text)
	if result.Outcome == done {
		return r.settle(ctx, b, t, result)
	}
	if err := r.settle(ctx, b, t, result); err != nil {
		return err
	}
	if t.cutover() {
		return r.undo(ctx, b, s, t)
	}
	return nil
}

// attempt keeps a panic from one account's task to that account.
func attempt(ctx context.Context, stage Stage, t Task, j Journal) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: internal error: %v\n%s", t, p, debug.Stack())
		}
	}()
	return stage.Run(ctx, t, j)
}

// surprised is the result of a task that could not find out or finish.
func surprised(run, work context.Context, t Task, err error) Result {
	switch {
	case run.Err() != nil:
		return Later("interrupted", "the run was stopped")
	case errors.Is(work.Err(), context.DeadlineExceeded) && t.cutover():
		return Later("too-long", fmt.Sprintf("max_interruption was reached: %v", err))
	}
	return Later("internal", err.Error())
}

// limit bounds a task in time. A cutover outlives the first Ctrl-C by the grace
// time, and ends with its deadline; an unfinished switch is only bounded.
func (r *Runner) limit(ctx context.Context, b *book, t Task) (context.Context, context.CancelFunc) {
	if !t.cutover() {
		return context.WithCancel(ctx)
	}
	state := b.state(t.Key())
	allowed := t.Batch.Window.MaxInterruption
	switch {
	case state.Phase == ledger.Switching:
		allowed = 5 * time.Minute
	case state.Out():
		allowed = state.Deadline.Sub(r.Clock.Now())
	}
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), allowed)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
		case <-r.Hurry:
		case <-work.Done():
		}
		cancel()
	})
	return work, func() { stop(); cancel() }
}

// settle writes the result into the subject's row.
func (r *Runner) settle(ctx context.Context, b *book, t Task, result Result) error {
	key := t.Key()
	state := b.state(key)
	if result.Outcome == done {
		clean := state.Trouble == ledger.None && state.Tries == 0 && state.Next.IsZero()
		ours := state.Trouble != ledger.Held || state.Origin == t.Stage
		if clean || !ours {
			return nil
		}
		return b.write(ctx, key, nil, func(s *ledger.State) {
			s.Trouble, s.Origin, s.Reason, s.Detail, s.Tries, s.Next = ledger.None, "", "", "", 0, time.Time{}
		})
	}
	entry := &ledger.Entry{Key: key, Stage: t.Stage, Effect: t.String(), Mark: ledger.Note, Text: string(result.Outcome) + ": " + result.Text}
	return b.write(ctx, key, entry, func(s *ledger.State) {
		s.Tries++
		s.Next = r.Clock.Now().Add(pause(s.Tries))
		s.Origin, s.Reason, s.Detail = t.Stage, result.Reason, result.Text
		switch {
		case s.Phase == ledger.Switched: // a straggler pass: the account itself is done
			s.Origin, s.Reason, s.Detail = "", "", ""
		case result.Outcome == held:
			s.Trouble = ledger.Held
		case result.Outcome == failed:
			s.Trouble = ledger.Broken
		default:
			s.Trouble = ledger.Deferred
		}
	})
}

// pause doubles with every try, from one minute to an hour.
func pause(tries int) time.Duration { return min(time.Minute<<min(tries-1, 6), time.Hour) }

// undo takes a cutover back in reverse order: of the account, or of the whole
// service where its accounts move together. Who is on the way to the switch
// stays: that is completed, never undone.
func (r *Runner) undo(ctx context.Context, b *book, s Subject, t Task) error {
	accounts := []plans.Account{t.Account}
	if t.Batch.Window.Unit == "service" {
		accounts = s.Service.Accounts
	}
	var all *multierror.Error
	for _, a := range accounts {
		one := t
		one.Account = a
		state := b.state(one.Key())
		if !state.InCutover() || state.Phase == ledger.Switching {
			continue
		}
		if err := undo(ctx, b, r.Stages, one); err != nil {
			r.Log.Error("NOT THAWED", "account", a.Address, "error", err)
		}
	}
	return all.ErrorOrNil()
}

// undo calls every stage's Undo, the last first, and tries again for a while:
// a mailbox must not stay frozen because one call was lost.
func undo(ctx context.Context, b *book, stages []Stage, t Task) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	var all *multierror.Error
	for i := len(stages) - 1; i >= 0; i-- {
		u, ok := stages[i].(Undoer)
		if !ok {
			continue
		}
		j, err := b.journal(ctx, t.Key(), stages[i].Name())
		if err != nil {
			return err
		}
		wait := backoff.NewExponentialBackOff()
		wait.InitialInterval = time.Second
		_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, u.Undo(ctx, t, j) },
			backoff.WithBackOff(wait), backoff.WithMaxTries(5))
		if err != nil {
			all = multierror.Append(all, fmt.Errorf("undo %s %s: %w", stages[i].Name(), t.Account.Address, err))
		}
	}
	return all.ErrorOrNil()
}

// report has the batch's files written.
func (r *Runner) report(ctx context.Context, b *book, batch *plans.Batch) error {
	stage := find(r.Stages, Report)
	if stage == nil {
		return nil
	}
	t := Task{Stage: Report, Batch: batch}
	j, err := b.journal(ctx, t.Key(), Report)
	if err != nil {
		return err
	}
	if _, err := stage.Run(ctx, t, j); err != nil {
		return fmt.Errorf("report %s: %w", batch.Name, err)
	}
	return nil
}

func find(stages []Stage, name string) Stage {
	for _, s := range stages {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// Rewrite has the reports of every batch written from the ledger.
func Rewrite(ctx context.Context, plan *plans.Plan, l ledger.Ledger, stages []Stage, clock Clock) error {
	r := Runner{Plan: plan, Ledger: l, Stages: stages, Clock: clock}
	for _, batch := range plan.Batches {
		b, err := open(ctx, l, clock, batch.Name)
		if err != nil {
			return err
		}
		if err := r.report(ctx, b, batch); err != nil {
			return err
		}
	}
	return nil
}
