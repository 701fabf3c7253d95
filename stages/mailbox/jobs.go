package mailbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// job is what a pass has to do in one folder.
type job struct {
	mapping
	key    string // of its state in the ledger
	name   string // of the source, in UTF-8
	st     *folderState
	here   bool // the source has it
	left   bool // nor has the ledger any more
	target box
	exists bool   // the target has it
	placed bool   // it has had a place at the target before
	wants  string // its new name at the target, where the source's was renamed
	missed bool   // the target's user has removed it
	needed bool   // messages move into it

	scanned     bool
	seenBefore  *foreseen    // nil: it has to be looked at
	resent      bool         // in this pass; see late.go
	subscribing *subscribing // nil: it is not to be subscribed
	box         box          // of the source, as opened
	fresh       []meta       // new at the source
	ahead       spans        // new as well, but not held in memory; above those in fresh
	gone        []uint32
	orphans     []uint32 // targets to remove that no longer have a source UID
	copies      copies   // at the target, of what the folder was before it was made anew
	removed     []uint32 // targets that were removed or moved away
	changes     []change
	seen        int // messages at the source now
}

// list reads both folder lists and the states, and maps the folders.
func (r *pass) list(ctx context.Context) error {
	src, dst := r.lanes[0].src, r.lanes[0].dst
	var source []listed
	var g errgroup.Group
	g.Go(func() (err error) { source, _, err = src.folders(); return r.at(r.Source, err) })
	g.Go(func() error { return r.listTarget(dst) })
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
			foreign = append(foreign, Skipped{Folder: l.name(), Reason: Shared, Detail: "belongs to another user or is shared"})
		case l.notMail && !o.renames(l):
			notCarried = append(notCarried, Skipped{Folder: l.name(), Reason: NotMail})
		case excluded(o.Exclude, l):
			notCarried = append(notCarried, Skipped{Folder: l.name(), Reason: Excluded})
		default:
			wanted = append(wanted, l)
		}
	}
	return wanted, notCarried, foreign
}

// renames tells whether the plan gives the folder, or one it stands in, another
// name: then it is to be carried, whatever it is.
func (o Options) renames(l listed) bool {
	for i := range l.path {
		if _, ok := o.Rename[shownPath(l.path[:i+1])]; ok {
			return true
		}
	}
	return false
}

// plan makes the jobs: the folders of the source and those it no longer has.
func (r *pass) plan(ctx context.Context, source []listed) error {
	wanted, notCarried, foreign := r.Options.wanted(source)
	r.others, r.result.Notes = notCarried, foreign
	states, keys, nameless, err := r.loadStates(ctx)
	if err != nil {
		return err
	}
	if err := r.lookAgain(states); err != nil {
		return err
	}
	if err := r.settleRename(ctx, states, keys, nameless); err != nil {
		return err
	}
	more, err := r.findRenamed(ctx, wanted, states, keys)
	if err != nil {
		return err
	}
	nameless = append(nameless, more...)
	if err := r.follow(ctx, states, keys, nameless); err != nil {
		return err
	}
	folders, err := r.places(wanted, states)
	if err != nil {
		return r.at(r.Target, err)
	}
	if err := r.compareTarget(ctx, states, keys, nameless); err != nil {
		return err
	}
	r.adoptListed(folders, states, keys)
	listedNow := map[string]bool{}
	for _, l := range source {
		listedNow[l.wire] = !l.noselect
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

// loadStates reads the folders' states, and their keys in the ledger, by name;
// beside them those whose name another folder has by now.
func (r *pass) loadStates(ctx context.Context) (states map[string]*folderState, keys map[string]string, nameless []*job, err error) {
	states, keys = map[string]*folderState{}, map[string]string{}
	for _, key := range r.names {
		st, err := loadFolder(ctx, r.Store, key)
		if err != nil {
			return nil, nil, nil, err
		}
		name := st.nameAt(key)
		if st.Nameless {
			nameless = append(nameless, r.vanished(name, key, st))
			continue
		}
		states[name], keys[name] = st, key
	}
	return states, keys, nameless, nil
}

// places maps the folders that are carried to the target's. One that has its
// place keeps it.
func (r *pass) places(wanted []listed, states map[string]*folderState) ([]mapping, error) {
	kept := map[string]string{}
	for name, st := range states {
		st.renamed = st.renamed || st.Renamed
		if st.Target != "" && (!st.Renamed || st.Theirs || r.Options.CatchUp) {
			kept[name] = st.Target
		}
	}
	dst := r.lanes[0].dst
	hidden, err := dst.hidden(r.place, kept)
	if err != nil {
		return nil, err
	}
	r.place.existing = append(r.place.existing, hidden...)
	return r.mapAll(dst, wanted, kept)
}

// adoptListed takes up the folders that the source has.
func (r *pass) adoptListed(folders []mapping, states map[string]*folderState, keys map[string]string) {
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
			j.wants, j.path = m.target, r.place.space.split(j.st.Target) // until it has that name
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

// remember writes down which folders have a state, before any of them has, and
// where those are that the target's user has renamed, before another gets the
// name that has become free.
func (r *pass) remember(ctx context.Context) error {
	names, changes := slices.Clone(r.names), map[string][]byte{}
	for _, j := range r.jobs {
		if !slices.Contains(names, j.key) {
			names = append(names, j.key)
		}
		if j.st.Theirs && j.st.renamed {
			j.st.save(changes, j.key)
		}
	}
	if len(names) > len(r.names) {
		slices.Sort(names)
		r.names = names
		changes["folders"] = saveNames(names)
	}
	if len(changes) == 0 {
		return nil
	}
	return put(ctx, r.Store, changes)
}
