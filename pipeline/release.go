package pipeline

import (
	"context"
	"log/slog"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Release thaws what is frozen and nobody works on: whoever holds the ledger's
// lock is the only one who could. It needs no plan, only what the ledger keeps
// of the freeze. match says which accounts; nil: all. It returns those that are
// frozen still.
func Release(ctx context.Context, l ledger.Ledger, stages []Stage, clock Clock, log *slog.Logger, match func(ledger.State) bool) ([]ledger.State, error) {
	frozen, err := l.Frozen(ctx)
	if err != nil {
		return nil, err
	}
	var left []ledger.State
	for _, state := range frozen {
		if match != nil && !match(state) {
			left = append(left, state)
			continue
		}
		b, err := open(ctx, l, clock, state.Key.Batch)
		if err != nil {
			return frozen, err
		}
		log.Warn("thawing what an earlier run left frozen", "account", state.Key.Account, "since", state.FrozenAt)
		t := Task{
			Stage: Freeze, Batch: &plans.Batch{Name: state.Key.Batch},
			Service: plans.Service{Name: state.Key.Service}, Account: plans.Account{Address: state.Key.Account},
		}
		if err := undo(ctx, b, stages, t); err != nil {
			log.Error("NOT THAWED", "account", state.Key.Account, "error", err)
			left = append(left, state)
		}
	}
	return left, nil
}
