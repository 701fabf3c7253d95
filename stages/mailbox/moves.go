package mailbox

import (
	"context"
	"slices"
)

// move is a message that vanished in one folder of the source and appeared in
// another; the target moves its copy instead of getting it again.
type move struct {
	from, to *job
	gone     uint32 // source UID it had
	fresh    meta   // what it is now
	target   uint32 // UID at the target before the move
	flags    string // as the source told them last
	digest   []byte
}

// shape is what a message keeps when it is moved: its date and its content. A
// Message-ID would be quicker to read, but it does not tell two mails with one
// Message-ID apart, and the digest saves Verify a look at the source.
type shape struct {
	date    int64
	content string
}

// findMoves matches what vanished with what appeared. The vanished can only be
// looked at where their copies are; only those are read whose date fits. What
// is not matched is copied and deleted instead, which comes to the same.
func (r *pass) findMoves(ctx context.Context) ([]move, error) {
	gone, fresh := false, false
	for _, j := range r.jobs {
		gone = gone || len(j.gone) > 0
		fresh = fresh || len(j.fresh) > 0
	}
	if !gone || !fresh {
		return nil, ctx.Err()
	}
	dates := map[int64]bool{} // of what vanished
	shapes := map[shape][]move{}
	for _, j := range r.jobs {
		there, err := r.goneDates(j, dates)
		if err != nil {
			return nil, err
		}
		if err := r.absentShapes(ctx, j, there, dates, shapes); err != nil {
			return nil, err
		}
	}
	arrived := map[int64]bool{}
	for _, j := range r.jobs {
		if err := r.freshDates(j, dates, arrived); err != nil {
			return nil, err
		}
	}
	for _, j := range r.jobs {
		if err := r.goneShapes(ctx, j, arrived, shapes); err != nil {
			return nil, err
		}
	}
	if len(shapes) == 0 {
		return nil, ctx.Err()
	}
	clear(dates)
	for s := range shapes {
		dates[s.date] = true
	}
	var moves []move
	for _, j := range r.jobs {
		found, err := r.freshMoves(ctx, j, dates, shapes)
		if err != nil {
			return nil, err
		}
		moves = append(moves, found...)
	}
	moved := map[*job]map[uint32]bool{}
	for _, m := range moves {
		if moved[m.from] == nil {
			moved[m.from] = map[uint32]bool{}
		}
		moved[m.from][m.gone] = true
	}
	for j, uids := range moved {
		j.gone = slices.DeleteFunc(j.gone, func(uid uint32) bool { return uids[uid] })
	}
	return moves, ctx.Err()
}

// maxMoves bounds what is looked at as a move in one pass. What is beyond is
// copied and deleted.
const maxMoves = 50000

// vanishedCopies opens a folder of the target and lists where it has the
// copies of what vanished at the source.
func (r *pass) vanishedCopies(j *job) (dst *session, bySource map[uint32]entry, targets []uint32, err error) {
	if !j.exists {
		return nil, nil, nil, nil
	}
	bySource = map[uint32]entry{}
	for _, uid := range j.gone[:min(len(j.gone), maxMoves)] {
		if e, ok := j.st.uids.find(uid); ok && e.target != 0 {
			bySource[e.target] = e
			targets = append(targets, e.target)
		}
	}
	if len(targets) == 0 {
		return nil, nil, nil, nil
	}
	slices.Sort(targets)
	dst, err = r.lanes[0].openTarget(j, false)
	return dst, bySource, targets, err
}

// goneDates adds the dates of what vanished, and tells which copies there are.
func (r *pass) goneDates(j *job, dates map[int64]bool) (there map[uint32]bool, err error) {
	dst, _, targets, err := r.vanishedCopies(j)
	if err != nil {
		return nil, err
	}
	there = map[uint32]bool{}
	if dst != nil && dst.box.messages == 0 && j.target.messages > 0 { // rather another mailbox than the one that was listed
		for _, uid := range targets {
			there[uid] = true
		}
	}
	for _, set := range sets(targets) {
		if err := dst.eachMeta(set, "(UID INTERNALDATE)", func(m meta) { dates[m.date], there[m.uid] = true, true }); err != nil {
			return nil, err
		}
	}
	return there, nil
}

