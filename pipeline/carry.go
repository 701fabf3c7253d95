package pipeline

import (
	"context"
	"fmt"

	"godwit/pipeline/ledger"
)

// carryOver carries over what the ledger has of services that the plan now
// has in another batch. One that is under way with passwords sealed for the old
// batch stays there, and is left alone until the plan has it there again; it is
// in what is returned.
func (r *Runner) carryOver(ctx context.Context) (strays map[string]bool, err error) {
	settled, err := r.Ledger.Kept(ctx, ledger.Key{}, keptPlan)
	if err != nil || r.Plan.Digest != "" && string(settled) == r.Plan.Digest {
		return nil, err
	}
	homes, err := r.Ledger.Homes(ctx)
	if err != nil {
		return nil, err
	}
	strays = map[string]bool{}
	for _, batch := range r.Plan.Batches {
		for service := range batch.Services() {
			for _, home := range homes[service.Name] {
				if home == batch.Name {
					continue
				}
				moved, err := r.carry(ctx, service.Name, home, batch.Name)
				if err != nil {
					return nil, err
				}
				if !moved {
					strays[service.Name] = true
				}
			}
		}
	}
	if len(strays) > 0 {
		return strays, nil
	}
	return nil, r.Ledger.Write(ctx, ledger.Change{Keep: map[string][]byte{keptPlan: []byte(r.Plan.Digest)}})
}

// keptPlan is the digest of the last plan whose moves are settled: only another
// one can have others.
const keptPlan = "plan"

func (r *Runner) carry(ctx context.Context, service, from, to string) (bool, error) {
	states, err := r.Ledger.States(ctx, from)
	if err != nil {
		return false, err
	}
	for _, s := range states {
		if s.Key.Service == service && !s.PasswordAt.IsZero() {
			r.strays = append(r.strays, fmt.Errorf("service %s is under way in batch %s, with passwords sealed for it; the plan now has it in batch %s: put it back", service, from, to))
			return false, nil
		}
	}
	r.Log.Warn("carried over to another batch", "service", service, "from", from, "to", to)
	return true, r.Ledger.Move(ctx, service, from, to)
}
