package stages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailbox"
	"godwit/stages/platform"
	"godwit/stages/vault"
)

// Copy brings the target mailbox up to the source: over the live mailbox
// (precopy), over the frozen one (final), and for stragglers after the switch
// (catch-up). Each pass reads back what it copied; the final one looks at the
// mailbox as a whole, too, before it is called verified.
type Copy struct {
	Plan     *plans.Plan
	Servers  Servers
	Admins   map[string]platform.Admin // by target; none for those without
	Vault    *vault.Vault
	Clients  *Clients
	Now      func() time.Time
	Progress func(account string, done, total int64) // bytes; may be nil
}

// What Copy keeps for an account beside the UID map.
const (
	keptSkipped  = "skipped"  // []mailbox.Skipped as of the last pass
	keptNotes    = "notes"    // the same for what was carried but changed
	keptPassword = "password" // sealed
	keptVerified = "verified" // verified: what a receipt needs beside the messages
	keptTarget   = "target"   // which mailbox the UID map is of
)

// Name is the stage's word in plans, ledger and logs.
func (Copy) Name() string { return pipeline.Copy }

// Run makes one pass. It can be run again at any time: the UID map says what
// the target has.
func (c Copy) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	if result, err := sameTarget(ctx, task, journal); err != nil || result.Outcome != "" {
		return result, err
	}
	if result, err := ensure(ctx, c.Plan, c.Admins, task, journal); err != nil || result.Outcome != "" {
		return result, err
	}
	if journal.State().Phase == ledger.New {
		if err := journal.End(ctx, "copying", ledger.Note, "", func(s *ledger.State) { s.Phase = ledger.Copying }); err != nil {
			return pipeline.Result{}, err
		}
	}
	var moved atomic.Int64
	began := time.Now()
	result, err := c.passes(ctx, task, journal, &moved)
	if err != nil {
		return c.trouble(ctx, task, journal, err)
	}
	if err := c.keep(ctx, task, journal, result); err != nil {
		return pipeline.Result{}, err
	}
	if len(result.Differs) > 0 {
		return unverified(ctx, journal, result.Differs)
	}
	if task.Step == pipeline.Final || journal.Last("verify") == ledger.Failed {
		if err := journal.End(ctx, "verify", ledger.Done, task.Batch.Copy.Verify, nil); err != nil {
			return pipeline.Result{}, err
		}
	}
	if task.Step == pipeline.CatchUp {
		if err := errors.Join(c.Clients.record(ctx, journal), c.awaited(ctx, task, journal)); err != nil {
			return pipeline.Result{}, err
		}
	}
	text := fmt.Sprintf("%d copied, %d already there, %d updated, %d moved, %d deleted, %d not carried", result.Copied, result.AlreadyThere, result.Updated, result.Moved, result.Deleted, len(result.Skipped))
	for _, why := range result.Slowed {
		text += "; " + why
	}
	return pipeline.Done(text), journal.End(ctx, "pass", ledger.Note, text, func(s *ledger.State) {
		c.passed(s, task, result, time.Since(began))
		paced(&s.Pace, task, result.Copied, moved.Load(), s.PassTook)
	})
}

// sameTarget holds an account whose list names another mailbox than the one that
// it was copied to: what is missing there would be taken for what its user has
// removed. An empty Result means: go on.
func sameTarget(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	now := task.Account.TargetAccount + " at target " + task.Account.Target
	was, err := journal.Get(ctx, keptTarget)
	if err != nil || strings.EqualFold(string(was), now) {
		return pipeline.Result{}, err
	}
	begun, err := mailbox.Begun(ctx, journal)
	if err == nil && begun && was != nil {
		return pipeline.Held("needs-person", fmt.Sprintf("its mail is being copied to %s, and the list says %s now: put that back, or move the service to a new batch, which copies it anew", was, now)), nil
	}
	if err != nil {
		return pipeline.Result{}, err
	}
	return pipeline.Result{}, journal.Put(ctx, map[string][]byte{keptTarget: []byte(now)})
}

// patience bounds the final passes over a mailbox whose user goes on to work in
// it; what comes later is left to catch-up.
const patience = 5 * time.Minute

