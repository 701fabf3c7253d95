package stages_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages/demohost"
)

// verified brings anna to the moment before credentials.
func (h *hoster) verified() {
	h.t.Helper()
	h.letter(anna, "INBOX", "one")
	h.copied(pipeline.Precopy)
	h.outcome("done", h.freeze(), "", anna)
	h.copied(pipeline.Final)
}

func TestCredentialsTemporary(t *testing.T) {
	h := newHoster(t)
	h.verified()
	if h.Password("target", anna) != "old-anna" || h.password(anna) != "" {
		t.Fatal("a password was set before verify")
	}
	h.outcome("done", h.credentials(), pipeline.Apply, anna)
	s, password := h.state(anna), h.password(anna)
	if password == "" || h.Password("target", anna) != password || h.Password("source", anna) != "old-anna" {
		t.Errorf("sealed %d characters, the target has %d", len(password), len(h.Password("target", anna)))
	}
	if len(password) != h.plan.Batches[0].Passwords.Length {
		t.Errorf("%d characters", len(password))
	}
	if !h.MustChange(anna) || h.Logins("target", anna) == 0 {
		t.Errorf("must change: %v; proved by %d logins", h.MustChange(anna), h.Logins("target", anna))
	}
	if s.Phase != ledger.Ready || s.PasswordSet.IsZero() {
		t.Errorf("%q, set at %v", s.Phase, s.PasswordSet)
	}
	h.outcome("done", h.credentials(), pipeline.Apply, anna)
	if h.password(anna) != password || h.Password("target", anna) != password {
		t.Error("a repeat made another password")
	}
}

func TestCredentialsTwoAccountsGetTwoPasswords(t *testing.T) {
	h := newHoster(t)
	for _, address := range []string{anna, ben} {
		h.outcome("done", h.credentials(), pipeline.Prepare, address)
	}
	if a, b := h.password(anna), h.password(ben); a == "" || a == b {
		t.Error("anna and ben have the same password, or none")
	}
}

func TestCredentialsPrepareSetsNothing(t *testing.T) {
	h := newHoster(t)
	h.copied(pipeline.Precopy)
	h.outcome("done", h.credentials(), pipeline.Prepare, anna)
	password := h.password(anna)
	if password == "" || h.Password("target", anna) != "old-anna" || h.MustChange(anna) {
		t.Error("the password is on the target before verify")
	}
	h.verified()
	h.outcome("done", h.credentials(), pipeline.Apply, anna)
	if h.Password("target", anna) != password {
		t.Error("the target has another password than the list")
	}
}

// A crash between any two steps ends, after the next run, with the same
// password in the ledger and on the target, and nobody is switched without it.
func TestCredentialsSurviveACrashAtEveryWrite(t *testing.T) {
	steps := []pipeline.Step{pipeline.Prepare, pipeline.Apply, pipeline.Switch}
	h := newHoster(t)
	writes := map[pipeline.Step]int{}
	h.verified()
	for _, step := range steps {
		f := &fate{}
		task := h.task(pipeline.Credentials, step, anna)
		if _, err := h.credentials().Run(t.Context(), task, h.mortal(task.Key(), f)); err != nil {
			t.Fatal(err)
		}
		writes[step] = f.writes
	}
	if writes[pipeline.Prepare] < 2 || writes[pipeline.Apply] < 5 || writes[pipeline.Switch] < 2 {
		t.Fatalf("writes: %v: an effect without intent or outcome", writes)
	}
	for i, dying := range steps {
		for n := 1; n <= writes[dying]; n++ {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s at write %d, after %v", dying, n, after), func(t *testing.T) {
					h := newHoster(t)
					h.verified()
					for _, step := range steps[:i] {
						h.outcome("done", h.credentials(), step, anna)
					}
					seen := h.password(anna)
					task := h.task(pipeline.Credentials, dying, anna)
					_, err := h.credentials().Run(t.Context(), task, h.mortal(task.Key(), &fate{dieAt: n, after: after}))
					if !errors.Is(err, errKilled) {
						t.Fatalf("did not die: %v", err)
					}
					set := h.Password("target", anna)
					if kept := h.password(anna); set != "old-anna" && set != kept {
						t.Fatal("the target has a password that is nowhere else: anna is locked out")
					} else if seen == "" {
						seen = kept
					}
					for _, step := range steps[i:] {
						h.outcome("done", h.credentials(), step, anna)
					}
					password := h.password(anna)
					if h.Password("target", anna) != password || seen != "" && password != seen {
						t.Error("another password on the target than in the list")
					}
					if !h.MustChange(anna) || h.State(anna) != "switched" || h.state(anna).Phase != ledger.Switched {
						t.Errorf("must change %v, %s, the ledger says %q", h.MustChange(anna), h.State(anna), h.state(anna).Phase)
					}
				})
			}
		}
	}
}

