// Package program is the plan's driver `exec`: it runs the hoster's own
// program to freeze, thaw, switch and check source accounts and to make target
// accounts ready.
//
//	one JSON object on stdin -> the program -> exit 0 done | 75 later | other failed
//
// A password goes into that object and nowhere else. The program gets no shell,
// a clean environment and a process group of its own, which is killed as a
// whole when the time is up. Then nobody knows how far it came, and the error
// says so (platform.ErrUnknown).
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"godwit/stages/platform"
)

// exitLater is EX_TEMPFAIL of sysexits.h.
const exitLater = 75

// Driver runs one program. It is safe for concurrent use: every call is a
// process of its own.
type Driver struct {
	command []string
	dir     string
	timeout time.Duration
}

var (
	_ platform.Freezer = (*Driver)(nil)
	_ platform.Admin   = (*Driver)(nil)
)

// New returns a driver for command, which runs in dir, the plan's folder, and
// takes at most timeout (0: no limit but the context's).
func New(command []string, dir string, timeout time.Duration) *Driver {
	return &Driver{command: command, dir: dir, timeout: timeout}
}

// Freeze stops delivery and logins of the source account.
func (d *Driver) Freeze(ctx context.Context, r platform.Request) error {
	return d.act(ctx, newRequest("freeze", r))
}

// Thaw undoes Freeze.
func (d *Driver) Thaw(ctx context.Context, r platform.Request) error {
	return d.act(ctx, newRequest("thaw", r))
}

// Switch routes the account to the target.
func (d *Driver) Switch(ctx context.Context, r platform.Request) error {
	return d.act(ctx, newRequest("switch", r))
}

// Check asks the program how the account stands.
func (d *Driver) Check(ctx context.Context, r platform.Request) (platform.State, error) {
	out, err := d.run(ctx, newRequest("check", r))
	if err != nil {
		return "", fmt.Errorf("%s check: %w", d.name(), err)
	}
	var answer struct {
		State platform.State `json:"state"`
	}
	if err := json.Unmarshal(out, &answer); err == nil {
		switch answer.State {
		case platform.Open, platform.Frozen, platform.Switched:
			return answer.State, nil
		}
	}
	return "", fmt.Errorf(`%s check: printed "%s"; {"state": "open"}, "frozen" or "switched" is expected`,
		d.name(), safe(strings.TrimSpace(string(out))))
}

// Ensure creates the target account if it does not exist.
func (d *Driver) Ensure(ctx context.Context, r platform.Request) error {
	return d.act(ctx, newRequest("ensure", r))
}

// SetPassword sets the target account's password.
func (d *Driver) SetPassword(ctx context.Context, r platform.Request, password string) error {
	if password == "" {
		return errors.New("set_password: the password is empty")
	}
	q := newRequest("set_password", r)
	q.Password = password
	return d.act(ctx, q)
}

// Activate makes the user choose a new password at the first login.
func (d *Driver) Activate(ctx context.Context, r platform.Request) error {
	return d.act(ctx, newRequest("activate", r))
}

func (d *Driver) act(ctx context.Context, q request) error {
	if _, err := d.run(ctx, q); err != nil {
		return fmt.Errorf("%s %s: %w", d.name(), q.Action, err)
	}
	return nil
}

// name is the program as the plan names it, for messages.
func (d *Driver) name() string {
	if len(d.command) == 0 {
		return "program"
	}
	return safe(d.command[0])
}

// request is the object on the program's stdin (DESIGN 5.3).
type request struct {
	Action        string `json:"action"`
	Rollback      bool   `json:"rollback,omitempty"` // of thaw
	Plan          string `json:"plan"`
	Batch         string `json:"batch"`
	Service       string `json:"service"`
	Account       string `json:"account"`
	Login         string `json:"login"`
	Target        string `json:"target"`
	TargetAccount string `json:"target_account"`
	Deadline      string `json:"deadline,omitempty"`
	Password      string `json:"password,omitempty"`
}

func newRequest(action string, r platform.Request) request {
	q := request{
		Action: action, Plan: r.Plan, Batch: r.Batch, Service: r.Service,
		Account: r.Account, Login: r.Login, Target: r.Target, TargetAccount: r.TargetAccount,
		Rollback: r.Rollback,
	}
	if !r.Deadline.IsZero() {
		q.Deadline = r.Deadline.Format(time.RFC3339)
	}
	return q
}
