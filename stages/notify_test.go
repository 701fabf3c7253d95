package stages_test

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/demohost"
)

// notice is the task of a notice of the plan, as pipeline.Due makes it.
func (h *hoster) notice(template, service string, change ...func(*pipeline.Task)) pipeline.Task {
	h.t.Helper()
	task := h.task(pipeline.Notify, pipeline.Announce, service)
	plan := plans.Notice{When: template, Days: -1, To: []string{"contact", "user"}, Template: template}
	for _, n := range task.Batch.Notices.Send {
		if n.Template == template {
			plan = n
		}
	}
	task.Notice = pipeline.Notice{ID: template + "@2026-12-02", Plan: plan}
	for _, c := range change {
		c(&task)
	}
	return task
}

// send runs a notice to its answer.
func (h *hoster) send(task pipeline.Task) pipeline.Result {
	h.t.Helper()
	h.address(&task)
	result, err := h.notify().Run(h.t.Context(), task, h.journal(task.Key()))
	must(h.t, err)
	return result
}

// address fills in whose copy has no lasting answer yet, as pipeline.Due does.
func (h *hoster) address(task *pipeline.Task) {
	task.Notice.To = nil
	for _, r := range pipeline.Recipients(task.Service, task.Notice.Plan, task.Notice.Only) {
		who := acme
		if r.Account != "" {
			who = r.Account
		}
		if !h.state(who).Notices[task.Notice.ID].Final() {
			task.Notice.To = append(task.Notice.To, r)
		}
	}
}

// part is the first text of that kind in a mail, decoded.
func part(t *testing.T, data []byte, kind string) string {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	must(t, err)
	return within(t, m.Body, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), kind)
}

func within(t *testing.T, body io.Reader, contentType, encoding, kind string) string {
	t.Helper()
	media, parameters, err := mime.ParseMediaType(contentType)
	must(t, err)
	if media == kind {
		if strings.EqualFold(encoding, "quoted-printable") {
			body = quotedprintable.NewReader(body)
		}
		data, err := io.ReadAll(body)
		must(t, err)
		return string(data)
	}
	if !strings.HasPrefix(media, "multipart/") {
		return ""
	}
	for r := multipart.NewReader(body, parameters["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return ""
		}
		must(t, err)
		if text := within(t, p, p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), kind); text != "" {
			return text
		}
	}
}

func (h *hoster) mailTo(address string) []byte {
	h.t.Helper()
	for _, m := range slices.Backward(h.Mails()) {
		if m.To == address {
			return m.Data
		}
	}
	h.t.Fatalf("no mail to %s, only to %q", address, h.to())
	return nil
}

func TestNotifySendsOneMailPerRecipient(t *testing.T) {
	tests := map[string]struct {
		template, service string
		want              []string
	}{
		"the announcement goes to the contact": {"announce", acme, []string{"it@contact.example"}},
		"the reminder to the users as well":    {"remind", acme, []string{"it@contact.example", anna, ben}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			for range 2 { // a repeat sends nothing
				h.send(h.notice(tt.template, tt.service))
			}
			if got := h.to(); !slices.Equal(got, tt.want) {
				t.Errorf("got %q; want %q", got, tt.want)
			}
		})
	}
}

func TestNotifyAContactWithTwoServicesGetsOneMailEach(t *testing.T) {
	h := newHoster(t, "zoe@contact.example", "it@contact.example")
	h.run("2026-11-25 03:00")
	ids := map[string]bool{}
	for _, m := range h.Mails() {
		ids[header(t, m.Data).Get("Message-ID")] = true
	}
	if !slices.Equal(h.to(), []string{"it@contact.example", "it@contact.example"}) || len(ids) != 2 {
		t.Errorf("got %q with %d Message-IDs", h.to(), len(ids))
	}
}

func TestNotifySpeaksTheReadersLanguage(t *testing.T) {
	h := newHoster(t)
	task := h.notice("remind", acme)
	accounts := slices.Clone(task.Service.Accounts)
	accounts[1].Locale = "de"
	task.Service.Accounts = accounts
	h.send(task)
	for to, want := range map[string]string{"it@contact.example": "en", anna: "en", ben: "de"} {
		if got := header(t, h.mailTo(to)).Get("Content-Language"); got != want {
			t.Errorf("%s reads %q; want %q", to, got, want)
		}
	}
	h.send(h.notice("remind", zeta))
	if text := part(t, h.mailTo(zoe), "text/plain"); !strings.Contains(text, "Zoé") || !strings.Contains(text, "messagerie") {
		t.Errorf("zoe reads:\n%s", text)
	}
}

