package main_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"godwit/plans"
)

// The units that init writes are good ones to systemd, call commands that there
// are, and let the guard of a run outlive it.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no systemd-analyze: apt-get install systemd")
		}
		t.Skip("no systemd-analyze: apt-get install systemd")
	}
	dir := t.TempDir()
	files, err := fs.Glob(plans.Examples, "examples/systemd/*")
	noError(t, err)
	calls := 0
	var here []string
	for _, name := range files {
		data, err := plans.Examples.ReadFile(name)
		noError(t, err)
		text := string(data)
		calls += areKnown(t, name, text)
		for _, line := range []string{"KillMode=process\n", "OOMPolicy=continue\n"} {
			if strings.HasSuffix(name, "/godwit.service") && !strings.Contains(text, line) {
				t.Errorf("%s: the guard dies with the run: there is no %s", name, line)
			}
		}
		// There is neither that program nor that user here.
		text = strings.NewReplacer("/usr/local/bin/godwit", "/bin/true", "User=godwit\n", "").Replace(text)
		here = append(here, filepath.Join(dir, filepath.Base(name)))
		noError(t, os.WriteFile(here[len(here)-1], []byte(text), 0o600))
	}
	if len(files) != 3 || calls != 2 {
		t.Errorf("%d units with %d calls of godwit, want 3 with 2", len(files), calls)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", append([]string{"verify", "--man=no"}, here...)...).CombinedOutput()
	if err != nil || len(out) > 0 { // an unknown key is said, and no error
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
