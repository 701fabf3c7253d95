package plans_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// archive is many files in one, in the format txtar: a comment, then each file
// below a line `-- NAME --`.
type archive struct {
	comment string
	files   []archived
}

type archived struct{ name, text string }

var archiveName = regexp.MustCompile(`^-- (\S+) --$`)

func parseArchive(text string) archive {
	var a archive
	into := &a.comment
	for line := range strings.Lines(text) {
		if m := archiveName.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			a.files = append(a.files, archived{name: m[1]})
			into = &a.files[len(a.files)-1].text
			continue
		}
		*into += line
	}
	return a
}

var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}|\\n`)

// unescape makes bytes of \xNN, and drops the line end that txtar puts last
// where the text ends with \n itself.
func unescape(text string) string {
	return escaped.ReplaceAllStringFunc(strings.TrimSuffix(text, "\n"), func(s string) string {
		if s == `\n` {
			return "\n"
		}
		b, _ := strconv.ParseUint(s[2:], 16, 8)
		return string([]byte{byte(b)})
	})
}

// unpack writes a case into the working folder and returns its messages.
func unpack(t *testing.T, archive archive) (want []string) {
	t.Helper()
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("plan.yaml", small)
	put("accounts.csv", accounts)
	comment := archive.comment
	for _, f := range archive.files {
		text := f.text
		switch {
		case f.name == "want":
			want = strings.Split(strings.TrimSpace(text), "\n")
			continue
		case strings.Contains(comment, "\nbytes\n"):
			text = unescape(text)
		}
		put(f.name, text)
	}
	for line := range strings.Lines(comment) {
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) == 3 && words[0] == "mode":
			var mode uint64
			if mode, err = strconv.ParseUint(words[2], 8, 32); err == nil {
				err = os.Chmod(words[1], fs.FileMode(mode))
			}
		case len(words) == 3 && words[0] == "link":
			os.Remove(words[1])
			err = os.Symlink(words[2], words[1])
		case len(words) == 2 && words[0] == "folder":
			os.Remove(words[1])
			err = os.Mkdir(words[1], 0o700)
		case len(words) == 1 && words[0] == "git":
			commit(t)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return want
}

// commit makes the working folder a git work tree with all its files in it.
func commit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "-A"},
		{"-c", "user.name=t", "-c", "user.email=t@t.example", "commit", "-q", "-m", "t"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
}
