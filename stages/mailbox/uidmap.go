package mailbox

import (
	"iter"
	"slices"
	"sort"
)

// uidMap is the UID map of one folder: which message of the target each message
// of the source has become, and the flags that the source told last. It is kept
// as runs of neighbours, in memory and in the ledger, because messages copied in
// order make one run, however many there are.
type uidMap struct {
	runs []run // by source, none overlapping
	n    int   // messages in all runs
}

// run is n neighbours with the same flags: source, source+1… at the target are
// target, target+1…
type run struct {
	source, target uint32 // target 0: see entry
	n              uint32
	flags          uint32
}

// entry maps one message; target 0 stands for one that was carried and that
// the user of the target has since removed: it is not brought back.
type entry struct {
	source, target uint32
	flags          uint32 // index into flagSets: as the source told them last
}

func (r run) at(i uint32) entry {
	e := entry{r.source + i, r.target, r.flags}
	if r.target != 0 {
		e.target += i
	}
	return e
}

// part is the run from its i-th to before its j-th message.
func (r run) part(i, j uint32) run {
	e := r.at(i)
	return run{e.source, e.target, j - i, r.flags}
}

// push appends a run behind all others.
func (m *uidMap) push(r run) {
	if r.n == 0 {
		return
	}
	m.n += int(r.n)
	if k := len(m.runs) - 1; k >= 0 {
		last := &m.runs[k]
		if next := last.at(last.n); next == r.at(0) && (next.target == 0) == (last.target == 0) {
			last.n += r.n
			return
		}
	}
	m.runs = append(m.runs, r)
}

// all lists the messages by source UID.
func (m *uidMap) all() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for _, r := range m.runs {
			for i := range r.n {
				if !yield(r.at(i)) {
					return
				}
			}
		}
	}
}

// last is the highest source UID, 0 if there is none.
func (m *uidMap) last() uint32 {
	if len(m.runs) == 0 {
		return 0
	}
	r := m.runs[len(m.runs)-1]
	return r.source + r.n - 1
}

// live counts the messages that the target has.
func (m *uidMap) live() (n int) {
	for _, r := range m.runs {
		if r.target != 0 {
			n += int(r.n)
		}
	}
	return n
}

// find returns the entry of a source UID.
func (m *uidMap) find(source uint32) (e entry, ok bool) {
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].source > source }) - 1
	if i < 0 || source-m.runs[i].source >= m.runs[i].n {
		return e, false
	}
	return m.runs[i].at(source - m.runs[i].source), true
}

// add takes in entries in any order; what is mapped already stays.
func (m *uidMap) add(list []entry) {
	if !slices.IsSortedFunc(list, bySource) {
		list = slices.Clone(list)
		slices.SortStableFunc(list, bySource)
	}
	last := m.last()
	for i, e := range list { // mostly behind all others
		if e.source <= last {
			m.insert(list[i:])
			return
		}
		last = e.source
		m.push(run{e.source, e.target, 1, e.flags})
	}
}

func bySource(a, b entry) int { return int(int64(a.source) - int64(b.source)) }

func (m *uidMap) insert(list []entry) {
	var out uidMap
	for _, r := range m.runs {
		for len(list) > 0 && list[0].source < r.source+r.n {
			if e := list[0]; e.source < r.source && e.source > out.last() {
				out.push(run{e.source, e.target, 1, e.flags})
			}
			list = list[1:]
		}
		out.push(r)
	}
	for _, e := range list {
		if e.source > out.last() {
			out.push(run{e.source, e.target, 1, e.flags})
		}
	}
	*m = out
}

// edit changes the entries of some source UIDs, which are sorted; change
// returns false for what is to go.
func (m *uidMap) edit(uids []uint32, change func(*entry) bool) {
	if len(uids) == 0 {
		return
	}
	var out uidMap
	for _, r := range m.runs {
		from := uint32(0)
		for len(uids) > 0 && uids[0] < r.source+r.n {
			if uid := uids[0]; uid >= r.source+from {
				i := uid - r.source
				out.push(r.part(from, i))
				if e := r.at(i); change(&e) {
					out.push(run{e.source, e.target, 1, e.flags})
				}
				from = i + 1
			}
			uids = uids[1:]
		}
		out.push(r.part(from, r.n))
	}
	*m = out
}

// within lists the source UIDs of the map that stand in a set.
func (m *uidMap) within(set spans) (out []uint32) {
	for _, r := range m.runs {
		for len(set) > 0 && set[0].to < r.source {
			set = set[1:]
		}
		for _, p := range set {
			if p.from > r.source+r.n-1 {
				break
			}
			for uid := max(p.from, r.source); uid <= min(p.to, r.source+r.n-1); uid++ {
				out = append(out, uid)
			}
		}
	}
	return out
}

// end is the UID above all targets.
func (m *uidMap) end() (uid uint32) {
	for _, r := range m.runs {
		if r.target != 0 {
			uid = max(uid, r.target+r.n)
		}
	}
	return uid
}

// targets lists which UIDs of the target the map speaks of.
func (m *uidMap) targets() spans {
	var out spans
	for _, r := range m.runs {
		if r.target != 0 {
			out = append(out, span{r.target, r.target + r.n - 1})
		}
	}
	return out.merge()
}
