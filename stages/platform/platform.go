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
)

// Request names the account an action is for. It holds no secret.
type Request struct {
	Plan, Batch, Service  string
	Account, Login        string // at the source
	Target, TargetAccount string
	Deadline              time.Time // the freeze must be over by then
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
	// Thaw undoes Freeze.
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
