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

// Run sends what has no lasting answer yet. A copy whose sending a crash cut
// off may have been taken: it is sent again with the same Message-ID, and the
// ledger says so. A connection cut after the final dot is not tried again.
func (n Notify) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	id := task.Notice.ID
	to := pipeline.Recipients(task.Service, task.Notice.Plan, task.Notice.Only)
	waiting, refused := "", 0
	for _, r := range to {
		d := delivery(journal.State(), id, r.Address)
		if d == nil || d.Verdict == string(mailer.Later) {
			var err error
			if d, err = n.deliver(ctx, task, journal, r); err != nil {
				return pipeline.Result{}, err
			}
		}
		switch mailer.Verdict(d.Verdict) {
		case mailer.Later:
			waiting = fmt.Sprintf("%s: %s", r.Address, d.Text)
		case mailer.Refused, mailer.Unknown:
			refused++
		}
	}
	if waiting != "" {
		return pipeline.Later("notice-failed", waiting), nil
	}
	if err := n.conclude(ctx, task, journal, to); err != nil {
		return pipeline.Result{}, err
	}
	return pipeline.Done(fmt.Sprintf("%d sent, %d not taken or unknown", len(to)-refused, refused)), nil
}

func delivery(s ledger.State, id, address string) *ledger.Delivery {
	if notice := s.Notices[id]; notice != nil {
		return notice.Recipients[address]
	}
	return nil
}

// deliver sends one copy and records the answer.
func (n Notify) deliver(ctx context.Context, task pipeline.Task, journal pipeline.Journal, to pipeline.Recipient) (*ledger.Delivery, error) {
	effect := task.Notice.ID + " to " + to.Address
	message, err := n.compose(task, to)
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
	d := &ledger.Delivery{Account: to.Account, Verdict: string(receipt.Verdict), Text: note + receipt.Text, At: n.Now(), MessageID: message.MessageID}
	mark := map[mailer.Verdict]ledger.Mark{mailer.Accepted: ledger.Done, mailer.Unknown: ledger.Unknown}[receipt.Verdict]
	if mark == "" {
		mark = ledger.Failed
	}
	return d, journal.End(ctx, effect, mark, d.Text, func(s *ledger.State) {
		record(s, task.Notice, to, d)
	})
}

// record keeps the answer and, with the contact's yes, the promise.
func record(s *ledger.State, notice pipeline.Notice, to pipeline.Recipient, d *ledger.Delivery) {
	if s.Notices == nil {
		s.Notices = map[string]*ledger.Notice{}
	}
	entry := &ledger.Notice{ID: notice.ID, Recipients: map[string]*ledger.Delivery{}}
	if old := s.Notices[notice.ID]; old != nil {
		for address, d := range old.Recipients {
			entry.Recipients[address] = d
		}
	}
	entry.Recipients[to.Address] = d
	s.Notices[notice.ID] = entry
	binding := notice.Plan.Days >= 0 || notice.Plan.Template == "changed"
	speaks := to.Account == "" || !slices.Contains(notice.Plan.To, "contact")
	if binding && speaks && d.Verdict == string(mailer.Accepted) {
		promise := notice.Promise
		promise.At = d.At
		s.Promise = &promise
	}
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

// conclude writes what a notice changes beside its deliveries: the new night of
// deferred accounts. Without a word to the contact nobody is moved there.
func (n Notify) conclude(ctx context.Context, task pipeline.Task, journal pipeline.Journal, to []pipeline.Recipient) error {
	if task.Notice.Plan.Template != "deferred" {
		return nil
	}
	told := true
	for _, r := range to {
		if d := delivery(journal.State(), task.Notice.ID, r.Address); r.Account == "" && d.Verdict != string(mailer.Accepted) {
			told = false
		}
	}
	for _, address := range task.Notice.Only {
		err := journal.Account(address).End(ctx, "deferral", ledger.Note, "to the night of "+task.Notice.Promise.Date, func(s *ledger.State) {
			s.Night, s.Told = task.Notice.Promise.Date, told
			s.Deferrals++
			s.Trouble, s.Origin, s.Tries, s.Next = ledger.Deferred, pipeline.Notify, 0, time.Time{}
			if !told {
				s.Trouble, s.Reason, s.Detail = ledger.Held, "notice-failed", "the customer could not be told of the new night"
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compose renders the notice for one reader.
func (n Notify) compose(task pipeline.Task, to pipeline.Recipient) (mailer.Message, error) {
	data := n.data(task, to)
	rendered, err := n.Templates(task.Batch).Render(task.Notice.Plan.Template, to.Locale, data)
	if err != nil {
		return mailer.Message{}, err
	}
	from := task.Batch.Notices.From
	m := mailer.Message{
		From: from, To: to.Address, Subject: rendered.Subject, Text: rendered.Text, HTML: rendered.HTML,
		Date: n.Now(), Locale: rendered.Locale, MessageID: n.id("notice", task.Notice.ID, fmt.Sprint(task.Notice.Promise.Sequence), task, to.Address, from),
	}
	switch task.Notice.Plan.Template {
	case "announce", "remind", "changed", "deferred", "cancelled":
		m.Invite = &mailer.Invite{
			UID:      n.id("invite", "", "", task, to.Address, from),
			Sequence: task.Notice.Promise.Sequence, Summary: rendered.Subject,
			Start: data.From, End: data.Until, Cancelled: task.Notice.Plan.Template == "cancelled",
		}
	}
	return m, nil
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

func (n Notify) data(task pipeline.Task, to pipeline.Recipient) templates.Notice {
	b := task.Batch
	moving, skipped, temporary := 0, 0, false
	target := n.Plan.Targets[n.Plan.DefaultTarget]
	for _, a := range task.Service.Accounts {
		switch {
		case a.Action == "skip":
			skipped++
			continue
		case to.Account != "" && a.Address != to.Account:
			continue
		}
		moving++
		temporary = temporary || a.Passwords == "temporary"
		target = n.Plan.Targets[a.Target]
	}
	night := task.Night
	data := templates.Notice{
		Plan: n.Plan.Name, ToUser: to.Account != "", Account: to.Account, Name: to.Name,
		Services: []templates.Service{{Name: task.Service.Name, Accounts: moving, Skipped: skipped, Target: target.Name}},
		Night:    night.Start, From: night.Start, Until: night.End, Zone: n.Plan.Timezone.String(),
		Interruption: b.Window.MaxInterruption, Temporary: temporary, Deliver: b.Passwords.Deliver,
		Webmail: target.Webmail, Residency: n.Plan.Promises.Residency, Offers: b.Notices.Links["offers"] != "",
		Links: b.Notices.Links, Contact: b.Notices.From, NotFrozen: n.Plan.Source.Freeze.Name == "none",
	}
	if a, err := mail.ParseAddress(b.Notices.From); err == nil {
		data.Contact = a.Address
	}
	if task.Notice.Reason != "" {
		data.Reason = templates.Sentence(to.Locale, task.Notice.Reason)
	}
	for _, c := range task.Notice.Changes {
		data.Changes = append(data.Changes, templates.Change{What: c.What, Was: c.Was, Is: c.Is})
	}
	return data
}
