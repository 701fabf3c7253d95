package mailbox

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// slots is how many connections a server bears, over all accounts.
type slots struct {
	once  sync.Once
	sem   *semaphore.Weighted
	order int64 // unique, so that all passes take their slots in one order
}

var servers atomic.Int64

func (s *Server) semaphore() *semaphore.Weighted {
	s.slots.once.Do(func() {
		s.slots.sem = semaphore.NewWeighted(int64(max(s.Connections, 1)))
		s.slots.order = servers.Add(1)
	})
	return s.slots.sem
}

// takeSlots takes all of what a pass needs, in one order for all passes, so
// that no two of them wait for each other.
func takeSlots(ctx context.Context, needs ...need) (release func(), err error) {
	sum := map[*Server]int{}
	var servers []*Server
	for _, n := range needs {
		if n.server.Connections <= 0 {
			continue
		}
		if n.server.semaphore(); sum[n.server] == 0 {
			servers = append(servers, n.server)
		}
		sum[n.server] += n.n
	}
	sort.Slice(servers, func(i, j int) bool { return servers[i].slots.order < servers[j].slots.order })
	var taken []func()
	release = func() {
		for _, f := range taken {
			f()
		}
	}
	for _, s := range servers {
		n := int64(sum[s])
		if n > int64(s.Connections) {
			release()
			return nil, fmt.Errorf("%s: max_connections is %d, but %d are needed at once", s.Address, s.Connections, n)
		}
		if err := s.semaphore().Acquire(ctx, n); err != nil {
			release()
			return nil, err
		}
		taken = append(taken, func() { s.semaphore().Release(n) })
	}
	return release, nil
}

// lanesFor is how many pairs of connections a pass may open, and how many more
// to the target for reading back: 1, or 0 where nothing is read back or there
// is no room.
func lanesFor(source, target *Server, o Options) (pairs, own int) {
	pairs = max(o.Connections, 1)
	each := 1
	if source == target {
		each = 2
	}
	if o.Verify != "" {
		own = 1
	}
	for _, s := range []*Server{source, target} {
		if s.Connections <= 0 {
			continue
		}
		pairs = min(pairs, max(1, s.Connections/each))
		if s == target && pairs*each+own > s.Connections {
			if pairs > 1 {
				pairs--
			} else {
				own = 0
			}
		}
	}
	return pairs, own
}