func TestCredentialsAdminSideThatGoesWrong(t *testing.T) {
	for _, action := range []string{"set_password", "activate"} {
		for _, how := range []demohost.Failure{demohost.Later, demohost.Broken, demohost.Lost} {
			t.Run(action+" "+string(how), func(t *testing.T) {
				h := newHoster(t)
				h.verified()
				h.FailNext(action, 1, how)
				result := h.outcome("deferred", h.credentials(), pipeline.Apply, anna)
				password := h.password(anna)
				if strings.Contains(result.Text, password) || strings.Contains(h.history(), password) {
					t.Error("the password is told")
				}
				if h.state(anna).Phase != ledger.Verified {
					t.Errorf("phase %q", h.state(anna).Phase)
				}
				h.outcome("done", h.credentials(), pipeline.Apply, anna)
				if h.Password("target", anna) != password || h.password(anna) != password || !h.MustChange(anna) {
					t.Error("the second try did not end with the first password")
				}
			})
		}
	}
}

// Undone before the switch and moved the next night: the list that was handed
// over still holds.
func TestCredentialsKeepThePasswordOverAnUndoneCutover(t *testing.T) {
	h := newHoster(t)
	h.untilTheNight()
	first := h.password(anna)
	h.FailNext("activate", 3, demohost.Broken)
	h.run("2026-12-02 22:05")
	if h.State(anna) != "open" || h.state(anna).InCutover() {
		t.Fatalf("not undone: %s %q", h.State(anna), h.state(anna).Phase)
	}
	h.run("2026-12-02 23:30")
	if h.State(anna) != "switched" || first == "" || h.Password("target", anna) != first {
		t.Errorf("%s; the same password: %v", h.State(anna), h.Password("target", anna) == first)
	}
}

// Where Godwit signs in as the user, what was set before the cutover was undone
// is what opens the mailbox from then on.
func TestCopyGoesOnAfterTheUndoOfACutoverThatHadSetThePassword(t *testing.T) {
	for _, failure := range []struct {
		action string
		how    demohost.Failure
	}{{"activate", demohost.Broken}, {"set_password", demohost.Lost}, {"set_password", demohost.Later}} {
		t.Run(failure.action+" "+string(failure.how), func(t *testing.T) {
			h := newHoster(t, append(ownTarget, ",old-anna,,", ",old-anna,first,", ",old-ben,,", ",old-ben,x,", ",old-zoe,,", ",old-zoe,x,")...)
			h.AddAccount("target", anna, "first")
			h.verified()
			h.FailNext(failure.action, 1, failure.how)
			h.outcome("deferred", h.credentials(), pipeline.Apply, anna)
			must(t, h.undo(h.freeze()))
			h.letter(anna, "INBOX", "meanwhile")
			h.copied(pipeline.Precopy)
			h.same()
		})
	}
}

func TestCredentialsKeep(t *testing.T) {
	tests := map[string]struct {
		target  string // the password there
		edits   []string
		outcome pipeline.Outcome
		logins  int
	}{
		"an old password that works is proved":              {"old-anna", nil, "done", 1},
		"one that does not work stops the cutover":          {"another", nil, "failed", 0},
		"that of the list's target_secret is used if given": {"new-anna", []string{",old-anna,,", ",old-anna,new-anna,"}, "done", 1},
		"one that Godwit does not know is left alone":       {"whatever", []string{",old-anna,,", ",,,"}, "done", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, append(tt.edits, "mode: temporary", "mode: keep")...)
			h.AddAccount("target", anna, tt.target)
			h.verified()
			result := h.outcome(tt.outcome, h.credentials(), pipeline.Apply, anna)
			if tt.outcome == "failed" && result.Reason != "login-target" || strings.Contains(result.Text, "old-anna") {
				t.Errorf("got %q: %q", result.Reason, result.Text)
			}
			if h.Password("target", anna) != tt.target || h.MustChange(anna) || h.password(anna) != "" {
				t.Error("something was set")
			}
			if got := h.Logins("target", anna); got != tt.logins {
				t.Errorf("%d logins as anna; want %d", got, tt.logins)
			}
		})
	}
}

// byOperator: no admin access; the operator sets the passwords of the list.
var byOperator = append([]string{"driver: exec, command: [/bin/true]", "driver: list"}, ownTarget...)

