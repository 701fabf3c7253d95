package pipeline_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
)

var opens = time.Date(2026, 12, 2, 22, 0, 0, 0, time.UTC)

// forecast is of a batch of accounts, half of which may have moved already.
func forecast(pace *pipeline.Measured, at time.Time, change func(*plans.Plan, *plans.Batch), states ...ledger.State) (pipeline.Forecast, bool) {
	batch := &plans.Batch{
		Name: "w49", Date: opens.Add(-22 * time.Hour),
		Window: plans.Window{From: 22 * time.Hour, Until: 23 * time.Hour, MaxInterruption: 15 * time.Minute, Unit: "account"},
		Copy:   plans.Copy{Precopy: 72 * time.Hour},
	}
	plan := &plans.Plan{Copy: plans.Copy{Accounts: 2}, Timezone: time.UTC, Batches: []*plans.Batch{batch}}
	plan.Source.Freeze.Settle = 5 * time.Second
	if change != nil {
		change(plan, batch)
	}
	var f pipeline.Forecaster
	s := pipeline.Subject{Plan: plan, Batch: batch, Pace: pace, Accounts: map[string]ledger.State{}}
	for i, state := range states {
		a := plans.Account{Address: fmt.Sprint("a", i), Action: "migrate"}
		s.Service.Accounts = append(s.Service.Accounts, a)
		s.Accounts[a.Address] = state
	}
	f.Add(s, at)
	return f.Forecast(at)
}

// measured is a pace of cutovers that took 20 s beside settling, of passes of
// 5 s and of a megabyte per second.
func measured(n int) *pipeline.Measured {
	plan := &plans.Plan{}
	plan.Source.Freeze.Settle = 5 * time.Second
	var states []ledger.State
	for i := range n {
		states = append(states, ledger.State{
			Key: ledger.Key{Account: fmt.Sprint(i)}, Phase: ledger.Switched, Passes: 3,
			FrozenAt: opens, ReleasedAt: opens.Add(30 * time.Second), PassedAt: opens,
			Pace: ledger.Pace{FillBytes: 1 << 20, Filled: 16, Fill: 2 * time.Second, Idle: 5 * time.Second, Final: 5 * time.Second},
		})
	}
	return pipeline.Measure(plan, map[string][]ledger.State{"w48": states})
}

func TestForecast(t *testing.T) {
	fresh := ledger.State{Phase: ledger.Copied, Bytes: 1 << 20, PassedAt: opens.Add(-time.Hour)}
	stale := fresh
	stale.PassedAt = opens.Add(-20 * time.Hour)
	uncopied := ledger.State{Bytes: 600 << 20}
	many := func(s ledger.State, n int) (list []ledger.State) {
		for range n {
			list = append(list, s)
		}
		return list
	}
	nothing := func(*plans.Plan, *plans.Batch) {}
	late := func(_ *plans.Plan, b *plans.Batch) { b.Copy.Precopy = 0 }
	together := func(_ *plans.Plan, b *plans.Batch) { b.Window.Unit = "service" }
	tests := map[string]struct {
		change  func(*plans.Plan, *plans.Batch)
		at      time.Duration // from the window's beginning
		states  []ledger.State
		want    time.Duration
		nights  int
		misfits int
		bytes   int64
	}{
		"one account: settle, final pass and the rest":       {nothing, 0, many(fresh, 1), 30 * time.Second, 1, 0, 0},
		"an old pass is made again first":                    {nothing, 0, many(stale, 1), 35 * time.Second, 1, 0, 0},
		"two at once":                                        {nothing, 0, many(fresh, 4), time.Minute, 1, 0, 0},
		"what is left to copy has three days":                {nothing, -72 * time.Hour, many(uncopied, 2), 35 * time.Second, 1, 0, 1200 << 20},
		"without pre-copy it is copied in the night":         {late, -time.Hour, many(uncopied, 2), 10*time.Minute + 35*time.Second, 1, 0, 1200 << 20},
		"inside the window too":                              {nothing, 0, many(uncopied, 2), 10*time.Minute + 35*time.Second, 1, 0, 1200 << 20},
		"what does not fit goes to the next night":           {nothing, 0, many(fresh, 254), 63*time.Minute + 30*time.Second, 2, 14, 0},
		"with half the window gone":                          {nothing, 30 * time.Minute, many(fresh, 254), 63*time.Minute + 30*time.Second, 2, 134, 0},
		"whole services, one after the other, in one slot":   {together, 0, many(fresh, 4), 2 * time.Minute, 1, 0, 0},
		"what has moved is not counted":                      {nothing, 0, append(many(ledger.State{Phase: ledger.Switched}, 9), fresh), 30 * time.Second, 1, 0, 0},
		"what never fits is said, without counting for ever": {late, 0, many(ledger.State{Bytes: 1 << 40}, 2), 291*time.Hour + 16*time.Minute + 51*time.Second, 0, 2, 2 << 40},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, ok := forecast(measured(100), opens.Add(tt.at), tt.change, tt.states...)
			if !ok || (f.Took.Expected-500*time.Millisecond).Round(time.Second) != tt.want || f.Nights != tt.nights || f.Misfits != tt.misfits || f.Bytes != tt.bytes || f.Guess {
				t.Errorf("got %s, %d nights, %d misfits, %d bytes left, guess %v; want %s, %d, %d, %d", f.Took.Expected, f.Nights, f.Misfits, f.Bytes, f.Guess, tt.want, tt.nights, tt.misfits, tt.bytes)
			}
			if f.Took.Low >= f.Took.Expected || f.Took.High <= f.Took.Expected {
				t.Errorf("the spread is %s to %s around %s", f.Took.Low, f.Took.High, f.Took.Expected)
			}
		})
	}
}

