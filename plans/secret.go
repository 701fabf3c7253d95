package plans

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Secret is a reference to a secret (env:NAME, file:PATH, exec:COMMAND), or the
// literal of a list. It prints as [secret], whatever the verb.
type Secret struct {
	// A function: fmt prints unexported fields of a struct in a struct without
	// asking their methods, follows even pointers there (for %s, say), but
	// cannot look into a function.
	r func() *reference
}

type reference struct {
	scheme string // env | file | exec | literal
	value  string
	dir    string   // relative files and programs start here
	root   *os.Root // files must stay below it; nil for a plan's own
}

const hidden = "[secret]"

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ParseSecret reads env:NAME, file:PATH or exec:COMMAND. Its error never
// quotes the text. Relative paths start at the working folder; those of a plan
// at the plan's.
func ParseSecret(text string) (Secret, error) {
	scheme, value, _ := strings.Cut(text, ":")
	switch {
	case scheme == "env" && variable.MatchString(value):
	case scheme == "file" && value != "" && strings.TrimSpace(value) == value:
	case scheme == "exec" && len(strings.Fields(value)) > 0:
	default:
		return Secret{}, errors.New("is not a reference to a secret; write env:NAME, file:PATH or exec:COMMAND, never the secret itself")
	}
	if bad, ok := control(value); ok {
		return Secret{}, wrong("holds the control character %U", bad)
	}
	return sealed(&reference{scheme: scheme, value: value}), nil
}

// LiteralSecret holds text itself: the cell of a list, or a test's password.
func LiteralSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return sealed(&reference{scheme: "literal", value: text})
}

func sealed(r *reference) Secret { return Secret{func() *reference { return r }} }

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, hidden) }
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }

// IsZero says that no secret was given.
func (s Secret) IsZero() bool { return s.r == nil }

// Ref is the reference as it can be written down (a frozen account's thaw needs
// it without the plan): files and programs with their whole path. It is "" for
// a literal, which must not be written down, and for no secret.
func (s Secret) Ref() string {
	if s.r == nil {
		return ""
	}
	switch r := s.r(); r.scheme {
	case "literal":
		return ""
	case "env":
		return "env:" + r.value
	case "file":
		return "file:" + r.path()
	default:
		return "exec:" + strings.Join(r.argv(), " ")
	}
}

// Open reads the secret now. Its error never quotes it.
func (s Secret) Open(ctx context.Context) (string, error) {
	if s.r == nil {
		return "", errors.New("no secret is given")
	}
	switch r := s.r(); r.scheme {
	case "literal":
		return r.value, nil
	case "env":
		value, ok := os.LookupEnv(r.value)
		if !ok || value == "" {
			return "", fmt.Errorf("secret env:%s: the variable is not set", r.value)
		}
		return value, nil
	case "file":
		return r.readFile()
	default:
		return r.run(ctx)
	}
}

func (r *reference) path() string {
	if filepath.IsAbs(r.value) {
		return r.value
	}
	path, err := filepath.Abs(filepath.Join(r.dir, r.value))
	if err != nil {
		return filepath.Join(r.dir, r.value)
	}
	return path
}

const secretLimit = 64 << 10

func (r *reference) readFile() (string, error) {
	fail := func(why string) (string, error) { return "", fmt.Errorf("secret file:%s: %s", r.value, why) }
	stat, open := os.Stat, os.Open
	path := r.path()
	if r.root != nil {
		stat, open, path = r.root.Stat, r.root.Open, filepath.Clean(r.value)
	}
	info, err := stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fail("no such file")
	case err != nil:
		return fail(cause(err))
	case !info.Mode().IsRegular():
		return fail("not a regular file")
	}
	f, err := open(path)
	if err != nil {
		return fail(cause(err))
	}
	defer f.Close()
	// The mode of what was opened: the name may point elsewhere by now.
	if info, err = f.Stat(); err != nil {
		return fail(cause(err))
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fail(fmt.Sprintf("others can read it (mode %04o); chmod 600 it", mode))
	}
	return r.text(f)
}

// text reads a secret up to its one trailing newline.
func (r *reference) text(from io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(from, secretLimit+1))
	if err != nil {
		return "", fmt.Errorf("secret %s: %s", r.name(), cause(err))
	}
	if len(data) > secretLimit {
		return "", fmt.Errorf("secret %s: it is longer than 64 KiB", r.name())
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("secret %s: it is empty", r.name())
	}
	return value, nil
}

// name is what messages call it; of a command only the program, whose
// arguments are nobody's business.
func (r *reference) name() string {
	if r.scheme == "exec" {
		return "exec:" + strings.Fields(r.value)[0]
	}
	return r.scheme + ":" + r.value
}

func (r *reference) argv() []string {
	argv := strings.Fields(r.value)
	argv[0] = program(r.dir, argv[0])
	return argv
}

// program makes a program's path absolute when it has a slash; without one it
// is looked up in PATH.
func program(dir, name string) string {
	if !strings.Contains(name, "/") || filepath.IsAbs(name) {
		return name
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return name
	}
	return path
}

// run starts the command without a shell, with little more than PATH in its
// environment, and takes what it prints.
func (r *reference) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	argv := r.argv()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C"}
	out := &limited{}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		switch {
		case ctx.Err() != nil:
			return "", fmt.Errorf("secret %s: %w", r.name(), ctx.Err())
		case out.full:
			return "", fmt.Errorf("secret %s: it is longer than 64 KiB", r.name())
		}
		return "", fmt.Errorf("secret %s: %s", r.name(), cause(err))
	}
	return r.text(strings.NewReader(out.b.String()))
}

// limited takes as much as a secret may have.
type limited struct {
	b    strings.Builder
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > secretLimit {
		l.full = true
		return 0, errors.New("too long")
	}
	return l.b.Write(p)
}

// cause is the innermost reason of err: without paths, which are said already.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
