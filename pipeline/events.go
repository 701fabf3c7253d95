package pipeline

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Notices of what happened after the first announcement. Each has its own
// SEQUENCE, and an ID that says what it is about: event@sequence@about. One that
// the contact took is concluded as it was told, also after a crash, and also when
// the clock or the plan would have it told otherwise by then; what is left of it
// is told by the next one.

// notify numbers an event's notice: as the one of the same content that is not
// concluded yet, else above all that went out.
func (s Subject) notify(t Task, event, about string, only []string) Task {
	sequence := s.State.Sequence + 1
	id := func() string { return fmt.Sprintf("%s@%d@%s", event, sequence, about) }
	for s.taken(sequence, id()) {
		sequence++
	}
	t.Notice.ID, t.Notice.Sequence, t.Notice.Only = id(), sequence, only
	if d := s.contactsCopy(id()); d.Accepted() && d.Only != nil {
		t.Notice.Only = slices.DeleteFunc(slices.Clone(only), func(who string) bool { return !slices.Contains(d.Only, who) })
		if len(t.Notice.Only) == 0 { // it was about others
			sequence++
			t.Notice.ID, t.Notice.Sequence, t.Notice.Only = id(), sequence, only
		}
	}
	t.Notice.To = s.unanswered(t.Notice)
	return t
}

// taken says that another notice went out under the number.
func (s Subject) taken(sequence int, id string) bool {
	number := fmt.Sprintf("@%d@", sequence)
	out := func(row ledger.State) bool {
		for other, d := range row.Notices {
			if d.Final() && other != id && strings.Contains(other, number) {
				return true
			}
		}
		return false
	}
	return out(s.State) || slices.ContainsFunc(slices.Collect(maps.Values(s.Accounts)), out)
}

// changed: the plan differs from the promise, and there is time to say so.
func changed(s Subject, now time.Time) []Task {
	t, ok := s.change(now)
	if !ok || s.contactsCopy(t.Notice.ID).Lost() {
		return nil
	}
	return []Task{t}
}

// change is the notice that says what differs.
func (s Subject) change(now time.Time) (Task, bool) {
	for _, n := range before(s.Batch) {
		// Taken before a crash: what it promised is written down first.
		if !s.State.Kept[n.Days] && s.contactsCopy(noticeID(s.Batch, n)).Accepted() {
			return Task{}, false
		}
	}
	inTime, _ := s.breached(now)
	if len(inTime) == 0 {
		return Task{}, false
	}
	night := nightFor(s.Batch, s.Accounts[inTime[0].Address])
	var only []string
	inTime = slices.DeleteFunc(inTime, func(a plans.Account) bool { // a notice has one night
		return nightFor(s.Batch, s.Accounts[a.Address]).Date != night.Date
	})
	for _, a := range inTime {
		only = append(only, a.Address)
	}
	n := s.event("changed")
	changes := s.changes(inTime)
	if onlyContact(changes) && s.Service.Contact != "" {
		n.To = []string{"contact"} // for the users nothing has changed
	}
	t := s.notice(Event, "", n)
	t.Night, t.Notice.Changes = night, changes
	return s.notify(t, "changed", digest(night.Date, changes), only), true
}

// digest is short for what a notice says.
func digest(parts ...any) string {
	data, err := json.Marshal(parts)
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:4])
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
	t := s.notice(Event, "", s.event("cancelled"))
	t.Night = nightFor(s.Batch, s.Accounts[only[0]])
	t = s.notify(t, "cancelled", t.Night.Date, only)
	t.Notice.Reason = s.whyCancelled(t.Notice.Only)
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
	t := s.notice(Event, "", s.event("rolled-back"))
	t.Night = nightFor(s.Batch, s.Accounts[only[0]])
	return []Task{s.notify(t, "rolled-back", t.Night.Date, only)}
}

// whyCancelled is the reason that the list gives, as far as a sentence has it.
func (s Subject) whyCancelled(only []string) (why string) {
	for _, a := range s.Service.Accounts {
		if !slices.Contains(only, a.Address) {
			continue
		}
		own, reason := "not-moved", strings.ToLower(a.Reason)
		switch {
		case strings.Contains(reason, "cancel"):
			own = "cancelled-by-customer"
		case strings.Contains(reason, "offer"):
			own = "other-offer"
		}
		if why != "" && own != why {
			return "not-moved"
		}
		why = own
	}
	return why
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
	t := s.notice(Event, "", s.event("deferred"))
	t.Night = nightAfter(s.Batch, now.Add(deferralLead(s)))
	if first.Deferrals+1 >= deferrals {
		t.Night = Night{}
	}
	if night, ok := s.toldNight(only); ok {
		t.Night = night
	}
	t = s.notify(t, "deferred", t.Night.Date, only)
	t.Notice.Reason = cmp.Or(first.Reason, "interrupted")
	return []Task{t}
}

// toldNight is the night that the contact was told of by a deferral of these
// accounts that is not concluded yet: it stays that one, however late it is.
func (s Subject) toldNight(only []string) (Night, bool) {
	for id, d := range s.State.Notices {
		about, ok := strings.CutPrefix(id, fmt.Sprintf("deferred@%d@", s.State.Sequence+1))
		if !ok || !d.Accepted() || !slices.ContainsFunc(d.Only, func(who string) bool { return slices.Contains(only, who) }) {
			continue
		}
		if about == "" {
			return Night{}, true
		}
		return nightOn(s.Batch, about)
	}
	return Night{}, false
}

// again: users whose copy of a deferral was lost, once a person said to send it
// again.
func again(s Subject, _ time.Time) []Task {
	t := s.notice(Event, "", s.event("deferred"))
	if !slices.Contains(t.Notice.Plan.To, "user") {
		return nil
	}
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		night := nightFor(s.Batch, state)
		missing := deferredTo(s.Batch, state) && slices.Contains(state.Waved, "notice-failed") && !waitsForPerson(state) && !state.InCutover() && !samePerson(s.Service, a) &&
			!slices.ContainsFunc(slices.Collect(maps.Values(state.Notices)), func(d *ledger.Delivery) bool { return d.Final() && names(d, night) })
		if missing && (len(t.Notice.Only) == 0 || night.Date == t.Night.Date) {
			t.Notice.Only, t.Night = append(t.Notice.Only, a.Address), night
			t.Notice.To = append(t.Notice.To, Recipient{Address: a.Address, Account: a.Address, Name: a.Name, Locale: a.Locale})
		}
	}
	if len(t.Notice.To) == 0 {
		return nil
	}
	t.Notice.ID = fmt.Sprintf("deferred@%d@%s", s.State.Sequence, t.Night.Date)
	t.Notice.Reason = cmp.Or(s.Accounts[t.Notice.Only[0]].Reason, "interrupted")
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
