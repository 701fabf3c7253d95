package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
)

// readers read the target back over a connection of their own, behind the lanes
// that fill it: when a pass has copied its last message, most of them are
// verified already, and under the freeze only what is new has to be.
type readers struct {
	pass *pass
	mode string // content | headers
	lane *lane

	mu     sync.Mutex
	wake   *sync.Cond
	todo   []*checking
	of     map[*job]*checking
	ended  bool
	failed bool // the pass has
	found  []Skipped
	frozen int // messages of the source in folders that are verified
	done   chan struct{}
	err    error
}

func (r *pass) startReaders(ctx context.Context) error {
	switch r.Options.Verify {
	case "":
		return nil
	case "content", "headers":
	default:
		return fmt.Errorf("verify %q is not one of content, headers", r.Options.Verify)
	}
	b := &readers{pass: r, mode: r.Options.Verify, lane: r.reader, of: map[*job]*checking{}, done: make(chan struct{})}
	b.wake = sync.NewCond(&b.mu)
	for _, j := range r.jobs {
		c := &checking{readers: b, job: j, upto: j.st.next, closing: !j.scanned}
		if err := c.load(ctx); err != nil {
			return err
		}
		b.of[j] = c
		b.todo = append(b.todo, c)
	}
	r.readers = b
	if r.alone { // no further connection may be opened: once the copying is over
		b.lane = r.lanes[0]
		close(b.done)
		return nil
	}
	copies := slices.ContainsFunc(r.jobs, func(j *job) bool { return j.scanned && len(j.fresh) > 0 })
	go func() {
		defer close(b.done)
		if copies { // and that will be read back: it signs in meanwhile
			_, _ = b.lane.target() // who needs it asks again
		}
		b.err = b.work()
		if errors.Is(b.err, ErrBusy) && b.lane.dst == nil { // no room for one more
			b.lane, b.err, r.alone = r.lanes[0], nil, true
		}
	}()
	return nil
}

// written tells that the folder's records below n are in the ledger.
func (b *readers) written(j *job, n int) { b.tell(j, n, false) }

// filled tells that the pass is through with a folder.
func (b *readers) filled(j *job) { b.tell(j, j.st.next, true) }

func (b *readers) tell(j *job, n int, closing bool) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.of[j]
	c.upto, c.closing, c.validity = n, c.closing || closing, j.st.TargetValidity
	if !slices.Contains(b.todo, c) {
		b.todo = append(b.todo, c)
	}
	b.wake.Signal()
}

// end waits until all is read back and returns what is not as it should be.
// After a pass that failed it only stops.
func (b *readers) end(failed bool) ([]Skipped, error) {
	if b == nil {
		return nil, nil
	}
	b.mu.Lock()
	b.ended, b.failed = true, failed
	if failed {
		b.todo = nil
	}
	b.wake.Signal()
	b.mu.Unlock()
	<-b.done
	if failed {
		return nil, nil
	}
	if b.pass.alone { // what stored the messages is not believed: a new connection reads
		b.lane.dst.logout()
		b.lane.dst = nil
		b.err = b.work()
	}
	if b.err != nil {
		return nil, fmt.Errorf("verify: %w", b.err)
	}
	sort.SliceStable(b.found, func(i, k int) bool { return b.found[i].Folder < b.found[k].Folder })
	return b.found, nil
}

// turn is a folder whose turn it is.
type turn struct {
	*checking
	upto    int
	closing bool
}

func (b *readers) work() error {
	for {
		batch := b.take()
		if len(batch) == 0 {
			return nil
		}
		b.askAhead(b.pass.ctx, batch)
		for i, t := range batch {
			if b.gaveUp() {
				return nil
			}
			if err := t.step(b.pass.ctx, t.upto, t.closing); err != nil {
				b.putBack(batch[i:])
				return fmt.Errorf("folder %q: %w", safe(t.job.name), err)
			}
		}
	}
}

// take waits for folders to be read back, and takes all there are; none: the
// pass has ended.
func (b *readers) take() (batch []turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.todo) == 0 && !b.ended {
		b.wake.Wait()
	}
	for _, c := range b.todo {
		batch = append(batch, turn{c, c.upto, c.closing})
		if c.proofs.TargetValidity == 0 {
			c.proofs.TargetValidity = c.validity
		}
	}
	b.todo = nil
	return batch
}

// putBack leaves turns to whoever works next.
func (b *readers) putBack(batch []turn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range batch {
		if !slices.Contains(b.todo, t.checking) {
			b.todo = append(b.todo, t.checking)
		}
	}
}

// gaveUp tells that the pass has failed: nothing more has to be read.
func (b *readers) gaveUp() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}
