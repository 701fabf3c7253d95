package mailbox

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What Zimbra does not hold, and does not say so before (zm-mailbox, 10.1):
// names of folders that are not for mail, some characters, some keywords, dates
// of other centuries and messages of nothing.

// zimbraReserved are names at the top that are refused (Calendar, Contacts,
// Notebook), or that exist, do not show and do not open; "home" leads to other
// users' mailboxes.
var zimbraReserved = []string{
	"calendar", "contacts", "emailed contacts", "notebook", "tasks", "briefcase", "chats",
	"files shared with me", "unsubscribe", "home",
}

// zimbraBars are the characters, beside controls, that no name has there.
const zimbraBars = `:"/`

const (
	zimbraLevel   = 255 // characters of one level of a name
	zimbraKeyword = 128 // bytes of a tag's name
)

// zimbraSession are keywords that Zimbra takes and forgets when the session ends.
var zimbraSession = []string{"$junk", "$notjunk", "junk", "notjunk", "nonjunk", "junkrecorded"}

// keepFlags is what the server can hold of flags in a folder with these
// PERMANENTFLAGS, and what it cannot.
func (sp space) keepFlags(flags string, permanent []string) (kept string, dropped []string) {
	kept, dropped = keepFlags(flags, permanent)
	if !sp.zimbra {
		return kept, dropped
	}
	var out []string
	for _, f := range strings.Fields(kept) {
		if strings.Contains(f, ":") || len(f) > zimbraKeyword || slices.Contains(zimbraSession, strings.ToLower(f)) {
			dropped = append(dropped, f)
			continue
		}
		out = append(out, f)
	}
	return strings.Join(out, " "), dropped
}

// level spells one level of a name as the server can hold it.
func (sp space) level(part string) string {
	if !sp.zimbra {
		return respell(part, sp.impossible)
	}
	end, dots := len(strings.TrimRight(part, " ")), part == "." || part == ".."
	no := func(r rune) bool { return sp.impossible(r) || r == ' ' || r == '.' }
	part = respellAt(part, no, func(at int, r rune) bool {
		return sp.impossible(r) || r == ' ' && at >= end || r == '.' && dots
	})
	if utf8.RuneCountInString(part) > zimbraLevel {
		part = short(part, zimbraLevel)
	}
	return part
}

// reserved tells whether a name at the top is not for mail at the target.
func (p place) reserved(name string) bool {
	if p.space.zimbra {
		return slices.Contains(zimbraReserved, strings.ToLower(strings.TrimSpace(name)))
	}
	return slices.ContainsFunc(p.existing, func(l listed) bool { return l.notMail && len(l.path) == 1 && strings.EqualFold(l.path[0], name) })
}

// forMail is what a folder is called whose own name is reserved.
const forMail = " (mail)"

// bare is a name without accents: Zimbra's database takes names that differ in
// nothing else for the same.
func bare(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFD.String(name))
}
