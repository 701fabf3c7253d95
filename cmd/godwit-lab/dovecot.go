package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	_ "embed" // the configuration
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
	"text/template"
	"time"
)

//go:embed dovecot.conf
var dovecotConf string

// The three dictionaries read one small file per user at each login, so a
// change holds at once: passwd-files are looked at once a second only.
const dictConf = `uri = fs:posix:prefix=%s/
key passdb {
  key = %s/%%u
  format = json
}
key userdb {
  key = userdb/%%u
  format = json
}
passdb_objects = passdb
userdb_objects = userdb
`

// program is where Debian's package puts Dovecot.
const program = "/usr/sbin/dovecot"

// errNoDovecot says what to install.
var errNoDovecot = errors.New("dovecot is not installed: apt-get install dovecot-imapd")

// dovecot is one server as it is configured and run.
type dovecot struct {
	Name, Dir, Run    string
	User, Group       string
	UID, GID          int
	Location, Fsync   string
	Separator, Prefix string
	Log               bool // what is changed, into info.log
	Cert, Key         string
	IMAPPort          int
	HTTPPort          int
	DoveadmSecret     string

	guard *reaper
	cmd   *exec.Cmd
	ended chan error
}

// newDovecot makes the folders and files of a server below dir.
func newDovecot(dir string, o options) (*dovecot, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, errNoDovecot
	}
	uid, gid, err := serverID()
	if err != nil {
		return nil, err
	}
	d := &dovecot{
		Name: "godwit-lab-" + filepath.Base(dir), Dir: dir, Run: filepath.Join(dir, "run"), UID: uid, GID: gid,
		Fsync: o.fsync, Separator: o.separator, Prefix: o.prefix, Log: o.log,
		Cert: filepath.Join(filepath.Dir(dir), "cert.pem"), Key: filepath.Join(filepath.Dir(dir), "key.pem"),
	}
	d.Location = map[string]string{"maildir": "maildir:~/Maildir:LAYOUT=fs", "sdbox": "sdbox:~/sdbox"}[o.format]
	if d.Location == "" {
		return nil, fmt.Errorf("-format is %q; it is maildir or sdbox", o.format)
	}
	if d.User, d.Group, err = names(uid, gid); err != nil {
		return nil, err
	}
	for _, name := range []string{"", "run", "mail", "passdb", "userdb", "denied", "routed", "activated"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil { //nolint:gosec // two users share it
			return nil, err
		}
		if err := own(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	// A unix socket's name holds 108 octets, and Dovecot's end in up to 40.
	if len(d.Run) > 60 {
		if d.Run, err = os.MkdirTemp("/tmp", "godwit-lab-run-"); err != nil {
			return nil, err
		}
		if err := errors.Join(os.Chmod(d.Run, 0o755), own(d.Run)); err != nil { //nolint:gosec // as above
			return nil, err
		}
	}
	return d, nil
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

// start starts the server and returns when it greets. Another process may
// take a port between the choice and the bind; then other ports are tried.
func (d *dovecot) start(ctx context.Context) error {
	for try := 1; ; try++ {
		err := d.tryStart(ctx)
		if err == nil || try == 5 || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
		d.IMAPPort, d.HTTPPort = 0, 0
	}
}

func (d *dovecot) tryStart(ctx context.Context) error {
	if err := d.choosePorts(); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(d.Dir, "start.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	d.cmd = exec.Command(program, "-F", "-c", d.config())
	d.cmd.Stdout, d.cmd.Stderr = out, out
	// The reaper ends the server when we end, however that comes about; the
	// kernel does where somebody ended the reaper as well.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() == 0 {
		d.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(d.UID), Gid: uint32(d.GID)}
	}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	d.ended = make(chan error, 1)
	go func() { d.ended <- d.cmd.Wait() }()
	if err := d.guard.watch(d.cmd.Process.Pid); err != nil {
		return err
	}
	return d.greets(ctx)
}

func (d *dovecot) config() string { return filepath.Join(d.Dir, "dovecot.conf") }

func (d *dovecot) choosePorts() error {
	for _, port := range []*int{&d.IMAPPort, &d.HTTPPort} {
		if *port != 0 {
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		// Kept open until both are chosen, or they may be the same.
		defer l.Close()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

func (d *dovecot) configure() error {
	secretFile := filepath.Join(d.Dir, "doveadm.secret")
	secret, err := ensureSecret(secretFile)
	if err != nil {
		return err
	}
	d.DoveadmSecret = secret
	var text strings.Builder
	if err := template.Must(template.New("dovecot.conf").Parse(dovecotConf)).Execute(&text, d); err != nil {
		return err
	}
	master, err := ensureSecret(filepath.Join(filepath.Dir(d.Dir), "master.secret"))
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"dovecot.conf": text.String(),
		"users.conf":   fmt.Sprintf(dictConf, d.Dir, "passdb"),
		"denied.conf":  fmt.Sprintf(dictConf, d.Dir, "denied"),
		"master":       masterLogin + ":{PLAIN}" + master + "\n",
		"deny":         "",
	} {
		path := filepath.Join(d.Dir, name)
		if _, err := os.Stat(path); name == "deny" && err == nil {
			continue // who was refused before the restart stays so
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		if err := own(path); err != nil {
			return err
		}
	}
	return nil
}

// greets waits until the server greets over TLS, or ended.
func (d *dovecot) greets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // is it up? nothing is sent
	for {
		conn, err := dialer.DialContext(ctx, "tcp", d.address())
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
			if err == nil {
				return nil
			}
		}
		select {
		case err := <-d.ended:
			d.ended <- err
			return fmt.Errorf("dovecot ended at its start: %w: %s", err, d.said())
		case <-ctx.Done():
			d.stop()
			return fmt.Errorf("dovecot does not greet: %w: %s", ctx.Err(), d.said())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (d *dovecot) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.IMAPPort)) }

// said returns what the server wrote of its troubles.
func (d *dovecot) said() string {
	var text []byte
	for _, name := range []string{"start.log", "error.log"} {
		part, _ := os.ReadFile(filepath.Join(d.Dir, name)) // for people; it may not be there
		text = append(text, part[max(0, len(part)-2000):]...)
	}
	return strings.TrimSpace(string(text))
}

// stop ends the server and all its processes.
func (d *dovecot) stop() {
	if d.cmd == nil || d.cmd.Process == nil {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case err := <-d.ended:
		d.ended <- err
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // whoever is left in its group
	if d.Run != filepath.Join(d.Dir, "run") {
		_ = os.RemoveAll(d.Run)
	}
}

// ensureSecret reads the secret in path, or makes one.
func ensureSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		return trimLine(string(text)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	secret := rand.Text()
	return secret, os.WriteFile(path, []byte(secret+"\n"), 0o600)
}

func trimLine(s string) string { return strings.TrimRight(s, "\r\n") }
