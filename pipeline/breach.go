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

// Change is one thing that differs from what was announced. What is one of the
// words of Edits, Was and Is are words of plan and list; "-" is nothing.
type Change struct {
	What string `json:"what"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// promised is what a notice that is sent now promises the account.
func (t Task) promised(a plans.Account, date string) *ledger.Promise {
	return promised(t.Batch, t.Service, a, date, t.Notice.Residency)
}

func promised(batch *plans.Batch, service plans.Service, a plans.Account, date string, residency []string) *ledger.Promise {
	p := &ledger.Promise{
		Date: date, From: batch.Window.From, Until: batch.Window.Until, Zone: batch.Date.Location().String(), Interruption: batch.Window.MaxInterruption,
		Temporary: a.Passwords == "temporary", Target: a.Target, Contact: service.Contact, Residency: residency,
	}
	if p.Temporary {
		p.Deliver = batch.Passwords.Deliver
	}
	if a.TargetAccount != a.Address {
		p.Login = a.TargetAccount
	}
	return p
}

// breach names what the plan now says of an account and what was announced.
func (s Subject) breach(a plans.Account) []Change {
	if s.broken != nil {
		return s.broken[a.Address]
	}
	if !s.announced() {
		return nil
	}
	state := s.Accounts[a.Address]
	is := promised(s.Batch, s.Service, a, nightFor(s.Batch, state).Date, s.Plan.Promises.Residency)
	if state.Promise == nil {
		return []Change{{What: "date", Was: "-", Is: is.Date}}
	}
	was := *state.Promise
	if was.Temporary && was.Deliver == "" { // not recorded then
		was.Deliver = s.Batch.Passwords.Deliver
	}
	var list []Change
	add := func(what, was, is string) {
		if was != is {
			list = append(list, Change{what, was, is})
		}
	}
	add("date", was.Date, is.Date)
	if was.From != is.From || was.Until != is.Until {
		add("window", clock(was.From)+"-"+clock(was.Until), clock(is.From)+"-"+clock(is.Until))
	}
	add("zone", cmp.Or(was.Zone, is.Zone), is.Zone)
	if was.Interruption != 0 && was.Interruption < is.Interruption {
		add("interruption", was.Interruption.String(), is.Interruption.String())
	}
	add("passwords", mode(&was), mode(is))
	add("target", there(&was), there(is))
	if was.Contact != "" && !strings.EqualFold(was.Contact, is.Contact) {
		add("contact", was.Contact, cmp.Or(is.Contact, "-"))
	}
	stays := len(is.Residency) > 0 && !slices.ContainsFunc(is.Residency, func(r string) bool { return !slices.Contains(was.Residency, r) })
	if len(was.Residency) > 0 && !stays {
		add("residency", strings.Join(was.Residency, " "), cmp.Or(strings.Join(is.Residency, " "), "-"))
	}
	return list
}

// holdAgainst reckons all breaches once: they are asked for again and again.
func (s *Subject) holdAgainst() {
	broken := map[string][]Change{}
	for _, a := range s.Service.Accounts {
		if changes := s.breach(a); len(changes) > 0 {
			broken[a.Address] = changes
		}
	}
	s.broken = broken
}

// onlyContact says that a customer who was told has another contact, no more.
func onlyContact(changes []Change) bool {
	return len(changes) == 1 && changes[0].What == "contact"
}

// changes are those of all the accounts, each once. For accounts that are new
// beside others whose promise changed, the others' say it all.
func (s Subject) changes(accounts []plans.Account) []Change {
	var fresh, list []Change
	for _, a := range accounts {
		for _, c := range s.breach(a) {
			to := &list
			if s.Accounts[a.Address].Promise == nil {
				to = &fresh
			}
			if !slices.Contains(*to, c) {
				*to = append(*to, c)
			}
		}
	}
	if len(list) == 0 {
		return fresh
	}
	return list
}

func mode(p *ledger.Promise) string {
	if p.Temporary {
		return "temporary, list " + p.Deliver
	}
	return "keep"
}

func there(p *ledger.Promise) string {
	if p.Login != "" {
		return p.Target + " as " + p.Login
	}
	return p.Target
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}

// says holds what was announced for an account against what the plan says.
func (s Subject) says(a plans.Account) string {
	if s.Accounts[a.Address].Promise == nil {
		return a.Address + " was not announced"
	}
	var was, is []string
	for _, c := range s.breach(a) {
		was, is = append(was, c.What+" "+c.Was), append(is, c.Is)
	}
	return fmt.Sprintf("announced for %s, the plan now says %s", strings.TrimPrefix(strings.Join(was, " and "), "date "), strings.Join(is, " and "))
}

// Broken is what a plan no longer keeps of what was announced for some accounts
// of a service, and what the next run makes of it.
type Broken struct {
	Accounts []string `json:"accounts"`
	Text     string   `json:"text"`
	Changes  []Change `json:"changes,omitempty"`
	Meaning  Meaning  `json:"meaning"`
}

// BrokenPromises holds plan and list against what was announced, as the next
// run will: before anything is done, a person can see it and take it back.
func BrokenPromises(s Subject, now time.Time) []Broken {
	var list []Broken
	add := func(a plans.Account, b Broken) {
		for i := range list {
			if list[i].Text == b.Text && list[i].Meaning == b.Meaning {
				list[i].Accounts = append(list[i].Accounts, a.Address)
				return
			}
		}
		b.Accounts = []string{a.Address}
		list = append(list, b)
	}
	for _, a := range s.Service.Accounts {
		state := s.Accounts[a.Address]
		switch {
		case state.InCutover(), state.Moved(), !s.announced():
		case a.Action != "migrate" && state.Promise != nil:
			b := Broken{Text: fmt.Sprintf("announced for %s, the list now says action: %s", state.Promise.Date, a.Action), Meaning: Waits}
			if a.Action == "skip" {
				b.Meaning = CalledOff
			}
			add(a, b)
		case a.Action == "migrate" && len(s.breach(a)) > 0:
			b := Broken{Text: s.says(a), Changes: s.breach(a), Meaning: Again}
			if !s.canBeTold(a, now) {
				b.Text, b.Meaning = s.tooLateFor(a, now).Text, Waits
			}
			add(a, b)
		}
	}
	return list
}
