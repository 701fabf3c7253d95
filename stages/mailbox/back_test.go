package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// moved is an account after its cutover, and what its user did at the target
// since then.
type moved struct {
	pass     mailbox.Pass
	back     mailbox.Back
	store    *memory
	old, new client // at the source, at the target
	before   map[string][]string
	arrivals map[string][]string // by the source's folder, as contents lists them
}

// newMoved fills and moves a mailbox, and has things happen at the target.
func newMoved(t *testing.T, account func() mailbox.Endpoint) *moved {
	t.Helper()
	source, target := account(), account()
	m := &moved{store: newMemory(), old: dial(t, source), new: dial(t, target)}
	c, u := m.old, m.new
	c.must(c.Create("Work", nil).Wait())
	for i := range 12 {
		c.add("INBOX", mail(fmt.Sprint("i", i), "s", fmt.Sprint("text ", i)), day, imap.FlagSeen)
		c.add("Work", mail(fmt.Sprint("w", i), "s", fmt.Sprint("work ", i)), day)
	}
	u.add("INBOX", mail("welcome", "s", "of the new platform, before the cutover"), day)
	m.pass = mailbox.Pass{Source: source, Target: target, Store: m.store, Options: mailbox.Options{MaxDelete: 0.2, Verify: "content", Final: true}}
	m.back = mailbox.Back{Source: source, Target: target, Store: m.store}
	run(t, m.pass)

	// Arrivals: new mail, one in a new folder, a second copy of an old one, twins.
	u.must(u.Create("Projets", nil).Wait())
	u.add("INBOX", mail("n1", "s", "new 1"), day.AddDate(1, 0, 0), imap.FlagFlagged)
	u.add("Work", mail("n2", "s", "new 2"), day.AddDate(1, 0, 1), "$Work")
	u.add("Projets", mail("n3", "s", "new 3"), day.AddDate(1, 0, 2), imap.FlagSeen)
	u.add("INBOX", mail("i5", "s", "text 5"), day, imap.FlagSeen)
	for range 2 {
		u.add("INBOX", mail("twin", "s", "twin"), day.AddDate(1, 0, 3))
	}
	// No arrivals: what the user moved, flagged and deleted; an empty folder.
	u.must(u.Create("Leer", nil).Wait())
	_, err := u.Select("INBOX", nil).Wait()
	u.must(err)
	_, err = u.Move(imap.UIDSetNum(3, 4), "Work").Wait()
	u.must(err)
	u.must(u.Store(imap.UIDSetNum(6), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	u.must(u.Expunge().Close())
	u.must(u.Store(imap.UIDSetNum(8), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagAnswered}}, nil).Close())
	m.before = c.contents()
	m.arrivals = map[string][]string{}
	for folder, ids := range map[string][]string{"INBOX": {"n1", "i5", "twin", "twin"}, "Work": {"n2"}, "Projets": {"n3"}} {
		for _, line := range u.folder(folder) {
			if i := slices.IndexFunc(ids, func(id string) bool { return strings.Contains(line, "<"+id+">") }); i >= 0 {
				ids = slices.Delete(ids, i, i+1)
				m.arrivals[folder] = append(m.arrivals[folder], line)
			}
		}
	}
	return m
}

// home fails the test unless the source holds what it held, and each arrival once.
func (m *moved) home(t *testing.T) {
	t.Helper()
	got := m.old.contents()
	for folder, lines := range m.arrivals {
		m.before[folder] = append(m.before[folder], lines...)
		slices.Sort(m.before[folder])
	}
	m.arrivals = nil
	for _, folder := range append(keys(got), keys(m.before)...) {
		if !slices.Equal(got[folder], m.before[folder]) {
			t.Errorf("%s: got %d messages %q, want %d %q", folder, len(got[folder]), got[folder], len(m.before[folder]), m.before[folder])
		}
	}
}

func goHome(t *testing.T, b mailbox.Back) mailbox.Returned {
	t.Helper()
	r, err := b.Run(t.Context())
	if err != nil {
		t.Fatalf("back: %v", err)
	}
	return r
}

// everywhere runs a test on servers of different abilities.
func everywhere(t *testing.T, f func(t *testing.T, account func() mailbox.Endpoint)) {
	t.Run("in memory", func(t *testing.T) {
		t.Parallel()
		m := startMemory(t, modern...)
		f(t, func() mailbox.Endpoint { return m.account(t) })
	})
	t.Run("in memory, without UIDPLUS and LITERAL+", func(t *testing.T) {
		t.Parallel()
		m := startMemory(t, imap.CapIMAP4rev1, imap.CapMove)
		f(t, func() mailbox.Endpoint { return m.account(t) })
	})
	t.Run("Dovecot", func(t *testing.T) {
		t.Parallel()
		f(t, startDovecot(t, slashes).account)
	})
}

