package stages_test

import (
	"context"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages"
	"godwit/stages/platform"
)

func (h *hoster) rollback() stages.Rollback {
	return stages.Rollback{Plan: h.plan, Servers: h.servers, Open: h.open, Vault: h.vault, Now: h.clock.Now}
}

// arrive lays letters into anna's target mailbox.
func (h *hoster) arrive(titles ...string) {
	h.t.Helper()
	h.arrived += len(titles)
	for _, title := range titles {
		must(h.t, h.Put("target", anna, letter("INBOX", title)))
	}
}

func TestRollbackPutsTheAccountBack(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.switched()
	before := h.mailbox("source", anna)
	h.arrive("new one", "new two")
	result := h.outcome("done", h.rollback(), pipeline.Whole, anna)
	if result.Text != "2 messages carried back" {
		t.Errorf("got %q", result.Text)
	}
	after := h.mailbox("source", anna)
	for line := range strings.Lines(before) {
		if !strings.Contains(after, line) {
			t.Errorf("%q is gone", line)
		}
	}
	if strings.Count(after, "new one") != 1 || strings.Count(after, "new two") != 1 || strings.Count(after, "\n") != strings.Count(before, "\n")+2 {
		t.Errorf("the source has\n%s", after)
	}
	if s := h.state(anna); s.Phase != ledger.RolledBack || s.CarriedBack != 2 || s.RolledAt.IsZero() || h.State(anna) != platform.Open {
		t.Errorf("got %s, %d carried, %s", s.Phase, s.CarriedBack, h.State(anna))
	}
	// The password is set anew when it moves again: by then the user may have another.
	if last := h.journal(h.key(anna)).Last("set password"); last != ledger.Failed {
		t.Errorf("set password is %s", last)
	}
}

// Godwit signs in at the target with the temporary password, and the user has
// another by now.
func TestRollbackOfWhoHasANewPassword(t *testing.T) {
	h := newHoster(t, append(ownTarget, ",old-anna,,", ",old-anna,first,", ",old-ben,,", ",old-ben,x,", ",old-zoe,,", ",old-zoe,x,")...)
	h.AddAccount("target", anna, "first")
	h.ten()
	h.switched()
	h.arrive("new")
	h.AddAccount("target", anna, "chosen-by-anna")
	before := h.mailbox("source", anna)
	result := h.outcome("held", h.rollback(), pipeline.Whole, anna)
	for _, want := range []string{"nothing was changed", "target_secret of the list", "auth: master or authzid", "repeat the rollback"} {
		if !strings.Contains(result.Text, want) {
			t.Errorf("%q does not say %q", result.Text, want)
		}
	}
	if strings.Contains(result.Text, "first") || strings.Contains(result.Text, h.password(anna)) {
		t.Errorf("a secret: %q", result.Text)
	}
	if h.mailbox("source", anna) != before || h.State(anna) != platform.Switched || h.state(anna).Phase != ledger.Switched {
		t.Errorf("something was changed: %s, %s", h.State(anna), h.state(anna).Phase)
	}
	h.edit(",old-anna,first,", ",old-anna,chosen-by-anna,")
	h.outcome("done", h.rollback(), pipeline.Whole, anna)
	if got := h.mailbox("source", anna); strings.Count(got, "new") != strings.Count(before, "new")+1 || h.State(anna) != platform.Open {
		t.Errorf("%s, the source has\n%s", h.State(anna), got)
	}
}

// stubborn says that it thawed, and did not.
type stubborn struct{ platform.Freezer }

func (stubborn) Thaw(context.Context, platform.Request) error { return nil }

func TestRollbackLooksWhetherItIsOpen(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.switched()
	h.arrive("new")
	before := h.mailbox("source", anna)
	freezer := h.freezer
	h.freezer = stubborn{freezer}
	result := h.outcome("deferred", h.rollback(), pipeline.Whole, anna)
	if !strings.Contains(result.Text, `its check says "switched"`) || h.mailbox("source", anna) != before {
		t.Errorf("got %q", result.Text)
	}
	h.freezer = freezer
	h.outcome("done", h.rollback(), pipeline.Whole, anna)
	if h.State(anna) != platform.Open {
		t.Errorf("it is %s", h.State(anna))
	}
}

// While it carries, mail keeps arriving at the target for a while.
func TestRollbackGoesOnUntilItIsQuiet(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.switched()
	h.arrive("first")
	late := []string{"second", "third", "fourth"}
	r := h.rollback()
	r.Progress = func(string, int64, int64) {
		if len(late) > 0 {
			h.arrive(late[0])
			late = late[1:]
		}
	}
	if result := h.outcome("done", r, pipeline.Whole, anna); result.Text != "4 messages carried back" {
		t.Errorf("got %q", result.Text)
	}
	after := h.mailbox("source", anna)
	for _, title := range []string{"first", "second", "third", "fourth"} {
		if strings.Count(after, title) != 1 {
			t.Errorf("%q is %d times at the source:\n%s", title, strings.Count(after, title), after)
		}
	}
}
