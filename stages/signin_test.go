package stages_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages"
	"godwit/stages/demohost"
	"godwit/stages/platform"
)

func TestWhoHasNotSignedInYet(t *testing.T) {
	switched := time.Date(2026, 12, 2, 22, 10, 0, 0, time.UTC)
	before, after := switched.Add(-time.Hour), switched.Add(time.Hour)
	temporary := ledger.State{Phase: ledger.Switched, SwitchedAt: switched, PasswordSet: switched}
	keep := ledger.State{Phase: ledger.Switched, SwitchedAt: switched}
	tests := map[string]struct {
		state   ledger.State
		facts   platform.Facts
		err     error
		awaited bool
	}{
		"who has yet to choose a password has not":        {temporary, platform.Facts{MustChange: true, LastLogin: after}, nil, true},
		"who has chosen one has":                          {temporary, platform.Facts{LastLogin: before}, nil, false},
		"who keeps it, and came before the move only":     {keep, platform.Facts{LastLogin: before}, nil, true},
		"who keeps it, and came after":                    {keep, platform.Facts{LastLogin: after}, nil, false},
		"of a platform that knows no logins nothing":      {keep, platform.Facts{}, nil, false},
		"before the switch nobody is waited for":          {ledger.State{Phase: ledger.Ready, PasswordSet: switched}, platform.Facts{MustChange: true}, nil, false},
		"a platform that does not answer tells of nobody": {temporary, platform.Facts{MustChange: true}, errors.New("down"), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t)
			h.admin = inspected{demohost.Platform{Host: h.Host}, tt.facts, tt.err}
			at, err := stages.SignIns{Plan: h.plan, Admins: h.admins(), Now: h.clock.Now}.Awaited(t.Context(), h.task("", "", anna), tt.state)
			if at.IsZero() == tt.awaited || !errors.Is(err, tt.err) {
				t.Errorf("got %v, %v; want somebody awaited: %v", at, err, tt.awaited)
			}
		})
	}
}

// A catch-up pass keeps it for status, until the user has been there.
func TestCatchUpKeepsWhoHasNotSignedInYet(t *testing.T) {
	h := newHoster(t)
	facts := platform.Facts{}
	h.admin = inspected{demohost.Platform{Host: h.Host}, facts, platform.ErrNoAccount}
	h.letter(anna, "INBOX", "one")
	h.copied(pipeline.Precopy)
	h.set(anna, func(s *ledger.State) {
		s.Phase, s.SwitchedAt, s.PasswordSet = ledger.Switched, h.clock.Now(), h.clock.Now()
	})
	for _, must := range []bool{true, false} {
		facts.MustChange = must
		h.admin = inspected{demohost.Platform{Host: h.Host}, facts, nil}
		h.copied(pipeline.CatchUp)
		if s := h.state(anna); s.Awaited.IsZero() == must {
			t.Errorf("must change: %v; awaited since %v", must, s.Awaited)
		}
	}
	if strings.Count(h.history(), "signed in") != 2 {
		t.Errorf("the history:\n%s", h.history())
	}
}
