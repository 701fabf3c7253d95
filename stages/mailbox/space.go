package mailbox

import "strings"

// space is how a server names folders.
type space struct {
	delim   string
	prefix  string   // of the personal namespace: "" or "INBOX."
	foreign []string // prefixes of other users' and shared namespaces
	zimbra  bool     // see zimbra.go
}

// take reads a NAMESPACE response (RFC 2342).
func (sp *space) take(r *response) {
	for i, t := range r.tokens() {
		for j, entry := range t.list {
			if len(entry.list) < 2 {
				continue
			}
			prefix := entry.list[0].text
			if i == 0 && j == 0 {
				sp.prefix = prefix
				if !entry.list[1].isNil() {
					sp.delim = entry.list[1].text
				}
			} else if i > 0 {
				sp.foreign = append(sp.foreign, prefix)
			}
		}
	}
}

// guessPrefix finds "INBOX." where no NAMESPACE tells of it: all folders stand
// below INBOX.
func (sp *space) guessPrefix(list []listed, told bool) {
	if told || sp.delim == "" || len(list) < 2 {
		return
	}
	prefix := "INBOX" + sp.delim
	for _, l := range list {
		if l.wire != "INBOX" && !strings.HasPrefix(l.wire, prefix) {
			return
		}
	}
	sp.prefix = prefix
}

// place finds a folder's place in the tree.
func (sp space) place(l *listed) {
	for _, p := range sp.foreign {
		switch {
		case p == "": // where neither prefix stands: Cyrus has its shared folders so
			l.foreign = l.foreign || sp.prefix != "" && l.wire != "INBOX" && !strings.HasPrefix(l.wire, sp.prefix)
		case strings.HasPrefix(l.wire, p), l.wire+sp.delim == p:
			l.foreign = true
		}
	}
	l.path = sp.split(l.wire)
	l.levels = make([]string, len(l.path))
	for i, wire := len(l.path)-1, l.wire; i >= 0; i-- {
		l.levels[i] = wire
		if sp.delim != "" {
			wire = wire[:max(0, strings.LastIndex(wire, sp.delim))]
		}
	}
}

// split turns a wire name into its parts in UTF-8.
func (sp space) split(wire string) []string {
	if wire == "INBOX" {
		return []string{"INBOX"}
	}
	if rest := strings.TrimPrefix(wire, sp.prefix); rest != "" {
		wire = rest
	}
	parts := []string{wire}
	if sp.delim != "" {
		parts = strings.Split(wire, sp.delim)
	}
	for i, p := range parts {
		parts[i], _ = decodeName(p)
	}
	return parts
}

// join turns parts into a wire name.
func (sp space) join(path []string) string {
	if len(path) == 1 && path[0] == "INBOX" {
		return "INBOX"
	}
	prefix := sp.prefix
	if len(path) > 1 && path[0] == "INBOX" && strings.EqualFold(prefix, "INBOX"+sp.delim) {
		path = path[1:]
	}
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = encodeName(p)
	}
	if sp.delim == "" {
		return prefix + strings.Join(parts, "_")
	}
	return prefix + strings.Join(parts, sp.delim)
}
