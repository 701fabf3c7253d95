package mailbox

import (
	"context"
	"errors"
	"io"
	"strconv"
)

// taken is a message that the target holds already.
type taken struct {
	meta
	target uint32
	has    string // the target's flags
	when   int64  // the target's date
	digest []byte
}

// rematch finds out which messages of the source the target holds already,
// where there is no map: a lost ledger, a target filled by somebody else, a
// side that renumbered. Message-ID and Date find the candidates, the content
// decides, and what is there twice is matched twice.
func (l *lane) rematch(ctx context.Context, j *job) error {
	src, err := l.source()
	if err != nil {
		return err
	}
	dst, err := l.target()
	if err != nil {
		return err
	}
	if _, err := dst.examine(j.st.Target); err != nil {
		return err
	}
	there, err := dst.metadata("1:*", metaItems, 0)
	if err != nil {
		return err
	}
	if len(there) > 0 && len(j.fresh) > 0 {
		if err := l.matchBoth(ctx, src, dst, j, there); err != nil {
			return err
		}
	}
	left := map[uint32]bool{}
	for _, m := range there {
		left[m.uid] = true
	}
	for _, t := range j.taken {
		delete(left, t.target)
	}
	for _, uid := range j.st.Orphans {
		if left[uid] {
			j.orphans = append(j.orphans, uid)
		}
	}
	return ctx.Err()
}

func (l *lane) matchBoth(ctx context.Context, src, dst *session, j *job, there []meta) error {
	here, err := src.allHeaders(j.fresh)
	if err != nil {
		return err
	}
	back, err := dst.allHeaders(there)
	if err != nil {
		return err
	}
	both := map[header]bool{}
	for _, m := range there {
		both[back[m.uid]] = true
	}
	var ask []uint32
	wanted := map[header]bool{}
	for _, m := range j.fresh {
		if h := here[m.uid]; both[h] {
			wanted[h] = true
			ask = append(ask, m.uid)
		}
	}
	var candidates []uint32
	for _, m := range there {
		if wanted[back[m.uid]] {
			candidates = append(candidates, m.uid)
		}
	}
	if len(ask) == 0 {
		return nil
	}
	sent, err := src.digests(ctx, ask)
	if err != nil {
		return err
	}
	found, err := dst.digests(ctx, candidates)
	if err != nil {
		return err
	}
	dates, flags := map[uint32]int64{}, map[uint32]string{}
	for _, m := range there {
		flags[m.uid], dates[m.uid] = m.flags, m.date
	}
	arrived := map[uint32]int64{}
	for _, m := range j.fresh {
		arrived[m.uid] = m.date
	}
	pairs := pairUp(side{ask, sent, arrived}, side{candidates, found, dates})
	rest := j.fresh[:0]
	for _, m := range j.fresh {
		if t, ok := pairs[m.uid]; ok {
			j.taken = append(j.taken, taken{m, t, flags[t], dates[t], sent[m.uid]})
			continue
		}
		rest = append(rest, m)
	}
	j.fresh = rest
	return nil
}

// side is one side of a match: messages in their order, with their digests and
// dates.
type side struct {
	uids    []uint32
	digests map[uint32][]byte
	dates   map[uint32]int64
}

// pairUp matches two sides by content, each message once, in their order:
// first what has the same date as well, so that twins do not swap theirs, then
// what is left, because not every target keeps a date.
func pairUp(source, target side) map[uint32]uint32 {
	pairs := map[uint32]uint32{}
	used := map[uint32]bool{}
	for _, dated := range []bool{true, false} {
		key := func(s side, uid uint32) (shape, bool) {
			d, ok := s.digests[uid]
			if !ok || d == nil {
				return shape{}, false
			}
			k := shape{content: contentKey(d)}
			if dated {
				k.date = s.dates[uid]
			}
			return k, true
		}
		stock := map[shape][]uint32{}
		for _, t := range target.uids {
			if k, ok := key(target, t); ok && !used[t] {
				stock[k] = append(stock[k], t)
			}
		}
		for _, s := range source.uids {
			k, ok := key(source, s)
			if _, done := pairs[s]; done || !ok {
				continue
			}
			if list := stock[k]; len(list) > 0 {
				pairs[s] = list[0]
				used[list[0]] = true
				stock[k] = list[1:]
			}
		}
	}
	return pairs
}

func (s *session) allHeaders(list []meta) (map[uint32]header, error) {
	uids := make([]uint32, len(list))
	for i, m := range list {
		uids[i] = m.uid
	}
	out := map[uint32]header{}
	for _, set := range sets(uids) {
		part, err := s.headers(set)
		if err != nil {
			return nil, err
		}
		for uid, h := range part {
			out[uid] = h
		}
	}
	return out, nil
}

// digests reads messages of the open folder and keeps nothing but their
// digests. A message that cannot be read has none.
func (s *session) digests(ctx context.Context, uids []uint32) (map[uint32][]byte, error) {
	return s.digestItem(ctx, uids, "BODY.PEEK[]")
}

func (s *session) digestItem(ctx context.Context, uids []uint32, item string) (map[uint32][]byte, error) {
	out := make(map[uint32][]byte, len(uids))
	asked := make(map[uint32]bool, len(uids))
	for _, u := range uids {
		asked[u] = true
	}
	for _, set := range sets(uids) {
		part := map[uint32][]byte{}
		err := s.bodies(set, item, func(uid uint32, size int64, lit io.Reader) error {
			d := newDigester()
			n, err := io.Copy(d, lit)
			if err != nil || n != size {
				return err
			}
			if asked[uid] {
				part[uid] = d.sum()
			}
			return ctx.Err()
		})
		if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
			err = s.digestSingly(ctx, set, item, part)
		}
		if err != nil {
			return nil, err
		}
		for uid, d := range part {
			out[uid] = d
		}
	}
	return out, nil
}

// digestSingly asks one by one after a refusal of the whole set.
func (s *session) digestSingly(ctx context.Context, set, item string, part map[uint32][]byte) error {
	list, err := s.metadata(set, "(UID)", 0)
	if err != nil {
		return err
	}
	clear(part)
	for _, m := range list {
		d := newDigester()
		whole := false
		err := s.bodies(strconv.FormatUint(uint64(m.uid), 10), item, func(_ uint32, size int64, lit io.Reader) error {
			n, err := io.Copy(d, lit)
			whole = err == nil && n == size
			return err
		})
		if _, no := refused(err); err != nil && (!no || errors.Is(err, ErrBusy)) {
			return err
		}
		if whole && err == nil {
			part[m.uid] = d.sum()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
