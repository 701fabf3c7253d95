package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"godwit/plans"
)

func initCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init DIR", Short: "Write a commented plan and a list to start from", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := args[0]
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return exit{exitWrong, err}
			}
			err := fs.WalkDir(plans.Examples, "examples", func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				name, _ := filepath.Rel("examples", path)
				if d.IsDir() {
					return os.MkdirAll(filepath.Join(dir, name), 0o700)
				}
				data, err := plans.Examples.ReadFile(path)
				if err != nil {
					return err
				}
				return writeNew(filepath.Join(dir, name), data)
			})
			if err != nil {
				return exit{exitWrong, err}
			}
			fmt.Fprintf(c.OutOrStdout(), "edit the plans in %s, then: godwit validate %s --offline\n", dir, filepath.Join(dir, "small.yaml"))
			return nil
		},
	}
}

// writeNew never writes over a file that is there: it may be somebody's plan.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
