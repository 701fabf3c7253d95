package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Announced means locked: what a notice promised is kept with each account, and
// a plan that says otherwise later either leaves time to say so, or holds.

// Block is why nothing more may happen to a service, or to one account of it.
type Block struct {
	Reason string // code of a plain sentence
	Text   string // for the operator
}

// before returns the batch's notices that go out before the move, the earliest
// first.
func before(batch *plans.Batch) []plans.Notice {
	var list []plans.Notice
	for _, n := range batch.Notices.Send {
		if n.Days >= 0 {
			list = append(list, n)
		}
	}
	slices.SortStableFunc(list, func(a, b plans.Notice) int { return b.Days - a.Days })
	return list
}

// announced says that the service was told of its move. After a change to a far
// night no notice of its countdown counts as given, but the promise stands.
func (s Subject) announced() bool {
	for _, kept := range s.State.Kept {
		if kept {
			return true
		}
	}
	for _, state := range s.Accounts {
		if state.Promise != nil {
			return true
		}
	}
	return false
}

// lead is the time that a promise made now needs before its night: the longest
// minimum of the notices that were already given, of all if it is not known which.
func lead(s Subject) time.Duration {
	var given, all time.Duration
	for n, kept := range s.State.Kept {
		if kept {
			given = max(given, s.Plan.Promises.MinimumNotice[n])
		}
	}
	for _, n := range before(s.Batch) {
		all = max(all, s.Plan.Promises.MinimumNotice[n.Days])
	}
	if given == 0 && s.announced() {
		return all
	}
	return given
}

// deferralLead is the time that a deferral by Godwit itself needs.
func deferralLead(s Subject) time.Duration {
	var d time.Duration
	for i, n := range before(s.Batch) {
		if minimum := s.Plan.Promises.MinimumNotice[n.Days]; i == 0 || minimum < d {
			d = minimum
		}
	}
	return d
}

// breached returns the accounts whose promise the plan now breaks, those that
// can still be told in time apart from those that cannot.
func (s Subject) breached(now time.Time) (inTime, late []plans.Account) {
	for _, a := range s.moving() {
		switch {
		case s.Accounts[a.Address].InCutover(), len(s.breach(a)) == 0:
		case s.canBeTold(a, now):
			inTime = append(inTime, a)
		default:
			late = append(late, a)
		}
	}
	return inTime, late
}

// canBeTold says that there is time to announce the account's night anew. A new
// contact of a customer who knows needs no more than a deferral does.
func (s Subject) canBeTold(a plans.Account, now time.Time) bool {
	return s.Batch.ShortNotice || nightFor(s.Batch, s.Accounts[a.Address]).Start.Sub(now) >= s.leadFor(a)
}

func (s Subject) leadFor(a plans.Account) time.Duration {
	if onlyContact(s.breach(a)) {
		return deferralLead(s)
	}
	return lead(s)
}

// Blocked says why the whole service may not go on; nil if it may. It is
// decided by plan, ledger and clock alone, so a better plan lifts it.
func Blocked(s Subject, now time.Time) *Block {
	moving := s.moving()
	if len(moving) == 0 || s.Batch.Hold {
		return nil
	}
	if t, ok := s.change(now); ok && s.contactsCopy(t.Notice.ID).Lost() {
		return s.lost("changed", s.contactsCopy(t.Notice.ID))
	}
	if _, late := s.breached(now); len(late) == len(moving) && !s.someMoved() {
		return s.tooLateFor(late[0], now)
	}
	for _, n := range before(s.Batch) {
		if s.State.Kept[n.Days] || s.deferredSome() {
			continue
		}
		if d := s.contactsCopy(noticeID(s.Batch, n)); d.Lost() {
			return s.lost(n.When, d)
		}
		if b := s.missed(n, now); b != nil {
			return b
		}
	}
	return nil
}

// someMoved says that accounts of the service have moved: what holds the others
// is said of each.
func (s Subject) someMoved() bool {
	return slices.ContainsFunc(s.Service.Accounts, func(a plans.Account) bool { return s.Accounts[a.Address].Moved() })
}

// deferredSome says that the service's own night has passed: its notices are
// not missing any more, the deferrals' are what counts.
func (s Subject) deferredSome() bool {
	return slices.ContainsFunc(s.Service.Accounts, func(a plans.Account) bool { return deferredTo(s.Batch, s.Accounts[a.Address]) })
}

