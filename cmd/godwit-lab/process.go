package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is a mail server of the lab, whatever program it is.
type daemon interface {
	// tryStart configures the server, starts it and returns when it greets.
	tryStart(ctx context.Context) error
	// freePorts makes the next try choose other ports.
	freePorts()
	// describe is what the lab tells of the running server.
	describe() server
	stop()
	exited() <-chan struct{}
	said() string
}

// newDaemon makes the folders and files of a server below dir.
func newDaemon(dir string, o options, port int, guard *reaper) (daemon, error) {
	p, err := newProcess(dir, port, guard)
	if err != nil {
		return nil, err
	}
	switch o.format {
	case "cyrus", "cyrus-alt":
		return newCyrus(p, o)
	}
	return newDovecot(p, o)
}

// startDaemon starts a server. Another process may take a port between the
// choice and the bind; then other ports are tried.
func startDaemon(ctx context.Context, d daemon) error {
	for try := 1; ; try++ {
		err := d.tryStart(ctx)
		if err == nil || try == 5 || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
		d.freePorts()
	}
}

// process is a server as a process of an unprivileged user.
type process struct {
	Dir, Run    string // Run is short enough for sockets
	User, Group string
	UID, GID    int
	Cert, Key   string
	IMAPPort    int // implicit TLS

	guard *reaper
	cmd   *exec.Cmd
	ended chan struct{} // closed once it ended
	err   error         // how
}

func newProcess(dir string, port int, guard *reaper) (*process, error) {
	uid, gid, err := serverID()
	if err != nil {
		return nil, err
	}
	p := &process{
		Dir: dir, Run: filepath.Join(dir, "run"), UID: uid, GID: gid, IMAPPort: port, guard: guard,
		Cert: filepath.Join(filepath.Dir(dir), "cert.pem"), Key: filepath.Join(filepath.Dir(dir), "key.pem"),
	}
	if p.User, p.Group, err = names(uid, gid); err != nil {
		return nil, err
	}
	if err := p.makeFolders("", "run", "mail", "passdb", "userdb", "denied", "routed", "activated"); err != nil {
		return nil, err
	}
	// A unix socket's name holds 108 octets, and the servers' end in up to 40.
	if len(p.Run) > 60 {
		if p.Run, err = os.MkdirTemp("/tmp", "godwit-lab-run-"); err != nil {
			return nil, err
		}
		if err := errors.Join(os.Chmod(p.Run, 0o755), own(p.Run)); err != nil { //nolint:gosec // two users share it
			return nil, err
		}
	}
	return p, nil
}

func (p *process) makeFolders(names ...string) error {
	for _, name := range names {
		path := filepath.Join(p.Dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil { //nolint:gosec // as above
			return err
		}
		if err := own(path); err != nil {
			return err
		}
	}
	return nil
}

// writeFiles writes files of configuration below the server's folder.
func (p *process) writeFiles(files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(p.Dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := own(path); err != nil {
			return err
		}
	}
	return nil
}

func names(uid, gid int) (user, group string, err error) {
	u, err := osuser.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "", "", err
	}
	g, err := osuser.LookupGroupId(strconv.Itoa(gid))
	if err != nil {
		return "", "", err
	}
	return u.Username, g.Name, nil
}

// choosePorts fills in the ports that are 0.
func choosePorts(ports ...*int) error {
	for _, port := range ports {
		if *port != 0 {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		// Kept open until all are chosen, or they may be the same.
		defer l.Close()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// launch starts the program and returns when the server greets over TLS.
func (p *process) launch(ctx context.Context, environment []string, program string, args ...string) error {
	out, err := os.OpenFile(filepath.Join(p.Dir, "start.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), environment...)
	// The reaper ends the server when we end, however that comes about; the
	// kernel does where somebody ended the reaper as well.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() == 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.UID), Gid: uint32(p.GID)}
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	if err := p.guard.watch(p.cmd.Process.Pid); err != nil {
		return err
	}
	return p.greets(ctx)
}

// greets waits until the server greets over TLS, or ended. It is known by its
// certificate: another process may have taken its port.
func (p *process) greets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		c, err := dial(ctx, p.address(), filepath.Join(filepath.Dir(p.Cert), "ca.pem"))
		if err == nil {
			c.close()
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the server ended at its start: %w: %s", p.err, p.said())
		case <-ctx.Done():
			p.stop()
			return fmt.Errorf("the server does not greet: %w: %s", ctx.Err(), p.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *process) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.IMAPPort)) }

func (p *process) exited() <-chan struct{} { return p.ended }

// said returns what the server wrote of its troubles.
func (p *process) said() string {
	var text []byte
	for _, name := range []string{"start.log", "error.log"} {
		part, _ := os.ReadFile(filepath.Join(p.Dir, name)) // for people; it may not be there
		text = append(text, part[max(0, len(part)-2000):]...)
	}
	return strings.TrimSpace(string(text))
}

// stop ends the server and all its processes.
func (p *process) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // whoever is left in its group
	if p.Run != filepath.Join(p.Dir, "run") {
		_ = os.RemoveAll(p.Run)
	}
}