// TestArrivalsGoHome: each message that arrived at the target is at the source
// once, with date and flags, and nothing else there has changed.
func TestArrivalsGoHome(t *testing.T) {
	everywhere(t, func(t *testing.T, account func() mailbox.Endpoint) {
		m := newMoved(t, account)
		kept := len(m.store.data)
		look, err := m.back.Look(t.Context())
		if err != nil || look.Waiting != 6 || look.Copied != 0 || look.Carried != 0 || len(look.Folders) != 3 {
			t.Errorf("look: %+v, %v", look, err)
		}
		if len(m.store.data) != kept {
			t.Error("looking changed the ledger")
		}
		there := m.new.contents()
		if r := goHome(t, m.back); r.Copied != 6 || r.Carried != 6 || len(r.Skipped) != 0 {
			t.Errorf("got %+v", r)
		}
		m.home(t)
		if r := goHome(t, m.back); r.Copied != 0 || r.Carried != 6 {
			t.Errorf("again: %+v", r)
		}
		m.home(t)
		if got := m.new.contents(); fmt.Sprint(got) != fmt.Sprint(there) {
			t.Errorf("the target was changed: %q", got)
		}
		// a late one, and what the user moves only now
		m.new.add("Projets", mail("late", "s", "late"), day.AddDate(2, 0, 0))
		_, err = m.new.Select("Work", nil).Wait()
		m.new.must(err)
		_, err = m.new.Move(imap.UIDSetNum(1, 2), "Projets").Wait()
		m.new.must(err)
		if r := goHome(t, m.back); r.Copied != 1 || r.Carried != 7 {
			t.Errorf("late: %+v", r)
		}
		for _, line := range m.new.folder("Projets") {
			if strings.Contains(line, "<late>") {
				m.arrivals = map[string][]string{"Projets": {line}}
			}
		}
		m.home(t)
	})
}

// TestWhoMovesAgainGetsNothingTwice: after a way home the account's passes go on
// where they stopped.
func TestWhoMovesAgainGetsNothingTwice(t *testing.T) {
	everywhere(t, func(t *testing.T, account func() mailbox.Endpoint) {
		m := newMoved(t, account)
		goHome(t, m.back)
		there := m.new.contents()
		res := run(t, m.pass)
		if res.Copied != 0 {
			t.Errorf("got %+v", res)
		}
		if got := m.new.contents(); fmt.Sprint(got) != fmt.Sprint(there) {
			t.Errorf("got %q, want %q", got, there)
		}
		if r := goHome(t, m.back); r.Copied != 0 || r.Carried != 0 {
			t.Errorf("a second way home: %+v", r)
		}
	})
}

// TestACrashOnTheWayHome: dying at any write to the ledger, before or after it,
// changes nothing of the end.
func TestACrashOnTheWayHome(t *testing.T) {
	everywhere(t, func(t *testing.T, account func() mailbox.Endpoint) {
		points, step := 0, 1
		if strings.HasSuffix(t.Name(), "Dovecot") {
			step = 7 // the others stop at every point
		}
		for n := 1; ; n += step {
			m := newMoved(t, account)
			count := 0
			m.store.crash = func(bool) error {
				if count++; count == n {
					return errCrash
				}
				return nil
			}
			_, err := m.back.Run(context.Background())
			if err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			m.store.crash = nil
			if r := goHome(t, m.back); r.Carried != 6 {
				t.Errorf("crash %d: %+v", n, r)
			}
			m.home(t)
			if t.Failed() {
				t.Fatalf("crash %d", n)
			}
			if err == nil {
				break
			}
			points += step
		}
		if points < 10 {
			t.Errorf("only %d crash points: the test has become empty", points)
		}
	})
}

// TestARenumberedTargetGoesHome: where the maps are void, the content decides.
func TestARenumberedTargetGoesHome(t *testing.T) {
	d := startDovecot(t, slashes)
	m := newMoved(t, d.account)
	// The user has the folder anew: other UIDs, another UIDVALIDITY.
	m.new.must(m.new.Rename("Work", "Travail", nil).Wait())
	m.new.must(m.new.Create("Work", nil).Wait())
	_, err := m.new.Select("Travail", nil).Wait()
	m.new.must(err)
	_, err = m.new.Move(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, "Work").Wait()
	m.new.must(err)
	if r := goHome(t, m.back); r.Carried != 6 {
		t.Errorf("got %+v", r)
	}
	m.home(t)
}
