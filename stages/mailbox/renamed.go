package mailbox

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// A folder that was renamed, on either side, keeps its UIDVALIDITY and its UIDs
// on most servers. Where it does, and no other folder of the side has the same,
// the headers of a sample decide, and the map goes on under the new name:
//
//   - at the source: the target's folder is renamed as well, whatever is in it;
//   - at the target, by its user: it keeps the name that the user gave it.
//
// Where it does not, the messages have moved, one by one (moves.go).

// sampled is of how many messages the headers are compared.
const sampled = 100

// findRenamed gives the states of folders that the source no longer has under
// their name to those that it has anew, and writes that down. What is left
// without a name, because another folder has taken it, is returned.
func (r *pass) findRenamed(ctx context.Context, wanted []listed, states map[string]*folderState, keys map[string]string) (nameless []*job, err error) {
	used := map[uint32]int{} // UIDVALIDITYs at the source, now and before
	now := map[string]listed{}
	for _, l := range wanted {
		used[l.box.validity]++
		now[l.wire] = l
	}
	goesOn := func(name string) bool {
		st, l := states[name], now[name]
		return st != nil && l.wire != "" && (!l.told || l.box.validity == st.SourceValidity || st.SourceValidity == 0)
	}
	var lost []string
	for name, st := range states {
		if used[st.SourceValidity]++; !goesOn(name) && st.SourceValidity != 0 && st.Target != "" {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	found := map[string]string{} // old name -> new name
	for _, old := range lost {
		st := states[old]
		i := slices.IndexFunc(wanted, func(l listed) bool {
			return !goesOn(l.wire) && l.told && l.box.validity == st.SourceValidity && l.box.next >= st.Next
		})
		if i < 0 || used[st.SourceValidity] != 2 {
			continue
		}
		l := wanted[i]
		kin, err := r.kinship(ctx, st, keys[old], l.wire, r.targetNow(st, states))
		if err != nil {
			return nil, err
		}
		still := l.box.next == st.Next && l.box.messages == st.Messages
		// Where no folder follows, an empty one would keep the name from who has it now.
		known := kin == same || kin == emptied && !r.Options.CatchUp
		if known || kin == untold && (still || withParent(found, old, l.wire)) {
			found[old] = l.wire
		}
	}
	type known struct {
		st  *folderState
		key string
	}
	moved := map[string]known{}
	for old, name := range found {
		moved[name] = known{states[old], keys[old]}
		delete(states, old)
		delete(keys, old)
	}
	changes := map[string][]byte{}
	for name, k := range moved {
		if st := states[name]; st != nil {
			st.Nameless = true
			st.save(changes, keys[name])
			nameless = append(nameless, r.vanished(name, keys[name], st))
		}
		k.st.Name, k.st.renamed, k.st.Renamed = name, true, true
		k.st.Notes = slices.DeleteFunc(k.st.Notes, func(n Skipped) bool { return n.Reason == FolderRenamed })
		states[name], keys[name] = k.st, k.key
		k.st.save(changes, k.key)
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return nameless, put(ctx, r.Store, changes)
}

// withParent tells whether a folder's parent was renamed alike.
func withParent(found map[string]string, old, name string) bool {
	for from, to := range found {
		if rest, below := strings.CutPrefix(old, from); below && name == to+rest {
			return true
		}
	}
	return false
}

// vanished is the job of a folder that the source no longer has.
func (r *pass) vanished(name, key string, st *folderState) *job {
	m := mapping{source: listed{wire: name, path: []string{st.shown(name)}}, target: st.Target}
	return &job{mapping: m, key: key, name: st.shown(name), st: st, scanned: true}
}

// targetNow is where the target may have a folder now, which its user may have
// renamed.
func (r *pass) targetNow(st *folderState, states map[string]*folderState) string {
	ours := map[string]bool{}
	for _, other := range states {
		ours[other.Target] = true
	}
	var alike []string
	for _, l := range r.place.existing {
		if l.wire == st.Target && (l.box.validity == st.TargetValidity || l.noselect) {
			return st.Target
		}
		if l.box.validity == st.TargetValidity && !l.noselect {
			alike = append(alike, l.wire)
		}
	}
	if st.TargetValidity == 0 || len(alike) != 1 || ours[alike[0]] {
		return st.Target
	}
	return alike[0]
}

// follow finds a folder of the target under the name that its user gave it, also
// by what is known of it from before it was made anew.
func (r *pass) follow(ctx context.Context, states map[string]*folderState, keys map[string]string, nameless []*job) error {
	for name, st := range states {
		wire := r.targetNow(st, states)
		if wire == st.Target {
			continue
		}
		kin, err := r.kinship(ctx, st, keys[name], name, wire)
		there := []*folderState{st}
		for _, j := range nameless {
			if !j.st.samePlace(st) {
				continue
			}
			if there = append(there, j.st); err == nil && kin != same {
				kin, err = r.kinship(ctx, j.st, j.key, name, wire)
			}
		}
		if err != nil {
			return err
		}
		if kin != same {
			continue
		}
		for _, st := range there {
			st.Target, st.Theirs, st.renamed = wire, true, true
		}
	}
	return nil
}

// kinship is what the messages of a folder tell of whether it is that of before.
type kinship int

const (
	stranger kinship = iota // another folder
	untold                  // there were none to compare
	emptied                 // nor has it any of before: nothing can be taken for another
	same
)

// kinship compares the headers of a sample of mapped messages. What either side
// no longer has says nothing, nor does a folder that was made anew.
func (r *pass) kinship(ctx context.Context, st *folderState, key, source, target string) (kinship, error) {
	if err := st.load(ctx, r.Store, key); err != nil {
		return stranger, err
	}
	every := max(1, st.uids.n/sampled)
	pairs, k := map[uint32]uint32{}, 0
	var here, there []uint32
	for e := range st.uids.all() {
		if k%every == 0 {
			here = append(here, e.source)
			if e.target != 0 {
				pairs[e.source] = e.target
				there = append(there, e.target)
			}
		}
		k++
	}
	slices.Sort(there)
	src, err := r.lanes[0].source()
	if err != nil {
		return stranger, err
	}
	a, err := src.headersIn(source, st.SourceValidity, here)
	if err != nil {
		return stranger, err
	}
	dst, err := r.lanes[0].target()
	if err != nil {
		return stranger, err
	}
	b, err := dst.headersIn(target, st.TargetValidity, there)
	if err != nil {
		return stranger, err
	}
	kin := untold
	for uid, h := range a {
		if g, ok := b[pairs[uid]]; ok {
			if kin = same; g != h {
				return stranger, nil
			}
		}
	}
	if kin == same {
		return same, nil
	}
	if len(a) > 0 {
		return r.kinByDigest(ctx, st, key, src, a, func(uid uint32) uint32 { return uid })
	}
	sources := map[uint32]uint32{}
	for s, t := range pairs {
		sources[t] = s
	}
	kin, err = r.kinByDigest(ctx, st, key, dst, b, func(uid uint32) uint32 { return sources[uid] })
	if kin == untold && every == 1 {
		kin = emptied
	}
	return kin, err
}

func sorted(uids []uint32) []uint32 {
	slices.Sort(uids)
	return uids
}

// headersIn reads headers in a folder; one that cannot be opened, or is another
// than its UIDs are of, has none.
func (s *session) headersIn(folder string, validity uint32, uids []uint32) (map[uint32]header, error) {
	b, err := s.opened(folder, false)
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) || err == nil && b.validity != validity {
		return nil, nil
	}
	out := map[uint32]header{}
	for _, set := range sets(uids) {
		if err != nil {
			return nil, err
		}
		err = s.eachHeader(set, func(uid uint32, h header) { out[uid] = h })
	}
	return out, err
}