func TestForecastIsAGuessBeforeAnythingWasMeasured(t *testing.T) {
	fresh := ledger.State{Phase: ledger.Copied, PassedAt: opens}
	guess, _ := forecast(nil, opens, nil, fresh)
	if !guess.Guess || !strings.Contains(guess.String(), "a guess") {
		t.Errorf("got %s", guess)
	}
	few, _ := forecast(measured(2), opens, nil, fresh)
	lots, _ := forecast(measured(100), opens, nil, fresh)
	width := func(f pipeline.Forecast) float64 { return f.High / f.Low }
	if width(few) <= width(lots) || width(guess) <= width(few) {
		t.Errorf("the spread does not narrow: guessed %.1f, of two %.1f, of many %.1f", width(guess), width(few), width(lots))
	}
	if _, ok := forecast(nil, opens, nil, ledger.State{Phase: ledger.Switched}); ok {
		t.Error("a forecast of a batch in which nothing is left to move")
	}
	misfit, _ := forecast(measured(100), opens, nil, make([]ledger.State, 300)...)
	if want := " accounts to another batch"; !strings.Contains(misfit.String(), want) {
		t.Errorf("got %s, want %s", misfit, want)
	}
}

// A size that nobody has asked for is not nothing.
func TestForecastSaysWhatItDoesNotKnow(t *testing.T) {
	known, unknown := ledger.State{Bytes: 3e6, Folders: 1}, ledger.State{}
	for want, states := range map[string][]ledger.State{
		"2 accounts to move, 6.0 MB to copy; ":                                {known, known},
		"2 accounts to move, 3.0 MB to copy and 1 accounts of unknown size; ": {known, unknown},
		"2 accounts to move, of unknown size; ":                               {unknown, unknown},
		"1 accounts to move, 0 B to copy; ":                                   {{Folders: 1}},
	} {
		if f, _ := forecast(measured(100), opens, nil, states...); !strings.Contains(f.String(), want) {
			t.Errorf("got %s, want %s", f, want)
		}
	}
}

// No cutover starts that is not expected to end inside the window.
func TestFits(t *testing.T) {
	night := pipeline.Night{Date: "2026-12-02", Start: opens, End: opens.Add(time.Hour)}
	s := pipeline.Subject{Plan: &plans.Plan{}, Batch: &plans.Batch{Window: plans.Window{MaxInterruption: 15 * time.Minute}}, Pace: measured(100)}
	s.Plan.Source.Freeze.Settle = 5 * time.Second
	for before, want := range map[time.Duration]bool{time.Minute: true, 38 * time.Second: true, 29 * time.Second: false} {
		if got := s.Fits(ledger.State{}, night, night.End.Add(-before)); got != want {
			t.Errorf("%s before the end: got %v", before, got)
		}
	}
	s.Batch.Window.MaxInterruption = 10 * time.Second // it is thawed by then
	if !s.Fits(ledger.State{}, night, night.End.Add(-20*time.Second)) {
		t.Error("max_interruption does not bound what is expected")
	}
}
