package mailbox

import (
	"context"
	"slices"
)

// A folder of the source that is deleted and made anew under its name looks like
// one whose messages were renumbered: another UIDVALIDITY. Its map is void for
// what is in it now, and yet it tells what had moved out of it before, and what
// of it the target's user has removed. So it is kept for the pass, as a job from
// which messages move and in which nothing is written down.

// keepFormer keeps what is known of a folder that is about to be revalidated.
func (r *pass) keepFormer(ctx context.Context, j *job) (err error) {
	st := j.st
	if st.SourceValidity == 0 || st.SourceValidity == j.box.validity || !j.exists || st.TargetValidity != j.target.validity || r.Options.CatchUp {
		return nil
	}
	was := &job{mapping: j.mapping, key: j.key, name: j.name, target: j.target, exists: true, now: j}
	was.st = &folderState{
		Target: st.Target, SourceValidity: st.SourceValidity, TargetValidity: st.TargetValidity,
		FlagSets: slices.Clone(st.FlagSets), Bytes: st.Bytes, uids: st.uids, loaded: true,
	}
	for e := range st.uids.all() {
		if was.gone = append(was.gone, e.source); len(was.gone) == maxMoves {
			break
		}
	}
	if len(was.gone) == 0 {
		return nil
	}
	last := was.gone[len(was.gone)-1]
	if was.rows, err = r.rows(ctx, j.key, st, func(source uint32) bool { return source <= last }, len(was.gone)); err != nil {
		return err
	}
	j.former = was
	return nil
}

// formers are the folders as they were before, with what is not in them again.
func (r *pass) formers() (out []*job) {
	for _, j := range r.jobs {
		if j.former == nil {
			continue
		}
		mapped := j.st.uids.targets()
		j.former.gone = slices.DeleteFunc(j.former.gone, func(uid uint32) bool {
			e, _ := j.former.st.uids.find(uid)
			return e.target != 0 && mapped.has(e.target)
		})
		out = append(out, j.former)
	}
	return out
}

// spare takes off the orphans what moves, and so is still somebody's.
func spare(moves []move) {
	moving := map[*job]map[uint32]bool{}
	for _, m := range moves {
		if now := m.from.now; now != nil && m.target != 0 {
			if moving[now] == nil {
				moving[now] = map[uint32]bool{}
			}
			moving[now][m.target] = true
		}
	}
	for now, targets := range moving {
		moves := func(uid uint32) bool { return targets[uid] }
		now.orphans = slices.DeleteFunc(now.orphans, moves)
		now.st.Orphans = slices.DeleteFunc(now.st.Orphans, moves)
	}
}

// leave is for a message that cannot move after all: its copy goes.
func (j *job) leave(m move) {
	if j.now == nil {
		j.gone = append(j.gone, m.gone)
		return
	}
	j.now.orphans = append(j.now.orphans, m.target)
	j.now.st.Orphans = append(j.now.st.Orphans, m.target)
}

// numbered is a UID of the folder as its map has it; 0, which no message has, if
// it is one of before.
func (j *job) numbered(uid uint32) uint32 {
	if j.now != nil {
		return 0
	}
	return uid
}
