package imaptest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (v *session) list(m *Moment) {
	status := ""
	if m.Verb == "XLIST" && !v.s.has("XLIST") {
		m.Refuse("BAD", "unknown command")
		return
	}
	if i := strings.Index(m.Line, "STATUS ("); i >= 0 {
		status = m.Line[i+len("STATUS ("):]
	}
	for _, name := range slices.Sorted(maps.Keys(v.account.folders)) {
		f := v.account.folders[name]
		if m.Verb == "LSUB" && !f.subscribed {
			continue
		}
		attrs := []string{}
		if f.use != "" && (m.Verb == "XLIST" || v.s.has("SPECIAL-USE")) {
			attrs = append(attrs, f.use)
		}
		if f.subscribed {
			attrs = append(attrs, `\Subscribed`)
		}
		m.say(`%s (%s) "%s" %s`, m.Verb, strings.Join(attrs, " "), v.s.Delimiter, quoted(name))
		if status != "" {
			m.say("STATUS %s (%s)", quoted(name), v.s.counts(f, status))
		}
	}
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// counts answers the items of a STATUS.
func (s *Server) counts(f *folder, items string) string {
	var out []string
	for _, item := range strings.Fields(strings.ToUpper(strings.TrimRight(items, ") "))) {
		switch item {
		case "MESSAGES":
			out = append(out, fmt.Sprintf("MESSAGES %d", len(f.messages)))
		case "UIDNEXT":
			out = append(out, fmt.Sprintf("UIDNEXT %d", f.next))
		case "UIDVALIDITY":
			out = append(out, fmt.Sprintf("UIDVALIDITY %d", f.validity))
		case "HIGHESTMODSEQ":
			if s.has("CONDSTORE") {
				out = append(out, fmt.Sprintf("HIGHESTMODSEQ %d", f.modseq))
			}
		}
	}
	return strings.Join(out, " ")
}

func (v *session) named(m *Moment) *folder {
	f := v.account.folders[inbox(m.text(0))]
	if f == nil {
		m.Refuse("NO", "[NONEXISTENT] no such folder")
	}
	return f
}

func inbox(name string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

func (v *session) status(m *Moment) {
	if f := v.named(m); f != nil {
		m.say("STATUS %s (%s)", quoted(f.name), v.s.counts(f, strings.Join(texts(m.args[1].list), " ")))
	}
}

func (v *session) open(m *Moment) {
	v.folder = nil
	f := v.named(m)
	if f == nil {
		return
	}
	v.folder, v.writable, v.told = f, m.Verb == "SELECT", len(f.messages)
	m.say(`FLAGS (\Answered \Flagged \Deleted \Seen \Draft)`)
	m.say("%d EXISTS", len(f.messages))
	m.say("0 RECENT")
	m.say("OK [UIDVALIDITY %d] valid", f.validity)
	m.say("OK [UIDNEXT %d] next", f.next)
	if v.s.has("CONDSTORE") {
		m.say("OK [HIGHESTMODSEQ %d] modseq", f.modseq)
	}
	m.Text = "[READ-ONLY] open"
	if v.writable {
		m.say(`OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] all`)
		m.Text = "[READ-WRITE] open"
	}
}

// news tells a client of messages that have come.
func (v *session) news(m *Moment) {
	if v.folder != nil && len(v.folder.messages) != v.told {
		v.told = len(v.folder.messages)
		m.say("%d EXISTS", v.told)
	}
}

// tree changes folders.
func (v *session) tree(m *Moment) {
	a, name := v.account, inbox(m.text(0))
	if m.Verb == "CREATE" {
		switch {
		case a.folders[name] != nil:
			m.Refuse("NO", "[ALREADYEXISTS] it is there")
		case !m.Skip:
			use := ""
			if len(m.args) > 1 && len(m.args[1].list) > 1 {
				use = m.args[1].list[1].list[0].text
			}
			a.create(name, use)
		}
		return
	}
	f := v.named(m)
	if f == nil || m.Skip {
		return
	}
	switch m.Verb {
	case "DELETE":
		delete(a.folders, name)
	case "RENAME":
		delete(a.folders, name)
		f.name = m.text(1)
		a.folders[f.name] = f
	default:
		f.subscribed = m.Verb == "SUBSCRIBE"
	}
}