func TestNotifyIsAutomaticMailWithAnInvite(t *testing.T) {
	h := newHoster(t)
	h.send(h.notice("announce", acme))
	data := h.mailTo("it@contact.example")
	if got := header(t, data).Get("Auto-Submitted"); got != "auto-generated" {
		t.Errorf("Auto-Submitted: %q", got)
	}
	for _, kind := range []string{"text/plain", "text/html", "text/calendar"} {
		if part(t, data, kind) == "" {
			t.Errorf("has no %s", kind)
		}
	}
}

func TestNotifyRefusedForGoodHoldsTheService(t *testing.T) {
	h := newHoster(t)
	h.RefuseRecipient("it@contact.example", 550, -1)
	h.run("2026-11-25 03:00")
	h.run("2026-11-25 04:00")
	s := h.state(acme)
	if s.Trouble != ledger.Held || s.Reason != "notice-failed" || !strings.Contains(s.Detail, "recipient refused by the demo host") || !strings.Contains(s.Detail, "retry") {
		t.Errorf("got %q %q: %q", s.Trouble, s.Reason, s.Detail)
	}
	if h.state(anna).Promise != nil {
		t.Error("what nobody was told is kept as promised")
	}
	if d := s.Notices["7d@2026-12-02"]; d.Verdict != "refused" || d.MessageID == "" {
		t.Errorf("recorded: %+v", d)
	}
	if s := h.state(zoe); s.Promise == nil {
		t.Error("the other service was not told")
	}
	h.run("2026-12-02 22:05")
	if got := h.State(anna); got != "open" {
		t.Errorf("an account that was not told of is %s", got)
	}
}

func TestNotifyPatienceIsTriedAgain(t *testing.T) {
	h := newHoster(t)
	h.RefuseRecipient("it@contact.example", 450, 2)
	if result := h.send(h.notice("announce", acme)); result.Outcome != "done" || len(h.Mails()) != 1 {
		t.Errorf("within a run: got %s %s, mails to %q", result.Outcome, result.Text, h.to())
	}
	h.RefuseRecipient("it@contact.example", 450, -1)
	task := h.notice("remind", acme)
	if result := h.send(task); result.Outcome != "deferred" || result.Reason != "notice-failed" {
		t.Errorf("a relay that goes on so: got %s %s %s", result.Outcome, result.Reason, result.Text)
	}
	if got := h.to(); !slices.Equal(got, []string{"it@contact.example", anna, ben}) {
		t.Errorf("the others were kept waiting: %q", got)
	}
	h.RefuseRecipient("it@contact.example", 0, 0)
	if result := h.send(task); result.Outcome != "done" || len(h.Mails()) != 4 {
		t.Errorf("by the next run: got %s %s, mails to %q", result.Outcome, result.Text, h.to())
	}
}

func TestNotifyCutAfterTheFinalDotIsUnknown(t *testing.T) {
	for name, taken := range map[string]bool{"and taken": true, "and lost": false} {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, "zeta.example,zoe@zeta.example,zoe@contact.example,Zoé,fr,,,,old-zoe,,Z-1\n", "")
			h.CutNextMail(taken)
			h.run("2026-11-25 03:00")
			h.run("2026-11-25 04:00")
			sent := len(h.Mails())
			if want := map[bool]int{true: 1, false: 0}[taken]; sent != want {
				t.Fatalf("sent again by itself: %d mails; want %d", sent, want)
			}
			s := h.state(acme)
			d := s.Notices["7d@2026-12-02"]
			if d.Verdict != "unknown" || s.Trouble != ledger.Held || !strings.Contains(s.Detail, "unknown") || h.state(anna).Promise != nil {
				t.Errorf("recorded %q; %s: %q; promise: %v", d.Verdict, s.Trouble, s.Detail, h.state(anna).Promise)
			}
			h.retry(acme)
			h.run("2026-11-25 05:00")
			if len(h.Mails()) != sent+1 {
				t.Fatalf("retry did not send it again: %q", h.to())
			}
			again := header(t, h.mailTo("it@contact.example")).Get("Message-ID")
			if again != "<"+d.MessageID+">" {
				t.Errorf("Message-ID %s; the first was %s", again, d.MessageID)
			}
			if s := h.state(acme); s.Trouble != ledger.None || h.state(anna).Promise == nil {
				t.Errorf("after retry: %s: %q", s.Trouble, s.Detail)
			}
			if text := h.history(); !strings.Contains(text, "unknown") {
				t.Errorf("the ledger forgot:\n%s", text)
			}
		})
	}
}

