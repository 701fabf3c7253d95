package pipeline

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

const (
	// passEvery is the least time between two passes over an account: a timer
	// that calls run every 15 minutes must not list every mailbox each time.
	passEvery = 6 * time.Hour
	// validateEvery is the same for the live checks: once a day before the move.
	validateEvery = 20 * time.Hour
	// deferrals in a row after which a person has to look.
	deferrals = 3
)

// Subject is a service with all that Due looks at.
type Subject struct {
	Plan     *plans.Plan
	Batch    *plans.Batch
	Service  plans.Service
	State    ledger.State            // of the service
	Accounts map[string]ledger.State // by address
}

// begun says that an account of the service has gone beyond what a change of
// the plan can still affect.
func (s Subject) begun() bool {
	for _, state := range s.Accounts {
		if state.Night != "" || state.Out() || state.Phase == ledger.Switching || state.Phase == ledger.Switched {
			return true
		}
	}
	return false
}

// kept says that the promise in force was told by the notice of N days before.
func (s Subject) kept(days int) bool { return s.State.Promise != nil && s.State.Promise.Kept[days] }

// moving returns the accounts that are to be migrated and have not been.
func (s Subject) moving() []plans.Account {
	var list []plans.Account
	for _, a := range s.Service.Accounts {
		if a.Action == "migrate" && s.Accounts[a.Address].Phase != ledger.Switched {
			list = append(list, a)
		}
	}
	return list
}

