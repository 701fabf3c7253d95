package mailbox

import (
	"cmp"
	"context"
	"slices"
)

// leaveOut drops from a Back what is no arrival although Godwit did not put it
// there: what stood in the folder before the cutover, and what the target's
// user moved, which the source still has. The content decides, each message
// once, so that a genuine second copy is an arrival.
func (r *pass) leaveOut(ctx context.Context, store Store, f floors) error {
	for _, j := range r.jobs {
		var old []uint32
		for _, p := range j.news() {
			for uid := p.from; uid <= p.to && f.before(j.box, j.source.wire, uid); uid++ {
				old = append(old, uid)
			}
		}
		if err := r.dismiss(j, old); err != nil {
			return err
		}
	}
	t := &twins{pass: r, ctx: ctx, sizes: map[int64]bool{}, dates: map[int64]bool{}}
	if err := t.readArrivals(); err != nil || len(t.new) == 0 {
		return err
	}
	if err := t.readHome(store); err != nil || len(t.old) == 0 {
		return err
	}
	return t.decide()
}

// dismiss notes messages that are not to be carried, for this run and the next.
func (r *pass) dismiss(j *job, uids []uint32) error {
	if len(uids) == 0 {
		return nil
	}
	j.drop(uids)
	rec := noArrivals(uids)
	j.st.fold(rec)
	key := recordKey(j.key, j.st.next)
	j.st.next++
	return put(r.ctx, r.Store, map[string][]byte{key: mustJSON(rec)})
}

func (j *job) drop(uids []uint32) {
	slices.Sort(uids)
	j.fresh = slices.DeleteFunc(j.fresh, func(m meta) bool { _, ok := slices.BinarySearch(uids, m.uid); return ok })
	j.ahead.drop(uids)
}

// twins looks for arrivals that the source has already: the same Message-ID and
// Date first, by their hashes, then the content.
type twins struct {
	*pass
	ctx          context.Context
	sizes, dates map[int64]bool // of the arrivals; where all are not in memory, nothing is told by them
	all          bool
	new, old     []twin // arrivals; what they may be at the source
}

// twin is one message of a folder: of jobs for arrivals, of place.existing at
// the source.
type twin struct{ hash, folder, uid uint32 }

// readArrivals reads the headers of the arrivals.
func (t *twins) readArrivals() error {
	for i, j := range t.jobs {
		news := j.news()
		if len(news) == 0 {
			continue
		}
		src, err := t.lanes[0].source()
		if err != nil {
			return err
		}
		if _, err := src.examine(j.source.wire); err != nil {
			return err
		}
		heads, err := src.heads(news.sets())
		if err != nil {
			return err
		}
		for _, h := range heads {
			if news.has(h.uid) {
				t.new = append(t.new, twin{h.hash, uint32(i), h.uid})
			}
		}
		for _, m := range j.fresh {
			t.sizes[m.size], t.dates[m.date] = true, true
		}
		t.all = t.all || len(j.ahead) > 0
	}
	return t.ctx.Err()
}

// readHome finds the source's messages that an arrival may be: those that are
// not at the target where Godwit put them, nor were carried back.
func (t *twins) readHome(store Store) error {
	forward, err := loadFolders(t.ctx, store)
	if err != nil {
		return err
	}
	carried := map[string]spans{}
	for _, j := range t.jobs {
		if err := j.st.load(t.ctx, t.Store, j.key); err != nil {
			return err
		}
		carried[j.st.Target] = append(carried[j.st.Target], j.st.uids.targets()...).merge()
	}
	wanted := map[uint32]bool{}
	for _, m := range t.new {
		wanted[m.hash] = true
	}
	for i, l := range t.place.existing {
		if l.noselect || l.foreign || l.box.messages == 0 {
			continue
		}
		heads, err := t.alike(l, carried[l.wire], forward.named(l.wire))
		if err != nil {
			return err
		}
		for _, h := range heads {
			if wanted[h.hash] {
				t.old = append(t.old, twin{h.hash, uint32(i), h.uid})
			}
		}
	}
	return t.ctx.Err()
}

