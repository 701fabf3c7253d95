package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/plans"
)

func reportCommand() *cobra.Command {
	var closing string
	c := &cobra.Command{
		Use: "report PLAN", Short: "Write reports and lists again from the ledger", Args: cobra.ExactArgs(1),
		Long: `Writes every report and password list again from the ledger. With --close BATCH
the batch's key is destroyed after that: Godwit then holds no copy of its
temporary passwords, and the lists that were written are the only ones.`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			plan, err := load(args[0])
			if err != nil {
				return err
			}
			if closing != "" && !hasBatch(plan, closing) {
				return exit{exitWrong, fmt.Errorf("the plan has no batch %q", closing)}
			}
			l, clock, stuck, err := reopenReleased(ctx, plan)
			if err != nil {
				return err
			}
			defer func() { err = afterRelease(errors.Join(err, l.Close()), stuck) }()
			t, err := wire(plan, clock)
			if err != nil {
				return exit{exitWrong, err}
			}
			output, err := prepareOutput(ctx, plan)
			if err != nil {
				return exit{exitWrong, err}
			}
			defer func() { err = errors.Join(err, output.Close()) }()
			if closing != "" {
				if err := closable(c.Context(), plan, closing); err != nil {
					return err
				}
			}
			if err := pipeline.Rewrite(ctx, plan, l, t.stages(l, output, nil), clock); err != nil {
				return err
			}
			if closing == "" {
				return nil
			}
			if err := t.vault.Destroy(closing); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "batch %s is closed: its key is destroyed, the lists in %s hold the only copies of its passwords\n", closing, filepath.Join(outputDir(plan), closing))
			return err
		},
	}
	c.Flags().StringVar(&closing, "close", "", "destroy this batch's key: Godwit forgets its passwords")
	return c
}

// closable refuses to close a batch whose temporary passwords are still needed.
func closable(ctx context.Context, plan *plans.Plan, batch string) error {
	subjects, err := look(ctx, plan)
	if err != nil {
		return err
	}
	var waiting []string
	for s := range subjects {
		for _, a := range s.Service.Accounts {
			status := pipeline.Status(a, s.Accounts[a.Address], s.State)
			if s.Batch.Name == batch && a.Passwords == "temporary" && status != "done" && status != "skipped" {
				waiting = append(waiting, a.Address+" ("+status+")")
			}
		}
	}
	if len(waiting) > 0 {
		return exit{exitWrong, fmt.Errorf("batch %s still needs its passwords for %s", batch, strings.Join(waiting, ", "))}
	}
	return nil
}
