package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"godwit/plans"
	"godwit/stages/demohost"
	"godwit/stages/platform"
	"godwit/stages/platform/program"
)

// fence is a block of the README between lines of three backquotes.
type fence struct {
	language, text string
	line           int
}

// fences reads the README, and fails where a block is in a language that no
// test here looks at.
func fences(t *testing.T) (all []fence) {
	t.Helper()
	data, err := os.ReadFile("../../README.md")
	noError(t, err)
	open := false
	for i, line := range strings.Split(string(data), "\n") {
		language, mark := strings.CutPrefix(line, "```")
		switch {
		case mark && !open:
			all = append(all, fence{language: language, line: i + 1})
			open = true
		case mark:
			open = false
		case open:
			all[len(all)-1].text += line + "\n"
		}
	}
	if open {
		t.Error("README.md: the last block is not closed")
	}
	for _, f := range all {
		if !slices.Contains([]string{"sh", "yaml", "csv", "cron", "json", "text"}, f.language) {
			t.Errorf("README.md:%d: a block in %q is checked by nothing", f.line, f.language)
		}
	}
	return all
}

// script says that a block is a program rather than commands to type.
func (f fence) script() bool { return f.language == "sh" && strings.HasPrefix(f.text, "#!") }

// in are the blocks in a language.
func in(all []fence, language string) (some []fence) {
	for _, f := range all {
		if f.language == language {
			some = append(some, f)
		}
	}
	return some
}

func TestReadmeShowsTheExamples(t *testing.T) {
	all := fences(t)
	for language, file := range map[string]string{"yaml": "small.yaml", "csv": "accounts.csv"} {
		blocks := in(all, language)
		if len(blocks) != 1 {
			t.Fatalf("%d blocks in %s, want one", len(blocks), language)
		}
		want, err := plans.Examples.ReadFile("examples/" + file)
		noError(t, err)
		if diff := cmp.Diff(string(want), blocks[0].text); diff != "" {
			t.Errorf("README.md:%d is not plans/examples/%s (-example +README):\n%s", blocks[0].line, file, diff)
		}
	}
	dir := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(dir, "plan.yaml"), []byte(in(all, "yaml")[0].text), 0o600))
	noError(t, os.WriteFile(filepath.Join(dir, "accounts.csv"), []byte(in(all, "csv")[0].text), 0o600))
	plan, err := plans.Load(filepath.Join(dir, "plan.yaml"))
	if err != nil {
		t.Fatalf("the README's plan does not load: %v", err)
	}
	plan.Close()
}

var (
	exitsWith  = regexp.MustCompile(`\s+# exit (\d+)$`)
	makeTarget = regexp.MustCompile(`(?m)^([a-z]+):`)
	called     = regexp.MustCompile(`\bgodwit ((?:-|\w).*)`)
)

// TestReadmeCommands types every command of the README, in their order. Those
// who read it have servers and years to come: the plan that init wrote gets the
// demo host's servers and a date far ahead.
func TestReadmeCommands(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	noError(t, err)
	var targets []string
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, m[1])
	}
	dir, ran := t.TempDir(), 0
	for _, f := range in(fences(t), "sh") {
		if f.script() {
			continue
		}
		for i, line := range strings.Split(strings.TrimSpace(f.text), "\n") {
			where := fmt.Sprintf("README.md:%d: %s", f.line+1+i, line)
			want := 0
			if m := exitsWith.FindStringSubmatch(line); m != nil {
				want, _ = strconv.Atoi(m[1])
				line = exitsWith.ReplaceAllString(line, "")
			}
			words := strings.Fields(strings.ReplaceAll(line, "2026-", "2099-"))
			switch words[0] {
			case "make":
				if len(words) != 2 || !slices.Contains(targets, words[1]) {
					t.Errorf("%s: the Makefile has no such target", where)
				}
			case "cd":
				dir = filepath.Join(dir, words[1])
			case "godwit":
				typed(t, where, dir, words, want)
				if words[1] == "init" {
					giveServers(t, filepath.Join(dir, words[2]))
				}
			default:
				t.Errorf("%s: nothing checks this command", where)
			}
			ran++
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands were found", ran)
	}
}

func typed(t *testing.T, where, dir string, words []string, want int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), words[0], words[1:]...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("%s: %v", where, err)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		t.Errorf("%s: exit code %d, want %d\n%s", where, got, want, out)
	}
}

// giveServers lets the small plan in dir speak to a demo host.
func giveServers(t *testing.T, dir string) {
	t.Helper()
	host, err := demohost.Start(dir)
	noError(t, err)
	t.Cleanup(func() {
		noError(t, host.Close())
		if n := host.MutationCount(); n != 0 {
			t.Errorf("%d commands would have changed the source", n)
		}
	})
	edit(t, filepath.Join(dir, "small.yaml"),
		`"imap.old.example:993"`, fmt.Sprintf(`"%s", ca_file: ca.pem`, host.SourceAddress),
		`"imap.new.example:993"`, fmt.Sprintf(`"%s", ca_file: ca.pem`, host.TargetAddress),
		"date: 2026-", "date: 2099-")
	noError(t, os.Mkdir(filepath.Join(dir, "secrets"), 0o700))
	for _, name := range []string{"anna", "ben"} {
		for side, word := range map[demohost.Side]string{demohost.Source: "old", demohost.Target: "new"} {
			host.AddAccount(side, name+"@acme.example", name+word)
			noError(t, os.WriteFile(filepath.Join(dir, "secrets", name+"-"+word), []byte(name+word), 0o600))
		}
	}
}

