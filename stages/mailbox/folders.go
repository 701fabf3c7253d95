package mailbox

import (
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"unicode"
)

// mapping is where a source folder goes.
type mapping struct {
	source listed
	target string   // wire name at the target
	path   []string // the same in UTF-8
	own    int      // levels of path that the folders above decide
}

// place is the target's side of the mapping.
type place struct {
	space    space
	existing []listed
	anyCase  bool // names that differ only in case are one folder
}

// key is the same for names that are one folder at the target.
func (p place) key(wire string) string {
	if !p.anyCase {
		return wire
	}
	name := strings.Join(p.space.split(wire), "\x00")
	if p.space.zimbra {
		name = bare(name)
	}
	return strings.Map(fold, name)
}

// fold is the same for all cases of a letter.
func fold(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// find finds a folder of the target by its wire name.
func (p place) find(wire string) *listed {
	for i := range p.existing {
		if p.existing[i].wire == wire {
			return &p.existing[i]
		}
	}
	if p.anyCase {
		for i, l := range p.existing {
			if p.key(l.wire) == p.key(wire) {
				return &p.existing[i]
			}
		}
	}
	return nil
}

// excluded tells whether a pattern matches the folder or one it stands in.
func excluded(patterns []string, l listed) bool {
	for i := range l.path {
		name := shownPath(l.path[:i+1])
		for _, p := range patterns {
			if ok, _ := path.Match(p, name); ok {
				return true
			}
		}
	}
	return false
}

// mapFolders gives each source folder its folder at the target. kept holds
// what earlier passes decided, by the source's wire name: it never changes.
// The result depends on nothing but its arguments, and no two folders share a
// target, so collisions are known before anything is created.
func mapFolders(source []listed, target place, kept map[string]string, rename map[string]string) []mapping {
	order := slices.Clone(source)
	sort.SliceStable(order, func(i, j int) bool {
		if a, b := rank(order[i], target, kept, rename), rank(order[j], target, kept, rename); a != b {
			return a < b
		}
		return order[i].wire < order[j].wire
	})
	m := mapper{target: target, rename: rename, used: map[string]bool{}, exists: map[string]bool{}, paths: map[string][]string{}}
	for _, t := range kept {
		m.used[target.key(t)] = true
	}
	for _, l := range target.existing {
		m.exists[target.key(l.wire)] = true
	}
	out := make([]mapping, 0, len(order))
	for _, l := range order {
		if t, ok := kept[l.wire]; ok {
			p := target.space.split(t)
			m.paths[l.wire] = p
			out = append(out, mapping{l, t, p, len(p)})
			continue
		}
		p, own := m.wanted(l)
		p = m.free(m.found(m.spelt(p), own))
		t := target.space.join(p)
		m.used[target.key(t)] = true
		m.paths[l.wire] = p
		out = append(out, mapping{l, t, p, own})
	}
	return out
}

// rank is the order of choosing: what is fixed goes first, so that a folder
// that merely has the same name steps aside. Parents go before children.
func rank(l listed, target place, kept, rename map[string]string) int {
	_, isKept := kept[l.wire]
	_, isRenamed := rename[l.name()]
	switch {
	case isKept:
		return 0
	case l.wire == "INBOX":
		return 1
	case isRenamed:
		return 2
	case target.special(l.special) != nil:
		return 3
	}
	if len(l.path) == 1 && target.reserved(l.path[0]) {
		return 3 + 2*len(l.path) + 1 // whose name it will be is served first
	}
	return 3 + 2*len(l.path)
}

// special finds the target's folder for a special use.
func (p place) special(use string) *listed {
	if use == "" {
		return nil
	}
	for i, l := range p.existing {
		if l.special == use && !l.noselect && !l.foreign {
			return &p.existing[i]
		}
	}
	return nil
}

type mapper struct {
	target place
	rename map[string]string
	used   map[string]bool     // keys that are taken, or refused
	exists map[string]bool     // keys of the target's folders
	paths  map[string][]string // source wire name -> target path
}

// wanted is the path a folder should have at the target, and how many of its
// levels are those of a folder above.
func (m mapper) wanted(l listed) (p []string, own int) {
	if l.wire == "INBOX" {
		return []string{"INBOX"}, 1
	}
	for i := len(l.path); i > 0; i-- {
		if to, ok := m.rename[shownPath(l.path[:i])]; ok {
			return m.held(append(strings.Split(to, "/"), l.path[i:]...)), 0
		}
		if i == len(l.path) {
			if t := m.target.special(l.special); t != nil {
				return t.path, len(t.path)
			}
			continue
		}
		if to, ok := m.paths[l.levels[i-1]]; ok && l.levels[i-1] != "INBOX" { // children follow their parent
			return append(slices.Clone(to), m.held(slices.Clone(l.path[i:]))...), len(to)
		}
	}
	return m.held(slices.Clone(l.path)), 0
}

// held respells what no name at the target can hold.
func (m mapper) held(p []string) []string {
	for i := range p {
		p[i] = m.target.space.level(p[i])
	}
	if len(p) > 0 && m.target.reserved(p[0]) {
		p[0] += forMail
	}
	if len(p) > 0 && strings.EqualFold(p[0], "INBOX") { // RFC 9051, 5.1: whatever the case
		p[0] = "INBOX"
	}
	if m.target.space.delim == "" && len(p) > 1 {
		p = []string{strings.Join(p, string(like('/')))}
	}
	return p
}

// spelt is a path in the target's spelling, where case does not matter.
func (m mapper) spelt(p []string) []string {
	if !m.target.anyCase {
		return p
	}
	for i := len(p); i > 0; i-- {
		if l := m.target.find(m.target.space.join(p[:i])); l != nil {
			return append(slices.Clone(l.path), p[i:]...)
		}
	}
	return p
}

// found is a path that an earlier run had to fall back on, if the target has
// it and nobody else goes there: the ledger may have been lost since.
func (m mapper) found(p []string, own int) []string {
	if m.exists[m.key(p)] {
		return p
	}
	for _, v := range m.variants(p, own) {
		if k := m.key(v); m.exists[k] && !m.used[k] {
			return v
		}
	}
	return p
}

func (m mapper) key(p []string) string { return m.target.key(m.target.space.join(p)) }

// free makes a path that no other folder has: "Name (2)".
func (m mapper) free(p []string) []string {
	if !m.used[m.key(p)] {
		return p
	}
	last := p[len(p)-1]
	for n := 2; ; n++ {
		q := append(slices.Clone(p[:len(p)-1]), fmt.Sprintf("%s (%d)", last, n))
		if !m.used[m.key(q)] {
			return q
		}
	}
}

// variants are the paths to try, in this order, where the target refuses one:
// its own levels as most servers take them, then cut, then in one level of
// letters and digits.
func (m mapper) variants(p []string, own int) [][]string {
	own = min(own, len(p)-1)
	above, rest := p[:own:own], p[own:]
	careful, cut := slices.Clone(above), slices.Clone(above)
	for _, part := range rest {
		c := m.target.space.careful(part)
		careful, cut = append(careful, c), append(cut, short(c, 100))
	}
	return [][]string{careful, cut, {strict(p)}}
}

// renamed tells whether a person sees another name at the target.
func (m mapping) renamed() bool {
	from := m.source.path
	if len(from) > 1 && from[0] == "INBOX" && len(m.path) == len(from)-1 {
		from = from[1:] // the prefix INBOX. is no name
	}
	return !slices.Equal(from, m.path)
}
