package imaptest

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The catalogue. Most faults strike once or a few times and are gone when the
// client comes again; what a message's fault does, it does to UID 5 of the
// folder that is open. Each is sane but for what it names.

// Victim is the UID that the faults of single messages are about.
const Victim = 5

// Faults of both sides: connection, sign-in, folders, listings.
func anySide() []Fault {
	return append([]Fault{
		{Name: "greets with BYE", On: "GREETING", Once: 1, After: bye("too many connections from your address")},
		{Name: "greets with PREAUTH", On: "GREETING", Once: 1, After: raw("* PREAUTH welcome home\r\n")},
		{Name: "greets like a web server", On: "GREETING", Once: 1, After: raw("HTTP/1.1 400 Bad Request\r\n\r\n")},
		{Name: "does not greet", On: "GREETING", Once: 1, After: stall(0)},
		{Name: "greets half", On: "GREETING", Once: 1, After: cut(3)},
		{Name: "hangs up on CAPABILITY", On: "CAPABILITY", From: 2, Once: 1, After: cut(0)},
		{Name: "hangs up on the sign-in", On: "AUTHENTICATE", Once: 1, After: cut(0)},
		{Name: "sign-in is unavailable", On: "AUTHENTICATE", Once: 1, Before: refusing("NO", "[UNAVAILABLE] directory is down")},
		{Name: "sign-in is in use", On: "AUTHENTICATE", Once: 1, Before: refusing("NO", "[INUSE] somebody else is in")},
		{Name: "sign-in is limited", On: "AUTHENTICATE", Once: 1, Before: refusing("NO", "[LIMIT] too many of you")},
		{Name: "sign-in is refused once", On: "AUTHENTICATE", Once: 1, Before: refusing("NO", "[AUTHENTICATIONFAILED] no")},
		{Name: "INBOX does not open after the sign-in", On: "EXAMINE", Once: 1, Before: refusing("NO", "cannot open")},
		{Name: "folders are in use", On: "EXAMINE", From: 2, Once: 1, Before: refusing("NO", "[INUSE] being rebuilt")},
		{Name: "folders hang up when opened", On: "EXAMINE", From: 2, Once: 1, After: cut(20)},
		{Name: "folders stall when opened", On: "EXAMINE", From: 2, Once: 1, After: stall(20)},
		{Name: "tells no UIDVALIDITY", On: "EXAMINE", Forgets: true, From: 2, Once: 1, After: without("UIDVALIDITY")},
		{Name: "tells no UIDNEXT", On: "EXAMINE", From: 2, Once: 2, After: without("UIDNEXT")},
		{Name: "LIST is empty from the second on", On: "LIST", Forgets: true, From: 2, Once: 2, After: func(m *Moment) { m.Untagged = nil }},
		{Name: "LIST is throttled", On: "LIST", Once: 1, Before: refusing("BAD", "Request is throttled. Suggested Backoff Time: 29 milliseconds")},
		{Name: "LIST is cut", On: "LIST", Once: 1, After: cut(33)},
		{Name: "LIST stalls", On: "LIST", Once: 1, After: stall(33)},
		{Name: "LIST never ends its line", On: "LIST", Once: 1, After: flood(`* LIST () "/" `, strings.Repeat("x", 4096), 2000)},
		{Name: "LIST floods", On: "LIST", Once: 1, After: flood("", "* 1 EXISTS\r\n", 200000)},
		{Name: "LIST announces 4 GB", On: "LIST", Once: 1, After: raw("* LIST () \"/\" {4294967296}\r\nx")},
		{Name: "LIST has broken names", On: "LIST", Once: 1, After: func(m *Moment) {
			m.say("LIST () \"/\" \"a & b\"")
			m.say("LIST () \"/\" \"caf\xe9\"")
			m.say(`LIST () "/" "&AGEAYg-"`)
		}},
		{Name: "STATUS counts nothing", On: "LIST", From: 2, Once: 1, After: replace(`MESSAGES \d+`, "MESSAGES 0")},
		{Name: "listing is cut", On: "META", Once: 1, After: cut(150)},
		{Name: "listing stalls", On: "META", Once: 1, After: stall(150)},
		{Name: "listing is refused", On: "META", Once: 1, Before: refusing("NO", "[SERVERBUG] index is broken")},
		{Name: "listing is limited", On: "META", Once: 1, Before: refusing("NO", "[LIMIT] too fast")},
		{Name: "listing is throttled", On: "META", Once: 1, Before: refusing("BAD", "Request is throttled.")},
		{Name: "listing says BYE", On: "META", Once: 1, After: bye("[UNAVAILABLE] going down for maintenance")},
		{Name: "listing tells everything twice", On: "META", After: func(m *Moment) { m.Untagged = append(m.Untagged, m.Untagged...) }},
		{Name: "listing tells dates of nowhere", On: "META", After: victim(`INTERNALDATE "[^"]*"`, `INTERNALDATE "00-Jan-0000 00:00:00 +0000"`)},
		{Name: "listing tells size NIL", On: "META", After: replace(`RFC822.SIZE \d+`, "RFC822.SIZE NIL")},
		{Name: "listing tells size -1", On: "META", After: replace(`RFC822.SIZE \d+`, "RFC822.SIZE -1")},
		{Name: "listing tells a huge size", On: "META", After: victim(`RFC822.SIZE \d+`, "RFC822.SIZE 18446744073709551615")},
		{Name: "listing tells keywords with quotes", On: "META", After: victim(`FLAGS \(`, `FLAGS ("a b" c"d x] `)},
		{Name: "listing tells of strangers", On: "META", After: func(m *Moment) { m.say(`9 FETCH (FLAGS (\Seen))`); m.say(`77 FETCH (UID 0 FLAGS ())`) }},
		{Name: "says what nobody knows", After: func(m *Moment) {
			if m.Verb != "GREETING" {
				m.Untagged = append([]string{"* XYZZY (plugh) {3}\r\nabc\r\n", "* OK [Error=\"a] (b\" x=y] hm\r\n", "*\r\n", "\r\n"}, m.Untagged...)
			}
		}},
		{Name: "ends commands with Exchange's brackets", After: func(m *Moment) {
			if m.Text == "done" {
				m.Text = `[Error="ProxyNotAuthenticated" Server=x "]" ] done`
			}
		}},
		{Name: "removes what is there, in words", On: "META", From: 2, After: func(m *Moment) {
			m.Untagged = append([]string{"* VANISHED 1:3\r\n", "* 1 EXPUNGE\r\n", "* 3 EXISTS\r\n"}, m.Untagged...)
		}},
		{Name: "is another mailbox from the second connection on", On: "LIST", Lies: true, Forgets: true, Hides: true, Before: func(m *Moment) {
			if m.Session > 1 {
				m.Become(m.Empty(false))
			}
		}},
		{Name: "is emptied for the second connection", On: "LIST", Lies: true, Hides: true, From: 2, Once: 1, Before: func(m *Moment) { m.Become(m.Empty(true)) }},
		{Name: "renumbers between passes", On: "LIST", Forgets: true, From: 2, Once: 1, Before: func(m *Moment) { m.RenumberAll() }},
	}, bodies()...)
}

