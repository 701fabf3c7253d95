// Package stages holds the steps of a migration, one file each, in the order of
// All. The folders below are the tools they use; those know no plan.
//
// Some steps have a second file for what one of them shares or grows by:
// foretell.go is what validate finds out of losses, passwordlist.go and
// receipt.go are files of report, rescue.go thaws where freeze cannot be asked.
// Beside the way stand rollback.go and audit.go: a person asks for them.
package stages

import (
	"context"
	"errors"
	"fmt"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailbox"
	"godwit/stages/platform"
)

// All is the way of a mailbox, in order.
func All(validate Validate, notify Notify, freeze Freeze, copying Copy, credentials Credentials, report Report) []pipeline.Stage {
	return []pipeline.Stage{validate, notify, freeze, copying, credentials, report}
}

// Servers are the plan's mail servers, each shared by all accounts so that its
// limits hold over all of them.
type Servers struct {
	Source  *mailbox.Server
	Targets map[string]*mailbox.Server
}

// source is the account's mailbox where it is now.
func (s Servers) source(a plans.Account) mailbox.Endpoint {
	return mailbox.Endpoint{Server: s.Source, Login: mailbox.Login{User: a.SourceLogin, Secret: opener(a.SourceSecret)}}
}

// target is the account's mailbox where it goes; secret is the user's there.
func (s Servers) target(a plans.Account, secret func(context.Context) (string, error)) mailbox.Endpoint {
	return mailbox.Endpoint{Server: s.Targets[a.Target], Login: mailbox.Login{User: a.TargetAccount, Secret: secret}}
}

// user is the target mailbox as its user signs in, whatever Godwit's own way in
// is.
func (s Servers) user(a plans.Account, secret func(context.Context) (string, error)) mailbox.Endpoint {
	e := s.target(a, secret)
	e.Server = e.Server.AsUser()
	return e
}

// sourceUser is the same of the source.
func (s Servers) sourceUser(a plans.Account) mailbox.Endpoint {
	e := s.source(a)
	e.Server = e.Server.AsUser()
	return e
}

func opener(secret plans.Secret) func(context.Context) (string, error) {
	if secret.IsZero() {
		return nil
	}
	return secret.Open
}

// request names the task's account to a driver.
func request(plan string, task pipeline.Task, state ledger.State) platform.Request {
	return platform.Request{
		Plan: plan, Batch: task.Batch.Name, Service: task.Service.Name,
		Account: task.Account.Address, Login: task.Account.SourceLogin,
		Target: task.Account.Target, TargetAccount: task.Account.TargetAccount,
		Deadline: state.Deadline,
		Name:     task.Account.Name, Locale: task.Account.Locale,
	}
}

// once does what an earlier try has not done for certain. Doing the same again
// is harmless. An empty Result means: done, go on.
func once(ctx context.Context, journal pipeline.Journal, effect string, act func() error) (pipeline.Result, error) {
	if journal.Last(effect) == ledger.Done {
		return pipeline.Result{}, nil
	}
	if err := journal.Begin(ctx, effect, nil); err != nil {
		return pipeline.Result{}, err
	}
	if err := act(); err != nil {
		return administrator(ctx, journal, effect, err)
	}
	return pipeline.Result{}, journal.End(ctx, effect, ledger.Done, "", nil)
}

// administrator is the answer to a refusal of the target's admin side.
func administrator(ctx context.Context, journal pipeline.Journal, effect string, err error) (pipeline.Result, error) {
	result := pipeline.Later("target-unreachable", fmt.Sprintf("target: %s: %v", effect, err))
	switch {
	case errors.Is(err, platform.ErrNoAccount), errors.Is(err, platform.ErrTaken):
		result = pipeline.Held("target-missing", fmt.Sprintf("target: %s: %v", effect, err))
	case errors.Is(err, platform.ErrLater):
		result.Reason = "busy"
	}
	return result, journal.End(ctx, effect, markOf(err), err.Error(), nil)
}

// markOf says whether a refused action may have happened all the same.
func markOf(err error) ledger.Mark {
	if errors.Is(err, platform.ErrUnknown) {
		return ledger.Unknown
	}
	return ledger.Failed
}
