package mailbox

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// room is how many connections a server bears, over all accounts: as many as
// the plan allows, and half of those in use after it has said that they are too
// many. After each calm time one more is tried.
type room struct {
	order int64 // unique, so that all passes take their room in one order

	mu     sync.Mutex
	limit  int // 0: none is known
	used   int
	goal   int       // where growing ends
	cut    time.Time // when limit was last halved
	grown  time.Time // when it last changed
	reason string    // what the server said; "" while all is well
	freed  chan struct{}
}

const calm = time.Minute

var rooms atomic.Int64

// connections is the server's room.
func (s *Server) connections() *room {
	s.once.Do(func() {
		if s.room == nil {
			s.room = &room{order: rooms.Add(1), limit: max(s.Connections, 0), freed: make(chan struct{})}
		}
	})
	return s.room
}

// AsUser is the same server as its users sign in there. Its connections count
// together with Godwit's own.
func (s *Server) AsUser() *Server {
	return &Server{
		Address: s.Address, TLS: s.TLS, CAFile: s.CAFile, Platform: s.Platform, Auth: "password",
		Region: s.Region, Residency: s.Residency,
		Connections: s.Connections, Stall: s.Stall, Idle: s.Idle, Calm: s.Calm, Linger: s.Linger, room: s.connections(),
	}
}

// take waits for room for at least least connections and takes up to most.
func (s *Server) take(ctx context.Context, least, most int) (n int, err error) {
	r := s.connections()
	for {
		r.mu.Lock()
		s.grow(r)
		n := most
		if r.limit > 0 {
			n = min(most, r.limit-r.used)
		}
		if n < least && r.used == 0 {
			n = least // nobody else is there to wait for
		}
		if n >= least {
			r.used += n
			r.mu.Unlock()
			return n, nil
		}
		freed := r.freed
		var more <-chan time.Time
		if r.reason != "" {
			more = time.After(s.calm())
		}
		r.mu.Unlock()
		select {
		case <-freed:
		case <-more:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// grow adds what the calm times since the last change allow.
func (s *Server) grow(r *room) {
	for r.reason != "" && time.Since(r.grown) >= s.calm() {
		r.limit++
		r.grown = r.grown.Add(s.calm())
		if r.limit >= r.goal {
			r.limit, r.reason = max(s.Connections, 0), ""
		}
	}
}

func (s *Server) calm() time.Duration {
	if s.Calm > 0 {
		return s.Calm
	}
	return calm
}

func (r *room) give(n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used -= n
	close(r.freed)
	r.freed = make(chan struct{})
}

// pressed takes what the server said to a connection for a wish to have fewer.
// Connections that were open before the last wish count with it.
func (s *Server) pressed(opened time.Time, err error) {
	if !errors.Is(err, ErrBusy) {
		return
	}
	r := s.connections()
	r.mu.Lock()
	defer r.mu.Unlock()
	if opened.Before(r.cut) {
		return
	}
	now := r.used
	if r.limit > 0 {
		now = min(now, r.limit)
	}
	if r.goal = s.Connections; r.goal <= 0 {
		r.goal = 2*now + 1 // no limit is known: so long without a word there is none again
	}
	r.limit, r.reason = max(1, now/2), err.Error()
	r.cut = time.Now()
	r.grown = r.cut
}

// crowded tells whether more connections are in use than the server wants.
func (s *Server) crowded() bool {
	r := s.connections()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.grow(r)
	return r.limit > 0 && r.used > r.limit
}

// slowed says how many connections are used at most, and why, while it is fewer
// than the plan allows; "" otherwise.
func (s *Server) slowed() string {
	r := s.connections()
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.grow(r); r.reason == "" {
		return ""
	}
	return fmt.Sprintf("%s: at most %d connections at once for now: %s", s.Address, r.limit, r.reason)
}

// need is a number of connections to one server, at least one.
type need struct {
	server *Server
	n      int
}

// slots are connections that a pass may open, by server. They go back before
// their owner ends, or with it; not both at the same time.
type slots map[*room]int

func (s slots) of(server *Server) int { return s[server.connections()] }

// give gives n of them back.
func (s slots) give(server *Server, n int) {
	r := server.connections()
	s[r] -= n
	r.give(n)
}

func (s slots) release() {
	for r, n := range s {
		r.give(n)
	}
}

// busy is how many connections are in use.
func (r *room) busy() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// takeSlots takes what there is of needs, in one order for all passes, so that
// no two of them wait for each other. got is for each need at least 1.
func takeSlots(ctx context.Context, needs ...need) (got []int, taken slots, err error) {
	sum, least := map[*room]int{}, map[*room]int{}
	var servers []*Server
	for _, n := range needs {
		r := n.server.connections()
		if least[r] == 0 {
			servers = append(servers, n.server)
		}
		sum[r] += n.n
		least[r]++
	}
	sort.Slice(servers, func(i, j int) bool { return servers[i].room.order < servers[j].room.order })
	taken = slots{}
	for _, s := range servers {
		r := s.room
		if s.Connections > 0 && least[r] > s.Connections {
			taken.release()
			return nil, nil, fmt.Errorf("%s: max_connections is %d, but %d are needed at once", s.Address, s.Connections, least[r])
		}
		if taken[r], err = s.take(ctx, least[r], sum[r]); err != nil {
			delete(taken, r)
			taken.release()
			return nil, nil, err
		}
	}
	left := map[*room]int{}
	for r, n := range taken {
		left[r] = n
	}
	for _, n := range needs { // what is shared is shared out evenly, the last having the most
		r := n.server.room
		share := min(n.n, left[r]/least[r])
		if least[r] == 1 {
			share = left[r]
		}
		got = append(got, share)
		left[r] -= share
		least[r]--
	}
	return got, taken, nil
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
