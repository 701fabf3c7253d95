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
	from, to       uint32 // flag sets of the folder's state
}

// unknownFlags stands for flags that were not asked for.
const unknownFlags = "?"

func sortChanges(list []change) []change {
	slices.SortFunc(list, func(a, b change) int { return int(int64(a.source) - int64(b.source)) })
	return list
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

// common returns the flags that both have.
func common(a, b string) string {
	has := strings.Fields(b)
	return joinFlags(slices.DeleteFunc(strings.Fields(a), func(f string) bool { return !slices.Contains(has, f) }))
}

func (st *folderState) changed(e entry, flags string) (change, bool) {
	if flags == unknownFlags || st.FlagSets[e.flags] == flags {
		return change{}, false
	}
	return change{e.source, e.target, e.flags, st.flagIndex(flags)}, true
}

// named lists the messages that reports name, and which of them would only be
// refused again; the rest is tried.
func (st *folderState) named(limit int64, retries bool) (watched, settled map[uint32]bool) {
	watched, settled = map[uint32]bool{}, map[uint32]bool{}
	for _, n := range st.Notes {
		watched[n.UID] = false
	}
	for _, s := range st.Skipped {
		watched[s.UID] = false
		retry := s.Reason == Unreadable && retries || s.Reason == TooLarge && (limit == 0 || s.Bytes > 0 && s.Bytes <= limit)
		if s.UID != 0 && !retry {
			settled[s.UID] = true
		}
	}
	return watched, settled
}

// prune drops from what is named the messages that are gone at the source, and
// those that are tried again.
func (st *folderState) prune(there, settled map[uint32]bool) {
	st.Skipped = slices.DeleteFunc(st.Skipped, func(s Skipped) bool { return s.UID != 0 && !(there[s.UID] && settled[s.UID]) })
	st.Notes = slices.DeleteFunc(st.Notes, func(n Skipped) bool { return n.UID != 0 && !there[n.UID] })
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
