package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// reap ends the process groups named on stdin, one a line, as soon as stdin
// closes. `up` starts it as a process of its own, which so outlives `up` by a
// moment, however that ends. A Dovecot whose master is gone would stay for
// seconds, with its ports.
func reap(_ context.Context, _ []string, stdin io.Reader, _ io.Writer) error {
	var groups []int
	for lines := bufio.NewScanner(stdin); lines.Scan(); {
		group, err := strconv.Atoi(lines.Text())
		if err != nil || group <= 1 {
			return fmt.Errorf("reap: %q is no process group", lines.Text())
		}
		groups = append(groups, group)
	}
	for _, group := range groups {
		_ = syscall.Kill(-group, syscall.SIGKILL) // it may have ended by itself
	}
	return nil
}

// reaper is the process that runs reap.
type reaper struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

func startReaper() (*reaper, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &reaper{cmd: exec.Command(program, "reap")}
	// In a group of its own, so that Ctrl-C does not reach it.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Stderr = os.Stderr
	if r.pipe, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return r, r.cmd.Start()
}

// watch adds the process group that pid leads.
func (r *reaper) watch(pid int) error {
	_, err := fmt.Fprintln(r.pipe, pid)
	return err
}

// done ends the reaper and with it whoever is left of the groups.
func (r *reaper) done() {
	_ = r.pipe.Close()
	_ = r.cmd.Wait()
}
