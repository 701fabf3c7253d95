package mailbox_test

import (
	"strings"
	"testing"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// TestWhatDoesNotOpen proves that a folder that ends the connection whenever it
// is opened is named and stops nobody, and that one is not given up where its
// server is only slow, or where it opened in the pass before: its mail would be
// left behind when the account is switched.
func TestWhatDoesNotOpen(t *testing.T) {
	hangUp := func(m *imaptest.Moment) {
		if strings.Contains(m.Line, "Work") {
			m.HangUp(0)
		}
	}
	silent := func(m *imaptest.Moment) {
		if strings.Contains(m.Line, "Work") {
			m.Cut, m.Stall = 0, true
		}
	}
	for name, tt := range map[string]struct {
		before bool
		fault  func(*imaptest.Moment)
		named  bool
	}{
		"ends the connection each time": {fault: hangUp, named: true},
		"does so after it has opened":   {fault: hangUp, before: true},
		"is slow":                       {fault: silent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, imaptest.Full, imaptest.Full)
			if tt.before {
				run(t, s.pass)
				s.from.Add("Work", letter(300))
			}
			s.source.Inject(imaptest.Fault{Name: name, On: "EXAMINE", Before: tt.fault})
			if name == "is slow" {
				s.impatient()
			}
			res, err := s.pass.Run(t.Context())
			if tt.named {
				if err != nil || len(res.Skipped) != 1 || res.Skipped[0].Reason != mailbox.Unreadable || res.Skipped[0].Folder != "Work" {
					t.Errorf("named %+v: %v", res.Skipped, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("the pass went on without the folder, which is named %+v", res.Skipped)
			}
			s.source.Heal()
			res = run(t, s.pass)
			if len(res.Skipped) > 0 {
				t.Errorf("named afterwards: %+v", res.Skipped)
			}
			s.honest(res.Skipped)
		})
	}
}
