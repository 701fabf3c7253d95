package stages

import (
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

// Freeze stops delivery and logins at the source, and waits until the mailbox
// is quiet, so that the final pass reads one that no longer changes. Its Undo
// needs nothing but what the ledger keeps of the freeze.
type Freeze struct {
	Plan    *plans.Plan
	Servers Servers
	Driver  ledger.Thaw // how the plan freezes; Request is filled in per account
	Open    func(ledger.Thaw) (platform.Freezer, error)
	Vault   *vault.Vault // looked at before the freeze: without its key the cutover cannot end
	Now     func() time.Time
}

// Name is the stage's word in plans, ledger and logs.
func (Freeze) Name() string { return pipeline.Freeze }

// Run freezes the task's account. The intent goes into the ledger with the
// deadline and all that is needed to thaw.
func (f Freeze) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	if !journal.State().PasswordAt.IsZero() {
		if _, err := reveal(ctx, f.Vault, task, journal); err != nil {
			return pipeline.Held("needs-person", fmt.Sprintf("%v: the passwords of batch %s were sealed with another key file or GODWIT_KEY; restore it", err, task.Batch.Name)), nil
		}
	}
	none := f.Driver.Driver == "none"
	if err := journal.Begin(ctx, "freeze", func(s *ledger.State) { f.begun(s, task, none) }); err != nil {
		return pipeline.Result{}, err
	}
	if none {
		return pipeline.Done("no freeze: what arrives from now on follows in catch-up"), journal.End(ctx, "freeze", ledger.Done, "driver none", nil)
	}
	driver, err := f.Open(f.Driver)
	if err != nil {
		return pipeline.Result{}, err
	}
	r := request(f.Plan.Name, task, journal.State())
	if err := driver.Freeze(ctx, r); err != nil {
		return f.refused(ctx, journal, err)
	}
	state, err := driver.Check(ctx, r)
	if err != nil {
		return f.refused(ctx, journal, fmt.Errorf("check: %w", err))
	}
	if state == platform.Switched {
		text := "the source says that it is switched already; if so, set action: skip in the list"
		// Nothing to undo: its mail goes to the target, and thawing would split it.
		return pipeline.Held("already-switched", text), journal.End(ctx, "freeze", ledger.Failed, text, func(s *ledger.State) {
			s.Phase, s.FrozenAt = ledger.Copied, time.Time{}
		})
	}
	if state != platform.Frozen {
		text := fmt.Sprintf("the driver said done, but its check says %q", state)
		return pipeline.Later("not-frozen", text), journal.End(ctx, "freeze", ledger.Failed, text, nil)
	}
	if in, err := f.userGetsIn(ctx, task.Account); in || err != nil {
		if err != nil {
			return f.refused(ctx, journal, fmt.Errorf("is the user kept out: %w", err))
		}
		text := "the driver and its check said frozen, but the user's own login is still taken"
		return pipeline.Later("not-frozen", text), journal.End(ctx, "freeze", ledger.Failed, text, nil)
	}
	if err := journal.End(ctx, "freeze", ledger.Done, "", nil); err != nil {
		return pipeline.Result{}, err
	}
	err = mailbox.Quiet(ctx, f.Servers.source(task.Account), f.Plan.Source.Freeze.Settle)
	if errors.Is(err, mailbox.ErrLogin) {
		return pipeline.Held("freeze-locks-out", "the freeze refuses Godwit's own login as well: let the migrator through, or use auth: master; "+err.Error()), nil
	}
	if err != nil {
		return pipeline.Result{}, fmt.Errorf("waiting until the source is quiet: %w", err)
	}
	return pipeline.Done("frozen"), nil
}

// userGetsIn tries the user's own login, where the list has it and it is not the
// one that Godwit itself goes on to use. That a driver froze is believed once
// the door is seen to be shut, where it shuts any.
func (f Freeze) userGetsIn(ctx context.Context, a plans.Account) (bool, error) {
	auth := f.Plan.Source.IMAP.Auth
	if a.SourceSecret.IsZero() || auth != "master" && auth != "authzid" || loginsOpen(&f.Driver) {
		return false, nil
	}
	err := mailbox.CheckLogin(ctx, f.Servers.sourceUser(a))
	for _, refused := range []error{mailbox.ErrLogin, mailbox.ErrBusy, mailbox.ErrDropped} {
		if errors.Is(err, refused) {
			return false, nil
		}
	}
	return err == nil, err
}

// loginsOpen says that a frozen account's user may go on to sign in: Zimbra's
// freeze defers delivery only, as the account's status would shut Godwit out too.
func loginsOpen(how *ledger.Thaw) bool { return how != nil && how.Driver == "zimbra" }

// begun is the account's state from the moment the freeze may have happened.
func (f Freeze) begun(s *ledger.State, task pipeline.Task, none bool) {
	now := f.Now()
	s.Phase = ledger.Frozen
	s.Night = task.Night.Date
	s.NotFrozen = none
	pipeline.SetDeadline(s, now, task.Batch.Window.MaxInterruption)
	if none {
		s.FrozenAt = time.Time{}
	}
	s.Revision = f.Plan.Revision
	s.Extra = nil
	for _, x := range task.Account.Extra {
		s.Extra = append(s.Extra, ledger.Field{Name: x.Name, Value: x.Value})
	}
	thaw := f.Driver
	r := request(f.Plan.Name, task, *s)
	thaw.Request = map[string]string{
		"plan": r.Plan, "batch": r.Batch, "service": r.Service, "account": r.Account,
		"login": r.Login, "target": r.Target, "target_account": r.TargetAccount,
	}
	s.Thaw = &thaw
}

func (f Freeze) refused(ctx context.Context, journal pipeline.Journal, err error) (pipeline.Result, error) {
	if err := journal.End(ctx, "freeze", markOf(err), err.Error(), nil); err != nil {
		return pipeline.Result{}, err
	}
	if errors.Is(err, platform.ErrLater) {
		return pipeline.Later("busy", "source: "+err.Error()), nil
	}
	return pipeline.Result{}, fmt.Errorf("source: %w", err)
}

// Undo thaws the account and looks whether it is open. A driver that refused to
// freeze is thawed all the same: it may have done it.
func (f Freeze) Undo(ctx context.Context, _ pipeline.Task, journal pipeline.Journal) error {
	state := journal.State()
	if !state.InCutover() || state.Phase == ledger.Switching {
		return nil
	}
	back := func(s *ledger.State) {
		s.Phase = ledger.Copied
		s.Release(f.Now())
	}
	if state.NotFrozen || state.Thaw == nil {
		return journal.End(ctx, "thaw", ledger.Done, "nothing was frozen", back)
	}
	driver, err := f.Open(*state.Thaw)
	if err != nil {
		return err
	}
	// Somebody is locked out: a ledger that cannot be written must not keep it so.
	unwritten := journal.Begin(ctx, "thaw", nil)
	if err := thaw(ctx, driver, *state.Thaw, state.Deadline); err != nil {
		return errors.Join(err, unwritten, journal.End(ctx, "thaw", ledger.Failed, err.Error(), nil))
	}
	return errors.Join(unwritten, journal.End(ctx, "thaw", ledger.Done, "", back))
}