// Faults of reading messages: those of the source, and of the target when it
// gives back what it was given.
func bodies() []Fault {
	return []Fault{
		{Name: "body is cut", On: "BODY", Once: 2, After: cut(700)},
		{Name: "body stalls", On: "BODY", Once: 1, After: stall(700)},
		{Name: "body says BYE", On: "BODY", Once: 1, After: func(m *Moment) {
			m.Untagged, m.Kind = append(m.Untagged[:min(2, len(m.Untagged))], "* BYE [UNAVAILABLE] shutting down\r\n"), ""
			m.Cut, m.Stall = 1<<30, false
		}},
		{Name: "body is refused", On: "BODY", Once: 1, Before: refusing("NO", "[SERVERBUG] cannot read")},
		{Name: "body is limited", On: "BODY", Once: 1, Before: refusing("NO", "[LIMIT] bandwidth")},
		{Name: "session ends without a BYE", On: "BODY", Once: 1, Before: refusing("BAD", "User is authenticated but not connected.")},
		{Name: "session expires", On: "BODY", Once: 1, Before: refusing("NO", "[EXPIRED] access token expired")},
		{Name: "body's literal is announced too long", On: "BODY", Once: 2, After: literal(1000)},
		{Name: "body's literal is announced too short", On: "BODY", Once: 2, After: literal(-100)},
		{Name: "body of 4 GB is announced", On: "BODY", Once: 1, After: literal(4 << 30)},
		{Name: "body is left out", On: "BODY", After: each(func(uid int, line string) string { return unless(uid, line, "") })},
		{Name: "body is empty", On: "BODY", After: each(func(uid int, line string) string {
			return unless(uid, line, fmt.Sprintf("* 5 FETCH (UID %d BODY[] {0}\r\n)\r\n", uid))
		})},
		{Name: "body is NIL", On: "BODY", After: each(func(uid int, line string) string {
			return unless(uid, line, fmt.Sprintf("* 5 FETCH (UID %d BODY[] NIL)\r\n", uid))
		})},
		{Name: "body comes twice", On: "BODY", After: each(func(_ int, line string) string { return line + line })},
		{Name: "body has another's UID", On: "BODY", After: each(func(uid int, line string) string {
			return unless(uid, line, strings.Replace(line, fmt.Sprintf("UID %d ", uid), "UID 4711 ", 1))
		})},
		{Name: "body has a neighbour's UID once", On: "BODY", Once: 1, After: each(func(uid int, line string) string {
			return unless(uid, line, strings.Replace(line, fmt.Sprintf("UID %d ", uid), fmt.Sprintf("UID %d ", uid-1), 1))
		})},
		{Name: "bodies come backwards", On: "BODY", After: backwards},
		{Name: "bodies come backwards, one with its neighbour's UID", On: "BODY", Once: 1, After: func(m *Moment) {
			backwards(m)
			each(func(uid int, line string) string {
				return unless(uid, line, strings.Replace(line, fmt.Sprintf("UID %d ", uid), fmt.Sprintf("UID %d ", uid-1), 1))
			})(m)
		}},
		{Name: "body is followed by strangers", On: "BODY", After: func(m *Moment) { m.say("1 FETCH (FLAGS (\\Seen))"); m.say("1 EXPUNGE"); m.say("2 EXISTS") }},
	}
}

