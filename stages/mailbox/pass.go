package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Run makes one pass. The source is only ever read (EXAMINE, BODY.PEEK). After
// an error the pass can be run again and goes on where it stopped.
//
//	list both sides -> settle what a crash left -> scan changed folders
//	  -> find moves -> check deletions -> move -> copy, flag, delete
//	                                             (and beside it: read back)
//
// Nothing is changed at the target before the deletions have been checked.
func (p Pass) Run(ctx context.Context) (res Result, err error) {
	err = patient(ctx, func() error {
		did, err := p.once(ctx)
		res = did.after(res)
		return err
	})
	return res, err
}

func (p Pass) once(ctx context.Context) (Result, error) {
	r, err := p.begin(ctx)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = r.run(r.ctx)
	if err != nil && r.ctx.Err() != nil {
		err = context.Cause(r.ctx)
	}
	r.collect()
	return r.result, err
}

// pass is one Run on its way.
type pass struct {
	Pass
	ctx     context.Context // connections live as long as the pass
	release func()
	slots   slots
	lanes   []*lane
	spared  []*lane // not worth their sign-ins; see spare.go
	reader  *lane   // reads back
	alone   bool    // reader has no connection of its own
	readers *readers
	place   place
	names   []string // keys of the folders that have a state
	jobs    []*job
	others  []Skipped // excluded and foreign folders

	// folders made under another name than planned: planned name -> path
	elsewhere map[string][]string

	limit int64        // of a message, bytes
	held  atomic.Int64 // new messages in memory
	cuts  atomic.Int32 // see heard

	sameTarget bool // the target's mailbox is the one of the pass before

	mu     sync.Mutex
	result Result
	total  int64

	telling sync.Mutex // about progress
	done    int64
}

