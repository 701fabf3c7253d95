package pipeline

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// slots bound how many accounts are worked on at once. Who is urgent, because
// a night is short, goes before who is not, and where a night is near one slot of
// several is reserved for them: pre-copies that take hours must not cost a night.
// Among themselves they go by rank: whole services together, small before large.
type slots struct {
	mu       sync.Mutex
	all      int
	free     int
	reserved int
	waiting  []*ticket
}

// ticket is a place in the queue.
type ticket struct {
	slots  *slots
	urgent bool
	rank   int
	ready  chan struct{} // closed once the slot is the holder's
}

func newSlots(n int) *slots {
	n = max(1, n)
	return &slots{all: n, free: n, reserved: min(1, n-1)}
}

// reserve keeps a slot for the urgent from now on, or keeps none.
func (s *slots) reserve(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved = 0; keep {
		s.reserved = min(1, s.all-1)
	}
	s.hand()
}

// queue takes a place; the lowest rank is served first, and equal ones in turn.
func (s *slots) queue(urgent bool, rank int) *ticket {
	t := &ticket{slots: s, urgent: urgent, rank: rank, ready: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, _ := slices.BinarySearchFunc(s.waiting, t, func(other, t *ticket) int {
		if c := cmp.Compare(other.class(), t.class()); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(other.rank, t.rank), -1) // behind its equals
	})
	s.waiting = slices.Insert(s.waiting, at, t)
	s.hand()
	return t
}

// class is 0 for who is urgent.
func (t *ticket) class() int {
	if t.urgent {
		return 0
	}
	return 1
}

// take waits for the slot; false means that the context ended first.
func (t *ticket) take(ctx context.Context) bool {
	select {
	case <-t.ready:
		return true
	case <-ctx.Done():
	}
	s := t.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, t); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return false
	}
	s.free++ // handed over in the meantime
	s.hand()
	return false
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	s.hand()
}

// hand gives free slots to those who wait. The caller holds the lock.
func (s *slots) hand() {
	for len(s.waiting) > 0 {
		first := s.waiting[0]
		if s.free <= s.reserved*first.class() {
			return
		}
		close(first.ready)
		s.waiting = s.waiting[1:]
		s.free--
	}
}
