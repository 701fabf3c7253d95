package pipeline

import (
	"iter"
	"slices"
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
	Pace     *Measured               // nil: nothing was measured

	broken map[string][]Change // by address; nil: not reckoned yet
}

// Subjects yields the services of all batches with the ledger's states.
func Subjects(plan *plans.Plan, states map[string][]ledger.State) iter.Seq[Subject] {
	pace := Measure(plan, states)
	return func(yield func(Subject) bool) {
		for _, b := range plan.Batches {
			rows := map[ledger.Key]ledger.State{}
			for _, s := range states[b.Name] {
				rows[s.Key] = s
			}
			for service := range b.Services() {
				s := subject(plan, b, service, rows)
				s.Pace = pace
				if !yield(s) {
					return
				}
			}
		}
	}
}

func subject(plan *plans.Plan, batch *plans.Batch, service plans.Service, rows map[ledger.Key]ledger.State) Subject {
	key := ledger.Key{Batch: batch.Name, Service: service.Name}
	s := Subject{Plan: plan, Batch: batch, Service: service, State: rows[key], Accounts: make(map[string]ledger.State, len(service.Accounts))}
	for _, a := range service.Accounts {
		key.Account = a.Address
		s.Accounts[a.Address] = rows[key]
	}
	s.holdAgainst()
	return s
}

// moving returns the accounts that are to be migrated and have not been.
func (s Subject) moving() []plans.Account {
	var list []plans.Account
	for _, a := range s.Service.Accounts {
		if a.Action == "migrate" && !s.Accounts[a.Address].Moved() {
			list = append(list, a)
		}
	}
	return list
}

// Due returns what is to be done for a service now: its own tasks of one kind,
// or each account's next one. When they have ended, ask again. It is a pure
// function.
func Due(s Subject, now time.Time) []Task {
	if tasks := forService(s, now); len(tasks) > 0 {
		return tasks
	}
	var tasks []Task
	blocked := Blocked(s, now) != nil
	for _, a := range s.Service.Accounts {
		if t, ok := forAccount(s, a, blocked, now); ok {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// waits says that a row is not to be touched now.
func waits(state ledger.State, now time.Time) bool {
	return waitsForPerson(state) || state.Next.After(now)
}

func waitsForPerson(state ledger.State) bool {
	return state.Trouble == ledger.Held || state.Trouble == ledger.Broken
}

func (s Subject) task(stage string, step Step) Task {
	return Task{Stage: stage, Step: step, Batch: s.Batch, Service: s.Service, Night: NightOf(s.Batch, s.Batch.Date)}
}

func (s Subject) accountTask(stage string, step Step, a plans.Account) Task {
	t := s.task(stage, step)
	t.Account, t.Night = a, nightFor(s.Batch, s.Accounts[a.Address])
	return t
}

// forAccount returns the account's next task, if one is due. blocked says that
// its service is.
func forAccount(s Subject, a plans.Account, blocked bool, now time.Time) (Task, bool) {
	state := s.Accounts[a.Address]
	if state.InCutover() {
		return s.underway(a, state, now)
	}
	if state.Moved() { // whatever the others wait for
		return s.accountTask(Copy, CatchUp, a), !state.Back() && s.catchesUp(state, now)
	}
	if a.Action != "migrate" || s.Batch.Hold || waitsForPerson(s.State) || waits(state, now) {
		return Task{}, false
	}
	if blocked || BlockedAccount(s, a, now) != nil {
		return Task{}, false
	}
	night := nightFor(s.Batch, state)
	stale := state.Phase != ledger.Copied || now.Sub(state.PassedAt) >= passEvery
	switch {
	case s.needsPassword(a, state, now):
		return s.accountTask(Credentials, Prepare, a), true
	case now.Before(night.Start.Add(-s.Batch.Copy.Precopy)), !now.Before(night.End):
	case stale:
		return s.accountTask(Copy, Precopy, a), true
	case night.Contains(now) && s.mayMove(a) && s.together(a, now) && s.Fits(state, night, now):
		return s.accountTask(Freeze, Whole, a), true
	}
	return Task{}, false
}

// underway is the next step of a cutover that has begun. It goes on whatever
// else is the matter, because somebody waits for a mailbox; one in trouble is
// undone instead, which the runner does.
func (s Subject) underway(a plans.Account, state ledger.State, now time.Time) (Task, bool) {
	if state.Phase == ledger.Switching {
		return s.accountTask(Credentials, Switch, a), !state.Next.After(now)
	}
	if s.doomed(state, now) {
		return Task{}, false
	}
	switch state.Phase {
	case ledger.Frozen:
		return s.accountTask(Copy, Final, a), true
	case ledger.Verified:
		return s.accountTask(Credentials, Apply, a), true
	default: // Ready; a service that moves as a whole passes pointOfNoReturn first
		return s.accountTask(Credentials, Switch, a), s.Batch.Window.Unit != "service"
	}
}

// doomed says that a cutover cannot be completed and has to be undone.
func (s Subject) doomed(state ledger.State, now time.Time) bool {
	if !state.InCutover() || state.Phase == ledger.Switching {
		return false
	}
	if state.Trouble != ledger.None || !now.Before(state.Deadline) {
		return true
	}
	return s.Batch.Window.Unit == "service" && slices.ContainsFunc(s.moving(), func(a plans.Account) bool {
		other := s.Accounts[a.Address]
		return waits(other, now) && other.Phase != ledger.Switching
	})
}

// allReady says that nothing is missing but the switch for any account.
func (s Subject) allReady() bool {
	return !slices.ContainsFunc(s.moving(), func(a plans.Account) bool {
		phase := s.Accounts[a.Address].Phase
		return phase != ledger.Ready && phase != ledger.Switching
	})
}

// together says that the account may be frozen: at once where accounts move one
// by one; where a service moves as a whole, when all its accounts can.
func (s Subject) together(a plans.Account, now time.Time) bool {
	if s.Batch.Window.Unit != "service" {
		return true
	}
	return !slices.ContainsFunc(s.moving(), func(other plans.Account) bool {
		state := s.Accounts[other.Address]
		able := state.InCutover() || state.Phase == ledger.Copied && now.Sub(state.PassedAt) < passEvery && !waits(state, now) &&
			s.mayMove(other) && s.Fits(state, nightFor(s.Batch, state), now)
		return other.Address != a.Address && !able
	})
}

// needsPassword: temporary passwords are made before the list that holds them
// is handed over, or before the operator has to set them.
func (s Subject) needsPassword(a plans.Account, state ledger.State, now time.Time) bool {
	if a.Passwords != "temporary" || !state.PasswordAt.IsZero() {
		return false
	}
	copying := !now.Before(nightFor(s.Batch, state).Start.Add(-s.Batch.Copy.Precopy))
	if byOperator(s.Plan, a) && copying {
		return true
	}
	if s.Batch.Passwords.Deliver != "before" {
		return false
	}
	list := before(s.Batch)
	if len(list) == 0 {
		return copying
	}
	return !now.Before(noticeDue(s.Batch.Date, list[len(list)-1].Days))
}

func byOperator(plan *plans.Plan, a plans.Account) bool {
	target := plan.Targets[a.Target]
	return target != nil && target.Admin.Name == "list"
}

// catchesUp: stragglers are looked for after the switch, for a while.
func (s Subject) catchesUp(state ledger.State, now time.Time) bool {
	since := now.Sub(state.SwitchedAt)
	return !state.CaughtUp && !state.Next.After(now) && now.Sub(state.PassedAt) >= passEvery && since >= passEvery && since <= s.Batch.Copy.CatchUp
}
