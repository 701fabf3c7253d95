package imaptest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const dateLayout = "_2-Jan-2006 15:04:05 -0700"

// parcels reads the messages of an APPEND: flags, date, literal; more of the
// same with MULTIAPPEND.
func (m *Moment) parcels() {
	if len(m.args) == 0 {
		return
	}
	m.Folder = inbox(m.args[0].text)
	next := &Message{}
	for _, a := range m.args[1:] {
		switch {
		case a.lit:
			next.Body = []byte(a.text)
			m.Messages = append(m.Messages, next)
			next = &Message{}
		case a.list != nil:
			next.Flags = texts(a.list)
		default:
			next.Date, _ = time.Parse(dateLayout, a.text)
		}
	}
}

func (v *session) append(m *Moment) {
	f := v.account.folders[m.Folder]
	switch {
	case f == nil:
		m.Refuse("NO", "[TRYCREATE] no such folder")
		return
	case len(m.command.lits) > 1 && !v.s.has("MULTIAPPEND"):
		m.Refuse("BAD", "one message at a time")
		return
	case v.refusesPlain(m):
		m.Refuse("NO", "Message contains NUL characters or bare newlines")
		return
	case m.Verb == "APPEND8" && !v.s.has("BINARY"):
		m.Refuse("BAD", "what is a ~?")
		return
	}
	first := f.next
	for _, msg := range m.Messages {
		if msg.Date.IsZero() {
			msg.Date = time.Now()
		}
		if !m.Skip {
			f.add(*msg)
			m.stored = append(m.stored, f.messages[len(f.messages)-1])
		}
	}
	if v.s.has("UIDPLUS") && len(m.command.lits) > 0 {
		set := strconv.Itoa(int(first))
		if n := len(m.command.lits); n > 1 {
			set = fmt.Sprintf("%d:%d", first, int(first)+n-1)
		}
		m.Text = fmt.Sprintf("[APPENDUID %d %s] stored", f.validity, set)
	}
	v.news(m)
}

// in tells whether uid is in a set.
func in(set string, uid, highest uint32) bool {
	for _, part := range strings.Split(set, ",") {
		from, to, ranged := strings.Cut(part, ":")
		a, z := number(from, highest), number(from, highest)
		if ranged {
			z = number(to, highest)
		}
		if a > z {
			a, z = z, a
		}
		if uid >= a && uid <= z {
			return true
		}
	}
	return false
}

