package pipeline

import (
	"slices"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

const dateLayout = "2006-01-02"

// Night is one night's window: cutovers begin and end inside it.
type Night struct {
	Date       string // 2006-01-02, the day it begins on
	Start, End time.Time
}

// Contains says whether now lies inside the window.
func (n Night) Contains(now time.Time) bool { return !now.Before(n.Start) && now.Before(n.End) }

// NightOf returns the batch's window that begins on date. Times of day are wall
// clock: on a daylight-saving night the window is an hour shorter or longer. One
// that lies where clocks go forward over it begins when they have, and is as long
// as ever: no night is skipped.
func NightOf(batch *plans.Batch, date time.Time) Night {
	w := batch.Window
	n := Night{Date: date.Format(dateLayout), Start: at(date, 0, w.From), End: at(date, 0, w.Until)}
	if w.Until <= w.From {
		n.End = at(date, 1, w.Until)
	}
	if !n.Start.Before(n.End) {
		n.End = n.Start.Add(w.Until - w.From)
	}
	return n
}

// at is the time of day clock, days after date, as a clock on the wall shows it.
func at(date time.Time, days int, clock time.Duration) time.Time {
	y, m, d := date.Date()
	return plans.At(time.Date(y, m, d+days, 0, 0, 0, 0, time.UTC), clock, date.Location())
}

// nightAfter is the batch's first window that begins at or after earliest, on a
// day the plan allows.
func nightAfter(batch *plans.Batch, earliest time.Time) Night {
	date := at(earliest.In(batch.Date.Location()), 0, 0)
	for {
		n := NightOf(batch, date)
		allowed := len(batch.Window.Days) == 0 || slices.Contains(batch.Window.Days, date.Weekday())
		if allowed && !n.Start.Before(earliest) {
			return n
		}
		date = at(date, 1, 0)
	}
}

// nightFor is the night an account moves: the batch's, or the later one it was
// deferred to.
func nightFor(batch *plans.Batch, state ledger.State) Night {
	moved := state.Moved() // it was that one, whatever the plan says now
	if moved || deferredTo(batch, state) {
		if own, ok := nightOn(batch, state.Night); ok {
			return own
		}
	}
	return NightOf(batch, batch.Date)
}

// nightOn is the night that begins on a date as the ledger has it.
func nightOn(batch *plans.Batch, date string) (Night, bool) {
	day, err := time.Parse(dateLayout, date)
	if err != nil {
		return Night{}, false
	}
	return NightOf(batch, plans.At(day, 12*time.Hour, batch.Date.Location())), true
}

// deferredTo says that the account moves later than its batch.
func deferredTo(batch *plans.Batch, state ledger.State) bool {
	return state.Night != "" && state.Night > batch.Date.Format(dateLayout)
}

// noticeDue is when a notice of N days before falls due: at midnight.
func noticeDue(date time.Time, days int) time.Time { return at(date, -days, 0) }
