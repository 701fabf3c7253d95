package main

import (
	"context"
	_ "embed" // the configuration
	"errors"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed cyrus.conf
var cyrusConf string

// cyrusRoots are the folders that may hold Cyrus as Debian packs it. Its
// package cannot be installed beside Dovecot's, so .ci/needs unpacks it.
var cyrusRoots = []string{"/usr/local/lib/godwit-lab/cyrus", "/"}

var errNoCyrus = errors.New("cyrus is not here: .ci/needs, as root, unpacks it")

// cyrus is one Cyrus IMAP server. Users sign in as with Dovecot; a mailbox is
// made at the first login.
type cyrus struct {
	*process
	Root     string
	Alt      bool // folders stand beside INBOX, "/" between levels
	Unsafe   bool // no fsync
	Master   string
	authOnce bool
}

func newCyrus(p *process, o options) (*cyrus, error) {
	c := &cyrus{process: p, Alt: o.format == "cyrus-alt", Unsafe: o.fsync == "never", Master: masterLogin}
	for _, root := range cyrusRoots {
		if _, err := os.Stat(filepath.Join(root, "usr/lib/cyrus/bin/master")); err == nil {
			c.Root = root
			return c, c.makeFolders("conf", "conf/db", "conf/proc", "conf/socket", "conf/lock", "conf/log", "conf/msg", "conf/quota", "conf/sieve", "conf/user")
		}
	}
	return nil, errNoCyrus
}

// Bin is where the programs are.
func (c *cyrus) Bin() string { return filepath.Join(c.Root, "usr/lib/cyrus/bin") }

func (c *cyrus) tryStart(ctx context.Context) error {
	if err := choosePorts(&c.IMAPPort); err != nil {
		return err
	}
	if !c.authOnce {
		if err := serveSASL(filepath.Join(c.Run, "mux"), c.Dir); err != nil {
			return err
		}
		c.authOnce = true
	}
	var text strings.Builder
	if err := template.Must(template.New("cyrus.conf").Parse(cyrusConf)).Execute(&text, c); err != nil {
		return err
	}
	master, imapd, _ := strings.Cut(text.String(), "--- imapd.conf\n")
	if err := c.writeFiles(map[string]string{"cyrus.conf": master, "imapd.conf": imapd}); err != nil {
		return err
	}
	libraries, err := filepath.Glob(filepath.Join(c.Root, "usr/lib/*/libcyrus.so.0"))
	if err != nil || len(libraries) == 0 {
		return errors.Join(errNoCyrus, err)
	}
	environment := []string{"LD_LIBRARY_PATH=" + filepath.Dir(libraries[0]), "CYRUS_USER=" + c.User}
	return c.launch(ctx, environment, filepath.Join(c.Bin(), "master"), "-D",
		"-C", filepath.Join(c.Dir, "imapd.conf"), "-M", filepath.Join(c.Dir, "cyrus.conf"), "-p", filepath.Join(c.Run, "master.pid"))
}

func (c *cyrus) freePorts() { c.IMAPPort = 0 }

func (c *cyrus) describe() server {
	return server{Address: c.address(), Config: filepath.Join(c.Dir, "imapd.conf")}
}
