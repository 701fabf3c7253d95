package pipeline_test

import (
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
)

func TestInterruptions(t *testing.T) {
	at := time.Date(2026, 12, 2, 22, 0, 0, 0, time.UTC)
	var states []ledger.State
	for i := range 20 { // 1 s to 20 s, each in two freezes
		s := ledger.State{Key: ledger.Key{Account: "a"}}
		for range 2 {
			s.FrozenAt, s.ReleasedAt = at, time.Time{}
			s.Release(at.Add(time.Duration(i+1) * 500 * time.Millisecond))
		}
		states = append(states, s)
	}
	states = append(states,
		ledger.State{Key: ledger.Key{Account: "frozen"}, FrozenAt: at, Interrupted: time.Hour}, // not over
		ledger.State{Key: ledger.Key{Account: "never"}},
		ledger.State{Key: ledger.Key{Service: "acme"}, Interrupted: time.Hour})
	if got, want := pipeline.InterruptionsOf(states), (pipeline.Interruptions{Accounts: 20, Median: 10, P95: 19, Longest: 20}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := pipeline.InterruptionsOf(states[20:]); got != (pipeline.Interruptions{}) {
		t.Errorf("of nobody: %+v", got)
	}
}