func TestNotifyWhoWaitsBesideAnUnknownCopyDoesNotRepeatIt(t *testing.T) {
	h := newHoster(t)
	h.CutNextMail(true)
	h.RefuseRecipient(ben, 450, -1)
	task := h.notice("remind", acme)
	if result := h.send(task); result.Outcome != "deferred" {
		t.Errorf("got %s: %s", result.Outcome, result.Text)
	}
	h.RefuseRecipient(ben, 0, 0)
	h.send(task)
	if got := h.to(); !slices.Equal(got, []string{"it@contact.example", anna, ben}) {
		t.Errorf("mails to %q", got)
	}
}

func TestNotifyCrashBetweenIntentAndOutcomeSendsTheSameAgain(t *testing.T) {
	h := newHoster(t)
	task := h.notice("announce", acme)
	h.address(&task)
	f := &fate{dieAt: 1, after: true}
	if _, err := h.notify().Run(t.Context(), task, h.mortal(task.Key(), f)); !errors.Is(err, errKilled) {
		t.Fatalf("got %v", err)
	}
	if len(h.Mails()) != 0 {
		t.Fatal("sent without the intent on disk")
	}
	f = &fate{dieAt: 2}
	if _, err := h.notify().Run(t.Context(), task, h.mortal(task.Key(), f)); !errors.Is(err, errKilled) {
		t.Fatalf("got %v", err)
	}
	h.send(task)
	mails := h.Mails()
	if len(mails) != 2 || header(t, mails[0].Data).Get("Message-ID") != header(t, mails[1].Data).Get("Message-ID") {
		t.Fatalf("got %d mails", len(mails))
	}
	d := h.state(acme).Notices[task.Notice.ID]
	if d.Verdict != "accepted" || !strings.Contains(d.Text, "sent again") {
		t.Errorf("the ledger does not say so: %+v", d)
	}
}

func TestNotifyCrashAtAUsersCopySaysThatItWasSentAgain(t *testing.T) {
	h := newHoster(t)
	task := h.notice("remind", acme)
	h.address(&task)
	f := &fate{dieAt: 4} // the second copy's outcome
	if _, err := h.notify().Run(t.Context(), task, h.mortal(task.Key(), f)); !errors.Is(err, errKilled) {
		t.Fatalf("got %v", err)
	}
	h.send(task)
	if d := h.state(anna).Notices[task.Notice.ID]; !strings.Contains(d.Text, "sent again") {
		t.Errorf("the ledger does not say so: %+v", d)
	}
}

func TestNotifyAddressesAndNamesCannotAddHeaders(t *testing.T) {
	h := newHoster(t)
	task := h.notice("remind", acme)
	task.Service.Accounts = slices.Clone(task.Service.Accounts)
	task.Service.Accounts[0].Name = "Anna\r\nBcc: thief@evil.example\r\n\r\nClick here"
	task.Service.Accounts[1].Name = "<script>Ben</script>"
	task.Service.Name = "acme\r\nBcc: thief@evil.example"
	h.send(task)
	for _, m := range h.Mails() {
		head := header(t, m.Data)
		if head.Get("Bcc") != "" || m.To == "thief@evil.example" {
			t.Errorf("to %s: Bcc %q", m.To, head.Get("Bcc"))
		}
		if calendar := part(t, m.Data, "text/calendar"); strings.Contains(calendar, "\r\nBcc") {
			t.Errorf("the invite has a line of its own:\n%s", calendar)
		}
		if strings.Contains(part(t, m.Data, "text/html"), "<script") {
			t.Errorf("the mail to %s has a script", m.To)
		}
	}
}

