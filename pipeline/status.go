package pipeline

import (
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Status is an account's state in one word, the same in reports, logs and
// status. It depends on the ledger and the list alone, not on the clock.
func Status(a plans.Account, state, service ledger.State) string {
	switch {
	case state.Phase == ledger.Switched:
		return "done"
	case state.InCutover():
		return "frozen"
	case a.Action == "skip":
		return "skipped"
	case a.Action == "hold", state.Trouble == ledger.Held, service.Trouble == ledger.Held:
		return "held"
	case state.Trouble == ledger.Broken, service.Trouble == ledger.Broken:
		return "failed"
	case state.Trouble == ledger.Deferred, service.Trouble == ledger.Deferred:
		return "deferred"
	case state.Phase == ledger.Copied && service.Promise != nil:
		return "ready"
	case state.Phase != ledger.New:
		return "copying"
	case service.Promise != nil:
		return "notified"
	}
	return "pending"
}

// Reason is the code of the plain sentence that goes with the status, "" if
// there is nothing to say.
func Reason(a plans.Account, state, service ledger.State) string {
	switch Status(a, state, service) {
	case "done":
		if state.NotFrozen {
			return "no-freeze"
		}
		return ""
	case "held":
		if a.Action == "hold" {
			return "held-by-operator"
		}
	case "deferred", "failed":
	default:
		return ""
	}
	if state.Reason != "" {
		return state.Reason
	}
	return service.Reason
}

// Planned is something that lies ahead of a service.
type Planned struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// Schedule is what lies ahead of a service, in the order of time, if nothing
// goes wrong and nothing is changed.
func Schedule(s Subject, now time.Time) []Planned {
	if s.Batch.Hold || len(s.moving()) == 0 {
		return nil
	}
	night := NightOf(s.Batch, s.Batch.Date)
	for _, a := range s.moving() {
		if n := nightFor(s.Batch, s.Accounts[a.Address]); n.Start.After(night.Start) {
			night = n
		}
	}
	var list []Planned
	add := func(at time.Time, what string) {
		if at.After(now) {
			list = append(list, Planned{at, what})
		}
	}
	notices := before(s.Batch)
	copying := night.Start.Add(-s.Batch.Copy.Precopy)
	for _, n := range notices {
		due := noticeDue(s.Batch.Date, n.Days)
		if !copying.After(due) {
			add(copying, "pre-copy begins")
			copying = time.Time{}
		}
		if !s.kept(n.Days) {
			add(due, "notice "+n.When)
		}
	}
	if !copying.IsZero() {
		add(copying, "pre-copy begins")
	}
	add(night.Start, "cutover window opens")
	add(night.End, "cutover window closes")
	add(night.Start.Add(s.Batch.Copy.CatchUp), "catch-up ends")
	return list
}
