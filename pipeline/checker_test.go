package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/pipeline/ledger"
)

// checker goes through what happened in a sim, and says where a promise was
// broken. It reads the world's events, the ledger's rows and its history, and
// shares no code with the engine.
type checker struct {
	s       *sim
	limit   time.Duration // of one interruption
	first   time.Duration // shortest lead of a night that is told first
	last    time.Duration // of anything else that is told of a night
	wrong   []string
	days    []time.Weekday
	history []ledger.Entry
}

func (c *checker) fault(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// check returns what is wrong, most telling first.
func (s *sim) check() []string {
	c := &checker{s: s, limit: 15 * time.Minute, first: 5 * 24 * time.Hour, last: 12 * time.Hour}
	for e, err := range s.disk.Entries(context.Background(), ledger.Key{}) {
		if err != nil {
			s.t.Fatal(err)
		}
		c.history = append(c.history, e)
	}
	c.oneAtATime()
	c.interruptions()
	c.toldBeforeFrozen()
	c.noticesOnce()
	c.deferralsTold()
	c.invitesNumberedUp()
	c.passwordsAfterVerify()
	c.skippedAreLeftAlone()
	c.everybodyArrives()
	return c.wrong
}

// P7: while a process is at work no other changes anything.
func (c *checker) oneAtATime() {
	at := 0
	for _, e := range c.s.events {
		switch {
		case e.what == "begin" && at != 0:
			c.fault("P7: process %d began while %d was at work", e.process, at)
		case e.what == "begin":
			at = e.process
		case e.what == "end" || e.what == "killed":
			at = 0
		case e.process != 0 && e.process != at:
			c.fault("P7: process %d %s %s while %d was at work", e.process, e.what, e.account, at)
		}
	}
}

// P4: nobody is locked out longer than the limit; after a kill, until the next
// start at most; at the end nobody.
func (c *checker) interruptions() {
	type lock struct {
		since    event
		killed   bool
		begun    time.Time // of the first process after the kill
		switches bool      // its switch was under way
	}
	locked := map[string]*lock{}
	const slack = 3 * time.Minute // to thaw
	for _, e := range c.s.events {
		switch e.what {
		case "frozen":
			if locked[e.account] != nil {
				c.fault("P4: %s was frozen twice, at %s", e.account, e.at)
			}
			locked[e.account] = &lock{since: e}
		case "killed":
			for _, l := range locked {
				l.killed, l.begun = true, time.Time{}
			}
		case "begin":
			for _, l := range locked {
				if l.killed && l.begun.IsZero() {
					l.begun = e.truly
				}
			}
		case "fault":
			if l := locked[e.account]; l != nil && strings.HasPrefix(e.text, "switch") {
				l.switches = true
			}
		case "thawed", "switched":
			l := locked[e.account]
			delete(locked, e.account)
			if l == nil {
				if e.what == "thawed" {
					c.fault("P4: %s was thawed and not frozen", e.account)
				}
				continue
			}
			took, allowed := e.truly.Sub(l.since.truly), c.limit+slack
			switch {
			case l.killed && !l.begun.IsZero():
				took, allowed = e.truly.Sub(l.begun), c.limit+slack
			case l.switches:
				allowed = time.Hour
			}
			if took > allowed {
				c.fault("P4: %s was locked out for %s, from %s", e.account, took, l.since.at)
			}
		}
	}
	for who, l := range locked {
		c.fault("P4: %s is frozen at the end, since %s", who, l.since.at)
	}
}

// about says that a mail told the contact of an account's night.
func (m *mail) about(account string) bool {
	tells := strings.HasSuffix(m.when, "d before") || m.when == "changed" || m.when == "deferred"
	return tells && m.verdict == "accepted" && (m.only == nil || slices.Contains(m.only, account))
}

// P4: who is frozen was told of this night and this window, in time, and was
// reminded.
func (c *checker) toldBeforeFrozen() {
	told := map[string][]event{} // by service: what its contact was told
	users := map[string][]event{}
	retried := map[string]bool{}
	for _, e := range c.s.events {
		switch {
		case e.what == "retry":
			retried[e.account], retried[e.service] = true, true
		case e.mail != nil && e.mail.user == "":
			told[e.service] = append(told[e.service], e)
		case e.mail != nil:
			users[e.mail.user] = append(users[e.mail.user], e)
		case e.what == "frozen":
			c.told(e, told[e.service])
			c.user(e, users[e.account], retried[e.account] || retried[e.service])
		}
	}
}

func (c *checker) told(frozen event, mails []event) {
	var chain []event // that name the last night told, without another in between
	for _, m := range mails {
		if !m.mail.about(frozen.account) {
			continue
		}
		if len(chain) > 0 && chain[0].mail.night != m.mail.night {
			chain = nil
		}
		chain = append(chain, m)
	}
	if len(chain) == 0 {
		c.fault("P4: %s was frozen at %s and nobody was told", frozen.account, frozen.at)
		return
	}
	last := chain[len(chain)-1].mail
	if frozen.at.Before(last.start) || !frozen.at.Before(last.end) {
		c.fault("P4: %s was frozen at %s; told was %s to %s", frozen.account, frozen.at, last.start, last.end)
	}
	if len(c.days) > 0 && !slices.Contains(c.days, last.start.In(c.s.plan.Timezone).Weekday()) {
		c.fault("I12: %s was frozen in a night that begins on a %s", frozen.account, last.start.Weekday())
	}
	reminded := chain[0].mail.when == "deferred"
	for i, m := range chain {
		need := c.last
		if (i == 0 || m.mail.when == "changed" && !m.mail.onlyContact) && m.mail.when != "deferred" {
			need = c.first
		}
		if lead := m.mail.start.Sub(m.at); lead < need {
			c.fault("P4: %s was frozen at %s; the notice %s came %s before its night, not %s", frozen.account, frozen.at, m.mail.when, lead, need)
		}
		reminded = reminded || m.mail.when == "1d before"
	}
	if !reminded {
		c.fault("P4: %s was frozen at %s and its contact not reminded", frozen.account, frozen.at)
	}
}

func (c *checker) user(frozen event, mails []event, retried bool) {
	for _, m := range mails {
		inTime := m.mail.start.Sub(m.at) >= c.last || retried
		if m.mail.verdict == "accepted" && m.mail.night == frozen.text && inTime {
			return
		}
	}
	c.fault("P4: %s was frozen at %s and its user not told in time", frozen.account, frozen.at)
}

// P3: nobody gets a notice twice, but after a death in between, or when a person
// says so.
func (c *checker) noticesOnce() {
	final := map[string]string{}
	for _, e := range c.s.events {
		if e.what == "retry" {
			for key, verdict := range final {
				if strings.HasPrefix(key, e.service+" ") && verdict != "accepted" {
					delete(final, key)
				}
			}
		}
		if e.mail == nil || e.mail.verdict == "later" {
			continue
		}
		key := e.service + " " + e.mail.id + " " + e.mail.to
		if before := final[key]; before != "" && !e.mail.again {
			c.fault("P3: %s got %s of %s again at %s; before it was %s", e.mail.to, e.mail.id, e.service, e.at, before)
		}
		final[key] = e.mail.verdict
	}
}

// Each deferral is told once, and what was told is so.
func (c *checker) deferralsTold() {
	type move struct{ account, night string }
	told, done := map[move]int{}, map[move]int{}
	seen := map[string]bool{}
	for _, e := range c.s.events {
		if e.mail == nil || e.mail.when != "deferred" || e.mail.user != "" || e.mail.night == "" || e.mail.verdict != "accepted" || seen[e.service+e.mail.id] {
			continue
		}
		seen[e.service+e.mail.id] = true
		for _, a := range e.mail.only {
			told[move{a, e.mail.night}]++
		}
	}
	for _, e := range c.history {
		if night, ok := strings.CutPrefix(e.Text, "to the night of "); ok && e.Effect == "deferral" {
			done[move{e.Key.Account, night}]++
		}
	}
	for m, n := range done {
		if told[m] < 1 {
			c.fault("deferral: %s moved to the night of %s and nobody was told", m.account, m.night)
		}
		if n > told[m] { // a death between two accounts of one notice concludes it again
			c.fault("deferral: %s moved to the night of %s %d times, told %d times", m.account, m.night, n, told[m])
		}
	}
	for m, n := range told {
		if n > 1 || done[m] == 0 {
			c.fault("deferral: %s was told of the night of %s %d times, and deferred to it %d times", m.account, m.night, n, done[m])
		}
	}
}

// Every notice of another night has a higher SEQUENCE; none goes back.
func (c *checker) invitesNumberedUp() {
	last := map[string]*mail{}
	for _, e := range c.s.events {
		if e.mail == nil || e.mail.when == "done" || e.mail.verdict != "accepted" {
			continue
		}
		key := e.service + " " + e.mail.to
		if was := last[key]; was != nil {
			moved := was.night != e.mail.night || !was.start.Equal(e.mail.start) || !was.end.Equal(e.mail.end)
			if e.mail.sequence < was.sequence || moved && e.mail.sequence == was.sequence {
				c.fault("invite: %s got %s with SEQUENCE %d after %s with %d", e.mail.to, e.mail.id, e.mail.sequence, was.id, was.sequence)
			}
		}
		last[key] = e.mail
	}
}

// P5: a password is set while the account is frozen and verified.
func (c *checker) passwordsAfterVerify() {
	verified := map[string]bool{}
	for _, e := range c.s.events {
		switch e.what {
		case "frozen", "thawed":
			verified[e.account] = false
		case "verified":
			verified[e.account] = true
		case "password":
			if !verified[e.account] {
				c.fault("P5: the password of %s was set at %s without a verified copy", e.account, e.at)
			}
		}
	}
}

// Who was skipped before the freeze is told, and not touched.
func (c *checker) skippedAreLeftAlone() {
	skipped := map[string]event{}
	told, cancelled := map[string]bool{}, map[string]int{}
	for _, e := range c.s.events {
		switch {
		case e.what == "edit" && e.text == "skip":
			skipped[e.account] = e
		case e.what == "frozen":
			if s, ok := skipped[e.account]; ok {
				c.fault("skip: %s was frozen at %s, and skipped since %s", e.account, e.at, s.at)
			}
		case e.mail != nil && e.mail.user == "" && e.mail.when == "cancelled" && e.mail.verdict == "accepted":
			for _, a := range e.mail.only {
				cancelled[a]++
			}
		case e.mail != nil && e.mail.user == "":
			for who := range c.accountsOf(e.service) {
				if _, ok := skipped[who]; !ok && e.mail.about(who) {
					told[who] = true
				}
			}
		}
	}
	for who, e := range skipped {
		if n := cancelled[who]; n > 1 || n == 0 && told[who] && !c.troubled(who, e.service) {
			c.fault("skip: %s was told of the move, and %d times that it is called off", who, n)
		}
	}
}

func (c *checker) accountsOf(service string) map[string]bool {
	all := map[string]bool{}
	for _, n := range c.s.programme.batches {
		for _, customer := range n.services {
			for _, r := range customer.rows {
				if customer.name == service {
					all[r.account] = true
				}
			}
		}
	}
	return all
}

// troubled says that something went wrong with an account itself, its service's
// letters, or its plan.
func (c *checker) troubled(account, service string) bool {
	return slices.ContainsFunc(c.s.events, func(e event) bool {
		switch e.what {
		case "fault":
			return strings.Contains(e.account, account) || strings.Contains(e.account, service)
		case "edit":
			return e.account == account || e.service == service
		}
		return false
	})
}

// P9, I11: everybody has moved, or waits with a reason for something that went
// wrong with their own account, service or plan.
func (c *checker) everybodyArrives() {
	rows := c.s.rows()
	done, all, why := 0, 0, map[string]int{}
	for _, n := range c.s.programme.batches {
		for _, customer := range n.services {
			service := rows[ledger.Key{Batch: n.name, Service: customer.name}]
			for _, r := range customer.rows {
				state := rows[ledger.Key{Batch: n.name, Service: customer.name, Account: r.account}]
				box := c.s.box(r.account)
				if (state.Phase == ledger.Switched) != box.switched {
					c.fault("I11: %s is %q in the ledger; truly switched: %v", r.account, state.Phase, box.switched)
				}
				if r.gone || r.action != "migrate" {
					continue
				}
				all++
				if box.switched {
					done++
					continue
				}
				why[string(state.Trouble)+" "+state.Reason+" / "+string(service.Trouble)+" "+service.Reason]++
				named := state.Trouble != ledger.None && state.Reason != "" && state.Detail != "" || service.Trouble != ledger.None && service.Reason != "" && service.Detail != "" || n.hold
				if !named {
					c.fault("I11: %s has not moved, and the ledger says %q %q %q and of its service %q", r.account, state.Phase, state.Trouble, state.Detail, service.Trouble)
				}
				if !c.troubled(r.account, customer.name) && !c.troubled(n.name, n.name) {
					c.fault("P9: %s has not moved and nothing was wrong with it: %q %q, its service %q", r.account, state.Trouble, state.Detail, service.Detail)
				}
			}
		}
	}
	c.s.t.Logf("%d of %d accounts have moved; the others wait because of %v", done, all, why)
	if done*100 < all*85 {
		c.fault("P9: only %d of %d accounts have moved", done, all)
	}
}