func TestNotifyKeepsThePromiseWithTheContactsYesOnly(t *testing.T) {
	tests := map[string]struct {
		refused string
		code    int
		want    bool
	}{
		"all are told":          {"nobody@x.example", 550, true},
		"the contact refuses":   {"it@contact.example", 550, false},
		"the contact is busy":   {"it@contact.example", 450, false},
		"a user's copy refused": {anna, 550, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			h.RefuseRecipient(tt.refused, tt.code, -1)
			h.send(h.notice("remind", acme))
			if got := h.state(anna).Promise != nil; got != tt.want {
				t.Errorf("promise kept: %v; want %v", got, tt.want)
			}
		})
	}
}

// Who was promised a notice and did not get it is never frozen, and somebody is
// told that it waits.
func TestAnAccountWhoseUserCouldNotBeToldIsHeldAndNamed(t *testing.T) {
	h := newHoster(t)
	h.RefuseRecipient(anna, 550, -1)
	h.untilTheNight()
	if tally := h.run("2026-12-01 04:00"); tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), acme) {
		t.Errorf("the run says that all is well: %v", tally.Trouble)
	}
	h.run("2026-12-02 22:05")
	if got := h.State(anna); got != "open" {
		t.Errorf("anna is %s", got)
	}
}

func TestRetrySendsAUsersNoticeAgain(t *testing.T) {
	h := newHoster(t)
	h.RefuseRecipient(anna, 550, 1)
	h.untilTheNight()
	h.retry(acme)
	h.run("2026-12-01 04:00")
	h.run("2026-12-02 22:05")
	if got := h.State(anna); got != "switched" {
		t.Errorf("anna is %s: %q %q; mails to %q", got, h.state(anna).Detail, h.state(acme).Detail, h.to())
	}
}

// An owner's own mailbox is a usual contact.
func TestAContactWhoseOwnMailboxMovesIsToldAndMoves(t *testing.T) {
	h := newHoster(t, "it@contact.example", anna, "mode: temporary", "mode: keep")
	h.untilTheNight()
	n := 0
	for _, to := range h.to() {
		if to == anna {
			n++
		}
	}
	if n != 2 {
		t.Errorf("anna got %d mails, as the contact's announcement and reminder", n)
	}
	h.run("2026-12-02 22:05")
	for _, address := range []string{anna, ben} {
		if got := h.State(address); got != "switched" {
			t.Errorf("%s is %s: %q", address, got, h.state(address).Detail)
		}
	}
}

// calendar is what the last mail to address says in its invite.
func (h *hoster) calendar(address, field string) string {
	h.t.Helper()
	for line := range strings.SplitSeq(part(h.t, h.mailTo(address), "text/calendar"), "\r\n") {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return value
		}
	}
	return ""
}

func TestNotifyCancellingOneAccountLeavesTheServicesInvite(t *testing.T) {
	h := newHoster(t)
	h.send(h.notice("announce", acme))
	uid := h.calendar("it@contact.example", "UID")
	h.edit("Ben,en,,", "Ben,en,skip,cancelled")
	h.send(h.notice("cancelled", acme, func(task *pipeline.Task) {
		task.Notice.ID, task.Notice.Only = "cancelled/"+ben, []string{ben}
	}))
	if h.calendar("it@contact.example", "UID") == uid && h.calendar("it@contact.example", "METHOD") == "CANCEL" {
		t.Error("the contact's invite is cancelled although anna's mailbox still moves")
	}
}

func TestNotifyEachDeferralUpdatesTheInvite(t *testing.T) {
	h := newHoster(t, "zeta.example,zoe@zeta.example,zoe@contact.example,Zoé,fr,,,,old-zoe,,Z-1\n", "")
	h.untilTheNight()
	uid, first := h.calendar("it@contact.example", "UID"), h.calendar("it@contact.example", "SEQUENCE")
	h.FailNext("freeze", 100, demohost.Broken)
	seen := []string{first}
	for _, night := range []string{"2026-12-02 22:05", "2026-12-03 22:05"} {
		h.run(night)
		at := h.clock.Now()
		h.run(at.Add(8 * time.Hour).Format("2006-01-02 15:04"))
		if got := h.calendar("it@contact.example", "UID"); got != uid {
			t.Errorf("another UID: %s; the first was %s", got, uid)
		}
		seen = append(seen, h.calendar("it@contact.example", "SEQUENCE"))
	}
	if !slices.Equal(seen, []string{"0", "1", "2"}) {
		t.Errorf("SEQUENCE was %q; want 0, 1, 2: %s", seen, h.state(anna).Detail)
	}
}
