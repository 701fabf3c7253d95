package stages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/losses"
	"godwit/stages/mailbox"
	"godwit/stages/mailer"
	"godwit/stages/platform"
)

// Validate makes the live checks of a service: both logins, what the mailbox
// holds, what the target cannot hold, quota, relay and templates. It changes
// nothing anywhere.
type Validate struct {
	Plan    *plans.Plan
	Servers Servers
	Admins  map[string]platform.Admin
	Sender  func(*plans.Batch) *mailer.Sender // nil for a plan without notices
	Drivers func() error                      // the plan's programs can be run
	Driver  ledger.Thaw                       // of the source, asked how each account stands
	Open    func(ledger.Thaw) (platform.Freezer, error)
	Clients *Clients
	Now     func() time.Time
}

// Finding is one thing that a live check found. Reason is a code of
// templates.Sentence; Text is for the operator.
type Finding struct {
	Service string  `json:"service"`
	Account string  `json:"account,omitempty"` // "" for the service
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"`
	Text    string  `json:"text"`
}

// Verdict says what a finding means for the move.
type Verdict string

// The verdicts: converted and lost never block.
const (
	Fine      Verdict = "fine"
	Converted Verdict = "converted"    // arrives, in another form
	Lost      Verdict = "lost"         // is not carried, and named
	Warning   Verdict = "warning"      // holds nobody, and should be looked at
	Again     Verdict = "again"        // could not be found out now
	Person    Verdict = "needs-person" // holds the account until it is mended
)

// Name is the stage's word in plans, ledger and logs.
func (Validate) Name() string { return pipeline.Validate }

// Run checks a service and holds the accounts that need a person. What an
// earlier check held is let go if it is fine now.
func (v Validate) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	service := task.Service
	service.Accounts = slices.DeleteFunc(slices.Clone(service.Accounts), func(a plans.Account) bool {
		state := journal.Account(a.Address).State()
		return state.Moved() || state.InCutover()
	})
	general, accounts := v.Check(ctx, task.Batch, service)
	if ctx.Err() != nil {
		return pipeline.Result{}, ctx.Err()
	}
	for _, f := range general {
		switch f.Verdict {
		case Person:
			if slices.Contains(journal.State().Waved, f.Reason) {
				continue
			}
			return pipeline.Held(f.Reason, f.Text), nil
		case Again:
			return pipeline.Later(f.Reason, f.Text), nil
		}
	}
	for _, f := range []Finding{v.shared(accounts), unknown(accounts)} {
		if f.Text != "" {
			return pipeline.Later(f.Reason, f.Text), nil
		}
	}
	held, lost := 0, 0
	for _, a := range accounts {
		h, l, err := v.record(ctx, journal.Account(a.Account.Address), a)
		if err != nil {
			return pipeline.Result{}, err
		}
		held, lost = held+h, lost+l
	}
	text := fmt.Sprintf("%d accounts checked, %d need a person, %d findings of what is not carried", len(accounts), held, lost)
	return pipeline.Done(text), journal.End(ctx, "validate", ledger.Done, text, func(s *ledger.State) { s.ValidatedAt = v.Now() })
}

// unknown: nothing could be found out about any account.
func unknown(accounts []Checked) Finding {
	var last Finding
	for _, c := range accounts {
		i := slices.IndexFunc(c.Findings, func(f Finding) bool { return f.Verdict == Again })
		if i < 0 {
			return Finding{}
		}
		last = c.Findings[i]
	}
	return last
}

// shared: where Godwit signs in at the source with one secret for all, and every
// account is refused, it is that secret: one trouble to mend, and no account's.
func (v Validate) shared(accounts []Checked) Finding {
	if auth := v.Plan.Source.IMAP.Auth; auth != "master" && auth != "authzid" || len(accounts) < 2 {
		return Finding{}
	}
	var last Finding
	for _, c := range accounts {
		i := slices.IndexFunc(c.Findings, func(f Finding) bool { return f.Reason == "login-source" && f.Verdict == Person })
		if i < 0 {
			return Finding{}
		}
		last = c.Findings[i]
	}
	return Finding{Reason: "login-source", Text: fmt.Sprintf("all %d accounts are refused: look at source.imap.secret and the migrator's rights; %s", len(accounts), last.Text)}
}

