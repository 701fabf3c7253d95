package program_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"godwit/stages/platform"
	"godwit/stages/platform/platformtest"
	"godwit/stages/platform/program"
)

// self is a copy of the test binary in a folder that only we may write to:
// started with "as-program" it is the hoster's program, see hoster_test.go.
var self string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "as-program" {
		syscall.Exit(hoster(os.Args[2:])) // os.Exit sleeps for a second under -race
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	folder, err := os.MkdirTemp("", "godwit")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	self = filepath.Join(folder, "hook")
	exe, err := os.Executable()
	if err == nil {
		err = copyFile(exe, self)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	return code
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o700)
}

func driver(t *testing.T, timeout time.Duration, args ...string) *program.Driver {
	t.Helper()
	return program.New(append([]string{self, "as-program"}, args...), t.TempDir(), timeout)
}

var anna = platform.Request{
	Plan: "acme", Batch: "w49-a", Service: "old.example", Account: "anna@old.example", Login: "anna@old.example",
	Target: "new", TargetAccount: "anna@new.example", Deadline: time.Date(2026, 12, 2, 22, 15, 0, 0, time.UTC),
}

func TestFreezer(t *testing.T) {
	platformtest.Freezer(t, func(t *testing.T) (platform.Freezer, platform.Request) {
		return driver(t, time.Minute, "keep", t.TempDir()), anna
	})
}

func TestAdmin(t *testing.T) {
	var folder string
	platformtest.Admin(t, func(t *testing.T) (platform.Admin, platform.Request) {
		folder = t.TempDir()
		return driver(t, time.Minute, "keep", folder), anna
	}, func(t *testing.T, r platform.Request) (string, bool) {
		data, err := os.ReadFile(filepath.Join(folder, "password"))
		return string(data), err == nil
	})
}

func TestExitCodeAndStderrDecide(t *testing.T) {
	tests := map[string]struct {
		args    []string
		is      error
		has     string
		hasNot  string
		isUnset error
	}{
		"75 asks to try later":             {args: []string{"exit", "75", "maintenance"}, is: platform.ErrLater, has: "freeze: the platform asks to try again later: maintenance"},
		"another code is an error":         {args: []string{"exit", "3", "no such mailbox"}, has: "freeze: exit status 3: no such mailbox", isUnset: platform.ErrLater},
		"only the last line is quoted":     {args: []string{"exit", "1", "first\n\nsecond\n\n"}, has: "exit status 1: second", hasNot: "first"},
		"control characters are escaped":   {args: []string{"exit", "1", "a\x1b[31mb\u202ec\x07\xff"}, has: `a\x1b[31mb\u202ec\a\xff`},
		"a long line is cut":               {args: []string{"exit", "1", strings.Repeat("é", 5000)}, has: strings.Repeat("é", 199) + "…", hasNot: strings.Repeat("é", 200)},
		"a silent program is named":        {args: []string{"exit", "4"}, has: "hook freeze: exit status 4"},
		"a program killed by others":       {args: []string{"kill-self"}, is: platform.ErrUnknown, has: "signal: killed"},
		"a flood on stderr does not block": {args: []string{"flood", "1"}, has: "the end"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := driver(t, time.Minute, tt.args...).Freeze(t.Context(), anna)
			if err == nil {
				t.Fatal("got no error")
			}
			if tt.is != nil && !errors.Is(err, tt.is) || tt.isUnset != nil && errors.Is(err, tt.isUnset) {
				t.Errorf("wrong kind of error: %v", err)
			}
			if !strings.Contains(err.Error(), tt.has) || tt.hasNot != "" && strings.Contains(err.Error(), tt.hasNot) {
				t.Errorf("got %q; want %q in it, and not %q", err, tt.has, tt.hasNot)
			}
			if n := utf8.RuneCountInString(err.Error()); n > 400 {
				t.Errorf("the error has %d runes", n)
			}
		})
	}
}

func TestDoneWhateverIsPrinted(t *testing.T) {
	if err := driver(t, time.Minute, "flood", "0").Freeze(t.Context(), anna); err != nil {
		t.Error(err)
	}
	if err := driver(t, time.Minute, "deaf").SetPassword(t.Context(), anna, strings.Repeat("x", 1<<20)); err != nil {
		t.Errorf("a program that does not read its stdin: %v", err)
	}
}

func TestThePasswordIsOnlyOnStdin(t *testing.T) {
	const password = `Kx7"canary\é`
	for _, how := range []string{"raw", "json", "quoted", "all-stdin"} {
		err := driver(t, time.Minute, "echo-password", how).SetPassword(t.Context(), anna, password)
		if err == nil {
			t.Fatal("got no error")
		}
		if strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "[secret]") {
			t.Errorf("%s: the error shows the password, or nothing: %q", how, strings.ReplaceAll(err.Error(), "canary", "######"))
		}
	}
	// exits 1 if it finds the password in its argv or environment
	if err := driver(t, time.Minute, "look-for-password").SetPassword(t.Context(), anna, password); err != nil {
		t.Error(err)
	}
	if err := driver(t, time.Minute, "deaf").SetPassword(t.Context(), anna, ""); err == nil {
		t.Error("an empty password was taken")
	}
}

