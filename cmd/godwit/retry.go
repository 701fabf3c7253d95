package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
)

func retryCommand() *cobra.Command {
	var account, service string
	c := &cobra.Command{
		Use: "retry PLAN", Short: "Say: go on, to what is held or has failed", Args: cobra.ExactArgs(1),
		Long: `A person's word that an account or a service may go on: its trouble is cleared,
notices that were refused or are unknown go out again at the next run. What was
rolled back, named with --account or --service, may move again: it is announced
anew, so give its batch a later date first.`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if account != "" && service != "" {
				return exit{exitWrong, errors.New("--account or --service, not both; neither means everything")}
			}
			plan, err := load(args[0])
			if err != nil {
				return err
			}
			l, clock, stuck, err := reopenReleased(c.Context(), plan)
			if err != nil {
				return err
			}
			defer func() { err = afterRelease(errors.Join(err, l.Close()), stuck) }()
			var batches []string
			for _, b := range plan.Batches {
				batches = append(batches, b.Name)
			}
			match := func(k ledger.Key) bool {
				return account == "" && service == "" || account != "" && k.Account == account || service != "" && k.Service == service
			}
			again := 0
			if account+service != "" { // never by a word that is meant for all
				if again, err = pipeline.MoveAgain(c.Context(), l, clock, batches, match); err != nil {
					return err
				}
			}
			n, err := pipeline.Retry(c.Context(), l, clock, batches, match)
			if err != nil {
				return err
			}
			n += again
			if n == 0 {
				if err := unplanned(plan, account, service); err != nil {
					return exit{exitWrong, err}
				}
				return exit{exitWrong, fmt.Errorf("nothing of %s is held or has failed", account+service+map[bool]string{true: "the plan"}[account+service == ""])}
			}
			fmt.Fprintf(c.OutOrStdout(), "%d cleared; the next run goes on: godwit run %s\n", n, args[0])
			return nil
		},
	}
	c.Flags().StringVar(&account, "account", "", "this account")
	c.Flags().StringVar(&service, "service", "", "this service and its accounts")
	return c
}

// unplanned says that the plan has no such account or service: a slip of the
// pen, where nothing was found. Both may be "".
func unplanned(plan *plans.Plan, account, service string) error {
	for _, b := range plan.Batches {
		for s := range b.Services() {
			has := slices.ContainsFunc(s.Accounts, func(a plans.Account) bool { return a.Address == account })
			if (service == "" || s.Name == service) && (account == "" || has) {
				return nil
			}
		}
	}
	return fmt.Errorf("the plan has no account or service %q", cmp.Or(account, service))
}
