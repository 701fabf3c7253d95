package stages_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages"
	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// ownPasswords has Godwit sign in at the source with each user's password.
var ownPasswords = []string{`auth: authzid, login: migrator, secret: "file:secrets/imap"}
  freeze`, `auth: password}
  freeze`}

// checked runs validate for a service and returns its findings by account and
// the general ones under "".
func (h *hoster) checked(service string) map[string][]stages.Finding {
	h.t.Helper()
	task := h.task(pipeline.Validate, "", service)
	general, accounts := h.validate().Check(h.t.Context(), task.Batch, task.Service)
	list := map[string][]stages.Finding{"": general}
	for _, a := range accounts {
		list[a.Account.Address] = a.Findings
	}
	return list
}

func TestValidateHoldsTheAccountThatCannotSignIn(t *testing.T) {
	h := newHoster(t, append(ownPasswords, "old-ben", "wrong-ben")...)
	h.outcome("done", h.validate(), "", acme)
	s := h.state(ben)
	if s.Trouble != ledger.Held || s.Origin != pipeline.Validate || s.Reason != "login-source" || !strings.Contains(s.Detail, ben) {
		t.Errorf("a wrong password: got %q by %q, %q: %q", s.Trouble, s.Origin, s.Reason, s.Detail)
	}
	if strings.Contains(s.Detail, "wrong-ben") {
		t.Errorf("the password is told: %q", s.Detail)
	}
	if s := h.state(anna); s.Trouble != ledger.None {
		t.Errorf("anna is held with ben: %q", s.Detail)
	}

	h.edit("wrong-ben", "old-ben")
	h.outcome("done", h.validate(), "", acme)
	if s := h.state(ben); s.Trouble != ledger.None || s.Reason != "" || s.Detail != "" {
		t.Errorf("once right: got %q, %q: %q", s.Trouble, s.Reason, s.Detail)
	}
}

func TestValidateLetsGoOnlyOfWhatItFoundFine(t *testing.T) {
	h := newHoster(t, append(ownPasswords, "old-ben", "wrong-ben")...)
	h.outcome("done", h.validate(), "", acme)
	right := h.SourceAddress
	h.edit(right, closedPort(t))
	h.do(h.validate(), "", acme)
	if s := h.state(ben); s.Trouble != ledger.Held {
		t.Errorf("an unreachable server let a wrong password go: %q %q", s.Trouble, s.Detail)
	}
}

// What another stage holds is not validate's to let go.
func TestValidateLeavesTheHoldsOfOthers(t *testing.T) {
	h := newHoster(t)
	h.set(ben, func(s *ledger.State) { s.Trouble, s.Origin, s.Reason = ledger.Held, pipeline.Copy, "deletions" })
	h.outcome("done", h.validate(), "", acme)
	if s := h.state(ben); s.Trouble != ledger.Held || s.Reason != "deletions" {
		t.Errorf("got %q %q", s.Trouble, s.Reason)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestValidateTargetAccountThatIsMissing(t *testing.T) {
	noAdmin := []string{"    admin: {driver: exec, command: [/bin/true]}\n", "", "mode: temporary", "mode: keep"}
	byOperator := []string{"driver: exec, command: [/bin/true]", "driver: list", `auth: authzid, login: migrator, secret: "file:secrets/imap"}
    admin`, `auth: password}
    admin`}
	tests := map[string]struct {
		edits   []string
		admin   bool
		verdict stages.Verdict
	}{
		"is made by the admin side":                   {nil, true, stages.Fine},
		"needs a person where nobody makes it":        {noAdmin, false, stages.Person},
		"waits for the operator with the driver list": {byOperator, false, stages.Fine},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, tt.edits...)
			if !tt.admin {
				h.admin = nil
			}
			for _, f := range h.checked(acme)[anna] {
				if f.Verdict != tt.verdict {
					t.Errorf("got %s %s: %s; want %s", f.Verdict, f.Reason, f.Text, tt.verdict)
				}
			}
			h.outcome("done", h.validate(), "", acme)
			if got := h.state(anna).Trouble == ledger.Held; got != (tt.verdict == stages.Person) {
				t.Errorf("held: %v", got)
			}
		})
	}
}