// SourceFaults are the faults of a server that is copied from.
func SourceFaults() []Fault {
	return append(anySide(),
		Fault{Name: "renumbers while it is read", On: "BODY", Once: 1, Before: func(m *Moment) { m.RenumberAll(); m.Cut = 0 }},
		Fault{Name: "gives a notice instead of the message", On: "BODY", After: each(func(uid int, line string) string {
			notice := "Subject: Retrieval using the IMAP4 protocol failed for the following message: 5\r\n\r\nThe server couldn't retrieve it.\r\n"
			return unless(uid, line, fmt.Sprintf("* 5 FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", uid, len(notice), notice))
		})},
	)
}

// TargetFaults are the faults of a server that is copied to. What it gives
// back wrongly concerns the verification.
func TargetFaults() []Fault {
	return append(append(anySide(),
		Fault{Name: "body is given back changed once", On: "BODY", Once: 1, After: each(func(uid int, line string) string {
			return unless(uid, line, strings.Replace(line, "text of", "test of", 1))
		})},
		Fault{Name: "CREATE is refused once", On: "CREATE", Once: 1, Before: refusing("NO", "[CANNOT] not that name")},
		Fault{Name: "CREATE is busy", On: "CREATE", Once: 1, Before: refusing("NO", "[INUSE] later")},
		Fault{Name: "CREATE is cut", On: "CREATE", Once: 1, After: cut(0)},
		Fault{Name: "CREATE says OK and does nothing", On: "CREATE", Once: 1, Before: skip},
		Fault{Name: "STORE is cut", On: "STORE", Once: 1, After: cut(0)},
		Fault{Name: "STORE is refused", On: "STORE", Once: 1, Before: refusing("NO", "no")},
		Fault{Name: "EXPUNGE is cut", On: "EXPUNGE", Once: 1, After: cut(0)},
		Fault{Name: "MOVE is cut after it was done", On: "MOVE", Once: 1, After: cut(0)},
		Fault{Name: "MOVE is cut before it was done", On: "MOVE", Once: 1, Before: skip, After: cut(0)},
	), appends()...)
}

