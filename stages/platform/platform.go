// Package platform is the administrator's side of a mail server: it stops and
// restarts delivery, makes accounts ready and sets passwords. Drivers live in
// the folders below and pass platformtest.
package platform

import (
	"context"
	"errors"
	"time"
)

// Errors a caller decides by. A driver wraps them with what the server said.
var (
	// ErrLater means that the platform asks to be tried again (exec: exit code 75).
	ErrLater = errors.New("the platform asks to try again later")
	// ErrUnknown means that the answer was lost: the action may have happened.
	// Ask with Check before acting again.
	ErrUnknown = errors.New("the platform's answer was lost")
	// ErrNoAccount means that there is no such account. A person has to make it.
	ErrNoAccount = errors.New("the platform has no such account")
	// ErrTaken means that the address is that of another mailbox. A person has to
	// decide whose it is.
	ErrTaken = errors.New("the address belongs to another mailbox")
)

// Request names the account an action is for. It holds no secret.
type Request struct {
	Plan, Batch, Service  string
	Account, Login        string // at the source
	Target, TargetAccount string
	Deadline              time.Time // the freeze must be over by then
	Rollback              bool      // Thaw: a person puts a switched account back

	// For an account that is made anew; empty where the list does not say.
	Name, Locale string
}

// State is what Check found.
type State string

const (
	Open     State = "open"
	Frozen   State = "frozen"
	Switched State = "switched"
)

// Freezer stops delivery and logins of a source account, and switches its
// routing to the target. Every method is idempotent.
type Freezer interface {
	// Freeze stops delivery and logins until Thaw or Switch.
	Freeze(ctx context.Context, r Request) error
	// Thaw undoes Freeze. With r.Rollback it undoes Switch as well, and Check
	// says Open; without it a driver may refuse to thaw what is switched.
	Thaw(ctx context.Context, r Request) error
	// Switch routes the account to the target. It is never undone by itself.
	Switch(ctx context.Context, r Request) error
	// Check asks how things stand.
	Check(ctx context.Context, r Request) (State, error)
}

// Admin makes target accounts ready. Every method is idempotent.
type Admin interface {
	// Ensure creates the target account if it does not exist.
	Ensure(ctx context.Context, r Request) error
	// SetPassword sets the target account's password.
	SetPassword(ctx context.Context, r Request, password string) error
	// Activate makes the user choose a new password at the first login.
	Activate(ctx context.Context, r Request) error
}

// Inspector is an Admin that can say how an account stands before anything
// moves.
type Inspector interface {
	// Inspect changes nothing. Errors: ErrNoAccount; the facts are then those of
	// the account as it would be made.
	Inspect(ctx context.Context, r Request) (Facts, error)
}

// Facts are how a target account stands.
type Facts struct {
	Quota      int64 // bytes, 0: no limit
	MaxMessage int64 // bytes of the largest message that is taken, 0: not known
	Policy     Policy
	MustChange bool
	LastLogin  time.Time // zero: never, or the platform does not tell
	Findings   []Finding
}

// Finding is a setting of the account that will hurt. Text names it and the
// remedy, for the operator.
type Finding struct {
	Code   string // the same for the same setting
	Blocks bool   // the move must wait until it is mended
	Above  int64  // hurts where a message has more bytes; 0: always
	Text   string
}

// Policy is what the platform asks of a password. 0 and "" ask nothing.
type Policy struct {
	MinLength, MaxLength int // UTF-16 units
	MinUpper, MinLower   int
	MinDigits            int
	MinSpecial           int // ASCII punctuation
	MinLetters           int
	MinDigitsOrSpecial   int
	Allowed              string // regular expression for each character
	AllowedSpecial       string // regular expression for what counts as special
}
