package stages

import (
	"context"
	"fmt"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/platform"
)

// SignIns asks the targets' admin sides who has not been there since the move,
// where they tell. A nil map of admins tells nothing.
type SignIns struct {
	Plan   *plans.Plan
	Admins map[string]platform.Admin // by target
	Now    func() time.Time
}

// Awaited is the time of the answer where the user has not signed in since the
// switch; zero: has, or the platform does not tell. Who has to choose a new
// password and has not, has not been there. Of the others Zimbra tells the last
// login, which it notes once a week at most (zimbraLastLogonTimestampFrequency):
// a login in the week before the switch hides those after it.
func (s SignIns) Awaited(ctx context.Context, task pipeline.Task, state ledger.State) (time.Time, error) {
	inspector, ok := s.Admins[task.Account.Target].(platform.Inspector)
	if !ok || state.Phase != ledger.Switched {
		return time.Time{}, nil
	}
	facts, err := inspector.Inspect(ctx, request(s.Plan.Name, task, state))
	if err != nil {
		return time.Time{}, fmt.Errorf("who has signed in at the target: %w", err)
	}
	awaited := facts.MustChange
	if state.PasswordSet.IsZero() {
		awaited = !facts.LastLogin.IsZero() && facts.LastLogin.Before(state.SwitchedAt)
	}
	if !awaited {
		return time.Time{}, nil
	}
	return s.Now(), nil
}
