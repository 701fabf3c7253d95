package mailbox

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Bodies are in memory only on their way, and all accounts of the process
// share what there is for them: groups are small, each waits for its room
// before it is asked for, and a message that is larger than several groups is
// streamed instead. A server takes 100 messages in one command in two thirds of
// the time that it takes for four times 25.
const (
	groupBytes  = 3 << 19
	streamAbove = 4 << 20
	memoryBytes = 12 << 20

	fetchAhead = 3 // groups asked for on a connection to the source
	inTheAir   = 3 // groups sent on a connection to the target
)

var groupMessages = 100 // the tests have smaller ones

var memory = semaphore.NewWeighted(memoryBytes)

// group is what is fetched, and appended, in one go.
type group struct {
	metas []meta
	size  int64 // of the bodies, as the source tells
	large bool
	asked *fetching
	got   map[uint32][]byte
	sums  map[uint32][]byte // their digests
	bad   []Skipped
	over  []meta        // larger than the source said: to be streamed
	done  chan struct{} // large: closed when the connection to the source is free again
	err   error

	room int64  // that it has in memory
	buf  buffer // that the bodies lie in, as far as they fit
}

// groups cuts a list of messages, keeping its order.
func groups(list []meta) (out []*group) {
	var cur *group
	for _, m := range list {
		if m.size > streamAbove {
			out = append(out, &group{metas: []meta{m}, large: true})
			cur = nil
			continue
		}
		if cur == nil || len(cur.metas) == groupMessages || cur.size+m.size > groupBytes {
			cur = &group{}
			out = append(out, cur)
		}
		cur.metas = append(cur.metas, m)
		cur.size += m.size
	}
	return out
}

// hold takes room in memory for the group. Without wait it may be refused.
func (g *group) hold(ctx context.Context, wait bool) (bool, error) {
	room := inCells(g.size)
	if !wait && !memory.TryAcquire(room) {
		return false, nil
	}
	if wait {
		if err := memory.Acquire(ctx, room); err != nil {
			return false, context.Cause(ctx)
		}
	}
	g.buf = takeBuffer(room)
	g.room = room
	return true, nil
}

// free gives the group's memory back. The buffer goes to another group only
// where nobody can still write into it: not after a lost connection.
func (g *group) free() {
	if g.room == 0 {
		return
	}
	g.buf.give(g.asked != nil && g.asked.ended())
	memory.Release(g.room)
	g.room, g.buf, g.got, g.asked = 0, buffer{}, nil, nil // others still know the group
}

// transfer copies the fresh messages of a folder: one goroutine fetches the
// next groups while the target takes those before.
func (l *lane) transfer(ctx context.Context, j *job) error {
	if len(j.fresh) == 0 {
		return nil
	}
	a := l.next
	if l.next = nil; a == nil { // else it has begun already
		a = &ahead{lane: l, job: j, rest: groups(j.fresh)}
	}
	c := &copier{lane: l, job: j, selecting: a.selecting}
	ctx, cancel := context.WithCancel(ctx)
	fetched := make(chan *group)
	go func() {
		defer close(fetched)
		a.run(ctx, fetched)
	}()
	err := c.begin()
	if err == nil {
		err = c.consume(ctx, fetched)
	}
	cancel()
	for g := range fetched { // wait for the goroutine
		g.free()
	}
	c.freeAll()
	if err != nil {
		return err
	}
	return l.pass.ctx.Err() // ours is always cancelled here
}

// consume appends the groups as they come.
func (c *copier) consume(ctx context.Context, fetched <-chan *group) error {
	for {
		g, err := c.await(ctx, fetched)
		if err != nil {
			return err
		}
		if g == nil {
			break
		}
		if g.err != nil {
			g.free()
			return g.err
		}
		if g.large {
			if err = c.landAll(ctx); err == nil {
				err = c.large(ctx, g.metas[0])
			}
			close(g.done)
		} else {
			err = c.small(ctx, g)
		}
		if err != nil {
			g.free() // where it is not in the air
			return err
		}
	}
	c.openNext()
	if err := c.landAll(ctx); err != nil {
		return err
	}
	return c.flush()
}

// await is the next group, nil after the last. While none comes, what is in the
// air lands: its memory may be what the fetching waits for.
func (c *copier) await(ctx context.Context, fetched <-chan *group) (*group, error) {
	for {
		var landed <-chan struct{}
		if len(c.air) > 0 {
			landed = c.air[0].sent.x.done
		}
		select {
		case g := <-fetched:
			return g, nil
		case <-landed:
			if err := c.land(ctx); err != nil {
				return nil, err
			}
		}
	}
}
