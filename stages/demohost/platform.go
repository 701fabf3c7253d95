package demohost

import (
	"context"
	"fmt"

	"godwit/stages/platform"
)

// Platform is the admin side without a hook in between, for tests of stages.
type Platform struct{ Host *Host }

var (
	_ platform.Freezer = Platform{}
	_ platform.Admin   = Platform{}
)

func (p Platform) Freeze(ctx context.Context, r platform.Request) error {
	_, err := p.act(ctx, "freeze", r, "")
	return err
}

func (p Platform) Thaw(ctx context.Context, r platform.Request) error {
	_, err := p.act(ctx, "thaw", r, "")
	return err
}

func (p Platform) Switch(ctx context.Context, r platform.Request) error {
	_, err := p.act(ctx, "switch", r, "")
	return err
}

func (p Platform) Check(ctx context.Context, r platform.Request) (platform.State, error) {
	return p.act(ctx, "check", r, "")
}

func (p Platform) Ensure(ctx context.Context, r platform.Request) error {
	_, err := p.act(ctx, "ensure", r, "")
	return err
}

func (p Platform) SetPassword(ctx context.Context, r platform.Request, password string) error {
	_, err := p.act(ctx, "set_password", r, password)
	return err
}

func (p Platform) Activate(ctx context.Context, r platform.Request) error {
	_, err := p.act(ctx, "activate", r, "")
	return err
}

func (p Platform) act(ctx context.Context, action string, r platform.Request, password string) (platform.State, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	state, how, err := p.Host.act(request{Action: action, Rollback: r.Rollback, Account: r.Account, TargetAccount: r.TargetAccount, Password: password})
	switch {
	case how == Lost:
		return "", platform.ErrUnknown
	case how == Later:
		return "", fmt.Errorf("%w: %w", platform.ErrLater, err)
	case err != nil:
		return "", err
	}
	return state, nil
}
