package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
)

// batches sums up what preview and status say of whole batches, in the order of
// the plan. It is for the operator.
type batches struct {
	names []string
	of    map[string]*batch
}

type batch struct {
	forecast pipeline.Forecaster
	states   []ledger.State // of accounts that were out of reach
}

// add takes a service into account.
func (b *batches) add(s pipeline.Subject, now time.Time) {
	if b.of == nil {
		b.of = map[string]*batch{}
	}
	name := s.Batch.Name
	if b.of[name] == nil {
		b.names = append(b.names, name)
		b.of[name] = &batch{}
	}
	one := b.of[name]
	one.forecast.Add(s, now)
	for _, a := range s.Service.Accounts {
		if state := s.Accounts[a.Address]; state.Interrupted > 0 { // a million that have yet to move would not fit
			one.states = append(one.states, state)
		}
	}
}

// batchLine is a line of JSON about a batch.
type batchLine struct {
	Batch         string                  `json:"batch"`
	Forecast      *pipeline.Forecast      `json:"forecast,omitempty"`
	Interruptions *pipeline.Interruptions `json:"interruptions,omitempty"`
}

// print says of each batch what lies ahead of it, and how long its users were
// kept out.
func (b *batches) print(out io.Writer, now time.Time, asJSON bool) error {
	for _, name := range b.names {
		line := batchLine{Batch: name}
		text := ""
		if ahead, ok := b.of[name].forecast.Forecast(now); ok {
			line.Forecast = &ahead
			text += ahead.String() + "\n"
		}
		if were := pipeline.InterruptionsOf(b.of[name].states); were.Accounts > 0 {
			line.Interruptions = &were
			text += fmt.Sprintf("%s: %d accounts were out of reach, half of them up to %.1f s, 95 of 100 up to %.1f s, the longest %.1f s\n", name, were.Accounts, were.Median, were.P95, were.Longest)
		}
		if text == "" {
			continue
		}
		var err error
		if asJSON {
			err = json.NewEncoder(out).Encode(line)
		} else {
			_, err = io.WriteString(out, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
