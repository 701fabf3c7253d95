package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// Where a case of plans/testdata/bad gives no plan or list, it means these.
const (
	goodPlan = `version: 1
name: acme
timezone: Europe/Berlin
source: {imap: {address: "imap.old.example:993"}}
targets:
  new: {imap: {address: "imap.new.example"}}
batches:
  - {name: all, date: 2026-12-05, accounts: accounts.csv}
`
	goodList = `service,account,contact,source_secret,target_secret,x_ref
b.example,bea@b.example,boss@b.example,canary1,canary2,7
a.example,anna@a.example,ann@home.example,canary3,canary4,"8, 9"
b.example,carl@b.example,,canary5,canary6,
`
)

// soon is how long a refusal may take: a server that is asked and does not
// answer would take longer.
const soon = 15 * time.Second

// TestBadInputChangesNothing calls run and validate with every wrong plan and
// list that we know (plans/bad_test.go tells their format): exit code 2, every
// message, and nothing else anywhere.
func TestBadInputChangesNothing(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "godwit")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	files, err := filepath.Glob("../../plans/testdata/bad/*")
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
			top := t.TempDir()
			dir := filepath.Join(top, "case")
			want := unpackBad(t, dir, filepath.Ext(file), string(text))
			if len(want) == 0 {
				t.Fatal("the case wants no message")
			}
			secrets := canariesBelow(t, dir)
			canaries += len(secrets)
			before := snapshot(t, top)
			for _, command := range []string{"run", "validate"} {
				refused(t, bin, dir, command, want, secrets)
				if diff := cmp.Diff(before, snapshot(t, top)); diff != "" {
					t.Errorf("%s changed files (-before +after):\n%s", command, diff)
				}
			}
			ran++
		})
	}
	if ran < 80 || canaries < 80 {
		t.Errorf("%d cases ran with %d secrets to keep; want 80 and 80", ran, canaries)
	}
}

// refused calls the program and compares all that it says.
func refused(t *testing.T, bin, dir, command string, want, secrets []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, bin, command, "plan.yaml")
	c.Dir, c.Stdout, c.Stderr, c.WaitDelay = dir, &stdout, &stderr, time.Second
	err := c.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s still works after %s: what does it wait for?", command, soon)
	}
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 2 {
		t.Errorf("%s: %v, want exit code 2", command, err)
	}
	if stdout.Len() > 0 {
		t.Errorf("%s printed to stdout: %s", command, stdout.String())
	}
	got := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
	for i := range got {
		if i >= len(want) || !withColumn.MatchString(want[i]) {
			got[i] = withColumn.ReplaceAllString(got[i], "$1: ")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s said otherwise (-want +got):\n%s", command, diff)
	}
	for _, s := range secrets {
		for _, shown := range disguises(s) {
			if strings.Contains(strings.ToLower(stderr.String()), strings.ToLower(shown)) {
				t.Errorf("%s shows a secret, as %q", command, shown)
			}
		}
	}
}

var (
	wantedHere = regexp.MustCompile("`([^`]+)`")
	withColumn = regexp.MustCompile(`^(plan\.yaml:\d+):\d+: `)
	escaped    = regexp.MustCompile(`\\x[0-9a-f]{2}|\\n`)
	canary     = regexp.MustCompile(`(?i)[a-z0-9-]*canary[0-9]*`)
)

// unpackBad writes a case into dir and returns its messages.
func unpackBad(t *testing.T, dir, ext, text string) (want []string) {
	t.Helper()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		noError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		noError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	put("plan.yaml", goodPlan)
	put("accounts.csv", goodList)
	if ext == ".yaml" {
		put("plan.yaml", text)
		for i, line := range strings.Split(text, "\n") {
			_, comment, _ := strings.Cut(line, " # want ")
			for _, m := range wantedHere.FindAllStringSubmatch(comment, -1) {
				want = append(want, fmt.Sprintf("plan.yaml:%d: %s", i+1, m[1]))
			}
		}
		return want
	}
	archive := txtar.Parse([]byte(text))
	comment := string(archive.Comment)
	for _, f := range archive.Files {
		text := string(f.Data)
		switch {
		case f.Name == "want":
			want = strings.Split(strings.TrimSpace(text), "\n")
			continue
		case strings.Contains(comment, "\nbytes\n"):
			text = unescapeBytes(text)
		}
		put(f.Name, text)
	}
	for line := range strings.Lines(comment) {
		directive(t, dir, strings.Fields(line))
	}
	return want
}

func unescapeBytes(text string) string {
	return escaped.ReplaceAllStringFunc(strings.TrimSuffix(text, "\n"), func(s string) string {
		if s == `\n` {
			return "\n"
		}
		b, _ := strconv.ParseUint(s[2:], 16, 8)
		return string([]byte{byte(b)})
	})
}

// directive carries out a line of a case's comment that is one.
func directive(t *testing.T, dir string, words []string) {
	t.Helper()
	switch {
	case len(words) == 3 && words[0] == "mode":
		mode, err := strconv.ParseUint(words[2], 8, 32)
		noError(t, err)
		noError(t, os.Chmod(filepath.Join(dir, words[1]), fs.FileMode(mode)))
	case len(words) == 3 && words[0] == "link":
		path := filepath.Join(dir, words[1])
		_ = os.Remove(path) // the good one, if there is one
		noError(t, os.Symlink(words[2], path))
	case len(words) == 2 && words[0] == "folder":
		path := filepath.Join(dir, words[1])
		_ = os.Remove(path)
		noError(t, os.Mkdir(path, 0o700))
	case len(words) == 1 && words[0] == "git":
		for _, args := range [][]string{
			{"init", "-q"},
			{"add", "-A"},
			{"-c", "user.name=t", "-c", "user.email=t@t.example", "commit", "-q", "-m", "t"},
		} {
			if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v\n%s", args, err, out)
			}
		}
	}
}

// snapshot is all that can be seen of the files below dir. Reading times are
// left out, changing times are not.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	noError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		all[path] = fmt.Sprint(info.Mode(), " ", info.ModTime().UnixNano(), " ", content)
		return nil
	}))
	return all
}

// canariesBelow are the secrets in a case's plan and lists.
func canariesBelow(t *testing.T, dir string) (secrets []string) {
	t.Helper()
	noError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == ".git" {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		secrets = append(secrets, canary.FindAllString(string(data), -1)...)
		return err
	}))
	return secrets
}

// disguises are the forms in which a secret could be shown. In base64 the same
// bytes look different by where they begin, so each of the three is here, less
// the digits at its ends that depend on the neighbours.
func disguises(secret string) []string {
	all := []string{secret, hex.EncodeToString([]byte(secret)), url.QueryEscape(secret), url.PathEscape(secret)}
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		padded = padded[:len(padded)-len(padded)%3]
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all = append(all, e.EncodeToString(padded)[(shift*8+5)/6:])
		}
	}
	return all
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
