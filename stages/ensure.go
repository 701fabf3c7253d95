package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/platform"
)

// ensure has the target account made ready, once for each that a list names. One
// that was there before is not taken for the customer's where Godwit could do in
// it what only its owner may. An empty Result means: done, go on.
func ensure(ctx context.Context, plan *plans.Plan, admins map[string]platform.Admin, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	a := task.Account
	admin := admins[a.Target]
	if admin == nil || journal.Last(anybody) == ledger.Done {
		return pipeline.Result{}, nil
	}
	r := request(plan.Name, task, journal.State())
	effect := ensuring(a)
	if inspector, ok := admin.(platform.Inspector); ok && !taken(a, journal) {
		if !opens(plan, a) && journal.Last(owned(a)) == ledger.Done {
			return pipeline.Result{}, nil
		}
		facts, err := inspector.Inspect(ctx, r)
		switch why := before(plan, a, facts); {
		case errors.Is(err, platform.ErrNoAccount): // Ensure says what is to be done
		case errors.Is(err, platform.ErrTaken):
			return pipeline.Held("target-missing", err.Error()), nil
		case err != nil:
			return pipeline.Later("target-unreachable", fmt.Sprintf("target: %v", err)), nil
		case why != "" && opens(plan, a):
			return pipeline.Held(targetExists, why), nil
		case why != "": // its own password says whose it is, for as long as that is what opens it
			effect = owned(a)
		}
	}
	return once(ctx, journal, effect, func() error { return admin.Ensure(ctx, r) })
}

const (
	targetExists = "target-exists"
	anybody      = "ensure" // in ledgers that did not write down which account it was
)

// ensuring and owned are the effects of making an account ready that is not
// there or was never used, and one that has an owner.
func ensuring(a plans.Account) string { return "ensure " + a.TargetAccount + " at " + a.Target }
func owned(a plans.Account) string    { return "find " + a.TargetAccount + " at " + a.Target }

// taken says that the target account is known as the customer's: Godwit has set
// out to make it, or a person said so.
func taken(a plans.Account, journal pipeline.Journal) bool {
	last := cmp.Or(journal.Last(ensuring(a)), journal.Last(anybody))
	return last != "" && last != ledger.Failed || slices.Contains(journal.State().Waved, targetExists)
}

// opens says that Godwit gets into the target account without its password, or
// sets it.
func opens(plan *plans.Plan, a plans.Account) bool {
	return a.Passwords == "temporary" || plan.Targets[a.Target].IMAP.OpensAny()
}

// stranger says why an account that is at the target already may not be the
// customer's, "" if there is no doubt. Where Godwit may not make accounts they
// are all there before, and should never have been used.
func stranger(plan *plans.Plan, a plans.Account, facts platform.Facts) string {
	if !opens(plan, a) {
		return ""
	}
	return before(plan, a, facts)
}

// before says so whoever can open it.
func before(plan *plans.Plan, a plans.Account, facts platform.Facts) string {
	known := fmt.Sprintf("%s exists already at target %q", a.TargetAccount, a.Target)
	switch {
	case plan.Owns(a.Service, a.TargetAccount):
		return ""
	case plan.Targets[a.Target].Admin.Create:
		known += " and was not made by Godwit"
	case facts.LastLogin.IsZero():
		return ""
	default:
		known += fmt.Sprintf(", and somebody signed in there on %s", facts.LastLogin.In(plan.Timezone).Format("2006-01-02"))
	}
	return known + fmt.Sprintf("; if it is theirs, say so: godwit retry PLAN --account %s; where the plan names its domain, domains: {%s: […]}, nobody asks", a.Address, a.Service)
}
