package pipeline

import (
	"cmp"
	"math"
	"slices"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Span is how long something is expected to take, and between what: nine times
// in ten it is not longer than High, nine in ten not shorter than Low.
type Span struct {
	Low, Expected, High time.Duration
}

func (s Span) plus(o Span) Span {
	return Span{s.Low + o.Low, s.Expected + o.Expected, s.High + o.High}
}

// Measured is how fast mail moves here, as the ledger's last passes and cutovers
// have it. A nil one has measured nothing: it guesses.
type Measured struct {
	rate   []float64 // weight per second of passes that copied much
	idle   []float64 // seconds of passes that found nothing new
	around []float64 // seconds of a cutover beside settle and final pass: driver, credentials, switch
}

// What is guessed before anything was measured.
const (
	guessRate   = 4 << 20 // weight per second
	guessIdle   = 2.0     // seconds
	guessAround = 10.0    // seconds
	// recent is how many of the last measurements count.
	recent = 50
	// much is the weight that a pass has to have copied to tell a rate.
	much = 1 << 20
	// perMessage is how many bytes a message takes the time of, beside its own.
	perMessage = 64 << 10
)

// starting is what a run takes before it works: a process starts, opens the
// ledger and finds what is due.
var starting = Span{0, 500 * time.Millisecond, 2 * time.Second}

// weight is what mail is worth in time: small messages cost more than their bytes.
func weight(bytes int64, messages int) float64 {
	return float64(bytes) + perMessage*float64(messages)
}

// Measure takes the pace from the last measurements among the states.
func Measure(plan *plans.Plan, states map[string][]ledger.State) *Measured {
	var all []ledger.State
	for _, list := range states {
		for _, s := range list {
			if s.Key.Account != "" && s.Passes > 0 {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b ledger.State) int { return b.PassedAt.Compare(a.PassedAt) })
	p := &Measured{}
	for _, s := range all {
		if filled := weight(s.Pace.FillBytes, s.Pace.Filled); filled >= much && s.Pace.Fill > 0 && len(p.rate) < recent {
			p.rate = append(p.rate, filled/s.Pace.Fill.Seconds())
		}
		if s.Pace.Idle > 0 && len(p.idle) < recent {
			p.idle = append(p.idle, s.Pace.Idle.Seconds())
		}
		cutover := s.ReleasedAt.Sub(s.FrozenAt) - plan.Source.Freeze.Settle - s.Pace.Final
		if s.Moved() && !s.FrozenAt.IsZero() && s.Pace.Final > 0 && len(p.around) < recent {
			p.around = append(p.around, max(cutover, 0).Seconds())
		}
	}
	for _, list := range [][]float64{p.rate, p.idle, p.around} {
		slices.Sort(list)
	}
	return p
}

// Guesses says that not enough was measured to call it more than a guess.
func (p *Measured) Guesses() bool { return p == nil || len(p.rate) == 0 || len(p.around) == 0 }

// quantiles are the tenth, the middle and the ninetieth of a hundred, moved
// apart where there are few. Without any they lie around the guess.
func quantiles(sorted []float64, guess float64) (low, middle, high float64) {
	n := len(sorted)
	if n == 0 {
		return guess / 4, guess, guess * 4
	}
	at := func(part float64) float64 {
		i := part * float64(n-1)
		k := int(i)
		if k+1 == n {
			return sorted[k]
		}
		return sorted[k] + (i-float64(k))*(sorted[k+1]-sorted[k])
	}
	apart := 1 + 2/math.Sqrt(float64(n))
	return at(0.1) / apart, at(0.5), at(0.9) * apart
}

func seconds(low, middle, high float64) Span {
	d := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return Span{d(low), d(middle), d(high)}
}

// fill is how long it takes to copy what is left of an account.
func (p *Measured) fill(state ledger.State) Span {
	if left(state) == 0 {
		return Span{}
	}
	w := weight(state.Bytes, state.Messages)
	var rates []float64
	if p != nil {
		rates = p.rate
	}
	slow, middle, fast := quantiles(rates, guessRate)
	return seconds(w/fast, w/middle, w/slow)
}

// pass is how long a pass takes that finds nothing new: what the account's own
// took, within what such passes vary by.
func (p *Measured) pass(state ledger.State) Span {
	var all []float64
	if p != nil {
		all = p.idle
	}
	low, middle, high := quantiles(all, guessIdle)
	own := state.Pace.Idle.Seconds()
	if own == 0 || middle == 0 {
		return seconds(low, middle, high)
	}
	return seconds(min(own, own*low/middle), own, max(own, own*high/middle))
}

// cutover is how long an account is expected to be out of reach: the final pass
// finds little to do.
func (p *Measured) cutover(plan *plans.Plan, state ledger.State) Span {
	var all []float64
	if p != nil {
		all = p.around
	}
	settle := plan.Source.Freeze.Settle
	return seconds(quantiles(all, guessAround)).plus(p.pass(state)).plus(Span{settle, settle, settle})
}

// left is what of an account is not at the target yet, in bytes.
func left(state ledger.State) int64 {
	if state.Phase == ledger.New || state.Phase == ledger.Copying {
		return state.Bytes
	}
	return 0
}

// unsized says that nobody has looked into an account yet: it has an INBOX at least.
func unsized(state ledger.State) bool {
	return (state.Phase == ledger.New || state.Phase == ledger.Copying) && state.Folders == 0 && state.Bytes == 0
}

// bySize sorts small before large, as accounts are moved.
func bySize(a, b works) int { return cmp.Compare(a.bytes, b.bytes) }
