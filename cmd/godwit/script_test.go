package main // Main cannot be imported

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"godwit/stages/canarytest"
	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// TestMain makes this test binary two programs of the scripts: `godwit`, and
// `exits CODE PROGRAM …`, which succeeds if the program ends with that code.
func TestMain(m *testing.M) {
	// Godwit runs no program from a folder that others may write to.
	syscall.Umask(0o022)
	testscript.Main(m, map[string]func(){
		"godwit": func() { os.Exit(printed(func() int { return Main(os.Args[1:]) })) },
		"exits":  func() { os.Exit(exits(os.Args[1:])) },
	})
}

// TestScript runs testdata/script/COMMAND_case.txt: what a hoster types and
// sees. Beside testscript's own commands a script may say
//
//	host DIR                   starts the demo's host and writes its plan into DIR
//	fail ACTION TIMES HOW      the host's next answers: later, broken, lost
//	state ACCOUNT WANT         how the host's admin side has it: open, frozen, switched
//	arrive ACCOUNT FOLDER N    so many messages arrive at the target
//	holds SIDE ACCOUNT N       how many messages the source or target has
//	meddle HOW ACCOUNT FOLDER UID   at the target: lose, spoil, shift … TO, flag … FLAG, add; or
//	                             password ACCOUNT NEW
//	mode PERM FILE…            the permissions, as in 0700
//	unguard LEDGER             kills the guard of that ledger's run
//	until PATTERN PROGRAM …    calls the program until it prints the pattern
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			h := &hosted{}
			env.Values[hosted{}] = h
			env.Defer(func() {
				if h.Host != nil && h.MutationCount() > h.arrived+h.folders {
					env.T().Fatal(fmt.Sprintf("%d commands would have changed the source", h.MutationCount()))
				}
			})
			outside := t.TempDir() // a script may have its folder in git
			env.Setenv(printedTo, filepath.Join(outside, "printed"))
			canaries := canarytest.New(t)
			env.Defer(func() { search(t, canaries, env.WorkDir, outside) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"host": startHost, "fail": failNext, "state": checkState, "meddle": meddle, "mode": checkMode, "unguard": unguard, "until": until,
			"arrive": arrive, "holds": holds,
		},
	})
}

// printedTo names the file that keeps what the program of a script prints.
const printedTo = "GODWIT_TEST_PRINTED"

// printed runs the program and keeps what it prints.
func printed(program func() int) int {
	file, err := os.OpenFile(os.Getenv(printedTo), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return program() // no script
	}
	defer file.Close()
	var copied sync.WaitGroup
	var ends []*os.File
	for _, stream := range []**os.File{&os.Stdout, &os.Stderr} {
		out := *stream
		read, write, err := os.Pipe()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		*stream = write
		copied.Go(func() { _, _ = io.Copy(io.MultiWriter(out, file), read) }) // ends with its end
		ends = append(ends, write)
	}
	code := program()
	for _, end := range ends {
		end.Close()
	}
	copied.Wait()
	return code
}

// search looks for a script's secrets, the passwords that it made too, in all
// that it printed and wrote. Many a script has none.
func search(t *testing.T, canaries *canarytest.Watch, dir, outside string) {
	secrets, err := filepath.Glob(filepath.Join(dir, "*", "secrets", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range secrets {
		canaries.File(file)
	}
	if canaries.Lists(dir)+len(secrets) > 0 {
		canaries.Search([]string{dir, outside}, "secrets/", "passwords.csv", "handed-over.csv", "wrong")
	}
}

func exits(args []string) int {
	want, err := strconv.Atoi(args[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, "exits: no code:", args[0])
		return 1
	}
	c := exec.Command(args[1], args[2:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "exits:", err)
		return 1
	}
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt)
	go func() {
		for s := range caught {
			_ = c.Process.Signal(s)
		}
	}()
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != want {
		fmt.Fprintf(os.Stderr, "exits: the code is %d, not %d\n", got, want)
		return 1
	}
	return 0
}

// hosted is the demo host of a script.
type hosted struct {
	*demohost.Host
	arrived, folders int // at the target, which a rollback may bring home
}

func hostOf(ts *testscript.TestScript) *hosted { return ts.Value(hosted{}).(*hosted) }

func startHost(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: host DIR")
	}
	dir := ts.MkAbs(args[0])
	host, err := demohost.Start(dir)
	ts.Check(err)
	ts.Defer(func() { ts.Check(host.Close()) })
	ts.Check(host.Fill())
	self, err := exec.LookPath("godwit")
	ts.Check(err)
	ts.Check(demohost.WritePlan(dir, host, []string{self, "demo-hook", host.AdminSocket}))
	hostOf(ts).Host = host
}

