package mailbox

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"slices"
	"strconv"
)

// rematch finds out which messages of the source the target holds already, from
// a UID on, where no map tells: a lost or an old ledger, a target filled by
// somebody else, a side that renumbered. Message-ID and Date find the
// candidates, the content decides, and what is there twice is matched twice.
// Each part is written down as it is found; until all are, the state says so,
// and a crash begins anew with the rest.
func (l *lane) rematch(ctx context.Context, j *job, from uint32) error {
	src, err := l.source()
	if err != nil {
		return err
	}
	dst, err := l.target()
	if err != nil {
		return err
	}
	if b, err := src.opened(j.source.wire, false); err != nil {
		return err
	} else if b.validity != j.box.validity {
		return errRenumbered
	}
	if _, err := dst.examine(j.st.Target); err != nil {
		return err
	}
	here, err := src.heads(j.news().sets())
	if err != nil {
		return err
	}
	there, err := dst.heads([]string{strconv.FormatUint(uint64(from), 10) + ":*"})
	if err != nil {
		return err
	}
	changes := map[string][]byte{}
	j.st.Matching = true
	j.save(changes)
	if err := put(ctx, l.pass.Store, changes); err != nil {
		return err
	}
	if j.copies, err = l.pass.formerCopies(ctx, j); err != nil {
		return err
	}
	defer func() { j.copies = nil }()
	mapped := j.st.uids.targets()
	var ask, candidates []uint32
	for len(here) > 0 && len(there) > 0 {
		switch {
		case here[0].hash < there[0].hash:
			here = here[1:]
			continue
		case here[0].hash > there[0].hash:
			there = there[1:]
			continue
		}
		hash := here[0].hash
		for ; len(here) > 0 && here[0].hash == hash; here = here[1:] {
			ask = append(ask, here[0].uid)
		}
		for ; len(there) > 0 && there[0].hash == hash; there = there[1:] {
			if !mapped.has(there[0].uid) {
				candidates = append(candidates, there[0].uid)
			}
		}
		if len(ask)+len(candidates) >= matchAtOnce {
			if err := l.match(ctx, src, dst, j, ask, candidates); err != nil {
				return err
			}
			ask, candidates = nil, nil
		}
	}
	return l.match(ctx, src, dst, j, ask, candidates)
}

// matchAtOnce bounds what a match holds in memory; messages with one header
// stay together.
const matchAtOnce = 5000

// news lists all that is new in the folder.
func (j *job) news() (out spans) {
	for _, m := range j.fresh {
		out.add(m.uid)
	}
	return append(out, j.ahead...)
}

// match decides by content which of the messages the target holds, and writes
// them down. Of their flags only those count that both sides have, unless the
// copies are known to be ours: what the source has beside is carried like any
// change, and the rest is the user's.
func (l *lane) match(ctx context.Context, src, dst *session, j *job, ask, candidates []uint32) error {
	if len(ask) == 0 || len(candidates) == 0 {
		return ctx.Err()
	}
	slices.Sort(ask)
	slices.Sort(candidates)
	anew := src.rerenders() || dst.rerenders()
	here, source, err := src.side(ctx, ask, anew)
	if err != nil {
		return err
	}
	there, target, err := dst.side(ctx, candidates, anew)
	if err != nil {
		return err
	}
	j.copies.tell(&target, j.st)
	pairs := pairUp(source, target)
	rec := record{}
	for _, uid := range ask {
		t, ok := pairs[uid]
		if !ok {
			continue
		}
		m, has := here[uid], there[t]
		both := common(m.flags, has.flags)
		if c, ours := j.copies.find(t); ours {
			both = j.st.FlagSets[c.flags]
		}
		rec.Sources, rec.Targets = append(rec.Sources, uid), append(rec.Targets, t)
		rec.Flags, rec.Digests, rec.Dates = append(rec.Flags, both), append(rec.Digests, contentOnly(source.digests[uid])), append(rec.Dates, m.date)
		if m.flags != both {
			j.changes = append(j.changes, change{uid, t, j.st.flagIndex(both), j.st.flagIndex(m.flags)})
		}
		if m.date != has.date {
			rec.Notes = append(rec.Notes, Skipped{
				Folder: j.name, UID: uid, Date: m.time(), Bytes: m.size, Reason: Altered,
				Detail: "the target held it before, with another date",
			})
		}
		rec.Bytes += m.size
	}
	if rec.empty() {
		return ctx.Err()
	}
	j.fresh = slices.DeleteFunc(j.fresh, func(m meta) bool { return pairs[m.uid] != 0 })
	j.ahead.drop(rec.Sources)
	j.st.fold(rec)
	key := recordKey(j.key, j.st.next)
	j.st.next++
	l.pass.count(func(r *Result) { r.AlreadyThere += len(rec.Sources) })
	return put(l.pass.ctx, l.pass.Store, map[string][]byte{key: mustJSON(rec)})
}

