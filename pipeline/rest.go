package pipeline

import (
	"context"
	"encoding/json"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// A batch rests while nothing of it can be due: the ledger keeps until when, and
// for which plan and lists. A run that comes every quarter of an hour passes over
// it without reading a row, so that millions of accounts that wait for their week,
// or have moved, cost it nothing. The first write to any of its rows ends the
// rest; so does any edit.

// rest is what is kept of it.
type rest struct {
	Plan    string    `json:"plan"` // digest of plan and lists
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Trouble []string  `json:"trouble,omitempty"` // what a run has to name all the same
}

const keptRest = "rest"

func restKey(batch string) ledger.Key { return ledger.Key{Batch: batch} }

// restOf reads the batch's rest, nil if it has none.
func restOf(ctx context.Context, l ledger.Ledger, batch string) (*rest, error) {
	data, err := l.Kept(context.WithoutCancel(ctx), restKey(batch), keptRest)
	if err != nil || data == nil {
		return nil, err
	}
	var r rest
	if json.Unmarshal(data, &r) != nil { // another Godwit wrote it: look again
		return &rest{}, nil
	}
	return &r, nil
}

// lasts says that nothing is due now. Where the clock was set back behind the
// time it was reckoned at, nobody knows.
func (r *rest) lasts(plan *plans.Plan, now time.Time) bool {
	return r != nil && plan.Digest != "" && r.Plan == plan.Digest && !now.Before(r.Since) && now.Before(r.Until)
}

// restUntil is the next moment at which something of the service may fall due, or
// a hold begin or end. All that Due and verdicts hold against the clock is named
// here; between two of these moments they say the same.
func (s Subject) restUntil(now time.Time) time.Time {
	next := now.AddDate(1, 0, 0) // to be looked at once a year whatever comes
	add := func(at time.Time) {
		if at.After(now) && at.Before(next) {
			next = at
		}
	}
	night := NightOf(s.Batch, s.Batch.Date)
	times := func(night Night, lead time.Duration) {
		for _, at := range []time.Time{night.Start, night.End, night.Start.Add(-s.Batch.Copy.Precopy), night.Start.Add(-lead)} {
			add(at)
		}
	}
	add(s.State.Next)
	add(s.begins())
	add(s.State.ValidatedAt.Add(validateEvery))
	times(night, lead(s))
	for _, n := range before(s.Batch) {
		add(noticeDue(s.Batch.Date, n.Days))
		add(night.Start.Add(-s.Plan.Promises.MinimumNotice[n.Days] + 1)) // at the minimum itself it is in time
	}
	for _, a := range s.Service.Accounts {
		state := s.Accounts[a.Address]
		if state.CaughtUp {
			continue
		}
		own := nightFor(s.Batch, state)
		add(state.Next)
		if passed := state.PassedAt.Add(passEvery); passed.After(own.Start.Add(-s.Batch.Copy.Precopy)) {
			add(passed)
		}
		if state.Phase == ledger.Switched {
			add(state.SwitchedAt.Add(passEvery))
			add(state.SwitchedAt.Add(s.Batch.Copy.CatchUp))
			continue
		}
		times(own, s.leadFor(a)-1)
	}
	return next
}

// toRest puts the batches to rest in which nothing is left to do.
func (r *Runner) toRest(ctx context.Context, jobs []*job) error {
	until := map[*book]time.Time{}
	awake := map[*book]bool{}
	for _, j := range jobs {
		if j.err != nil || j.until.IsZero() {
			awake[j.book] = true
			continue
		}
		if was, ok := until[j.book]; !ok || j.until.Before(was) {
			until[j.book] = j.until
		}
	}
	for _, batch := range r.Plan.Batches {
		b := r.books[batch.Name]
		if b == nil || awake[b] || until[b].IsZero() || r.Plan.Digest == "" {
			continue
		}
		if err := b.rest(ctx, rest{Plan: r.Plan.Digest, Since: r.Clock.Now(), Until: until[b], Trouble: r.troubles(jobs, b)}); err != nil {
			return err
		}
	}
	return nil
}

func anyInCutover(s Subject) bool {
	for _, state := range s.Accounts {
		if state.InCutover() {
			return true
		}
	}
	return false
}
