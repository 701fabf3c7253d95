package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asLab makes the test program be the lab, so that the tests need no other.
const asLab = "GODWIT_LAB_TEST_IS_THE_LAB"

func TestMain(m *testing.M) {
	if os.Getenv(asLab) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// needDovecot skips where there is none, but not where all must run.
func needDovecot(t *testing.T) {
	t.Helper()
	_, err := os.Stat(program)
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatal(errNoDovecot)
	case err != nil:
		t.Skip(errNoDovecot)
	}
}

// labProcess starts `godwit-lab up` as a process and reads what it prints.
func labProcess(t *testing.T, args ...string) (*exec.Cmd, *lab) {
	t.Helper()
	needDovecot(t)
	cmd := exec.Command(os.Args[0], append([]string{"up", "-fsync", "never"}, args...)...)
	cmd.Env = append(os.Environ(), asLab+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // a test may have ended it
	})
	l := new(lab)
	if err := json.NewDecoder(stdout).Decode(l); err != nil {
		t.Fatalf("up printed no lab: %v", err)
	}
	return cmd, l
}

// do runs a command of the lab in this process.
func do(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(stdin), &stdout)
	return stdout.String(), err
}

func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := do(t, stdin, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// addUser makes a user on both sides and returns the password.
func addUser(t *testing.T, l *lab, name string) string {
	t.Helper()
	password := "p:{}\\\"' ü " + rand.Text()
	must(t, password+"\n", "user", "-dir", l.Dir, name, "-")
	return password
}

// signIn tells whether a user's own password lets them in.
func signIn(t *testing.T, l *lab, address, name, password string) (*conn, error) {
	t.Helper()
	c, err := dial(t.Context(), address, l.CA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	// A literal, as quoted strings are 7-bit.
	tag := c.send("LOGIN " + quote(name) + " {" + strconv.Itoa(len(password)) + "+}\r\n" + password)
	if err := c.out.Flush(); err != nil {
		t.Fatal(err)
	}
	_, err = c.await(tag, nil)
	return c, err
}

func TestUsersComeAndGoWhileServersRun(t *testing.T) {
	_, l := labProcess(t)
	if _, err := signIn(t, l, l.Source.Address, "anna@old.example", "any"); err == nil {
		t.Error("an unknown user was let in")
	}
	password := addUser(t, l, "anna@old.example")
	for _, address := range []string{l.Source.Address, l.Target.Address} {
		if _, err := signIn(t, l, address, "anna@old.example", password); err != nil {
			t.Errorf("a new user was refused: %v", err)
		}
		if _, err := signIn(t, l, address, "anna@old.example", password+"x"); err == nil {
			t.Error("a wrong password was taken")
		}
	}
	must(t, "other", "user", "-dir", l.Dir, "-side", "target", "anna@old.example", "-")
	if _, err := signIn(t, l, l.Target.Address, "anna@old.example", "other"); err != nil {
		t.Errorf("the new password was refused: %v", err)
	}
	if _, err := signIn(t, l, l.Target.Address, "anna@old.example", password); err == nil {
		t.Error("the old password was taken")
	}
	if _, err := do(t, "x", "user", "-dir", l.Dir, "../../anna", "-"); err == nil {
		t.Error("a name with a path was taken")
	}
}

func TestHookFreezesAndSwitches(t *testing.T) {
	_, l := labProcess(t)
	password := addUser(t, l, "anna@old.example")
	ask := func(action string) (string, error) {
		request := `{"action":"` + action + `","account":"anna@old.example","login":"","target_account":"anna@new.example"}`
		return do(t, request, "hook", "-dir", l.Dir)
	}
	state := func(want string) {
		t.Helper()
		if got, err := ask("check"); err != nil || strings.TrimSpace(got) != `{"state":"`+want+`"}` {
			t.Errorf("check says %s, %v; want %s", got, err, want)
		}
	}
	state("open")
	session, err := signIn(t, l, l.Source.Address, "anna@old.example", password)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice is as good as once
		if _, err := ask("freeze"); err != nil {
			t.Fatal(err)
		}
	}
	state("frozen")
	if _, err := signIn(t, l, l.Source.Address, "anna@old.example", password); err == nil {
		t.Error("a frozen user was let in")
	}
	if _, err := session.do(nil, "NOOP"); err == nil {
		t.Error("a session that began before the freeze goes on")
	}
	c, err := l.openMailbox(t.Context(), l.Source.Address, "anna@old.example")
	if err != nil {
		t.Fatalf("the master was refused: %v", err)
	}
	c.logout()
	for range 2 {
		if _, err := ask("thaw"); err != nil {
			t.Fatal(err)
		}
	}
	state("open")
	if _, err := signIn(t, l, l.Source.Address, "anna@old.example", password); err != nil {
		t.Errorf("a thawed user was refused: %v", err)
	}
	for range 2 {
		if _, err := ask("switch"); err != nil {
			t.Fatal(err)
		}
	}
	state("switched")
	if _, err := ask("thaw"); err == nil {
		t.Error("a switched account was thawed")
	}
	if _, err := ask("melt"); err == nil {
		t.Error("an unknown action was taken")
	}
}

func TestHookMakesTargetAccounts(t *testing.T) {
	_, l := labProcess(t)
	request := func(action, more string) string {
		return `{"action":"` + action + `","account":"ben@old.example","target_account":"ben@new.example"` + more + `}`
	}
	if _, err := do(t, request("activate", ""), "hook", "-dir", l.Dir); err == nil {
		t.Error("an account that does not exist was activated")
	}
	if _, err := do(t, request("set_password", ""), "hook", "-dir", l.Dir); err == nil {
		t.Error("no password was set")
	}
	for _, stdin := range []string{
		request("ensure", ""), request("ensure", ""),
		request("set_password", `,"password":"first"`), request("activate", ""),
	} {
		must(t, stdin, "hook", "-dir", l.Dir)
	}
	if _, err := signIn(t, l, l.Target.Address, "ben@new.example", "first"); err != nil {
		t.Errorf("the password in the request was refused: %v", err)
	}
	must(t, request("set_password", "")+"\nsecond\n", "hook", "-dir", l.Dir)
	if _, err := signIn(t, l, l.Target.Address, "ben@new.example", "second"); err != nil {
		t.Errorf("the password after the request was refused: %v", err)
	}
}

// TestNothingStays ends the lab in each way it may end, with sessions open.
func TestNothingStays(t *testing.T) {
	ends := map[string]func(*exec.Cmd){
		"killed":          func(c *exec.Cmd) { _ = c.Process.Kill() },
		"asked to end":    func(c *exec.Cmd) { _ = c.Process.Signal(os.Interrupt) },
		"its caller ends": func(c *exec.Cmd) { _ = c.Process.Signal(syscall.SIGTERM) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			cmd, l := labProcess(t, "-dir", t.TempDir())
			addUser(t, l, "anna@old.example")
			var masters []string
			for _, s := range []server{l.Source, l.Target} {
				c, err := l.openMailbox(t.Context(), s.Address, "anna@old.example")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.close)
				pid, err := os.ReadFile(filepath.Join(runDir(t, s.Config), "master.pid"))
				if err != nil {
					t.Fatal(err)
				}
				masters = append(masters, strings.TrimSpace(string(pid)))
			}
			if before := processes(t, masters); len(before) < 8 {
				t.Fatalf("only %d processes found: the test looks in the wrong place", len(before))
			}
			end(cmd)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			for {
				left := processes(t, masters)
				if len(left) == 0 {
					return
				}
				select {
				case <-ctx.Done():
					t.Fatalf("these stayed: %q", left)
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
}

// runDir reads where a server keeps its sockets.
func runDir(t *testing.T, config string) string {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "base_dir = ")
	if !found {
		t.Fatalf("%s has no base_dir", config)
	}
	dir, _, _ := strings.Cut(rest, "\n")
	return dir
}

// processes returns who is in the process groups that masters lead.
func processes(t *testing.T, masters []string) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it ended meanwhile
		}
		// PID (NAME) STATE PPID PGRP …; NAME may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, master := range masters {
			if len(fields) > 2 && fields[2] == master && fields[0] != "Z" {
				found = append(found, string(text[:40]))
			}
		}
	}
	return found
}
