package imaptest

import (
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
)

// changing are the commands that change a mailbox.
var changing = []string{"SELECT", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "APPEND", "APPEND8", "STORE", "EXPUNGE", "COPY", "MOVE", "SETACL", "SETMETADATA"}

func (v *session) moment(c command, early bool) *Moment {
	verb, rest := verbOf(c.line)
	m := &Moment{Server: v.s, Account: v.account, Session: v.number, Open: len(v.s.open), Verb: verb, Line: c.line, Kind: "OK", Text: "done", Cut: -1, session: v, command: c}
	if !early {
		m.args = c.args(rest)
	}
	return m
}

// do carries one command out and answers it; false ends the connection.
func (v *session) do(c command) bool {
	s := v.s
	s.mu.Lock()
	m := v.moment(c, false)
	s.log = append(s.log, c.line)
	if slices.Contains(changing, m.Verb) || m.Verb == "CLOSE" && v.writable || strings.Contains(c.line, "BODY[") {
		s.changes = append(s.changes, c.line)
	}
	if m.Verb == "APPEND" || m.Verb == "APPEND8" {
		m.parcels()
	}
	due := s.due(m.Verb, false)
	for _, f := range due {
		if f.Before != nil {
			f.Before(m)
		}
	}
	v.execute(m)
	for _, f := range due {
		if f.After != nil {
			f.After(m)
		}
	}
	s.mu.Unlock()
	return m.answer() && m.Verb != "LOGOUT"
}

// execute carries a command out; one that is to be skipped and was not
// refused is answered as if it had been.
func (v *session) execute(m *Moment) {
	if m.Kind != "OK" {
		return
	}
	if v.account == nil && !slices.Contains([]string{"GREETING", "CAPABILITY", "NOOP", "LOGOUT", "LOGIN", "AUTHENTICATE", "ID"}, m.Verb) {
		m.Refuse("BAD", "sign in first")
		return
	}
	switch m.Verb {
	case "GREETING":
		m.Raw = v.s.Greeting + "\r\n"
	case "ID":
		if v.s.names != "" {
			m.say("ID %s", v.s.names)
		}
	case "GETQUOTAROOT":
		v.quota(m)
	case "NOOP", "CHECK":
		v.news(m)
	case "CAPABILITY":
		m.say("CAPABILITY %s", strings.Join(v.s.told(), " "))
	case "LOGOUT":
		m.say("BYE see you")
		delete(v.s.open, v.conn) // before the client can know, and come again
	case "ENABLE":
		m.say("ENABLED %s", strings.Join(texts(m.args), " "))
	case "LOGIN":
		v.signIn(m, m.text(0), m.text(1))
	case "AUTHENTICATE":
		v.authenticate(m)
	case "NAMESPACE":
		m.say(`NAMESPACE (("" "%s")) NIL NIL`, v.s.Delimiter)
	case "LIST", "LSUB", "XLIST":
		v.list(m)
	case "STATUS":
		v.status(m)
	case "SELECT", "EXAMINE":
		v.open(m)
	case "UNSELECT", "CLOSE":
		if m.Verb == "CLOSE" && v.writable && !m.Skip {
			v.folder.remove(deleted)
		}
		v.folder = nil
	case "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE":
		v.tree(m)
	case "APPEND", "APPEND8":
		v.append(m)
	case "BODY", "HEADER", "META":
		v.fetch(m)
	case "STORE", "EXPUNGE", "COPY", "MOVE":
		v.change(m)
	default:
		m.Refuse("BAD", "unknown command")
	}
}

// say adds an untagged response.
func (m *Moment) say(format string, a ...any) {
	m.Untagged = append(m.Untagged, "* "+fmt.Sprintf(format, a...)+"\r\n")
}

func (m *Moment) text(i int) string {
	if i < len(m.args) {
		return m.args[i].text
	}
	return ""
}

func texts(list []value) (out []string) {
	for _, v := range list {
		out = append(out, v.text)
	}
	return out
}

func (v *session) signIn(m *Moment, user, secret string) {
	a := v.s.accounts[user]
	if a == nil || a.Secret != secret {
		m.Refuse("NO", "[AUTHENTICATIONFAILED] wrong name or password")
		return
	}
	v.account, m.Account = a, a
}

// authenticate takes PLAIN and XOAUTH2, with and without an initial response.
// A refused token is answered as Google does: with an error that the client
// has to answer before the NO comes.
func (v *session) authenticate(m *Moment) {
	text := m.text(1)
	if text == "" {
		if text = v.prompt(""); text == "*" {
			m.Refuse("BAD", "cancelled")
			return
		}
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		m.Refuse("BAD", "that is not base64")
		return
	}
	if !strings.EqualFold(m.text(0), "XOAUTH2") {
		parts := strings.Split(string(plain), "\x00")
		if len(parts) == 3 {
			v.signIn(m, parts[1], parts[2])
			if as := v.s.accounts[parts[0]]; m.Kind == "OK" && v.account.admin && as != nil {
				v.account, m.Account = as, as
			}
			return
		}
		m.Refuse("BAD", "that is not PLAIN")
		return
	}
	user, token, _ := strings.Cut(strings.TrimPrefix(strings.TrimRight(string(plain), "\x01"), "user="), "\x01auth=Bearer ")
	if v.signIn(m, user, token); m.Kind != "OK" {
		v.prompt(base64.StdEncoding.EncodeToString([]byte(`{"status":"400","schemes":"Bearer","scope":"https://mail.example/"}`)))
	}
}

// prompt asks the client for one more line. It is called with the lock held.
func (v *session) prompt(text string) string {
	v.s.mu.Unlock()
	defer v.s.mu.Lock()
	if _, err := io.WriteString(v.conn, "+ "+text+"\r\n"); err != nil {
		return "*"
	}
	line, err := v.br.ReadString('\n')
	if err != nil {
		return "*"
	}
	return strings.TrimRight(line, "\r\n")
}

// answer sends the answer; false ends the connection.
func (m *Moment) answer() bool {
	v := m.session
	if m.Flood != nil {
		m.Flood(v.conn)
	}
	text := strings.ReplaceAll(m.Raw, "TAG ", m.command.tag+" ")
	if text == "" {
		text = strings.Join(m.Untagged, "")
		if m.Kind != "" {
			text += m.command.tag + " " + m.Kind + " " + m.Text + "\r\n"
		}
	}
	if m.Stall && m.Cut < 0 {
		m.Cut = 0
	}
	if m.Cut >= 0 {
		_, _ = io.WriteString(v.conn, text[:min(m.Cut, len(text))])
		if m.Stall { // until the other side gives up
			_, _ = io.Copy(io.Discard, v.br)
		}
		return false
	}
	_, err := io.WriteString(v.conn, text)
	return err == nil
}