// Faults of APPEND.
func appends() []Fault {
	return []Fault{
		{Name: "APPEND's answer is lost", On: "APPEND", Once: 1, After: cut(0)},
		{Name: "APPEND's second answer is lost", On: "APPEND", From: 2, Once: 1, After: cut(0)},
		{Name: "APPEND's answer is half lost", On: "APPEND", Once: 1, After: cut(9)},
		{Name: "APPEND's answer stalls", On: "APPEND", Once: 1, After: stall(0)},
		{Name: "APPEND is cut in the message", On: "APPEND", Once: 2, Early: func(m *Moment) { m.Drop = true }},
		{Name: "APPEND stalls before the message", On: "APPEND", Once: 1, Early: func(m *Moment) { m.Stall = true }},
		{Name: "APPEND is refused before the message", On: "APPEND", Once: 1, Early: refusing("NO", "[LIMIT] slow down")},
		{Name: "APPEND is done before the message", On: "APPEND", Once: 1, Early: func(m *Moment) { m.Text = "[APPENDUID 7 7] done" }},
		{Name: "APPEND says OK and stores nothing", On: "APPEND", Once: 1, Lies: true, Before: skip},
		{Name: "APPEND says OK, tells no UID and stores nothing", On: "APPEND", Once: 1, Before: skip, After: text("done")},
		{Name: "APPEND stores half of a group and says OK", On: "APPEND", Once: 1, Lies: true, Before: half},
		{Name: "APPEND stores half of a group and says NO", On: "APPEND", Once: 1, Before: half, After: func(m *Moment) { m.Kind, m.Text = "NO", "disk trouble" }},
		{Name: "APPEND stores half of a group and hangs up", On: "APPEND", Once: 1, Before: half, After: cut(0)},
		{Name: "APPEND stores something else", On: "APPEND", Once: 1, Lies: true, Before: func(m *Moment) {
			for _, msg := range m.Messages {
				msg.Body = bytes.Replace(msg.Body, []byte("text of"), []byte("test of"), 1)
			}
		}},
		{Name: "APPEND stores the beginning", On: "APPEND", Once: 1, Lies: true, Before: func(m *Moment) {
			for _, msg := range m.Messages {
				msg.Body = msg.Body[:len(msg.Body)*2/3]
			}
		}},
		{Name: "APPEND is over quota once", On: "APPEND", Once: 1, Before: refusing("NO", "[OVERQUOTA] full")},
		{Name: "APPEND is over quota, in words", On: "APPEND", From: 2, Once: 1, Before: refusing("NO", "Quota exceeded (mailbox for user is full)")},
		{Name: "APPEND is busy", On: "APPEND", Once: 1, Before: refusing("NO", "[INUSE] locked")},
		{Name: "APPEND is limited", On: "APPEND", Once: 1, Before: refusing("NO", "[LIMIT] 1000 a minute")},
		{Name: "APPEND is unavailable", On: "APPEND", Once: 1, Before: refusing("NO", "[UNAVAILABLE] backend")},
		{Name: "APPEND is THROTTLED", On: "APPEND", Once: 1, Before: refusing("NO", "[THROTTLED] slow down")},
		{Name: "APPEND is throttled, in words", On: "APPEND", Once: 1, Before: refusing("BAD", "Command throttled, try again in 10 s")},
		{Name: "APPEND says BYE", On: "APPEND", Once: 1, Before: skip, After: bye("[UNAVAILABLE] see you")},
		{Name: "APPEND refuses one message", On: "APPEND", Before: refusingOne("NO", "[CANNOT] I do not like it")},
		{Name: "APPEND finds one message too big", On: "APPEND", Before: refusingOne("NO", "[TOOBIG] too big")},
		{Name: "APPEND knows no keyword", On: "APPEND", Before: func(m *Moment) {
			for _, msg := range m.Messages {
				if strings.Contains(strings.Join(msg.Flags, " "), "$") {
					m.Refuse("BAD", "invalid keyword")
				}
			}
		}},
		{Name: "APPEND wants the folder made", On: "APPEND", Once: 1, Before: refusing("NO", "[TRYCREATE] no such folder")},
		{Name: "APPEND is unknown once", On: "APPEND", Once: 1, Before: refusing("BAD", "unknown command")},
		{Name: "APPENDUID is too high", On: "APPEND", Once: 1, After: replaceText(`(\d+):(\d+)\]`, func(a, z int) string { return fmt.Sprintf("%d:%d]", a+90, z+90) })},
		{Name: "APPENDUID is of messages before", On: "APPEND", From: 2, Once: 1, After: replaceText(`(\d+):(\d+)\]`, func(a, z int) string { return fmt.Sprintf("1:%d]", z-a+1) })},
		{Name: "APPENDUID is shifted by one", On: "APPEND", Once: 1, After: replaceText(`(\d+):(\d+)\]`, func(a, z int) string { return fmt.Sprintf("%d:%d]", a+1, z+1) })},
		{Name: "APPENDUID counts wrong", On: "APPEND", Once: 1, After: replaceText(`(\d+):(\d+)\]`, func(a, z int) string { return fmt.Sprintf("%d:%d]", a, z-1) })},
		{Name: "APPENDUID is huge", On: "APPEND", Once: 1, After: replaceText(`(\d+):(\d+)\]`, func(int, int) string { return "1:4294967295]" })},
		{Name: "APPENDUID repeats one", On: "APPEND", Once: 1, After: replaceText(`(\d+):(\d+)\]`, func(a, z int) string {
			return strings.TrimSuffix(strings.Repeat(strconv.Itoa(a)+",", z-a+1), ",") + "]"
		})},
		{Name: "APPENDUID has another UIDVALIDITY", On: "APPEND", Once: 1, After: text("[APPENDUID 99 1:12] stored")},
		{Name: "other mail arrives at the target", On: "APPEND", Once: 2, Before: func(m *Moment) {
			m.Put(Message{Body: []byte("Subject: from elsewhere\r\n\r\nx\r\n")})
		}},
		{Name: "offers MULTIAPPEND without", Once: 0, Caps: offering("MULTIAPPEND"), On: "APPEND", Before: func(m *Moment) {
			if len(m.Messages) > 1 {
				m.Refuse("BAD", "one message at a time")
			}
		}},
		{Name: "renumbers while it is filled", On: "APPEND", Forgets: true, From: 2, Once: 1, Before: func(m *Moment) { m.RenumberAll() }},
	}
}

