package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Announced means locked: what a notice promised is kept with it, and a plan
// that says otherwise later either leaves time to say so, or holds the service.

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

// promised is what a notice sent now would promise the service.
func promised(s Subject, now time.Time) ledger.Promise {
	p := ledger.Promise{
		Date: s.Batch.Date.Format(dateLayout), From: s.Batch.Window.From, Until: s.Batch.Window.Until,
		At: now, Kept: map[int]bool{},
	}
	var targets []string
	for _, a := range s.Service.Accounts {
		if a.Action == "skip" {
			continue
		}
		p.Accounts = append(p.Accounts, a.Address)
		p.Temporary = p.Temporary || a.Passwords == "temporary"
		if !slices.Contains(targets, a.Target) {
			targets = append(targets, a.Target)
		}
	}
	slices.Sort(targets)
	p.Target = strings.Join(targets, ", ")
	return p
}

// changes names what now differs from what was promised.
func changes(was, is ledger.Promise) []Change {
	var list []Change
	add := func(what, was, is string) {
		if was != is {
			list = append(list, Change{what, was, is})
		}
	}
	add("date", was.Date, is.Date)
	add("window", clock(was.From)+"-"+clock(was.Until), clock(is.From)+"-"+clock(is.Until))
	add("passwords", mode(was.Temporary), mode(is.Temporary))
	add("target", was.Target, is.Target)
	return list
}

func mode(temporary bool) string {
	if temporary {
		return "temporary"
	}
	return "keep"
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}

// lead is the time that a promise made now needs before its night: the longest
// minimum of the notices that were already given.
func lead(s Subject, kept map[int]bool) time.Duration {
	var longest time.Duration
	for n := range kept {
		longest = max(longest, s.Plan.Promises.MinimumNotice[n])
	}
	return longest
}

// shortest is the time that a deferral by Godwit itself needs.
func shortest(s Subject) time.Duration {
	var d time.Duration
	for i, n := range before(s.Batch) {
		if minimum := s.Plan.Promises.MinimumNotice[n.Days]; i == 0 || minimum < d {
			d = minimum
		}
	}
	return d
}

// Block is why nothing more may happen to a service, or to one account of it.
type Block struct {
	Reason string // code of a plain sentence
	Text   string // for the operator
}

// Blocked says why the service may not go on; nil if it may. It is decided by
// plan, ledger and clock alone, so a better plan lifts it.
func Blocked(s Subject, now time.Time) *Block {
	if s.begun() {
		return nil
	}
	if b := broken(s, now); b != nil {
		return b
	}
	if s.State.Promise != nil && len(changes(*s.State.Promise, promised(s, now))) > 0 {
		if b := refused(s, "changed", changedID(*s.State.Promise)); b != nil {
			return b
		}
	}
	for _, n := range before(s.Batch) {
		if s.kept(n.Days) {
			continue
		}
		if b := refused(s, n.When, noticeID(s.Batch, n)); b != nil {
			return b
		}
		if b := tooLate(s, n, now); b != nil {
			return b
		}
	}
	return nil
}

// broken says that the plan now breaks a promise, with too little time to tell.
func broken(s Subject, now time.Time) *Block {
	if s.State.Promise == nil || s.Batch.ShortNotice {
		return nil
	}
	list := changes(*s.State.Promise, promised(s, now))
	need := lead(s, s.State.Promise.Kept)
	if len(list) == 0 || NightOf(s.Batch, s.Batch.Date).Start.Sub(now) >= need {
		return nil
	}
	var was, is []string
	for _, c := range list {
		was, is = append(was, c.What+" "+c.Was), append(is, c.Is)
	}
	return &Block{"notice-late", fmt.Sprintf("announced for %s, the plan now says %s; announced today it could move on %s at the earliest: use that or later, or set batches[].short_notice: true",
		strings.TrimPrefix(strings.Join(was, " and "), "date "), strings.Join(is, " and "), nightAfter(s.Batch, now.Add(need)).Date)}
}

// refused says that a notice did not reach the contact.
func refused(s Subject, when, id string) *Block {
	notice := s.State.Notices[id]
	if notice == nil {
		return nil
	}
	for to, d := range notice.Recipients {
		if d.Account == "" && (d.Verdict == "refused" || d.Verdict == "unknown") {
			return &Block{"notice-failed", fmt.Sprintf("the notice %q to %s is %s: %s; to send it again and go on: godwit retry PLAN --service %s", when, to, d.Verdict, d.Text, s.Service.Name)}
		}
	}
	return nil
}

// tooLate says that a notice can no longer go out in time.
func tooLate(s Subject, n plans.Notice, now time.Time) *Block {
	need := s.Plan.Promises.MinimumNotice[n.Days]
	if s.Batch.ShortNotice || NightOf(s.Batch, s.Batch.Date).Start.Sub(now) >= need {
		return nil
	}
	return &Block{"notice-late", fmt.Sprintf("the notice %q was not sent in time for %s; announced today it could move on %s at the earliest: use that or later, or set batches[].short_notice: true",
		n.When, s.Batch.Date.Format(dateLayout), nightAfter(s.Batch, now.Add(need)).Date)}
}

func noticeID(batch *plans.Batch, n plans.Notice) string {
	return fmt.Sprintf("%dd@%s", n.Days, batch.Date.Format(dateLayout))
}

// changedID names the notice that would replace the promise.
func changedID(p ledger.Promise) string { return fmt.Sprintf("changed@%d", p.Sequence+1) }
