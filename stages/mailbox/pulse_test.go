package mailbox_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// hangingStore takes nothing and says nothing from the first intent on.
type hangingStore struct{ *memory }

func (h hangingStore) Put(ctx context.Context, changes map[string][]byte) error {
	for key := range changes {
		if strings.HasPrefix(key, "intent/") {
			<-ctx.Done()
			return context.Cause(ctx)
		}
	}
	return h.memory.Put(ctx, changes)
}

// TestAPassThatStandsStillEnds proves that a pass in which nothing moves, and
// no connection is to blame, ends by itself and says so; and that one whose
// connections only keep themselves alive does not count as moving.
func TestAPassThatStandsStillEnds(t *testing.T) {
	m := startMemory(t, modern...)
	source, target := m.account(t), m.account(t)
	for _, s := range []*mailbox.Server{source.Server, target.Server} {
		s.Stall, s.Idle = 1500*time.Millisecond, 100*time.Millisecond
	}
	dial(t, source).add("INBOX", mail("1", "s", "text"), day)
	p := mailbox.Pass{Source: source, Target: target, Store: hangingStore{newMemory()}, Options: mailbox.Options{MaxDelete: 1}}
	if _, err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing has moved for 4.5s: given up") {
		t.Errorf("got %v", err)
	}
}
