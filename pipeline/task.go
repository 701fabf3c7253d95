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
// cannot go on, also when that could not be written. The error is about the
// ledger.
func (r *Runner) task(ctx context.Context, b *book, t Task) error {
	stage := find(r.Stages, t.Stage)
	if stage == nil {
		return fmt.Errorf("there is no stage %q", t.Stage)
	}
	log := r.Log.With("task", t.String())
	log.Info("begin")
	if t.Stage == Freeze { // trouble from now on means that this cutover is to be undone
		if err := r.clear(ctx, b, t); err != nil {
			return err
		}
	}
	result, err := r.attempt(ctx, b, stage, t)
	if err != nil {
		result = surprised(ctx, t, err)
	}
	log.Info(string(result.Outcome), "text", result.Text)
	if result.Outcome != done && ctx.Err() != nil && !t.cutover() {
		return nil // stopped: it goes on with the next run
	}
	err = r.settle(ctx, b, t, result)
	if t.cutover() && (err != nil || result.Outcome != done) {
		r.undo(b, t)
	}
	return err
}

// attempt bounds the stage in time, and keeps a panic from one account's task to
// that account.
func (r *Runner) attempt(ctx context.Context, b *book, stage Stage, t Task) (result Result, err error) {
	j, err := b.journal(ctx, t.Key(), t.Stage)
	if err != nil {
		return Result{}, err
	}
	work, cancel := r.limit(ctx, b, t)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: internal error: %v\n%s", t, p, debug.Stack())
		}
		if err != nil && errors.Is(work.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", errTooLong, err)
		}
	}()
	return stage.Run(work, t, j)
}

var errTooLong = errors.New("max_interruption was reached")

// surprised is the result of a task that could not find out or finish.
func surprised(ctx context.Context, t Task, err error) Result {
	switch {
	case (errors.Is(err, errTooLong) || errors.Is(err, errThawed)) && t.cutover():
		return Later("too-long", err.Error())
	case ctx.Err() != nil:
		return Later("interrupted", "the run was stopped")
	}
	return Later("internal", err.Error())
}

// limit bounds a task in time. A cutover ends with its deadline; an unfinished
// switch is only bounded.
func (r *Runner) limit(ctx context.Context, b *book, t Task) (context.Context, context.CancelFunc) {
	if !t.cutover() {
		return context.WithCancel(ctx)
	}
	state := b.state(t.Key())
	allowed := t.Batch.Window.MaxInterruption
	switch {
	case state.Phase == ledger.Switching:
		allowed = switchWithin
	case state.InCutover():
		allowed = state.Deadline.Sub(r.Clock.Now())
	}
	return context.WithTimeout(r.work, allowed)
}

// switchWithin bounds one try of a switch.
const switchWithin = 5 * time.Minute

// settle writes the result into the subject's row.
func (r *Runner) settle(ctx context.Context, b *book, t Task, result Result) error {
	key := t.Key()
	state := b.state(key)
	if result.Outcome == done {
		others := state.Trouble == ledger.Held && state.Origin != t.Stage
		if t.Stage == Notify || t.Step == Prepare || others {
			return r.clearOwn(ctx, b, t)
		}
		return r.clear(ctx, b, t)
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

// clear forgets the subject's trouble.
func (r *Runner) clear(ctx context.Context, b *book, t Task) error {
	state := b.state(t.Key())
	if state.Trouble == ledger.None && state.Tries == 0 && state.Next.IsZero() {
		return nil
	}
	return b.write(ctx, t.Key(), nil, func(s *ledger.State) {
		s.Trouble, s.Origin, s.Reason, s.Detail, s.Tries, s.Next = ledger.None, "", "", "", 0, time.Time{}
	})
}

// clearOwn forgets the stage's own deferral, and leaves other trouble.
func (r *Runner) clearOwn(ctx context.Context, b *book, t Task) error {
	state := b.state(t.Key())
	if state.Trouble != ledger.Deferred || state.Origin != t.Stage {
		return nil
	}
	return r.clear(ctx, b, t)
}

// pause doubles with every try, from one minute to an hour.
func pause(tries int) time.Duration { return min(time.Minute<<min(tries-1, 6), time.Hour) }

// undo takes an account's cutover back, in reverse order. One that is on the way
// to the switch is completed, never undone.
func (r *Runner) undo(b *book, t Task) {
	if state := b.state(t.Key()); !state.InCutover() || state.Phase == ledger.Switching {
		return
	}
	err := undo(context.Background(), b, r.Stages, t)
	if err == nil {
		return
	}
	r.Log.Error("NOT THAWED", "account", t.Account.Address, "error", err)
	// The stage keeps its own account of it; here only: when to try again.
	_ = b.write(context.Background(), t.Key(), nil, func(s *ledger.State) {
		s.Next = r.Clock.Now().Add(thawAgain)
		if s.Trouble == ledger.None {
			s.Trouble, s.Origin, s.Reason, s.Detail = ledger.Deferred, Freeze, "interrupted", "not thawed: "+err.Error()
		}
	})
}

// thawAgain is the time between two tries to thaw within a run.
const thawAgain = 20 * time.Second

// undo calls every stage's Undo, the last first, and tries again for a while:
// a mailbox must not stay frozen because one call was lost.
func undo(ctx context.Context, b *book, stages []Stage, t Task) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	all := &multierror.Error{ErrorFormat: oneLine}
	for i := len(stages) - 1; i >= 0; i-- {
		u, ok := stages[i].(Undoer)
		if !ok {
			continue
		}
		j, err := b.journal(ctx, t.Key(), stages[i].Name())
		if err != nil { // thawing is harmless, and somebody waits: go on without marks
			j = b.blank(t.Key(), stages[i].Name())
		}
		wait := backoff.NewExponentialBackOff()
		wait.InitialInterval = 500 * time.Millisecond
		_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, u.Undo(ctx, t, j) },
			backoff.WithBackOff(wait), backoff.WithMaxTries(4))
		if err != nil {
			all = multierror.Append(all, fmt.Errorf("undo %s %s: %w", stages[i].Name(), t.Account.Address, err))
		}
	}
	return all.ErrorOrNil()
}

func oneLine(all []error) string { return errors.Join(all...).Error() }

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
		b, err := openBook(ctx, l, clock, batch.Name)
		if err != nil {
			return err
		}
		if err := r.report(ctx, b, batch); err != nil {
			return err
		}
	}
	return nil
}
