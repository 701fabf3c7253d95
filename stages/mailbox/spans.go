package mailbox

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// span is the UIDs from one to another, both included.
type span struct{ from, to uint32 }

// spans is a set of UIDs, ascending. It is small where the UIDs are
// neighbours, as those of a mailbox are that is copied for the first time.
type spans []span

// add takes in a UID above all others.
func (s *spans) add(uid uint32) {
	if k := len(*s) - 1; k >= 0 && (*s)[k].to+1 == uid {
		(*s)[k].to = uid
		return
	}
	*s = append(*s, span{uid, uid})
}

func (s spans) count() (n int) {
	for _, p := range s {
		n += int(p.to-p.from) + 1
	}
	return n
}

// take removes the first n UIDs and returns them.
func (s *spans) take(n int) (out []uint32) {
	for len(*s) > 0 && len(out) < n {
		p := &(*s)[0]
		out = append(out, p.from)
		if p.from == p.to {
			*s = (*s)[1:]
			continue
		}
		p.from++
	}
	return out
}

// drop removes sorted UIDs.
func (s *spans) drop(uids []uint32) {
	if len(uids) == 0 {
		return
	}
	var out spans
	for _, p := range *s {
		i, _ := slices.BinarySearch(uids, p.from)
		for from := p.from; ; i++ {
			if i == len(uids) || uids[i] > p.to {
				out = append(out, span{from, p.to})
				break
			}
			if uids[i] > from {
				out = append(out, span{from, uids[i] - 1})
			}
			if uids[i] == p.to {
				break
			}
			from = uids[i] + 1
		}
	}
	*s = out
}

func (s spans) has(uid uint32) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].to >= uid })
	return i < len(s) && s[i].from <= uid
}

// parseSpans reads a UID set of a server (RFC 9051, uid-set without "*"); what
// is none is left out.
func parseSpans(set string) (out spans) {
	for part := range strings.SplitSeq(set, ",") {
		a, b, ranged := strings.Cut(part, ":")
		from, err := strconv.ParseUint(a, 10, 32)
		to := from
		if ranged && err == nil {
			to, err = strconv.ParseUint(b, 10, 32)
		}
		if err != nil || from == 0 || to == 0 {
			continue
		}
		out = append(out, span{uint32(min(from, to)), uint32(max(from, to))})
	}
	return out.merge()
}

// merge sorts spans and joins those that touch.
func (s spans) merge() spans {
	slices.SortFunc(s, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := s[:0]
	for _, p := range s {
		if k := len(out) - 1; k >= 0 && p.from <= out[k].to+1 {
			out[k].to = max(out[k].to, p.to)
			continue
		}
		out = append(out, p)
	}
	return out
}

// sets writes UIDs as IMAP sets of at most limit characters each.
func sets(uids []uint32) []string {
	var s spans
	for _, uid := range uids {
		s.add(uid)
	}
	return s.sets()
}

func (s spans) sets() (out []string) {
	const limit = 6000
	var b strings.Builder
	for _, p := range s {
		part := strconv.FormatUint(uint64(p.from), 10)
		if p.to > p.from {
			part = fmt.Sprintf("%d:%d", p.from, p.to)
		}
		if b.Len() > 0 && b.Len()+len(part) > limit {
			out = append(out, b.String())
			b.Reset()
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(part)
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	return out
}
