package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// rounds bounds how often one service is asked in one run, against a stage that
// says Done and is due again at once.
const rounds = 100

// service carries a service on until nothing is due: its own tasks first, then
// every account's, side by side. queued is called once the first of them stand in
// the queue for slots, or something else comes first. The error is about the
// ledger.
func (r *Runner) service(ctx context.Context, b *book, s Subject, rank int, queued func()) (worked int, err error) {
	defer queued()
	for range rounds {
		s = b.subject(s)
		now := r.Clock.Now()
		if len(s.toUndo(now)) > 0 || len(s.verdicts(now)) > 0 || len(forService(s, now)) > 0 {
			queued()
		}
		for _, a := range s.toUndo(now) {
			r.takeBack(b, s.accountTask(Freeze, Whole, a), Later("too-long", "max_interruption was reached"))
		}
		if err := r.judge(ctx, b, s, now); err != nil {
			return worked, err
		}
		s = b.subject(s)
		if tasks := forService(s, now); len(tasks) > 0 && ctx.Err() == nil {
			for _, t := range tasks {
				if !r.slots.queue(true, rank).take(ctx) {
					break
				}
				err := r.task(ctx, b, t)
				r.slots.give()
				if err != nil {
					return worked, err
				}
				worked++
			}
			continue
		}
		n, err := r.accounts(ctx, b, s, rank, queued)
		worked += n
		if err != nil || n == 0 {
			r.abandon(b, b.subject(s))
			return worked, err
		}
	}
	return worked, fmt.Errorf("%s: the same work is due again and again; please report this", s.Service.Name)
}

// abandon undoes cutovers that wait for something that will not come in this run:
// a neighbour that cannot be frozen any more, or an end of the grace time.
func (r *Runner) abandon(b *book, s Subject) {
	for _, a := range s.Service.Accounts {
		if state := s.Accounts[a.Address]; !state.InCutover() || state.Phase == ledger.Switching || state.Next.After(r.Clock.Now()) {
			continue
		}
		r.takeBack(b, s.accountTask(Freeze, Whole, a), Later("interrupted", "the cutover could not be completed"))
	}
}

// takeBack undoes a cutover, and writes down why if that is not known yet: the
// account is not to be frozen again at once. The run does not end before it has.
func (r *Runner) takeBack(b *book, t Task, why Result) {
	r.taking.RLock()
	defer r.taking.RUnlock()
	if r.over {
		return
	}
	if b.state(t.Key()).Trouble == ledger.None {
		if err := r.settle(context.Background(), b, t, why); err != nil {
			r.Log.Error("ledger", "account", t.Account.Address, "error", err)
		}
	}
	r.undo(b, t)
}

// accounts carries every account of a service on as far as it comes, each in
// one go: who is frozen waits for nobody else's mailbox.
func (r *Runner) accounts(ctx context.Context, b *book, s Subject, rank int, queued func()) (int, error) {
	now := r.Clock.Now()
	blocked := Blocked(s, now) != nil
	if err := r.pointOfNoReturn(ctx, b, s); err != nil {
		return 0, err
	}
	s = b.subject(s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var worked int
	var all error
	for _, a := range smallFirst(s) {
		first, ok := forAccount(s, a, blocked, now)
		if !ok {
			continue
		}
		urgent := first.cutover() || first.Step == Precopy && first.Night.Contains(now)
		place := r.slots.queue(urgent, rank)
		wg.Go(func() {
			n, err := r.account(ctx, b, s, a, first, place)
			mu.Lock()
			defer mu.Unlock()
			worked, all = worked+n, errors.Join(all, err)
		})
	}
	queued()
	wg.Wait()
	return worked, all
}

// account runs an account's tasks, one after the other, in one slot.
func (r *Runner) account(ctx context.Context, b *book, s Subject, a plans.Account, first Task, place *ticket) (worked int, err error) {
	waiting := ctx
	if first.cutover() && first.Stage != Freeze {
		waiting = r.work
	}
	if !place.take(waiting) {
		return 0, nil
	}
	defer r.slots.give()
	for range rounds {
		s = b.subject(s)
		now := r.Clock.Now()
		t, ok := forAccount(s, a, Blocked(s, now) != nil, now)
		stopped := ctx.Err() != nil && (!t.cutover() || t.Stage == Freeze)
		if !ok || stopped {
			r.watch(b, s, a)
			return worked, nil
		}
		if err := r.task(ctx, b, t); err != nil {
			return worked, err
		}
		worked++
	}
	return worked, nil
}

// watch undoes an account at its deadline if it still waits for its neighbours
// then: no task of its own is at work that would notice.
func (r *Runner) watch(b *book, s Subject, a plans.Account) {
	t := s.accountTask(Freeze, Whole, a)
	state := b.state(t.Key())
	if state.Phase != ledger.Ready {
		return
	}
	time.AfterFunc(state.Deadline.Sub(r.Clock.Now()), func() {
		if b.state(t.Key()).Phase != ledger.Ready {
			return
		}
		r.takeBack(b, t, Later("too-long", "max_interruption was reached while the others of the service were not ready"))
	})
}

// margin is the time before a deadline in which no switch is begun any more.
const margin = time.Second

// pointOfNoReturn: where a service moves as a whole, all its accounts pass the
// point together, before the first one is switched, and none close to its deadline.
func (r *Runner) pointOfNoReturn(ctx context.Context, b *book, s Subject) error {
	if s.Batch.Window.Unit != "service" || len(s.moving()) == 0 || !s.allReady() || r.work.Err() != nil {
		return nil
	}
	var keys []ledger.Key
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		if state.Phase == ledger.Ready && state.Deadline.Sub(r.Clock.Now()) < margin {
			return nil
		}
		if state.Phase == ledger.Ready {
			keys = append(keys, ledger.Key{Batch: s.Batch.Name, Service: s.Service.Name, Account: a.Address})
		}
	}
	if len(keys) == 0 {
		return nil
	}
	entry := &ledger.Entry{Stage: Credentials, Effect: "switch", Mark: ledger.Intent, Text: "all accounts of the service together"}
	return b.writeAll(ctx, keys, entry, func(s *ledger.State) { s.Phase = ledger.Switching })
}

