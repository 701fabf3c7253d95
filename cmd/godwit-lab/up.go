package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// masterLogin signs in as any user: USER*migrator.
const masterLogin = "migrator"

// options are how a server is set up.
type options struct {
	format, fsync     string
	separator, prefix string
	log               bool
}

// up starts both servers and stays until stdin closes or a signal comes.
func up(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (err error) {
	set := flags("up", "up [-dir D] [-format maildir|sdbox] [-smtp] …  (ends when stdin closes)")
	dir := set.String("dir", "", "the lab's `folder`; what an earlier lab left there is used again (default: a new one, removed at the end)")
	format := set.String("format", "maildir", "what the servers are: Dovecot with maildir, sdbox or mdbox; cyrus, or cyrus-alt with the alternative namespace")
	targetFormat := set.String("target-format", "", "what the target is, if it is not what the source is")
	fsync := set.String("fsync", "optimized", "Dovecot's mail_fsync: never, optimized or always")
	separator := set.String("separator", "/", "hierarchy separator at the source")
	prefix := set.String("prefix", "", "namespace prefix at the source, as INBOX/")
	smtp := set.Bool("smtp", false, "also take mail by SMTP and keep it as files")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "lab"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	}
	l, err := prepare(*dir)
	if err != nil {
		return err
	}
	source := options{*format, *fsync, *separator, *prefix, true}
	target := options{cmp.Or(*targetFormat, *format), *fsync, "/", "", false}
	guard, err := startReaper()
	if err != nil {
		return err
	}
	defer guard.done()
	servers, err := l.start(ctx, guard, source, target)
	defer func() {
		var all sync.WaitGroup
		for _, s := range servers {
			all.Go(s.stop)
		}
		all.Wait()
	}()
	if err != nil {
		return err
	}
	if *smtp {
		if l.SMTP, err = startSink(l.Dir); err != nil {
			return fmt.Errorf("smtp: %w", err)
		}
		defer l.SMTP.close()
	}
	text, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.Dir, "lab.json"), text, 0o600); err != nil {
		return err
	}
	if _, err := stdout.Write(append(text, '\n')); err != nil {
		return err
	}
	return wait(ctx, stdin, servers)
}

// wait returns when there is a reason to end.
func wait(ctx context.Context, stdin io.Reader, servers []daemon) error {
	closed := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // an error is an end as well
		close(closed)
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-closed:
		return nil
	case <-servers[0].exited():
		return fmt.Errorf("the source ended by itself: %s", servers[0].said())
	case <-servers[1].exited():
		return fmt.Errorf("the target ended by itself: %s", servers[1].said())
	}
}

// prepare makes the folder, its certificates and the master's secret.
func prepare(dir string) (*lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the servers' user reads here
		return nil, err
	}
	if err := openPath(dir); err != nil {
		return nil, err
	}
	l := &lab{Dir: dir, CA: filepath.Join(dir, "ca.pem"), Master: login{masterLogin, filepath.Join(dir, "master.secret")}}
	if _, err := ensureSecret(l.Master.SecretFile); err != nil {
		return nil, err
	}
	if _, err := os.Stat(l.CA); errors.Is(err, os.ErrNotExist) {
		return l, makeCertificates(dir)
	}
	return l, nil
}

// openPath lets the servers' user pass through to dir, for which folders of
// ours below the temporary one are opened: t.TempDir() is closed to others.
func openPath(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for path := dir; path != filepath.Dir(path); path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 != 0 {
			continue
		}
		temporary := strings.HasPrefix(path, filepath.Clean(os.TempDir())+"/")
		if info.Sys().(*syscall.Stat_t).Uid != 0 || path != dir && !temporary {
			return fmt.Errorf("%s is closed to the servers' user: chmod o+x it, or choose a -dir below %s", path, os.TempDir())
		}
		if err := os.Chmod(path, info.Mode().Perm()|0o011); err != nil {
			return err
		}
	}
	return nil
}

// start starts source and target, at the ports of an earlier lab if there was
// one and they are free. It returns the servers that run, also with an error.
func (l *lab) start(ctx context.Context, guard *reaper, source, target options) ([]daemon, error) {
	before, err := openLab(l.Dir)
	if err != nil {
		before = &lab{}
	}
	var servers []daemon
	for _, side := range []struct {
		name    string
		before  server
		now     *server
		options options
	}{
		{"source", before.Source, &l.Source, source},
		{"target", before.Target, &l.Target, target},
	} {
		d, err := newDaemon(filepath.Join(l.Dir, side.name), side.options, portOf(side.before.Address), guard)
		if err != nil {
			return servers, err
		}
		servers = append(servers, d)
		if err := startDaemon(ctx, d); err != nil {
			return servers, fmt.Errorf("%s: %w", side.name, err)
		}
		*side.now = d.describe()
	}
	return servers, nil
}

// portOf returns the port of an earlier lab, 0 if there was none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port) // 0 stands for any
	return n
}