// passes is one pass; a final one over a mailbox whose user may still sign in is
// repeated until it finds nothing to do.
func (c Copy) passes(ctx context.Context, task pipeline.Task, journal pipeline.Journal, moved *atomic.Int64) (mailbox.Result, error) {
	began := time.Now()
	result, err := c.pass(ctx, task, journal, moved).Run(ctx)
	if task.Step != pipeline.Final || !loginsOpen(journal.State().Thaw) {
		return result, err
	}
	for again := carried(result); again && err == nil && len(result.Differs) == 0 && time.Since(began) < patience; {
		before := result
		result, err = c.pass(ctx, task, journal, moved).Run(ctx)
		again = carried(result)
		result.Copied += before.Copied
		result.AlreadyThere += before.AlreadyThere
		result.Updated += before.Updated
		result.Moved += before.Moved
		result.Renamed += before.Renamed
		result.Deleted += before.Deleted
	}
	return result, err
}

// carried says that a pass found something to do.
func carried(r mailbox.Result) bool { return r.Copied+r.Updated+r.Moved+r.Renamed+r.Deleted > 0 }

// awaited keeps for status who has not been at the target yet. That nobody can be
// asked stops no pass.
func (c Copy) awaited(ctx context.Context, task pipeline.Task, journal pipeline.Journal) error {
	state := journal.State()
	at, err := SignIns{c.Plan, c.Admins, c.Now}.Awaited(ctx, task, state)
	if err != nil || at.IsZero() && state.Awaited.IsZero() {
		return nil //nolint:nilerr // the next pass asks again
	}
	return journal.End(ctx, "signed in", ledger.Note, "", func(s *ledger.State) { s.Awaited = at })
}

func (c Copy) pass(ctx context.Context, task pipeline.Task, journal pipeline.Journal, moved *atomic.Int64) mailbox.Pass {
	copying := task.Batch.Copy
	p := mailbox.Pass{
		Source: c.Servers.source(task.Account),
		Target: c.Servers.target(task.Account, c.targetSecret(ctx, task, journal)),
		Store:  journal,
		Options: mailbox.Options{
			Exclude: copying.Exclude, Rename: copying.Rename,
			MaxMessage: copying.MaxMessage, MaxDelete: copying.MaxDelete,
			Connections: copying.Connections, CatchUp: task.Step == pipeline.CatchUp,
			Verify: copying.Verify, Final: task.Step == pipeline.Final,
		},
	}
	if slices.Contains(journal.State().Waved, "deletions") {
		p.Options.MaxDelete = 1
	}
	p.Options.Progress = func(done, total int64) {
		moved.Store(done)
		if c.Progress != nil {
			c.Progress(task.Account.Address, done, total)
		}
	}
	return p
}

// paced keeps what the forecast wants to know of a pass that copied so much.
func paced(p *ledger.Pace, task pipeline.Task, messages int, bytes int64, took time.Duration) {
	if bytes > 0 && bytes >= p.FillBytes {
		p.FillBytes, p.Filled, p.Fill = bytes, messages, took
	}
	switch {
	case task.Step == pipeline.Final:
		p.Final = took
	case task.Step == pipeline.Precopy && bytes == 0:
		p.Idle = took
	}
}

// targetSecret is what Godwit signs in with as the user at the target: the
// list's secret, or the temporary password once it is set there. Where an answer
// to setting it was lost, a login tells which of the two it is.
func (c Copy) targetSecret(ctx context.Context, task pipeline.Task, journal pipeline.Journal) func(context.Context) (string, error) {
	own := opener(task.Account.TargetSecret)
	if task.Account.Passwords != "temporary" || journal.State().PasswordAt.IsZero() {
		return own
	}
	temporary := func(ctx context.Context) (string, error) { return reveal(ctx, c.Vault, task, journal) }
	switch {
	case c.byOperator(task), journal.Last("set password") == ledger.Done, own == nil:
		return temporary
	case journal.Last("set password") == "" || !c.asUser(task):
		return own
	}
	if err := mailbox.CheckLogin(ctx, c.Servers.user(task.Account, temporary)); errors.Is(err, mailbox.ErrLogin) {
		return own
	}
	return temporary
}