// freshDates tells which of the dates new messages have. What is not held in
// memory is asked for, and held if it may have moved here.
func (r *pass) freshDates(j *job, dates, arrived map[int64]bool) error {
	for _, m := range j.fresh {
		if dates[m.date] {
			arrived[m.date] = true
		}
	}
	if len(j.ahead) == 0 || len(dates) == 0 {
		return nil
	}
	src, err := r.lanes[0].source()
	if err != nil {
		return err
	}
	if _, err := src.opened(j.source.wire, false); err != nil {
		return err
	}
	var held []meta
	var uids []uint32
	for _, set := range j.ahead.sets() {
		err := src.eachMeta(set, metaItems, func(m meta) {
			if dates[m.date] && len(held) < maxMoves && j.ahead.has(m.uid) {
				held, uids = append(held, m), append(uids, m.uid)
				arrived[m.date] = true
			}
		})
		if err != nil {
			return err
		}
	}
	slices.Sort(uids)
	j.ahead.drop(uids)
	j.fresh = append(j.fresh, held...)
	slices.SortFunc(j.fresh, func(a, b meta) int { return int(int64(a.uid) - int64(b.uid)) })
	return nil
}

// goneShapes reads the shapes of a folder's vanished messages off the target.
func (r *pass) goneShapes(ctx context.Context, j *job, fresh map[int64]bool, gone map[shape][]move) error {
	dst, bySource, targets, err := r.vanishedCopies(j)
	if err != nil {
		return err
	}
	dated := map[uint32]int64{}
	var ask []uint32
	for _, set := range sets(targets) {
		part, err := dst.metadata(set, "(UID INTERNALDATE)")
		if err != nil {
			return err
		}
		for _, m := range part {
			if fresh[m.date] {
				dated[m.uid] = m.date
				ask = append(ask, m.uid)
			}
		}
	}
	if len(ask) == 0 {
		return nil
	}
	digests, err := dst.digests(ctx, ask)
	if err != nil {
		return err
	}
	for _, uid := range ask {
		d, read := digests[uid]
		if e, known := bySource[uid]; known && read {
			s := shape{dated[uid], contentKey(d)}
			gone[s] = append(gone[s], move{from: j, gone: e.source, target: uid, flags: j.st.FlagSets[e.flags]})
		}
	}
	return nil
}

// freshMoves finds a folder's new messages among the vanished ones.
func (r *pass) freshMoves(ctx context.Context, j *job, dates map[int64]bool, gone map[shape][]move) (moves []move, err error) {
	var maybe []uint32
	for _, m := range j.fresh {
		if dates[m.date] {
			maybe = append(maybe, m.uid)
		}
	}
	if len(maybe) == 0 {
		return nil, nil
	}
	src, err := r.lanes[0].source()
	if err != nil {
		return nil, err
	}
	if _, err := src.examine(j.source.wire); err != nil {
		return nil, err
	}
	digests, err := src.digests(ctx, maybe)
	if err != nil {
		return nil, err
	}
	j.fresh = slices.DeleteFunc(j.fresh, func(m meta) bool {
		d, read := digests[m.uid]
		if !read || !dates[m.date] {
			return false
		}
		for _, s := range []shape{{m.date, contentKey(d)}, {m.date, absentKey(contentOf(d))}} {
			if list := gone[s]; len(list) > 0 {
				mv := list[0]
				gone[s] = list[1:]
				mv.to, mv.fresh, mv.digest = j, m, d
				j.needed = j.needed || mv.target != 0
				moves = append(moves, mv)
				return true
			}
		}
		return false
	})
	return moves, nil
}
