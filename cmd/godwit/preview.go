package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
	"godwit/stages/sheet"
)

func previewCommand() *cobra.Command {
	var now, batch string
	var asJSON bool
	c := &cobra.Command{
		Use: "preview PLAN", Short: "Say what is due and what lies ahead, do nothing", Args: cobra.ExactArgs(1),
		Long: "Says what is due and what lies ahead, and what the plan no longer keeps of what\nwas announced. Does nothing.\n\n" + locked(),
		RunE: func(c *cobra.Command, args []string) error {
			return preview(c.Context(), c.OutOrStdout(), args[0], now, batch, asJSON)
		},
	}
	c.Flags().StringVar(&now, "now", "", "as of this time (2026-12-01T22:00, in the plan's zone)")
	c.Flags().StringVar(&batch, "batch", "", "only this batch")
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// outlook is what preview says of a service.
type outlook struct {
	Batch    string             `json:"batch"`
	Service  string             `json:"service"`
	Accounts int                `json:"accounts"`
	Due      []string           `json:"due"`
	Held     string             `json:"held,omitempty"`
	Broken   []pipeline.Broken  `json:"broken,omitempty"`
	Ahead    []pipeline.Planned `json:"ahead"`
}

func preview(ctx context.Context, out io.Writer, file, now, batch string, asJSON bool) error {
	plan, clock, err := planAt(file, now)
	if err != nil {
		return err
	}
	if batch != "" && !hasBatch(plan, batch) {
		return exit{exitWrong, fmt.Errorf("the plan has no batch %q", batch)}
	}
	subjects, err := look(ctx, plan)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	var ahead batches
	for s := range subjects {
		if batch != "" && s.Batch.Name != batch {
			continue
		}
		ahead.add(s, clock.Now())
		o := outlookOf(s, clock.Now())
		if asJSON {
			err = encoder.Encode(o)
		} else {
			err = o.print(out, plan.Timezone)
		}
		if err != nil {
			return err
		}
	}
	return ahead.print(out, clock.Now(), asJSON)
}

func outlookOf(s pipeline.Subject, now time.Time) outlook {
	o := outlook{Batch: s.Batch.Name, Service: s.Service.Name, Accounts: len(s.Service.Accounts), Ahead: pipeline.Schedule(s, now), Due: []string{}}
	for _, t := range pipeline.Due(s, now) {
		o.Due = append(o.Due, t.String())
	}
	if b := pipeline.Blocked(s, now); b != nil {
		o.Held = b.Text
	}
	o.Broken = pipeline.BrokenPromises(s, now)
	return o
}

// comes says what a meaning comes to in the next run.
var comes = map[pipeline.Meaning]string{
	pipeline.Again:     `the notice "changed" goes out`,
	pipeline.CalledOff: `the notice "cancelled" goes out`,
	pipeline.Waits:     "held",
}

// locked is the table of edits, for people who are about to make one.
func locked() string {
	says := []struct {
		meaning pipeline.Meaning
		text    string
	}{
		{pipeline.Again, "is announced again, or holds the accounts where that would come too late"},
		{pipeline.Sent, "sends what is missing, or holds where that would come too late"},
		{pipeline.CalledOff, "calls the move off (skip), or holds the account (hold)"},
		{pipeline.Waits, "holds"},
		{pipeline.Anew, "begins anew: the ledger is another one, and knows of no notice"},
	}
	var b strings.Builder
	b.WriteString("Announced means locked. After the first notice an edit of\n")
	for _, s := range says {
		var keys []string
		for _, e := range pipeline.Edits {
			if e.Between == s.meaning {
				keys = append(keys, e.Keys...)
			}
		}
		fmt.Fprintf(&b, "  %s\n    %s\n", strings.Join(keys, "\n  "), s.text)
	}
	b.WriteString("All other keys and columns can be edited at any time; a cutover that has begun ends as it began.")
	return b.String()
}

func (o outlook) print(out io.Writer, zone *time.Location) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s (%d accounts)\n", o.Batch, o.Service, o.Accounts)
	if o.Held != "" {
		fmt.Fprintf(&b, "  held: %s\n", o.Held)
	}
	for _, p := range o.Broken {
		if p.Text != o.Held {
			fmt.Fprintf(&b, "  %s (%s): %s\n", p.Text, sheet.Safe(few(p.Accounts)), comes[p.Meaning])
		}
	}
	for _, due := range o.Due {
		fmt.Fprintf(&b, "  now: %s\n", due)
	}
	for _, p := range o.Ahead {
		fmt.Fprintf(&b, "  %s %s\n", p.At.In(zone).Format("2006-01-02 15:04 MST"), p.What)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// few names accounts, as many as fit a line.
func few(accounts []string) string {
	if len(accounts) > 3 {
		return fmt.Sprintf("%s and %d more", accounts[0], len(accounts)-1)
	}
	return strings.Join(accounts, ", ")
}

// look yields every service with what the ledger says of it; a plan that never
// ran has an empty ledger.
func look(ctx context.Context, plan *plans.Plan) (iter.Seq[pipeline.Subject], error) {
	l, err := sqlite.Read(ctx, ledgerFile(plan))
	if errors.Is(err, os.ErrNotExist) {
		return pipeline.Subjects(plan, nil), nil
	}
	if err != nil {
		return nil, exit{exitWrong, err}
	}
	all := map[string][]ledger.State{}
	for _, b := range plan.Batches {
		if all[b.Name], err = l.States(ctx, b.Name); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return pipeline.Subjects(plan, all), l.Close()
}
