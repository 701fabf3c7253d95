package mailbox

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Back carries home what arrived at the target since the cutover, when a person
// has the account put back. It is a pass the other way round, with a UID map of
// its own, kept below "back/", that begins with all that Godwit put there:
//
//	seed -> list -> settle, scan -> leave out -> create -> copy
//
// At the source messages and folders are added and nothing else is changed; the
// target is only read. Run it until nothing is Copied any more: what is done is
// not done again.
type Back struct {
	Source, Target Endpoint // of the account's own way: mail goes from Target to Source
	Store          Store    // of the account's passes
	Connections    int      // per side
	Progress       func(done, total int64)
}

// Returned is what a Back found and did.
type Returned struct {
	Copied  int       // appended at the source by this run
	Carried int       // in all, by this run and those before
	Waiting int       // found and not carried yet: Look only
	Bytes   int64     // of those waiting
	Folders []Waiting // where they wait, in the order of their names
	Skipped []Skipped // arrivals that could not be carried, by the target's folders and UIDs
}

// Waiting counts the arrivals of one folder of the target.
type Waiting struct {
	Folder   string
	Messages int
}

const backPrefix = "back/"

// Run carries once.
func (b Back) Run(ctx context.Context) (Returned, error) {
	return b.run(ctx, b.Store, (*pass).carry)
}

// Look finds what Run would carry, and changes nothing, not even the Store.
func (b Back) Look(ctx context.Context) (Returned, error) {
	return b.run(ctx, &scratch{Store: b.Store, changed: map[string][]byte{}}, nil)
}

func (b Back) run(ctx context.Context, store Store, carry func(*pass, context.Context) error) (Returned, error) {
	own := below{store, backPrefix}
	floors, err := b.seed(ctx, store, own)
	if err != nil {
		return Returned{}, err
	}
	r, err := Pass{
		Source: b.Target, Target: b.Source, Store: own, home: true,
		Options: Options{Connections: b.Connections, CatchUp: true, Progress: b.Progress},
	}.begin(ctx)
	if err != nil {
		return Returned{}, err
	}
	defer r.close()
	if err := r.list(ctx); err != nil {
		return Returned{}, err
	}
	if err := r.scanAll(ctx); err != nil {
		return Returned{}, err
	}
	if err := r.leaveOut(ctx, store, floors); err != nil {
		return Returned{}, err
	}
	found := r.arrivals()
	if carry != nil {
		if err := carry(r, ctx); err != nil {
			return Returned{}, err
		}
		found = Returned{}
	}
	return found, r.returned(ctx, &found)
}

// arrivals are the messages that wait to be carried.
func (r *pass) arrivals() (found Returned) {
	for _, j := range r.jobs {
		if n := j.waiting(); n > 0 {
			found.Waiting += n
			found.Bytes += sizeOf(j.fresh)
			found.Folders = append(found.Folders, Waiting{j.name, n})
		}
	}
	slices.SortFunc(found.Folders, func(a, b Waiting) int { return strings.Compare(a.Folder, b.Folder) })
	return found
}

func (j *job) waiting() int { return len(j.fresh) + j.ahead.count() }

// carry copies the arrivals. Folders are made for them, for nothing else.
func (r *pass) carry(ctx context.Context) error {
	var todo []*job
	for _, j := range r.jobs {
		if j.waiting() == 0 && !j.exists {
			j.scanned = false
		}
		j.st.Subscribed = j.st.Subscribed || j.exists
		if j.scanned {
			todo = append(todo, j)
		}
		r.total += sizeOf(j.fresh)
	}
	if err := r.createFolders(ctx); err != nil {
		return err
	}
	return r.each(ctx, todo, (*lane).apply)
}

func (r *pass) returned(ctx context.Context, to *Returned) error {
	to.Copied = r.result.Copied
	for _, j := range r.jobs {
		if err := j.st.load(ctx, r.Store, j.key); err != nil {
			return err
		}
		to.Carried += j.st.uids.live()
		to.Skipped = append(to.Skipped, j.st.Skipped...)
	}
	return nil
}

