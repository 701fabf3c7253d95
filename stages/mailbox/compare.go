package mailbox

import (
	"slices"
	"strings"
)

// change is a flag change to carry: from what the source told last to what it
// tells now. Flags that the target's user set meanwhile are left alone,
// because only the difference is sent.
type change struct {
	source, target uint32
	from, to       string
}

// difference returns the flags that came and went.
func difference(from, to string) (add, remove []string) {
	had, has := map[string]bool{}, map[string]bool{}
	for _, f := range strings.Fields(from) {
		had[f] = true
	}
	for _, f := range strings.Fields(to) {
		has[f] = true
		if !had[f] {
			add = append(add, f)
		}
	}
	for _, f := range strings.Fields(from) {
		if !has[f] {
			remove = append(remove, f)
		}
	}
	return add, remove
}

// compare holds a full listing of the source against the map: what is new,
// what is gone, whose flags changed. list is sorted by UID.
func (st *folderState) compare(list []meta) (fresh []meta, gone []uint32, changes []change) {
	i := 0
	for _, m := range list {
		for i < len(st.entries) && st.entries[i].source < m.uid {
			gone = append(gone, st.entries[i].source)
			i++
		}
		if i < len(st.entries) && st.entries[i].source == m.uid {
			if c, ok := st.changed(st.entries[i], m.flags); ok {
				changes = append(changes, c)
			}
			i++
			continue
		}
		fresh = append(fresh, m)
	}
	for ; i < len(st.entries); i++ {
		gone = append(gone, st.entries[i].source)
	}
	return fresh, gone, changes
}

func (st *folderState) changed(e entry, flags string) (change, bool) {
	was := st.FlagSets[e.flags]
	if was == flags {
		return change{}, false
	}
	return change{e.source, e.target, was, flags}, true
}

// settled drops from fresh what was named already and would only be refused
// again; the rest is tried. What is gone at the source is no longer named.
func (st *folderState) settled(fresh []meta, present func(uint32) bool, limit int64, retries bool) []meta {
	named := map[uint32]Skipped{}
	kept := st.Skipped[:0]
	for _, s := range st.Skipped {
		if s.UID != 0 && !present(s.UID) {
			continue
		}
		retry := s.Reason == Unreadable && retries || s.Reason == TooLarge && (limit == 0 || s.Bytes > 0 && s.Bytes <= limit)
		if s.UID != 0 && retry {
			continue
		}
		kept = append(kept, s)
		if s.UID != 0 {
			named[s.UID] = s
		}
	}
	st.Skipped = kept
	notes := st.Notes[:0]
	for _, n := range st.Notes {
		if n.UID == 0 || present(n.UID) {
			notes = append(notes, n)
		}
	}
	st.Notes = notes
	out := fresh[:0]
	for _, m := range fresh {
		if _, ok := named[m.uid]; !ok {
			out = append(out, m)
		}
	}
	return out
}

// maxTries is in how many passes a message that could not be read is tried.
const maxTries = 3

// retries tells whether messages are to be tried that could not be read.
func (st *folderState) retries() bool {
	return st.Tries < maxTries && st.hasUnreadable()
}

func (st *folderState) hasUnreadable() bool {
	return slices.ContainsFunc(st.Skipped, func(s Skipped) bool { return s.UID != 0 && s.Reason == Unreadable })
}

// tooMany tells whether a person must look before so much is deleted.
func tooMany(deletions, mapped int, fraction float64) bool {
	const few = 5
	return deletions >= few && float64(deletions) > fraction*float64(mapped)
}
