package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

var errCrash = errors.New("crash")

// TestCrashAtEveryPut proves that a pass that dies at any write to the ledger,
// before or after it, ends after another pass as if nothing had happened.
func TestCrashAtEveryPut(t *testing.T) {
	servers := map[string]func(*testing.T) func() mailbox.Endpoint{
		"in memory": func(t *testing.T) func() mailbox.Endpoint {
			m := startMemory(t, modern...)
			return func() mailbox.Endpoint { return m.account(t) }
		},
		"in memory, without UIDPLUS and LITERAL+": func(t *testing.T) func() mailbox.Endpoint {
			m := startMemory(t, imap.CapIMAP4rev1)
			return func() mailbox.Endpoint { return m.account(t) }
		},
		"Dovecot": func(t *testing.T) func() mailbox.Endpoint {
			return startDovecot(t, slashes).account
		},
	}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := start(t)
			points, step := 0, 1
			if name == "Dovecot" {
				step = 4 // the others stop at every point
			}
			for n := 1; ; n += step {
				if !crashAt(t, account, n) {
					break
				}
				points += step
			}
			if points < 20 {
				t.Errorf("only %d crash points: the test has become empty", points)
			}
			t.Logf("%d crash points", points)
		})
	}
}

// crashAt makes the life of a mailbox with a crash at the nth point; false if
// there are fewer.
func crashAt(t *testing.T, account func() mailbox.Endpoint, n int) (crashed bool) {
	source, target := account(), account()
	c := dial(t, source)
	defer c.Close()
	c.must(c.Create("Work", nil).Wait())
	for i := range 70 {
		c.add("INBOX", mail(fmt.Sprint("i", i), "s", fmt.Sprint("text ", i)), day, imap.FlagSeen)
	}
	for range 3 {
		c.add("INBOX", mail("twin", "s", "twin"), day)
	}
	for i := range 5 {
		c.add("Work", mail(fmt.Sprint("w", i), "s", fmt.Sprint("text ", i)), day)
	}
	store := newMemory()
	count := 0
	store.crash = func(bool) error {
		if count++; count == n {
			return errCrash
		}
		return nil
	}
	p := mailbox.Pass{Source: source, Target: target, Store: store, Options: mailbox.Options{MaxDelete: 0.2}}
	survive := func() {
		for range 3 {
			_, err := p.Run(context.Background())
			if err == nil {
				return
			}
			if !errors.Is(err, errCrash) {
				t.Fatalf("crash %d: %v", n, err)
			}
			crashed = true
		}
		t.Fatalf("crash %d: still crashing", n)
	}
	survive()
	_, err := c.Select("INBOX", nil).Wait()
	c.must(err)
	_, err = c.Move(imap.UIDSetNum(3, 4, 5), "Work").Wait()
	c.must(err)
	c.must(c.Store(imap.UIDSetNum(7), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	c.must(c.Store(imap.UIDSetNum(8), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
	c.add("Work", mail("late", "s", "late"), day)
	survive()
	survive()
	same(t, source, target)
	found, err := p.Verify(context.Background(), "content")
	if errors.Is(err, errCrash) {
		crashed = true
		found, err = p.Verify(context.Background(), "content")
	}
	if err != nil || len(found) > 0 {
		t.Errorf("crash %d: verify: %v %v", n, found, err)
	}
	if t.Failed() {
		t.Fatalf("crash %d", n)
	}
	return crashed
}
