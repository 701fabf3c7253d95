package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/stages"
)

// guardCommand is the process that thaws what a run leaves behind. Runs start it
// (startGuard); people have thaw.
func guardCommand() *cobra.Command {
	var now string
	cmd := &cobra.Command{
		Use: "guard LEDGER", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			// Whatever ends the run, its terminal or its log is not to end us.
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
			clock := pipeline.Clock{}
			if now != "" {
				at, err := time.Parse(time.RFC3339Nano, now)
				if err != nil {
					return exit{exitWrong, err}
				}
				clock = pipeline.Starting(at)
			}
			if err := guard(context.Background(), args[0], clock); err != nil {
				return exit{exitFrozen, err}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&now, "now", "", "a rehearsal's clock")
	return cmd
}

func guard(ctx context.Context, file string, clock pipeline.Clock) error {
	log := logger("text").With("guard", os.Getpid())
	rescue := stages.Rescue{Open: new(freezers).open}
	w := pipeline.Watcher{
		Stages: rescuers(clock), Log: log, Thaw: rescue.Thaw, Switch: rescue.Switch,
		Open: func(ctx context.Context) (ledger.Ledger, pipeline.Clock, error) {
			mark, err := releasing(file)
			if err != nil {
				return nil, pipeline.Clock{}, err
			}
			l, err := existing(ctx, file)
			if err != nil {
				return nil, pipeline.Clock{}, errors.Join(err, mark.Close())
			}
			return marked{l, mark}, clock, nil
		},
		Look: func(ctx context.Context) ([]ledger.State, error) {
			l, err := sqlite.Read(ctx, file)
			if err != nil {
				return nil, gone(err)
			}
			defer l.Close()
			return l.Underway(ctx)
		},
	}
	return w.Watch(ctx, os.Stdin, os.Stdout)
}

// existing opens a ledger that is there, and waits for nobody.
func existing(ctx context.Context, file string) (ledger.Ledger, error) {
	look, err := sqlite.Read(ctx, file)
	if err != nil {
		return nil, gone(err)
	}
	rehearsal, err := look.Rehearsal(ctx)
	if err := errors.Join(err, look.Close()); err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, file, rehearsal)
}

func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", pipeline.ErrGone, err)
	}
	return err
}

// marked is a ledger beside which a lock says that it is a guard who has it.
type marked struct {
	ledger.Ledger
	mark *os.File
}

func (m marked) Close() error { return errors.Join(m.Ledger.Close(), m.mark.Close()) }

// releasing takes that lock. A second guard waits for its turn.
func releasing(file string) (*os.File, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, gone(err)
	}
	f, err := os.OpenFile(file+".guard", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ledger.ErrBusy
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isReleasing says that a guard has the ledger: a moment later it is free.
func isReleasing(file string) bool {
	f, err := os.Open(file + ".guard")
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// startGuard returns a way to start the guard of runs with the ledger in file.
// It is a process of its own session, without a terminal, that has the ledger's
// name in its arguments and of our environment only what drivers need. In a
// rehearsal it goes by the run's clock.
func startGuard(file string, how ledger.Thaw, clock pipeline.Clock, rehearsal bool) func() (*pipeline.GuardProcess, error) {
	return func() (*pipeline.GuardProcess, error) {
		file, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		self, err := ourselves()
		if err != nil {
			return nil, err
		}
		in, ours, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		answers, out, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, in.Close(), ours.Close())
		}
		args := []string{os.Args[0], "guard", file}
		if rehearsal {
			args = append(args, "--now", clock.Now().Format(time.RFC3339Nano))
		}
		cmd := &exec.Cmd{
			Path: self, Args: args, Dir: "/", Env: guardEnvironment(how),
			Stdin: in, Stdout: out, Stderr: os.Stderr, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		}
		err = cmd.Start()
		if err := errors.Join(err, in.Close(), out.Close()); err != nil {
			return nil, errors.Join(err, ours.Close(), answers.Close())
		}
		wait := sync.OnceValue(cmd.Wait)
		return &pipeline.GuardProcess{
			In: ours, Out: answers, Wait: wait,
			Kill: func() { _, _ = cmd.Process.Kill(), wait() }, // it may be dead already
		}, nil
	}
}

// ourselves is the program that runs, also where its file was replaced since.
func ourselves() (string, error) {
	const link = "/proc/self/exe"
	if _, err := os.Stat(link); err == nil {
		return link, nil
	}
	return os.Executable()
}

func guardEnvironment(how ledger.Thaw) []string {
	names := []string{"PATH", "HOME", "LANG", "TZ"}
	if name, ok := strings.CutPrefix(how.Secret, "env:"); ok {
		names = append(names, name)
	}
	env := []string{}
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// afterGuard opens the ledger; where a guard has it, once that is ready. One that
// closes the ledger and is gone when we look was a guard: who is not is there
// the second time.
func afterGuard(ctx context.Context, file string, rehearsal bool) (ledger.Ledger, error) {
	strange := 0
	for until := time.Now().Add(guardTakes); ; {
		l, err := sqlite.Open(ctx, file, rehearsal)
		if !errors.Is(err, ledger.ErrBusy) || time.Now().After(until) {
			return l, err
		}
		if isReleasing(file) {
			strange = 0
		} else if strange++; strange == 2 {
			return l, err
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var lookAgain = 100 * time.Millisecond // the tests have their own

// guardTakes is how long a guard may take with what a run left.
const guardTakes = 30 * time.Second
