package mailbox_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// TestLanesShareMemory proves that lanes with less memory than their groups
// need one after the other do not wait for each other for ever.
func TestLanesShareMemory(t *testing.T) {
	give, err := mailbox.LeaveMemory(t.Context(), 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer give()
	source, target := startMemory(t, modern...).account(t), startDovecot(t, slashes).account()
	c := dial(t, source)
	body := mail("large", "s", strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", 8<<10))
	const folders, each = 4, 12
	for i := range folders {
		name := fmt.Sprint("Folder ", i)
		c.must(c.Create(name, nil).Wait())
		for n := range each {
			c.add(name, fmt.Sprintf("X-Number: %d\r\n%s", n, body), time.Unix(1700000000, 0), imap.FlagSeen)
		}
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 1, Connections: folders}}
	if res := run(t, p); res.Copied != folders*each {
		t.Errorf("got %+v", res)
	}
	verified(t, p, "content")
}

// TestGroupsFindRoom proves that groups of all sizes lie in the memory that they
// share: one that found none would get some of its own, for the collector.
func TestGroupsFindRoom(t *testing.T) {
	mailbox.NewArena() // other tests have lost connections
	sizes := rand.New(rand.NewPCG(1, 2))
	none := 0
	var held []mailbox.Buffer
	var used int64
	for range 20000 {
		size := mailbox.InCells(sizes.Int64N(3 << 19))
		for used+size > mailbox.MemoryBytes { // whoever is through first
			i := sizes.IntN(min(4, len(held)))
			used -= held[i].Size()
			held[i].Give(true)
			held = slices.Delete(held, i, i+1)
		}
		b := mailbox.TakeBuffer(size)
		if held, used = append(held, b), used+size; b.Own() {
			none++
		}
	}
	for _, b := range held {
		b.Give(true)
	}
	if none > 20 {
		t.Errorf("%d of 20000 found no room", none)
	}
}
