// Package pipeline is the engine: it decides what is due, runs the stages, and
// keeps the ledger. It knows services, accounts, stages and time, and no mail
// protocol.
//
//	plan, lists ─► Subject ─► forService, forAccount ─► Task ─► Stage.Run ─► Result
//	                  ▲                                                       │
//	                  └────────────────── ledger.States ◄─────────────────────┘
//
// What is due is a pure function of plan, lists, ledger and clock, so that
// preview, status and a run after a crash see the same: due.go for accounts,
// announce.go for checks and notices, events.go for notices of what happened since,
// promise.go for what was announced and what that holds, breach.go and edits.go for
// how the plan differs from it, night.go for windows, measured.go and forecast.go
// for how long it takes, interruptions.go and status.go for what people read.
//
// Doing it: run.go goes on until nothing is due, jobs.go chooses the services,
// rest.go passes over whole batches, carry.go follows a service into another batch;
// slots.go bounds how many accounts are worked on at once. service.go goes through a
// service and takes each account's cutover in one go, task.go runs, settles and
// undoes one task, journal.go writes rows and history, conclude.go writes down what a
// notice promised.
//
// Nobody stays locked out: release.go ends what a dead run left, guard.go and
// watch.go do so beside the run, in a process of its own, by a clock that nobody
// sets (uptime_linux.go). rollback.go puts a service back when a person says so,
// retry.go lets go on what waits for one. A task is tried again by what settle
// wrote; only a thaw is tried again on the spot.
//
// Before a side effect a stage notes its intent in the Journal, after it the
// outcome; an intent without an outcome means that the stage asks the world
// before it acts again.
package pipeline

import (
	"context"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Stage is one step of the way. It may be run again at any time: the first
// thing Run does is to find out how far the last try came.
type Stage interface {
	Name() string
	// Run works on one task. A Result is an answer; an error means that it
	// could not find out or finish, and the task is tried again later.
	Run(ctx context.Context, task Task, journal Journal) (Result, error)
}

// Undoer is a stage whose effect is taken back when a later step of the cutover
// failed before the switch.
type Undoer interface {
	// Undo returns once the effect is gone, and may be called more than once.
	Undo(ctx context.Context, task Task, journal Journal) error
}

// The stages' names, as plans, ledger and logs have them.
const (
	Validate    = "validate"
	Notify      = "notify"
	Freeze      = "freeze"
	Copy        = "copy"
	Credentials = "credentials"
	Report      = "report"

	// Rollback stands beside the way: only a person asks for it.
	Rollback = "rollback"
)

// Step says which of a stage's jobs is due.
type Step string

// The steps.
const (
	Whole    Step = ""         // the stage has one job
	Prepare  Step = "prepare"  // credentials: make the temporary password, set nothing
	Apply    Step = "apply"    // credentials: set it on the target
	Switch   Step = "switch"   // credentials: routing points to the target
	Precopy  Step = "precopy"  // copy: over the live mailbox
	Final    Step = "final"    // copy: over the frozen mailbox, then verify
	CatchUp  Step = "catch-up" // copy: stragglers after the switch
	Announce Step = "announce" // notify: a notice before the move
	Event    Step = "event"    // notify: changed, deferred, cancelled, done
)

// Task is one piece of work: for an account (freeze, copy, credentials), a
// service (validate, notify) or a batch (report: Service and Account are empty).
type Task struct {
	Stage   string
	Step    Step
	Batch   *plans.Batch
	Service plans.Service
	Account plans.Account
	Night   Night  // the night the account or service moves
	Notice  Notice // of notify
}

// Notice is a notice that is due.
type Notice struct {
	ID       string       // in the ledger: the same notice has the same ID for ever
	Plan     plans.Notice // the plan's line, or the default for events
	Sequence int          // of its invite
	Changes  []Change     // changed: what differs from what was announced
	Reason   string       // deferred, cancelled: code of a plain sentence
	Only     []string     // accounts it is about; nil: all that move
	To       []Recipient  // whose copy has no lasting answer yet

	Residency []string // where it says that the data stays
}

// Key names the task's subject in the ledger.
func (t Task) Key() ledger.Key {
	return ledger.Key{Batch: t.Batch.Name, Service: t.Service.Name, Account: t.Account.Address}
}

// String is how logs and previews name the task.
func (t Task) String() string {
	s := t.Stage
	switch {
	case t.Stage == Notify:
		s += " " + t.Notice.Plan.Template
	case t.Step != Whole:
		s += " " + string(t.Step)
	}
	if t.Account.Address != "" {
		return s + " " + t.Account.Address
	}
	return s + " " + t.Service.Name
}

// Outcome is what came of a task.
type Outcome string

// The outcomes.
const (
	done   Outcome = "done"
	later  Outcome = "deferred"
	held   Outcome = "held"
	failed Outcome = "failed"
)

// Result is a stage's answer. Reason is the code of a plain sentence for
// customers, Text is for the operator.
type Result struct {
	Outcome Outcome
	Reason  string
	Text    string
}

// Done says that the task is done.
func Done(text string) Result { return Result{done, "", text} }

// Later says that the task has to wait: it is tried again by itself.
func Later(reason, text string) Result { return Result{later, reason, text} }

// Held says that a person has to look.
func Held(reason, text string) Result { return Result{held, reason, text} }

// Failed says that trying again by itself would not help: a person mends the
// cause and says retry.
func Failed(reason, text string) Result { return Result{failed, reason, text} }

// Journal is a stage's only way to record intent and outcome. It belongs to one
// task; what it writes survives a crash once the call returns. A nil change
// leaves the state as it is.
type Journal interface {
	// Begin records that effect is about to happen.
	Begin(ctx context.Context, effect string, change func(*ledger.State)) error
	// End records how effect ended.
	End(ctx context.Context, effect string, mark ledger.Mark, text string, change func(*ledger.State)) error
	// Last is the last mark of effect: "" if it never began, ledger.Intent if
	// its end is missing.
	Last(effect string) ledger.Mark
	// State is the subject's row as of now.
	State() ledger.State
	// Get and Put keep values for the subject; they serve as mailbox.Store.
	Get(ctx context.Context, name string) ([]byte, error)
	Put(ctx context.Context, changes map[string][]byte) error
	// Account is the journal of one account of the task's service.
	Account(address string) Journal
}

// Clock tells the time. The zero Clock is the machine's; one begun at a set
// time runs on from there.
type Clock struct {
	offset time.Duration
}

// Starting returns a clock that shows at now and runs on.
func Starting(at time.Time) Clock { return Clock{offset: time.Until(at)} }

// Now is the clock's time.
func (c Clock) Now() time.Time { return time.Now().Add(c.offset) }
