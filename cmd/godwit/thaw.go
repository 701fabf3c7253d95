package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
	"godwit/stages"
)

func thawCommand() *cobra.Command {
	var account string
	var overdue bool
	c := &cobra.Command{
		Use: "thaw PLAN", Short: "Release accounts that a broken run left frozen", Args: cobra.ExactArgs(1),
		Long: `Thaws what is frozen and nobody works on, with what the ledger keeps: the plan
need not be readable. An account that has passed the point of no return is not
thawed but switched. PLAN may also be the ledger's file. With --overdue those past
their deadline are thawed also beside a run that holds the plan and hangs.`,
		RunE: func(c *cobra.Command, args []string) error {
			path := args[0]
			if filepath.Ext(path) != ".ledger" {
				name, output, ok := plans.Where(path)
				if !ok {
					return exit{exitWrong, fmt.Errorf("%s: no plan, or one without a name; give the ledger's file instead, NAME.ledger in its output folder", path)}
				}
				path = filepath.Join(output, name+".ledger")
			}
			asked := 0
			match := func(s ledger.State) bool {
				return (account == "" || s.Key.Account == account) && (!overdue || pipeline.Overdue(s, pipeline.Clock{}))
			}
			left, err := release(c.Context(), path, logger("text"), counting(match, &asked))
			var e exit
			if overdue && errors.As(err, &e) && e.code == exitBusy {
				left, err = thawBeside(c.Context(), path, counting(match, &asked))
			}
			var still []ledger.State
			for _, s := range left {
				if match(s) {
					still = append(still, s)
				}
			}
			switch {
			case len(still) > 0:
				return exit{exitFrozen, errors.Join(err, frozen(still, args[0]))}
			case err != nil:
				return err
			case asked == 0 && account != "" && len(left) > 0:
				return exit{exitFrozen, errors.Join(fmt.Errorf("%s is not frozen", account), frozen(left, args[0]))}
			case asked == 0 && account != "":
				return exit{exitWrong, fmt.Errorf("%s is not frozen, nor is anybody else", account)}
			case asked == 0:
				fmt.Fprintln(c.OutOrStdout(), "nobody is frozen")
			default:
				fmt.Fprintf(c.OutOrStdout(), "%d released\n", asked)
			}
			return nil
		},
	}
	c.Flags().StringVar(&account, "account", "", "only this account")
	c.Flags().BoolVar(&overdue, "overdue", false, "only those past their deadline")
	return c
}

// thawBeside thaws beside a run that holds the ledger, and hangs or it would do
// so itself; its ledger is left alone. From the deadline on no switch begins that
// does not stand in the ledger already (pipeline.Guard). It returns who is still
// frozen.
func thawBeside(ctx context.Context, path string, match func(ledger.State) bool) (left []ledger.State, err error) {
	l, err := sqlite.Read(ctx, path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	underway, err := l.Underway(ctx)
	if err != nil {
		return nil, err
	}
	rescue := stages.Rescue{Open: new(freezers).open}
	for _, s := range underway {
		if !match(s) {
			continue
		}
		failed := errors.New("its switch has begun, and is not finished")
		if s.Phase != ledger.Switching {
			failed = rescue.Thaw(ctx, s)
		}
		if failed != nil {
			left = append(left, s)
			err = errors.Join(err, fmt.Errorf("%s: %w", s.Key.Account, failed))
		}
	}
	return left, err
}

// counting counts what match lets through; Release asks it from many goroutines.
func counting(match func(ledger.State) bool, n *int) func(ledger.State) bool {
	var mu sync.Mutex
	return func(s ledger.State) bool {
		ok := match(s)
		if ok {
			mu.Lock()
			*n++
			mu.Unlock()
		}
		return ok
	}
}

// reopenReleased opens the ledger of a plan to change it. Whatever a start is
// for, nobody stays locked out meanwhile: first it releases what an earlier run
// left. stuck is how that ended, to be said last.
func reopenReleased(ctx context.Context, plan *plans.Plan) (l ledger.Ledger, clock pipeline.Clock, stuck, err error) {
	l, clock, err = reopen(ctx, ledgerFile(plan))
	if err != nil {
		return nil, clock, nil, err
	}
	left, stuck := pipeline.Release(ctx, l, rescuers(clock), clock, logger("text"), nil)
	if len(left) > 0 {
		stuck = exit{exitFrozen, errors.Join(stuck, frozen(left, plan.File))}
	}
	return l, clock, stuck, nil
}

// reopen opens a ledger that exists, of whatever kind it is; a rehearsal goes
// on with the machine's clock.
func reopen(ctx context.Context, path string) (ledger.Ledger, pipeline.Clock, error) {
	look, err := sqlite.Read(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, pipeline.Clock{}, exit{exitWrong, fmt.Errorf("there is no ledger %s: no run has been made yet", path)}
	}
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