func (c Copy) passed(s *ledger.State, task pipeline.Task, result mailbox.Result, took time.Duration) {
	now := c.Now()
	s.Passes++
	s.PassedAt, s.PassTook = now, took
	s.Waved = nil
	if task.Step == pipeline.CatchUp {
		s.Copied += result.Copied
		s.Messages += result.Copied
		s.Noted = len(result.Skipped) + len(result.Notes)
		return
	}
	s.Folders, s.Messages, s.Bytes = result.Folders, result.Messages, result.Bytes
	s.Already += result.AlreadyThere
	s.Skipped, s.Noted = 0, len(result.Skipped)+len(result.Notes)
	for _, skipped := range result.Skipped {
		if skipped.UID != 0 {
			s.Skipped++
		}
	}
	s.Already = min(s.Already, s.Messages-s.Skipped)
	s.Copied = s.Messages - s.Skipped - s.Already
	s.Phase = ledger.Copied
	if task.Step == pipeline.Final {
		s.Phase, s.VerifiedAt = ledger.Verified, now
	}
}

func (c Copy) keep(ctx context.Context, task pipeline.Task, journal pipeline.Journal, result mailbox.Result) error {
	values := map[string]any{keptSkipped: result.Skipped, keptNotes: result.Notes}
	if task.Step == pipeline.Final && len(result.Differs) == 0 {
		values[keptVerified] = c.verified(task, result)
	}
	changes := map[string][]byte{}
	for name, value := range values {
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		changes[name] = data
	}
	return journal.Put(ctx, changes)
}

// unverified: what the target gives back is not what it was given. The next try
// copies that again, if it is little, and compares; a second time in a row needs
// a person.
func unverified(ctx context.Context, journal pipeline.Journal, differs []mailbox.Skipped) (pipeline.Result, error) {
	text := fmt.Sprintf("%d messages of the target differ from the source, the first in %q UID %d: %s %s", len(differs), differs[0].Folder, differs[0].UID, differs[0].Reason, differs[0].Detail)
	again := journal.Last("verify") == ledger.Failed
	if err := journal.End(ctx, "verify", ledger.Failed, text, nil); err != nil {
		return pipeline.Result{}, err
	}
	if again {
		return pipeline.Failed("verify-failed", text), nil
	}
	return pipeline.Later("verify-failed", text), nil
}

// trouble sorts a pass's error: what goes away by itself, what needs a person.
func (c Copy) trouble(ctx context.Context, task pipeline.Task, journal pipeline.Journal, err error) (pipeline.Result, error) {
	side := "source"
	var at *mailbox.SideError
	if errors.As(err, &at) {
		side = at.Side
	}
	switch {
	case ctx.Err() != nil:
		return pipeline.Result{}, err
	case errors.Is(err, mailbox.ErrLogin) && task.Step == pipeline.CatchUp && side == "target" && c.asUser(task):
		text := "catch-up ended: the user has set a new password"
		return pipeline.Done(text), journal.End(ctx, "pass", ledger.Note, text, func(s *ledger.State) { s.CaughtUp = true })
	case errors.Is(err, mailbox.ErrLogin) && c.byOperator(task):
		return pipeline.Later("login-target", err.Error()+"; set the temporary passwords of passwords.csv on the target"), nil
	case errors.Is(err, mailbox.ErrLogin):
		return pipeline.Later("login-"+side, err.Error()), nil
	case errors.Is(err, mailbox.ErrTooManyDeletions):
		return pipeline.Held("deletions", err.Error()+"; if they are meant: godwit retry"), nil
	case errors.Is(err, mailbox.ErrOverQuota):
		return pipeline.Failed("over-quota", err.Error()), nil
	case errors.Is(err, mailbox.ErrResidency):
		return pipeline.Held("needs-person", err.Error()), nil
	case errors.Is(err, mailbox.ErrBusy):
		return pipeline.Later("busy", err.Error()), nil
	case errors.Is(err, mailbox.ErrSecret):
		return pipeline.Later("internal", err.Error()), nil
	}
	return pipeline.Later(side+"-unreachable", err.Error()), nil
}

// asUser says that Godwit signs in at the target as the user.
func (c Copy) asUser(task pipeline.Task) bool {
	auth := c.Plan.Targets[task.Account.Target].IMAP.Auth
	return auth == "password" || auth == "xoauth2"
}

func (c Copy) byOperator(task pipeline.Task) bool {
	return task.Account.Passwords == "temporary" && c.Plan.Targets[task.Account.Target].Admin.Name == "list"
}
