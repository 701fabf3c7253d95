package pipeline_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
)

func TestWhoCanBeRolledBack(t *testing.T) {
	switched := time.Date(2026, 12, 2, 22, 10, 0, 0, time.UTC)
	tests := map[string]struct {
		state ledger.State
		after time.Duration // the switch
		want  string
	}{
		"nobody has moved":         {ledger.State{Phase: ledger.Copied}, 0, "nothing to roll back: no account of acme has been switched"},
		"frozen is not switched":   {ledger.State{Phase: ledger.Frozen}, 0, "nothing to roll back: no account of acme has been switched"},
		"an hour after the switch": {ledger.State{Phase: ledger.Switched, SwitchedAt: switched}, time.Hour, "[anna]"},
		"until the last moment":    {ledger.State{Phase: ledger.Switched, SwitchedAt: switched}, 72*time.Hour - time.Second, "[anna]"},
		"when the time is over, it says since when": {
			ledger.State{Phase: ledger.Switched, SwitchedAt: switched},
			72 * time.Hour,
			"nothing to roll back: anna: a rollback was possible until 2026-12-05 22:10 (rollback_for 3d after the switch)",
		},
		"what has begun can always be finished": {ledger.State{Phase: ledger.RollingBack, SwitchedAt: switched}, 720 * time.Hour, "[anna]"},
		"late arrivals, as long after it":       {ledger.State{Phase: ledger.RolledBack, SwitchedAt: switched, RolledAt: switched.Add(48 * time.Hour)}, 100 * time.Hour, "[anna]"},
		"late arrivals, too late": {
			ledger.State{Phase: ledger.RolledBack, SwitchedAt: switched, RolledAt: switched.Add(48 * time.Hour)},
			121 * time.Hour,
			"nothing to roll back: anna: a rollback was possible until 2026-12-07 22:10 (rollback_for 3d after the switch)",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := pipeline.Subject{
				Plan:     &plans.Plan{RollbackFor: 72 * time.Hour, Timezone: time.UTC},
				Service:  plans.Service{Name: "acme", Accounts: []plans.Account{{Address: "anna", Action: "migrate"}}},
				Accounts: map[string]ledger.State{"anna": tt.state},
			}
			list, late, err := pipeline.ToRollBack(s, switched.Add(tt.after))
			got := ""
			for _, a := range list {
				got += a.Address
			}
			got = fmt.Sprintf("[%s]", got)
			if err != nil {
				got = strings.TrimSpace(err.Error())
			}
			if got != tt.want || late != nil || (err != nil) != errors.Is(err, pipeline.ErrNothingToRollBack) {
				t.Errorf("got %s, late %v; want %s", got, late, tt.want)
			}
		})
	}
}

// Of a service of which a part is too late, the rest is put back, and it is said.
func TestAPartThatIsTooLateIsNamed(t *testing.T) {
	now := time.Date(2026, 12, 9, 12, 0, 0, 0, time.UTC)
	s := pipeline.Subject{
		Plan:    &plans.Plan{RollbackFor: 72 * time.Hour, Timezone: time.UTC},
		Service: plans.Service{Name: "acme", Accounts: []plans.Account{{Address: "anna"}, {Address: "ben"}, {Address: "zoe"}}},
		Accounts: map[string]ledger.State{
			"anna": {Phase: ledger.Switched, SwitchedAt: now.Add(-time.Hour), Bytes: 2},
			"ben":  {Phase: ledger.Switched, SwitchedAt: now.Add(-80 * time.Hour)},
			"zoe":  {Phase: ledger.Switched, SwitchedAt: now.Add(-time.Hour), Bytes: 1},
		},
	}
	list, late, err := pipeline.ToRollBack(s, now)
	if err != nil || len(list) != 2 || list[0].Address != "zoe" || late == nil || !strings.Contains(late.Error(), "ben: a rollback was possible until 2026-12-09 04:00") {
		t.Errorf("got %v, %v, %v", list, late, err)
	}
}
