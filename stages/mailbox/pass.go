package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
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
func (p Pass) Run(ctx context.Context) (Result, error) {
	r, err := p.begin(ctx)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	err = r.run(ctx)
	r.collect()
	return r.result, err
}

// pass is one Run on its way.
type pass struct {
	Pass
	ctx     context.Context // connections live as long as the pass
	release func()
	lanes   []*lane
	reader  *lane // reads back
	alone   bool  // reader has no connection of its own
	readers *readers
	place   place
	names   []string // keys of the folders that have a state
	jobs    []*job
	others  []Skipped // excluded and foreign folders

	// folders made under another name than planned: planned name -> path
	elsewhere map[string][]string

	limit int64        // of a message, bytes
	held  atomic.Int64 // new messages in memory

	sameTarget bool // the target's mailbox is the one of the pass before

	mu     sync.Mutex
	result Result
	done   int64
	total  int64
}

// job is what a pass has to do in one folder.
type job struct {
	mapping
	key    string // of its state in the ledger
	name   string // of the source, in UTF-8
	st     *folderState
	here   bool // the source has it
	target box
	exists bool   // the target has it
	placed bool   // it has had a place at the target before
	wants  string // its new name at the target, where the source's was renamed
	missed bool   // the target's user has removed it
	needed bool   // messages move into it

	scanned bool
	resent  bool   // in this pass; see late.go
	reset   bool   // the map was void: it must be written before anything is copied
	box     box    // of the source, as opened
	fresh   []meta // new at the source
	ahead   spans  // new as well, but not held in memory; above those in fresh
	gone    []uint32
	orphans []uint32 // targets to remove that no longer have a source UID
	removed []uint32 // targets that were removed or moved away
	changes []change
	seen    int // messages at the source now
}

