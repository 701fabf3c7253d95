package ledger_test

import (
	"testing"
	"time"

	"godwit/pipeline/ledger"
)

func TestInterruptionsAddUpAndAreNeverLessThanNothing(t *testing.T) {
	at := time.Date(2026, 12, 5, 22, 0, 0, 0, time.UTC)
	s := ledger.State{FrozenAt: at}
	s.Release(at.Add(2 * time.Second))
	s.Release(at.Add(time.Hour)) // is out no more
	s.FrozenAt, s.ReleasedAt = at.Add(time.Minute), time.Time{}
	s.Release(at.Add(-24 * time.Hour)) // the clock was set back
	if s.Interrupted != 2*time.Second || s.Out() {
		t.Errorf("interrupted for %s, still out: %v; want 2s, false", s.Interrupted, s.Out())
	}
}
