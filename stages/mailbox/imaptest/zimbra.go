package imaptest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Zimbra is what its IMAP server offers, as far as this one can.
var Zimbra = []string{
	"IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "LITERAL+", "UIDPLUS", "MULTIAPPEND", "NAMESPACE", "LIST-EXTENDED", "LIST-STATUS",
	"CONDSTORE", "UNSELECT", "QUOTA", "ID", "XLIST",
}

// ZimbraGreeting is how it greets where no proxy stands before it.
const ZimbraGreeting = "* OK mail.new.example Zimbra IMAP4rev1 server ready"

var openers = []string{"SELECT", "EXAMINE", "STATUS", "APPEND", "DELETE", "SUBSCRIBE", "UNSUBSCRIBE"}

// ZimbraQuirks are those of a target.
func ZimbraQuirks() []Quirk {
	text := func(n int) []byte {
		return []byte(fmt.Sprintf("Message-ID: <z%d@old.example>\r\nSubject: z\r\n\r\nzimbra %d\r\n", n, n))
	}
	day := time.Date(2022, 5, 6, 7, 8, 9, 0, time.UTC)
	fill := func(folders ...string) func(*Account) {
		return func(a *Account) {
			for i, f := range folders {
				a.Add(f, Message{Body: append(text(i), f...), Date: day})
			}
		}
	}
	return []Quirk{
		{
			Name: "special use by XLIST only", Holds: zimbraFolders,
			Source: fill("Sent Items", "Deleted Items", "Junk Email", "Drafts"),
		},
		{
			Name: "special use by name only", Holds: zimbraFolders, Caps: func(caps []string) []string { return lacking(caps, "XLIST") },
			Source: fill("Sent Items", "Deleted Items", "Junk Email", "Drafts"),
		},
		{
			Name: "proxied, known by ID", Greets: "* OK IMAP4 ready", Names: `("NAME" "Zimbra" "VERSION" "10.1.0")`,
			Faults: []Fault{refusedNames()}, Source: fill("Calendar"),
		},
		{
			Name: "proxied, known by the plan", Greets: "* OK IMAP4 ready", Caps: func(caps []string) []string { return lacking(caps, "ID") },
			Faults: []Fault{refusedNames()}, Source: fill("Calendar"), Forms: Forms{Platform: "zimbra"},
		},
		{Name: "signs in on behalf", Forms: Forms{Auth: "authzid", Login: "admin"}, Holds: func(a *Account) { a.s.Account("admin").admin = true; a.Secret = "nobody knows" }},
		{Name: "refuses names", Faults: []Fault{refusedNames()}, Source: fill("Calendar", "Calendar/2024", "contacts", "Notebook", "Calendar (mail)", "Work/Calendar")},
		{Name: "hides names", Faults: []Fault{hiddenNames()}, Source: fill("Tasks", "Briefcase", "CHATS", "Emailed Contacts", "Tasks/old")},
		{Name: "other users below home", Faults: []Fault{{On: "CREATE", Before: func(m *Moment) {
			if top(m.text(0)) == "home" {
				m.Refuse("NO", "CREATE failed: no such account")
			}
		}}}, Source: fill("home", "home/bills")},
		{Name: "no case", Faults: caseless(), Source: fill("Projects", "projects", "PROJECTS/x", "work")},
		{Name: "characters", Faults: []Fault{characters()}, Source: fill("a:b", `say "x"`, "blank ", "blank", "sub/..", strings.Repeat("long", 70))},
		{Name: "tags", Faults: zimbraTags(), Source: func(a *Account) {
			a.Add("INBOX", Message{Body: text(40), Date: day, Flags: []string{"a:b", "Blue", `\Seen`}})
			a.Add("INBOX", Message{Body: text(41), Date: day, Flags: []string{"$Junk", "NonJunk"}})
			a.Add("INBOX", Message{Body: text(42), Date: day, Flags: []string{strings.Repeat("k", 200)}})
		}},
		{Name: "five errors", Faults: []Fault{fiveErrors()}, Source: func(a *Account) {
			for i := range 8 { // refused, whatever a client does about them
				a.Add("INBOX", Message{Body: append(text(50+i), "poison"...), Date: day})
				a.Add(fmt.Sprintf("poison %d", i), Message{Body: text(150 + i), Date: day})
			}
		}},
		{Name: "repeats", Faults: []Fault{repeats()}, Source: func(a *Account) {
			for i := range 30 {
				a.Add(fmt.Sprintf("many %d", i), Message{Body: text(100 + i), Date: day})
			}
		}},
		{Name: "size", Faults: sizeLimit(20 << 10), Source: func(a *Account) {
			a.Add("INBOX", Message{Body: append(text(60), bytes.Repeat([]byte("0123456789abcde\r\n"), 3000)...), Date: day, Flags: []string{"Blue"}})
			a.Add("INBOX", Message{Body: append(text(61), bytes.Repeat([]byte("0123456789abcde\r\n"), 270000)...), Date: day})
		}},
		{Name: "quota", Faults: []Fault{overQuota()}, Holds: func(a *Account) { a.Quota(1 << 10) }, Relieve: func(a *Account) { a.Quota(0) }},
		{Name: "empty message", Faults: []Fault{{On: "APPEND", Before: func(m *Moment) {
			if slices.ContainsFunc(m.Messages, func(msg *Message) bool { return len(msg.Body) == 0 }) {
				m.Server.complaints = append(m.Server.complaints, "an empty message")
				m.Refuse("BAD", "invalid literal")
				m.HangUp(1 << 30)
			}
		}}}, Source: func(a *Account) { a.Add("INBOX", Message{Date: day}) }},
		{Name: "dates", Faults: []Fault{{On: "APPEND", Before: func(m *Moment) {
			for _, msg := range m.Messages {
				if msg.Date.Year() < 1970 {
					m.Refuse("BAD", "date out of range")
				} else if msg.Date.After(time.Unix(1<<31-1, 0)) {
					m.Refuse("NO", "APPEND failed")
				}
			}
		}}}, Source: func(a *Account) {
			a.Add("INBOX", Message{Body: text(70), Date: time.Date(1969, 1, 2, 3, 4, 5, 0, time.UTC), Flags: []string{"Blue"}})
			a.Add("INBOX", Message{Body: text(71), Date: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)})
		}},
		{Name: "a failed group is gone", Faults: []Fault{{On: "APPEND", Before: func(m *Moment) {
			if slices.ContainsFunc(m.Messages, func(msg *Message) bool { return bytes.Contains(msg.Body, []byte("poison")) }) {
				m.Account.folders[m.Folder].next += uint32(len(m.Messages))
				m.Refuse("NO", "APPEND failed")
			}
		}}}, Source: func(a *Account) { a.Add("INBOX", Message{Body: append(text(80), "poison"...), Date: day}) }},
		{Name: "no folders below Junk", Holds: zimbraFolders, Faults: []Fault{{On: "CREATE", Before: func(m *Moment) {
			if strings.HasPrefix(m.text(0), "Junk/") {
				m.Refuse("NO", "CREATE failed: invalid parent")
			}
		}}}, Source: fill("Junk Email", "Junk Email/old")},
	}
}

