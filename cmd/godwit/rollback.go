package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
	"godwit/stages"
)

func rollbackCommand(hurry <-chan struct{}) *cobra.Command {
	var service, now string
	var dry bool
	c := &cobra.Command{
		Use: "rollback PLAN --service S", Short: "Put a service back where it came from", Args: cobra.ExactArgs(1),
		Long: `Puts the accounts of a service back, for rollback_for after their switch: the
driver routes them to the source again, what arrived at the target since the
cutover is carried home, each message once, and everybody who got a notice is
told. Nothing else at the source is changed; the target keeps what it has.
Repeat it after an interruption, and later for what arrives late.`,
		RunE: func(c *cobra.Command, args []string) error {
			if service == "" {
				return exit{exitWrong, errors.New("say which service: --service S")}
			}
			plan, clock, err := planAt(args[0], now)
			if err != nil {
				return err
			}
			if dry {
				return lookBack(c.Context(), c.OutOrStdout(), plan, clock, service)
			}
			return rollback(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), plan, clock, now != "", service, hurry)
		},
	}
	c.Flags().StringVar(&service, "service", "", "this service")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be carried back, do nothing")
	c.Flags().StringVar(&now, "now", "", "of a rehearsal: start the clock at this time")
	return c
}

func rollback(ctx context.Context, out, stderr io.Writer, plan *plans.Plan, clock pipeline.Clock, rehearsal bool, service string, hurry <-chan struct{}) (err error) {
	t, err := wire(plan, clock)
	if err != nil {
		return exit{exitWrong, err}
	}
	if _, err := os.Stat(ledgerFile(plan)); err != nil {
		return exit{exitWrong, fmt.Errorf("nothing to roll back: there is no ledger %s", ledgerFile(plan))}
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
	runner := pipeline.Runner{
		Plan: plan, Ledger: l, Clock: clock, Log: logger("text"), Hurry: hurry,
		Stages: append(t.stages(l, output, show.account), t.rollback(show.account)),
	}
	tally, err := runner.Rollback(ctx, service, func(account string, result pipeline.Result) {
		fmt.Fprintf(out, "%s: back at the source, %s\n", account, result.Text)
	})
	if errors.Is(err, pipeline.ErrNothingToRollBack) {
		return exit{exitWrong, err}
	}
	return verdict(ctx, tally, err, plan.File)
}

// lookBack says what a rollback would carry home.
func lookBack(ctx context.Context, out io.Writer, plan *plans.Plan, clock pipeline.Clock, service string) (err error) {
	l, err := sqlite.Read(ctx, ledgerFile(plan))
	if err != nil {
		return exit{exitWrong, fmt.Errorf("nothing to roll back: %w", err)}
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	t, err := wire(plan, clock)
	if err != nil {
		return exit{exitWrong, err}
	}
	subjects, err := look(ctx, plan)
	if err != nil {
		return err
	}
	for s := range subjects {
		if s.Service.Name != service {
			continue
		}
		list, late, err := pipeline.ToRollBack(s, clock.Now())
		if err != nil {
			return exit{exitWrong, err}
		}
		for _, a := range list {
			late = errors.Join(late, t.lookBack(ctx, out, l, clock, s, a))
		}
		if late != nil {
			return exit{exitTrouble, late}
		}
		return nil
	}
	return exit{exitWrong, fmt.Errorf("the plan has no service %q", service)}
}

func (t *tools) lookBack(ctx context.Context, out io.Writer, l ledger.Ledger, clock pipeline.Clock, s pipeline.Subject, a plans.Account) error {
	return pipeline.Looking(ctx, l, clock, s, a, func(task pipeline.Task, journal pipeline.Journal) error {
		found, err := t.rollback(nil).Look(ctx, task, journal)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Address, err)
		}
		fmt.Fprintf(out, "%s: %d messages (%d bytes) would be carried back\n", a.Address, found.Waiting, found.Bytes)
		for _, f := range found.Folders {
			fmt.Fprintf(out, "  %s: %d\n", f.Folder, f.Messages)
		}
		return nil
	})
}

// rollback is the stage beside the way.
func (t *tools) rollback(progress func(account string, done, total int64)) stages.Rollback {
	return stages.Rollback{Plan: t.plan, Servers: t.servers, Open: t.freezers.open, Vault: t.vault, Now: t.clock.Now, Progress: progress}
}
