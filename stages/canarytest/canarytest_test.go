package canarytest_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/stages/canarytest"
)

// told is a test that counts what it is told.
type told struct {
	testing.TB
	errors []string
}

func (t *told) Errorf(format string, args ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, args...))
}
func (t *told) Error(args ...any) { t.errors = append(t.errors, fmt.Sprint(args...)) }

// written are ways to write a canary, each by what programs write with.
var written = map[string]func(string) string{
	"plain":             func(s string) string { return s },
	"base64":            func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"in a SASL answer":  func(s string) string { return base64.StdEncoding.EncodeToString([]byte("\x00anna\x00" + s)) },
	"in a longer one":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("annas:" + s + "more")) },
	"base64 of URLs":    func(s string) string { return base64.URLEncoding.EncodeToString([]byte("a" + s)) },
	"base64 in lines":   func(s string) string { return inLines(base64.StdEncoding.EncodeToString([]byte("x" + s))) },
	"hex":               func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex in capitals":   func(s string) string { return fmt.Sprintf("%X", s) },
	"in a URL's query":  url.QueryEscape,
	"in a URL's path":   url.PathEscape,
	"in a URL's user":   func(s string) string { return url.UserPassword("u", s).String() },
	"in Go's quotes":    strconv.Quote,
	"in JSON":           func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"in a shell":        func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" },
	"in UTF-16":         func(s string) string { return strings.Join(strings.Split(s, ""), "\x00") + "\x00" },
	"quoted-printable":  func(s string) string { return quotedPrintable(strings.Repeat("x", 70) + s) },
	"in a folded field": func(s string) string { return s[:6] + "\r\n " + s[6:] },
}

func inLines(s string) string { return s[:9] + "\r\n" + s[9:20] + "\r\n" + s[20:] }

func quotedPrintable(s string) string {
	var b strings.Builder
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	w.Close()
	return b.String()
}

func TestEveryFormIsFound(t *testing.T) {
	for name, write := range written {
		t.Run(name, func(t *testing.T) {
			got := &told{TB: t}
			w := canarytest.New(got)
			value := canarytest.Secret()
			w.Add("the secret", value)
			w.Output("the output", []byte("begin "+write(value)+" end"))
			w.Search(nil)
			if len(got.errors) == 0 || strings.Contains(strings.Join(got.errors, ""), value) {
				t.Errorf("not found, or shown: %q", got.errors)
			}
		})
	}
}

func TestEveryPlaceIsLookedAt(t *testing.T) {
	put := func(dir, name, text string) {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err = errors.Join(err, os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(c *exec.Cmd) {
		stdin, err := c.StdinPipe()
		if err = errors.Join(err, c.Start()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // it is looked at more often
		stdin.Close()
		_ = c.Wait() // it may not like its arguments
	}
	list := func(password string) string {
		return "service,account,temporary_password\r\nacme,anna@acme.example," + password + "\r\n"
	}
	tests := map[string]struct {
		plant func(w *canarytest.Watch, dir, value string)
		want  int
	}{
		"nowhere":   {func(_ *canarytest.Watch, dir, _ string) { put(dir, "clean", "nothing") }, 0},
		"in a file": {func(_ *canarytest.Watch, dir, value string) { put(dir, "out/x", "a "+value) }, 1},
		"in a file's name": {func(_ *canarytest.Watch, dir, value string) {
			put(dir, "out/"+hex.EncodeToString([]byte(value)), "a")
		}, 1},
		"in a file that may have it":  {func(_ *canarytest.Watch, dir, value string) { put(dir, "secrets/x", value) }, 0},
		"in a list that may have it":  {func(_ *canarytest.Watch, dir, value string) { put(dir, "a/b/list.csv", value) }, 0},
		"in the output":               {func(w *canarytest.Watch, _, value string) { w.Output("stderr", []byte("x "+value)) }, 1},
		"in the list of passwords":    {func(_ *canarytest.Watch, dir, value string) { put(dir, "out/passwords.csv", list(value)) }, 0},
		"in the arguments of a child": {func(_ *canarytest.Watch, _, value string) { run(exec.Command("/bin/cat", "-", value)) }, 1},
		"in the environment of a child": {func(_ *canarytest.Watch, _, value string) {
			c := exec.Command("/bin/cat")
			c.Env = []string{"X=" + value}
			run(c)
		}, 1},
		"in the environment of a program it was given to": {func(w *canarytest.Watch, _, _ string) {
			given := canarytest.Secret()
			w.Given("cat", "what cat may know", given)
			c := exec.Command("/bin/cat")
			c.Env = []string{"X=" + given}
			run(c)
		}, 0},
		"in that of another": {func(w *canarytest.Watch, _, _ string) {
			given := canarytest.Secret()
			w.Given("dog", "what cat may not know", given)
			c := exec.Command("/bin/cat")
			c.Env = []string{"X=" + given}
			run(c)
		}, 1},
		"a listed password in another file": {func(_ *canarytest.Watch, dir, _ string) {
			password := canarytest.Secret()
			put(dir, "out/passwords.csv", list(password))
			put(dir, "out/x.ledger-wal", password)
		}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := &told{TB: t}
			w, dir, value := canarytest.New(got), t.TempDir(), canarytest.Secret()
			w.Add("the secret", value)
			w.Output("the output", []byte("clean"))
			tt.plant(w, dir, value)
			w.Lists(dir)
			w.Search([]string{dir}, "secrets/", "list.csv", "passwords.csv")
			if len(got.errors) != tt.want {
				t.Errorf("%d hits, want %d: %q", len(got.errors), tt.want, got.errors)
			}
		})
	}
}
