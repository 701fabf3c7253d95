package stages

import (
	"context"
	"encoding/json"
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

// Rollback puts a switched account back, because a person said so: routing
// points to the source again and the source is open, and what arrived at the
// target since the cutover is carried home. It is the one exception to P6. Once
// begun it is finished by running it again, never undone. It stands beside the
// way of All: no run does it by itself.
type Rollback struct {
	Plan     *plans.Plan
	Servers  Servers
	Open     func(ledger.Thaw) (platform.Freezer, error)
	Vault    *vault.Vault
	Now      func() time.Time
	Progress func(account string, done, total int64) // bytes; may be nil
}

// keptBack holds []mailbox.Skipped: arrivals that could not be carried home.
const keptBack = "not brought back"

// Name is the stage's word in the ledger and logs.
func (Rollback) Name() string { return pipeline.Rollback }

// Run rolls the task's account back, or looks for late arrivals of one that was.
// Who cannot be read at the target is left as it is.
func (r Rollback) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	task = asSwitched(task, journal.State())
	target, err := r.wayIn(ctx, task, journal)
	if err == nil {
		err = mailbox.CheckLogin(ctx, r.Servers.source(task.Account))
	}
	if err != nil {
		return r.locked(task, journal, err)
	}
	if result, err := r.route(ctx, journal); err != nil || result.Outcome != "" {
		return result, err
	}
	got, err := r.carry(ctx, task, journal, target)
	if err != nil {
		return pipeline.Later("internal", fmt.Sprintf("the account is back, its mail at the target is still to be carried: %v; repeat the rollback", err)), nil
	}
	if err := r.keep(ctx, journal, got.Skipped); err != nil {
		return pipeline.Result{}, err
	}
	if err := r.revoke(ctx, journal); err != nil {
		return pipeline.Result{}, err
	}
	text := fmt.Sprintf("%d messages carried back", got.Carried)
	if n := len(got.Skipped); n > 0 {
		text += fmt.Sprintf(", %d not: see skipped.csv", n)
	}
	if state := journal.State(); state.Thaw == nil || state.Thaw.Driver == "none" {
		text += "; the plan has no driver: the route is yours to change, if you have not yet"
	}
	return pipeline.Done(text), journal.End(ctx, "rollback", ledger.Done, text, func(s *ledger.State) {
		if s.Phase != ledger.RolledBack {
			s.Phase, s.RolledAt = ledger.RolledBack, r.Now()
		}
		s.CarriedBack = got.Carried
		s.Noted = max(s.Noted, len(got.Skipped)) // there are rows to look for
	})
}

