package mailbox_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// What a copy does for each message. To compare two states of the code:
//
//	go test -run - -bench . -count 10 ./stages/mailbox >old.txt
//	benchstat old.txt new.txt

var letterOf20k = mail("bench", "a letter", strings.Repeat("some text of a mail, in lines\r\n", 650))

func listing(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "* %d FETCH (UID %d FLAGS (\\Seen $work) INTERNALDATE \"04-Mar-2021 03:06:07 +0000\" RFC822.SIZE 20480)\r\n", i+1, i+1)
	}
	return b.String()
}

func BenchmarkListing(b *testing.B) {
	text := listing(1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		mailbox.ReadMetas(text)
	}
}

func BenchmarkDigest(b *testing.B) {
	body := []byte(letterOf20k)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		mailbox.DigestOf(body)
	}
}

func BenchmarkAppend(b *testing.B) {
	send, body := mailbox.Appender(), []byte(letterOf20k)
	b.SetBytes(int64(25 * len(body)))
	b.ReportAllocs()
	for b.Loop() {
		send(25, body)
	}
}

func BenchmarkMap(b *testing.B) {
	var m mailbox.UIDMap
	for i := range uint32(100000) {
		m.Add(mailbox.Entry{Source: i + i/50 + 1, Target: i + 1, Flags: i % 3})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Stored(3); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFirstCopy is a whole mailbox, between servers in this process.
func BenchmarkFirstCopy(b *testing.B) {
	const n = 300
	m := startMemory(b, imap.CapIMAP4rev1, imap.CapUIDPlus, imap.CapLiteralPlus)
	source := m.account(b)
	c := dial(b, source)
	for i := range n {
		c.add("INBOX", mail(fmt.Sprint(i), "s", letterOf20k), day)
	}
	b.SetBytes(int64(n * len(letterOf20k)))
	b.ReportAllocs()
	for b.Loop() {
		p := mailbox.Pass{Source: source, Target: m.account(b), Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "headers"}}
		if res, err := p.Run(b.Context()); err != nil || res.Copied != n {
			b.Fatal(res, err)
		}
	}
}

// TestFewAllocationsForEachMessage watches what is not seen otherwise until a
// mailbox is large. The bounds are what it takes now, and some room.
func TestFewAllocationsForEachMessage(t *testing.T) {
	text, body, send := listing(1000), []byte(letterOf20k), mailbox.Appender()
	for name, tt := range map[string]struct {
		most float64
		of   float64 // messages
		do   func()
	}{
		"listed":   {12, 1000, func() { mailbox.ReadMetas(text) }},
		"digested": {4, 1, func() { mailbox.DigestOf(body) }},
		"appended": {8, 25, func() { send(25, body) }},
	} {
		if got := testing.AllocsPerRun(20, tt.do) / tt.of; got > tt.most {
			t.Errorf("%s: %.1f allocations a message, want at most %.0f", name, got, tt.most)
		} else {
			t.Logf("%s: %.1f", name, got)
		}
	}
}
