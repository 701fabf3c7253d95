package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailbox"
	"godwit/stages/platform"
	"godwit/stages/vault"
)

// Credentials gives the account its password at the target and then switches
// its routing there. The order is: recorded (sealed), set, proved by a login,
// must-change flag, switch. A crash between any two ends with the same password
// in the list and on the target, because the sealed one is used again. The
// login is proved before the must-change flag is set: a platform may refuse
// IMAP to an account that has to change its password.
type Credentials struct {
	Plan    *plans.Plan
	Servers Servers
	Admins  map[string]platform.Admin // by target; none for those without
	Open    func(ledger.Thaw) (platform.Freezer, error)
	Vault   *vault.Vault
	Clients *Clients
	Now     func() time.Time
}

// Name is the stage's word in plans, ledger and logs.
func (Credentials) Name() string { return pipeline.Credentials }

// Run does the step that is due: prepare, apply, or switch.
func (c Credentials) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	switch task.Step {
	case pipeline.Prepare:
		result, err := c.prepare(ctx, task, journal)
		return cmp.Or(result, pipeline.Done("temporary password made")), err
	case pipeline.Apply:
		return c.apply(ctx, task, journal)
	case pipeline.Switch:
		result, err := c.change(ctx, journal)
		if err != nil || journal.State().Phase != ledger.Switched {
			return result, err
		}
		return result, c.Clients.record(ctx, journal)
	}
	return pipeline.Result{}, fmt.Errorf("credentials have no step %q", task.Step)
}

// prepare makes the password and seals it into the ledger. One that a crash
// left behind is used: it may stand in a list already. An empty Result means:
// done, go on.
func (c Credentials) prepare(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	if !journal.State().PasswordAt.IsZero() {
		return pipeline.Result{}, nil
	}
	sealed, err := journal.Get(ctx, keptPassword)
	if err != nil {
		return pipeline.Result{}, err
	}
	if sealed == nil {
		policy, result, err := c.policy(ctx, task, journal)
		if err != nil || result.Outcome != "" {
			return result, err
		}
		password, err := vault.Generate(task.Batch.Passwords.Length, policy)
		if err != nil {
			return pipeline.Held("needs-person", err.Error()), nil
		}
		if sealed, err = c.Vault.Seal(task.Batch.Name, task.Account.Address, password); err != nil {
			return pipeline.Result{}, err
		}
		if err := journal.Put(ctx, map[string][]byte{keptPassword: sealed}); err != nil {
			return pipeline.Result{}, err
		}
	}
	return pipeline.Result{}, journal.End(ctx, "temporary password", ledger.Done, "made and sealed", func(s *ledger.State) {
		s.PasswordAt = c.Now()
	})
}

