package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
	"godwit/stages"
	"godwit/stages/sheet"
)

func statusCommand() *cobra.Command {
	var asJSON, signIns bool
	var now string
	c := &cobra.Command{
		Use: "status PLAN [ACCOUNT|SERVICE]", Short: "Say what happened, what comes next and what you can do", Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			plan, clock, err := planAt(args[0], now)
			if err != nil {
				return err
			}
			which := ""
			if len(args) == 2 {
				which = args[1]
			}
			var ask *stages.SignIns
			if signIns {
				t, err := wire(plan, clock)
				if err != nil {
					return exit{exitWrong, err}
				}
				ask = &stages.SignIns{Plan: plan, Admins: t.admins, Now: clock.Now}
			}
			return status(c.Context(), c.OutOrStdout(), plan, clock.Now(), which, asJSON, ask)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON, one account a line, and then one for each batch")
	c.Flags().BoolVar(&signIns, "sign-ins", false, "ask the target now who has not signed in since the move, where it tells; else as of the last catch-up pass")
	c.Flags().StringVar(&now, "now", "", "as of this time")
	return c
}

// standing is what status says of an account.
type standing struct {
	Batch   string             `json:"batch"`
	Service string             `json:"service"`
	Account string             `json:"account"`
	Status  string             `json:"status"`
	Detail  string             `json:"detail,omitempty"`
	Next    []pipeline.Planned `json:"next,omitempty"`
	Hint    string             `json:"hint,omitempty"`
	History []ledger.Entry     `json:"history,omitempty"`

	Awaited      *time.Time `json:"not_signed_in,omitempty"`        // as of then
	Interruption float64    `json:"interruption_seconds,omitempty"` // over all its freezes
}

func status(ctx context.Context, out io.Writer, plan *plans.Plan, now time.Time, which string, asJSON bool, ask *stages.SignIns) error {
	subjects, err := look(ctx, plan)
	if err != nil {
		return err
	}
	var all []standing
	var sums batches
	for s := range subjects {
		if which == "" {
			sums.add(s, now)
		}
		for _, a := range s.Service.Accounts {
			if which != "" && which != a.Address && which != s.Service.Name {
				continue
			}
			if ask != nil {
				askSignIn(ctx, *ask, s, a)
			}
			all = append(all, standingOf(s, a, now, plan.File))
		}
	}
	if which != "" && len(all) == 0 {
		return exit{exitWrong, fmt.Errorf("the plan has no account or service %q", which)}
	}
	if which != "" {
		if err := histories(ctx, plan, all, which); err != nil {
			return err
		}
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		for _, s := range all {
			if err := encoder.Encode(s); err != nil {
				return err
			}
		}
		return sums.print(out, now, true)
	}
	if err := table(out, all, plan.Timezone); err != nil {
		return err
	}
	return sums.print(out, now, false)
}

func standingOf(s pipeline.Subject, a plans.Account, now time.Time, file string) standing {
	state := s.Accounts[a.Address]
	st := standing{Batch: s.Batch.Name, Service: s.Service.Name, Account: a.Address, Status: pipeline.Status(a, state, s.State), Detail: state.Detail, Interruption: state.Interrupted.Round(100 * time.Millisecond).Seconds()}
	if st.Detail == "" && st.Status != "done" && st.Status != "skipped" {
		st.Detail = s.State.Detail
	}
	st.Detail = strings.ReplaceAll(st.Detail, " PLAN ", " "+file+" ")
	switch {
	case a.Action != "migrate":
		st.Detail = a.Reason
	case state.Back():
		st.Detail, st.Hint = back(s, state, now, file)
	case st.Status == "held", st.Status == "failed":
		st.Hint = hint(s, a, state, file)
	case state.Phase == ledger.Switching:
		st.Detail = "its switch is not finished, and is asked for again: " + state.Detail
		st.Hint = fmt.Sprintf("if no run is at work: godwit thaw %s --account %s", file, a.Address)
	case st.Status == "frozen":
		zone := s.Plan.Timezone
		st.Detail = "frozen since " + state.FrozenAt.In(zone).Format("15:04:05") + ", must be open by " + state.Deadline.In(zone).Format("15:04:05")
		st.Hint = fmt.Sprintf("if no run is at work: godwit thaw %s --account %s", file, a.Address)
	case st.Status == "done":
		if until := state.SwitchedAt.Add(s.Plan.RollbackFor); now.Before(until) {
			st.Detail = "a rollback is possible until " + until.In(s.Plan.Timezone).Format("2006-01-02 15:04")
		}
		if !state.Awaited.IsZero() {
			st.Awaited = &state.Awaited
			st.Detail = strings.TrimPrefix(st.Detail+"; "+awaited(state, s.Plan.Timezone), "; ")
		}
		if state.Clients != "" {
			st.Detail = strings.TrimPrefix(st.Detail+"; "+state.Clients, "; ")
		}
	default:
		st.Next = pipeline.Schedule(s, now)
	}
	return st
}

// askSignIn has the target say whether the user has been there.
func askSignIn(ctx context.Context, ask stages.SignIns, s pipeline.Subject, a plans.Account) {
	state := s.Accounts[a.Address]
	at, err := ask.Awaited(ctx, pipeline.Task{Batch: s.Batch, Service: s.Service, Account: a}, state)
	if err != nil {
		logger("text").Warn(a.Address, "error", err)
		return
	}
	state.Awaited = at
	s.Accounts[a.Address] = state
}

// awaited says that the user has not been at the target yet.
func awaited(state ledger.State, zone *time.Location) string {
	as := state.Awaited.In(zone).Format("2006-01-02 15:04")
	if state.PasswordSet.IsZero() {
		return "no sign-in at the target since the move, as of " + as + " (the platform may tell of one up to a week late)"
	}
	return "has not signed in with the temporary password yet, as of " + as
}

// back says how an account that is rolled back stands, and what a person can do.
func back(s pipeline.Subject, state ledger.State, now time.Time, file string) (detail, hint string) {
	again := fmt.Sprintf("godwit rollback %s --service %s", file, s.Service.Name)
	if state.Phase == ledger.RollingBack {
		return cmp.Or(state.Detail, "its rollback was interrupted"), "finish it: " + again
	}
	hint = fmt.Sprintf("to move it again, give its batch a later date, then: godwit retry %s --service %s; it is announced anew", file, s.Service.Name)
	if until := state.RolledAt.Add(s.Plan.RollbackFor); now.Before(until) {
		hint = fmt.Sprintf("what arrives late at the target, until %s: %s; %s", until.In(s.Plan.Timezone).Format("2006-01-02 15:04"), again, hint)
	}
	return fmt.Sprintf("%d messages carried back", state.CarriedBack), hint
}

// hint says what a person can do for an account that waits for one.
func hint(s pipeline.Subject, a plans.Account, state ledger.State, file string) string {
	which, holds := "--account "+a.Address, state
	if state.Trouble == ledger.None {
		which, holds = "--service "+s.Service.Name, s.State
	}
	if holds.Origin == pipeline.ByPlan && holds.Reason == "notice-late" {
		return "change the plan as it says; it goes on by itself"
	}
	return fmt.Sprintf("mend the cause, then: godwit retry %s %s", file, which)
}

// histories adds what happened to one account, or to one service.
func histories(ctx context.Context, plan *plans.Plan, all []standing, which string) error {
	l, err := sqlite.Read(ctx, ledgerFile(plan))
	if errors.Is(err, os.ErrNotExist) {
		return nil // nothing has happened yet
	}
	if err != nil {
		return exit{exitWrong, err}
	}
	defer l.Close()
	for i, s := range all {
		key := ledger.Key{Batch: s.Batch, Service: s.Service, Account: s.Account}
		if which == s.Service && i > 0 {
			continue
		}
		if which == s.Service {
			key.Account = ""
		}
		for e, err := range l.Entries(ctx, key) {
			if err != nil {
				return err
			}
			all[i].History = append(all[i].History, e)
		}
	}
	return nil
}

func table(out io.Writer, all []standing, zone *time.Location) error {
	counts := map[string]int{}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, s := range all {
		counts[s.Status]++
		next := ""
		if len(s.Next) > 0 {
			next = "next: " + s.Next[0].What + " " + s.Next[0].At.In(zone).Format("2006-01-02 15:04")
		}
		var rest []string // in one cell: a long reason would push what to do off the screen on every line
		for _, text := range []string{sheet.Safe(s.Detail), next + s.Hint} {
			if text != "" {
				rest = append(rest, text)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Batch, s.Account, s.Status, strings.Join(rest, "; "))
	}
	if err := w.Flush(); err != nil { // the history has columns of its own
		return err
	}
	for _, s := range all {
		for _, e := range s.History {
			fmt.Fprintf(w, "  %s\t%s\t%s %s\t%s\t%s\n", e.At.In(zone).Format(time.RFC3339), e.Key.Account, e.Stage, e.Effect, e.Mark, sheet.Safe(e.Text))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d accounts: %s\n", len(all), sum(counts))
	return err
}

// sum says how many accounts stand where.
func sum(counts map[string]int) string {
	var sums []string
	for _, word := range []string{"pending", "notified", "copying", "ready", "frozen", "done", "deferred", "failed", "held", "skipped", "rolled-back"} {
		if counts[word] > 0 {
			sums = append(sums, fmt.Sprintf("%d %s", counts[word], word))
		}
	}
	return strings.Join(sums, ", ")
}
