package plans_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/go-multierror"

	"godwit/plans"
)

// wanted is a message beside the line it is about: # want `…`, as often as
// there are messages.
var wanted = regexp.MustCompile("`([^`]+)`")

// TestBad loads every wrong plan and list of testdata/bad. A NAME.yaml has its
// messages beside the lines; a NAME.txtar has plan and lists (those not given
// are good ones), and its messages in the section "want". Its comment may say,
// one a line: `mode FILE 0644`, `link FILE TARGET`, `folder NAME`, `git` (all is committed),
// and `bytes` (\xNN in the files stands for that byte).
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*")
	if err != nil {
		t.Fatal(err)
	}
	ran, canaries := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), func(t *testing.T) {
			switch filepath.Ext(file) {
			case ".yaml":
				t.Chdir(write(t, map[string]string{"plan.yaml": string(text), "accounts.csv": accounts}))
				compare(t, load(t), wantedBeside(string(text)))
			case ".txtar":
				t.Chdir(t.TempDir())
				want := unpack(t, parseArchive(string(text)))
				compare(t, load(t), want)
			default:
				t.Fatalf("%s is neither .yaml nor .txtar", file)
			}
			ran++
			if strings.Contains(strings.ToLower(string(text)), "canary") {
				canaries++
			}
		})
	}
	if ran < 80 || canaries < 8 {
		t.Errorf("%d cases ran, %d of them with a secret to keep; want 80 and 8", ran, canaries)
	}
}

// wantedBeside reads the messages of a plan, as file:line without column.
func wantedBeside(text string) []string {
	var all []string
	for i, line := range strings.Split(text, "\n") {
		_, comment, ok := strings.Cut(line, " # want ")
		if !ok {
			continue
		}
		for _, m := range wanted.FindAllStringSubmatch(comment, -1) {
			all = append(all, fmt.Sprintf("plan.yaml:%d: %s", i+1, m[1]))
		}
	}
	return all
}

// load returns the messages for plan.yaml in the working folder.
func load(t *testing.T) []string {
	t.Helper()
	plan, err := plans.Load("plan.yaml")
	if err == nil {
		plan.Close()
		t.Fatal("it loads without a problem")
	}
	var all *multierror.Error
	if !errors.As(err, &all) {
		t.Fatalf("%T is not a *multierror.Error", err)
	}
	var messages []string
	for _, err := range all.Errors {
		var p plans.Problem
		if !errors.As(err, &p) {
			t.Fatalf("%T is not a Problem", err)
		}
		if strings.Contains(strings.ToLower(p.Error()), "canary") {
			t.Errorf("a secret is shown: %s", p)
		}
		messages = append(messages, p.Error())
	}
	return messages
}

var column = regexp.MustCompile(`^(plan\.yaml:\d+):\d+: `)

// compare wants the same messages in the same order. Columns are compared
// where the wanted message has one.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if !column.MatchString(w) {
			g = column.ReplaceAllString(g, "$1: ")
		}
		if g != w {
			t.Errorf("message %d\n got: %s\nwant: %s", i+1, g, w)
		}
	}
}