func failNext(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fail ACTION TIMES HOW")
	}
	times, err := strconv.Atoi(args[1])
	ts.Check(err)
	hostOf(ts).FailNext(args[0], times, demohost.Failure(args[2]))
}

func checkState(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: state ACCOUNT WANT")
	}
	got, err := (demohost.Platform{Host: hostOf(ts).Host}).Check(context.Background(), platform.Request{Account: args[0]})
	ts.Check(err)
	if (string(got) == args[1]) == neg {
		ts.Fatalf("%s is %s", args[0], got)
	}
}

func arrive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: arrive ACCOUNT FOLDER N")
	}
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	host := hostOf(ts)
	if args[1] != "INBOX" {
		host.folders++
	}
	for range n {
		host.arrived++
		text := fmt.Sprintf("From: a@b.example\r\nMessage-ID: <arrived-%d@b.example>\r\nSubject: new %[1]d\r\n\r\nbody\r\n", host.arrived)
		ts.Check(host.Put(demohost.Target, args[0], demohost.Message{Folder: args[1], Body: []byte(text), Date: time.Now()}))
	}
}

func holds(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: holds SIDE ACCOUNT N")
	}
	list, err := hostOf(ts).Mailbox(demohost.Side(args[0]), args[1])
	ts.Check(err)
	if (strconv.Itoa(len(list)) == args[2]) == neg {
		ts.Fatalf("the %s of %s has %d messages", args[0], args[1], len(list))
	}
}

// meddle does to a mailbox at the target what users and accidents do.
func meddle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: meddle HOW ACCOUNT FOLDER [UID [TO|FLAG]]")
	}
	host, account, folder := hostOf(ts).Host, args[1], args[2]
	switch args[0] {
	case "password":
		host.AddAccount(demohost.Target, account, args[2])
		return
	case "add":
		ts.Check(host.Put(demohost.Target, account, demohost.Message{Folder: folder, Body: []byte("Subject: new\r\n\r\nnew\r\n"), Date: time.Now()}))
		return
	}
	n, err := strconv.ParseUint(args[3], 10, 32)
	ts.Check(err)
	switch uid := uint32(n); args[0] {
	case "lose":
		ts.Check(host.Lose(account, folder, uid))
	case "spoil":
		ts.Check(host.Spoil(account, folder, uid))
	case "shift":
		ts.Check(host.Shift(account, folder, uid, args[4]))
	case "flag":
		ts.Check(host.Flag(account, folder, uid, args[4]))
	default:
		ts.Fatalf("there is no way to %s", args[0])
	}
}

func checkMode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: mode PERM FILE…")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		found, err := filepath.Glob(ts.MkAbs(name))
		ts.Check(err)
		if len(found) == 0 {
			ts.Fatalf("there is no %s", name)
		}
		for _, path := range found {
			info, err := os.Lstat(path)
			ts.Check(err)
			if (info.Mode().Perm() == fs.FileMode(want)) == neg {
				ts.Fatalf("%s has mode %04o", path, info.Mode().Perm())
			}
		}
	}
}

func unguard(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unguard LEDGER")
	}
	ts.Check(KillGuard(ts.MkAbs(args[0])))
}

// KillGuard kills the guard of a ledger's run, and waits until it is gone.
func KillGuard(file string) error {
	pid, err := GuardOf(file)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for {
		if left, err := GuardOf(file); err != nil || left != pid {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// GuardOf finds the guard's process by its arguments.
func GuardOf(file string) (int, error) {
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range list {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), "\x00guard\x00"+file+"\x00") {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, fmt.Errorf("nobody guards %s", file)
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN PROGRAM …")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		var ended *exec.ExitError
		if err != nil && !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("a minute long nothing like %q", args[0])
}