// toUndo returns the accounts whose cutover cannot be completed.
func (s Subject) toUndo(now time.Time) []plans.Account {
	var list []plans.Account
	for _, a := range s.Service.Accounts {
		if state := s.Accounts[a.Address]; s.doomed(state, now) && !state.Next.After(now) {
			list = append(list, a)
		}
	}
	return list
}

// verdict is a hold by the plan that has to be written down, or lifted.
type verdict struct {
	key   ledger.Key
	block *Block // nil: lifted
}

// ByPlan is the origin of such a hold, in ledger.State.Origin.
const ByPlan = "plan"

// verdicts compares what the plan holds with what the ledger says it holds.
func (s Subject) verdicts(now time.Time) []verdict {
	var list []verdict
	compare := func(key ledger.Key, state ledger.State, why *Block) {
		ours := state.Trouble == ledger.Held && state.Origin == ByPlan
		added := why != nil && !waitsForPerson(state)
		lifted := why == nil && ours
		reworded := why != nil && ours && state.Detail != why.Text
		if added || lifted || reworded {
			list = append(list, verdict{key, why})
		}
	}
	key := ledger.Key{Batch: s.Batch.Name, Service: s.Service.Name}
	var whole *Block
	if s.announced() || !now.Before(s.firstNotice()) {
		whole = Blocked(s, now)
	}
	compare(key, s.State, whole)
	for _, a := range s.moving() {
		key.Account = a.Address
		var why *Block
		if whole == nil && !s.Batch.Hold {
			why = BlockedAccount(s, a, now)
		}
		compare(key, s.Accounts[a.Address], why)
	}
	return list
}

// firstNotice is when the first notice falls due; without notices, never.
func (s Subject) firstNotice() time.Time {
	list := before(s.Batch)
	if len(list) == 0 {
		return s.Batch.Date.AddDate(100, 0, 0)
	}
	return noticeDue(s.Batch.Date, list[0].Days)
}

// judge writes the verdicts down.
func (r *Runner) judge(ctx context.Context, b *book, s Subject, now time.Time) error {
	for _, v := range s.verdicts(now) {
		entry := &ledger.Entry{Stage: ByPlan, Effect: "hold", Mark: ledger.Note, Text: "lifted"}
		if v.block != nil {
			r.Log.Warn("held", "service", v.key.Service, "account", v.key.Account, "why", v.block.Text)
			entry.Text = v.block.Text
		}
		err := b.write(ctx, v.key, entry, func(s *ledger.State) {
			s.Trouble, s.Origin, s.Reason, s.Detail = ledger.None, "", "", ""
			if v.block != nil {
				s.Trouble, s.Origin, s.Reason, s.Detail = ledger.Held, ByPlan, v.block.Reason, v.block.Text
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
