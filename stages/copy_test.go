package stages_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages/demohost"
	"godwit/stages/mailbox"
)

// copied makes a pass over anna's mailbox that must be done.
func (h *hoster) copied(step pipeline.Step) pipeline.Result {
	h.t.Helper()
	return h.outcome("done", h.copying(), step, anna)
}

// same fails unless anna has on the target what she has at the source.
func (h *hoster) same() {
	h.t.Helper()
	if got, want := h.mailbox("target", anna), h.mailbox("source", anna); got != want {
		h.t.Errorf("the target has\n%s\nthe source\n%s", got, want)
	}
	if n := h.MutationCount(); n != 0 {
		h.t.Errorf("%d commands would have changed the source", n)
	}
}

// counts are what a pass leaves in the row.
func counts(s ledger.State) string {
	return fmt.Sprintf("%d folders, %d messages: %d copied, %d already there, %d skipped", s.Folders, s.Messages, s.Copied, s.Already, s.Skipped)
}

// skipped is what the ledger keeps for skipped.csv.
func (h *hoster) skipped() map[mailbox.Reason]int {
	h.t.Helper()
	data, err := h.ledger.Kept(h.t.Context(), h.key(anna), "skipped")
	must(h.t, err)
	var list []mailbox.Skipped
	if data != nil {
		must(h.t, json.Unmarshal(data, &list))
	}
	n := map[mailbox.Reason]int{}
	for _, s := range list {
		n[s.Reason]++
	}
	return n
}

// ten puts ten letters into INBOX and one into a folder.
func (h *hoster) ten() {
	h.t.Helper()
	for i := range 10 {
		h.letter(anna, "INBOX", fmt.Sprint("letter ", i))
	}
	h.letter(anna, "Clients/Été", "offer")
}

func TestCopyFollowsWhatTheUserDoesBetweenThePasses(t *testing.T) {
	h := newHoster(t, "passwords: {mode", "copy: {max_delete: 50%}\npasswords: {mode")
	h.ten()
	h.copied(pipeline.Precopy)
	h.same()
	if s := h.state(anna); s.Phase != ledger.Copied || counts(s) != "3 folders, 11 messages: 11 copied, 0 already there, 0 skipped" {
		t.Errorf("%q: %s", s.Phase, counts(s))
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"new mail", func() error { return h.Deliver(anna, letter("INBOX", "new")) }},
		{"flags set", func() error {
			return h.SetFlags(anna, "INBOX", h.uid(anna, "INBOX", "letter 1"), `\Seen`, `\Flagged`, "$Label1")
		}},
		{"flags cleared", func() error { return h.SetFlags(anna, "INBOX", h.uid(anna, "INBOX", "letter 1"), `\Seen`) }},
		{"a deletion", func() error { return h.Delete(anna, "INBOX", h.uid(anna, "INBOX", "letter 2")) }},
		{"a move", func() error { return h.Move(anna, "INBOX", h.uid(anna, "INBOX", "letter 3"), "Clients/Été") }},
		{"a move to a new folder", func() error { return h.Move(anna, "INBOX", h.uid(anna, "INBOX", "letter 4"), "Neu") }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(step.what, err)
		}
		h.copied(pipeline.Precopy)
		if h.same(); t.Failed() {
			t.Fatalf("after %s", step.what)
		}
	}
	must(t, h.Deliver(anna, letter("INBOX", "the last")))
	h.outcome("done", h.freeze(), "", anna)
	h.copied(pipeline.Final)
	h.same()
	s := h.state(anna)
	if s.Phase != ledger.Verified || s.VerifiedAt.IsZero() || counts(s) != "4 folders, 12 messages: 12 copied, 0 already there, 0 skipped" {
		t.Errorf("%q: %s", s.Phase, counts(s))
	}
}

