package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// lab is a running lab as `up` prints it and keeps it in lab.json.
type lab struct {
	Dir    string `json:"dir"`
	Source server `json:"source"`
	Target server `json:"target"`
	CA     string `json:"ca"`
	Master login  `json:"master"`
	SMTP   *sink  `json:"smtp,omitempty"`
}

// server is one of the two mail servers.
type server struct {
	Address  string   `json:"address"` // implicit TLS
	Doveadm  endpoint `json:"doveadm"`
	DenyFile string   `json:"deny_file"` // names refused a login of their own, one per line
	Config   string   `json:"config"`
	Log      string   `json:"log"`

	// Of a server that somebody else runs, written into lab.json by them.
	Master *login `json:"master,omitempty"`
	CA     string `json:"ca,omitempty"`
}

// endpoint is Dovecot's HTTP administration.
type endpoint struct {
	URL        string `json:"url"`
	Login      string `json:"login"`
	SecretFile string `json:"secret_file"`
}

// login is a name and the file that holds its secret.
type login struct {
	Login      string `json:"login"`
	SecretFile string `json:"secret_file"`
}

// openLab reads the lab that runs, or last ran, below dir.
func openLab(dir string) (*lab, error) {
	if dir == "" {
		return nil, errors.New("-dir is missing: say where the lab is, as `up` printed it")
	}
	text, err := os.ReadFile(filepath.Join(dir, "lab.json"))
	if err != nil {
		return nil, fmt.Errorf("%s holds no lab, start one with `godwit-lab up -dir %s`: %w", dir, dir, err)
	}
	l := new(lab)
	if err := json.Unmarshal(text, l); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "lab.json"), err)
	}
	return l, nil
}

// side returns the files of "source" or "target".
func (l *lab) side(name string) (side, error) {
	switch name {
	case "source":
		return side{l.Source, filepath.Join(l.Dir, name)}, nil
	case "target":
		return side{l.Target, filepath.Join(l.Dir, name)}, nil
	}
	return side{}, fmt.Errorf("-side is %q; it is source or target", name)
}

// side is a server and the folder that holds its users and its mail:
//
//	passdb/USER  JSON with the password; Dovecot reads it at each login
//	userdb/USER  JSON with the quota; a user without it does not exist
//	denied/USER  only the master may log in as USER
//	routed/USER  routing points to the target (written by `hook`)
type side struct {
	server
	dir string
}

// put writes a file that the server reads, whole or not at all.
func (s side) put(kind, name string, content any) error {
	if err := checkName(name); err != nil {
		return err
	}
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	// Dovecot lower-cases login names before it looks them up.
	path := filepath.Join(s.dir, kind, strings.ToLower(name))
	temp := path + "." + rand.Text()
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return err
	}
	if err := own(temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// drop removes what put wrote; it may be gone already.
func (s side) drop(kind, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(s.dir, kind, strings.ToLower(name)))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (s side) has(kind, name string) bool {
	_, err := os.Stat(filepath.Join(s.dir, kind, strings.ToLower(name)))
	return checkName(name) == nil && err == nil
}

// checkName refuses names that would leave the folder or upset Dovecot's
// variables.
func checkName(name string) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\\%*\"\x00 \t\r\n:") {
		return fmt.Errorf("%q is no name for a user of the lab: letters, digits and @ . _ + - are", name)
	}
	return nil
}

// serverID is who the servers run as: we, or nobody if we are root, because
// Dovecot opens no mailbox as root.
func serverID() (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid(), nil
	}
	nobody, err := osuser.Lookup("nobody")
	if err != nil {
		return 0, 0, err
	}
	uid, err = strconv.Atoi(nobody.Uid)
	if err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(nobody.Gid)
	return uid, gid, err
}

// own gives path to the servers' user.
func own(path string) error {
	uid, gid, err := serverID()
	if err != nil {
		return err
	}
	return os.Chown(path, uid, gid)
}
