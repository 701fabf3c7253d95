// Godwit moves mailboxes in batches, as a programme written down in files.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes (README, Exit codes). An error without one is exitWrong before a
// command starts, and exitTrouble after.
const (
	exitDone        = 0
	exitTrouble     = 1   // some accounts are deferred, failed or held
	exitWrong       = 2   // plan, lists or usage wrong; nothing was done
	exitBusy        = 3   // another run holds the plan
	exitFrozen      = 4   // accounts may still be frozen
	exitInterrupted = 130 // all undone or finished
)

// exit is an error with the code that the program ends with.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return e.err.Error() }
func (e exit) Unwrap() error { return e.err }

func main() { os.Exit(Main(os.Args[1:])) }

// Main runs one command and returns the exit code.
func Main(args []string) int {
	ctx, hurry, stop := signals()
	defer stop()
	debug.SetGCPercent(50) // a plan of a million accounts has to fit beside other programs
	root := commands(hurry)
	started := false // flags and arguments are accepted
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	var e exit
	coded := errors.As(err, &e)
	switch text := err.Error(); {
	case text != "" && (started || coded):
		fmt.Fprintln(os.Stderr, text)
	case text != "":
		fmt.Fprintf(os.Stderr, "%s; see %s --help\n", text, command.CommandPath())
	}
	switch {
	case coded:
		return e.code
	case started:
		return exitTrouble
	}
	return exitWrong
}

// signals ends the context at the first Ctrl-C or SIGTERM; the second closes
// hurry: undo at once.
func signals() (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 2)
	hurry := make(chan struct{})
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-caught
		cancel()
		<-caught
		close(hurry)
	}()
	return ctx, hurry, func() { signal.Stop(caught); cancel() }
}

func commands(hurry <-chan struct{}) *cobra.Command {
	root := &cobra.Command{
		Use:   "godwit",
		Short: "Moves mailboxes in batches, as a programme written down in files",
		Long: `Godwit moves mailboxes in batches, as a programme written down in files.
A plan (YAML) and account lists (CSV) say who moves when; a nightly
"godwit run PLAN" does whatever is due. Begin with: godwit init DIR`,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(
		initCommand(), schemaCommand(), validateCommand(), previewCommand(), runCommand(hurry), statusCommand(),
		reportCommand(), verifyCommand(), retryCommand(), thawCommand(), rollbackCommand(hurry), demoCommand(), hookCommand(), guardCommand(), versionCommand(),
	)
	return root
}