func TestValidateQuota(t *testing.T) {
	tests := map[string]struct {
		quota, promises string
		held            bool
	}{
		"that holds all is fine":                     {"(STORAGE 1 100)", "promises: {quota: keep}\n", false},
		"that is too small needs a person":           {"(STORAGE 1 2)", "promises: {quota: keep}\n", true},
		"that is too small is fine without promises": {"(STORAGE 1 2)", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, "notices:", tt.promises+"notices:")
			m := newMeddler(t, h.TargetAddress)
			m.extra = "QUOTA "
			m.answer("GETQUOTAROOT", "* QUOTAROOT INBOX \"\"\r\n* QUOTA \"\" "+tt.quota+"\r\n", "OK done")
			h.edit(h.TargetAddress+`", ca_file: ca.pem`, m.Address+`", tls: none`)
			h.AddAccount("target", anna, "x")
			big := letter("INBOX", "big")
			big.Body = append(big.Body, strings.Repeat("0123456789\r\n", 200)...)
			must(t, h.Put("source", anna, big))
			h.outcome("done", h.validate(), "", acme)
			s := h.state(anna)
			if got := s.Trouble == ledger.Held && s.Reason == "over-quota"; got != tt.held {
				t.Errorf("held %v: %q %q", got, s.Reason, s.Detail)
			}
		})
	}
}

func TestValidateUnreachableServerIsTriedAgain(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			h := newHoster(t)
			gone := map[string]string{"source": h.SourceAddress, "target": h.TargetAddress}[side]
			h.edit(gone, closedPort(t))
			found := h.checked(acme)
			if len(found[anna]) != 1 || found[anna][0].Verdict != stages.Again || found[anna][0].Reason != side+"-unreachable" {
				t.Errorf("got %+v", found[anna])
			}
			h.do(h.validate(), "", acme)
			for _, who := range []string{acme, anna, ben} {
				if s := h.state(who); s.Trouble == ledger.Held {
					t.Errorf("%s is held: %s", who, s.Detail)
				}
			}
		})
	}
}

func TestValidateRelayThatIsDownIsTriedAgain(t *testing.T) {
	h := newHoster(t)
	h.edit(h.SMTPAddress, closedPort(t))
	result := h.outcome("deferred", h.validate(), "", acme)
	if !strings.Contains(result.Text, "relay") {
		t.Errorf("got %q", result.Text)
	}
}

func TestValidateChangesNothing(t *testing.T) {
	h := newHoster(t)
	h.letter(anna, "INBOX", "one")
	h.letter(anna, "Drafts/2026", "two")
	h.AddAccount("target", anna, "x")
	before := h.mailbox("source", anna)
	for range 2 {
		h.outcome("done", h.validate(), "", acme)
	}
	folders, err := h.Folders("target", anna)
	must(t, err)
	if h.MutationCount() != 0 || len(h.Mails()) != 0 || len(h.Addresses("target")) != 1 || len(folders) != 1 || h.mailbox("source", anna) != before {
		t.Errorf("%d mutations, %d mails, target accounts %q, folders %v", h.MutationCount(), len(h.Mails()), h.Addresses("target"), folders)
	}
	if s := h.state(anna); s.Messages != 2 || s.Folders != 3 {
		t.Errorf("counted %d messages in %d folders", s.Messages, s.Folders)
	}
}

func TestValidateNamesWhatIsLostWithoutHolding(t *testing.T) {
	h := newHoster(t, "passwords: {mode", "copy: {max_message: 0.001MB, folders: {exclude: [Junk*]}}\npasswords: {mode")
	h.AddAccount("target", anna, "x")
	h.letter(anna, "Junk", "spam")
	big := letter("INBOX", "big")
	big.Body = append(big.Body, strings.Repeat("0123456789\r\n", 200)...)
	must(t, h.Put("source", anna, big))
	reasons := map[string]stages.Verdict{}
	for _, f := range h.checked(acme)[anna] {
		reasons[f.Reason] = f.Verdict
	}
	if reasons["too-large"] != stages.Lost || reasons["excluded"] != stages.Lost {
		t.Errorf("got %v", reasons)
	}
	h.outcome("done", h.validate(), "", acme)
	if s := h.state(anna); s.Trouble != ledger.None {
		t.Errorf("held: %s", s.Detail)
	}
}

