package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
)

// user adds or changes a user while the servers run; it holds from the next
// login on.
func user(_ context.Context, args []string, stdin io.Reader, _ io.Writer) error {
	set := flags("user", "user -dir D -side source|target|both [-quota 100M] [-deny|-allow] NAME [PASSWORD-FILE]")
	dir := set.String("dir", "", "the lab's `folder`")
	where := set.String("side", "both", "source, target or both")
	quota := set.String("quota", "", "most the mailbox may hold, as in 100M (default 10G)")
	deny := set.Bool("deny", false, "refuse the user's own login; the master may still log in")
	allow := set.Bool("allow", false, "undo -deny")
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() < 1 || set.NArg() > 2 || *deny && *allow {
		set.Usage()
		return errors.New("user: say one NAME, and a PASSWORD-FILE (- for stdin) to set its password")
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	names := []string{*where}
	if *where == "both" {
		names = []string{"source", "target"}
	}
	var password string
	if set.NArg() == 2 {
		if password, err = readSecret(set.Arg(1), stdin); err != nil {
			return err
		}
	}
	for _, name := range names {
		s, err := l.side(name)
		if err != nil {
			return err
		}
		if err := s.change(set.Arg(0), password, *quota, *deny, *allow); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s side) change(name, password, quota string, deny, allow bool) error {
	if password != "" {
		if err := s.setPassword(name, password); err != nil {
			return err
		}
	}
	if quota != "" || !s.has("userdb", name) {
		if err := s.ensure(name, quota); err != nil {
			return err
		}
	}
	if deny {
		return s.put("denied", name, struct{}{})
	}
	if allow {
		return s.drop("denied", name)
	}
	return nil
}

// ensure makes the mailbox exist. Dovecot creates it at the first login.
func (s side) ensure(name, quota string) error {
	fields := map[string]string{}
	if quota != "" {
		fields["quota_rule"] = "*:storage=" + quota
	}
	return s.put("userdb", name, fields)
}

func (s side) setPassword(name, password string) error {
	// Base64, so that no character of a password means anything to Dovecot.
	encoded := "{PLAIN.b64}" + base64.StdEncoding.EncodeToString([]byte(password))
	return s.put("passdb", name, map[string]string{"password": encoded})
}

// readSecret reads a secret from a file, - for stdin, without its line end.
func readSecret(path string, stdin io.Reader) (string, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(stdin, 1<<16))
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 {
		return "", fmt.Errorf("%s holds no password", path)
	}
	return string(text), nil
}
