package main

import (
	"context"
	"crypto/rand"
	_ "embed" // the configuration
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
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
	*process
	Name              string
	Location, Fsync   string
	Separator, Prefix string
	Log               bool // what is changed, into info.log
	HTTPPort          int
	PlainPort         int    // without TLS, if Plain
	Plain             bool   // for benchmarks
	Capability        string // what it says it can after the login; "": the truth
	DoveadmSecret     string
}

func newDovecot(p *process, o options) (*dovecot, error) {
	if _, err := os.Stat(program); err != nil {
		return nil, errNoDovecot
	}
	d := &dovecot{
		process: p, Name: "godwit-lab-" + filepath.Base(p.Dir),
		Fsync: o.fsync, Separator: o.separator, Prefix: o.prefix, Log: o.log,
	}
	d.Location = map[string]string{"maildir": "maildir:~/Maildir:LAYOUT=fs", "sdbox": "sdbox:~/sdbox", "mdbox": "mdbox:~/mdbox"}[o.format]
	if d.Location == "" {
		return nil, fmt.Errorf("the format is %q; it is maildir, sdbox, mdbox, cyrus or cyrus-alt", o.format)
	}
	return d, nil
}

func (d *dovecot) tryStart(ctx context.Context) error {
	ports := []*int{&d.IMAPPort, &d.HTTPPort}
	if d.Plain {
		ports = append(ports, &d.PlainPort)
	}
	if err := choosePorts(ports...); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	return d.launch(ctx, nil, program, "-F", "-c", d.config())
}

func (d *dovecot) freePorts() { d.IMAPPort, d.HTTPPort, d.PlainPort = 0, 0, 0 }

func (d *dovecot) describe() server {
	return server{
		Address:  d.address(),
		Doveadm:  endpoint{fmt.Sprintf("https://127.0.0.1:%d/doveadm/v1", d.HTTPPort), "doveadm", filepath.Join(d.Dir, "doveadm.secret")},
		DenyFile: filepath.Join(d.Dir, "deny"),
		Config:   d.config(),
		Log:      filepath.Join(d.Dir, "info.log"),
	}
}

func (d *dovecot) config() string { return filepath.Join(d.Dir, "dovecot.conf") }

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
	files := map[string]string{
		"dovecot.conf": text.String(),
		"users.conf":   fmt.Sprintf(dictConf, d.Dir, "passdb"),
		"denied.conf":  fmt.Sprintf(dictConf, d.Dir, "denied"),
		"master":       masterLogin + ":{PLAIN}" + master + "\n",
	}
	if _, err := os.Stat(filepath.Join(d.Dir, "deny")); err != nil { // who was refused before the restart stays so
		files["deny"] = ""
	}
	return d.writeFiles(files)
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
