// Command godwit-lab starts real mail servers on loopback, fills mailboxes and
// compares them: for tests and benchmarks, never for customers' mail. It
// imports nothing of Godwit's, so that what it finds does not depend on what
// it checks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// errDiffers ends compare with 1 after the differences were printed.
var errDiffers = errors.New("the mailboxes differ")

// A command reads its arguments from args and secrets from files or stdin.
type command func(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error

var commands = map[string]command{
	"up":       up,
	"user":     user,
	"hook":     hook,
	"fill":     fill,
	"act":      act,
	"compare":  compare,
	"snapshot": snapshot,
	"judge":    judge,
	"proxy":    proxy,
	"reap":     reap,
	"bench":    bench,
}

func main() {
	// Servers are started with Pdeathsig, which follows the thread that
	// started them: this one has to live as long as the process.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, errLater):
		fmt.Fprintln(os.Stderr, "godwit-lab:", err)
		os.Exit(75)
	case !errors.Is(err, errDiffers):
		fmt.Fprintln(os.Stderr, "godwit-lab:", err)
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(args) == 0 || commands[args[0]] == nil {
		return fmt.Errorf("say one of: %s; each explains itself with -h", strings.Join(names, ", "))
	}
	return commands[args[0]](ctx, args[1:], stdin, stdout)
}

// flags returns a flag set that explains itself with usage.
func flags(name, usage string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.Usage = func() {
		fmt.Fprintln(set.Output(), "usage: godwit-lab "+usage)
		set.PrintDefaults()
	}
	return set
}
