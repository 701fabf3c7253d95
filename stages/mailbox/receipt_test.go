package mailbox_test

import (
	"bytes"
	"runtime"
	"testing"

	"godwit/stages/mailbox"
	"godwit/stages/receipt"
)

// A folder's proofs take little room, what is written for a few more does not
// grow with it, and its receipt takes little memory, however many messages it
// has.
func TestReceiptOfALargeFolder(t *testing.T) {
	const n = 100_000
	store := newMemory()
	most := mailbox.LargeFolder(t.Context(), store, n)
	if most > 256<<10 {
		t.Errorf("%d bytes were written at once", most)
	}
	size := 0
	for _, v := range store.data {
		size += len(v)
	}
	if per := float64(size) / n; per > 45 {
		t.Errorf("%.1f bytes for a message", per)
	}
	lines, peak := 0, uint64(0)
	before := inUse()
	out := writer(func(b []byte) (int, error) {
		if lines += bytes.Count(b, []byte("\n")); lines%5000 < 400 {
			peak = max(peak, inUse())
		}
		return len(b), nil
	})
	w := receipt.NewWriter(out, receipt.Head{})
	frozen, err := mailbox.WriteReceipt(t.Context(), store, w, nil)
	if _, cerr := w.Close(); err != nil || cerr != nil || frozen != n || lines < n {
		t.Fatalf("%d messages, %d lines, %v, %v", frozen, lines, err, cerr)
	}
	t.Logf("%d messages: %.1f bytes each in the ledger, %d KiB in memory", n, float64(size)/n, (int64(peak)-int64(before))>>10)
	if peak > before+16<<20 {
		t.Errorf("%d MiB were in use", (peak-before)>>20)
	}
}

// A folder that the target's user deletes before the move is in the receipt with
// what it had, so that the sums stay equal.
func TestReceiptOfAFolderThatWasRemoved(t *testing.T) {
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c := dial(t, source)
	c.must(c.Create("Work", nil).Wait())
	for _, folder := range []string{"INBOX", "Work", "Work"} {
		c.add(folder, mail(folder, "s", "text"), day)
	}
	store := newMemory()
	p := mailbox.Pass{Source: source, Target: target, Store: store, Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
	run(t, p)
	u := dial(t, target)
	u.must(u.Delete("Work").Wait())
	p.Options.Final = true
	res := run(t, p)
	if len(res.Differs) > 0 || res.Frozen != 3 {
		t.Errorf("got %+v", res)
	}
	var b bytes.Buffer
	w := receipt.NewWriter(&b, receipt.Head{})
	if n, err := mailbox.WriteReceipt(t.Context(), store, w, nil); n != 3 || err != nil {
		t.Errorf("%d messages, %v", n, err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := receipt.Read(&b, receipt.Visitor{})
	if want := (receipt.Sums{AtFreeze: 3, Exact: 1, Removed: 2}); err != nil || len(got.Damage) > 0 || got.Sums != want {
		t.Errorf("got %+v, %v, %v; want %+v", got.Sums, got.Damage, err, want)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }
