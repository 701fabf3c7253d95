package stages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailer"
	"godwit/templates"
)

// Notify sends one notice of a service to each of its recipients and keeps the
// relay's answer: yes, no, or unknown. What the notice promised goes into the
// ledger with the contact's copy.
type Notify struct {
	Plan      *plans.Plan
	Sender    func(*plans.Batch) *mailer.Sender
	Templates func(*plans.Batch) *templates.Set
	Now       func() time.Time
}

// Name is the stage's word in plans, ledger and logs.
func (Notify) Name() string { return pipeline.Notify }

// Run sends to those whose copy has no lasting answer yet. A copy whose sending
// a crash cut off may have been taken: it is sent again with the same
// Message-ID, and the ledger says so. A connection cut after the final dot is
// not tried again.
func (n Notify) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	waiting, lost := "", 0
	for _, to := range task.Notice.To {
		of := journal
		if to.Account != "" {
			of = journal.Account(to.Account)
		}
		foretold, err := n.foretold(ctx, task, journal, to)
		if err != nil {
			return pipeline.Result{}, err
		}
		d, err := n.deliver(ctx, task, of, to, foretold)
		if err != nil {
			return pipeline.Result{}, err
		}
		if !d.Final() {
			waiting = fmt.Sprintf("%s: %s", to.Address, d.Text)
		}
		if d.Lost() {
			lost++
		}
	}
	if waiting != "" {
		return pipeline.Later("notice-failed", waiting), nil
	}
	text := fmt.Sprintf("%d sent, %d not taken or unknown", len(task.Notice.To)-lost, lost)
	return pipeline.Done(text), pipeline.Conclude(ctx, task, journal, n.Now())
}

// deliver sends one copy and records the answer in its reader's row.
func (n Notify) deliver(ctx context.Context, task pipeline.Task, journal pipeline.Journal, to pipeline.Recipient, foretold *templates.Losses) (*ledger.Delivery, error) {
	id := task.Notice.ID
	effect := "notice " + id + " to " + to.Address
	message, err := n.compose(task, to, foretold)
	if err != nil {
		return nil, err
	}
	note := ""
	if journal.Last(effect) == ledger.Intent {
		note = "sent again after an interruption, with the same Message-ID; "
	}
	if err := journal.Begin(ctx, effect, nil); err != nil {
		return nil, err
	}
	receipt := n.send(ctx, task.Batch, message)
	d := &ledger.Delivery{To: to.Address, Verdict: string(receipt.Verdict), Text: note + receipt.Text, At: n.Now(), Night: task.Night.Date, Only: task.Notice.Only, MessageID: message.MessageID}
	mark := ledger.Failed
	switch receipt.Verdict {
	case mailer.Accepted:
		mark = ledger.Done
	case mailer.Unknown:
		mark = ledger.Unknown
	}
	return d, journal.End(ctx, effect, mark, d.Text, func(s *ledger.State) {
		if s.Notices == nil {
			s.Notices = map[string]*ledger.Delivery{}
		}
		s.Notices[id] = d
	})
}