// Look finds what a rollback would carry home, and changes nothing.
func (r Rollback) Look(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (mailbox.Returned, error) {
	task = asSwitched(task, journal.State())
	target, err := r.wayIn(ctx, task, journal)
	if err != nil {
		return mailbox.Returned{}, err
	}
	return r.back(task, journal, target).Look(ctx)
}

// asSwitched is the task for the account as it was switched, whatever the list
// says of it now.
func asSwitched(task pipeline.Task, state ledger.State) pipeline.Task {
	if state.Thaw != nil {
		q := state.Thaw.Request
		task.Account.SourceLogin, task.Account.Target, task.Account.TargetAccount = q["login"], q["target"], q["target_account"]
	}
	return task
}

// wayIn is how Godwit reads the target mailbox. Where it signs in as the user,
// that is the temporary password until the user has set another, which only the
// list can tell.
func (r Rollback) wayIn(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (mailbox.Endpoint, error) {
	var secrets []func(context.Context) (string, error)
	if !journal.State().PasswordAt.IsZero() {
		secrets = append(secrets, func(ctx context.Context) (string, error) { return reveal(ctx, r.Vault, task, journal) })
	}
	secrets = append(secrets, opener(task.Account.TargetSecret))
	if r.Servers.Targets[task.Account.Target] == nil {
		return mailbox.Endpoint{}, fmt.Errorf("the plan no longer has the target %q that the account was moved to: put it back", task.Account.Target)
	}
	err := error(mailbox.ErrLogin)
	for _, secret := range secrets {
		e := r.Servers.target(task.Account, secret)
		if secret == nil && r.asUser(task) {
			continue
		}
		if err = mailbox.CheckLogin(ctx, e); err == nil {
			return e, nil
		}
		if !errors.Is(err, mailbox.ErrLogin) && !errors.Is(err, vault.ErrClosed) {
			return e, &mailbox.SideError{Side: "target", Err: err}
		}
	}
	return mailbox.Endpoint{}, &mailbox.SideError{Side: "target", Err: err}
}

// asUser says that Godwit signs in at the target as the user.
func (r Rollback) asUser(task pipeline.Task) bool {
	auth := r.Plan.Targets[task.Account.Target].IMAP.Auth
	return auth == "password" || auth == "xoauth2"
}

// locked is the answer where one of the mailboxes cannot be opened.
func (r Rollback) locked(task pipeline.Task, journal pipeline.Journal, err error) (pipeline.Result, error) {
	stands := "nothing was changed"
	if journal.State().Back() {
		stands = "the account is back at the source, its mail at the target is still to be carried"
	}
	var at *mailbox.SideError
	if !errors.Is(err, mailbox.ErrLogin) && !errors.Is(err, vault.ErrClosed) {
		return pipeline.Later("internal", fmt.Sprintf("%s: %v", stands, err)), nil
	}
	if !errors.As(err, &at) {
		return pipeline.Held("login-source", fmt.Sprintf("%s: the source refuses Godwit's login: %v", stands, err)), nil
	}
	return pipeline.Held("login-target", fmt.Sprintf("%s: the target refuses Godwit's login, the user has probably set a new password there: put the one that works now into target_secret of the list, or let Godwit sign in as an administrator (targets.%s.imap.auth: master or authzid), and repeat the rollback: %v",
		stands, task.Account.Target, err)), nil
}

// route has the driver switch the account back. Its intent is the point of no
// return: who arrives at the source from then on stays. An empty Result means:
// done, go on.
func (r Rollback) route(ctx context.Context, journal pipeline.Journal) (pipeline.Result, error) {
	state := journal.State()
	if state.Back() && journal.Last("route back") == ledger.Done {
		return pipeline.Result{}, nil
	}
	begun := func(s *ledger.State) { s.Phase = ledger.RollingBack }
	if err := journal.Begin(ctx, "route back", begun); err != nil {
		return pipeline.Result{}, err
	}
	if state.Thaw == nil || state.Thaw.Driver == "none" {
		return pipeline.Result{}, journal.End(ctx, "route back", ledger.Done, "the plan has no driver that switches", nil)
	}
	driver, err := r.Open(*state.Thaw)
	if err != nil {
		return pipeline.Result{}, err
	}
	q := frozenRequest(*state.Thaw, state.Deadline)
	q.Rollback = true
	if err := driver.Thaw(ctx, q); err != nil {
		return r.unrouted(ctx, journal, err)
	}
	now, err := driver.Check(ctx, q)
	if err != nil {
		return r.unrouted(ctx, journal, fmt.Errorf("check: %w", err))
	}
	if now != platform.Open {
		return r.unrouted(ctx, journal, fmt.Errorf("the driver said thawed, but its check says %q", now))
	}
	return pipeline.Result{}, journal.End(ctx, "route back", ledger.Done, "", nil)
}

func (r Rollback) unrouted(ctx context.Context, journal pipeline.Journal, err error) (pipeline.Result, error) {
	return pipeline.Later("internal", fmt.Sprintf("routing is not back yet: source: %v; mend the cause and repeat the rollback", err)),
		journal.End(ctx, "route back", markOf(err), err.Error(), nil)
}

// busy is how many passes a rollback makes where mail keeps arriving.
const busy = 50

// carry makes passes until the target is quiet and nothing was left to carry.
func (r Rollback) carry(ctx context.Context, task pipeline.Task, journal pipeline.Journal, target mailbox.Endpoint) (got mailbox.Returned, err error) {
	back := r.back(task, journal, target)
	for pass := range busy {
		if got, err = back.Run(ctx); err != nil {
			return got, err
		}
		if got.Copied == 0 && pass > 0 {
			return got, nil
		}
		if err := mailbox.Quiet(ctx, target, r.Plan.Source.Freeze.Settle); err != nil {
			return got, err
		}
	}
	return got, errors.New("mail keeps arriving at the target")
}

func (r Rollback) back(task pipeline.Task, journal pipeline.Journal, target mailbox.Endpoint) mailbox.Back {
	b := mailbox.Back{Source: r.Servers.source(task.Account), Target: target, Store: journal, Connections: task.Batch.Copy.Connections}
	if r.Progress != nil {
		b.Progress = func(done, total int64) { r.Progress(task.Account.Address, done, total) }
	}
	return b
}

// revoke has a temporary password set anew when the account moves again: by
// then its user may have another.
func (r Rollback) revoke(ctx context.Context, journal pipeline.Journal) error {
	for _, effect := range []string{"set password", "must change"} {
		if last := journal.Last(effect); last == "" || last == ledger.Failed {
			continue
		}
		if err := journal.End(ctx, effect, ledger.Failed, "rolled back", nil); err != nil {
			return err
		}
	}
	return nil
}

// keep writes down what could not be carried, in the report's words.
func (r Rollback) keep(ctx context.Context, journal pipeline.Journal, skipped []mailbox.Skipped) error {
	for i, s := range skipped {
		skipped[i].Detail = fmt.Sprintf("not brought back from the target (%s): %s", s.Reason, s.Detail)
		skipped[i].Reason = "not-brought-back"
	}
	data, err := json.Marshal(skipped)
	if err != nil {
		return err
	}
	return journal.Put(ctx, map[string][]byte{keptBack: data})
}