func TestCopyAPassWithoutChangesLeavesTheCounts(t *testing.T) {
	tests := map[string]func(h *hoster){
		"of a plain mailbox": func(*hoster) {},
		"of a target that had some of it already": func(h *hoster) {
			h.AddAccount("target", anna, "x")
			for i := range 3 {
				must(h.t, h.Put("target", anna, letter("INBOX", fmt.Sprint("letter ", i))))
			}
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			h.ten()
			prepare(h)
			h.copied(pipeline.Precopy)
			h.same()
			want := h.state(anna)
			for range 2 {
				h.copied(pipeline.Precopy)
			}
			h.same()
			if got := h.state(anna); counts(got) != counts(want) || got.Bytes != want.Bytes {
				t.Errorf("%s, %d bytes; before %s, %d bytes", counts(got), got.Bytes, counts(want), want.Bytes)
			}
			if want.Copied+want.Already != 11 {
				t.Errorf("%s", counts(want))
			}
			if strings.HasPrefix(name, "of a target") && want.Already != 3 {
				t.Errorf("%s; want 3 already there", counts(want))
			}
		})
	}
}

func TestCopyCountsNeverSayMoreThanThereIs(t *testing.T) {
	h := newHoster(t)
	h.AddAccount("target", anna, "x")
	for _, title := range []string{"one", "two", "three"} {
		h.letter(anna, "INBOX", title)
		must(t, h.Put("target", anna, letter("INBOX", title)))
	}
	h.copied(pipeline.Precopy)
	must(t, h.Delete(anna, "INBOX", h.uid(anna, "INBOX", "one")))
	must(t, h.Delete(anna, "INBOX", h.uid(anna, "INBOX", "two")))
	h.copied(pipeline.Precopy)
	if s := h.state(anna); counts(s) != "1 folders, 1 messages: 0 copied, 1 already there, 0 skipped" {
		t.Error(counts(s))
	}
}

func TestCopyManyDeletionsWaitForAPerson(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.copied(pipeline.Precopy)
	for i := range 5 {
		must(t, h.Delete(anna, "INBOX", h.uid(anna, "INBOX", fmt.Sprint("letter ", i))))
	}
	before := h.mailbox("target", anna)
	result := h.outcome("held", h.copying(), pipeline.Precopy, anna)
	if result.Reason != "deletions" || !strings.Contains(result.Text, "retry") {
		t.Errorf("got %q: %q", result.Reason, result.Text)
	}
	if got := h.mailbox("target", anna); got != before {
		t.Errorf("something was deleted:\n%s", got)
	}
}

// retry passes one stop: the deletions were meant.
func TestCopyDeletesWhatAPersonSaidWasMeant(t *testing.T) {
	h := newHoster(t)
	h.ten()
	for i := range 10 {
		h.letter(anna, "INBOX", fmt.Sprint("letter 1", i))
	}
	lose := func(titles string) {
		for i := range 6 {
			must(t, h.Delete(anna, "INBOX", h.uid(anna, "INBOX", fmt.Sprint(titles, i))))
		}
	}
	h.run("2026-11-25 03:00")
	h.run("2026-11-30 03:00")
	lose("letter ")
	h.run("2026-11-30 12:00")
	if s := h.state(anna); s.Trouble != ledger.Held {
		t.Fatalf("not held: %+v", s)
	}
	h.retry(acme)
	h.run("2026-11-30 20:00")
	h.same()
	if s := h.state(anna); s.Trouble != ledger.None {
		t.Errorf("%s: %s", s.Trouble, s.Detail)
	}
	lose("letter 1")
	h.run("2026-12-01 04:00")
	if s := h.state(anna); s.Trouble != ledger.Held {
		t.Errorf("a person's word for one stop let the next one pass as well: %q", s.Trouble)
	}
}

// ownTarget has Godwit sign in at the target with each user's password.
var ownTarget = []string{`auth: authzid, login: migrator, secret: "file:secrets/imap"}
    admin`, `auth: password}
    admin`}

func TestCopyLoginRefused(t *testing.T) {
	tests := map[string]struct {
		edits  []string
		reason string
	}{
		"by the source": {append(ownPasswords, "old-anna", "wrong-anna"), "login-source"},
		"by the target": {append(ownTarget, ",old-anna,,", ",old-anna,wrong-anna,", ",old-ben,,", ",old-ben,x,", ",old-zoe,,", ",old-zoe,x,", "mode: temporary", "mode: keep"), "login-target"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, tt.edits...)
			h.AddAccount("target", anna, "right-anna")
			result := h.outcome("deferred", h.copying(), pipeline.Precopy, anna)
			if result.Reason != tt.reason || strings.Contains(result.Text, "wrong-anna") {
				t.Errorf("got %q: %q", result.Reason, result.Text)
			}
		})
	}
}

