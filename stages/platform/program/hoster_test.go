package program_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"godwit/stages/platform/program"
)

type asked struct {
	Action, Account string
	TargetAccount   string `json:"target_account"`
	Password        string
}

// hoster is the hoster's program that the tests run; args[0] is how it behaves.
func hoster(args []string) int {
	if args[0] == "deaf" {
		return 0
	}
	var stdin []byte
	if args[0] != "child" {
		stdin, _ = io.ReadAll(os.Stdin)
	}
	var q asked
	_ = json.Unmarshal(stdin, &q)
	switch args[0] {
	case "keep":
		return keep(args[1], q)
	case "exit":
		fmt.Fprint(os.Stderr, strings.Join(args[2:], " "))
		code, _ := strconv.Atoi(args[1])
		return code
	case "kill-self":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	case "flood":
		for range 200 {
			fmt.Fprintln(os.Stderr, strings.Repeat("e", 4096))
			fmt.Fprintln(os.Stdout, strings.Repeat("o", 4096))
		}
		fmt.Fprintln(os.Stderr, "the end")
		code, _ := strconv.Atoi(args[1])
		return code
	case "echo-password":
		raw, _ := json.Marshal(q.Password)
		fmt.Fprintln(os.Stderr, "refused:", map[string]string{
			"raw": q.Password, "json": string(raw), "quoted": strconv.Quote(q.Password), "all-stdin": q.Action + q.Password,
		}[args[1]])
		return 1
	case "look-for-password":
		if q.Password == "" || slices.ContainsFunc(append(os.Args, os.Environ()...), func(s string) bool { return strings.Contains(s, "canary") }) {
			return 1
		}
	case "record":
		write("stdin", string(stdin))
		write("args", strings.Join(args[1:], " "))
		write("env", strings.Join(os.Environ(), "\n"))
	case "print":
		data, _ := os.ReadFile("answer")
		_, _ = os.Stdout.Write(data)
	case "drive": // a godwit that runs a program which hangs
		d := program.New([]string{os.Args[0], "as-program", "hang"}, ".", time.Minute)
		_ = d.Freeze(context.Background(), anna)
	case "hang", "hang-with-child":
		if args[0] == "hang-with-child" {
			startChild()
		}
		write("pid", strconv.Itoa(os.Getpid()))
		time.Sleep(5 * time.Minute)
	case "leave-child":
		startChild()
	case "child":
		time.Sleep(5 * time.Minute)
	}
	return 0
}

// startChild leaves a child behind that holds stdout and stderr open.
func startChild() {
	cmd := exec.Command(os.Args[0], "as-program", "child")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	write("child-pid", strconv.Itoa(cmd.Process.Pid))
}

// keep is a well-behaved program: it keeps one account's state in folder.
func keep(folder string, q asked) int {
	if q.Account != anna.Account || q.TargetAccount != anna.TargetAccount {
		fmt.Fprintln(os.Stderr, "no account", q.Account)
		return 1
	}
	state, password := filepath.Join(folder, "state"), filepath.Join(folder, "password")
	now, err := os.ReadFile(state)
	if err != nil {
		now = []byte("open")
	}
	switch q.Action {
	case "freeze":
		write(state, "frozen")
	case "thaw":
		write(state, "open")
	case "switch":
		write(state, "switched")
	case "check":
		fmt.Printf(`{"state": "%s"}`, now)
	case "ensure":
		if _, err := os.Stat(password); err != nil {
			write(password, "")
		}
	case "set_password", "activate":
		if _, err := os.Stat(password); err != nil {
			fmt.Fprintln(os.Stderr, "no account", q.TargetAccount)
			return 1
		}
		if q.Action == "set_password" {
			write(password, q.Password)
		}
	default:
		return 2
	}
	return 0
}

func write(file, text string) {
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		panic(err)
	}
}
