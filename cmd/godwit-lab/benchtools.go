package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// cost is what a piece of work took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // of the client's processes, all together
	rss  int64         // most of one process, bytes
	part time.Duration // inside of wall: Godwit's pass, or its interruption
	said string        // what the last process wrote
}

// contender copies mailboxes. Called again with the same state, it brings the
// targets up to the sources.
type contender interface {
	name() string
	// run works through list, atOnce mailboxes at a time. round is 0 for the
	// first copy and goes up by one.
	run(ctx context.Context, s setting, state string, list []pair, atOnce, round int) (cost, error)
	// sees is what is left out when its work is compared.
	sees() view
}

// measure runs commands, some at once, and adds up what they took.
func measure(commands []*exec.Cmd, atOnce int, may func(code int) bool) (cost, error) {
	var sum cost
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(atOnce)
	began := time.Now()
	for _, c := range commands {
		group.Go(func() error {
			rss, said, err := watch(c, may)
			mu.Lock()
			defer mu.Unlock()
			sum.said = said
			sum.rss = max(sum.rss, rss)
			if c.ProcessState != nil {
				sum.cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
			}
			return err
		})
	}
	err := group.Wait()
	sum.wall = time.Since(began)
	return sum, err
}

// watch runs a command and looks at its memory meanwhile: what the system says
// of an ended process includes its parent's.
func watch(c *exec.Cmd, may func(code int) bool) (rss int64, output string, err error) {
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return 0, "", err
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			var exit *exec.ExitError
			if errors.As(err, &exit) && may != nil && may(exit.ExitCode()) {
				err = nil
			}
			if err != nil {
				err = fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, last(said.String(), 1500))
			}
			return rss, said.String(), err
		case <-tick.C:
			rss = max(rss, highWater(c.Process.Pid))
		}
	}
}

func last(text string, n int) string {
	text = strings.TrimSpace(text)
	return text[max(0, len(text)-n):]
}

// highWater is the most memory a process had so far, in bytes.
func highWater(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // it has just ended
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, _ := strconv.ParseInt(kilobytes, 10, 64) // none: a thread of the kernel
	return n << 10
}

// raw is a style as a contender; it knows first copies only.
type raw struct{ style }

func (r raw) name() string { return r.style.name }
func (raw) sees() view     { return view{ignoreSubscriptions: true} }

func (r raw) run(ctx context.Context, s setting, _ string, list []pair, atOnce, _ int) (cost, error) {
	before, began := ownCPU(), time.Now()
	err := s.relay(ctx, r.style, list, atOnce)
	return cost{wall: time.Since(began), cpu: ownCPU() - before}, err
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// godwit is the built program: what is measured is `godwit run` from its start
// to its end, ledger and reports included.
type godwit struct {
	program string
	self    string // this program, as the freeze driver
	verify  string // headers or content
}

func (g godwit) name() string { return "godwit run, verify: " + g.verify }
func (godwit) sees() view     { return view{} }

const benchPlan = `version: 1
name: bench
source:
  imap: {address: %[1]q, tls: none, auth: master, login: %[3]s, secret: "file:%[4]s"}
  freeze: {driver: exec, command: [%[5]q, hook, -dir, %[6]q], settle: 0s}
targets:
  new:
    imap: {address: %[2]q, tls: none, auth: master, login: %[3]s, secret: "file:%[4]s"}
copy: {accounts: %[7]d, connections: 4, verify: %[8]s}
batches:
  - {name: all, date: 2030-03-10, accounts: all.csv}
`

// cutover is the round in which the accounts switch.
const cutover = 99

func (g godwit) run(ctx context.Context, s setting, state string, list []pair, atOnce, round int) (cost, error) {
	if err := g.prepare(s, state, list, atOnce); err != nil {
		return cost{}, err
	}
	at := time.Date(2030, 3, 8, 0, 0, 0, 0, time.UTC).Add(time.Duration(round) * 7 * time.Hour)
	if round == cutover {
		at = time.Date(2030, 3, 10, 0, 1, 0, 0, time.UTC)
	}
	c, err := measure([]*exec.Cmd{g.command(ctx, state, "run", "plan.yaml", "--log-format", "json", "--now", at.Format("2006-01-02T15:04"))}, 1, nil)
	if err != nil {
		return c, err
	}
	if round == cutover {
		c.part, err = g.interruption(ctx, state, list[0].source)
	} else {
		c.part = passed(c.said)
	}
	return c, err
}

// passed is how long it took from the first pass to the end of the last, by the
// program's log.
func passed(log string) time.Duration {
	var begin, end time.Time
	for text := range strings.Lines(log) {
		var line struct {
			Time      time.Time
			Msg, Task string
		}
		if json.Unmarshal([]byte(text), &line) != nil || !strings.HasPrefix(line.Task, "copy ") {
			continue
		}
		switch {
		case line.Msg == "begin" && begin.IsZero():
			begin = line.Time
		case line.Msg == "done" && !begin.IsZero():
			end = line.Time
		}
	}
	return end.Sub(begin)
}

func (g godwit) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, g.program, args...)
	c.Dir = dir
	return c
}

func (g godwit) prepare(s setting, state string, list []pair, atOnce int) error {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	rows := "service,account,target_account\n"
	for _, p := range list {
		rows += "bench.example," + p.source + "," + p.target + "\n"
	}
	plan := fmt.Sprintf(benchPlan, s.from, s.to, masterLogin, s.ground.Master.SecretFile, g.self, s.ground.dir, atOnce, g.verify)
	return errors.Join(
		os.WriteFile(filepath.Join(state, "plan.yaml"), []byte(plan), 0o600),
		os.WriteFile(filepath.Join(state, "all.csv"), []byte(rows), 0o600),
	)
}