// BlockedAccount says why one account may not go on, beside what blocks its
// service; nil if it may.
func BlockedAccount(s Subject, a plans.Account, now time.Time) *Block {
	state := s.Accounts[a.Address]
	if state.InCutover() || !s.announced() {
		return nil
	}
	if len(s.breach(a)) > 0 && !s.canBeTold(a, now) {
		return s.tooLateFor(a, now)
	}
	for _, n := range before(s.Batch) {
		if !s.State.Kept[n.Days] && !deferredTo(s.Batch, state) || !slices.Contains(n.To, "user") || s.toldInTime(n, a) {
			continue
		}
		if d := s.untold(a); d != nil {
			return &Block{"notice-failed", fmt.Sprintf("the notice \"deferred\" to %s is %s: %s; to send it again: godwit retry PLAN --account %s", d.To, d.Verdict, d.Text, a.Address)}
		}
		d := s.copies(n, a)[noticeID(s.Batch, n)]
		if d.Lost() {
			return &Block{"notice-failed", fmt.Sprintf("the notice %q to %s is %s: %s; to send it again: godwit retry PLAN --account %s", n.When, d.To, d.Verdict, d.Text, a.Address)}
		}
		if !deferredTo(s.Batch, state) {
			if b := s.missed(n, now); b != nil {
				return b
			}
		}
	}
	return nil
}

// names says that a copy told of the night; older ledgers do not say.
func names(d *ledger.Delivery, night Night) bool { return d.Night == "" || d.Night == night.Date }

// untold is the copy of the deferral to the account's night that its user did not
// get, nil if there is none.
func (s Subject) untold(a plans.Account) *ledger.Delivery {
	state := s.Accounts[a.Address]
	for id, d := range state.Notices {
		if strings.HasPrefix(id, "deferred@") && d.Lost() && names(d, nightFor(s.Batch, state)) && deferredTo(s.Batch, state) {
			return d
		}
	}
	return nil
}

func (s Subject) lost(when string, d *ledger.Delivery) *Block {
	return &Block{"notice-failed", fmt.Sprintf("the notice %q to %s is %s: %s; to send it again and go on: godwit retry PLAN --service %s", when, d.To, d.Verdict, d.Text, s.Service.Name)}
}

// contactsCopy is what became of the contact's copy, nil also if it went to one
// that the list does not have any more, and did not get there.
func (s Subject) contactsCopy(id string) *ledger.Delivery {
	d := s.State.Notices[id]
	if !d.Accepted() && d != nil && !strings.EqualFold(d.To, s.Service.Contact) {
		return nil
	}
	return d
}

// tooLateFor says what was announced for an account, and what the plan may say.
func (s Subject) tooLateFor(a plans.Account, now time.Time) *Block {
	return &Block{"notice-late", fmt.Sprintf("%s; announced today it could move on %s at the earliest: use that or later, or set batches[].short_notice: true",
		s.says(a), nightAfter(s.Batch, now.Add(s.leadFor(a))).Date)}
}

// missed says that a notice can no longer go out in time.
func (s Subject) missed(n plans.Notice, now time.Time) *Block {
	need := s.Plan.Promises.MinimumNotice[n.Days]
	if s.Batch.ShortNotice || NightOf(s.Batch, s.Batch.Date).Start.Sub(now) >= need {
		return nil
	}
	need = max(need, lead(s))
	return &Block{"notice-late", fmt.Sprintf("the notice %q was not sent in time for %s; announced today it could move on %s at the earliest: use that or later, or set batches[].short_notice: true",
		n.When, s.Batch.Date.Format(dateLayout), nightAfter(s.Batch, now.Add(need)).Date)}
}

// copies are the notices that an account's user got: their own, or the contact's
// where that is the same person.
func (s Subject) copies(n plans.Notice, a plans.Account) map[string]*ledger.Delivery {
	if slices.Contains(n.To, "contact") && samePerson(s.Service, a) {
		return s.State.Notices
	}
	return s.Accounts[a.Address].Notices
}

// toldInTime says that the account's user was told in time of its night, by the
// notice or by one that took its place.
func (s Subject) toldInTime(n plans.Notice, a plans.Account) bool {
	state := s.Accounts[a.Address]
	need := s.Plan.Promises.MinimumNotice[n.Days]
	night := nightFor(s.Batch, state)
	deferred := deferredTo(s.Batch, state)
	if deferred {
		need = min(need, deferralLead(s))
	}
	for id, d := range s.copies(n, a) {
		ours := !deferred && id == noticeID(s.Batch, n) || strings.HasPrefix(id, "deferred@") && deferred ||
			strings.HasPrefix(id, "changed@") && !d.At.Before(noticeDue(s.Batch.Date, n.Days))
		inTime := s.Batch.ShortNotice || night.Start.Sub(d.At) >= need || slices.Contains(state.Waved, "notice-failed")
		if ours && d.Accepted() && names(d, night) && inTime {
			return true
		}
	}
	return false
}

// mayMove says that the account was told all it was promised to be told, and
// that the plan still says so.
func (s Subject) mayMove(a plans.Account) bool {
	if s.State.ValidatedAt.IsZero() || len(s.breach(a)) > 0 {
		return false
	}
	for _, n := range before(s.Batch) {
		deferred := deferredTo(s.Batch, s.Accounts[a.Address])
		if !s.State.Kept[n.Days] && !deferred || slices.Contains(n.To, "user") && !s.toldInTime(n, a) {
			return false
		}
	}
	return true
}

func noticeID(batch *plans.Batch, n plans.Notice) string {
	return fmt.Sprintf("%dd@%s", n.Days, batch.Date.Format(dateLayout))
}
