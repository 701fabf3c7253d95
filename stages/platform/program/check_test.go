package program_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/stages/platform/program"
)

func TestCheckNamesWhatIsWrong(t *testing.T) {
	tests := map[string]struct {
		command []string
		prepare func(t *testing.T, dir string)
		want    string // "" is right
	}{
		"a program below the plan":            {[]string{"./hooks/freeze"}, nil, ""},
		"a link to it":                        {[]string{"./link"}, func(t *testing.T, dir string) { must(t, os.Symlink("hooks/freeze", filepath.Join(dir, "link"))) }, ""},
		"no program":                          {nil, nil, "no program is named"},
		"a bare name is not looked for":       {[]string{"freeze"}, nil, `"./freeze"`},
		"a missing program":                   {[]string{"./hooks/thaw"}, nil, "does not exist"},
		"a missing folder":                    {[]string{"./nowhere/thaw"}, nil, "does not exist"},
		"a folder":                            {[]string{"./hooks"}, nil, "not a regular file"},
		"not executable":                      {[]string{"./hooks/freeze"}, chmod("hooks/freeze", 0o600), "not executable"},
		"writable by the group":               {[]string{"./hooks/freeze"}, chmod("hooks/freeze", 0o770), "chmod go-w"},
		"writable by all":                     {[]string{"./hooks/freeze"}, chmod("hooks/freeze", 0o702), "chmod go-w"},
		"its folder is writable by the group": {[]string{"./hooks/freeze"}, chmod("hooks", 0o770), `hooks" of program`},
		"its folder is like /tmp":             {[]string{"./hooks/freeze"}, chmod("hooks", 0o777|os.ModeSticky), "give the program a folder of its own"},
		"a folder above is writable by all":   {[]string{"./hooks/freeze"}, chmod(".", 0o777), "of program"},
		"a link out of a folder for all": {[]string{"./open/link"}, func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "open"), 0o700))
			must(t, os.Symlink("../hooks/freeze", filepath.Join(dir, "open/link")))
			chmod("open", 0o777)(t, dir)
		}, `open" of program`},
		"another's program": {[]string{"./hooks/freeze"}, func(t *testing.T, dir string) {
			if os.Getuid() != 0 {
				t.Skip("only root can give a file away")
			}
			must(t, os.Chown(filepath.Join(dir, "hooks/freeze"), 12345, -1))
		}, "belongs to another user"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chmod(dir, 0o700))
			must(t, os.Mkdir(filepath.Join(dir, "hooks"), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "hooks/freeze"), []byte("#!/bin/sh\n"), 0o700))
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			err := program.Check(tt.command, dir)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v; want %q", err, tt.want)
			}
			if tt.want != "" { // what Check refuses is not run either
				if err := program.New(tt.command, dir, 0).Freeze(t.Context(), anna); err == nil {
					t.Error("it was run")
				}
			}
		})
	}
}

func chmod(name string, mode os.FileMode) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, name), mode)) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
