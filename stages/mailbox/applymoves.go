package mailbox

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

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
	dst, err := r.lanes[0].openTarget(from, true)
	if err != nil {
		return nil, err
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
	list, err := dst.metadata(strconv.FormatUint(uint64(it.Next), 10)+":*", "(UID)")
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
