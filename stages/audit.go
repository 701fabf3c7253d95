package stages

import (
	"context"
	"errors"
	"io"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailbox"
	"godwit/stages/receipt"
	"godwit/stages/vault"
)

// ErrLoginEnded means that Godwit's way into a mailbox on the target has ended:
// the user has set a new password, or the batch is closed.
var ErrLoginEnded = errors.New("the login has ended")

// Audit reads an account's mailbox on the target back and compares it with the
// receipt that expected holds. It changes nothing. The error wraps ErrLoginEnded
// where that is no surprise.
func (c Copy) Audit(ctx context.Context, l ledger.Ledger, b *plans.Batch, a plans.Account, state ledger.State, expected io.Reader, tell func(mailbox.Deviation)) (mailbox.Audited, receipt.Result, error) {
	task := pipeline.Task{Batch: b, Account: a}
	marks, err := l.Marks(ctx, state.Key)
	if err != nil {
		return mailbox.Audited{}, receipt.Result{}, err
	}
	target := c.Servers.target(a, c.targetSecret(ctx, task, looking{keptOf{l, state.Key}, state, marks}))
	var read receipt.Result
	found, err := mailbox.Audit(ctx, target, func(v receipt.Visitor) (err error) {
		read, err = receipt.Read(expected, v)
		return err
	}, tell)
	switch {
	case errors.Is(err, vault.ErrClosed), errors.Is(err, mailbox.ErrLogin) && a.Passwords == "temporary" && c.asUser(task):
		err = errors.Join(ErrLoginEnded, err)
	}
	return found, read, err
}

// looking is the journal of somebody who only looks.
type looking struct {
	keptOf
	state ledger.State
	marks map[string]ledger.Mark
}

var errLooking = errors.New("nothing is written while a mailbox is only looked at")

func (looking) Begin(context.Context, string, func(*ledger.State)) error { return errLooking }

func (looking) End(context.Context, string, ledger.Mark, string, func(*ledger.State)) error {
	return errLooking
}

func (looking) Put(context.Context, map[string][]byte) error { return errLooking }
func (v looking) Last(effect string) ledger.Mark             { return v.marks[effect] }
func (v looking) State() ledger.State                        { return v.state }
func (v looking) Account(string) pipeline.Journal            { return v }