// record writes an account's findings into its row.
func (v Validate) record(ctx context.Context, journal pipeline.Journal, c Checked) (held, lost int, err error) {
	var worst Finding
	for _, f := range c.Findings {
		if f.Reason == targetExists && taken(c.Account, journal) {
			continue
		}
		if f.Verdict == Lost {
			lost++
		}
		if f.Verdict == Person || f.Verdict == Again && worst.Verdict != Person {
			worst = f
		}
	}
	text := worst.Text
	if text == "" {
		text = fmt.Sprintf("%d folders, %d messages, about %d bytes", c.Survey.Folders, c.Survey.Messages, c.Survey.Bytes)
	}
	if c.Losses != nil {
		if err := keepLosses(ctx, journal, c.Losses); err != nil {
			return held, lost, err
		}
	}
	err = journal.End(ctx, "validate", ledger.Note, text, func(s *ledger.State) {
		s.Foretold = s.Foretold || c.Losses != nil
		if s.Phase == ledger.New || s.Phase == ledger.Copying {
			s.Folders, s.Messages, s.Bytes = c.Survey.Folders, c.Survey.Messages, c.Survey.Bytes
		}
		switch {
		case worst.Verdict == Person:
			s.Trouble, s.Origin, s.Reason, s.Detail = ledger.Held, pipeline.Validate, worst.Reason, worst.Text
			held = 1
		case worst.Verdict != Again && s.Trouble == ledger.Held && s.Origin == pipeline.Validate:
			s.Trouble, s.Origin, s.Reason, s.Detail = ledger.None, "", "", ""
		}
	})
	return held, lost, err
}

// Checked is an account with what was found.
type Checked struct {
	Account  plans.Account
	Survey   mailbox.Survey
	Losses   []losses.Item // nil: nobody could look
	Findings []Finding
}

