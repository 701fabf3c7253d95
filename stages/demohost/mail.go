package demohost

import (
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/platform"
)

// What users, senders and tests do, past the servers.

// ErrLockedOut means that the user's mailbox is frozen or has moved.
var ErrLockedOut = errors.New("the mailbox is frozen or has moved")

// AddAccount makes an account with an INBOX, or sets its password.
func (h *Host) AddAccount(side Side, address, password string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[side][address]; a != nil {
		a.password = password
		return
	}
	h.accounts[side][address] = newAccount(address, password, side)
}

// Addresses lists the accounts of a side in order.
func (h *Host) Addresses(side Side) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for address := range h.accounts[side] {
		out = append(out, address)
	}
	slices.Sort(out)
	return out
}

// Deliver brings a mail from outside to where the account's routing points: to
// the source, or to the target once it is switched. While it is frozen the mail
// waits, as in a mail server's queue, for thaw or switch.
func (h *Host) Deliver(address string, m Message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.accounts[Source][address] == nil {
		return fmt.Errorf("the source has no account %q", address)
	}
	h.queue[address] = append(h.queue[address], m)
	h.flush(address)
	return nil
}

// Queued counts the mails that wait for thaw or switch.
func (h *Host) Queued(address string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.queue[address])
}

// flush delivers what waits, if it may; h.mu is held.
func (h *Host) flush(address string) {
	to := h.accounts[Source][address]
	switch h.state(address) {
	case platform.Frozen:
		return
	case platform.Switched:
		to = h.accounts[Target][h.route[address]]
	}
	for _, m := range h.queue[address] {
		to.put(m)
	}
	delete(h.queue, address)
}

// Put lays a mail into a mailbox as it stands, frozen or not; the folder is
// made if it is missing, and is INBOX if none is named.
func (h *Host) Put(side Side, address string, m Message) error {
	a, err := h.account(side, address)
	if err != nil {
		return err
	}
	a.put(m)
	return nil
}

func (a *account) put(m Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Folder == "" {
		m.Folder = "INBOX"
	}
	a.create(m.Folder, nil).add(slices.Clone(m.Body), flagsOf(m.Flags), m.Date)
}

// Folder is a folder as LIST tells it.
type Folder struct {
	Name       string
	Subscribed bool
	Use        []string // \Sent, \Trash, …
}

// PutFolder makes a folder, or changes it.
func (h *Host) PutFolder(side Side, address string, f Folder) error {
	a, err := h.account(side, address)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	made := a.create(f.Name, nil)
	made.subscribed, made.use = f.Subscribed, nil
	for _, use := range f.Use {
		made.use = append(made.use, imap.MailboxAttr(use))
	}
	return nil
}

// IgnoreCase makes the folder names of an account that differ only in case
// name one folder, as they do on Exchange and Zimbra.
func (h *Host) IgnoreCase(side Side, address string) error {
	a, err := h.account(side, address)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.anyCase = true
	return nil
}

// Folders lists a mailbox's folders in order of their names.
func (h *Host) Folders(side Side, address string) ([]Folder, error) {
	a, err := h.account(side, address)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Folder
	for _, name := range a.names() {
		f := Folder{Name: name, Subscribed: a.folders[name].subscribed}
		for _, use := range a.folders[name].use {
			f.Use = append(f.Use, string(use))
		}
		out = append(out, f)
	}
	return out, nil
}

// Mailbox reads everything in a mailbox: folders in order of their names, the
// messages of each by UID, the flags of each sorted.
func (h *Host) Mailbox(side Side, address string) ([]Message, error) {
	a, err := h.account(side, address)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Message
	for _, name := range a.names() {
		for _, m := range a.folders[name].messages {
			read := Message{Folder: name, Body: slices.Clone(m.body), Date: m.date, UID: uint32(m.uid)}
			for _, flag := range m.flags {
				read.Flags = append(read.Flags, string(flag))
			}
			slices.Sort(read.Flags)
			out = append(out, read)
		}
	}
	return out, nil
}

// SetFlags gives a message at the source exactly these flags, as its user would.
func (h *Host) SetFlags(address, in string, uid uint32, flags ...string) error {
	return h.asUser(address, in, uid, func(_ *account, f *folder, i int) error {
		f.store(i, imap.StoreFlagsSet, flagsOf(flags), nil)
		return nil
	})
}

// Delete removes a message at the source for good, as its user would.
func (h *Host) Delete(address, in string, uid uint32) error {
	return h.asUser(address, in, uid, func(_ *account, f *folder, _ int) error {
		f.remove(func(m *message) bool { return m.uid == imap.UID(uid) })
		return nil
	})
}

// Move moves a message at the source to another folder, as its user would; it
// gets a new UID there.
func (h *Host) Move(address, from string, uid uint32, to string) error {
	return h.asUser(address, from, uid, func(a *account, f *folder, i int) error {
		m := f.messages[i]
		a.create(to, nil).add(m.body, m.flags, m.date)
		f.remove(func(other *message) bool { return other == m })
		return nil
	})
}

// asUser calls do for a message at the source, unless its user is locked out.
func (h *Host) asUser(address, name string, uid uint32, do func(*account, *folder, int) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.accounts[Source][address]
	if a == nil {
		return fmt.Errorf("the source has no account %q", address)
	}
	if h.lockedOut(Source, address) {
		return fmt.Errorf("%s: %w", address, ErrLockedOut)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.folders[name]
	if f == nil {
		return fmt.Errorf("%s has no folder %q", address, name)
	}
	i := f.find(imap.UID(uid))
	if i < 0 {
		return fmt.Errorf("%s has no message %d in %q", address, uid, name)
	}
	return do(a, f, i)
}

// State tells how the source account stands; an unknown account is open.
func (h *Host) State(address string) platform.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state(address)
}

// Password is the account's password now, "" if there is no such account.
func (h *Host) Password(side Side, address string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[side][address]; a != nil {
		return a.password
	}
	return ""
}

// SetPassword gives the account another password, as an admin side of a test's
// own does.
func (h *Host) SetPassword(side Side, address, password string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[side][address]; a != nil {
		a.password = password
	}
}

// MustChange says whether the target account was told to choose a new password
// at the next login. In the demo it can sign in all the same.
func (h *Host) MustChange(address string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.accounts[Target][address]
	return a != nil && a.mustChange
}

// Logins counts how often the user, not the migrator, signed in.
func (h *Host) Logins(side Side, address string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if a := h.accounts[side][address]; a != nil {
		return a.logins
	}
	return 0
}

func (h *Host) account(side Side, address string) (*account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.accounts[side][address]
	if a == nil {
		return nil, fmt.Errorf("the %s has no account %q", side, address)
	}
	return a, nil
}

func flagsOf(flags []string) (out []imap.Flag) {
	for _, flag := range flags {
		out = append(out, imap.Flag(flag))
	}
	return out
}
