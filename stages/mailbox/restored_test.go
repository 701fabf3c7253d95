package mailbox_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// What the passes make of a side, or a ledger, that is not the one of before.

// TestLostUIDs proves on a real server that a mailbox whose UIDs were lost, as
// a restored backup or a repaired index loses them, is matched by content on
// either side, also where the ledger is lost with them.
func TestLostUIDs(t *testing.T) {
	d := startDovecot(t, slashes)
	for _, side := range []string{"source", "target", "both and the ledger"} {
		t.Run(side, func(t *testing.T) {
			from, to := d.account(), d.account()
			c := dial(t, from)
			for i := range 12 {
				c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i/2)), day.Add(time.Duration(i/2)*time.Minute), imap.FlagSeen)
			}
			c.add("INBOX", mail("twin", "s", "twin"), day)
			c.add("INBOX", mail("twin", "s", "twin"), day)
			p := mailbox.Pass{Source: from, Target: to, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
			run(t, p)
			_ = c.Close()
			if side != "target" {
				d.forget(t, from)
			}
			if side != "source" {
				d.forget(t, to)
			}
			if strings.Contains(side, "ledger") {
				p.Store = newMemory()
			}
			if res := run(t, p); res.AlreadyThere != 14 || res.Copied+res.Deleted != 0 || len(res.Differs) > 0 {
				t.Errorf("got %+v", res)
			}
			same(t, from, to)
			verified(t, p, "content")
		})
	}
}

// TestLostModSeqs proves on a real server that a change of flags is found where
// the source's index was lost with its count of changes, and its UIDs were not.
func TestLostModSeqs(t *testing.T) {
	d := startDovecot(t, slashes)
	from, to := d.account(), d.account()
	c := dial(t, from)
	for i := range 12 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
	}
	flag := func(c client, uid imap.UID, flag imap.Flag) {
		t.Helper()
		_, err := c.Select("INBOX", nil).Wait()
		c.must(err)
		c.must(c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close())
	}
	for uid := range imap.UID(12) {
		flag(c, uid+1, imap.FlagSeen)
	}
	p := mailbox.Pass{Source: from, Target: to, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
	run(t, p)
	_ = c.Close()
	files, err := filepath.Glob(filepath.Join(d.dir, "home", from.Login.User, "Maildir", "dovecot.index*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	flag(dial(t, from), 3, imap.FlagFlagged)
	if res := run(t, p); res.Updated != 1 || res.Copied+res.Deleted+res.AlreadyThere > 0 {
		t.Errorf("got %+v", res)
	}
	same(t, from, to)
}

// forget removes what Dovecot knows of a mailbox beside the mail itself, until
// it numbers anew: its UIDVALIDITY is the second in which it does.
func (d *dovecot) forget(t *testing.T, e mailbox.Endpoint) {
	t.Helper()
	validity := func() uint32 {
		c := dial(t, e)
		defer c.Close()
		data, err := c.Select("INBOX", nil).Wait()
		c.must(err)
		return data.UIDValidity
	}
	for before := validity(); before == validity(); time.Sleep(100 * time.Millisecond) {
		files, err := filepath.Glob(filepath.Join(d.dir, "home", e.Login.User, "Maildir", "dovecot*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTargetMadeAnew proves that a target whose mailbox was made anew, or
// restored, between two passes gets its mail again, where its UIDVALIDITY does
// not tell: what is missing there was not removed by its user.
func TestTargetMadeAnew(t *testing.T) {
	for name, restored := range map[string][]string{"empty": nil, "restored": {"0", "1"}} {
		t.Run(name, func(t *testing.T) {
			source, servers := startMemory(t, modern...).account(t), startMemory(t, modern...)
			c := dial(t, source)
			c.must(c.Create("Work", nil).Wait())
			for i := range 10 {
				c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
				c.add("Work", mail(fmt.Sprint("w", i), "s", fmt.Sprint("work ", i)), day)
			}
			p := mailbox.Pass{Source: source, Target: servers.account(t), Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
			run(t, p)
			p.Target = servers.account(t)
			u := dial(t, p.Target)
			for _, id := range restored {
				u.add("INBOX", mail(id, "s", "text "+id), day)
			}
			res := run(t, p)
			if res.Copied != 20-len(restored) || res.AlreadyThere != len(restored) || len(res.Notes) > 0 {
				t.Errorf("got %+v", res)
			}
			same(t, source, p.Target)
			p.Options.Final = true
			if res := run(t, p); res.Copied+res.Deleted != 0 || len(res.Differs) > 0 {
				t.Errorf("the final pass: %+v", res)
			}
			verified(t, p, "content")
		})
	}
}

// TestSourceRestored proves that a source that was restored from a backup, and
// gives out anew UIDs that other messages had, loses none of the new ones.
func TestSourceRestored(t *testing.T) {
	servers, target := startMemory(t, modern...), startMemory(t, modern...).account(t)
	fill := func(e mailbox.Endpoint, ids ...string) {
		c := dial(t, e)
		for _, id := range ids {
			c.add("INBOX", mail(id, "s", "text "+id), day)
		}
	}
	kept := strings.Split("abcdefghijklmnopqrst", "")
	p := mailbox.Pass{Source: servers.account(t), Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
	fill(p.Source, append(slices.Clone(kept), "y", "z")...)
	run(t, p)
	p.Source = servers.account(t)
	fill(p.Source, append(slices.Clone(kept), "new")...)
	res := run(t, p)
	if res.AlreadyThere != len(kept) || res.Copied != 1 || res.Deleted != 2 {
		t.Errorf("got %+v", res)
	}
	same(t, p.Source, target)
	p.Options.Final = true
	run(t, p)
	verified(t, p, "content")
}

// TestOldLedger proves that what was copied after a ledger was saved is not
// copied again when that ledger is in its place once more.
func TestOldLedger(t *testing.T) {
	source, target := startMemory(t, modern...).account(t), startMemory(t, modern...).account(t)
	c := dial(t, source)
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
		}
	}
	store := newMemory()
	p := mailbox.Pass{Source: source, Target: target, Store: store, Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
	fill(0, 10)
	run(t, p)
	saved := maps.Clone(store.data)
	fill(10, 15)
	c.add("INBOX", mail("9", "s", "text 9"), day) // a twin of what both ledgers know
	run(t, p)
	store.data = saved
	fill(15, 18)
	if res := run(t, p); res.AlreadyThere != 6 || res.Copied != 3 {
		t.Errorf("got %+v", res)
	}
	same(t, source, target)
	p.Options.Final = true
	run(t, p)
	verified(t, p, "content")
}