func TestValidateWarnsOfReadReceipts(t *testing.T) {
	for platform, warned := range map[string]bool{"exchange": true, "dovecot": false} {
		t.Run(platform, func(t *testing.T) {
			h := newHoster(t, "source:\n", "source:\n  platform: "+platform+"\n")
			h.AddAccount("target", anna, "x")
			is := func(f stages.Finding) bool {
				return f.Verdict == stages.Warning && strings.Contains(f.Text, "SuppressReadReceipt")
			}
			if got := slices.ContainsFunc(h.checked(acme)[""], is); got != warned {
				t.Errorf("warned: %t", got)
			}
			h.outcome("done", h.validate(), "", acme)
		})
	}
}

// The person's word settles it: DESIGN, section 7.
func TestValidateHoldsAServiceWhoseContactMovesUntilRetry(t *testing.T) {
	for name, contact := range map[string]string{"written alike": anna, "in other letters": "Anna@Acme.example"} {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, "it@contact.example", contact)
			h.run("2026-11-25 03:00")
			if s := h.state(acme); s.Trouble != ledger.Held || !strings.Contains(strings.ToLower(s.Detail), anna) {
				t.Fatalf("got %q: %q", s.Trouble, s.Detail)
			}
			if s := h.state(zoe); s.Promise == nil {
				t.Error("the other service waits with it")
			}
			h.retry(acme)
			h.run("2026-11-25 04:00")
			if s := h.state(acme); s.Trouble != ledger.None || h.state(anna).Promise == nil {
				t.Errorf("after retry: got %q: %q, told: %v", s.Trouble, s.Detail, h.state(anna).Promise != nil)
			}
		})
	}
}

// It is one agreement, not one for each morning's checks.
func TestValidateDoesNotAskAgainWhoTheListGoesTo(t *testing.T) {
	h := newHoster(t, "it@contact.example", anna)
	h.run("2026-11-25 03:00")
	h.retry(acme)
	for _, at := range []string{"2026-11-25 04:00", "2026-11-26 04:00", "2026-12-01 03:00", "2026-12-02 04:00"} {
		h.run(at)
		if s := h.state(acme); s.Trouble != ledger.None {
			t.Fatalf("%s: %q: %q", at, s.Trouble, s.Detail)
		}
	}
}

func TestValidateLeavesAloneWhatHasMoved(t *testing.T) {
	h := newHoster(t)
	h.untilTheNight()
	must(t, h.freezer.Switch(t.Context(), platform.Request{Account: anna, Login: anna, Target: "new", TargetAccount: anna}))
	h.set(anna, func(s *ledger.State) { s.Phase = ledger.Switched })
	must(t, func() error {
		_, err := h.validate().Run(t.Context(), h.task(pipeline.Validate, pipeline.Whole, acme), h.journal(h.key(acme)))
		return err
	}())
	if s := h.state(anna); s.Trouble != ledger.None {
		t.Errorf("anna is %s: %s", s.Trouble, s.Detail)
	}
}

func TestValidateBelievesTheAdminSide(t *testing.T) {
	small := platform.Finding{Code: "message-size", Above: 1000, Text: "larger messages are not carried; raise it"}
	tests := map[string]struct {
		facts    platform.Facts
		promises string
		want     []string // reasons, but for what is fine
	}{
		"a quota that holds all":                     {platform.Facts{Quota: 1 << 20}, "promises: {quota: keep}\n", nil},
		"a quota that does not":                      {platform.Facts{Quota: 1000}, "promises: {quota: keep}\n", []string{"over-quota"}},
		"the same, and nothing was promised":         {platform.Facts{Quota: 1000}, "", nil},
		"a message over the limit is lost, and why":  {platform.Facts{MaxMessage: 1000, Findings: []platform.Finding{small}}, "", []string{"target-settings", "too-large"}},
		"a limit that no message reaches is no harm": {platform.Facts{MaxMessage: 1 << 20, Findings: []platform.Finding{{Code: "message-size", Above: 1 << 20, Text: "x"}}}, "", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, "notices:", tt.promises+"notices:")
			h.admin = inspected{demohost.Platform{Host: h.Host}, tt.facts, nil}
			h.AddAccount("target", anna, "x")
			big := letter("INBOX", "big")
			big.Body = append(big.Body, strings.Repeat("0123456789\r\n", 200)...)
			must(t, h.Put("source", anna, big))
			var got []string
			for _, f := range h.checked(acme)[anna] {
				got = append(got, f.Reason)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q; want %q", got, tt.want)
			}
		})
	}
}
