package pipeline

import (
	"slices"
	"time"

	"godwit/pipeline/ledger"
)

// Interruptions is how long a batch's users were kept out of their mailboxes,
// each over all the freezes of the account, in seconds.
type Interruptions struct {
	Accounts int     `json:"accounts"` // that were frozen and are not any more
	Median   float64 `json:"median"`
	P95      float64 `json:"p95"` // 95 of 100 were not kept out longer
	Longest  float64 `json:"longest"`
}

// InterruptionsOf adds up a batch's states.
func InterruptionsOf(states []ledger.State) Interruptions {
	var all []time.Duration
	for _, s := range states {
		if s.Key.Account != "" && s.Interrupted > 0 && !s.Out() {
			all = append(all, s.Interrupted)
		}
	}
	if len(all) == 0 {
		return Interruptions{}
	}
	slices.Sort(all)
	rank := func(percent int) float64 { return tenths(all[(len(all)*percent+99)/100-1]) }
	return Interruptions{len(all), rank(50), rank(95), rank(100)}
}
