package pipeline

import (
	"context"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// releasing is how many accounts are released side by side.
const releasing = 16

// Release ends the cutovers that nobody works on any more: whoever holds the
// ledger's lock is the only one who could. What had not passed the point of no
// return is thawed, what had is switched. It needs no plan, only what the
// ledger keeps of the freeze. match says which accounts; nil: all. It returns
// those whose cutover has still not ended.
func Release(ctx context.Context, l ledger.Ledger, stages []Stage, clock Clock, log *slog.Logger, match func(ledger.State) bool) ([]ledger.State, error) {
	underway, err := l.Underway(ctx)
	if err != nil {
		return nil, err
	}
	r := Runner{Ledger: l, Stages: stages, Clock: clock, Log: log, work: context.WithoutCancel(ctx)}
	books := map[string]*book{}
	for _, state := range underway {
		if books[state.Key.Batch] == nil {
			if books[state.Key.Batch], err = openBook(ctx, l, clock, state.Key.Batch); err != nil {
				return underway, err
			}
		}
	}
	var mu sync.Mutex
	var left []ledger.State
	var group errgroup.Group
	group.SetLimit(releasing)
	for _, state := range underway {
		group.Go(func() error {
			b := books[state.Key.Batch]
			if match == nil || match(state) {
				r.release(ctx, b, state)
			}
			if state = b.state(state.Key); state.InCutover() {
				mu.Lock()
				defer mu.Unlock()
				left = append(left, state)
			}
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
	return left, nil
}

// release thaws or switches one account.
func (r *Runner) release(ctx context.Context, b *book, state ledger.State) {
	t := Task{
		Stage: Freeze, Batch: &plans.Batch{Name: state.Key.Batch},
		Service: plans.Service{Name: state.Key.Service}, Account: plans.Account{Address: state.Key.Account},
	}
	if state.Phase != ledger.Switching {
		r.Log.Warn("thawing what an earlier run left frozen", "account", state.Key.Account, "since", state.FrozenAt)
		r.undo(b, t)
		return
	}
	t.Stage, t.Step = Credentials, Switch
	if find(r.Stages, Credentials) == nil {
		return
	}
	r.Log.Warn("finishing a switch that an earlier run began", "account", state.Key.Account)
	if err := r.task(ctx, b, t); err != nil {
		r.Log.Error("NOT SWITCHED", "account", state.Key.Account, "error", err)
	}
}