// Due returns what is to be done for a service now: the tasks of one kind, to
// be run side by side; when they have ended, ask again. It is a pure function.
func Due(s Subject, now time.Time) []Task {
	if waits(s.State, now) {
		return unfinished(s, now)
	}
	kinds := []func(Subject, time.Time) []Task{validation, cancelled, changed, deferred, prepared, announced, onTheirWay, finished}
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

// waits says that a row is not to be touched now.
func waits(state ledger.State, now time.Time) bool {
	return state.Trouble == ledger.Held || state.Trouble == ledger.Broken || state.Next.After(now)
}

func (s Subject) task(stage string, step Step) Task {
	return Task{Stage: stage, Step: step, Batch: s.Batch, Service: s.Service, Night: NightOf(s.Batch, s.Batch.Date)}
}

func (s Subject) accountTask(stage string, step Step, a plans.Account) Task {
	t := s.task(stage, step)
	t.Account, t.Night = a, nightFor(s.Batch, s.Accounts[a.Address])
	return t
}

// validation: the live checks, from the first notice or pre-copy on, daily
// until the move, but not while people wait for their mailboxes.
func validation(s Subject, now time.Time) []Task {
	night := NightOf(s.Batch, s.Batch.Date)
	begin := night.Start.Add(-s.Batch.Copy.Precopy)
	for _, n := range before(s.Batch) {
		if due := noticeDue(s.Batch.Date, n.Days); due.Before(begin) {
			begin = due
		}
	}
	fresh := !s.State.ValidatedAt.IsZero() && (now.Sub(s.State.ValidatedAt) < validateEvery || night.Contains(now))
	if now.Before(begin) || fresh || len(s.moving()) == 0 || s.begun() {
		return nil
	}
	return []Task{s.task(Validate, Whole)}
}

// announced: the notices before the move, one after the other.
func announced(s Subject, now time.Time) []Task {
	if s.begun() || len(s.moving()) == 0 || Blocked(s, now) != nil {
		return nil
	}
	for _, n := range before(s.Batch) {
		if now.Before(noticeDue(s.Batch.Date, n.Days)) || settled(s, noticeID(s.Batch, n), recipients(s, n, nil)) {
			continue
		}
		t := s.task(Notify, Announce)
		t.Notice = Notice{ID: noticeID(s.Batch, n), Plan: n, Promise: s.renewed(now)}
		t.Notice.Promise.Kept[n.Days] = true
		return []Task{t}
	}
	return nil
}

// renewed is the promise in force, or the first one, as of now.
func (s Subject) renewed(now time.Time) ledger.Promise {
	p := promised(s, now)
	if old := s.State.Promise; old != nil {
		p.Sequence = old.Sequence
		for n, kept := range old.Kept {
			p.Kept[n] = kept
		}
	}
	return p
}

// changed: the plan differs from the promise, and there is time to say so.
func changed(s Subject, now time.Time) []Task {
	if s.State.Promise == nil || s.begun() || len(s.moving()) == 0 || broken(s, now) != nil {
		return nil
	}
	p := promised(s, now)
	list := changes(*s.State.Promise, p)
	id := changedID(*s.State.Promise)
	if len(list) == 0 || settled(s, id, recipients(s, event(s, "changed"), nil)) {
		return nil
	}
	p.Sequence = s.State.Promise.Sequence + 1
	for n := range s.State.Promise.Kept {
		p.Kept[n] = !noticeDue(s.Batch.Date, n).After(now)
	}
	t := s.task(Notify, Event)
	t.Notice = Notice{ID: id, Plan: event(s, "changed"), Promise: p, Changes: list}
	return []Task{t}
}

// cancelled: accounts that were announced and are now skipped.
func cancelled(s Subject, now time.Time) []Task {
	if s.State.Promise == nil {
		return nil
	}
	var only []string
	for _, a := range s.Service.Accounts {
		state := s.Accounts[a.Address]
		untold := !settled(s, "cancelled/"+a.Address, recipients(s, event(s, "cancelled"), []string{a.Address}))
		if a.Action == "skip" && slices.Contains(s.State.Promise.Accounts, a.Address) && untold && state.Phase != ledger.Switched {
			only = append(only, a.Address)
		}
	}
	var tasks []Task
	for _, address := range only {
		t := s.task(Notify, Event)
		t.Notice = Notice{ID: "cancelled/" + address, Plan: event(s, "cancelled"), Promise: *s.State.Promise, Reason: "cancelled-by-customer", Only: []string{address}}
		tasks = append(tasks, t)
	}
	return tasks
}

// deferred: accounts whose night is over and that have not moved.
func deferred(s Subject, now time.Time) []Task {
	if Blocked(s, now) != nil {
		return nil
	}
	groups := map[string][]string{}
	reason := map[string]string{}
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		night := nightFor(s.Batch, state)
		stuck := waitsForPerson(state) || state.Deferrals >= deferrals || state.Out() || state.Phase == ledger.Switching
		if stuck || now.Before(night.End) || !mayMove(s, a) {
			continue
		}
		next := nightAfter(s.Batch, now.Add(shortest(s)))
		id := "deferred@" + night.Date + ">" + next.Date
		groups[id] = append(groups[id], a.Address)
		reason[id] = orDefault(state.Reason, "interrupted")
	}
	var tasks []Task
	for _, id := range sortedKeys(groups) {
		next := id[strings.Index(id, ">")+1:]
		t := s.task(Notify, Event)
		p := s.renewed(now)
		p.Date, p.Sequence = next, p.Sequence+1
		date, _ := time.ParseInLocation(dateLayout, next, s.Batch.Date.Location())
		t.Night = NightOf(s.Batch, date)
		t.Notice = Notice{ID: id, Plan: event(s, "deferred"), Promise: p, Reason: reason[id], Only: groups[id]}
		tasks = append(tasks, t)
	}
	return tasks
}

func waitsForPerson(state ledger.State) bool {
	return state.Trouble == ledger.Held || state.Trouble == ledger.Broken
}

// mayMove says that the account was told all it was promised to be told.
func mayMove(s Subject, a plans.Account) bool {
	if s.State.ValidatedAt.IsZero() {
		return false
	}
	state := s.Accounts[a.Address]
	for _, n := range before(s.Batch) {
		if !s.kept(n.Days) {
			return false
		}
		if !slices.Contains(n.To, "user") {
			continue
		}
		if told := s.toldUser(n, a.Address); !told {
			return false
		}
	}
	return state.Night == "" || state.Told || s.State.Promise == nil
}

