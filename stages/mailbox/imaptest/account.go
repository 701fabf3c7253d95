package imaptest

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// Secret is every account's password and token, until Account.Secret says
// another.
const Secret = "Sesam-öffne-dich-77" //nolint:gosec // opens nothing but servers in memory

// Account is one mailbox. INBOX is always there.
type Account struct {
	Name   string
	Secret string

	s       *Server
	admin   bool // may sign in as others
	quota   int
	folders map[string]*folder
}

// Message is one message of a folder.
type Message struct {
	UID   uint32
	Body  []byte
	Flags []string // sorted
	Date  time.Time
	// Says replaces what the server tells of an item: INTERNALDATE, FLAGS…
	Says map[string]string

	modseq uint64
}

type folder struct {
	name       string // on the wire
	validity   uint32
	next       uint32
	modseq     uint64
	messages   []*Message
	subscribed bool
	use        string
}

// Account makes an account, or returns the one of that name.
func (s *Server) Account(name string) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[name]
	if a == nil {
		a = &Account{Name: name, Secret: Secret, s: s, folders: map[string]*folder{}}
		s.accounts[name] = a
		a.create("INBOX", "")
	}
	return a
}

// Renew gives the account another secret.
func (a *Account) Renew(secret string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.Secret = secret
}

func (a *Account) create(name, use string) *folder {
	a.s.validity++
	f := &folder{name: name, validity: a.s.validity, next: 1, modseq: 1, use: use}
	a.folders[name] = f
	return f
}

// Add puts a message into a folder, which is made if need be, and returns its
// UID.
func (a *Account) Add(name string, m Message) uint32 {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	f := a.folders[name]
	if f == nil {
		f = a.create(name, "")
	}
	return f.add(m)
}

func (f *folder) add(m Message) uint32 {
	f.modseq++
	m.UID, m.modseq = f.next, f.modseq
	m.Flags = sortedFlags(m.Flags)
	m.Date = m.Date.Truncate(time.Second)
	f.next++
	f.messages = append(f.messages, &m)
	return m.UID
}

func sortedFlags(flags []string) []string {
	out := slices.Clone(flags)
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(f string) bool { return strings.EqualFold(f, `\Recent`) })
}

func (f *folder) remove(gone func(*Message) bool) {
	n := len(f.messages)
	f.messages = slices.DeleteFunc(f.messages, gone)
	if len(f.messages) != n {
		f.modseq++
	}
}

// Subscribe subscribes the user to a folder.
func (a *Account) Subscribe(name string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.folders[name].subscribed = true
}

// Subscribed tells whether the user has subscribed to a folder.
func (a *Account) Subscribed(name string) bool {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.folders[name].subscribed
}

// Contents returns the account's folders and what they hold, in their order.
func (a *Account) Contents() map[string][]Message {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	out := map[string][]Message{}
	for name, f := range a.folders {
		list := []Message{}
		for _, m := range f.messages {
			list = append(list, *m)
		}
		out[name] = list
	}
	return out
}

// Change lets a user change a folder's messages: f returns the message as it
// is to be, or nil to delete it.
func (a *Account) Change(name string, f func(Message) *Message) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	box := a.folders[name]
	if box == nil {
		return
	}
	kept := box.messages[:0]
	for _, m := range box.messages {
		now := f(*m)
		if now == nil {
			box.modseq++
			continue
		}
		if !slices.Equal(now.Flags, m.Flags) || !bytes.Equal(now.Body, m.Body) {
			box.modseq++
			now.modseq = box.modseq
		}
		kept = append(kept, now)
	}
	box.messages = kept
}

// Move moves the message with uid to another folder, as a user would.
func (a *Account) Move(from string, uid uint32, to string) {
	var moved *Message
	a.Change(from, func(m Message) *Message {
		if m.UID != uid {
			return &m
		}
		moved = &m
		return nil
	})
	if moved != nil {
		a.Add(to, *moved)
	}
}

// Renumber gives a folder another UIDVALIDITY and its messages other UIDs.
func (a *Account) Renumber(name string) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if f := a.folders[name]; f != nil {
		a.renumber(f)
	}
}

func (a *Account) renumber(f *folder) {
	a.s.validity += 7
	f.validity, f.next = a.s.validity, 501
	for _, m := range f.messages {
		m.UID = f.next
		f.next++
	}
}