func raw(s string) func(*Moment) {
	return func(m *Moment) { m.Raw = s }
}

// bye says goodbye and hangs up.
func bye(s string) func(*Moment) {
	return func(m *Moment) { m.Raw, m.Cut = "* BYE "+s+"\r\n", len(s)+8 }
}

func cut(n int) func(*Moment) { return func(m *Moment) { m.Cut = n } }

func stall(n int) func(*Moment) { return func(m *Moment) { m.Cut, m.Stall = n, true } }

func skip(m *Moment) { m.Skip = true }

func text(s string) func(*Moment) { return func(m *Moment) { m.Text = s } }

func refusing(kind, s string) func(*Moment) { return func(m *Moment) { m.Refuse(kind, s) } }

// refusingOne refuses the command that holds the victim, known by its text.
func refusingOne(kind, s string) func(*Moment) {
	return func(m *Moment) {
		for _, msg := range m.Messages {
			if bytes.Contains(msg.Body, []byte(fmt.Sprintf("text of %d\r\n", Victim))) {
				m.Refuse(kind, s)
			}
		}
	}
}

func backwards(m *Moment) { slices.Reverse(m.Untagged) }

func half(m *Moment) { m.Messages = m.Messages[:len(m.Messages)/2] }

// without takes the response codes of one name away.
func without(code string) func(*Moment) {
	return replace(`\* OK \[`+code+` .*\r\n`, "")
}

func replace(pattern, with string) func(*Moment) {
	re := regexp.MustCompile(pattern)
	return func(m *Moment) {
		for i, line := range m.Untagged {
			m.Untagged[i] = re.ReplaceAllString(line, with)
		}
	}
}

func replaceText(pattern string, with func(a, z int) string) func(*Moment) {
	re := regexp.MustCompile(pattern)
	return func(m *Moment) {
		if p := re.FindStringSubmatch(m.Text); p != nil {
			a, _ := strconv.Atoi(p[1])
			z, _ := strconv.Atoi(p[2])
			m.Text = re.ReplaceAllString(m.Text, with(a, z))
		}
	}
}

// victim changes what is told of the victim.
func victim(pattern, with string) func(*Moment) {
	re := regexp.MustCompile(pattern)
	return each(func(uid int, line string) string { return unless(uid, line, re.ReplaceAllString(line, with)) })
}

// unless returns with for the victim, line for all others.
func unless(uid int, line, with string) string {
	if uid == Victim {
		return with
	}
	return line
}

var uidOf = regexp.MustCompile(`\(UID (\d+)`)

// each changes every FETCH response.
func each(f func(uid int, line string) string) func(*Moment) {
	return func(m *Moment) {
		for i, line := range m.Untagged {
			if p := uidOf.FindStringSubmatch(line); p != nil {
				uid, _ := strconv.Atoi(p[1])
				m.Untagged[i] = f(uid, line)
			}
		}
	}
}

var literals = regexp.MustCompile(`\{(\d+)\}`)

// literal changes the length that the victim's literal is announced with, or
// the first one's where the victim is not among them.
func literal(by int) func(*Moment) {
	return func(m *Moment) {
		at := 0
		for i, line := range m.Untagged {
			if p := uidOf.FindStringSubmatch(line); p != nil && p[1] == strconv.Itoa(Victim) {
				at = i
			}
		}
		if len(m.Untagged) > 0 {
			m.Untagged[at] = literals.ReplaceAllStringFunc(m.Untagged[at], func(s string) string {
				n, _ := strconv.Atoi(s[1 : len(s)-1])
				return fmt.Sprintf("{%d}", max(n+by, 0))
			})
		}
	}
}

// flood writes one text very often, behind a beginning.
func flood(begin, text string, times int) func(*Moment) {
	return func(m *Moment) {
		m.Flood = func(w io.Writer) {
			_, err := io.WriteString(w, begin)
			for range times {
				if err != nil {
					return
				}
				_, err = io.WriteString(w, text)
			}
		}
	}
}

func offering(name string) func([]string) []string {
	return func(caps []string) []string { return append(caps, name) }
}
