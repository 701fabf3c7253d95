package dovecot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"godwit/stages/platform"
)

// file is a list of accounts that Godwit shares with others: lines of its own
// say how an account stands, all others are kept as they are.
type file struct {
	path string
	line func(name string, to platform.State) string // of ours; "" for open
	key  func(line string) string                    // the name that somebody's line is about
}

// denied is the file of a passdb with deny = yes. Dovecot looks at the name
// alone; the extra field behind it is for us.
func (d *Driver) denied() file {
	return file{d.DenyFile, func(name string, to platform.State) string {
		return name + ":::::::godwit=" + string(to)
	}, nil}
}

// routed is Postfix's map. Its service retry (error(8)) has mail wait in the
// queue, for five days by default.
func (d *Driver) routed() file {
	return file{d.TransportMap, func(name string, to platform.State) string {
		if to == platform.Switched {
			return name + "\t" + d.Route
		}
		return name + "\tretry:4.3.2 this mailbox is being moved"
	}, func(line string) string {
		name, _, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		return name
	}}
}

// names are the forms in which a server may look a name up: most lower-case it
// first, which is a matter of configuration.
func names(name string) []string {
	if low := strings.ToLower(name); low != name {
		return []string{name, low}
	}
	return []string{name}
}

// state is what our lines say of an account. In a map that knows each name once
// another one's line is an error.
func (f file) state(name string) (platform.State, error) {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return "", err
	}
	state := platform.Open
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if of, ours := f.ours(line, name); ours {
			state = of
		} else if f.key != nil && strings.EqualFold(f.key(line), name) {
			return "", fmt.Errorf("%s has a line of its own for %s, which is not Godwit's: give Godwit a map for itself, before the others", f.path, name)
		}
	}
	return state, nil
}

// ours says whether a line is Godwit's, of that account, and what it says.
func (f file) ours(line, name string) (platform.State, bool) {
	for _, form := range names(name) {
		for _, state := range []platform.State{platform.Frozen, platform.Switched} {
			if line == f.line(form, state) {
				return state, true
			}
		}
	}
	return "", false
}

// held has do change the file while nobody else does.
func (f file) held(ctx context.Context, do func() error) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// set replaces our lines of an account. The file is there whole at any moment.
func (f file) set(name string, to platform.State) error {
	if now, err := f.state(name); err != nil || now == to {
		return err
	}
	old, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for line := range strings.Lines(string(old)) {
		if _, ours := f.ours(strings.TrimRight(line, "\r\n"), name); !ours {
			text.WriteString(line)
		}
	}
	if n := text.Len(); n > 0 && text.Bytes()[n-1] != '\n' {
		text.WriteByte('\n')
	}
	if to != platform.Open {
		for _, form := range names(name) {
			text.WriteString(f.line(form, to) + "\n")
		}
	}
	return f.replace(text.Bytes())
}

// replace writes the file anew. Dovecot tells a change by whole seconds and the
// size, so of two changes within a second one that leaves the size as it was
// would go unseen: each gets a second of its own.
func (f file) replace(text []byte) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	name, err := f.beside(info, text)
	if err != nil {
		return err
	}
	at := time.Now()
	if next := info.ModTime().Truncate(time.Second).Add(time.Second); at.Before(next) {
		at = next
	}
	if err := os.Chtimes(name, at, at); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return os.Rename(name, f.path)
}

// beside writes text into a new file in the same folder, with owner and mode of
// the one that it may replace.
func (f file) beside(like os.FileInfo, text []byte) (name string, err error) {
	t, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".godwit-")
	if err != nil {
		return "", err
	}
	if owner, ok := like.Sys().(*syscall.Stat_t); ok {
		err = t.Chown(int(owner.Uid), int(owner.Gid))
	}
	_, unwritten := t.Write(text)
	if err := errors.Join(err, unwritten, t.Chmod(like.Mode().Perm()), t.Sync(), t.Close()); err != nil {
		return "", errors.Join(err, os.Remove(t.Name()))
	}
	return t.Name(), nil
}

// lock keeps other processes, a guard or another plan's run, from the file. It
// is a file of its own beside it, since the file itself is replaced.
func (f file) lock(ctx context.Context) (unlock func(), err error) {
	l, err := os.OpenFile(f.path+".godwit-lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(l.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { l.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, l.Close())
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s is locked by another process: %w", f.path, ctx.Err()), l.Close())
		}
	}
}

// writable says beforehand whether the file could be replaced.
func (f file) writable() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	name, err := f.beside(info, nil)
	if err != nil {
		return err
	}
	return os.Remove(name)
}
