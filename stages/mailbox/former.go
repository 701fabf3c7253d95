package mailbox

import (
	"cmp"
	"context"
	"slices"
)

// A folder of the source that is deleted and made anew under its name looks like
// one whose messages were renumbered: another UIDVALIDITY. Its map is void for
// what is in it now, and yet it tells what had moved out of it before, and what
// of it the target's user has removed. So the folder of before keeps its state,
// as one that has vanished and whose name another has, until a pass is through
// with it; the folder of now gets a state of its own, at the same place.
//
// To hold the old state back until all has moved would cost a crash the whole
// match by content, and a copy of it in the new state would need its proofs and
// intents as well, once more for each time that the folder is made anew.

// madeAnew parts a folder from what it was before, where that is to be told.
func (r *pass) madeAnew(ctx context.Context, j *job) error {
	was := j.st
	if !j.renumbered() || j.replaced() || was.uids.n == 0 || r.home {
		return nil
	}
	old := r.vanished(j.source.wire, j.key, was)
	old.target, old.exists = j.target, j.exists
	now := &folderState{
		Target: was.Target, Theirs: was.Theirs, Renamed: was.Renamed, Gone: was.Gone,
		Created: was.Created, Subscribed: was.Subscribed,
		SourceValidity: j.box.validity, TargetValidity: was.TargetValidity, TargetNext: was.TargetNext,
		Orphans: was.Orphans, Notes: folderNotes(was.Notes),
		loaded: true, renamed: was.renamed,
	}
	r.mu.Lock() // other lanes find others
	defer r.mu.Unlock()
	was.Nameless, was.Orphans, was.Resent = true, nil, nil
	key := r.newKey(j.source.wire)
	if key != j.source.wire {
		now.Name = j.source.wire
	}
	names := append(slices.Clone(r.names), key)
	slices.Sort(names)
	changes := map[string][]byte{"folders": saveNames(names)}
	was.save(changes, old.key)
	now.save(changes, key)
	if err := put(ctx, r.Store, changes); err != nil {
		return err
	}
	j.key, j.st = key, now
	old.vanish()
	r.names, r.jobs = names, append(r.jobs, old)
	return nil
}

// former parts jobs of folders as they were before from the others.
func (r *pass) former(jobs []*job) (former, others []*job) {
	for _, j := range jobs {
		if j.st.Nameless {
			former = append(former, j)
		} else {
			others = append(others, j)
		}
	}
	return former, others
}

// before lists what a folder was before it was made anew.
func (r *pass) before(j *job) []*job {
	r.mu.Lock() // other lanes may add to it
	former, _ := r.former(r.jobs)
	r.mu.Unlock()
	return slices.DeleteFunc(former, func(old *job) bool { return !j.succeeds(old) })
}

// copies are what the target has of a folder as it was before, in order.
type copies []ourCopy

type ourCopy struct {
	target uint32
	flags  uint32 // as the source told them last, a set of the state of now
	date   int64  // as the source told it; noDate: it was not read back
}

// formerCopies lists what a folder of the target holds of the source's as it was
// before that was made anew: what a match by content finds need not be guessed.
func (r *pass) formerCopies(ctx context.Context, j *job) (all copies, err error) {
	for _, old := range r.before(j) {
		var list copies
		for e := range old.st.uids.all() {
			if e.target != 0 {
				list = append(list, ourCopy{e.target, j.st.flagIndex(old.st.FlagSets[e.flags]), noDate})
			}
		}
		list.sort()
		p, err := loadProofs(ctx, r.Store, old.key, old.st)
		if err == nil {
			err = p.each(ctx, r.Store, old.key, 0, func(row proof) error {
				if e, ok := old.st.uids.find(row.source); ok && e.target == row.target && e.target != 0 {
					i, _ := list.at(row.target)
					list[i].date = row.date
				}
				return nil
			})
		}
		if err != nil {
			return nil, err
		}
		all = append(list, all...)
	}
	all.sort()
	return all, nil
}

func (c copies) sort() {
	slices.SortStableFunc(c, func(a, b ourCopy) int { return cmp.Compare(a.target, b.target) })
}

func (c copies) at(target uint32) (i int, ok bool) {
	return slices.BinarySearchFunc(c, target, func(o ourCopy, uid uint32) int { return cmp.Compare(o.target, uid) })
}

func (c copies) find(target uint32) (ourCopy, bool) {
	i, ok := c.at(target)
	if !ok {
		return ourCopy{}, false
	}
	return c[i], true
}

// tell adds to a side of a match what is known of the copies.
func (c copies) tell(s *side, st *folderState) {
	s.sure = map[uint32]bool{}
	for _, uid := range s.uids {
		o, ours := c.find(uid)
		if _, there := s.dates[uid]; !ours || !there {
			continue
		}
		s.flags[uid] = st.FlagSets[o.flags]
		if o.date != noDate {
			s.dates[uid], s.sure[uid] = o.date, true
		}
	}
}

// keepShared takes off what has vanished with a folder what another has at the
// same place: it is in the folder that was made anew.
func (r *pass) keepShared(ctx context.Context) error {
	for i, old := range r.jobs {
		if !old.st.Nameless {
			continue
		}
		for k, j := range r.jobs {
			if k == i || k < i && j.st.Nameless || !old.st.samePlace(j.st) { // of two former ones, one keeps it
				continue
			}
			if err := j.st.load(ctx, r.Store, j.key); err != nil {
				return err
			}
			mapped := j.st.uids.targets()
			old.gone = slices.DeleteFunc(old.gone, func(uid uint32) bool {
				e, _ := old.st.uids.find(uid)
				return e.target != 0 && mapped.has(e.target)
			})
		}
	}
	return nil
}

// succeeds tells whether a job is of the folder that another was made into.
func (j *job) succeeds(old *job) bool { return old.st.Nameless && j.st.samePlace(old.st) }

// samePlace tells whether two states speak of the same folder of the target.
func (st *folderState) samePlace(other *folderState) bool {
	return st.Target == other.Target && st.TargetValidity == other.TargetValidity
}
