package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// What is due for a service as a whole: its checks and its notices.

// forService returns the service's own tasks that are due, one kind at a time.
func forService(s Subject, now time.Time) []Task {
	if waits(s.State, now) || s.somebodyWaits(now) {
		return nil
	}
	kinds := []func(Subject, time.Time) []Task{validation, cancelled, rolledBack, changed, deferred, announcement, finished}
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

// changed: the plan differs from the promise, and there is time to say so.
func changed(s Subject, now time.Time) []Task {
	inTime, _ := s.breached(now)
	if len(inTime) == 0 {
		return nil
	}
	night := nightFor(s.Batch, s.Accounts[inTime[0].Address])
	inTime = slices.DeleteFunc(inTime, func(a plans.Account) bool { // a notice has one night
		return nightFor(s.Batch, s.Accounts[a.Address]).Date != night.Date
	})
	id := s.nextID("changed")
	n := s.event("changed")
	if s.contactsCopy(id).Lost() {
		return nil
	}
	changes := s.changes(inTime)
	if onlyContact(changes) && s.Service.Contact != "" {
		n.To = []string{"contact"} // for the users nothing has changed
	}
	t := s.notice(Event, id, n)
	t.Notice.Sequence++
	t.Notice.Changes = changes
	for _, a := range inTime {
		t.Notice.Only = append(t.Notice.Only, a.Address)
	}
	t.Night = night
	t.Notice.To = s.unanswered(t.Notice)
	return []Task{t}
}

// cancelled: accounts that were announced and are now skipped.
func cancelled(s Subject, _ time.Time) []Task {
	var only []string
	for _, a := range s.Service.Accounts {
		if a.Action != "skip" {
			continue
		}
		state := s.Accounts[a.Address]
		if state.Promise != nil && !state.InCutover() && !state.Moved() {
			only = append(only, a.Address)
		}
	}
	if len(only) == 0 {
		return nil
	}
	t := s.notice(Event, s.nextID("cancelled"), s.event("cancelled"))
	t.Notice.Sequence++
	t.Notice.Reason, t.Notice.Only = s.whyCancelled(only), only
	t.Night = nightFor(s.Batch, s.Accounts[only[0]])
	t.Notice.To = s.unanswered(t.Notice)
	return []Task{t}
}

// rolledBack: accounts that are back at the source.
func rolledBack(s Subject, _ time.Time) []Task {
	var only []string
	for _, a := range s.Service.Accounts {
		if state := s.Accounts[a.Address]; state.Phase == ledger.RolledBack && !state.ToldBack {
			only = append(only, a.Address)
		}
	}
	if len(only) == 0 {
		return nil
	}
	t := s.notice(Event, s.nextID("rolled-back"), s.event("rolled-back"))
	t.Notice.Sequence++
	t.Notice.Only = only
	t.Night = nightFor(s.Batch, s.Accounts[only[0]])
	t.Notice.To = s.unanswered(t.Notice)
	return []Task{t}
}

// whyCancelled is the reason that the list gives, as far as a sentence has it.
func (s Subject) whyCancelled(only []string) string {
	for _, a := range s.Service.Accounts {
		if slices.Contains(only, a.Address) && !strings.Contains(strings.ToLower(a.Reason), "cancel") {
			return "not-moved"
		}
	}
	return "cancelled-by-customer"
}

// deferred: accounts whose night is over and that have not moved. Those of one
// night go to the same next one; the third deferral in a row waits for a person.
func deferred(s Subject, now time.Time) []Task {
	if Blocked(s, now) != nil {
		return nil
	}
	var only []string
	var first ledger.State
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		if waitsForPerson(state) || state.InCutover() || now.Before(nightFor(s.Batch, state).End) || len(s.breach(a)) > 0 {
			continue
		}
		if len(only) == 0 {
			first = state
		}
		if state.Night == first.Night && state.Deferrals == first.Deferrals {
			only = append(only, a.Address)
		}
	}
	if len(only) == 0 {
		return nil
	}
	t := s.notice(Event, s.nextID("deferred"), s.event("deferred"))
	t.Notice.Sequence++
	t.Notice.Reason, t.Notice.Only = cmp.Or(first.Reason, "interrupted"), only
	t.Night = nightAfter(s.Batch, now.Add(deferralLead(s)))
	if first.Deferrals+1 >= deferrals {
		t.Night = Night{}
	}
	t.Notice.To = s.unanswered(t.Notice)
	return []Task{t}
}

// finished: everyone has moved, and the customer is told.
func finished(s Subject, _ time.Time) []Task {
	moved := 0
	for _, a := range s.Service.Accounts {
		switch {
		case s.Accounts[a.Address].Phase == ledger.Switched:
			moved++
		case s.Accounts[a.Address].Back():
		case a.Action != "skip":
			return nil
		}
	}
	if moved == 0 {
		return nil
	}
	for _, n := range s.Batch.Notices.Send {
		if n.When != "done" {
			continue
		}
		t := s.notice(Event, s.doneID(moved), n)
		for _, a := range s.Service.Accounts {
			if state := s.Accounts[a.Address]; state.Phase == ledger.Switched && !state.ToldDone {
				t.Notice.Only = append(t.Notice.Only, a.Address)
			}
		}
		if len(t.Notice.Only) > 0 {
			t.Notice.To = s.unanswered(t.Notice)
			return []Task{t}
		}
	}
	return nil
}

// doneID names the notice that so many have moved: another one each time that
// the service moves again.
func (s Subject) doneID(moved int) string {
	id := fmt.Sprintf("done@%d", moved)
	times := 0
	for other := range s.State.Notices {
		if strings.HasPrefix(other, "rolled-back@") {
			times++
		}
	}
	if times > 0 {
		id += fmt.Sprintf(".%d", times)
	}
	return id
}

// event is the plan's line for an event; unless it says otherwise, everyone
// who got a notice gets this one.
func (s Subject) event(when string) plans.Notice {
	for _, n := range s.Batch.Notices.Send {
		if n.When == when {
			return n
		}
	}
	n := plans.Notice{When: when, Days: -1, Template: when}
	if len(s.State.Notices) > 0 {
		n.To = append(n.To, "contact")
	}
	for _, a := range s.Service.Accounts {
		if len(s.Accounts[a.Address].Notices) > 0 {
			n.To = append(n.To, "user")
			break
		}
	}
	return n
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
