package pipeline

import (
	"context"
	"sync"
)

// slots bound how many accounts are worked on at once. Who is urgent, because
// a night is short, goes before who is not, and one slot is reserved for them where
// there are several: pre-copies that take hours must not cost a night.
type slots struct {
	mu       sync.Mutex
	free     int
	reserved int
	waiting  [2][]chan struct{} // not urgent, urgent
}

func newSlots(n int) *slots {
	n = max(1, n)
	return &slots{free: n, reserved: min(1, n-1)}
}

// take waits for a slot; false means that the context ended first.
func (s *slots) take(ctx context.Context, urgent bool) bool {
	class := 0
	if urgent {
		class = 1
	}
	s.mu.Lock()
	ready := make(chan struct{})
	s.waiting[class] = append(s.waiting[class], ready)
	s.hand()
	s.mu.Unlock()
	select {
	case <-ready:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-ready: // handed over in the meantime
		s.free++
		s.hand()
	default:
		for i, c := range s.waiting[class] {
			if c == ready {
				s.waiting[class] = append(s.waiting[class][:i], s.waiting[class][i+1:]...)
				break
			}
		}
	}
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
	for class := 1; class >= 0; class-- {
		reserve := s.reserved * (1 - class)
		for s.free > reserve && len(s.waiting[class]) > 0 {
			close(s.waiting[class][0])
			s.waiting[class] = s.waiting[class][1:]
			s.free--
		}
	}
}