// alike reads the headers of the messages of a source folder that could be one
// of the arrivals: of the same size or date, and not in use.
func (t *twins) alike(l listed, carried spans, st kept) ([]head, error) {
	dst, err := t.lanes[0].target()
	if err != nil {
		return nil, err
	}
	b, err := dst.examine(l.wire)
	if err != nil {
		return nil, err
	}
	var found spans
	err = dst.eachMeta("1:*", metaItems, func(m meta) {
		if !carried.has(m.uid) && (t.all || t.sizes[m.size] || t.dates[m.date]) {
			found = append(found, span{m.uid, m.uid})
		}
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	found = found.merge()
	if st.folderState != nil && st.SourceValidity == b.validity {
		paired, err := t.paired(st)
		if err != nil {
			return nil, err
		}
		found.drop(paired)
	}
	return dst.heads(found.sets())
}

// paired lists the messages of a source folder that are at the target where
// Godwit put them.
func (t *twins) paired(st kept) (list []uint32, err error) {
	i := slices.IndexFunc(t.jobs, func(j *job) bool {
		return j.here && j.source.wire == st.Target && j.source.box.validity == st.TargetValidity
	})
	if i < 0 {
		return nil, nil
	}
	src, err := t.lanes[0].source()
	if err != nil {
		return nil, err
	}
	b, err := src.examine(st.Target)
	if err != nil || b.messages == 0 {
		return nil, err
	}
	var there spans
	if err := src.eachMeta("1:*", "(UID)", func(m meta) { there = append(there, span{m.uid, m.uid}) }); err != nil {
		return nil, err
	}
	there = there.merge()
	for e := range st.uids.all() {
		if e.target != 0 && there.has(e.target) {
			list = append(list, e.source)
		}
	}
	return list, nil
}

// decide goes through the messages of the same headers, some at a time.
func (t *twins) decide() error {
	byHash := func(a, b twin) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.folder, b.folder), cmp.Compare(a.uid, b.uid))
	}
	slices.SortFunc(t.new, byHash)
	slices.SortFunc(t.old, byHash)
	var here, there []twin
	for len(t.new) > 0 && len(t.old) > 0 {
		switch hash := t.new[0].hash; {
		case hash < t.old[0].hash:
			t.new = t.new[1:]
			continue
		case hash > t.old[0].hash:
			t.old = t.old[1:]
			continue
		default:
			here, t.new = split(here, t.new, hash)
			there, t.old = split(there, t.old, hash)
		}
		if len(here)+len(there) >= matchAtOnce {
			if err := t.match(here, there); err != nil {
				return err
			}
			here, there = nil, nil
		}
	}
	return t.match(here, there)
}

// split moves the first messages of list, those of a hash, over to taken.
func split(taken, list []twin, hash uint32) (with, rest []twin) {
	for len(list) > 0 && list[0].hash == hash {
		taken, list = append(taken, list[0]), list[1:]
	}
	return taken, list
}

// match decides by content. What has the same name and date and another content
// may be the source's own, as a server made it anew: it is named, not doubled.
func (t *twins) match(here, there []twin) error {
	if len(here) == 0 {
		return t.ctx.Err()
	}
	source, news, err := t.read(here, (*lane).source, func(i uint32) string { return t.jobs[i].source.wire })
	if err != nil {
		return err
	}
	target, olds, err := t.read(there, (*lane).target, func(i uint32) string { return t.place.existing[i].wire })
	if err != nil {
		return err
	}
	pairs := pairUp(source, target)
	known, used := map[*job][]uint32{}, map[int]bool{}
	for i, k := range pairs {
		j := t.jobs[here[i].folder]
		known[j] = append(known[j], here[i].uid)
		used[int(k)] = true
	}
	for i, m := range news {
		if _, done := pairs[uint32(i)]; done || m.head.id == "" {
			continue
		}
		k := slices.IndexFunc(olds, func(o identity) bool { return o.head == m.head && o.date == m.date })
		if k < 0 || used[k] {
			continue
		}
		used[k] = true
		j := t.jobs[here[i].folder]
		j.st.skip(Skipped{
			Folder: j.name, UID: m.uid, MessageID: safe(m.head.id), Date: m.time(), Bytes: m.size, Reason: Ambiguous,
			Detail: "the source has one of the same Message-ID and date, with another content",
		})
		j.drop([]uint32{m.uid})
	}
	for j, uids := range known {
		if err := t.dismiss(j, uids); err != nil {
			return err
		}
	}
	return t.ctx.Err()
}

// identity is what tells a message from others, but for its content.
type identity struct {
	meta
	head header
}

// read reads messages of several folders; the sides number them as in list.
func (t *twins) read(list []twin, of func(*lane) (*session, error), name func(uint32) string) (side, []identity, error) {
	out := side{digests: map[uint32][]byte{}, dates: map[uint32]int64{}}
	ids := make([]identity, len(list))
	byFolder := map[uint32][]int{}
	for i, m := range list {
		out.uids = append(out.uids, uint32(i))
		byFolder[m.folder] = append(byFolder[m.folder], i)
	}
	for folder, numbers := range byFolder {
		s, err := of(t.lanes[0])
		if err != nil {
			return out, nil, err
		}
		if _, err := s.examine(name(folder)); err != nil {
			return out, nil, err
		}
		uids := make([]uint32, len(numbers))
		for k, i := range numbers {
			uids[k] = list[i].uid
		}
		slices.Sort(uids)
		metas, part, err := s.side(t.ctx, uids, false)
		if err != nil {
			return out, nil, err
		}
		held := make([]meta, 0, len(metas))
		for _, m := range metas {
			held = append(held, m)
		}
		slices.SortFunc(held, func(a, b meta) int { return cmp.Compare(a.uid, b.uid) })
		heads, err := s.allHeaders(held)
		if err != nil {
			return out, nil, err
		}
		for _, i := range numbers {
			uid, n := list[i].uid, uint32(i)
			ids[i] = identity{metas[uid], heads[uid]}
			out.digests[n], out.dates[n] = part.digests[uid], metas[uid].date
		}
	}
	return out, ids, nil
}