// Check makes the live checks of a service and returns what concerns it as a
// whole, and what was found per account.
func (v Validate) Check(ctx context.Context, batch *plans.Batch, service plans.Service) ([]Finding, []Checked) {
	general := v.general(ctx, batch, service)
	var mu sync.Mutex
	var accounts []Checked
	group := errgroup.Group{}
	group.SetLimit(max(1, v.Plan.Copy.Accounts))
	for _, a := range service.Accounts {
		if a.Action == "skip" {
			continue
		}
		group.Go(func() error {
			c := v.account(ctx, batch, service, a)
			mu.Lock()
			defer mu.Unlock()
			accounts = append(accounts, c)
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
	if slices.ContainsFunc(accounts, func(c Checked) bool { return c.Survey.SourceKind == "exchange" }) {
		general = append(general, Finding{Service: service.Name, Verdict: Warning, Reason: "source-settings", Text: readReceipts})
	}
	return general, accounts
}

// readReceipts is what Exchange may do on its own when it is copied from: as it
// comes, it sends the receipts that senders asked for when a message is fetched.
const readReceipts = "the source is Exchange: unless SuppressReadReceipt is set for IMAP (Set-ImapSettings, or Set-CASMailbox -ImapSuppressReadReceipt $true), copying may send read receipts to senders"

// general checks what all accounts of the service share.
func (v Validate) general(ctx context.Context, batch *plans.Batch, service plans.Service) []Finding {
	var list []Finding
	add := func(verdict Verdict, reason, text string) {
		list = append(list, Finding{Service: service.Name, Verdict: verdict, Reason: reason, Text: text})
	}
	if v.Drivers != nil {
		if err := v.Drivers(); err != nil {
			add(Person, "needs-person", err.Error())
		}
	}
	for _, text := range v.Clients.before(ctx, service) {
		add(Warning, "clients", text)
	}
	if len(batch.Notices.Send) == 0 {
		return list
	}
	if err := v.Sender(batch).Probe(ctx); err != nil {
		add(Again, "notice-failed", "SMTP relay: "+err.Error())
	}
	if contactMoves(service) {
		add(Person, "contact-moves", fmt.Sprintf("the contact %s is a mailbox that moves and gets a new password: agree on how the list is handed over, then: godwit retry PLAN --service %s", service.Contact, service.Name))
	}
	return list
}

// contactMoves says that the list of passwords would be handed to somebody who
// needs it to read that mail.
func contactMoves(service plans.Service) bool {
	return slices.ContainsFunc(service.Accounts, func(a plans.Account) bool {
		return a.Action == "migrate" && a.Passwords == "temporary" && strings.EqualFold(a.Address, service.Contact)
	})
}

// account looks into both mailboxes.
func (v Validate) account(ctx context.Context, batch *plans.Batch, service plans.Service, a plans.Account) Checked {
	c := Checked{Account: a}
	add := func(verdict Verdict, reason, text string) {
		c.Findings = append(c.Findings, Finding{Service: service.Name, Account: a.Address, Verdict: verdict, Reason: reason, Text: text})
	}
	facts, f := v.target(ctx, batch, service, a)
	if f.Text != "" {
		add(f.Verdict, f.Reason, f.Text)
	}
	pass := mailbox.Pass{
		Source: v.Servers.source(a), Target: v.Servers.target(a, opener(a.TargetSecret)),
		Options: mailbox.Options{Exclude: batch.Copy.Exclude, Rename: batch.Copy.Rename, MaxMessage: batch.Copy.MaxMessage},
	}
	if most := pass.Options.MaxMessage; facts.MaxMessage > 0 && (most == 0 || facts.MaxMessage < most) {
		pass.Options.MaxMessage = facts.MaxMessage
	}
	survey, err := mailbox.Survey{}, errNotYet
	if !waitsForOperator(v.Plan, a) {
		survey, err = pass.Examine(ctx)
	}
	if err != nil {
		f := v.refusal(a, err)
		add(f.Verdict, f.Reason, f.Text)
		if f.Verdict != Fine {
			return c
		}
		if survey, err = pass.ExamineSource(ctx); err != nil {
			f := v.refusal(a, err)
			add(f.Verdict, f.Reason, f.Text)
			return c
		}
	}
	if facts.Quota > 0 && (survey.Quota == 0 || facts.Quota < survey.Quota) {
		survey.Quota = facts.Quota
	}
	c.Survey = survey
	settings := slices.DeleteFunc(slices.Clone(facts.Findings), func(s platform.Finding) bool {
		return s.Above > 0 && !slices.ContainsFunc(survey.Findings, func(m mailbox.Skipped) bool { return m.Reason == mailbox.TooLarge && m.Bytes > s.Above })
	})
	for _, s := range settings {
		verdict := Converted
		if s.Blocks {
			verdict = Person
		}
		add(verdict, "target-settings", s.Text)
	}
	c.Losses = losses.Of(survey, settings)
	if f := v.standing(ctx, batch, service, a); f.Text != "" {
		add(f.Verdict, f.Reason, f.Text)
	}
	if v.Plan.Promises.Quota == "keep" && survey.Quota > 0 && survey.Quota < survey.Bytes+survey.Used {
		add(Person, "over-quota", fmt.Sprintf("the target may hold %d bytes, %d are used, the source has %d: raise the quota", survey.Quota, survey.Used, survey.Bytes))
	}
	for _, f := range survey.Findings {
		verdict := Lost
		switch f.Reason {
		case mailbox.FolderRenamed, mailbox.KeywordDropped, mailbox.Altered:
			verdict = Converted
		}
		text := fmt.Sprintf("folder %q", f.Folder)
		if f.UID != 0 {
			text += fmt.Sprintf(" UID %d", f.UID)
		}
		add(verdict, string(f.Reason), text+": "+f.Detail)
	}
	return c
}

// target asks the target's admin side how the account stands there: what of its
// settings will hurt is found out now.
func (v Validate) target(ctx context.Context, batch *plans.Batch, service plans.Service, a plans.Account) (platform.Facts, Finding) {
	inspector, ok := v.Admins[a.Target].(platform.Inspector)
	if !ok {
		return platform.Facts{}, Finding{}
	}
	facts, err := inspector.Inspect(ctx, request(v.Plan.Name, pipeline.Task{Batch: batch, Service: service, Account: a}, ledger.State{}))
	switch {
	case errors.Is(err, platform.ErrNoAccount) && v.Plan.Targets[a.Target].Admin.Create:
		return facts, Finding{} // made before the first pass
	case errors.Is(err, platform.ErrNoAccount):
		return facts, Finding{Verdict: Person, Reason: "target-missing", Text: err.Error() + "; make it, or set admin.create: true"}
	case errors.Is(err, platform.ErrTaken):
		return facts, Finding{Verdict: Person, Reason: "target-missing", Text: err.Error()}
	case err != nil:
		return facts, Finding{Verdict: Again, Reason: "target-unreachable", Text: "admin side: " + err.Error()}
	}
	if why := stranger(v.Plan, a, facts); why != "" {
		return facts, Finding{Verdict: Person, Reason: targetExists, Text: why}
	}
	return facts, Finding{}
}

// standing asks the freeze driver about the account: that it answers is found
// out here and not in the night, and so is an account that has moved already.
func (v Validate) standing(ctx context.Context, batch *plans.Batch, service plans.Service, a plans.Account) Finding {
	if v.Open == nil || v.Driver.Driver == "none" {
		return Finding{}
	}
	driver, err := v.Open(v.Driver)
	if err != nil {
		return Finding{Verdict: Person, Reason: "internal", Text: err.Error()}
	}
	state, err := driver.Check(ctx, request(v.Plan.Name, pipeline.Task{Batch: batch, Service: service, Account: a}, ledger.State{}))
	switch {
	case err != nil:
		return Finding{Verdict: Again, Reason: "source-unreachable", Text: "freeze driver: check: " + err.Error()}
	case state == platform.Switched:
		return Finding{Verdict: Person, Reason: "already-switched", Text: "the source says that it is switched already; if so, set action: skip in the list"}
	}
	return Finding{}
}

// errNotYet: nobody can sign in at the target before the operator has set the
// temporary password there.
var errNotYet = errors.New("the target has no password yet")

func waitsForOperator(plan *plans.Plan, a plans.Account) bool {
	t := plan.Targets[a.Target]
	return t.Admin.Name == "list" && t.IMAP.Auth == "password" && a.Passwords == "temporary" && a.TargetSecret.IsZero()
}

// refusal sorts the error of an Examine: an account that the target's admin
// side or its operator has yet to make is no problem.
func (v Validate) refusal(a plans.Account, err error) Finding {
	side := "source"
	var at *mailbox.SideError
	if errors.As(err, &at) {
		side = at.Side
	}
	target := v.Plan.Targets[a.Target]
	absent := side == "target" && (errors.Is(err, mailbox.ErrLogin) || errors.Is(err, mailbox.ErrDropped))
	switch {
	case absent && v.Admins[a.Target] != nil:
		return Finding{Verdict: Fine, Reason: "login-target", Text: "not on the target yet: it is created before the first pass"}
	case errors.Is(err, errNotYet), absent && target.Admin.Name == "list" && a.Passwords == "temporary":
		return Finding{Verdict: Fine, Reason: "login-target", Text: "waits for the operator to set the temporary passwords on the target"}
	case errors.Is(err, mailbox.ErrLogin):
		return Finding{Verdict: Person, Reason: "login-" + side, Text: err.Error()}
	case errors.Is(err, mailbox.ErrResidency):
		return Finding{Verdict: Person, Reason: "needs-person", Text: err.Error()}
	case errors.Is(err, mailbox.ErrSecret):
		return Finding{Verdict: Again, Reason: "internal", Text: err.Error()}
	}
	return Finding{Verdict: Again, Reason: side + "-unreachable", Text: err.Error()}
}