func number(s string, highest uint32) uint32 {
	if s == "*" {
		return highest
	}
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// asked are the messages of a set of UIDs, with their numbers.
func (v *session) asked(set string) (list []*Message, numbers []int) {
	if v.folder == nil {
		return nil, nil
	}
	highest := uint32(0)
	for _, m := range v.folder.messages {
		highest = max(highest, m.UID)
	}
	for i, m := range v.folder.messages {
		if in(set, m.UID, highest) {
			list, numbers = append(list, m), append(numbers, i+1)
		}
	}
	return list, numbers
}

func (v *session) fetch(m *Moment) {
	if v.folder == nil {
		m.Refuse("BAD", "no folder is open")
		return
	}
	items := texts(m.args[1].list)
	if items == nil {
		items = []string{m.text(1)}
	}
	since := uint64(0)
	if len(m.args) > 2 && len(m.args[2].list) > 1 {
		since, _ = strconv.ParseUint(m.args[2].list[1].text, 10, 64)
		items = append(items, "MODSEQ")
	}
	list, numbers := v.asked(m.text(0))
	for i, msg := range list {
		if msg.modseq > since {
			m.Untagged = append(m.Untagged, v.asLiteral8(Fetched(numbers[i], *msg, items...), msg.Body))
		}
	}
}

// Fetched writes a FETCH response.
func Fetched(number int, m Message, items ...string) string {
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteByte(' ')
		}
		name := strings.ToUpper(strings.Replace(item, ".PEEK", "", 1))
		says, told := m.Says[name]
		switch {
		case told:
			b.WriteString(name + " " + says)
		case name == "UID":
			fmt.Fprintf(&b, "UID %d", m.UID)
		case name == "FLAGS":
			fmt.Fprintf(&b, "FLAGS (%s)", strings.Join(m.Flags, " "))
		case name == "INTERNALDATE":
			fmt.Fprintf(&b, `INTERNALDATE "%s"`, m.Date.Format(dateLayout))
		case name == "RFC822.SIZE":
			fmt.Fprintf(&b, "RFC822.SIZE %d", len(m.Body))
		case name == "MODSEQ":
			fmt.Fprintf(&b, "MODSEQ (%d)", m.modseq)
		case strings.HasPrefix(name, "BODY[]<"):
			b.WriteString(partial(name, m.Body))
		case name == "BODY[]":
			fmt.Fprintf(&b, "BODY[] {%d}\r\n%s", len(m.Body), m.Body)
		case strings.HasPrefix(name, "BODY[]<"): // RFC 9051, 6.4.5: from so many bytes on, so many
			var from, size int
			_, _ = fmt.Sscanf(name, "BODY[]<%d.%d>", &from, &size)
			part := m.Body[min(from, len(m.Body)):]
			part = part[:min(size, len(part))]
			fmt.Fprintf(&b, "BODY[]<%d> {%d}\r\n%s", from, len(part), part)
		default: // a header, whole or some fields of it
			head, _, _ := bytes.Cut(m.Body, []byte("\r\n\r\n"))
			text := string(head) + "\r\n\r\n"
			fmt.Fprintf(&b, "%s {%d}\r\n%s", name, len(text), text)
		}
	}
	return fmt.Sprintf("* %d FETCH (%s)\r\n", number, b.String())
}

func deleted(m *Message) bool { return slices.Contains(m.Flags, `\Deleted`) }

// change carries out what changes messages of the open folder.
func (v *session) change(m *Moment) {
	if v.folder == nil || !v.writable {
		m.Refuse("NO", "[READ-ONLY] no folder is open for writing")
		return
	}
	if m.Skip {
		return
	}
	list, _ := v.asked(m.text(0))
	switch m.Verb {
	case "STORE":
		v.folder.modseq++
		for _, msg := range list {
			msg.store(m.text(1), texts(m.args[2].list))
			msg.modseq = v.folder.modseq
		}
	case "EXPUNGE":
		set := m.text(0)
		v.folder.remove(func(msg *Message) bool { return deleted(msg) && (set == "" || slices.Contains(list, msg)) })
		v.told = len(v.folder.messages)
	default:
		v.copy(m, list)
	}
}

func (m *Message) store(how string, flags []string) {
	switch how[0] {
	case '+':
		m.Flags = sortedFlags(append(slices.Clone(m.Flags), flags...))
	case '-':
		m.Flags = slices.DeleteFunc(slices.Clone(m.Flags), func(f string) bool { return slices.Contains(flags, f) })
	default:
		m.Flags = sortedFlags(flags)
	}
}

func (v *session) copy(m *Moment, list []*Message) {
	to := v.account.folders[inbox(m.text(1))]
	if to == nil {
		m.Refuse("NO", "[TRYCREATE] no such folder")
		return
	}
	var old, fresh []string
	for _, msg := range list {
		old = append(old, strconv.Itoa(int(msg.UID)))
		fresh = append(fresh, strconv.Itoa(int(to.add(*msg))))
	}
	if m.Verb == "MOVE" {
		v.folder.remove(func(msg *Message) bool { return slices.Contains(list, msg) })
		v.told = len(v.folder.messages)
	}
	if v.s.has("UIDPLUS") && len(list) > 0 {
		m.Text = fmt.Sprintf("[COPYUID %d %s %s] done", to.validity, strings.Join(old, ","), strings.Join(fresh, ","))
	}
}