// seed begins the map: what Godwit carried to the target is no arrival. It
// returns what the target's folders held before the cutover.
func (b Back) seed(ctx context.Context, store, own Store) (floors, error) {
	var f floors
	if _, err := getJSON(ctx, store, cutoverKey, &f); err != nil {
		return nil, err
	}
	if names, err := loadNames(ctx, own); err != nil || len(names) > 0 {
		return f, err
	}
	forward, err := loadFolders(ctx, store)
	if err != nil {
		return nil, err
	}
	back := map[string]*folderState{}
	for _, st := range forward {
		home := back[st.Target]
		switch {
		case st.Target == "" || home != nil && home.SourceValidity != st.TargetValidity:
			continue
		case home == nil:
			home = &folderState{Target: st.name, SourceValidity: st.TargetValidity, TargetValidity: st.SourceValidity, Subscribed: true, loaded: true}
			back[st.Target] = home
		}
		ours := slices.Clone(st.Orphans)
		for e := range st.uids.all() {
			if e.target != 0 {
				ours = append(ours, e.target)
			}
		}
		home.fold(noArrivals(ours))
	}
	changes := map[string][]byte{"folders": saveNames(slices.Sorted(maps.Keys(back)))}
	for name, st := range back {
		st.save(changes, name)
	}
	return f, put(ctx, own, changes)
}

// noArrivals is a record of messages that are not to be carried.
func noArrivals(uids []uint32) record {
	slices.Sort(uids)
	uids = slices.Compact(uids)
	return record{Sources: uids, Targets: make([]uint32, len(uids)), Flags: make([]string, len(uids)), Digests: make([][]byte, len(uids))}
}

// cutoverKey keeps the floors of the last final pass.
const cutoverKey = "cutover"

// floors are the UIDs from which on the target's folders filled up since the
// cutover began, by their escaped names: what stood there before is no arrival.
type floors map[string]floor

type floor struct{ Validity, Next uint32 }

// markCutover writes the floors down, as the folders were listed.
func (r *pass) markCutover(ctx context.Context) error {
	f := floors{}
	for _, l := range r.place.existing {
		if l.told {
			f[url.PathEscape(l.wire)] = floor{l.box.validity, l.box.next}
		}
	}
	return put(ctx, r.Store, map[string][]byte{cutoverKey: mustJSON(f)})
}

// before says that a message stood in the target's folder before the cutover.
func (f floors) before(b box, wire string, uid uint32) bool {
	have, ok := f[url.PathEscape(wire)]
	return ok && have.Validity == b.validity && uid < have.Next
}

// took folds what was carried home into the maps of the account's own way, when
// it moves again: these messages are at the target already.
func took(ctx context.Context, store Store) error {
	own := below{store, backPrefix}
	back, err := loadFolders(ctx, own)
	if err != nil || len(back) == 0 {
		return err
	}
	forward, err := loadFolders(ctx, store)
	if err != nil {
		return err
	}
	changes := map[string][]byte{backPrefix + "folders": nil, cutoverKey: nil}
	for _, st := range back {
		gone := map[string][]byte{folderKey(st.key): nil, mapKey(st.key): nil, intentKey(st.key): nil}
		if err := forgetProofs(ctx, own, st.key, st.next, gone); err != nil {
			return err
		}
		for key := range gone {
			changes[backPrefix+key] = nil
		}
		home := forward.named(st.Target)
		if home.folderState == nil || home.Target != st.name || home.SourceValidity != st.TargetValidity || home.TargetValidity != st.SourceValidity {
			continue
		}
		var rec record
		for e := range st.uids.all() {
			if e.target != 0 {
				rec.Sources, rec.Targets = append(rec.Sources, e.target), append(rec.Targets, e.source)
				rec.Flags, rec.Digests = append(rec.Flags, st.FlagSets[e.flags]), append(rec.Digests, nil)
			}
		}
		home.fold(rec)
		home.Complete = false
		home.save(changes, home.key)
	}
	return put(ctx, store, changes)
}

// kept is a folder's state with its key and the name that the folder has now.
type kept struct {
	*folderState
	key, name string
}

// folders are those that have a state, by their names; behind them those whose
// name another has by now.
type folders []kept

// named returns the folder that has a name, or none.
func (f folders) named(name string) kept {
	i := slices.IndexFunc(f, func(k kept) bool { return k.name == name && !k.Nameless })
	if i < 0 {
		return kept{}
	}
	return f[i]
}

// loadFolders reads every folder that has a state, with its map.
func loadFolders(ctx context.Context, store Store) (all folders, err error) {
	keys, err := loadNames(ctx, store)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		st, err := loadFolder(ctx, store, key)
		if err != nil {
			return nil, err
		}
		if err := st.load(ctx, store, key); err != nil {
			return nil, err
		}
		all = append(all, kept{st, key, st.nameAt(key)})
	}
	slices.SortFunc(all, func(a, b kept) int {
		if a.Nameless != b.Nameless {
			return map[bool]int{true: 1, false: -1}[a.Nameless]
		}
		return strings.Compare(a.name, b.name)
	})
	return all, nil
}
