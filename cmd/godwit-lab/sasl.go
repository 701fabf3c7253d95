package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// serveSASL answers Cyrus' questions as saslauthd would, at a unix socket: is
// this the password of a user of the server in dir? It reads the same files as
// Dovecot does, at each login. It ends with the process.
func serveSASL(socket, dir string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := own(socket); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerSASL(c, dir)
		}
	}()
	return nil
}

// answerSASL reads four strings, each behind its length in two octets: login,
// password, service, realm.
func answerSASL(c net.Conn, dir string) {
	defer c.Close()
	var fields [4]string
	for i := range fields {
		var size uint16
		if err := binary.Read(c, binary.BigEndian, &size); err != nil {
			return
		}
		text := make([]byte, size)
		if _, err := io.ReadFull(c, text); err != nil {
			return
		}
		fields[i] = string(text)
	}
	name := fields[0]
	if fields[3] != "" {
		name += "@" + fields[3]
	}
	answer := "\x00\x02NO"
	if maySignIn(dir, name, fields[1]) {
		answer = "\x00\x02OK"
	}
	_, _ = io.WriteString(c, answer) // who asked may be gone
}

func maySignIn(dir, name, password string) bool {
	if name == masterLogin {
		secret, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "master.secret"))
		return err == nil && password == trimLine(string(secret))
	}
	s := side{dir: dir}
	if s.has("denied", name) || !s.has("userdb", name) {
		return false
	}
	text, err := os.ReadFile(filepath.Join(dir, "passdb", strings.ToLower(name)))
	var fields map[string]string
	if err != nil || json.Unmarshal(text, &fields) != nil {
		return false
	}
	known, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fields["password"], "{PLAIN.b64}"))
	return err == nil && password == string(known)
}
