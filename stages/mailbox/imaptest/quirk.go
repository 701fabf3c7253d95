package imaptest

import (
	"fmt"
	"strings"
)

// Quirk is a way of one platform that no capability tells of. Unlike a fault it
// stays for as long as the server does.
type Quirk struct {
	Name    string
	Faults  []Fault
	Holds   func(*Account) // what the platform itself keeps in the mailbox
	Source  func(*Account) // what a source holds that brings it out
	Relieve func(*Account) // what an operator does about it in the end
	Forms   Forms          // how one signs in there
	Caps    func(caps []string) []string
	Greets  string
	Names   string // the answer to ID
}

// Forms are what a client has to be told of a sign-in.
type Forms struct{ Auth, Login, MasterFormat, Platform string }

// Be makes the server one with these quirks; account is its mailbox.
func (s *Server) Be(account *Account, quirks ...Quirk) {
	for _, q := range quirks {
		if q.Holds != nil {
			q.Holds(account)
		}
		s.mu.Lock()
		if q.Caps != nil {
			s.caps = q.Caps(append([]string(nil), s.caps...))
		}
		if q.Greets != "" {
			s.Greeting = q.Greets
		}
		if q.Names != "" {
			s.names = q.Names
		}
		for _, f := range q.Faults {
			s.faults = append(s.faults, &armed{Fault: f, stays: true})
		}
		s.mu.Unlock()
	}
}

// Greet sets how the server greets.
func (s *Server) Greet(greeting string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Greeting = greeting
}

// Folder makes an empty folder, if it is not there.
func (a *Account) Folder(name, use string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.folders[name] == nil {
		a.create(name, use)
	}
}

// Complaints are what a server found wrong with its client's manners.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.complaints...)
}

func (s *Server) complain(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complaints = append(s.complaints, text)
}

// Quota is what the account may hold; 0 is no limit.
func (a *Account) Quota(bytes int) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.quota = bytes
}

func (a *Account) used() (sum int) {
	for _, f := range a.folders {
		for _, m := range f.messages {
			sum += len(m.Body)
		}
	}
	return sum
}

func (v *session) quota(m *Moment) {
	m.say(`QUOTAROOT "INBOX" ""`)
	if q := v.account.quota; q > 0 {
		m.say(`QUOTA "" (STORAGE %d %d)`, v.account.used()/1024, q/1024)
	}
}

// partial answers BODY[]<from.n>.
func partial(item string, body []byte) string {
	var from, n int
	if _, err := fmt.Sscanf(item, "BODY[]<%d.%d>", &from, &n); err != nil {
		return "BODY[] NIL"
	}
	part := body[min(from, len(body)):min(from+n, len(body))]
	return fmt.Sprintf("BODY[]<%d> {%d}\r\n%s", from, len(part), part)
}

// same finds the account's folder that a name means where it is looked up by
// key.
func (m *Moment) same(name string, key func(string) string) string {
	for have := range m.Account.folders {
		if key(have) == key(name) {
			return have
		}
	}
	return name
}

// top is the first level of a name, in small letters.
func top(name string) string {
	first, _, _ := strings.Cut(strings.ToLower(name), "/")
	return first
}