// toldUser says that the notice, or a later one that took its place, was taken
// for the account's own user.
func (s Subject) toldUser(n plans.Notice, address string) bool {
	for _, notice := range s.State.Notices {
		if !strings.HasPrefix(notice.ID, fmt.Sprintf("%dd@", n.Days)) && !strings.HasPrefix(notice.ID, "changed@") {
			continue
		}
		for _, d := range notice.Recipients {
			if d.Account == address && d.Verdict == "accepted" {
				return true
			}
		}
	}
	return false
}

// prepared: temporary passwords are made before the list that holds them is
// handed over, or before the operator has to set them.
func prepared(s Subject, now time.Time) []Task {
	if s.begun() || Blocked(s, now) != nil {
		return nil
	}
	night := NightOf(s.Batch, s.Batch.Date)
	copying := !now.Before(night.Start.Add(-s.Batch.Copy.Precopy))
	last := copying
	if list := before(s.Batch); len(list) > 0 {
		last = !now.Before(noticeDue(s.Batch.Date, list[len(list)-1].Days))
	}
	var tasks []Task
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		byOperator := s.Plan.Targets[a.Target] != nil && s.Plan.Targets[a.Target].Admin.Name == "list"
		due := s.Batch.Passwords.Deliver == "before" && last || byOperator && (copying || last)
		if a.Passwords == "temporary" && state.PasswordAt.IsZero() && due && !waits(state, now) {
			tasks = append(tasks, s.accountTask(Credentials, Prepare, a))
		}
	}
	return tasks
}

// onTheirWay: each account's next step of copying and cutover.
func onTheirWay(s Subject, now time.Time) []Task {
	tasks := unfinished(s, now)
	if Blocked(s, now) != nil {
		return tasks
	}
	together := s.Batch.Window.Unit == "service"
	var freezes []Task
	ready := true
	for _, a := range s.Service.Accounts {
		state := s.Accounts[a.Address]
		if a.Action != "migrate" {
			continue
		}
		switch step := nextStep(s, a, now); step {
		case Precopy, CatchUp:
			tasks = append(tasks, s.accountTask(Copy, step, a))
			ready = ready && step == CatchUp
		case Whole:
			freezes = append(freezes, s.accountTask(Freeze, Whole, a))
		default:
			ready = ready && (state.Phase == ledger.Switched || state.InCutover())
		}
	}
	if together && !ready {
		return tasks
	}
	return append(tasks, freezes...)
}

const nothing Step = "nothing"

// nextStep says what an account that is not in its cutover needs: a pass
// (Precopy, CatchUp), its cutover (Whole), or nothing now.
func nextStep(s Subject, a plans.Account, now time.Time) Step {
	state := s.Accounts[a.Address]
	if waits(state, now) || state.Out() {
		return nothing
	}
	stale := now.Sub(state.PassedAt) >= passEvery
	night := nightFor(s.Batch, state)
	switch {
	case state.Phase == ledger.Switched:
		if !state.CaughtUp && stale && now.Sub(state.SwitchedAt) <= s.Batch.Copy.CatchUp && now.Sub(state.SwitchedAt) >= passEvery {
			return CatchUp
		}
	case state.InCutover():
	case now.Before(night.Start.Add(-s.Batch.Copy.Precopy)), !now.Before(night.End):
	case stale || state.Phase != ledger.Copied:
		return Precopy
	case night.Contains(now) && mayMove(s, a) && state.Deferrals < deferrals && Fits(s.Plan, s.Batch, state, night, now):
		return Whole
	}
	return nothing
}

