package pipeline

import (
	"fmt"
	"math"
	"slices"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Fits says that a cutover begun now is expected to end inside the window.
func (s Subject) Fits(state ledger.State, night Night, now time.Time) bool {
	expect := min(s.Pace.cutover(s.Plan, state).High, s.Batch.Window.MaxInterruption)
	return !now.Add(expect).After(night.End)
}

// Forecast is what lies ahead of a batch, if it goes as what was measured.
type Forecast struct {
	Batch    string    `json:"batch"`
	Night    string    `json:"night"`      // the next one
	Accounts int       `json:"accounts"`   // still to move
	Bytes    int64     `json:"bytes_left"` // still to copy, as far as they are known
	Unsized  int       `json:"unsized"`    // accounts of which they are not
	Guess    bool      `json:"guess"`      // too little was measured
	Begin    time.Time `json:"begin"`      // of the night's work
	Took     Span      `json:"-"`          // by the night's work
	End      time.Time `json:"end"`        // expected, and between what
	EndLow   time.Time `json:"end_low"`
	EndHigh  time.Time `json:"end_high"`
	Nights   int       `json:"nights"`  // needed; 0: some fit into none
	Misfits  int       `json:"misfits"` // accounts that do not fit into the next night

	Low      float64 `json:"seconds_low"`
	Expected float64 `json:"seconds_expected"`
	High     float64 `json:"seconds_high"`
}

// work is one account's in its night, or one service's that moves as a whole.
type work struct {
	bytes    int64
	accounts int
	took     Span
}

// works are several that are alike: before anything is measured all are.
type works struct {
	work
	times int
}

// Forecaster adds up a batch, service by service.
type Forecaster struct {
	forecast Forecast
	plan     *plans.Plan
	batch    *plans.Batch
	night    Night
	list     []works
	fill     Span // all that is still to be copied, one after the other
}

// Add takes a service of the batch into account.
func (f *Forecaster) Add(s Subject, now time.Time) {
	f.plan, f.batch = s.Plan, s.Batch
	f.forecast.Guess = s.Pace.Guesses()
	var whole work
	for _, a := range s.moving() {
		state := s.Accounts[a.Address]
		night := nightFor(s.Batch, state)
		if night.End.After(now) && (f.night.Date == "" || night.Start.Before(f.night.Start)) {
			f.night = night
		}
		w := work{bytes: state.Bytes, accounts: 1, took: s.Pace.cutover(s.Plan, state)}
		stale := state.Phase != ledger.Copied || max(now.Sub(state.PassedAt), night.Start.Sub(state.PassedAt)) >= passEvery
		if stale && !state.InCutover() {
			w.took = w.took.plus(s.Pace.pass(state))
		}
		f.fill = f.fill.plus(s.Pace.fill(state))
		f.forecast.Bytes += left(state)
		if unsized(state) {
			f.forecast.Unsized++
		}
		f.forecast.Accounts++
		if s.Batch.Window.Unit == "service" {
			whole = work{whole.bytes + w.bytes, whole.accounts + 1, whole.took.plus(w.took)}
			continue
		}
		f.line(w)
	}
	if whole.accounts > 0 {
		f.line(whole)
	}
}

func (f *Forecaster) line(w work) {
	if last := len(f.list) - 1; last >= 0 && f.list[last].work == w {
		f.list[last].times++
		return
	}
	f.list = append(f.list, works{w, 1})
}

// Forecast is the batch's, ok false if nothing is left to move.
func (f *Forecaster) Forecast(now time.Time) (forecast Forecast, ok bool) {
	forecast = f.forecast
	if forecast.Accounts == 0 || f.batch.Hold {
		return forecast, false
	}
	if f.night.Date == "" { // its night is over: the next one
		f.night = nightAfter(f.batch, now)
	}
	forecast.Batch, forecast.Night = f.batch.Name, f.night.Date
	forecast.Begin = f.night.Start
	if now.After(forecast.Begin) {
		forecast.Begin = now.In(f.batch.Date.Location()).Truncate(time.Second)
	}
	slots := accountsAtOnce(f.plan)
	slices.SortStableFunc(f.list, bySize)
	inNight := f.leftForTheNight(now, slots)
	span := func(of func(Span) time.Duration) time.Duration {
		places, end := make(places, max(slots, 1)), time.Duration(0)
		for _, w := range f.list {
			took := of(w.took) + of(inNight)*time.Duration(w.accounts)/time.Duration(forecast.Accounts)
			for range w.times {
				end = max(end, places.take(took))
			}
		}
		return end
	}
	forecast.Took = starting.plus(Span{span(low), span(expected), span(high)})
	forecast.Low, forecast.Expected, forecast.High = tenths(forecast.Took.Low), tenths(forecast.Took.Expected), tenths(forecast.Took.High)
	end := func(d time.Duration) time.Time { return forecast.Begin.Add(d).Round(time.Second) }
	forecast.EndLow, forecast.End, forecast.EndHigh = end(forecast.Took.Low), end(forecast.Took.Expected), end(forecast.Took.High)
	f.nights(&forecast, inNight, slots)
	return forecast, true
}

func low(s Span) time.Duration      { return s.Low }
func expected(s Span) time.Duration { return s.Expected }
func high(s Span) time.Duration     { return s.High }

// leftForTheNight is what of the copying will not be done before the night.
func (f *Forecaster) leftForTheNight(now time.Time, slots int) Span {
	begin := f.night.Start.Add(-f.batch.Copy.Precopy)
	if now.After(begin) {
		begin = now
	}
	before := max(f.night.Start.Sub(begin), 0) * time.Duration(slots)
	return Span{max(f.fill.Low-before, 0), max(f.fill.Expected-before, 0), max(f.fill.High-before, 0)}
}

// nights counts the nights needed, each filled small before large with what is
// expected to end inside it.
func (f *Forecaster) nights(forecast *Forecast, inNight Span, slots int) {
	whole := f.night.End.Sub(f.night.Start)
	room := f.night.End.Sub(forecast.Begin)
	rest := slices.Clone(f.list)
	for len(rest) > 0 {
		forecast.Nights++
		places, later, fits := make(places, max(slots, 1)), rest[:0], false
		for _, w := range rest {
			took, left := w.took.Expected+inNight.Expected*time.Duration(w.accounts)/time.Duration(forecast.Accounts), 0
			for range w.times {
				if places.take(took) > room {
					left++
				} else {
					fits = true
				}
			}
			if forecast.Nights == 1 {
				forecast.Misfits += left * w.accounts
			}
			if left > 0 {
				later = append(later, works{w.work, left})
			}
		}
		if !fits && room == whole {
			forecast.Nights = 0
			return
		}
		rest, room = later, whole
	}
}

// places are when each of those that work side by side is free again.
type places []time.Duration

// take gives the next work to who is free first, and returns when it ends.
func (p places) take(took time.Duration) (end time.Duration) {
	k := 0
	for j := range p {
		if p[j] < p[k] {
			k = j
		}
	}
	p[k] += took
	return p[k]
}

// String says it to a person.
func (f Forecast) String() string {
	clock := func(t time.Time) string { return t.Format("15:04:05") }
	size := amount(f.Bytes) + " to copy"
	switch f.Unsized {
	case 0:
	case f.Accounts:
		size = "of unknown size"
	default:
		size += fmt.Sprintf(" and %d accounts of unknown size", f.Unsized)
	}
	text := fmt.Sprintf("%s: %d accounts to move, %s; the night of %s is expected to take %s (%s to %s), until %s (%s to %s)",
		f.Batch, f.Accounts, size, f.Night, round(f.Took.Expected), round(f.Took.Low), round(f.Took.High), clock(f.End), clock(f.EndLow), clock(f.EndHigh))
	if f.Guess {
		text += "; a guess, too little was measured yet"
	}
	switch {
	case f.Misfits > 0 && f.Nights == 0:
		text += fmt.Sprintf("; does not fit: move %d accounts to another batch; some of them need a longer window", f.Misfits)
	case f.Misfits > 0:
		text += fmt.Sprintf("; does not fit: move %d accounts to another batch, or allow %d nights", f.Misfits, f.Nights)
	}
	return text
}

// tenths are seconds as a machine wants to read them.
func tenths(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }

func round(d time.Duration) time.Duration {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// amount writes bytes as people do.
func amount(bytes int64) string {
	const unit = 1000
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, name := float64(bytes)/unit, 0
	for value >= unit && name < 4 {
		value, name = value/unit, name+1
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTP"[name])
}
