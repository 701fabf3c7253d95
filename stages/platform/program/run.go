package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"

	"godwit/stages/platform"
)

const (
	// maxOutput is what is kept of stdout, and of a line of stderr; the rest is
	// read and dropped, so that a talkative program does not block.
	maxOutput = 64 << 10
	// grace is how long pipes may stay open after the program ended: a child
	// it left behind may hold them.
	grace = 2 * time.Second
)

// Run runs any program of the hoster's with the same care: the command as it is
// given, nothing on stdin, exit 0 is done, and what it prints is not looked at.
func Run(ctx context.Context, command []string, dir string, timeout time.Duration) error {
	d := New(command, dir, timeout)
	if _, err := d.start(ctx, nil, ""); err != nil {
		return fmt.Errorf("%s: %w", d.name(), err)
	}
	return nil
}

// run hands the request over and returns what the program printed.
func (d *Driver) run(ctx context.Context, q request) ([]byte, error) {
	stdin, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	return d.start(ctx, stdin, q.Password)
}

// start runs the program once.
func (d *Driver) start(ctx context.Context, stdin []byte, password string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // nothing was started, so nothing is unknown
	}
	path, err := resolve(d.command, d.dir)
	if err != nil {
		return nil, err
	}
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	stdout, stderr := &head{limit: maxOutput}, &lastLine{limit: maxOutput}
	cmd := exec.CommandContext(ctx, path, d.command[1:]...)
	cmd.Dir, cmd.Env = d.dir, environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), stdout, stderr
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = grace
	ownGroup(cmd)

	// The kernel sends the parent-death signal when the thread that started the
	// child ends (golang/go#27505), so the thread must outlive the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		// What still holds the pipes is of the group, so its number is not reused.
		_ = killGroup(cmd.Process)
	}
	return stdout.kept, d.verdict(ctx, cmd, err, password, stderr.String())
}

// verdict turns the end of the process into what the caller decides by.
func (d *Driver) verdict(ctx context.Context, cmd *exec.Cmd, err error, password, words string) error {
	said := ""
	if words = safe(redact(words, password)); words != "" {
		said = ": " + words
	}
	state := cmd.ProcessState
	switch {
	case state != nil && state.Success():
		return nil
	case ctx.Err() != nil:
		why := ctx.Err()
		if errors.Is(why, context.DeadlineExceeded) && d.timeout > 0 {
			return fmt.Errorf("killed, its time of %s is up: %w: %w%s", d.timeout, platform.ErrUnknown, why, said)
		}
		return fmt.Errorf("killed: %w: %w%s", platform.ErrUnknown, why, said)
	case state == nil:
		return fmt.Errorf("%w: %w", platform.ErrUnknown, err)
	case state.ExitCode() == exitLater:
		return fmt.Errorf("%w%s", platform.ErrLater, said)
	case state.ExitCode() < 0: // killed by somebody else's signal
		return fmt.Errorf("%s: %w%s", state, platform.ErrUnknown, said)
	}
	return fmt.Errorf("%s%s", state, said)
}

// environment is all the program sees of ours.
func environment() []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