// policy is what the target asks of this account's password, where it tells. The
// account is made first: its policy is its own.
func (c Credentials) policy(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (platform.Policy, pipeline.Result, error) {
	inspector, ok := c.Admins[task.Account.Target].(platform.Inspector)
	if !ok {
		return platform.Policy{}, pipeline.Result{}, nil
	}
	if result, err := ensure(ctx, c.Plan, c.Admins, task, journal); err != nil || result.Outcome != "" {
		return platform.Policy{}, result, err
	}
	facts, err := inspector.Inspect(ctx, request(c.Plan.Name, task, journal.State()))
	if err != nil {
		return platform.Policy{}, pipeline.Later("target-unreachable", fmt.Sprintf("target: password policy: %v", err)), nil
	}
	return facts.Policy, pipeline.Result{}, nil
}

func reveal(ctx context.Context, v *vault.Vault, task pipeline.Task, journal pipeline.Journal) (string, error) {
	sealed, err := journal.Get(ctx, keptPassword)
	if err != nil {
		return "", err
	}
	return v.Reveal(task.Batch.Name, task.Account.Address, sealed)
}

func (c Credentials) apply(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	if task.Account.Passwords != "temporary" {
		return c.keep(ctx, task, journal)
	}
	if result, err := c.prepare(ctx, task, journal); err != nil || result.Outcome != "" {
		return result, err
	}
	password, err := reveal(ctx, c.Vault, task, journal)
	if err != nil {
		return pipeline.Result{}, err
	}
	secret := func(context.Context) (string, error) { return password, nil }
	admin := c.Admins[task.Account.Target]
	r := request(c.Plan.Name, task, journal.State())
	if admin != nil {
		set := func() error { return admin.SetPassword(ctx, r, password) }
		if result, err := once(ctx, journal, "set password", set); err != nil || result.Outcome != "" {
			return result, err
		}
	}
	if err := c.prove(ctx, task, journal, secret); err != nil {
		return pipeline.Later("login-target", "the target does not take the temporary password: "+err.Error()), nil
	}
	if admin != nil {
		must := func() error { return admin.Activate(ctx, r) }
		if result, err := once(ctx, journal, "must change", must); err != nil || result.Outcome != "" {
			return result, err
		}
	}
	return pipeline.Done("temporary password set"), journal.End(ctx, "credentials", ledger.Done, "temporary password set", func(s *ledger.State) {
		s.Phase, s.PasswordSet = ledger.Ready, c.Now()
	})
}

// prove signs in with the temporary password, unless the user must change it
// already: then a platform may refuse, and an earlier try has proved it.
func (c Credentials) prove(ctx context.Context, task pipeline.Task, journal pipeline.Journal, secret func(context.Context) (string, error)) error {
	if journal.Last("must change") != "" {
		return nil
	}
	return mailbox.CheckLogin(ctx, c.Servers.user(task.Account, secret))
}

// keep sets nothing. Where the user's password is known, it has to work at the
// target before anybody is sent there.
func (c Credentials) keep(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	known := task.Account.TargetSecret
	if known.IsZero() {
		known = task.Account.SourceSecret
	}
	text := "password kept, not known to Godwit"
	if !known.IsZero() {
		err := mailbox.CheckLogin(ctx, c.Servers.user(task.Account, known.Open))
		if errors.Is(err, mailbox.ErrLogin) {
			return pipeline.Failed("login-target", "the target does not take the user's password, which was to be kept: "+err.Error()), nil
		}
		if err != nil {
			return pipeline.Later("target-unreachable", err.Error()), nil
		}
		text = "password kept, and works at the target"
	}
	return pipeline.Done(text), journal.End(ctx, "credentials", ledger.Done, text, func(s *ledger.State) { s.Phase = ledger.Ready })
}

// change switches routing. Its intent is the point of no return: from then on
// the switch is asked for and completed, never undone. It uses what the ledger
// keeps of the freeze, so that it can be completed without the plan.
func (c Credentials) change(ctx context.Context, journal pipeline.Journal) (pipeline.Result, error) {
	finish := func(text string) (pipeline.Result, error) {
		return pipeline.Done(text), journal.End(ctx, "switch", ledger.Done, text, func(s *ledger.State) {
			s.Phase, s.SwitchedAt = ledger.Switched, c.Now()
			s.Release(s.SwitchedAt)
			s.Deferrals = 0
		})
	}
	state := journal.State()
	resumed := state.Phase == ledger.Switching
	if !resumed && ctx.Err() != nil {
		return pipeline.Result{}, ctx.Err() // the point of no return is not passed on the way out
	}
	if err := journal.Begin(ctx, "switch", func(s *ledger.State) { s.Phase = ledger.Switching }); err != nil {
		return pipeline.Result{}, err
	}
	if state.Thaw == nil || state.Thaw.Driver == "none" {
		return finish("the plan has no driver that switches: the route is the hoster's to change")
	}
	driver, err := c.Open(*state.Thaw)
	if err != nil {
		return pipeline.Result{}, err
	}
	r := frozenRequest(*state.Thaw, state.Deadline)
	if resumed {
		if state, err := driver.Check(ctx, r); err == nil && state == platform.Switched {
			return finish("switched, found so after an interruption")
		}
	}
	if err := driver.Switch(ctx, r); err != nil {
		return c.unfinished(ctx, journal, err)
	}
	if err := is(ctx, driver, r, platform.Switched, "switched"); err != nil {
		return c.unfinished(ctx, journal, err)
	}
	return finish("switched")
}

func (c Credentials) unfinished(ctx context.Context, journal pipeline.Journal, err error) (pipeline.Result, error) {
	return pipeline.Later("internal", "the switch is not finished and is tried again: "+err.Error()),
		journal.End(ctx, "switch", ledger.Unknown, err.Error(), nil)
}