// send tries a relay that asks for patience a few times.
func (n Notify) send(ctx context.Context, batch *plans.Batch, m mailer.Message) mailer.Receipt {
	var receipt mailer.Receipt
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 500 * time.Millisecond
	_, _ = backoff.Retry(ctx, func() (struct{}, error) { // the receipt says it all
		receipt = n.Sender(batch).Send(ctx, m)
		if receipt.Verdict == mailer.Later {
			return struct{}{}, fmt.Errorf("%s", receipt.Text)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(3))
	return receipt
}

// compose renders the notice for one reader.
func (n Notify) compose(task pipeline.Task, to pipeline.Recipient, foretold *templates.Losses) (mailer.Message, error) {
	data := n.data(task, to)
	data.Losses = foretold
	rendered, err := n.Templates(task.Batch).Render(task.Notice.Plan.Template, to.Locale, data)
	if err != nil {
		return mailer.Message{}, err
	}
	from := task.Batch.Notices.From
	sequence := task.Notice.Sequence
	m := mailer.Message{
		From: from, To: to.Address, Subject: rendered.Subject, Text: rendered.Text, HTML: rendered.HTML,
		Date: n.Now(), Locale: rendered.Locale, MessageID: n.id("notice", task.Notice.ID, fmt.Sprint(sequence), task, to.Address, from),
	}
	if invites(task, to) {
		m.Invite = &mailer.Invite{
			UID: n.invite(task, to.Address, from), Sequence: sequence, Summary: rendered.Subject,
			Start: data.From, End: data.Until, Cancelled: task.Notice.Plan.When == "cancelled",
		}
	}
	return m, nil
}

// invites says that the notice moves the reader's calendar entry. The contact's
// is the service's: it stays where only some of the accounts are concerned.
func invites(task pipeline.Task, to pipeline.Recipient) bool {
	part := false
	for _, a := range task.Service.Accounts {
		part = part || a.Action == "migrate" && task.Notice.Only != nil && !slices.Contains(task.Notice.Only, a.Address)
	}
	switch task.Notice.Plan.When {
	case "done", "rolled-back":
		return false
	case "cancelled", "deferred", "changed":
		return task.Night.Date != "" && (to.Account != "" || !part)
	}
	return true
}

// invite is the calendar entry's UID. A service keeps it in another batch, too:
// its entry moves with it.
func (n Notify) invite(task pipeline.Task, to, from string) string {
	task.Batch = &plans.Batch{}
	return n.id("invite", "", "", task, to, from)
}

// id is the same for the same thing whenever it is asked for.
func (n Notify) id(kind, notice, sequence string, task pipeline.Task, to, from string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{kind, n.Plan.Name, task.Batch.Name, task.Service.Name, notice, sequence, to}, "\x00")))
	domain := "godwit.invalid"
	if a, err := mail.ParseAddress(from); err == nil {
		domain = a.Address[strings.LastIndexByte(a.Address, '@')+1:]
	}
	return hex.EncodeToString(sum[:16]) + "@" + domain
}

// about says that a notice is about an account.
func about(notice pipeline.Notice, a plans.Account) bool {
	return notice.Only == nil || slices.Contains(notice.Only, a.Address)
}

func (n Notify) data(task pipeline.Task, to pipeline.Recipient) templates.Notice {
	b := task.Batch
	moving, skipped, temporary := 0, 0, 0
	target := n.Plan.Targets[n.Plan.DefaultTarget]
	for _, a := range task.Service.Accounts {
		switch {
		case a.Action == "skip" && task.Notice.Only == nil:
			skipped++
			continue
		case to.Account != "" && a.Address != to.Account, !about(task.Notice, a):
			continue
		}
		moving++
		if a.Passwords == "temporary" {
			temporary++
		}
		if a.Passwords == "temporary" || temporary == 0 { // what is said of webmail concerns these
			target = n.Plan.Targets[a.Target]
		}
	}
	keeping := 0
	if temporary > 0 {
		keeping = moving - temporary
	}
	night := task.Night
	name := task.Service.Name
	if only := task.Notice.Only; to.Account == "" && len(only) > 0 && len(only) <= 3 && len(only) < len(task.Service.Accounts) {
		name += " (" + strings.Join(only, ", ") + ")"
	}
	data := templates.Notice{
		Plan: n.Plan.Name, ToUser: to.Account != "", Account: to.Account, Name: to.Name,
		Services: []templates.Service{{Name: name, Accounts: moving, Skipped: skipped, Target: target.Name}},
		Night:    night.Start, From: night.Start, Until: night.End, Zone: n.Plan.Timezone.String(),
		Interruption: b.Window.MaxInterruption, Temporary: temporary > 0, Keeping: keeping, Deliver: b.Passwords.Deliver,
		Webmail: target.Webmail, WebmailFirst: target.Admin.Name == "zimbra" || target.Platform == "zimbra", Residency: n.Plan.Promises.Residency, Offers: b.Notices.Links["offers"] != "",
		Links: b.Notices.Links, Contact: b.Notices.From, NotFrozen: n.Plan.Source.Freeze.Name == "none",
	}
	if a, err := mail.ParseAddress(b.Notices.From); err == nil {
		data.Contact = a.Address
	}
	if task.Notice.Reason != "" {
		data.Reason = templates.Sentence(to.Locale, task.Notice.Reason)
	}
	for _, c := range task.Notice.Changes {
		if c.What == "residency" { // the letter's sentence that the countries stay would be false
			data.Residency = nil
		}
		data.Changes = append(data.Changes, templates.Change{What: c.What, Was: c.Was, Is: c.Is})
	}
	return data
}
