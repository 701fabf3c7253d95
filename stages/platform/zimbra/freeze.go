package zimbra

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"godwit/stages/platform"
)

// A freeze holds delivery back: Postfix accepts mail for the account and keeps
// it in its queue (transport "retry:"). Logins stay open, since the account's
// status would shut Godwit out as well. The transport that was there before
// stands in zimbraNotes, changed in the same request, so that nothing but the
// server itself is needed to put it back.
const (
	deferring  = "retry:4.2.1 this mailbox is being moved"
	notePrefix = "godwit: zimbraMailTransport was "
	transport  = "zimbraMailTransport"
	notes      = "zimbraNotes"
)

// Freeze defers delivery to the source account.
func (d *Driver) Freeze(ctx context.Context, r platform.Request) error {
	a, err := d.lookup(ctx, r.Account, true)
	if err != nil {
		return err
	}
	if _, ok := was(a); ok && a.get(transport) == deferring {
		return nil
	}
	if d.state(a) == platform.Switched {
		return fmt.Errorf("%s has moved already", r.Account)
	}
	change := map[string]string{transport: deferring}
	if _, ok := was(a); !ok { // else a try was cut off: what stands there is the older truth
		change[notes] = strings.TrimPrefix(a.get(notes)+"\n"+notePrefix+a.get(transport), "\n")
	}
	return d.set(ctx, a, change, platform.Frozen)
}

// Thaw gives the account back the transport that it had.
func (d *Driver) Thaw(ctx context.Context, r platform.Request) error {
	a, err := d.lookup(ctx, r.Account, true)
	if err != nil {
		return err
	}
	old, ok := was(a)
	if !ok {
		if a.get(transport) == deferring {
			return fmt.Errorf("delivery to %s is deferred, and its %s does not say what the transport was; set %s by hand", r.Account, notes, transport)
		}
		return nil
	}
	return d.set(ctx, a, map[string]string{transport: old, notes: withoutNote(a)}, platform.Open)
}

// Switch routes the account's mail to the target; the queue follows.
func (d *Driver) Switch(ctx context.Context, r platform.Request) error {
	if d.config.Route == "" {
		return errors.New("the plan does not say where the account's mail goes: freeze.route")
	}
	a, err := d.lookup(ctx, r.Account, true)
	if err != nil || d.state(a) == platform.Switched {
		return err
	}
	return d.set(ctx, a, map[string]string{transport: d.config.Route}, platform.Switched)
}

// Check reads how the account stands off its transport.
func (d *Driver) Check(ctx context.Context, r platform.Request) (platform.State, error) {
	a, err := d.lookup(ctx, r.Account, true)
	if err != nil {
		return "", err
	}
	return d.state(a), nil
}

func (d *Driver) state(a *account) platform.State {
	switch a.get(transport) {
	case deferring:
		return platform.Frozen
	case d.config.Route:
		if _, ok := was(a); ok {
			return platform.Switched
		}
	}
	return platform.Open
}

// set changes the account and holds the answer against what it should be.
func (d *Driver) set(ctx context.Context, a *account, change map[string]string, want platform.State) error {
	now, err := d.modify(ctx, a, change)
	if err != nil {
		return err
	}
	if got := d.state(now); got != want {
		return fmt.Errorf("%s was set, and the account is %s, not %s", transport, got, want)
	}
	return nil
}

// was returns the transport that stands in the notes.
func was(a *account) (string, bool) {
	for line := range strings.SplitSeq(a.get(notes), "\n") {
		if old, ok := strings.CutPrefix(line, notePrefix); ok {
			return old, true
		}
	}
	return "", false
}

func withoutNote(a *account) string {
	var kept []string
	for line := range strings.SplitSeq(a.get(notes), "\n") {
		if !strings.HasPrefix(line, notePrefix) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