func TestCopyUnreachable(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			h := newHoster(t)
			h.edit(map[string]string{"source": h.SourceAddress, "target": h.TargetAddress}[side], closedPort(t))
			if result := h.outcome("deferred", h.copying(), pipeline.Precopy, anna); result.Reason != side+"-unreachable" {
				t.Errorf("got %q: %q", result.Reason, result.Text)
			}
		})
	}
}

func TestCopyAnswersOfTheTarget(t *testing.T) {
	tests := map[string]struct {
		answer  string
		outcome pipeline.Outcome
		reason  string
	}{
		"a full mailbox needs a person":                   {"NO [OVERQUOTA] mailbox is full", "failed", "over-quota"},
		"a busy server is asked again":                    {"NO [UNAVAILABLE] come back", "deferred", "busy"},
		"one message refused is named, not the end of it": {"NO [CANNOT] we do not like this", "done", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			h.letter(anna, "INBOX", "one")
			m := newMeddler(t, h.TargetAddress)
			h.edit(h.TargetAddress+`", ca_file: ca.pem`, m.Address+`", tls: none`)
			m.answer("APPEND", "", tt.answer)
			result := h.outcome(tt.outcome, h.copying(), pipeline.Precopy, anna)
			if result.Reason != tt.reason {
				t.Errorf("got %q: %q", result.Reason, result.Text)
			}
			if tt.outcome == "done" && (h.skipped()[mailbox.Refused] != 1 || h.state(anna).Skipped != 1) {
				t.Errorf("named: %v, %s", h.skipped(), counts(h.state(anna)))
			}
			m.answer("APPEND", "", "")
			if tt.outcome != "done" {
				h.copied(pipeline.Precopy)
				h.same()
			}
		})
	}
}

func TestCopyEnsuresTheTargetAccountOnce(t *testing.T) {
	h := newHoster(t)
	h.FailNext("ensure", 1, demohost.Later)
	if result := h.outcome("deferred", h.copying(), pipeline.Precopy, anna); result.Reason != "busy" {
		t.Errorf("got %q: %q", result.Reason, result.Text)
	}
	h.FailNext("ensure", 1, demohost.Lost)
	h.outcome("deferred", h.copying(), pipeline.Precopy, anna)
	h.copied(pipeline.Precopy)
	h.FailNext("ensure", 1, demohost.Broken) // must not be asked again
	h.copied(pipeline.Precopy)
}

// switched moves anna as far as a stage test needs.
func (h *hoster) switched() {
	h.t.Helper()
	h.copied(pipeline.Precopy)
	h.outcome("done", h.freeze(), "", anna)
	h.copied(pipeline.Final)
	h.outcome("done", h.credentials(), pipeline.Apply, anna)
	h.outcome("done", h.credentials(), pipeline.Switch, anna)
}

func TestCopyCatchUpCopiesStragglersAndDeletesNothing(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.switched()
	before := h.mailbox("target", anna)
	h.letter(anna, "INBOX", "straggler")
	h.letter(anna, "Clients/Été", "straggler two")
	must(t, h.Deliver(anna, letter("INBOX", "at the target")))
	h.copied(pipeline.CatchUp)
	got := h.mailbox("target", anna)
	for _, want := range []string{"INBOX straggler ", "Clients/Été straggler two ", "INBOX at the target "} {
		if strings.Count(got, want+"\n") != 1 {
			t.Errorf("%q stands there %d times in\n%s", want, strings.Count(got, want+"\n"), got)
		}
	}
	for line := range strings.Lines(before) {
		if !strings.Contains(got, line) {
			t.Errorf("%q is gone", line)
		}
	}
	if s := h.state(anna); s.Phase != ledger.Switched || s.Copied != 13 || s.Messages != 13 {
		t.Errorf("%q, %s", s.Phase, counts(s))
	}
	h.copied(pipeline.CatchUp)
	if again := h.mailbox("target", anna); again != got {
		t.Errorf("a second pass made\n%s\nof\n%s", again, got)
	}
}