// interruption is the time from the freeze to the switch in which the driver is
// not at work, by the ledger.
func (g godwit) interruption(ctx context.Context, state, account string) (time.Duration, error) {
	out, err := g.command(ctx, state, "status", "plan.yaml", account, "--json").Output()
	if err != nil {
		return 0, err
	}
	var standing struct {
		History []struct {
			At           time.Time
			Effect, Mark string
		}
	}
	if err := json.Unmarshal(out, &standing); err != nil {
		return 0, fmt.Errorf("status --json: %w", err)
	}
	var frozen time.Time
	for _, h := range standing.History {
		switch {
		case h.Effect == "freeze" && h.Mark == "done":
			frozen = h.At
		case h.Effect == "switch" && h.Mark == "intent" && !frozen.IsZero():
			return h.At.Sub(frozen), nil
		}
	}
	return 0, fmt.Errorf("%s was not switched: %s", account, last(string(out), 1500))
}

// mbsync is Debian's isync.
type mbsync struct{}

func (mbsync) name() string { return "mbsync" }
func (mbsync) sees() view   { return view{ignoreSubscriptions: true, ignoreEmptyExtra: true} }

const mbsyncrc = `SyncState %[1]s/
CopyArrivalDate yes
%[2]s%[3]sChannel all
Far :source:
Near :target:
Patterns *
Create Near
Expunge Near
Sync Pull
`

func mbsyncStore(name, address, user, secretFile string) string {
	_, port, _ := strings.Cut(address, ":")
	return fmt.Sprintf(`IMAPAccount %[1]s
Host 127.0.0.1
Port %[2]s
User "%[3]s*%[4]s"
PassCmd "cat %[5]s"
SSLType None
AuthMechs LOGIN

IMAPStore %[1]s
Account %[1]s

`, name, port, user, masterLogin, secretFile)
}

func (mbsync) run(ctx context.Context, s setting, state string, list []pair, atOnce, _ int) (cost, error) {
	var commands []*exec.Cmd
	for _, p := range list {
		dir := filepath.Join(state, p.source)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return cost{}, err
		}
		secret := s.ground.Master.SecretFile
		rc := filepath.Join(dir, "rc")
		text := fmt.Sprintf(mbsyncrc, dir, mbsyncStore("source", s.from, p.source, secret), mbsyncStore("target", s.to, p.target, secret))
		if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
			return cost{}, err
		}
		commands = append(commands, exec.CommandContext(ctx, "mbsync", "-c", rc, "all"))
	}
	// It ends with 1 where it skipped a message, which is counted as a difference.
	return measure(commands, atOnce, func(code int) bool { return code == 1 })
}

// doveadm is Dovecot's dsync, pulling over IMAP into the target's own store.
type doveadm struct{}

func (doveadm) name() string { return "doveadm backup" }
func (doveadm) sees() view   { return view{ignoreSubscriptions: true, ignoreEmptyExtra: true} }

func (doveadm) run(ctx context.Context, s setting, state string, list []pair, atOnce, _ int) (cost, error) {
	secret, err := readSecret(s.ground.Master.SecretFile, nil)
	if err != nil {
		return cost{}, err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return cost{}, err
	}
	_, port, _ := strings.Cut(s.from, ":")
	var commands []*exec.Cmd
	for _, p := range list {
		conf := filepath.Join(state, p.source+".conf")
		text := fmt.Sprintf("!include %s\nimapc_host = 127.0.0.1\nimapc_port = %s\nimapc_user = %s*%s\nimapc_password = %s\nimapc_ssl = no\nimapc_features = rfc822.size fetch-headers\nmail_prefetch_count = 20\n",
			s.Config, port, p.source, masterLogin, secret)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			return cost{}, err
		}
		commands = append(commands, exec.CommandContext(ctx, "doveadm", "-c", conf, "backup", "-R", "-u", p.target, "imapc:"))
	}
	// 2: changes are left for another run, also where nothing is.
	return measure(commands, atOnce, func(code int) bool { return code == 2 })
}

// imapsync is run where its path is given; Debian has no package of it.
type imapsync struct{ program string }

func (imapsync) name() string { return "imapsync" }
func (imapsync) sees() view   { return view{ignoreSubscriptions: true, ignoreEmptyExtra: true} }

func (i imapsync) run(ctx context.Context, s setting, state string, list []pair, atOnce, _ int) (cost, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return cost{}, err
	}
	_, from, _ := strings.Cut(s.from, ":")
	_, to, _ := strings.Cut(s.to, ":")
	secret := s.ground.Master.SecretFile
	var commands []*exec.Cmd
	for _, p := range list {
		c := exec.CommandContext(ctx, i.program,
			"--host1", "127.0.0.1", "--port1", from, "--user1", p.source+"*"+masterLogin, "--passfile1", secret, "--nossl1", "--notls1",
			"--host2", "127.0.0.1", "--port2", to, "--user2", p.target+"*"+masterLogin, "--passfile2", secret, "--nossl2", "--notls2",
			"--syncduplicates", "--addheader", "--delete2", "--nolog", "--noreleasecheck", "--pidfile", filepath.Join(state, p.source+".pid"))
		c.Dir = state
		commands = append(commands, c)
	}
	return measure(commands, atOnce, nil)
}