// begin takes the slots and opens the first pair of connections.
func (p Pass) begin(ctx context.Context) (*pass, error) {
	n, own := lanesFor(p.Source.Server, p.Target.Server, p.Options)
	got, taken, err := takeSlots(ctx, need{p.Source.Server, n}, need{p.Target.Server, n + own})
	if err != nil {
		return nil, err
	}
	n = min(n, got[0], got[1])
	own = min(own, got[1]-n)
	ctx, stop := p.watched(ctx)
	r := &pass{Pass: p, ctx: ctx, slots: taken, release: func() { stop(); taken.release() }, alone: own == 0, elsewhere: map[string][]string{}}
	r.reader = &lane{pass: r}
	for range n {
		r.lanes = append(r.lanes, &lane{pass: r})
	}
	var g errgroup.Group
	g.Go(func() error { _, err := r.lanes[0].sourceFirst(wish{folders: true, gone: true}); return err })
	g.Go(func() error { _, err := r.lanes[0].targetFirst(wish{folders: true}); return err })
	if p.Options.Final && !r.alone {
		g.Go(func() error {
			if _, err := r.reader.target(); !errors.Is(err, ErrBusy) {
				return err
			}
			r.alone = true // the server has no room for it
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// close says LOGOUT on all connections. Nobody waits for the answers, but the
// slots are taken until they have come.
func (r *pass) close() {
	var wg sync.WaitGroup
	for _, l := range append(r.lanes, r.reader) {
		if l.signsIn != nil {
			<-l.signsIn
		}
		for _, s := range []*session{l.src, l.dst} {
			if s != nil {
				wg.Go(s.takeLeave())
			}
		}
	}
	go func() {
		wg.Wait()
		r.release()
	}()
}

func (r *pass) run(ctx context.Context) error {
	if !r.Options.CatchUp {
		if err := took(ctx, r.Store); err != nil {
			return err
		}
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	if r.Options.Final {
		if err := r.markCutover(ctx); err != nil {
			return err
		}
	}
	if err := r.settleMove(ctx); err != nil {
		return err
	}
	if err := r.scanAll(ctx); err != nil {
		return err
	}
	var moves []move
	if !r.Options.CatchUp {
		err := r.keepShared(ctx)
		if err != nil {
			return err
		}
		if moves, err = r.findMoves(ctx); err != nil {
			return err
		}
		if err := r.checkDeletions(); err != nil {
			return err
		}
	} else if err := r.dropKnown(ctx); err != nil {
		return err
	}
	for _, j := range r.jobs {
		held := sizeOf(j.fresh)
		r.total += held
		if n := j.ahead.count(); n > 0 && len(j.fresh) > 0 { // a guess
			r.total += held / int64(len(j.fresh)) * int64(n)
		}
	}
	r.unspare()
	if err := r.renameFolders(ctx); err != nil {
		return err
	}
	if err := r.createFolders(ctx); err != nil {
		return err
	}
	if err := r.applyMoves(ctx, moves); err != nil {
		return err
	}
	var todo []*job
	for _, j := range r.jobs {
		if j.scanned && !j.st.Nameless {
			todo = append(todo, j)
		}
	}
	slices.SortStableFunc(todo, func(a, b *job) int { return cmp.Compare(sizeOf(b.fresh), sizeOf(a.fresh)) }) // the fullest last would keep one lane alone
	if err := r.startReaders(ctx); err != nil {
		return err
	}
	err := r.each(ctx, todo, func(l *lane, ctx context.Context, j *job) error {
		if err := l.apply(ctx, j); err != nil {
			return err
		}
		r.readers.filled(j)
		return nil
	})
	differs, verr := r.readers.end(err != nil)
	if r.result.Differs = differs; r.readers != nil {
		r.result.Frozen = r.readers.frozen
	}
	if err := cmp.Or(err, verr); err != nil {
		return err
	}
	if err := r.leaveFolders(ctx); err != nil {
		return err
	}
	return r.renameFolders(ctx)
}

// each runs do for every job, spread over the lanes. The first error ends it;
// a further lane that the server has no room for is done without.
func (r *pass) each(ctx context.Context, jobs []*job, do func(*lane, context.Context, *job) error) error {
	queue := make(chan *job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	over := make(chan struct{}) // closed once all jobs are taken
	end := sync.OnceFunc(func() { close(over) })
	g, gctx := errgroup.WithContext(ctx)
	for i, l := range r.lanes {
		if i >= len(jobs) {
			break
		}
		g.Go(func() error {
			if !l.signedIn(gctx, over) || i > 0 && (l.src == nil || l.dst == nil) && !l.ready() {
				return nil
			}
			l.queue = queue
			defer l.drop()
			for j := l.take(); j != nil; j = l.take() {
				if gctx.Err() != nil {
					return gctx.Err()
				}
				if err := do(l, gctx, j); err != nil {
					return fmt.Errorf("folder %q: %w", safe(j.name), err)
				}
				if l.next != nil && l.next.job == j { // it was not copied
					l.drop()
				}
			}
			end()
			return nil
		})
	}
	return g.Wait()
}

// collect makes the result complete as of this pass.
func (r *pass) collect() {
	for _, e := range []Endpoint{r.Source, r.Target} {
		if why := e.Server.slowed(); why != "" {
			r.result.Slowed = append(r.result.Slowed, why)
		}
	}
	r.result.Skipped = append(r.result.Skipped, r.others...)
	for _, j := range r.jobs {
		if !j.here {
			continue
		}
		r.result.Folders++
		r.result.Messages += j.seen
		r.result.Bytes += j.st.Bytes
		r.result.Skipped = append(r.result.Skipped, j.st.Skipped...)
		r.result.Notes = append(r.result.Notes, j.st.Notes...)
	}
}

// count changes the result; lanes work side by side.
func (r *pass) count(f func(*Result)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.result)
}

func (r *pass) progress(bytes int64) {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.done += bytes
	if r.Options.Progress != nil {
		r.Options.Progress(r.done, max(r.total, r.done))
	}
}
