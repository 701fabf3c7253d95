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
}

// place is the target's side of the mapping.
type place struct {
	space    space
	existing []listed
}

// excluded tells whether a pattern matches the folder or one it stands in.
func excluded(patterns []string, l listed) bool {
	for i := range l.path {
		name := strings.Join(l.path[:i+1], "/")
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
	used := map[string]bool{}
	for _, t := range kept {
		used[t] = true
	}
	m := mapper{target: target, rename: rename, used: used, paths: map[string][]string{}}
	out := make([]mapping, 0, len(order))
	for _, l := range order {
		if t, ok := kept[l.wire]; ok {
			p := target.space.split(t)
			m.paths[l.name()] = p
			out = append(out, mapping{l, t, p})
			continue
		}
		p := m.free(m.wanted(l))
		t := target.space.join(p)
		used[t] = true
		m.paths[l.name()] = p
		out = append(out, mapping{l, t, p})
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
	return 3 + len(l.path)
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
	used   map[string]bool
	paths  map[string][]string // source name -> target path
}

// wanted is the path a folder should have at the target.
func (m mapper) wanted(l listed) []string {
	if l.wire == "INBOX" {
		return []string{"INBOX"}
	}
	for i := len(l.path); i > 0; i-- {
		name := strings.Join(l.path[:i], "/")
		if to, ok := m.rename[name]; ok {
			return m.held(append(strings.Split(to, "/"), l.path[i:]...))
		}
		if i == len(l.path) {
			if t := m.target.special(l.special); t != nil {
				return t.path
			}
			continue
		}
		if to, ok := m.paths[name]; ok && name != "INBOX" { // children follow their parent
			return m.held(append(slices.Clone(to), l.path[i:]...))
		}
	}
	return m.held(slices.Clone(l.path))
}

// held replaces what no name at the target can hold.
func (m mapper) held(p []string) []string {
	for i, part := range p {
		if d := m.target.space.delim; d != "" {
			part = strings.ReplaceAll(part, d, "_")
		}
		part = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return '_'
			}
			return r
		}, part)
		if part == "" {
			part = "_"
		}
		p[i] = part
	}
	if len(p) == 1 && strings.EqualFold(p[0], "INBOX") {
		p[0] = "INBOX"
	}
	return p
}

// free makes a path that no other folder has: "Name (2)".
func (m mapper) free(p []string) []string {
	if !m.used[m.target.space.join(p)] {
		return p
	}
	last := p[len(p)-1]
	for n := 2; ; n++ {
		q := append(slices.Clone(p[:len(p)-1]), fmt.Sprintf("%s (%d)", last, n))
		if !m.used[m.target.space.join(q)] {
			return q
		}
	}
}

// substitute is the name tried when the target refuses a name: what servers
// are known to refuse is replaced, and the length cut.
func substitute(p []string) []string {
	out := make([]string, len(p))
	for i, part := range p {
		part = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || strings.ContainsRune(`%*"\/&~#^`, r) {
				return '_'
			}
			return r
		}, part)
		part = strings.Trim(part, " .")
		for len(part) > 100 {
			r := []rune(part)
			part = string(r[:len(r)-1])
		}
		if part == "" {
			part = "_"
		}
		out[i] = part
	}
	if slices.Equal(out, p) {
		out[len(out)-1] += "_"
	}
	return out
}

// strictest is the last name tried: one level, letters, digits and no more.
func strictest(p []string) []string {
	return []string{strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == ' ' || r == '-' {
			return r
		}
		return '_'
	}, strings.Join(substitute(p), "_"))}
}

// renamed tells whether a person sees another name at the target.
func (m mapping) renamed() bool {
	from := m.source.path
	if len(from) > 1 && from[0] == "INBOX" && len(m.path) == len(from)-1 {
		from = from[1:] // the prefix INBOX. is no name
	}
	return !slices.Equal(from, m.path)
}