// findOrphans lists what the target still holds of messages that a source had
// before it renumbered them and has no longer.
func (l *lane) findOrphans(j *job) error {
	if len(j.st.Orphans) == 0 {
		return nil
	}
	dst, err := l.target()
	if err != nil {
		return err
	}
	if _, err := dst.examine(j.st.Target); err != nil {
		return err
	}
	slices.Sort(j.st.Orphans)
	mapped := j.st.uids.targets()
	for _, set := range sets(j.st.Orphans) {
		err := dst.eachMeta(set, "(UID)", func(m meta) {
			if _, ours := slices.BinarySearch(j.st.Orphans, m.uid); ours && !mapped.has(m.uid) {
				j.orphans = append(j.orphans, m.uid)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// head is a message by the hash of what identifies it without its body.
type head struct{ hash, uid uint32 }

// heads lists messages of the open folder by the hashes of their headers.
func (s *session) heads(sets []string) (out []head, err error) {
	for _, set := range sets {
		err := s.eachHeader(set, func(uid uint32, h header) {
			out = append(out, head{h.hash(), uid})
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b head) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.uid, b.uid))
	})
	return slices.Compact(out), nil
}

func (h header) hash() uint32 {
	sum := fnv.New32a()
	_, _ = io.WriteString(sum, h.id+"\n"+h.date) // a hash takes everything
	return sum.Sum32()
}

// side reads what is needed of messages of the open folder to match them.
func (s *session) side(ctx context.Context, uids []uint32, anew bool) (map[uint32]meta, side, error) {
	list, err := s.details(uids)
	if err != nil {
		return nil, side{}, err
	}
	metas, dates, flags := map[uint32]meta{}, map[uint32]int64{}, map[uint32]string{}
	for _, m := range list {
		metas[m.uid], dates[m.uid], flags[m.uid] = m, m.date, m.flags
	}
	digests, err := s.signs(ctx, uids, anew)
	for uid := range digests {
		if _, ok := metas[uid]; !ok {
			delete(digests, uid)
		}
	}
	return metas, side{uids: uids, digests: digests, dates: dates, flags: flags}, err
}

// side is one side of a match: messages in their order, with their digests,
// dates and, where they are known, flags.
type side struct {
	uids    []uint32
	digests map[uint32][]byte
	dates   map[uint32]int64
	flags   map[uint32]string
	sure    map[uint32]bool // with another date it would be another message
}

// pairUp matches two sides by content, each message once, in their order:
// first what has the same date and flags as well, so that twins do not swap
// theirs, then what is left, because not every target keeps a date; and first
// what is the same octet by octet, then what a server may have made of it.
func pairUp(source, target side) map[uint32]uint32 {
	pairs := map[uint32]uint32{}
	used := map[uint32]bool{}
	type likeness struct {
		shape
		flags string
	}
	for _, same := range []struct{ date, octets, flags bool }{
		{true, true, true}, {true, true, false}, {true, false, true}, {true, false, false}, {false, true, false}, {false, false, false},
	} {
		key := func(s side, uid uint32) (k likeness, ok bool) {
			d := s.digests[uid]
			if d == nil || s.sure[uid] && !same.date {
				return k, false
			}
			k.content = contentKey(d)
			if same.octets {
				k.content = string(contentOf(d))
			}
			if same.date {
				k.date = s.dates[uid]
			}
			if same.flags {
				k.flags = s.flags[uid]
			}
			return k, true
		}
		stock := map[likeness][]uint32{}
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
			n, err := copyAll(d, lit)
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
	return out, s.digestMissing(ctx, uids, item, out)
}

// digestMissing asks once more for what was left out, one by one.
func (s *session) digestMissing(ctx context.Context, uids []uint32, item string, out map[uint32][]byte) error {
	var missing []uint32
	for _, uid := range uids {
		if out[uid] == nil {
			missing = append(missing, uid)
		}
	}
	for _, set := range sets(missing) {
		part := map[uint32][]byte{}
		if err := s.digestSingly(ctx, set, item, part); err != nil {
			return err
		}
		for uid, d := range part {
			out[uid] = d
		}
	}
	return nil
}

// digestSingly asks one by one after a refusal of the whole set.
func (s *session) digestSingly(ctx context.Context, set, item string, part map[uint32][]byte) error {
	list, err := s.metadata(set, "(UID)")
	if err != nil {
		return err
	}
	clear(part)
	for _, m := range list {
		d := newDigester()
		whole := false
		err := s.bodies(strconv.FormatUint(uint64(m.uid), 10), item, func(_ uint32, size int64, lit io.Reader) error {
			n, err := copyAll(d, lit)
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
