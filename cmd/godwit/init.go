package main

import (
	"bytes"
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
			examples, err := fs.Sub(plans.Examples, "examples")
			if err != nil {
				return err
			}
			// Looked at before anything is written: a refusal leaves no half.
			err = fs.WalkDir(examples, ".", func(name string, d fs.DirEntry, err error) error {
				path := filepath.Join(dir, name)
				if _, there := os.Lstat(path); err == nil && !d.IsDir() && there == nil {
					return fmt.Errorf("%s is there already and may be somebody's plan: name another folder", path)
				}
				return err
			})
			if err != nil {
				return exit{exitWrong, err}
			}
			err = fs.WalkDir(examples, ".", func(name string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if d.IsDir() {
					return os.MkdirAll(filepath.Join(dir, name), 0o700)
				}
				data, err := fs.ReadFile(examples, name)
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
// A program gets its executable bit, which an embedded file does not have.
func writeNew(path string, data []byte) error {
	mode := fs.FileMode(0o600)
	if bytes.HasPrefix(data, []byte("#!")) {
		mode = 0o700
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
