package mailbox_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"pgregory.net/rapid"

	"godwit/stages/mailbox"
)

// TestUIDMap holds the map in runs against a plain one.
func TestUIDMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var m mailbox.UIDMap
		want := map[uint32]mailbox.Entry{}
		uid := rapid.Uint32Range(1, 60)
		flags := rapid.Uint32Range(0, 2)
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "add") {
				from, target := uid.Draw(rt, "from"), rapid.Uint32Range(0, 40).Draw(rt, "target")
				var list []mailbox.Entry
				for i := range rapid.Uint32Range(1, 20).Draw(rt, "n") {
					e := mailbox.Entry{Source: from + i, Target: target, Flags: flags.Draw(rt, "flags")}
					if target != 0 {
						e.Target += i
					}
					list = append(list, e)
					if _, there := want[e.Source]; !there {
						want[e.Source] = e
					}
				}
				if rapid.Bool().Draw(rt, "backwards") {
					slices.Reverse(list)
				}
				m.Add(list...)
			} else {
				uids := rapid.SliceOfDistinct(uid, rapid.ID).Draw(rt, "uids")
				slices.Sort(uids)
				how, set := rapid.IntRange(0, 2).Draw(rt, "how"), flags.Draw(rt, "set")
				change := func(e *mailbox.Entry) bool {
					switch how {
					case 0:
						e.Flags = set
					case 1:
						e.Target = 0
					}
					return how != 2
				}
				m.Edit(uids, change)
				for _, u := range uids {
					if e, there := want[u]; there {
						if delete(want, u); change(&e) {
							want[u] = e
						}
					}
				}
			}
			if rapid.Bool().Draw(rt, "stored") {
				if _, err := m.Stored(3); err != nil {
					rt.Fatal(err)
				}
			}
		}
		var list []mailbox.Entry
		for _, u := range slices.Sorted(maps.Keys(want)) {
			list = append(list, want[u])
		}
		got, n := m.All()
		if !slices.Equal(got, list) || n != len(list) {
			rt.Fatalf("got %v (%d), want %v", got, n, list)
		}
		targets := map[uint32]bool{}
		var within []uint32
		for _, e := range list {
			targets[e.Target] = e.Target != 0
			if e.Source >= 5 && e.Source <= 9 || e.Source == 12 || e.Source >= 20 {
				within = append(within, e.Source)
			}
		}
		for u := range uint32(100) {
			e, ok := m.Find(u)
			if w, there := want[u]; ok != there || e != w && ok {
				rt.Fatalf("%d: got %v %v, want %v", u, e, ok, w)
			}
			if u > 0 && m.HoldsTarget(u) != targets[u] {
				rt.Fatalf("target %d: got %v", u, !targets[u])
			}
		}
		if got := m.Within("12,9:5,20:4294967295,7"); !slices.Equal(got, within) {
			rt.Fatalf("got %v, want %v", got, within)
		}
	})
}

func TestSetsOfUIDs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		uids := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 40), 0, 20, rapid.ID).Draw(rt, "uids")
		drop := rapid.SliceOfDistinct(rapid.Uint32Range(1, 40), rapid.ID).Draw(rt, "drop")
		slices.Sort(uids)
		slices.Sort(drop)
		want := slices.DeleteFunc(slices.Clone(uids), func(u uint32) bool { return slices.Contains(drop, u) })
		if got := mailbox.Dropped(strings.Join(mailbox.Sets(uids), ","), drop); got != strings.Join(mailbox.Sets(want), " ") {
			rt.Fatalf("got %q", got)
		}
	})
}

// TestMapInTheLedger proves on the stored bytes that a mailbox copied in order
// takes at most 40 bytes per 1,000 messages, and that later changes add a few
// bytes each.
func TestMapInTheLedger(t *testing.T) {
	const n = 5000
	m := startMemory(t, modern...)
	source, target := m.account(t), m.account(t)
	c := dial(t, source)
	for i := range n {
		flags := []imap.Flag{imap.FlagSeen}
		if i >= n-20 {
			flags = nil // the newest are unread
		}
		c.add("INBOX", mail(fmt.Sprint(i), "s", "t"), day, flags...)
	}
	store := newMemory()
	p := mailbox.Pass{Source: source, Target: target, Store: store, Options: mailbox.Options{MaxDelete: 0.1}}
	size := func() (total int) {
		run(t, p)
		verified(t, p, "headers")
		for key, value := range store.data {
			if strings.HasPrefix(key, "map/") || strings.HasPrefix(key, "folder") || strings.HasPrefix(key, "intent/") {
				total += len(key) + len(value)
			}
		}
		return total
	}
	first := size()
	if got := len(store.data["map/INBOX"]); got > n/1000*4 {
		t.Errorf("the map of %d messages takes %d bytes", n, got)
	}
	const folder = 450 // what a folder takes that holds nothing
	if first > folder+40*n/1000 {
		t.Errorf("%d messages take %d bytes", n, first)
	}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(count int) (set imap.UIDSet) {
		for range count {
			set.AddNum(imap.UID(1 + random.IntN(n)))
		}
		return set
	}
	_, err := c.Select("INBOX", nil).Wait()
	c.must(err)
	c.must(c.Store(pick(30), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
	flagged := size()
	c.must(c.Store(pick(100), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	deleted := size()
	t.Logf("%d messages: %d bytes; 30 flagged: %d; 100 deleted: %d", n, first, flagged, deleted)
	if more := flagged - first; more > 30*6+60 {
		t.Errorf("30 flags take %d bytes", more)
	}
	if more := deleted - flagged; more > 100*6 {
		t.Errorf("100 deletions take %d bytes", more)
	}
}
