package pipeline

import (
	"slices"
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
	case state.Phase == ledger.RolledBack:
		return "rolled-back"
	case state.Phase == ledger.RollingBack:
		return "held"
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
	case state.Phase == ledger.Copied:
		return "ready"
	case state.Phase == ledger.Copying:
		return "copying"
	case state.Promise != nil:
		return "notified"
	}
	return "pending"
}

// Reason is the code of the plain sentence that goes with the status, "" if
// there is nothing to say.
func Reason(a plans.Account, state, service ledger.State) string {
	switch Status(a, state, service) {
	case "held":
		if a.Action == "hold" {
			return "held-by-operator"
		}
	case "rolled-back":
		return "rolled-back"
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
	var retry time.Time
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		if n := nightFor(s.Batch, state); n.Start.After(night.Start) {
			night = n
		}
		if state.Next.After(now) && (retry.IsZero() || state.Next.Before(retry)) {
			retry = state.Next
		}
	}
	var list []Planned
	add := func(at time.Time, what string) {
		if at.After(now) {
			list = append(list, Planned{at, what})
		}
	}
	add(s.State.Next, "next try")
	add(retry, "next try")
	notices := before(s.Batch)
	copying := night.Start.Add(-s.Batch.Copy.Precopy)
	for _, n := range notices {
		due := noticeDue(s.Batch.Date, n.Days)
		if !copying.After(due) {
			add(copying, "pre-copy begins")
			copying = time.Time{}
		}
		if !s.State.Kept[n.Days] {
			add(due, "notice "+n.When)
		}
	}
	if !copying.IsZero() {
		add(copying, "pre-copy begins")
	}
	add(night.Start, "cutover window opens")
	add(night.End, "cutover window closes")
	add(night.Start.Add(s.Batch.Copy.CatchUp), "catch-up ends")
	slices.SortStableFunc(list, func(a, b Planned) int { return a.At.Compare(b.At) })
	return list
}

// NightFor is the night an account moves: the batch's, or the one it was deferred to.
func NightFor(batch *plans.Batch, state ledger.State) Night { return nightFor(batch, state) }
