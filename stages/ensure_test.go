package stages_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// inspected is an admin side that can say how an account stands.
type inspected struct {
	demohost.Platform
	facts platform.Facts
	err   error
}

func (i inspected) Inspect(context.Context, platform.Request) (platform.Facts, error) {
	return i.facts, i.err
}

// Mail is copied into an account that was at the target before, and its
// password set, only where there is no doubt whose it is.
func TestAnAccountThatWasThere(t *testing.T) {
	used := platform.Facts{LastLogin: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	named := []string{"targets:", "domains: {acme.example: [acme.example]}\ntargets:"}
	tests := map[string]struct {
		create bool
		facts  platform.Facts
		err    error
		last   ledger.Mark // of an earlier try to make it
		waved  bool
		edits  []string
		held   bool
	}{
		"Godwit makes accounts, and this one is there": {create: true, held: true},
		"it is not there":                            {create: true, err: platform.ErrNoAccount},
		"Godwit has made it":                         {create: true, last: ledger.Done},
		"Godwit may have made it":                    {create: true, last: ledger.Intent},
		"the answer to making it was lost":           {create: true, last: ledger.Unknown},
		"making it was refused, and now it is there": {create: true, last: ledger.Failed, held: true},
		"a person said that it is theirs":            {create: true, waved: true},
		"the plan names its domain":                  {create: true, edits: named},
		"the hoster makes accounts":                  {},
		"the hoster made it, and it is in use":       {facts: used, held: true},
		"in use, and the plan names its domain":      {facts: used, edits: named},
		"the list's own passwords open it": {create: true, edits: []string{
			`, auth: authzid, login: migrator, secret: "file:secrets/imap"`, "",
			",,,,old-", ",,,keep,old-", "old-anna,,", "old-anna,old-anna,", "old-ben,,", "old-ben,old-ben,", "old-zoe,,", "old-zoe,old-zoe,",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, tt.edits...)
			h.plan.Targets["new"].Admin.Create = tt.create
			h.admin = inspected{demohost.Platform{Host: h.Host}, tt.facts, tt.err}
			h.letter(anna, "INBOX", "one")
			h.AddAccount(demohost.Target, anna, "old-anna")
			j := h.journal(h.key(anna))
			err := j.End(t.Context(), "x", ledger.Note, "", func(s *ledger.State) {
				if tt.waved {
					s.Waved = []string{"target-exists"}
				}
			})
			if tt.last != "" {
				err = errors.Join(err, j.End(t.Context(), "ensure", tt.last, "", nil))
			}
			if err != nil {
				t.Fatal(err)
			}
			want := pipeline.Outcome("done")
			if tt.held {
				want = "held"
			}
			h.outcome(want, h.copying(), pipeline.Precopy, anna)
			mails, err := h.Mailbox(demohost.Target, anna)
			if err != nil || (len(mails) == 0) != tt.held {
				t.Errorf("%d messages at the target, %v", len(mails), err)
			}
			if tt.held {
				h.outcome("held", h.credentials(), pipeline.Prepare, anna)
				if !h.state(anna).PasswordAt.IsZero() {
					t.Error("a password was made")
				}
			}
		})
	}
}

// Whose account it is was found out of one account, and of what opened it: a
// list that names another, or has its password set, does not inherit that.
func TestAListThatNamesAnotherAccountLater(t *testing.T) {
	const boss = "boss@acme.example"
	inspect := func(h *hoster, err error) {
		h.plan.Targets["new"].Admin.Create = true
		h.admin = inspected{demohost.Platform{Host: h.Host}, platform.Facts{}, err}
	}
	t.Run("another account", func(t *testing.T) {
		h := newHoster(t)
		h.ten()
		inspect(h, platform.ErrNoAccount)
		h.copied(pipeline.Precopy)
		h.edit("x_ref", "target_account", "A-1", boss, "A-2", "", "Z-1", "")
		inspect(h, nil)
		h.outcome("held", h.copying(), pipeline.Precopy, anna)
		h.outcome("held", h.credentials(), pipeline.Prepare, anna)
		h.edit(boss, anna)
		inspect(h, nil)
		h.copied(pipeline.Precopy)
		h.same()
	})
	t.Run("another account before anything was copied", func(t *testing.T) {
		h := newHoster(t)
		h.ten()
		inspect(h, platform.ErrTaken)
		h.outcome("held", h.copying(), pipeline.Precopy, anna)
		h.edit("x_ref", "target_account", "A-1", boss, "A-2", "", "Z-1", "")
		inspect(h, platform.ErrNoAccount)
		h.copied(pipeline.Precopy)
		if mails, err := h.Mailbox(demohost.Target, boss); err != nil || len(mails) != 11 {
			t.Errorf("%d messages at the target, %v", len(mails), err)
		}
	})
	t.Run("its own password opened it", func(t *testing.T) {
		h := newHoster(t, `, auth: authzid, login: migrator, secret: "file:secrets/imap"`, "",
			",,,,old-", ",,,keep,old-", "old-anna,,", "old-anna,old-anna,", "old-ben,,", "old-ben,old-ben,", "old-zoe,,", "old-zoe,old-zoe,")
		h.AddAccount(demohost.Target, anna, "old-anna")
		inspect(h, nil)
		h.copied(pipeline.Precopy)
		h.FailNext("ensure", 1, demohost.Broken) // must not be asked again
		h.copied(pipeline.Precopy)
		h.edit(",,,keep,old-anna", ",,,temporary,old-anna")
		inspect(h, nil)
		h.outcome("held", h.credentials(), pipeline.Prepare, anna)
		h.outcome("held", h.copying(), pipeline.Precopy, anna)
	})
}
