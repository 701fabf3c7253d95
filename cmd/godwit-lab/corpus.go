package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// corpus makes mail as people have it. The same seed makes the same mail.
type corpus struct {
	rng    *rand.Rand
	count  int
	before []mail // some of what was made, for duplicates and twins
}

// mail is a message and how it is filed.
type mail struct {
	body  []byte
	flags []string
	date  time.Time
}

func newCorpus(seed uint64) *corpus {
	return &corpus{rng: rand.New(rand.NewPCG(seed, 0x60d317))}
}

var (
	words = strings.Fields(`the and with your order invoice meeting tomorrow please find attached kind regards
		Rechnung für März bestätigen Grüße Straße größer Öffnungszeiten können über
		réunion été déjà façade où naïve cœur Noël garçon señor mañana niño coração não
		Zażółć gęślą jaźń привет письмо встреча 会議 資料 確認 🙂 🎉 €uro «guillemets» „Anführung“`)
	people   = strings.Fields("anna ben chloé dörte émile françois günther hélène ivan józef müller o'neil")
	subjects = []string{"Rechnung", "Re: réunion", "AW: Fwd: Re: Angebot", "meeting", "写真", "Привет", "🎉🎉", ""}
	// Few enough for Maildir, which holds 26 keywords per folder.
	keywords = strings.Fields("$Forwarded $MDNSent $Label1 $Label2 NonJunk Junk Wichtig project-x")
	zones    = []int{0, 3600, 7200, -18000, 19800, 34200, 50400, -43200}
)

// mail makes the next message.
func (c *corpus) mail() mail {
	c.count++
	var m mail
	switch p := c.rng.IntN(100); {
	case c.count%20 == 3:
		// Each nasty one comes early, so that small mailboxes have them too.
		m = mail{body: []byte(nasty[(c.count/20)%len(nasty)])}
	case p < 2 && len(c.before) > 0:
		return c.any() // a genuine duplicate: same octets, date and flags
	case p < 4 && len(c.before) > 0:
		m = mail{body: c.twin(c.any().body)}
	default:
		m = mail{body: c.body()}
	}
	m.flags, m.date = c.flags(), c.date()
	if len(c.before) < 200 && len(m.body) < 1<<16 {
		c.before = append(c.before, m)
	}
	return m
}

func (c *corpus) any() mail { return c.before[c.rng.IntN(len(c.before))] }

// twin differs from a message in its last line only; the headers are equal.
func (c *corpus) twin(body []byte) []byte {
	return append(bytes.Clone(body), fmt.Sprintf("twin %d\r\n", c.count)...)
}

func (c *corpus) flags() []string {
	var flags []string
	for flag, percent := range []int{70, 15, 5, 2, 2} {
		if c.rng.IntN(100) < percent {
			flags = append(flags, []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`}[flag])
		}
	}
	if c.rng.IntN(100) < 6 {
		flags = append(flags, keywords[c.rng.IntN(len(keywords))])
	}
	return flags
}

// date is a second within twenty years, in some zone. Few are far back: what
// lies before 1970 or after 2037 Dovecot itself does not keep.
func (c *corpus) date() time.Time {
	zone := time.FixedZone("", zones[c.rng.IntN(len(zones))])
	if c.rng.IntN(200) == 0 {
		return time.Unix(86400+c.rng.Int64N(1e8), 0).In(zone)
	}
	return time.Unix(1.15e9+c.rng.Int64N(6e8), 0).In(zone)
}

// size is log-normal around 8 KB; one in a hundred has 1 to 5 MB.
func (c *corpus) size() int {
	if c.rng.IntN(100) == 0 {
		return 1<<20 + c.rng.IntN(4<<20)
	}
	return min(int(8000*math.Exp(c.rng.NormFloat64())), 1<<20)
}

func (c *corpus) word() string { return words[c.rng.IntN(len(words))] }

// body makes an ordinary message: text, text as Latin-1, or with an attachment.
func (c *corpus) body() []byte {
	var b bytes.Buffer
	size := c.size()
	person := func() string { return people[c.rng.IntN(len(people))] }
	fmt.Fprintf(&b, "Received: from mx%d.example by mail.example; %s\r\n", c.rng.IntN(9), c.date().Format(time.RFC1123Z))
	fmt.Fprintf(&b, "From: =?utf-8?B?%s?= <p%d@example.org>\r\n", base64.StdEncoding.EncodeToString([]byte(person())), c.rng.IntN(500))
	fmt.Fprintf(&b, "To: user@old.example\r\nDate: %s\r\n", c.date().Format(time.RFC1123Z))
	fmt.Fprintf(&b, "Subject: =?utf-8?B?%s?=\r\n", base64.StdEncoding.EncodeToString([]byte(subjects[c.rng.IntN(len(subjects))])))
	switch c.rng.IntN(50) {
	case 0: // none
	case 1:
		fmt.Fprintf(&b, "Message-ID: <always-the-same@example.org>\r\n")
	default:
		fmt.Fprintf(&b, "Message-ID: <%x.%d@example.org>\r\n", c.rng.Uint64(), c.count)
	}
	b.WriteString("MIME-Version: 1.0\r\n")
	switch kind := c.rng.IntN(10); {
	case size > 30000 || kind < 2:
		c.attachment(&b, size)
	case kind == 2:
		b.WriteString("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
		c.latin1(&b, size)
	default:
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
		c.text(&b, size)
	}
	return b.Bytes()
}

func (c *corpus) text(b *bytes.Buffer, size int) {
	for end := b.Len() + size; b.Len() < end; {
		for range 8 {
			b.WriteString(c.word())
			b.WriteByte(' ')
		}
		b.WriteString("\r\n")
	}
}

func (c *corpus) latin1(b *bytes.Buffer, size int) {
	for end := b.Len() + size; b.Len() < end; {
		line := make([]byte, 60)
		for i := range line {
			line[i] = byte(0xa0 + c.rng.IntN(0x60))
		}
		b.Write(append(line, "\r\n"...))
	}
}

func (c *corpus) attachment(b *bytes.Buffer, size int) {
	boundary := fmt.Sprintf("=_%x", c.rng.Uint64())
	fmt.Fprintf(b, "Content-Type: multipart/mixed; boundary=%q\r\n\r\n", boundary)
	fmt.Fprintf(b, "--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", boundary)
	c.text(b, min(size/4, 2000))
	fmt.Fprintf(b, "--%s\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename*=utf-8''R%%C3%%A9sum%%C3%%A9.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary)
	raw := make([]byte, 0, 64)
	line := make([]byte, base64.StdEncoding.EncodedLen(54))
	for end := b.Len() + size; b.Len() < end; {
		for raw = raw[:0]; len(raw) < 54; {
			raw = binary.LittleEndian.AppendUint64(raw, c.rng.Uint64())
		}
		base64.StdEncoding.Encode(line, raw[:54])
		b.Write(line)
		b.WriteString("\r\n")
	}
	fmt.Fprintf(b, "--%s--\r\n", boundary)
}