// What was removed at the source after the switch stays on the target.
func TestCopyCatchUpDoesNotDelete(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.switched()
	before := h.mailbox("target", anna)
	must(t, h.freezer.Thaw(t.Context(), h.thawRequest())) // a rolled-back route: the user is at the source again
	must(t, h.Delete(anna, "INBOX", h.uid(anna, "INBOX", "letter 1")))
	must(t, h.SetFlags(anna, "INBOX", h.uid(anna, "INBOX", "letter 2"), `\Seen`))
	h.copied(pipeline.CatchUp)
	if got := h.mailbox("target", anna); got != before {
		t.Errorf("catch-up made\n%s\nof\n%s", got, before)
	}
}

func TestCopyCatchUpEndsWithTheUsersNewPassword(t *testing.T) {
	h := newHoster(t, append(ownTarget, ",old-anna,,", ",old-anna,first,", ",old-ben,,", ",old-ben,x,", ",old-zoe,,", ",old-zoe,x,")...)
	h.AddAccount("target", anna, "first")
	h.ten()
	h.switched()
	h.AddAccount("target", anna, "chosen-by-anna")
	result := h.copied(pipeline.CatchUp)
	if s := h.state(anna); !s.CaughtUp || !strings.Contains(result.Text, "catch-up ended") {
		t.Errorf("%v: %q", s.CaughtUp, result.Text)
	}
}

// An administrator's login that is refused says nothing about the user.
func TestCopyCatchUpGoesOnWhenTheAdministratorsLoginIsRefused(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.switched()
	h.put("secrets/target", "wrong")
	h.edit(`secret: "file:secrets/imap"}
    admin`, `secret: "file:secrets/target"}
    admin`)
	result := h.do(h.copying(), pipeline.CatchUp, anna)
	if s := h.state(anna); result.Outcome != "deferred" || result.Reason != "login-target" || s.CaughtUp {
		t.Errorf("got %s %s: %q; ended: %v", result.Outcome, result.Reason, result.Text, s.CaughtUp)
	}
}

func TestCopyKeepsWhatWasNotCarriedThroughAllPasses(t *testing.T) {
	h := newHoster(t, "passwords: {mode", "copy: {max_message: 0.001MB, folders: {exclude: [Junk*]}}\npasswords: {mode")
	h.ten()
	h.letter(anna, "Junk", "spam")
	big := letter("INBOX", "big")
	big.Body = append(big.Body, strings.Repeat("0123456789\r\n", 200)...)
	must(t, h.Put("source", anna, big))
	want := map[mailbox.Reason]int{mailbox.TooLarge: 1, mailbox.Excluded: 1}
	check := func(when string) {
		t.Helper()
		if got := h.skipped(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: kept %v; want %v", when, got, want)
		}
		if s := h.state(anna); s.Skipped != 1 || s.Copied != 11 || s.Messages != 12 {
			t.Errorf("%s: %s", when, counts(s))
		}
	}
	h.copied(pipeline.Precopy)
	check("the first pass")
	h.copied(pipeline.Precopy)
	check("a pass without changes")
	h.outcome("done", h.freeze(), "", anna)
	h.copied(pipeline.Final)
	check("the final pass")
	h.outcome("done", h.credentials(), pipeline.Apply, anna)
	h.outcome("done", h.credentials(), pipeline.Switch, anna)
	h.copied(pipeline.CatchUp)
	check("catch-up")
}

// Where logins stay open during the cutover, final passes go on until one finds
// nothing to do.
func TestCopyFollowsAUserWhoWorksDuringTheFinalPass(t *testing.T) {
	for driver, late := range map[string]int{"zimbra": 3, "exec": 0} {
		t.Run(driver, func(t *testing.T) {
			h := newHoster(t)
			h.ten()
			h.set(anna, func(s *ledger.State) { s.Phase, s.Thaw = ledger.Frozen, &ledger.Thaw{Driver: driver} })
			c, sent := h.copying(), 0
			c.Progress = func(_ string, done, _ int64) {
				if done > 0 && sent < 3 {
					sent++
					h.letter(anna, "INBOX", fmt.Sprint("late ", sent))
				}
			}
			h.outcome("done", c, pipeline.Final, anna)
			if got := strings.Count(h.mailbox("target", anna), "late"); sent != 3 || got != late {
				t.Errorf("%d of %d late letters are at the target, want %d", got, sent, late)
			}
		})
	}
}