func TestCredentialsListDriver(t *testing.T) {
	h := newHoster(t, byOperator...)
	h.admin = nil
	h.letter(anna, "INBOX", "one")
	h.run("2026-11-25 03:00")
	h.run("2026-11-30 03:00")
	password := h.password(anna)
	if password == "" {
		t.Fatal("no password before the pre-copy")
	}
	rows := h.sheet("one/" + acme + "/passwords.csv")
	if len(rows) != 2 || rows[0]["temporary_password"] != password {
		t.Fatalf("the operator's list has %d rows", len(rows))
	}
	s := h.state(anna)
	if s.Trouble != ledger.Deferred || s.Reason != "login-target" || !strings.Contains(s.Detail, "passwords.csv") {
		t.Errorf("before the operator set it: %q %q: %q", s.Trouble, s.Reason, s.Detail)
	}
	for _, address := range []string{anna, ben, zoe} {
		h.AddAccount("target", address, h.password(address))
	}
	h.run("2026-11-30 12:00")
	h.same()
	if s := h.state(anna); s.Phase != ledger.Copied || s.Trouble != ledger.None {
		t.Fatalf("once set: %q %q: %s", s.Phase, s.Trouble, s.Detail)
	}
	h.run("2026-12-01 03:00")
	h.run("2026-12-02 22:05")
	h.same()
	if h.State(anna) != "switched" || h.Password("target", anna) != password || h.password(anna) != password {
		t.Errorf("%s: %s", h.State(anna), h.state(anna).Detail)
	}
}

func TestCredentialsSwitch(t *testing.T) {
	tests := map[string]struct {
		prepare  func(*hoster)
		resumed  int // further calls of switch in the second try
		switched bool
	}{
		"refused":                           {func(h *hoster) { h.FailNext("switch", 1, demohost.Broken) }, 1, false},
		"later":                             {func(h *hoster) { h.FailNext("switch", 1, demohost.Later) }, 1, false},
		"with a lost answer is found by":    {func(h *hoster) { h.FailNext("switch", 1, demohost.Lost) }, 0, true},
		"with a check that does not answer": {func(h *hoster) { h.FailNext("check", 1, demohost.Broken) }, 0, true},
		"that did nothing is found out":     {func(h *hoster) { h.freezer.(*driver).lies = "switch" }, 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			d := &driver{Freezer: h.freezer}
			h.freezer = d
			h.verified()
			h.outcome("done", h.credentials(), pipeline.Apply, anna)
			tt.prepare(h)
			h.outcome("deferred", h.credentials(), pipeline.Switch, anna)
			s := h.state(anna)
			if s.Phase != ledger.Switching || !s.SwitchedAt.IsZero() || h.State(anna) == "switched" != tt.switched {
				t.Errorf("%s; the ledger says %q", h.State(anna), s.Phase)
			}
			must(t, h.undo(h.freeze()))
			if d.count("thaw") != 0 {
				t.Error("thawed after the point of no return")
			}
			d.lies = ""
			calls := d.count("switch")
			h.outcome("done", h.credentials(), pipeline.Switch, anna)
			if got := d.count("switch") - calls; got != tt.resumed {
				t.Errorf("switch was called %d times more; want %d", got, tt.resumed)
			}
			s = h.state(anna)
			if h.State(anna) != "switched" || s.Phase != ledger.Switched || s.SwitchedAt.IsZero() || s.Out() {
				t.Errorf("%s; the ledger says %q", h.State(anna), s.Phase)
			}
		})
	}
}

func TestCredentialsSwitchWithoutDriver(t *testing.T) {
	h := newHoster(t, "driver: exec, command: [FREEZE]", "driver: none")
	h.freezer = nil // must not be asked for
	h.verified()
	h.outcome("done", h.credentials(), pipeline.Apply, anna)
	h.outcome("done", h.credentials(), pipeline.Switch, anna)
	if s := h.state(anna); s.Phase != ledger.Switched || s.Out() || !s.FrozenAt.IsZero() {
		t.Errorf("%+v", s)
	}
}

// A temporary password stands in exactly one list, and nowhere else in clear.
func TestNoPasswordStandsAnywhereButInItsList(t *testing.T) {
	h := newHoster(t)
	h.letter(anna, "INBOX", "one")
	h.untilTheNight()
	h.FailNext("set_password", 1, demohost.Broken)
	h.FailNext("activate", 1, demohost.Lost)
	h.run("2026-12-02 22:05")
	h.run("2026-12-02 23:30")
	for _, address := range []string{anna, ben, zoe} {
		password := h.password(address)
		if h.State(address) != "switched" || h.Password("target", address) != password {
			t.Fatalf("%s did not move: %s", address, h.state(address).Detail)
		}
		for what, text := range map[string]string{"the log": h.log.String(), "the history": h.history()} {
			if strings.Contains(text, password) {
				t.Errorf("%s has the password of %s", what, address)
			}
		}
		for _, m := range h.Mails() {
			if strings.Contains(string(m.Data), password) || strings.Contains(part(t, m.Data, "text/plain"), password) {
				t.Errorf("a mail to %s has it", m.To)
			}
		}
		var files []string
		must(t, filepath.WalkDir(h.dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if strings.Contains(string(data), password) {
				name, _ := filepath.Rel(h.dir, path)
				files = append(files, name)
			}
			return err
		}))
		service := address[strings.IndexByte(address, '@')+1:]
		if len(files) != 1 || files[0] != filepath.Join("out", "one", service, "passwords.csv") {
			t.Errorf("the password of %s stands in %q", address, files)
		}
	}
}
