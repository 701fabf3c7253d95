package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages"
)

func runCommand(hurry <-chan struct{}) *cobra.Command {
	var batch, now, format string
	var dry bool
	c := &cobra.Command{
		Use: "run PLAN", Short: "Do whatever is due, and stop", Args: cobra.ExactArgs(1),
		Long: `Does whatever is due now and whatever falls due while it works, and stops.
Call it every night or every quarter of an hour: what is done is not done again.
Ctrl-C finishes or undoes what is in flight; a second one undoes at once.`,
		RunE: func(c *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return exit{exitWrong, fmt.Errorf("--log-format %q: write text or json", format)}
			}
			if dry {
				return preview(c.Context(), c.OutOrStdout(), args[0], now, batch, false)
			}
			log := logger(format)
			plan, clock, err := planAt(args[0], now)
			saveMemory()
			if err != nil {
				return afterRelease(err, releaseWithoutPlan(c.Context(), args[0], log))
			}
			err = run(c.Context(), plan, clock, now != "", batch, hurry, log, c.ErrOrStderr())
			var e exit
			if errors.As(err, &e) && e.code == exitWrong { // nothing was started: but is somebody still frozen?
				return afterRelease(err, releaseWithoutPlan(c.Context(), args[0], log))
			}
			return err
		},
	}
	c.Flags().StringVar(&batch, "batch", "", "only this batch")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what is due, do nothing")
	c.Flags().StringVar(&now, "now", "", "rehearse: start the clock at this time (2026-12-01T22:00, in the plan's zone)")
	c.Flags().StringVar(&format, "log-format", "text", "text or json")
	return c
}

// saveMemory lets many accounts at once fit beside other programs. Bodies pass
// through in buffers: what else a run needs, beside its plan, is little.
func saveMemory() {
	if debug.SetMemoryLimit(-1) < math.MaxInt64 { // GOMEMLIMIT says something else
		return
	}
	live := func() int64 {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	least := 48<<20 + 2*live()
	debug.SetMemoryLimit(least)
	debug.SetGCPercent(400) // below the limit there is no hurry

	go func() { // a limit that is too low costs more time than memory is worth
		for range time.Tick(time.Second) {
			debug.SetMemoryLimit(max(least, live()*5/4))
		}
	}()
}

// planAt loads the plan and sets the clock: the machine's, or one that starts
// at now.
func planAt(file, now string) (*plans.Plan, pipeline.Clock, error) {
	plan, err := load(file)
	if err != nil || now == "" {
		return plan, pipeline.Clock{}, err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, now, plan.Timezone); err == nil {
			return plan, pipeline.Starting(at), nil
		}
	}
	return nil, pipeline.Clock{}, exit{exitWrong, fmt.Errorf("--now %q is no time; write 2026-12-01T22:00 (in the plan's zone) or 2026-12-01T22:00:00+01:00", now)}
}

func run(ctx context.Context, plan *plans.Plan, clock pipeline.Clock, rehearsal bool, batch string, hurry <-chan struct{}, log *slog.Logger, stderr io.Writer) (err error) {
	if batch != "" && !hasBatch(plan, batch) {
		return exit{exitWrong, fmt.Errorf("the plan has no batch %q", batch)}
	}
	t, err := wire(plan, clock)
	if err != nil {
		return exit{exitWrong, err}
	}
	output, err := prepareOutput(ctx, plan)
	if err != nil {
		return exit{exitWrong, err}
	}
	l, err := openLedger(ctx, ledgerFile(plan), rehearsal)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close(), l.Close(), output.Close()) }()
	show := newProgress(stderr)
	defer show.close()
	watch := &pipeline.Guard{Start: startGuard(ledgerFile(plan), t.freeze, clock, rehearsal), Log: log}
	runner := pipeline.Runner{
		Plan: plan, Ledger: l, Stages: t.stages(l, output, show.account), Guard: watch, Clock: clock, Log: log, Batch: batch, Hurry: hurry,
		Patience: 3 * time.Minute,
	}
	tally, err := runner.Run(ctx)
	return verdict(ctx, tally, errors.Join(err, watch.Close()), plan.File)
}

// verdict turns a run's end into an exit code; who may still be frozen comes
// last and loudest.
func verdict(ctx context.Context, tally pipeline.Tally, err error, plan string) error {
	var trouble error
	if tally.Trouble != nil {
		tally.Trouble.ErrorFormat = lines
		trouble = tally.Trouble
	}
	switch {
	case len(tally.Frozen) > 0:
		return exit{exitFrozen, errors.Join(err, trouble, frozen(tally.Frozen, plan))}
	case err != nil:
		return exit{exitTrouble, errors.Join(err, trouble)}
	case ctx.Err() != nil:
		return exit{exitInterrupted, errors.Join(trouble, errors.New("interrupted: what had begun is finished or undone"))}
	case trouble != nil:
		return exit{exitTrouble, trouble}
	}
	return nil
}

func lines(all []error) string {
	text := ""
	for i, err := range all {
		if i > 0 {
			text += "\n"
		}
		text += err.Error()
	}
	return text
}

func frozen(states []ledger.State, plan string) error {
	text := "\n*** ACCOUNTS MAY STILL BE FROZEN ***"
	for _, s := range states {
		if s.Phase == ledger.Switching {
			text += fmt.Sprintf("\n%s: its switch is not finished; try it again with: godwit thaw %s --account %s", s.Key.Account, plan, s.Key.Account)
			continue
		}
		text += fmt.Sprintf("\n%s: frozen since %s; thaw it with: godwit thaw %s --account %s", s.Key.Account, s.FrozenAt.Local().Format(time.RFC3339), plan, s.Key.Account)
	}
	return errors.New(text)
}

// releaseWithoutPlan thaws what is frozen although the plan cannot be read: a
// typo keeps nobody out.
func releaseWithoutPlan(ctx context.Context, file string, log *slog.Logger) error {
	name, output, ok := plans.Where(file)
	if !ok {
		return nil
	}
	path := filepath.Join(output, name+".ledger")
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	left, err := release(ctx, path, log, nil)
	if len(left) > 0 {
		return exit{exitFrozen, errors.Join(err, frozen(left, file))}
	}
	return err
}

// afterRelease joins what is wrong with the plan and how the release ended:
// who may still be frozen comes last, and decides the exit code.
func afterRelease(wrong, released error) error {
	var e exit
	if errors.As(released, &e) && e.code == exitFrozen {
		return exit{exitFrozen, errors.Join(wrong, released)}
	}
	return errors.Join(wrong, released)
}

// release thaws the accounts that match, with nothing but the ledger.
func release(ctx context.Context, path string, log *slog.Logger, match func(ledger.State) bool) (left []ledger.State, err error) {
	l, clock, err := reopen(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return pipeline.Release(ctx, l, rescuers(clock), clock, log, match)
}

// rescuers are the stages that end a cutover without the plan.
func rescuers(clock pipeline.Clock) []pipeline.Stage {
	open := new(freezers).open
	return []pipeline.Stage{stages.Freeze{Open: open, Now: clock.Now}, stages.Credentials{Open: open, Now: clock.Now}}
}

func hasBatch(plan *plans.Plan, name string) bool {
	for _, b := range plan.Batches {
		if b.Name == name {
			return true
		}
	}
	return false
}
