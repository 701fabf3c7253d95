// Package ledgertest is what every ledger must do.
package ledgertest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"godwit/pipeline/ledger"
)

var (
	anna  = ledger.Key{Batch: "b1", Service: "acme", Account: "anna@old.example"}
	ben   = ledger.Key{Batch: "b1", Service: "acme", Account: "ben@old.example"}
	acme  = ledger.Key{Batch: "b1", Service: "acme"}
	other = ledger.Key{Batch: "b2", Service: "zeta", Account: "zoe@old.example"}
	noon  = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
)

// Run proves a ledger. open opens the same ledger each time it is called within
// one test, for a run (rehearsal says which kind).
func Run(t *testing.T, fresh func(t *testing.T) (open func(rehearsal bool) (ledger.Ledger, error))) {
	tests := map[string]func(*testing.T, func(bool) (ledger.Ledger, error)){
		"what was written is there after closing": survives,
		"a change is whole or not there":          whole,
		"history keeps its order":                 ordered,
		"marks are the last of each effect":       marks,
		"whose cutover has begun is found":        underway,
		"a service moves to another batch":        moves,
		"a second run is refused":                 exclusive,
		"rehearsal and real do not mix":           kinds,
		"many may write at once":                  many,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func must(t *testing.T, open func(bool) (ledger.Ledger, error)) ledger.Ledger {
	t.Helper()
	l, err := open(false)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func write(t *testing.T, l ledger.Ledger, c ledger.Change) {
	t.Helper()
	if err := l.Write(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func survives(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	state := ledger.State{Phase: ledger.Copied, Passes: 2, PassedAt: noon, Extra: []ledger.Field{{Name: "x_ref", Value: "7"}}}
	write(t, l, ledger.Change{Key: anna, State: &state, Entry: &ledger.Entry{At: noon, Stage: "copy", Effect: "pass", Mark: ledger.Note, Text: "3 copied"}, Keep: map[string][]byte{"map": {0, 1, 2}}})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = must(t, open)
	defer l.Close()
	states, err := l.States(t.Context(), "b1")
	if err != nil || len(states) != 1 || states[0].Key != anna || states[0].Passes != 2 || !states[0].PassedAt.Equal(noon) || states[0].Extra[0].Value != "7" {
		t.Errorf("got %+v, %v", states, err)
	}
	value, err := l.Kept(t.Context(), anna, "map")
	if err != nil || !bytes.Equal(value, []byte{0, 1, 2}) {
		t.Errorf("kept: got %v, %v", value, err)
	}
	if value, err := l.Kept(t.Context(), ben, "map"); value != nil || err != nil {
		t.Errorf("another account's value: got %v, %v", value, err)
	}
	write(t, l, ledger.Change{Key: anna, Keep: map[string][]byte{"map": nil}})
	if value, _ := l.Kept(t.Context(), anna, "map"); value != nil {
		t.Errorf("a deleted value is still there: %v", value)
	}
}

func whole(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	write(t, l, ledger.Change{Key: anna, State: &ledger.State{Passes: 1}})
	impossible := ledger.State{Passes: 2, FrozenAt: time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC)} // JSON refuses the year
	err := l.Write(t.Context(), ledger.Change{Key: anna, Entry: &ledger.Entry{At: noon, Effect: "x"}}, ledger.Change{Key: ben, State: &impossible})
	if err == nil {
		t.Fatal("an impossible state was written")
	}
	for e, err := range l.Entries(t.Context(), anna) {
		t.Errorf("the entry of a change that failed is there: %v, %v", e, err)
	}
}

func ordered(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	for i := range 1200 {
		write(t, l, ledger.Change{Key: anna, Entry: &ledger.Entry{At: noon, Effect: fmt.Sprint(i), Mark: ledger.Note}})
	}
	write(t, l, ledger.Change{Key: other, Entry: &ledger.Entry{At: noon, Effect: "elsewhere", Mark: ledger.Note}})
	i := 0
	for e, err := range l.Entries(t.Context(), ledger.Key{Batch: "b1"}) {
		if err != nil || e.Effect != fmt.Sprint(i) || e.Key != anna || !e.At.Equal(noon) {
			t.Fatalf("entry %d: got %+v, %v", i, e, err)
		}
		i++
	}
	if i != 1200 {
		t.Errorf("got %d entries, want 1200", i)
	}
}

func marks(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	for _, e := range []ledger.Entry{
		{Effect: "freeze", Mark: ledger.Intent},
		{Effect: "freeze", Mark: ledger.Done},
		{Effect: "switch", Mark: ledger.Intent},
		{Effect: "freeze", Mark: ledger.Note},
	} {
		e.At = noon
		write(t, l, ledger.Change{Key: anna, Entry: &e})
	}
	got, err := l.Marks(t.Context(), anna)
	if err != nil || got["freeze"] != ledger.Done || got["switch"] != ledger.Intent || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := l.Marks(t.Context(), acme); len(got) != 0 || err != nil {
		t.Errorf("the service has marks of its account: %v, %v", got, err)
	}
}

func underway(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	write(t, l, ledger.Change{Key: anna, State: &ledger.State{Phase: ledger.Frozen, FrozenAt: noon, Deadline: noon.Add(time.Minute)}})
	write(t, l, ledger.Change{Key: ben, State: &ledger.State{Phase: ledger.Switching, FrozenAt: noon}})
	write(t, l, ledger.Change{Key: other, State: &ledger.State{Phase: ledger.Copied, FrozenAt: noon, ReleasedAt: noon}})
	states, err := l.Underway(t.Context())
	if err != nil || len(states) != 2 || states[0].Key != anna || states[1].Key != ben {
		t.Errorf("got %+v, %v", states, err)
	}
}

func moves(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	write(t, l, ledger.Change{Key: anna, State: &ledger.State{Passes: 3}, Keep: map[string][]byte{"map": {1}}, Entry: &ledger.Entry{At: noon, Effect: "x"}})
	write(t, l, ledger.Change{Key: acme, State: &ledger.State{Sequence: 2}})
	write(t, l, ledger.Change{Key: other, State: &ledger.State{}})
	if err := l.Move(t.Context(), "acme", "b1", "b2"); err != nil {
		t.Fatal(err)
	}
	homes, err := l.Homes(t.Context())
	if err != nil || fmt.Sprint(homes) != "map[acme:[b2] zeta:[b2]]" {
		t.Errorf("homes: %v, %v", homes, err)
	}
	moved := anna
	moved.Batch = "b2"
	if value, err := l.Kept(t.Context(), moved, "map"); !bytes.Equal(value, []byte{1}) || err != nil {
		t.Errorf("kept: %v, %v", value, err)
	}
	if states, err := l.States(t.Context(), "b2"); len(states) != 3 || err != nil {
		t.Errorf("states: %+v, %v", states, err)
	}
}

func exclusive(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	if second, err := open(false); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("got %v, %v; want ErrBusy", second, err)
	}
}

func kinds(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l, err := open(true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(false); !errors.Is(err, ledger.ErrRehearsal) {
		t.Errorf("a rehearsal opened for real: %v; want ErrRehearsal", err)
	}
	l, err = open(true)
	if err != nil {
		t.Fatalf("a rehearsal goes on: %v", err)
	}
	l.Close()
}

// many: and what one of them cannot write is not the others' trouble.
func many(t *testing.T, open func(bool) (ledger.Ledger, error)) {
	l := must(t, open)
	defer l.Close()
	impossible := ledger.State{FrozenAt: time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC)}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				key := anna
				key.Account = fmt.Sprintf("user%d@old.example", i)
				if err := l.Write(t.Context(), ledger.Change{Key: key, State: &ledger.State{Passes: i}}); err != nil {
					t.Error(err)
				}
				if _, err := l.States(t.Context(), "b1"); err != nil {
					t.Error(err)
				}
				if i > 0 {
					continue
				}
				if err := l.Write(t.Context(), ledger.Change{Key: other, State: &impossible}); err == nil {
					t.Error("an impossible state was written")
				}
			}
		})
	}
	wg.Wait()
	if states, _ := l.States(t.Context(), "b1"); len(states) != 8 {
		t.Errorf("got %d rows, want 8", len(states))
	}
}
