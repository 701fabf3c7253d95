package demohost

import (
	"bytes"
	"fmt"

	"github.com/emersion/go-imap/v2"
)

// What happens to a mailbox at the target after the move: its user tidies up,
// and now and then a disk goes bad.

// Lose removes a message at the target.
func (h *Host) Lose(address, in string, uid uint32) error {
	return h.atTarget(address, in, uid, func(_ *account, f *folder, _ int) {
		f.remove(func(m *message) bool { return m.uid == imap.UID(uid) })
	})
}

// Spoil changes the last letter of a message at the target.
func (h *Host) Spoil(address, in string, uid uint32) error {
	return h.atTarget(address, in, uid, func(_ *account, f *folder, i int) {
		m := *f.messages[i]
		m.body = bytes.Clone(m.body)
		m.body[len(bytes.TrimSpace(m.body))-1] ^= 1
		f.messages[i] = &m
	})
}

// Shift moves a message at the target to another folder.
func (h *Host) Shift(address, from string, uid uint32, to string) error {
	return h.atTarget(address, from, uid, func(a *account, f *folder, i int) {
		m := f.messages[i]
		a.create(to, nil).add(m.body, m.flags, m.date)
		f.remove(func(other *message) bool { return other == m })
	})
}

// Flag gives a message at the target exactly these flags.
func (h *Host) Flag(address, in string, uid uint32, flags ...string) error {
	return h.atTarget(address, in, uid, func(_ *account, f *folder, i int) {
		f.store(i, imap.StoreFlagsSet, flagsOf(flags), nil)
	})
}

func (h *Host) atTarget(address, name string, uid uint32, do func(*account, *folder, int)) error {
	a, err := h.account(Target, address)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.folders[name]
	if f == nil || f.find(imap.UID(uid)) < 0 {
		return fmt.Errorf("%s has no message %d in %q at the target", address, uid, name)
	}
	do(a, f, f.find(imap.UID(uid)))
	return nil
}