// unfinished: cutovers that have begun. They go on whatever else is the matter,
// because somebody waits for a mailbox. One in trouble is to be thawed, which
// the runner does; only a switch is tried again and again.
func unfinished(s Subject, now time.Time) []Task {
	together := s.Batch.Window.Unit == "service"
	complete := !slices.ContainsFunc(s.moving(), func(a plans.Account) bool {
		phase := s.Accounts[a.Address].Phase
		return phase != ledger.Ready && phase != ledger.Switching
	})
	var tasks []Task
	for _, a := range s.Service.Accounts {
		state := s.Accounts[a.Address]
		if state.Trouble != ledger.None && state.Phase != ledger.Switching || state.Next.After(now) {
			continue
		}
		switch state.Phase {
		case ledger.Frozen:
			tasks = append(tasks, s.accountTask(Copy, Final, a))
		case ledger.Verified:
			tasks = append(tasks, s.accountTask(Credentials, Apply, a))
		case ledger.Ready:
			if complete || !together {
				tasks = append(tasks, s.accountTask(Credentials, Switch, a))
			}
		case ledger.Switching:
			tasks = append(tasks, s.accountTask(Credentials, Switch, a))
		}
	}
	return tasks
}

// finished: everyone has moved, and the customer is told.
func finished(s Subject, now time.Time) []Task {
	moved := 0
	for _, a := range s.Service.Accounts {
		if s.Accounts[a.Address].Phase == ledger.Switched {
			moved++
		}
	}
	if moved == 0 || len(s.moving()) > 0 {
		return nil
	}
	for _, n := range s.Batch.Notices.Send {
		if n.When == "done" && !settled(s, "done", recipients(s, n, nil)) {
			t := s.task(Notify, Event)
			t.Notice = Notice{ID: "done", Plan: n, Promise: s.renewed(now)}
			return []Task{t}
		}
	}
	return nil
}

// event is the plan's line for an event; unless it says otherwise, everyone
// who got a notice gets this one.
func event(s Subject, when string) plans.Notice {
	for _, n := range s.Batch.Notices.Send {
		if n.When == when {
			return n
		}
	}
	n := plans.Notice{When: when, Days: -1, Template: when}
	for _, notice := range s.State.Notices {
		for _, d := range notice.Recipients {
			who := "contact"
			if d.Account != "" {
				who = "user"
			}
			if !slices.Contains(n.To, who) {
				n.To = append(n.To, who)
			}
		}
	}
	sort.Strings(n.To)
	return n
}

// Recipient is one address a notice goes to.
type Recipient struct {
	Address string
	Account string // "" for the service's contact
	Name    string
	Locale  string
}

// Recipients are those a notice goes to: the contact, and the users of the
// accounts that move (of Only, if it is about these).
func Recipients(s plans.Service, n plans.Notice, only []string) []Recipient {
	var list []Recipient
	if slices.Contains(n.To, "contact") && s.Contact != "" {
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
		if about {
			list = append(list, Recipient{Address: a.Address, Account: a.Address, Name: a.Name, Locale: a.Locale})
		}
	}
	return list
}

func recipients(s Subject, n plans.Notice, only []string) []Recipient {
	return Recipients(s.Service, n, only)
}

// settled says that every recipient of the notice has a verdict that lasts.
func settled(s Subject, id string, to []Recipient) bool {
	notice := s.State.Notices[id]
	for _, r := range to {
		if notice == nil || notice.Recipients[r.Address] == nil || notice.Recipients[r.Address].Verdict == "later" {
			return false
		}
	}
	return notice != nil || len(to) == 0
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Subjects yields the services of all batches with the ledger's states.
func Subjects(plan *plans.Plan, states map[string][]ledger.State) iter.Seq[Subject] {
	return func(yield func(Subject) bool) {
		for _, b := range plan.Batches {
			rows := map[ledger.Key]ledger.State{}
			for _, s := range states[b.Name] {
				rows[s.Key] = s
			}
			for service := range b.Services() {
				if !yield(subject(plan, b, service, rows)) {
					return
				}
			}
		}
	}
}
