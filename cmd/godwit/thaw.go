package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
)

func thawCommand() *cobra.Command {
	var account string
	var overdue bool
	c := &cobra.Command{
		Use: "thaw PLAN", Short: "Release accounts that a broken run left frozen", Args: cobra.ExactArgs(1),
		Long: `Thaws what is frozen and nobody works on, with what the ledger keeps: the plan
need not be readable. Accounts on the way to their switch are left to "run".`,
		RunE: func(c *cobra.Command, args []string) error {
			name, output, ok := plans.Where(args[0])
			if !ok {
				return exit{exitWrong, fmt.Errorf("%s: no plan, or one without a name", args[0])}
			}
			now := time.Now()
			match := func(s ledger.State) bool {
				return (account == "" || s.Key.Account == account) && (!overdue || now.Before(s.FrozenAt) || !now.Before(s.Deadline))
			}
			left, err := release(c.Context(), filepath.Join(output, name+".ledger"), logger("text"), match)
			if err != nil {
				return err
			}
			var still []ledger.State
			for _, s := range left {
				if match(s) {
					still = append(still, s)
				}
			}
			if len(still) > 0 {
				return exit{exitFrozen, frozen(still, args[0])}
			}
			fmt.Fprintln(c.OutOrStdout(), "nothing is frozen any more that was asked for")
			return nil
		},
	}
	c.Flags().StringVar(&account, "account", "", "only this account")
	c.Flags().BoolVar(&overdue, "overdue", false, "only those past their deadline")
	return c
}

// reopen opens a ledger that exists, of whatever kind it is; a rehearsal goes
// on with the machine's clock.
func reopen(ctx context.Context, path string) (ledger.Ledger, pipeline.Clock, error) {
	look, err := sqlite.Read(ctx, path)
	if err != nil {
		return nil, pipeline.Clock{}, exit{exitWrong, err}
	}
	rehearsal, err := look.Rehearsal(ctx)
	if err := errors.Join(err, look.Close()); err != nil {
		return nil, pipeline.Clock{}, exit{exitWrong, err}
	}
	l, err := openLedger(ctx, path, rehearsal)
	return l, pipeline.Clock{}, err
}
