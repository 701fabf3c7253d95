package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages"
	"godwit/stages/sheet"
)

func validateCommand() *cobra.Command {
	var offline, asJSON bool
	c := &cobra.Command{
		Use: "validate PLAN", Short: "Check plan, lists and servers, change nothing", Args: cobra.ExactArgs(1),
		Long: `Checks the plan and its lists, and then the servers: TLS and login on both
sides for every account, what the target cannot hold, quota, the mail relay.`,
		RunE: func(c *cobra.Command, args []string) error {
			plan, err := load(args[0])
			if err != nil {
				return err
			}
			t, err := wire(plan, pipeline.Clock{})
			if err != nil {
				return exit{exitWrong, err}
			}
			services, accounts := count(plan)
			if offline {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s: plan and lists are in order: %d batches, %d services, %d accounts\n", plan.File, len(plan.Batches), services, accounts)
				return err
			}
			defer t.close()
			begun, err := begun(c.Context(), plan)
			if err != nil {
				return err
			}
			return live(c.Context(), c.OutOrStdout(), plan, t.validate(), begun, asJSON)
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "plan and lists only, no server is asked")
	c.Flags().BoolVar(&asJSON, "json", false, "findings as JSON, one a line")
	return c
}

func count(plan *plans.Plan) (services, accounts int) {
	for _, b := range plan.Batches {
		for s := range b.Services() {
			services++
			accounts += len(s.Accounts)
		}
	}
	return services, accounts
}

// begun are the accounts at whose target Godwit has been, as the ledger has it:
// that they exist there is no surprise.
func begun(ctx context.Context, plan *plans.Plan) (map[string]bool, error) {
	subjects, err := look(ctx, plan)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for s := range subjects {
		for address, state := range s.Accounts {
			all[address] = state.Phase != ledger.New || !state.PasswordAt.IsZero()
		}
	}
	return all, nil
}

// live prints what the servers say, service by service.
func live(ctx context.Context, out io.Writer, plan *plans.Plan, v stages.Validate, begun map[string]bool, asJSON bool) error {
	waiting, checked := 0, 0
	encoder := json.NewEncoder(out)
	tell := func(f stages.Finding) error {
		if f.Verdict == stages.Person || f.Verdict == stages.Again {
			waiting++
		}
		if asJSON {
			return encoder.Encode(f)
		}
		who := f.Account
		if who == "" {
			who = f.Service
		}
		verdict := string(f.Verdict)
		if f.Verdict == stages.Again {
			verdict = "try again"
		}
		_, err := fmt.Fprintf(out, "%s: %s: %s\n", who, verdict, sheet.Safe(f.Text))
		return err
	}
	for _, b := range plan.Batches {
		for service := range b.Services() {
			general, accounts := v.Check(ctx, b, service)
			if ctx.Err() != nil {
				return exit{exitInterrupted, errors.New("interrupted")}
			}
			for _, a := range accounts {
				checked++
				general = append(general, slices.DeleteFunc(a.Findings, func(f stages.Finding) bool {
					return f.Reason == "target-exists" && begun[f.Account]
				})...)
			}
			for _, f := range general {
				if err := tell(f); err != nil {
					return err
				}
			}
		}
	}
	if !asJSON {
		fmt.Fprintf(out, "%s: %d accounts checked, %d findings to mend\n", plan.File, checked, waiting)
	}
	if waiting > 0 {
		return exit{exitTrouble, errors.New("")}
	}
	return nil
}