func zimbraFolders(a *Account) {
	for name, use := range map[string]string{"Sent": `\Sent`, "Drafts": `\Drafts`, "Trash": `\Trash`, "Junk": `\Spam`} {
		a.Folder(name, use)
	}
}

// lacking is what is left of capabilities without one.
func lacking(caps []string, name string) []string {
	return slices.DeleteFunc(caps, func(c string) bool { return c == name })
}

func refusedNames() Fault {
	return Fault{On: "CREATE", Before: func(m *Moment) {
		if slices.Contains([]string{"calendar", "contacts", "notebook"}, top(m.text(0))) {
			m.Refuse("NO", "CREATE failed: mailbox may not be created")
		}
	}}
}

func hiddenNames() Fault {
	return Fault{Before: func(m *Moment) {
		if !slices.Contains([]string{"tasks", "briefcase", "chats", "emailed contacts"}, top(m.text(0))) {
			return
		}
		switch {
		case m.Verb == "CREATE":
			m.Refuse("NO", "CREATE failed: mailbox already exists")
		case slices.Contains(openers, m.Verb):
			m.Refuse("NO", m.Verb+" failed")
		}
	}}
}

// caseless looks folders up whatever the case of letters.
func caseless() []Fault {
	return []Fault{{Before: func(m *Moment) {
		if m.Account == nil || len(m.args) == 0 {
			return
		}
		have := m.same(inbox(m.args[0].text), strings.ToLower)
		switch {
		case m.Verb == "CREATE" && m.Account.folders[have] != nil:
			m.Refuse("NO", "CREATE failed: mailbox already exists")
		case slices.Contains(openers, m.Verb):
			m.args[0].text = have
			if m.Verb == "APPEND" {
				m.Folder = have
			}
		}
	}}}
}

