package mailbox

import "context"

// A message may move at the source after the target's user has removed its
// copy, or has put it elsewhere. There is no copy to move then, and copying it
// again would undo what the user did. What it was is known by what was read back
// when it was copied: date and digest.

// absentKey tells the digest of a message that the target no longer has from
// that of one which it has.
func absentKey(digest []byte) string { return "absent " + string(digest) }

// absentShapes adds to shapes what vanished at the source and is not among the
// copies that the target still has.
func (r *pass) absentShapes(ctx context.Context, j *job, there map[uint32]bool, dates map[int64]bool, shapes map[shape][]move) error {
	absent := map[uint32]entry{}
	for _, uid := range j.gone[:min(len(j.gone), maxMoves)] {
		if e, ok := j.st.uids.find(uid); ok && (e.target == 0 || !there[e.target]) {
			absent[uid] = e
		}
	}
	rows, err := r.rows(ctx, j.key, j.st, func(source uint32) bool { _, ok := absent[source]; return ok }, len(absent))
	if err != nil {
		return err
	}
	for uid, e := range absent {
		row, known := rows[uid]
		if !known {
			continue
		}
		s := shape{row.date, absentKey(row.digest[:])}
		shapes[s] = append(shapes[s], move{from: j, gone: uid, flags: j.st.FlagSets[e.flags]})
		dates[row.date] = true
	}
	return nil
}

// rows are the proofs of some of a folder's messages.
func (r *pass) rows(ctx context.Context, key string, st *folderState, wanted func(source uint32) bool, n int) (map[uint32]proof, error) {
	out := map[uint32]proof{}
	if n == 0 {
		return out, nil
	}
	p, err := loadProofs(ctx, r.Store, key, st)
	if err != nil {
		return nil, err
	}
	return out, p.each(ctx, r.Store, key, 0, func(row proof) error {
		if wanted(row.source) && row.finding&(anythingWrong|byHeader) == 0 && row.digest != [32]byte{} {
			out[row.source] = row
		}
		return nil
	})
}

// nowhere is the target UID of rows of what has no copy: no map holds it.
const nowhere = 1<<32 - 1

// noteAbsent writes down that messages have moved at the source of which the
// target's user has removed the copies: they stay removed.
func (r *pass) noteAbsent(ctx context.Context, absent []move) error {
	type way struct{ from, to *job }
	recs, gone, rows := map[way]*record{}, map[way][]uint32{}, map[way][]proof{}
	for _, m := range absent {
		w := way{m.from, m.to}
		if recs[w] == nil {
			recs[w] = &record{}
		}
		rec := recs[w]
		rec.Sources, rec.Targets = append(rec.Sources, m.fresh.uid), append(rec.Targets, 0)
		rec.Flags, rec.Digests = append(rec.Flags, m.fresh.flags), append(rec.Digests, m.digest)
		rec.Dates = append(rec.Dates, m.fresh.date)
		gone[w] = append(gone[w], m.gone)
		row := proof{source: m.fresh.uid, target: nowhere, size: m.fresh.size, date: m.fresh.date}
		copy(row.digest[:], contentOf(m.digest))
		rows[w] = append(rows[w], row)
	}
	for w, rec := range recs {
		changes := map[string][]byte{recordKey(w.to.key, w.to.st.next): mustJSON(rec)}
		w.from.st.forget(gone[w])
		w.to.st.fold(*rec)
		w.to.st.next++
		w.from.save(changes)
		w.to.save(changes)
		p, err := loadProofs(ctx, r.Store, w.to.key, w.to.st)
		if err != nil {
			return err
		}
		if err := p.add(ctx, r.Store, w.to.key, rows[w], changes); err != nil { // it may move once more
			return err
		}
		if err := put(ctx, r.Store, changes); err != nil {
			return err
		}
	}
	return nil
}

// kinByDigest compares messages of a folder with what was read back of them
// when they were copied.
func (r *pass) kinByDigest(ctx context.Context, st *folderState, key string, s *session, found map[uint32]header, source func(uid uint32) uint32) (kinship, error) {
	const few = 10
	var uids []uint32
	bySource := map[uint32]uint32{}
	for uid := range found {
		if len(uids) < few {
			uids = append(uids, uid)
			bySource[source(uid)] = uid
		}
	}
	rows, err := r.rows(ctx, key, st, func(uid uint32) bool { _, ok := bySource[uid]; return ok }, len(uids))
	if err != nil || len(rows) == 0 {
		return untold, err
	}
	digests, err := s.digests(ctx, sorted(uids))
	if err != nil {
		return stranger, err
	}
	kin := untold
	for uid, row := range rows {
		d, read := digests[bySource[uid]]
		if !read || row.finding != 0 { // what the target stores in another form is not compared
			continue
		}
		if kin = same; string(contentOf(d)) != string(row.digest[:]) {
			return stranger, nil
		}
	}
	return kin, nil
}