func TestTheProgramSeesOnlyWhatItNeeds(t *testing.T) {
	t.Setenv("SOURCE_SECRET", "canary")
	t.Setenv("LANG", "C.UTF-8")
	dir := t.TempDir()
	d := program.New([]string{self, "as-program", "record", "$HOME;*"}, dir, time.Minute)
	if err := d.Switch(t.Context(), anna); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name)) // the program wrote into its working directory
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	want := `{"action":"switch","plan":"acme","batch":"w49-a","service":"old.example","account":"anna@old.example","login":"anna@old.example",` +
		`"target":"new","target_account":"anna@new.example","deadline":"2026-12-02T22:15:00Z"}`
	if got := read("stdin"); got != want {
		t.Errorf("stdin: got %s; want %s", got, want)
	}
	if got := read("args"); got != "$HOME;*" {
		t.Errorf("args: got %q: a shell had its hands on it", got)
	}
	for line := range strings.Lines(read("env")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name != "PATH" && name != "HOME" && name != "LANG" {
			t.Errorf("the program's environment has %s", name)
		}
	}
	if !strings.Contains(read("env"), "LANG=C.UTF-8") {
		t.Error("LANG is missing")
	}
}

func TestTimeUpKillsTheWholeGroup(t *testing.T) {
	tests := map[string]func(t *testing.T, d func(time.Duration) *program.Driver) error{
		"the driver's timeout": func(t *testing.T, d func(time.Duration) *program.Driver) error {
			return d(5*time.Second).Freeze(t.Context(), anna)
		},
		"the caller's context": func(t *testing.T, d func(time.Duration) *program.Driver) error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return d(time.Minute).Freeze(ctx, anna)
		},
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			begin := time.Now()
			err := run(t, func(timeout time.Duration) *program.Driver {
				return program.New([]string{self, "as-program", "hang-with-child"}, dir, timeout)
			})
			if !errors.Is(err, platform.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v; want ErrUnknown and DeadlineExceeded", err)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			mustEnd(t, filepath.Join(dir, "pid"))
			mustEnd(t, filepath.Join(dir, "child-pid"))
		})
	}
}

func TestAChildThatHoldsThePipesIsNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	d := program.New([]string{self, "as-program", "leave-child"}, dir, time.Minute)
	begin := time.Now()
	if err := d.Freeze(t.Context(), anna); err != nil {
		t.Errorf("the program itself ended with 0: %v", err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	mustEnd(t, filepath.Join(dir, "child-pid"))
}

func TestAKilledParentLeavesNoProgramBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child that its parent died")
	}
	dir := t.TempDir()
	parent := exec.Command(self, "as-program", "drive")
	parent.Dir = dir
	must(t, parent.Start())
	pid := filepath.Join(dir, "pid")
	for range 1000 {
		if data, err := os.ReadFile(pid); err == nil && len(data) > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(t, parent.Process.Kill())
	_ = parent.Wait() // killed, as wanted
	mustEnd(t, pid)
}

// mustEnd waits until the process whose number stands in file is gone.
func mustEnd(t *testing.T, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if gone(pid) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("process %d of %s still runs", pid, filepath.Base(file))
}

// gone says whether pid has ended; a zombie that nobody reaps has ended too.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestCheckAnswer(t *testing.T) {
	tests := map[string]struct {
		print string
		want  platform.State
	}{
		"open":                     {`{"state": "open"}` + "\n", platform.Open},
		"frozen, and more it says": {`{"state": "frozen", "since": "22:01"}`, platform.Frozen},
		"switched":                 {`{"state": "switched"}`, platform.Switched},
		"an unknown state":         {`{"state": "thawed"}`, ""},
		"nothing":                  {``, ""},
		"plain text":               {"open\x1b", ""},
		"more than 64 kB":          {`{"pad": "` + strings.Repeat("x", 70<<10) + `", "state": "open"}`, ""},
		"junk after 64 kB is cut":  {`{"state": "open"}` + strings.Repeat(" ", 70<<10) + "x", platform.Open},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "answer"), []byte(tt.print), 0o600); err != nil {
				t.Fatal(err)
			}
			d := program.New([]string{self, "as-program", "print"}, dir, time.Minute)
			got, err := d.Check(t.Context(), anna)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if err != nil && strings.ContainsRune(err.Error(), 0x1b) {
				t.Error("the error holds a raw ESC")
			}
		})
	}
}
