package mailbox

import (
	"context"
	"slices"
)

// dropKnown drops from a catch-up what the target holds anywhere: a message
// that was moved or copied at the source is no new mail. It is noted as
// carried, so that the next pass need not look again.
func (r *pass) dropKnown(ctx context.Context) error {
	for _, j := range r.jobs {
		j.gone, j.orphans, j.changes = nil, nil, nil
	}
	looked := map[*job]spans{}
	for {
		if err := r.dropHeld(ctx); err != nil {
			return err
		}
		more := false
		for _, j := range r.jobs { // what is not in memory, part by part
			if len(j.ahead) == 0 {
				continue
			}
			more = true
			looked[j] = append(looked[j], (&job{fresh: j.fresh}).news()...)
			if err := r.lanes[0].more(j); err != nil {
				return err
			}
		}
		if !more {
			break
		}
	}
	for j, uids := range looked {
		j.ahead = append(uids, j.news()...)
		if err := r.lanes[0].more(j); err != nil {
			return err
		}
	}
	return nil
}

// dropHeld does so with the new messages that are held in memory.
func (r *pass) dropHeld(ctx context.Context) error {
	sizes := map[int64]bool{}
	for _, j := range r.jobs {
		for _, m := range j.fresh {
			sizes[m.size] = true
		}
	}
	if len(sizes) == 0 {
		return nil
	}
	known := map[header]map[string]bool{}
	heads := map[*job]map[uint32]header{}
	digests := map[*job]map[uint32][]byte{}
	src, err := r.lanes[0].source()
	if err != nil {
		return err
	}
	for _, j := range r.jobs {
		if len(j.fresh) == 0 {
			continue
		}
		if _, err := src.examine(j.source.wire); err != nil {
			return err
		}
		if heads[j], err = src.allHeaders(j.fresh); err != nil {
			return err
		}
		uids := make([]uint32, len(j.fresh))
		for i, m := range j.fresh {
			uids[i] = m.uid
			known[heads[j][m.uid]] = map[string]bool{}
		}
		if digests[j], err = src.digests(ctx, uids); err != nil {
			return err
		}
	}
	for _, l := range r.place.existing {
		if l.noselect || l.foreign || l.box.messages == 0 {
			continue
		}
		if err := r.lookFor(ctx, l, sizes, known); err != nil {
			return err
		}
	}
	for _, j := range r.jobs {
		if err := r.dropFrom(j, heads[j], digests[j], known); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// lookFor adds to known the content of a target folder's messages that could
// be one of the new ones.
func (r *pass) lookFor(ctx context.Context, l listed, sizes map[int64]bool, known map[header]map[string]bool) error {
	dst, err := r.lanes[0].target()
	if err != nil {
		return err
	}
	if _, err := dst.examine(l.wire); err != nil {
		return err
	}
	list, err := dst.metadata("1:*", "(UID RFC822.SIZE)")
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(m meta) bool { return !sizes[m.size] })
	heads, err := dst.allHeaders(list)
	if err != nil {
		return err
	}
	var ask []uint32
	for _, m := range list {
		if known[heads[m.uid]] != nil {
			ask = append(ask, m.uid)
		}
	}
	found, err := dst.digests(ctx, ask)
	if err != nil {
		return err
	}
	for uid, d := range found {
		known[heads[uid]][contentKey(d)] = true
	}
	return nil
}

func (r *pass) dropFrom(j *job, heads map[uint32]header, digests map[uint32][]byte, known map[header]map[string]bool) error {
	rec := record{}
	j.fresh = slices.DeleteFunc(j.fresh, func(m meta) bool {
		d, ok := digests[m.uid]
		if !ok || !known[heads[m.uid]][contentKey(d)] {
			return false
		}
		rec.Sources = append(rec.Sources, m.uid)
		rec.Targets = append(rec.Targets, 0)
		rec.Flags = append(rec.Flags, m.flags)
		rec.Digests = append(rec.Digests, nil)
		rec.Dates = append(rec.Dates, m.date)
		rec.Bytes += m.size
		return true
	})
	if rec.empty() {
		return nil
	}
	j.st.fold(rec)
	r.count(func(res *Result) { res.AlreadyThere += len(rec.Sources) })
	changes := map[string][]byte{}
	j.save(changes)
	return put(r.ctx, r.Store, changes)
}
