package mailbox

import (
	"context"
	"maps"
	"sync"
)

// below is a Store in a corner of another.
type below struct {
	Store
	prefix string
}

func (b below) Get(ctx context.Context, key string) ([]byte, error) {
	return b.Store.Get(ctx, b.prefix+key)
}

func (b below) Put(ctx context.Context, changes map[string][]byte) error {
	out := make(map[string][]byte, len(changes))
	for key, value := range changes {
		out[b.prefix+key] = value
	}
	return b.Store.Put(ctx, out)
}

// scratch is a Store whose changes are forgotten.
type scratch struct {
	Store
	mu      sync.Mutex
	changed map[string][]byte
}

func (s *scratch) Get(ctx context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, ok := s.changed[key]; ok {
		return value, nil
	}
	return s.Store.Get(ctx, key)
}

func (s *scratch) Put(_ context.Context, changes map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.changed, changes)
	return nil
}
