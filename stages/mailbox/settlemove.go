package mailbox

import (
	"context"
	"net/url"
	"slices"
	"strconv"
)

// settleMove resolves a move that a crash cut short: the copies are looked for
// at the end of the folder they were going to, by size, date and content.
func (r *pass) settleMove(ctx context.Context) error {
	var it moveIntent
	found, err := getJSON(ctx, r.Store, "moving", &it)
	if err != nil || !found {
		return err
	}
	from, to := r.jobOf(it.From), r.jobOf(it.To)
	if from == nil || to == nil || !to.exists || to.target.validity != it.Validity {
		return put(ctx, r.Store, map[string][]byte{"moving": nil})
	}
	for _, j := range []*job{from, to} {
		if err := j.st.load(ctx, r.Store, j.key); err != nil {
			return err
		}
	}
	placed, err := r.landed(ctx, from, to, it)
	if err != nil {
		return err
	}
	done := moveIntent{From: it.From, To: it.To, Next: it.Next, Validity: it.Validity}
	for i, t := range it.Targets {
		if _, ok := placed[t]; ok {
			done.Gone = append(done.Gone, it.Gone[i])
			done.Fresh = append(done.Fresh, it.Fresh[i])
			done.Targets = append(done.Targets, t)
			done.Flags = append(done.Flags, it.Flags[i])
			done.Digests = append(done.Digests, it.Digests[i])
			done.Dates = append(done.Dates, it.Dates[i])
		}
	}
	r.count(func(res *Result) { res.Moved += len(done.Fresh) })
	return r.noteMoves(from, to, done, placed)
}

func (r *pass) jobOf(escaped string) *job {
	for _, j := range r.jobs {
		if url.PathEscape(j.key) == escaped {
			return j
		}
	}
	return nil
}

// landed finds the copies that have moved: old UID -> new UID. An original
// that is still there beside its copy is removed; what is in neither place is
// copied again by the pass.
func (r *pass) landed(ctx context.Context, from, to *job, it moveIntent) (map[uint32]uint32, error) {
	sent, dates := map[uint32][]byte{}, map[uint32]int64{}
	for i, fresh := range it.Fresh {
		sent[fresh], dates[fresh] = it.Digests[i], it.Dates[i]
	}
	dst, err := r.lanes[0].target()
	if err != nil {
		return nil, err
	}
	if _, err := dst.examine(to.st.Target); err != nil {
		return nil, err
	}
	list, err := dst.metadata(strconv.FormatUint(uint64(it.Next), 10)+":*", "(UID INTERNALDATE)")
	if err != nil {
		return nil, err
	}
	var tail []uint32
	there := map[uint32]int64{}
	mapped := to.st.uids.targets()
	for _, m := range list {
		if m.uid >= it.Next && !mapped.has(m.uid) {
			tail = append(tail, m.uid)
			there[m.uid] = m.date
		}
	}
	found, err := dst.digests(ctx, tail)
	if err != nil {
		return nil, err
	}
	pairs := pairUp(side{uids: it.Fresh, digests: sent, dates: dates}, side{uids: tail, digests: found, dates: there})
	placed := map[uint32]uint32{}
	var originals []uint32
	for i, fresh := range it.Fresh {
		if t, ok := pairs[fresh]; ok {
			placed[it.Targets[i]] = t
			originals = append(originals, it.Targets[i])
		}
	}
	if len(originals) == 0 || !from.exists {
		return placed, nil
	}
	slices.Sort(originals)
	b, err := dst.sel(from.st.Target)
	if err != nil || b.validity != from.st.TargetValidity {
		return placed, err
	}
	return placed, dst.expunge(originals)
}
