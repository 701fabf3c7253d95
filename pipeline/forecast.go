package pipeline

import (
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// headroom is what a cutover takes beside its pass: driver calls, verifying,
// credentials.
const headroom = 30 * time.Second

// Expect is how long an account's cutover is expected to take: its last pass
// found little to do, so the final one will not take longer than that, and
// verifying reads about as much again.
func Expect(plan *plans.Plan, state ledger.State) time.Duration {
	return 2*state.PassTook + plan.Source.Freeze.Settle + headroom
}

// Fits says that a cutover begun now is expected to end inside the window.
func Fits(plan *plans.Plan, batch *plans.Batch, state ledger.State, night Night, now time.Time) bool {
	expect := min(Expect(plan, state), batch.Window.MaxInterruption)
	return !now.Add(expect).After(night.End)
}
