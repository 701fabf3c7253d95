package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"godwit/plans"
)

func schemaCommand() *cobra.Command {
	var reference bool
	c := &cobra.Command{
		Use: "schema", Short: "Print the plan's JSON Schema, for editors", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if reference {
				_, err := fmt.Fprintln(c.OutOrStdout(), plans.Reference())
				return err
			}
			schema, err := plans.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), string(schema))
			return err
		},
	}
	c.Flags().BoolVar(&reference, "reference", false, "the reference of all keys, as Markdown")
	return c
}
