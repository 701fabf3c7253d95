package stages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/pipeline/ledger"
	"godwit/stages/platform"
)

// Rescue ends a freeze with nothing but what the ledger keeps of it. It calls
// the driver and looks at what came of it, and leaves the ledger alone: its
// caller may stand beside a run that hangs.
type Rescue struct {
	Open func(ledger.Thaw) (platform.Freezer, error)
}

// rescueWithin bounds one try: a driver may have no time limit of its own.
const rescueWithin = 2 * time.Minute

// Thaw lets the user in again.
func (r Rescue) Thaw(ctx context.Context, s ledger.State) error {
	return r.with(ctx, s, func(ctx context.Context, driver platform.Freezer) error {
		return thaw(ctx, driver, *s.Thaw, s.Deadline)
	})
}

// Switch finishes a switch that was begun.
func (r Rescue) Switch(ctx context.Context, s ledger.State) error {
	return r.with(ctx, s, func(ctx context.Context, driver platform.Freezer) error {
		return switched(ctx, driver, *s.Thaw, s.Deadline)
	})
}

func (r Rescue) with(ctx context.Context, s ledger.State, do func(context.Context, platform.Freezer) error) error {
	if s.Thaw == nil {
		return errors.New("the ledger does not say how it was frozen")
	}
	ctx, cancel := context.WithTimeout(ctx, rescueWithin)
	defer cancel()
	driver, err := r.Open(*s.Thaw)
	if err != nil {
		return err
	}
	return do(ctx, driver)
}

func thaw(ctx context.Context, driver platform.Freezer, how ledger.Thaw, deadline time.Time) error {
	r := frozenRequest(how, deadline)
	if err := driver.Thaw(ctx, r); err != nil {
		return err
	}
	return is(ctx, driver, r, platform.Open, "thawed")
}

// switched has the account switched, unless it is.
func switched(ctx context.Context, driver platform.Freezer, how ledger.Thaw, deadline time.Time) error {
	r := frozenRequest(how, deadline)
	if state, err := driver.Check(ctx, r); err == nil && state == platform.Switched {
		return nil
	}
	if err := driver.Switch(ctx, r); err != nil {
		return err
	}
	return is(ctx, driver, r, platform.Switched, "switched")
}

// is holds what a driver said against its check.
func is(ctx context.Context, driver platform.Freezer, r platform.Request, want platform.State, said string) error {
	state, err := driver.Check(ctx, r)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if state != want {
		return fmt.Errorf("the driver said %s, but its check says %q", said, state)
	}
	return nil
}

// frozenRequest is the request as it was when the account was frozen.
func frozenRequest(how ledger.Thaw, deadline time.Time) platform.Request {
	q := how.Request
	return platform.Request{
		Plan: q["plan"], Batch: q["batch"], Service: q["service"], Account: q["account"], Login: q["login"],
		Target: q["target"], TargetAccount: q["target_account"], Deadline: deadline,
	}
}
