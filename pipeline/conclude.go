package pipeline

import (
	"cmp"
	"context"
	"slices"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Conclude writes down what a notice changes once its readers have been told:
// promises, the night of deferred accounts, the sequence of invites. Without
// the contact's yes nothing is promised. It may be called again.
func Conclude(ctx context.Context, t Task, j Journal, now time.Time) error {
	told := !slices.Contains(t.Notice.Plan.To, "contact") || t.Service.Contact == ""
	if d := j.State().Notices[t.Notice.ID]; d.Accepted() {
		told = true
	}
	when := t.Notice.Plan.When
	switch {
	case t.Step == Announce && told:
		return t.announced(ctx, j)
	case when == "changed" && told:
		return t.announcedAgain(ctx, j, now)
	case when == "deferred":
		return t.deferred(ctx, j, told)
	case when == "done":
		for _, address := range t.Notice.Only {
			if err := j.Account(address).End(ctx, "done", ledger.Note, "", func(s *ledger.State) { s.ToldDone = true }); err != nil {
				return err
			}
		}
	case when == "rolled-back":
		for _, address := range t.Notice.Only {
			if err := j.Account(address).End(ctx, "rolled back", ledger.Note, "", func(s *ledger.State) { s.ToldBack = true }); err != nil {
				return err
			}
		}
		return t.sequence(ctx, j)
	case when == "cancelled":
		for _, address := range t.Notice.Only {
			if err := j.Account(address).End(ctx, "promise", ledger.Note, "called off", func(s *ledger.State) { s.Promise = nil }); err != nil {
				return err
			}
		}
		return t.sequence(ctx, j)
	}
	return nil
}

// announced: the promise stands for every account that moves and has none.
func (t Task) announced(ctx context.Context, j Journal) error {
	for _, a := range t.Service.Accounts {
		of := j.Account(a.Address)
		if a.Action == "skip" || of.State().Promise != nil || of.State().Moved() {
			continue
		}
		if err := t.promise(ctx, of, a); err != nil {
			return err
		}
	}
	if j.State().Kept[t.Notice.Plan.Days] {
		return nil
	}
	return j.End(ctx, "announced", ledger.Note, t.Notice.Plan.When, func(s *ledger.State) {
		if s.Kept == nil {
			s.Kept = map[int]bool{}
		}
		s.Kept[t.Notice.Plan.Days] = true
	})
}

func (t Task) promise(ctx context.Context, of Journal, a plans.Account) error {
	date := nightFor(t.Batch, of.State()).Date
	return of.End(ctx, "promise", ledger.Note, "the night of "+date, func(s *ledger.State) { s.Promise = t.promised(a, date) })
}

// announcedAgain: the plan as it is now is promised. Of the notices before the
// move those count as given that were due by now for the new night.
func (t Task) announcedAgain(ctx context.Context, j Journal, now time.Time) error {
	for _, a := range t.Service.Accounts {
		if !slices.Contains(t.Notice.Only, a.Address) {
			continue
		}
		if err := t.promise(ctx, j.Account(a.Address), a); err != nil {
			return err
		}
	}
	return j.End(ctx, "announced", ledger.Note, "again", func(s *ledger.State) {
		s.Sequence = t.Notice.Sequence
		for n := range s.Kept {
			s.Kept[n] = s.Kept[n] && !noticeDue(t.Batch.Date, n).After(now)
		}
	})
}

// deferred: the accounts go to their new night; where there is none any more, or
// the contact could not be told of it, they wait for a person.
func (t Task) deferred(ctx context.Context, j Journal, told bool) error {
	for _, a := range t.Service.Accounts {
		if !slices.Contains(t.Notice.Only, a.Address) {
			continue
		}
		of := j.Account(a.Address)
		if t.Night.Date != "" && of.State().Night == t.Night.Date && of.State().Promise != nil && of.State().Promise.Date == t.Night.Date {
			continue // an earlier try got as far, or its user is told once more
		}
		text := "to the night of " + t.Night.Date
		switch {
		case !told:
			text = "the customer could not be told of the night of " + t.Night.Date
		case t.Night.Date == "":
			text = "no further night: deferred three times in a row"
		}
		err := of.End(ctx, "deferral", ledger.Note, text, func(s *ledger.State) {
			s.Tries, s.Next = 0, time.Time{}
			s.Trouble, s.Origin = ledger.Deferred, Notify
			switch {
			case !told:
				s.Trouble, s.Reason, s.Detail = ledger.Held, "notice-failed", "the customer could not be told of the new night"
			case t.Night.Date == "":
				s.Trouble, s.Reason, s.Detail = ledger.Held, "needs-person", "deferred three times in a row, the last time: "+cmp.Or(s.Detail, "its night passed")
			default:
				s.Detail = cmp.Or(s.Detail, "its night passed")
				s.Night = t.Night.Date
				s.Deferrals++
				if s.Promise != nil {
					s.Promise = t.promised(a, t.Night.Date)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return t.sequence(ctx, j)
}

func (t Task) sequence(ctx context.Context, j Journal) error {
	return j.End(ctx, "sequence", ledger.Note, "", func(s *ledger.State) { s.Sequence = t.Notice.Sequence })
}