func characters() Fault {
	return Fault{Before: func(m *Moment) {
		if len(m.args) == 0 || m.Verb != "CREATE" && !slices.Contains(openers, m.Verb) {
			return
		}
		levels := strings.Split(m.args[0].text, "/")
		for i, l := range levels {
			levels[i] = strings.TrimRight(l, " ")
			if m.Verb == "CREATE" && (strings.ContainsAny(l, ":\"\t") || len(l) > 255 || l == "." || l == "..") {
				m.Refuse("NO", "CREATE failed: invalid mailbox name")
				return
			}
		}
		m.args[0].text = strings.Join(levels, "/")
		if m.Verb == "APPEND" {
			m.Folder = m.args[0].text
		}
	}}
}

// zimbraTags refuses what is no name of a tag, and forgets flags of the session.
func zimbraTags() []Fault {
	check := func(m *Moment, flags []string) []string {
		kept := flags[:0:0]
		for _, f := range flags {
			if strings.Contains(f, ":") || len(f) > 128 || strings.HasPrefix(f, `\`) && !slices.Contains([]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}, f) {
				m.Refuse("NO", m.Verb+" failed")
			}
			if f != "$Junk" && f != "NonJunk" {
				kept = append(kept, f)
			}
		}
		return kept
	}
	return []Fault{
		{On: "APPEND", Before: func(m *Moment) {
			for _, msg := range m.Messages {
				msg.Flags = check(m, msg.Flags)
			}
		}},
		{On: "STORE", Before: func(m *Moment) { check(m, texts(m.args[2].list)) }},
	}
}

// fiveErrors ends a connection at the fifth refusal in a row. So that there are
// some, it does not like poison.
func fiveErrors() Fault {
	row := map[int]int{}
	return Fault{
		Before: func(m *Moment) {
			if slices.ContainsFunc(m.Messages, func(msg *Message) bool { return bytes.Contains(msg.Body, []byte("poison")) }) {
				m.Refuse("NO", "APPEND failed")
			}
			if m.Verb == "CREATE" && strings.HasPrefix(m.text(0), "poison") {
				m.Refuse("NO", "CREATE failed")
			}
		},
		After: func(m *Moment) {
			if row[m.Session]++; m.Kind != "NO" && m.Kind != "BAD" {
				row[m.Session] = 0
			}
			if row[m.Session] >= 5 {
				m.Server.complaints = append(m.Server.complaints, "five refusals in a row")
				m.HangUp(1 << 30)
			}
		},
	}
}

// repeats ends a connection at the 26th repetition of a command.
func repeats() Fault {
	type last struct {
		what string
		n    int
	}
	seen := map[int]*last{}
	return Fault{Before: func(m *Moment) {
		l := seen[m.Session]
		if l == nil {
			l = &last{}
			seen[m.Session] = l
		}
		what := m.Line
		switch m.Verb {
		case "CREATE":
			what = "CREATE"
		case "APPEND", "SELECT", "EXAMINE", "LIST", "LSUB", "XLIST", "BODY", "META", "HEADER", "STORE", "COPY":
		default:
			*l = last{}
			return
		}
		if l.what != what {
			*l = last{what: what}
		}
		if l.n++; l.n > 25 {
			m.Server.complaints = append(m.Server.complaints, "too many of "+what)
			m.Refuse("BAD", "")
			m.HangUp(0)
		}
	}}
}

// sizeLimit refuses a message before it comes, where it is asked; else it takes
// all of it and refuses it then.
func sizeLimit(most int64) []Fault {
	const says = "maximum message size exceeded"
	return []Fault{{On: "APPEND", Before: func(m *Moment) {
		if slices.ContainsFunc(m.Messages, func(msg *Message) bool { return int64(len(msg.Body)) > most }) {
			m.Refuse("BAD", says)
		}
	}}}
}

func overQuota() Fault {
	return Fault{On: "APPEND", Before: func(m *Moment) {
		size := 0
		for _, msg := range m.Messages {
			size += len(msg.Body)
		}
		if q := m.Account.quota; q > 0 && m.Account.used()+size > q {
			m.Refuse("NO", "APPEND failed")
		}
	}}
}
