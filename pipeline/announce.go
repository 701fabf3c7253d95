package pipeline

import (
	"slices"
	"strings"
	"time"

	"godwit/plans"
)

// What is due for a service as a whole: its checks and its notices.

// forService returns the service's own tasks that are due, one kind at a time.
func forService(s Subject, now time.Time) []Task {
	if waits(s.State, now) || s.somebodyWaits(now) {
		return nil
	}
	kinds := []func(Subject, time.Time) []Task{validation, cancelled, rolledBack, changed, deferred, again, announcement, finished}
	if s.Batch.Hold {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		if tasks := kind(s, now); len(tasks) > 0 {
			return tasks
		}
	}
	return nil
}

// somebodyWaits says that a cutover is under way and goes on: a notice can wait,
// who is locked out of a mailbox cannot.
func (s Subject) somebodyWaits(now time.Time) bool {
	return slices.ContainsFunc(s.Service.Accounts, func(a plans.Account) bool {
		state := s.Accounts[a.Address]
		return state.InCutover() && !state.Next.After(now) && !s.doomed(state, now)
	})
}

// begins is when the service's time begins: with its first notice or pass.
func (s Subject) begins() time.Time {
	begin := NightOf(s.Batch, s.Batch.Date).Start.Add(-s.Batch.Copy.Precopy)
	for _, n := range before(s.Batch) {
		if due := noticeDue(s.Batch.Date, n.Days); due.Before(begin) {
			begin = due
		}
	}
	return begin
}

// validation: the live checks, daily until the move, but not while people wait
// for their mailboxes.
func validation(s Subject, now time.Time) []Task {
	night := NightOf(s.Batch, s.Batch.Date)
	fresh := !s.State.ValidatedAt.IsZero() && (now.Sub(s.State.ValidatedAt) < validateEvery || night.Contains(now))
	if now.Before(s.begins()) || fresh || len(s.moving()) == 0 {
		return nil
	}
	return []Task{s.task(Validate, Whole)}
}

// unanswered returns the readers whose copy has no answer that lasts.
func (s Subject) unanswered(n Notice) []Recipient {
	var list []Recipient
	for _, r := range Recipients(s.Service, n.Plan, n.Only) {
		d := s.contactsCopy(n.ID)
		if r.Account != "" {
			d = s.Accounts[r.Account].Notices[n.ID]
		}
		if !d.Final() {
			list = append(list, r)
		}
	}
	return list
}

// notice is a task for a notice of the service.
func (s Subject) notice(step Step, id string, n plans.Notice) Task {
	t := s.task(Notify, step)
	t.Notice = Notice{ID: id, Plan: n, Sequence: s.State.Sequence, Residency: s.Plan.Promises.Residency}
	return t
}

// announcement: the notices before the move, one after the other. Nobody is
// told of a move that the live checks hold.
func announcement(s Subject, now time.Time) []Task {
	if Blocked(s, now) != nil || s.deferredSome() {
		return nil
	}
	able := slices.ContainsFunc(s.moving(), func(a plans.Account) bool { return !waitsForPerson(s.Accounts[a.Address]) })
	if !able {
		return nil
	}
	for _, n := range before(s.Batch) {
		if now.Before(noticeDue(s.Batch.Date, n.Days)) {
			continue
		}
		t := s.notice(Announce, noticeID(s.Batch, n), n)
		for _, r := range s.unanswered(t.Notice) {
			told := s.State.Kept[n.Days]
			if r.Account != "" {
				told = s.Accounts[r.Account].Moved() || s.needsNoCopy(n, r, now)
			}
			if !told {
				t.Notice.To = append(t.Notice.To, r)
			}
		}
		if len(t.Notice.To) > 0 || !s.State.Kept[n.Days] {
			return []Task{t}
		}
	}
	return nil
}

// needsNoCopy says that the user needs no copy: one was told by another notice, or
// it is too late for one.
func (s Subject) needsNoCopy(n plans.Notice, r Recipient, now time.Time) bool {
	for _, a := range s.Service.Accounts {
		if a.Address == r.Account {
			return s.toldInTime(n, a) || s.State.Kept[n.Days] && s.missed(n, now) != nil && !slices.Contains(s.Accounts[a.Address].Waved, "notice-failed")
		}
	}
	return true
}

// Recipient is one reader of a notice.
type Recipient struct {
	Address string
	Account string // "" for the service's contact
	Name    string
	Locale  string
}

// samePerson says that the service's contact is the account's own user: who gets
// the contact's copy needs no other.
func samePerson(s plans.Service, a plans.Account) bool {
	return strings.EqualFold(s.Contact, a.Address)
}

// Recipients are those a notice goes to: the contact, and the users of the
// accounts that move (of Only, if it is about these).
func Recipients(s plans.Service, n plans.Notice, only []string) []Recipient {
	var list []Recipient
	toContact := slices.Contains(n.To, "contact") && s.Contact != ""
	if toContact {
		list = append(list, Recipient{Address: s.Contact, Locale: s.Locale})
	}
	if !slices.Contains(n.To, "user") {
		return list
	}
	for _, a := range s.Accounts {
		about := a.Action == "migrate"
		if only != nil {
			about = slices.Contains(only, a.Address)
		}
		if about && !(toContact && samePerson(s, a)) {
			list = append(list, Recipient{Address: a.Address, Account: a.Address, Name: a.Name, Locale: a.Locale})
		}
	}
	return list
}
