package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// hostile is the mail that is hardest on copiers: each of the nasty ones once,
// and those that not every server takes or keeps as they are. Some are twins:
// in all, each body, date and set of flags counts.
func hostile() []mail {
	noon := time.Date(2021, 3, 4, 12, 0, 0, 0, time.FixedZone("", 19800))
	var all []mail
	add := func(body string, change ...func(*mail)) {
		m := mail{body: []byte(body), flags: []string{`\Seen`}, date: noon.Add(time.Duration(len(all)) * time.Second)}
		for _, c := range change {
			c(&m)
		}
		all = append(all, m)
	}
	on := func(year int, month time.Month, day, hour, zone int) func(*mail) {
		return func(m *mail) { m.date = time.Date(year, month, day, hour, 59, 58, 0, time.FixedZone("", zone)) }
	}
	flagged := func(flags ...string) func(*mail) { return func(m *mail) { m.flags = flags } }
	letter := func(subject string) string {
		return "From: a@example.org\r\nMessage-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@example.org>\r\nSubject: " + subject + "\r\n\r\n" + subject + "\r\n"
	}
	for _, body := range slices.Concat(nasty, notMail()) {
		add(body)
	}

	// Size.
	add("Subject: a header line of 200,000 characters\r\nX-Long: " + strings.Repeat("0123456789", 20000) + "\r\n\r\nbody\r\n")
	add("Subject: a body line of 200,000 characters without end\r\n\r\n" + strings.Repeat("\xe4\xf6\xfc-----", 25000))
	add(strings.Repeat("X-Header: y\r\n", 10000) + "Subject: 10,000 headers\r\n\r\nbody\r\n")
	add("Subject: 20 MB\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 20<<20/78+1))
	add("Content-Type: multipart/mixed; boundary=b\r\nSubject: 1,000 parts\r\n\r\n" + strings.Repeat("--b\r\n\r\npart\r\n", 1000) + "--b--\r\n")

	// Who is who.
	add("Subject: no Message-ID, one\r\n\r\nthe same\r\n")
	add("Subject: no Message-ID, two\r\n\r\nthe same\r\n")
	add("Message-ID: <one@example.org>\r\nSubject: two mails, one Message-ID\r\n\r\nfirst\r\n")
	add("Message-ID: <one@example.org>\r\nSubject: two mails, one Message-ID\r\n\r\nsecond\r\n")
	for range 3 { // nothing tells them apart
		add(letter("twins"), on(2020, time.May, 1, 8, 0), flagged())
	}
	add(letter("twins"), on(2020, time.May, 1, 9, 0), flagged())
	add(letter("twins"), on(2020, time.May, 1, 9, 0), flagged(`\Flagged`))

	// Dates: of arrival, which is no header.
	for _, year := range []int{1899, 1901, 1969, 2038, 2040, 2107} {
		add(letter(fmt.Sprint("arrived in ", year)), on(year, time.December, 31, 23, 3600))
	}
	add(letter("arrived on the first day"), on(1970, time.January, 1, 12, 0))
	add(letter("arrived on a leap day"), on(2024, time.February, 29, 23, -43200))
	add(letter("arrived in the hour that came twice"), on(2023, time.October, 29, 2, 7200))
	add(letter("arrived in Kiritimati"), on(2022, time.January, 1, 0, 50400))

	// Flags.
	add(letter("no flags"), flagged())
	add(letter("all system flags"), flagged(`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`))
	var forty []string
	for i := range 40 {
		forty = append(forty, fmt.Sprintf("keyword-%02d", i))
	}
	add(letter("40 keywords"), flagged(forty...))
	add(letter("odd keywords"), flagged("$Forwarded", "$MDNSent", "a.b:c/d", "&", "'", "x"+strings.Repeat("y", 60), "NIL"))

	// What people and spreadsheets read.
	add(letter("=cmd|' /C calc'!A0"))
	add(letter("\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"))
	add(letter("\U0001f469\u200d\U0001f373 \U0001f3f4\u200d\u2620\ufe0f e\u0301 \u200b\u2066\u2069"))
	add("Subject: Retrieval failed\r\n\r\nSubject: Retrieval using the IMAP4 protocol failed for the following message: 1\r\n")
	add("Status: RO\r\nX-Status: A\r\nX-Keywords: a b\r\nX-UID: 7\r\nContent-Length: 99999\r\nSubject: headers of other stores\r\n\r\nbody\r\n")
	return all
}

// notMail are octets that are not mail.
func notMail() []string {
	return []string{
		"Subject: NUL\r\n\r\none\x00two\x00\x00three\r\n",
		"Subject: NUL\x00 in the header\r\n\r\nbody\r\n",
		"\x00",
		"Subject: bare LF\n\nall lines\nend so\n",
		"Subject: some bare LF\r\n\r\none\r\ntwo\nthree\n\nfour\r\n",
		"Subject: LF CR\r\n\r\none\n\rtwo\n\rthree\r\n",
		"Subject: CR CR LF\r\n\r\none\r\r\ntwo\r\r\n",
		"Subject: ends in CR\r\n\r\nlast\r",
		"\n",
		"\r",
		"",
		"Subject: all octets\r\n\r\n" + everyOctet() + "\r\n",
		"\xef\xbb\xbfSubject: a byte order mark\r\n\r\nbody\r\n",
		"Subject: NUL and \xe4 in the header\r\n\r\none\x00two\r\n",
		"Subject: 5 MB of NUL\r\n\r\n" + strings.Repeat(strings.Repeat("\x00", 76)+"\r\n", 5<<20/78+1),
		"Subject: NUL in a binary part\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\n--b--\r\n",
		"\xff\xfeS\x00u\x00b\x00j\x00e\x00c\x00t\x00:\x00 \x00x\x00\r\x00\n\x00",
		"\r\nSubject: a blank line first\r\n\r\nbody\r\n",
		" Subject: starts with a blank\r\n\r\nbody\r\n",
	}
}

func everyOctet() string {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return string(bytes.ReplaceAll(all, []byte("\n"), nil))
}

// hostileNames are folder names, / between levels, as bad as servers hold
// them. Not every server does.
func hostileNames() []string {
	return append(folderNames[:len(folderNames):len(folderNames)],
		"&&", "&-", "&AOk-", "a&-b", "&amp;", "A & B/C & D",
		"%", "*", "%*", "%20", "100%/50%", `"quoted" 'and' "so"`, `\`, `C:\Users`, "{3}", "{3+}", "()", "[x", "]",
		"  both  ", " ", "tab\there", "\u00a0no-break\u00a0", "a \u2002 b", "del\x7fete", "bell\x07",
		".", "..", "../x", "../../etc/passwd", "a/../b", ".hidden", "ends.", "a..b", "...", "~", "~root",
		"=cmd()", "=1+1", "+1", "-1", "@SUM(A1)", "#news", "^caret", "!bang", "`tick`", "$(id)", "<script>", "a;b|c>d?e:f",
		"CASE", "STRASSE", "straße", "İstanbul", "ﬁ", "Sent (2)", "sent", "drafts",
		"\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627/\u202eevil", "zero\u200bwidth", "\U0001f469\u200d\U0001f373/\U0001f3f4\u200d\u2620\ufe0f",
		"wide．dot", "wide／slash", "‛quoted‛．", "␇",
		strings.Repeat("0123456789", 25), strings.Repeat("ü", 200), strings.Repeat("\U0001f389", 70), strings.Repeat("d/", 20)+"end",
		"user.anna", "user/anna", "Other Users", "shared", "cur", "new", "dovecot.index.log", "Subscriptions", "cyrus.header", "nil", "Inbox/Below",
	)
}

// fillHostile puts the nasty mail into one folder, and one mail into each of
// the nasty folders. What the server does not take is counted.
func (c *conn) fillHostile() (mails, names, refused int, err error) {
	n, err := c.naming()
	if err != nil {
		return 0, 0, 0, err
	}
	put := func(folder string, m mail) error {
		err := c.appendSlowly(n.wire(folder), m, "")
		no := new(refusal)
		if errors.As(err, no) && bytes.ContainsAny(m.body, "\x00\n") { // Cyrus keeps it so, in the body
			err = c.appendSlowly(n.wire(folder), m, "~")
		}
		switch {
		case errors.As(err, no):
			refused++
		case err != nil:
			return fmt.Errorf("append to %q: %w", folder, err)
		default:
			mails++
		}
		return nil
	}
	for _, m := range hostile() {
		if err := put("INBOX", m); err != nil {
			return mails, names, refused, err
		}
	}
	for i, name := range hostileNames() {
		if name != "INBOX" {
			_, err := c.do(nil, "CREATE "+quote(n.wire(name)))
			if no := new(refusal); errors.As(err, no) && !strings.Contains(string(*no), "[ALREADYEXISTS]") {
				refused++
				continue
			} else if err != nil && !errors.As(err, no) {
				return mails, names, refused, fmt.Errorf("create %q: %w", name, err)
			}
			if i%3 != 0 {
				_, _ = c.do(nil, "SUBSCRIBE "+quote(n.wire(name))) // what is subscribed is seen later
			}
		}
		names++
		body := fmt.Sprintf("From: a@example.org\r\nMessage-ID: <folder-%d@example.org>\r\nSubject: in a nasty folder\r\n\r\n%q\r\n", i, name)
		if err := put(name, mail{body: []byte(body), date: time.Date(2022, 2, 2, 2, 2, i%60, 0, time.UTC)}); err != nil {
			return mails, names, refused, err
		}
	}
	return mails, names, refused, nil
}

// appendSlowly sends one message as every server takes it; kind is "~" for a
// literal8 (RFC 3516), which not every server does.
func (c *conn) appendSlowly(wire string, m mail, kind string) error {
	if err := c.net.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	tag := c.send(fmt.Sprintf("APPEND %s (%s) %q %s{%d}", quote(wire), strings.Join(m.flags, " "), m.date.Format("_2-Jan-2006 15:04:05 -0700"), kind, len(m.body)))
	if err := c.out.Flush(); err != nil {
		return err
	}
	for { // up to "+", or a refusal
		start, err := c.in.Peek(1)
		if err != nil {
			return err
		}
		line, err := c.line()
		if err != nil {
			return err
		}
		if start[0] == '+' {
			break
		}
		if text, mine := strings.CutPrefix(line, tag+" "); mine {
			return refusal(text)
		}
	}
	_, _ = c.out.Write(m.body) // Flush says it
	_, _ = c.out.WriteString("\r\n")
	if err := c.out.Flush(); err != nil {
		return err
	}
	_, err := c.await(tag, nil)
	return err
}

// filled is what `fill -hostile` prints.
func (l *lab) fillHostile(ctx context.Context, address, user string, stdout io.Writer) error {
	c, err := l.openMailbox(ctx, address, user)
	if err != nil {
		return err
	}
	defer c.logout()
	mails, names, refused, err := c.fillHostile()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "filled: %d nasty folders, %d messages; %d not taken\n", names, mails, refused)
	return err
}
