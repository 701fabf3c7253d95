package imaptest

import (
	"io"
	"slices"
	"strings"
)

// Fault is one way to misbehave. It waits for a command and changes what is
// done or answered.
type Fault struct {
	Name string
	On   string // the command it waits for, see Moment.Verb; "" for any
	From int    // the first time it strikes, counted from 1; 0 is 1
	Not  int    // how often it lets the command pass between two strikes
	Once int    // how often it strikes; 0: always
	// Lies says that afterwards the mailbox is not what was answered, so that
	// it may take a person to mend it; until then it must not pass for verified.
	Lies bool
	// Forgets says that it is no longer known what was copied where: flags can
	// only be added to, and what the source has deleted since cannot be told
	// from others' mail at the target.
	Forgets bool
	// Hides says that the source shows a mailbox that is not the one it has.
	Hides bool

	Early  func(*Moment)                // before a command's first literal is read; see Moment.Early
	Before func(*Moment)                // before the command is carried out
	After  func(*Moment)                // before the answer is sent
	Caps   func(caps []string) []string // what is told instead of the capabilities
}

// armed is a fault on a server.
type armed struct {
	Fault
	seen, struck int
	stays        bool // a quirk
}

// Moment is one command on its way.
type Moment struct {
	Server  *Server
	Account *Account // nil before the login
	Session int      // number of the connection, from 1
	Open    int      // connections at this moment

	// Verb is the command's word, "UID" left out, and GREETING before all.
	// FETCH is told as BODY, HEADER or META, by what is asked for, and APPEND of
	// a literal8 as APPEND8.
	Verb string
	Line string // as it was sent, without tag and literals
	// Messages are those of an APPEND; what Before leaves of them is stored.
	Messages []*Message
	Folder   string // of an APPEND
	Skip     bool   // not carried out; the answer is the sane one all the same

	// The answer: untagged responses, each whole; then the end.
	Untagged []string
	Kind     string // OK, NO, BAD; "" for no end at all
	Text     string
	Raw      string            // instead of all of it
	Flood    func(w io.Writer) // sent before all of it
	Cut      int               // bytes after which the connection ends; -1: none
	Stall    bool              // at the cut, or before the answer: silence instead of an end
	Drop     bool              // Early: the connection ends in the middle of the literal

	session *session
	command command
	args    []value
	stored  []*Message
}

// Refuse answers with NO or BAD and carries nothing out.
func (m *Moment) Refuse(kind, text string) {
	m.Skip, m.Kind, m.Text, m.Untagged = true, kind, text, nil
}

// HangUp ends the connection after n bytes of the answer.
func (m *Moment) HangUp(n int) { m.Cut = n }

// Become goes on as if the session belonged to another account.
func (m *Moment) Become(a *Account) { m.session.account = a }

// Empty is an account with nothing in it, for Become: the same one without its
// mail, or another.
func (m *Moment) Empty(same bool) *Account {
	a := &Account{Name: "empty", s: m.Server, folders: map[string]*folder{}}
	a.create("INBOX", "")
	if same {
		a.folders["INBOX"].validity = m.session.account.folders["INBOX"].validity
	}
	return a
}

// RenumberAll gives the account's folders other UIDVALIDITYs.
func (m *Moment) RenumberAll() {
	for _, f := range m.Account.folders {
		m.Account.renumber(f)
	}
}

// Put stores a message in the folder of the APPEND, beside what it does itself.
func (m *Moment) Put(msg Message) { m.Account.folders[m.Folder].add(msg) }

// Stored are the messages that an APPEND has stored, for After.
func (m *Moment) Stored() []*Message { return m.stored }

// Inject arms faults: from now on they strike.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &armed{Fault: f})
	}
}

// Heal disarms all faults and tells how often each has struck.
func (s *Server) Heal() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]int{}
	for _, f := range s.faults {
		out[f.Name] += f.struck
	}
	s.faults = slices.DeleteFunc(s.faults, func(f *armed) bool { return !f.stays })
	return out
}

// due counts the command for each fault and returns those that strike now.
func (s *Server) due(verb string, early bool) (out []*armed) {
	for _, f := range s.faults {
		if f.On != "" && f.On != verb || early != (f.Early != nil) || f.Before == nil && f.After == nil && f.Early == nil {
			continue
		}
		f.seen++
		n := f.seen - max(f.From, 1)
		if n < 0 || f.Once > 0 && f.struck >= f.Once || n%(f.Not+1) != 0 {
			continue
		}
		f.struck++
		out = append(out, f)
	}
	return out
}

// told is what the server calls its capabilities.
func (s *Server) told() []string {
	caps := s.caps
	for _, f := range s.faults {
		if f.Caps != nil {
			f.struck++
			caps = f.Caps(append([]string(nil), caps...))
		}
	}
	return caps
}

type verdict int

const (
	goOn verdict = iota
	refuse
	hangUp
	drop // in the middle of the literal
)

// early asks the faults that strike before a literal is read.
func (v *session) early(c command) verdict {
	if len(c.lits) > 0 {
		return goOn
	}
	v.s.mu.Lock()
	m := v.moment(c, true)
	due := v.s.due(m.Verb, true)
	for _, f := range due {
		f.Early(m)
	}
	v.s.mu.Unlock()
	switch {
	case len(due) == 0:
		return goOn
	case m.Drop:
		return drop
	}
	if !m.answer() {
		return hangUp
	}
	return refuse
}

// verbOf tells a command's word and where its arguments begin.
func verbOf(line string) (verb, rest string) {
	verb, rest, _ = strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	if verb == "UID" {
		verb, rest, _ = strings.Cut(rest, " ")
		verb = strings.ToUpper(verb)
	}
	if verb == "APPEND" && strings.Contains(rest, "~{") {
		verb = "APPEND8"
	}
	if verb == "FETCH" {
		switch up := strings.ToUpper(rest); {
		case strings.Contains(up, "BODY[]"), strings.Contains(up, "BODY.PEEK[]"):
			verb = "BODY"
		case strings.Contains(up, "BODY"):
			verb = "HEADER"
		default:
			verb = "META"
		}
	}
	return verb, rest
}