// begin takes the slots and opens the first pair of connections.
func (p Pass) begin(ctx context.Context) (*pass, error) {
	n, own := lanesFor(p.Source.Server, p.Target.Server, p.Options)
	got, release, err := takeSlots(ctx, need{p.Source.Server, n}, need{p.Target.Server, n + own})
	if err != nil {
		return nil, err
	}
	n = min(n, got[0], got[1])
	own = min(own, got[1]-n)
	r := &pass{Pass: p, ctx: ctx, release: release, alone: own == 0, elsewhere: map[string][]string{}}
	r.reader = &lane{pass: r}
	for range n {
		r.lanes = append(r.lanes, &lane{pass: r})
	}
	var g errgroup.Group
	g.Go(func() error { _, err := r.lanes[0].source(); return err })
	g.Go(func() error { _, err := r.lanes[0].target(); return err })
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

func (r *pass) close() {
	var wg sync.WaitGroup
	for _, l := range append(r.lanes, r.reader) {
		for _, s := range []*session{l.src, l.dst} {
			if s != nil {
				wg.Go(s.logout)
			}
		}
	}
	wg.Wait()
	r.release()
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
		var err error
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
		if j.scanned {
			todo = append(todo, j)
		}
	}
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
	g, gctx := errgroup.WithContext(ctx)
	for i, l := range r.lanes {
		if i >= len(jobs) {
			break
		}
		g.Go(func() error {
			if i > 0 && l.src == nil && !l.ready() {
				return nil
			}
			for j := range queue {
				if gctx.Err() != nil {
					return gctx.Err()
				}
				if err := do(l, gctx, j); err != nil {
					return fmt.Errorf("folder %q: %w", safe(j.name), err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// list reads both folder lists and the states, and maps the folders.
func (r *pass) list(ctx context.Context) error {
	src, dst := r.lanes[0].src, r.lanes[0].dst
	var source []listed
	var g errgroup.Group
	g.Go(func() (err error) { source, _, err = src.folders(); return r.at(r.Source, err) })
	g.Go(func() (err error) { r.place.existing, r.place.space, err = dst.folders(); return r.at(r.Target, err) })
	if err := g.Wait(); err != nil {
		return err
	}
	var err error
	if r.names, err = loadNames(ctx, r.Store); err != nil {
		return err
	}
	switch {
	case len(source) == 0 && len(r.names) == 0:
		return fmt.Errorf("%s: the server lists no folders", r.Source.Server.Address)
	case len(source) == 0:
		return fmt.Errorf("%w: %s lists no folders any more; nothing was changed", ErrTooManyDeletions, r.Source.Server.Address)
	case len(r.place.existing) == 0 && len(r.names) > 0:
		return fmt.Errorf("%s: the server lists no folders any more", r.Target.Server.Address)
	}
	r.limit = messageLimit(r.Options.MaxMessage, dst)
	return r.plan(ctx, source)
}

func (r *pass) at(e Endpoint, err error) error {
	if err != nil {
		return fmt.Errorf("%s: list folders: %w", e.Server.Address, err)
	}
	return nil
}

// wanted drops the folders that are not carried, naming them.
func (o Options) wanted(source []listed) (wanted []listed, notCarried []Skipped, foreign []Skipped) {
	for _, l := range source {
		switch {
		case l.noselect:
		case l.foreign:
			foreign = append(foreign, Skipped{Folder: l.name(), Reason: Excluded, Detail: "belongs to another user or is shared"})
		case excluded(o.Exclude, l):
			notCarried = append(notCarried, Skipped{Folder: l.name(), Reason: Excluded})
		default:
			wanted = append(wanted, l)
		}
	}
	return wanted, notCarried, foreign
}

// plan makes the jobs: the folders of the source and those it no longer has.
func (r *pass) plan(ctx context.Context, source []listed) error {
	wanted, notCarried, foreign := r.Options.wanted(source)
	r.others, r.result.Notes = notCarried, foreign
	states, keys := map[string]*folderState{}, map[string]string{} // by name
	var nameless []*job
	for _, key := range r.names {
		st, err := loadFolder(ctx, r.Store, key)
		if err != nil {
			return err
		}
		name := st.nameAt(key)
		if st.Nameless {
			nameless = append(nameless, r.vanished(name, key, st))
			continue
		}
		states[name], keys[name] = st, key
	}
	if err := r.settleRename(ctx, states, keys); err != nil {
		return err
	}
	more, err := r.findRenamed(ctx, wanted, states, keys)
	if err != nil {
		return err
	}
	nameless = append(nameless, more...)
	if err := r.follow(ctx, states, keys); err != nil {
		return err
	}
	kept := map[string]string{}
	for name, st := range states {
		st.renamed = st.renamed || st.Renamed
		if st.Target != "" && (!st.Renamed || st.Theirs || r.Options.CatchUp) {
			kept[name] = st.Target
		}
	}
	hidden, err := r.lanes[0].dst.hidden(r.place, kept)
	if err != nil {
		return r.at(r.Target, err)
	}
	r.place.existing = append(r.place.existing, hidden...)
	folders, err := r.mapAll(r.lanes[0].dst, wanted, kept)
	if err != nil {
		return r.at(r.Target, err)
	}
	for _, st := range states {
		l := r.place.find(st.Target)
		r.sameTarget = r.sameTarget || l != nil && st.TargetValidity != 0 && l.box.validity == st.TargetValidity
	}
	listedNow := map[string]bool{}
	for _, l := range source {
		listedNow[l.wire] = !l.noselect
	}
	var here []*job
	for _, m := range folders {
		j := &job{mapping: m, key: keys[m.source.wire], name: m.source.name(), st: states[m.source.wire], here: true, box: m.source.box}
		if j.st == nil {
			j.key, j.st = r.newKey(m.source.wire), &folderState{loaded: true}
			if j.key != m.source.wire {
				j.st.Name = m.source.wire
			}
		}
		if j.placed = j.st.Target != ""; !j.placed {
			j.st.Target = m.target
		} else if j.st.Target != m.target {
			j.wants = m.target
		} else if !r.Options.CatchUp {
			j.st.Renamed = false
		}
		here = append(here, j)
	}
	for _, j := range here {
		old := slices.ContainsFunc(here, func(o *job) bool {
			_, leaves := renamedTo(j.st.Target, o.st.Target, o.wants, r.place.space.delim)
			return !j.placed && o.wants != "" && leaves
		})
		r.adopt(j, old)
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		if st := states[name]; !listedNow[name] {
			r.adopt(r.vanished(name, keys[name], st), false)
		}
	}
	for _, j := range nameless {
		r.adopt(j, false)
	}
	return r.remember(ctx)
}

// newKey is a key in the ledger that no folder has: a renamed one keeps the
// name it had first.
func (r *pass) newKey(name string) string {
	key := name
	for n := 2; slices.Contains(r.names, key); n++ {
		key = name + "\x00" + strconv.Itoa(n)
	}
	return key
}

// adopt takes up a job. What stands at its place is not its own where it is
// about to get another name.
func (r *pass) adopt(j *job, leaves bool) {
	if l := r.place.find(j.st.Target); l != nil && !l.noselect && !leaves {
		j.exists, j.target = true, l.box
		if j.st.Target != l.wire { // the server's spelling, where case does not matter
			j.st.Target, j.path = l.wire, l.path
		}
	}
	j.missed = !j.exists && j.st.TargetValidity != 0 && r.sameTarget
	j.noteName()
	r.jobs = append(r.jobs, j)
}

// noteName notes where the folder goes, if that is not where it was.
func (j *job) noteName() {
	j.st.Notes = slices.DeleteFunc(j.st.Notes, func(n Skipped) bool { return n.UID == 0 && n.Reason == FolderRenamed })
	if j.here && j.renamed() {
		j.st.note(Skipped{Folder: j.name, Reason: FolderRenamed, Detail: shownPath(j.path)})
	}
}

// remember writes down which folders have a state, before any of them has.
func (r *pass) remember(ctx context.Context) error {
	names := slices.Clone(r.names)
	for _, j := range r.jobs {
		if !slices.Contains(names, j.key) {
			names = append(names, j.key)
		}
	}
	if len(names) == len(r.names) {
		return nil
	}
	slices.Sort(names)
	r.names = names
	return put(ctx, r.Store, map[string][]byte{"folders": saveNames(names)})
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
	r.mu.Lock()
	r.done += bytes
	done, total := r.done, max(r.total, r.done)
	r.mu.Unlock()
	if r.Options.Progress != nil {
		r.Options.Progress(done, total)
	}
}
