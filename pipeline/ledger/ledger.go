// Package ledger keeps what happened to every service and account.
//
// History is append-only: an intent before each side effect, its outcome after
// it. Beside it stands one state row per service and per account, which says
// what has been reached and what comes next, and a small store of kept values
// per account (the UID map, what was skipped, a sealed password). Whatever
// belongs together is written in one transaction: a reader sees all of it or
// nothing, and Write returns once it survives a crash.
package ledger

import (
	"context"
	"errors"
	"iter"
	"time"
)

var (
	// ErrBusy means that another run holds the plan's ledger.
	ErrBusy = errors.New("another run holds this plan")
	// ErrRehearsal means that a rehearsal and a real ledger would be mixed.
	ErrRehearsal = errors.New("rehearsal and real ledger do not mix")
	// ErrNewer means that a newer Godwit wrote the ledger.
	ErrNewer = errors.New("the ledger was written by a newer Godwit")
)

// Mark says how a side effect stands.
type Mark string

// The marks of an entry.
const (
	Intent  Mark = "intent"  // about to happen; without a later mark: a crash stood between
	Done    Mark = "done"    // happened
	Failed  Mark = "failed"  // did not happen
	Unknown Mark = "unknown" // may have happened: the answer was lost
	Note    Mark = "note"    // no side effect, worth remembering
)

// Key names a batch, a service or an account: what is finer is empty.
type Key struct {
	Batch, Service, Account string
}

// Entry is one line of the history.
type Entry struct {
	ID     int64     `json:"id"`
	At     time.Time `json:"at"`
	Key    Key       `json:"key"`
	Stage  string    `json:"stage"`
	Effect string    `json:"effect"` // what the mark is about, the same at intent and outcome
	Mark   Mark      `json:"mark"`
	Text   string    `json:"text,omitempty"` // for the operator; never a secret
}

// Change is part of what one Write makes durable.
type Change struct {
	Key   Key
	Entry *Entry            // appended
	State *State            // replaces the row of Key
	Keep  map[string][]byte // replaces values of Key; nil deletes
}

// Ledger is implemented by sqlite, which passes ledgertest. A Ledger belongs to
// one run: opening it for writing takes the plan's lock.
type Ledger interface {
	// Write makes changes durable, all of them or none. It returns once they
	// survive a crash.
	Write(ctx context.Context, changes ...Change) error

	// States returns the rows of a batch, in the order of service and account.
	States(ctx context.Context, batch string) ([]State, error)

	// Underway returns the accounts whose cutover has begun and has not ended,
	// of all batches.
	Underway(ctx context.Context) ([]State, error)

	// Homes returns the batches that hold rows of each service.
	Homes(ctx context.Context) (map[string][]string, error)

	// Move carries the rows and kept values of a service over to another batch.
	// The history stays where it was written.
	Move(ctx context.Context, service, from, to string) error

	// Entries yields the history of key, oldest first. Empty fields of key
	// match everything.
	Entries(ctx context.Context, key Key) iter.Seq2[Entry, error]

	// Marks returns the last mark of every effect of key itself.
	Marks(ctx context.Context, key Key) (map[string]Mark, error)

	// Kept returns a value kept for key, nil if there is none.
	Kept(ctx context.Context, key Key, name string) ([]byte, error)

	// Close ends the ledger and gives up the lock.
	Close() error
}
