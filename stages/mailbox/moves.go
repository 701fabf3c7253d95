package mailbox

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
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

// moveIntent is what the ledger knows of a move on its way.
type moveIntent struct {
	From, To string   // source folders, percent-encoded
	Next     uint32   // UIDNEXT of the target folder before
	Validity uint32   // of the target folder
	Gone     []uint32 // source UIDs in From
	Fresh    []uint32 // source UIDs in To
	Targets  []uint32 // UIDs at the target before
	Flags    []string
	Digests  [][]byte
	Dates    []int64
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
	if dst, err = r.lanes[0].target(); err != nil {
		return nil, nil, nil, err
	}
	if b, err := dst.opened(j.st.Target, false); err != nil {
		return nil, nil, nil, err
	} else if b.validity != j.st.TargetValidity {
		return nil, nil, nil, errReplaced
	}
	return dst, bySource, targets, nil
}

// goneDates adds the dates of what vanished, and tells which copies there are.
func (r *pass) goneDates(j *job, dates map[int64]bool) (there map[uint32]bool, err error) {
	dst, _, targets, err := r.vanishedCopies(j)
	if err != nil {
		return nil, err
	}
	there = map[uint32]bool{}
	if dst != nil && dst.box.messages == 0 && j.st.uids.live() > 1 { // rather another mailbox than a user who removed all
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
		part, err := dst.metadata(set, "(UID INTERNALDATE)", 0)
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

// applyMoves moves the copies, folder pair by folder pair.
func (r *pass) applyMoves(ctx context.Context, moves []move) error {
	var absent []move
	moves = slices.DeleteFunc(moves, func(m move) bool {
		if m.target == 0 {
			absent = append(absent, m)
		}
		return m.target == 0
	})
	if err := r.noteAbsent(ctx, absent); err != nil {
		return err
	}
	for len(moves) > 0 {
		from, to := moves[0].from, moves[0].to
		var now, later []move
		for _, m := range moves {
			if m.from == from && m.to == to && len(now) < 500 {
				now = append(now, m)
			} else {
				later = append(later, m)
			}
		}
		moves = later
		if to.st.Target == "" { // refused: the messages are named with their folder
			for _, m := range now {
				from.gone = append(from.gone, m.gone)
			}
			continue
		}
		if err := r.moveOnce(ctx, from, to, now); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *pass) moveOnce(ctx context.Context, from, to *job, moves []move) error {
	slices.SortFunc(moves, func(a, b move) int { return int(int64(a.target) - int64(b.target)) })
	it := moveIntent{From: url.PathEscape(from.key), To: url.PathEscape(to.key), Next: to.target.next, Validity: to.st.TargetValidity}
	for _, m := range moves {
		it.Gone = append(it.Gone, m.gone)
		it.Fresh = append(it.Fresh, m.fresh.uid)
		it.Targets = append(it.Targets, m.target)
		it.Flags = append(it.Flags, m.flags)
		it.Digests = append(it.Digests, m.digest)
		it.Dates = append(it.Dates, m.fresh.date)
	}
	placed := map[uint32]uint32{}
	if from.st.Target == to.st.Target {
		for _, t := range it.Targets {
			placed[t] = t // out and back again: the copy stays where it is
		}
	} else {
		changes := map[string][]byte{"moving": mustJSON(it)}
		to.save(changes)
		if err := put(ctx, r.Store, changes); err != nil {
			return err
		}
		var err error
		if placed, err = r.moveCopies(from, to, it); err != nil {
			return err
		}
	}
	if err := r.noteMoves(from, to, it, placed); err != nil {
		return err
	}
	for _, m := range moves {
		if m.flags != m.fresh.flags {
			to.changes = append(to.changes, change{m.fresh.uid, placed[m.target], to.st.flagIndex(m.flags), to.st.flagIndex(m.fresh.flags)})
		}
	}
	r.count(func(res *Result) { res.Moved += len(moves) })
	return nil
}

// save adds the state as it is written before a folder is filled.
func (j *job) save(changes map[string][]byte) {
	j.st.Complete = false
	j.st.save(changes, j.key)
}

// moveCopies moves messages on the target and returns old UID -> new UID; 0
// where the user of the target had removed the message.
func (r *pass) moveCopies(from, to *job, it moveIntent) (map[uint32]uint32, error) {
	dst, err := r.lanes[0].target()
	if err != nil {
		return nil, err
	}
	b, err := dst.sel(from.st.Target)
	if err != nil {
		return nil, err
	}
	if b.validity != from.st.TargetValidity {
		return nil, errReplaced
	}
	q, _ := quote(to.st.Target)
	command := "UID COPY "
	if dst.has("MOVE") {
		command = "UID MOVE "
	}
	placed := map[uint32]uint32{}
	for _, set := range sets(it.Targets) {
		note := func(rep reply) {
			if v, old, fresh := copyUID(rep); v == it.Validity && len(old) == len(fresh) {
				for i := range old {
					placed[old[i]] = fresh[i]
				}
			}
		}
		rep, err := dst.w.do(command+set+" "+q, &exchange{flood: flood + 2*len(it.Targets), on: func(resp *response) {
			if resp.word == "OK" {
				note(resp.reply())
			}
		}})
		if err != nil {
			return nil, err
		}
		note(rep)
	}
	if command == "UID COPY " {
		if err := dst.expunge(it.Targets); err != nil {
			return nil, err
		}
	}
	if len(placed) < len(it.Targets) {
		return r.findMoved(to, it, dst, placed)
	}
	return placed, nil
}

// findMoved judges the moved copies of which the server told nothing, by what
// stands at the folder's end: the user of the target had removed them, or the
// server never tells.
func (r *pass) findMoved(to *job, it moveIntent, dst *session, placed map[uint32]uint32) (map[uint32]uint32, error) {
	if _, err := dst.examine(to.st.Target); err != nil {
		return nil, err
	}
	list, err := dst.metadata(strconv.FormatUint(uint64(it.Next), 10)+":*", "(UID)", 0)
	if err != nil {
		return nil, err
	}
	for len(list) > 0 && list[0].uid < it.Next { // "n:*" also gives the last one below n
		list = list[1:]
	}
	switch {
	case len(list) == len(placed):
		return placed, nil
	case len(placed) == 0 && len(list) == len(it.Targets):
		for i, old := range it.Targets {
			placed[old] = list[i].uid
		}
		return placed, nil
	}
	return nil, errors.New("the target does not tell where it moved messages to; the next pass finds them by content")
}

// copyUID reads [COPYUID validity sources targets].
func copyUID(r reply) (validity uint32, old, fresh []uint32) {
	if r.Code != "COPYUID" {
		return 0, nil, nil
	}
	var parts [3]string
	n := 0
	for _, f := range strings.Fields(r.Args) {
		if n < 3 {
			parts[n] = f
			n++
		}
	}
	v, err := strconv.ParseUint(parts[0], 10, 32)
	if err != nil || n < 3 {
		return 0, nil, nil
	}
	return uint32(v), parseSet(parts[1]), parseSet(parts[2])
}

// noteMoves writes both folders' maps and ends the intent, in one Put.
func (r *pass) noteMoves(from, to *job, it moveIntent, placed map[uint32]uint32) error {
	rec := record{}
	next := to.target.next
	for i, source := range it.Fresh {
		rec.Sources = append(rec.Sources, source)
		rec.Targets = append(rec.Targets, placed[it.Targets[i]])
		rec.Flags = append(rec.Flags, it.Flags[i])
		rec.Digests = append(rec.Digests, it.Digests[i])
		rec.Dates = append(rec.Dates, it.Dates[i])
		next = max(next, placed[it.Targets[i]]+1)
	}
	to.target.next = next
	if n := from.st.uids.n; n > 0 {
		rec.Bytes = from.st.Bytes * int64(len(it.Gone)) / int64(n) // sizes are not kept
	}
	if from.st.Target != to.st.Target {
		from.removed = append(from.removed, it.Targets...)
	}
	from.st.forget(it.Gone)
	to.st.fold(rec)
	changes := map[string][]byte{"moving": nil, recordKey(to.key, to.st.next): mustJSON(rec)}
	to.st.next++
	from.save(changes)
	to.save(changes)
	return put(r.ctx, r.Store, changes)
}