// edit replaces texts that must be there.
func edit(t *testing.T, file string, pairs ...string) {
	t.Helper()
	data, err := os.ReadFile(file)
	noError(t, err)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(data), pairs[i]) {
			t.Fatalf("%s has no %s", file, pairs[i])
		}
	}
	noError(t, os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(string(data))), 0o600))
}

// TestReadmeTimers looks at the command of cron: it must be one that godwit
// knows.
func TestReadmeTimers(t *testing.T) {
	found := 0
	for _, f := range in(fences(t), "cron") {
		found += areKnown(t, fmt.Sprintf("README.md:%d", f.line), f.text)
	}
	if found != 1 {
		t.Errorf("%d commands were found, want cron's", found)
	}
}

// areKnown counts the calls of godwit in a text, and holds them against its help.
func areKnown(t *testing.T, where, text string) (found int) {
	t.Helper()
	for line := range strings.Lines(text) {
		m := called.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(line, "#") {
			continue
		}
		found++
		words := strings.Fields(m[1])
		help, err := exec.CommandContext(t.Context(), "godwit", words[0], "--help").CombinedOutput()
		if err != nil || !strings.Contains(string(help), "godwit "+words[0]+" ") {
			t.Errorf("%s: %s: %v\n%s", where, line, err, help)
		}
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "--") && !strings.Contains(string(help), w+" ") {
				t.Errorf("%s: %s: there is no flag %s", where, line, w)
			}
		}
	}
	return found
}

// request is the one of the README's example.
var request = platform.Request{
	Plan: "acme", Batch: "all", Service: "acme.example", Account: "anna@acme.example", Login: "anna@acme.example",
	Target: "new", TargetAccount: "anna@acme.example", Deadline: time.Date(2026, 12, 5, 22, 30, 0, 0, time.UTC),
}

// TestReadmeProgram runs the README's example of a freeze program under the
// driver that will call it, and compares the request that it shows.
func TestReadmeProgram(t *testing.T) {
	dir := t.TempDir()
	noError(t, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	all := fences(t)
	scripts := slices.DeleteFunc(in(all, "sh"), func(f fence) bool { return !f.script() })
	if len(scripts) != 1 {
		t.Fatalf("%d programs, want one", len(scripts))
	}
	hook := filepath.Join(dir, "freeze")
	noError(t, os.WriteFile(hook, []byte(scripts[0].text), 0o700))
	driver := program.New([]string{"./freeze"}, dir, time.Minute)
	check := func(want platform.State) {
		t.Helper()
		got, err := driver.Check(t.Context(), request)
		if err != nil || got != want {
			t.Errorf("check: %q, %v; want %q", got, err, want)
		}
	}
	check(platform.Open)
	for range 2 { // twice does no harm
		noError(t, driver.Freeze(t.Context(), request))
		check(platform.Frozen)
	}
	for range 2 {
		noError(t, driver.Thaw(t.Context(), request))
		check(platform.Open)
	}
	noError(t, driver.Switch(t.Context(), request))
	check(platform.Switched)
	if err := driver.Freeze(t.Context(), platform.Request{Account: "../anna@acme.example"}); err == nil {
		t.Error("it leaves its folder")
	}

	noError(t, os.WriteFile(hook, []byte("#!/bin/sh\ncat >request.json\n"), 0o700))
	noError(t, driver.Freeze(t.Context(), request))
	sent, err := os.ReadFile(filepath.Join(dir, "request.json"))
	noError(t, err)
	shown := in(all, "json")
	if len(shown) != 1 {
		t.Fatalf("%d requests, want one", len(shown))
	}
	if diff := cmp.Diff(object(t, string(sent)), object(t, shown[0].text)); diff != "" {
		t.Errorf("README.md:%d: the request differs (-sent +README):\n%s", shown[0].line, diff)
	}
}

func object(t *testing.T, text string) (o map[string]string) {
	t.Helper()
	noError(t, json.Unmarshal([]byte(text), &o))
	return o
}

// TestReadmeTree wants every folder of the README's tree to be there.
func TestReadmeTree(t *testing.T) {
	folders := map[string]bool{}
	for _, f := range in(fences(t), "text") {
		for _, m := range regexp.MustCompile(`[a-z-]+(/[a-z-]+)*/`).FindAllString(f.text, -1) {
			folders[m] = true
		}
	}
	if len(folders) < 9 {
		t.Errorf("only %d folders: %v", len(folders), slices.Sorted(maps.Keys(folders)))
	}
	for folder := range folders {
		if info, err := os.Stat(filepath.Join("../..", folder)); err != nil || !info.IsDir() {
			t.Errorf("the tree names %s, which is no folder", folder)
		}
	}
}
