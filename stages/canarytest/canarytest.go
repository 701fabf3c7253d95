// Package canarytest finds secrets where they must not be. A test's secrets are
// canaries: strings that stand nowhere else. While tests run, the command lines
// and environments of all processes are noted; when one ends, its output and its
// files are searched for every canary in every form in which programs write
// text.
//
//	Add, Given, Lists -> canaries ─┐
//	Output, Files, processes ──────┴─> Search -> where each was found
package canarytest

import (
	"bytes"
	"crypto/rand"
	"encoding/csv"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Secret makes a canary. Its last characters are written in another way by
// everything that quotes: URLs, JSON, HTML, shells.
func Secret() string { return "Cnry" + rand.Text()[:14] + "+/&'%" }

// Watch is what one test looks for, and where.
type Watch struct {
	t       testing.TB
	mu      sync.Mutex
	secrets []secret
	outputs []output
}

type secret struct {
	name, value string
	given       string // to this program, in its environment; "" to none
}

type output struct {
	name string
	text []byte
}

// New starts to note the processes.
func New(t testing.TB) *Watch {
	processes.start.Do(func() { go processes.run() })
	return &Watch{t: t}
}

// Add names a secret. What is shorter than eight bytes cannot be a canary.
func (w *Watch) Add(name, value string) {
	w.t.Helper()
	if len(value) < shortest {
		w.t.Fatalf("%s is no canary: it is shorter than %d bytes", name, shortest)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, secret{name: name, value: value})
}

// Given is Add for a secret that program has in its environment, because the
// hoster put it there. Its children must not.
func (w *Watch) Given(program, name, value string) {
	w.Add(name, value)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[len(w.secrets)-1].given = program
}

// File is Add for a secret in a file, whose last line end does not count.
func (w *Watch) File(path string) {
	w.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Add(filepath.Base(path), strings.TrimRight(string(data), "\r\n"))
}

// Lists adds every password of the lists (passwords.csv) below dir.
func (w *Watch) Lists(dir string) (n int) {
	w.t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "passwords.csv" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		reader := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
		if head, _, _ := bytes.Cut(data, []byte("\n")); bytes.Contains(head, []byte(";")) {
			reader.Comma = ';'
		}
		rows, err := reader.ReadAll()
		if err != nil || len(rows) == 0 {
			return fmt.Errorf("%s: %d rows, %w", path, len(rows), err)
		}
		column := slices.Index(rows[0], "temporary_password")
		for _, row := range rows[1:] {
			w.Add("temporary password of "+row[1], row[column])
			n++
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Output keeps what a program printed.
func (w *Watch) Output(name string, text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outputs = append(w.outputs, output{name, bytes.Clone(text)})
}

// Search looks for every canary in the outputs, in the processes and in all
// files below the folders, but for those whose path below a folder matches one of
// except (path.Match, or a folder's name that ends with /: all below it). Each hit fails
// the test.
func (w *Watch) Search(folders []string, except ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	index, forms := newIndex(w.secrets)
	hits := 0
	look := func(place string, text []byte) {
		for _, h := range index.find(text) {
			hits++
			w.t.Errorf("%s holds %s, %s", place, h.name, h.form)
		}
	}
	files, size := 0, 0
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			below, err := filepath.Rel(folder, path)
			if err != nil || excepted(filepath.ToSlash(below), except) {
				return err
			}
			data, err := os.ReadFile(path)
			files, size = files+1, size+len(data)
			look(below, data)
			look("the name of "+below, []byte(below))
			return err
		})
		if err != nil {
			w.t.Error(err)
		}
	}
	for _, o := range w.outputs {
		look(o.name, o.text)
	}
	seen := processes.all()
	for _, p := range seen {
		for _, h := range index.find([]byte(p.text)) {
			if p.where == "environment" && h.given != "" && h.given == p.program {
				continue
			}
			hits++
			w.t.Errorf("the %s of a process %s holds %s, %s", p.where, p.program, h.name, h.form)
		}
	}
	w.t.Logf("canaries: %d secrets in %d forms, looked for in %d files (%d kB), %d outputs and %d arguments and variables of processes: %d hits",
		len(w.secrets), forms, files, size/1000, len(w.outputs), len(seen), hits)
	if len(w.secrets) == 0 || files+len(w.outputs) == 0 || len(seen) == 0 {
		w.t.Error("nothing was looked for, or nowhere") // or the search is empty in silence
	}
}

func excepted(path string, except []string) bool {
	return slices.ContainsFunc(except, func(pattern string) bool {
		if strings.HasSuffix(pattern, "/") {
			return strings.Contains("/"+path, "/"+pattern)
		}
		whole, _ := filepath.Match(pattern, path)
		name, _ := filepath.Match(pattern, filepath.Base(path))
		return whole || name
	})
}
