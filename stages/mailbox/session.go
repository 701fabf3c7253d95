package mailbox

import (
	"errors"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"
)

// box is what a server tells of a folder: by EXAMINE or SELECT, or by STATUS.
type box struct {
	name      string // on the wire
	validity  uint32
	next      uint32 // UIDNEXT, 0: not told
	messages  uint32
	modseq    uint64 // HIGHESTMODSEQ, 0: none
	permanent []string
	writable  bool
}

// meta is what there is to know of a message without its body.
type meta struct {
	uid   uint32
	size  int64 // RFC822.SIZE: an estimate on some servers
	date  int64 // INTERNALDATE, Unix seconds; noDate: the server tells none
	zone  int32 // of date, seconds east
	flags string
}

const noDate = -1 << 62

func (m meta) time() time.Time {
	if m.date == noDate {
		return time.Time{}
	}
	return time.Unix(m.date, 0).In(time.FixedZone("", int(m.zone)))
}

var errName = errors.New("the name cannot be sent to the server")

// examine opens a folder read-only. A failed one leaves nothing open.
func (s *session) examine(name string) (box, error) { return s.openBox("EXAMINE", name) }

// sel opens a folder of the target for writing.
func (s *session) sel(name string) (box, error) { return s.openBox("SELECT", name) }

func (s *session) openBox(command, name string) (box, error) {
	return s.beginBox(command, name).wait()
}

// opening is an EXAMINE or SELECT whose end has not been looked at.
type opening struct {
	s    *session
	name string
	box  box
	x    *exchange
	err  error
}

// beginBox sends the command; others may follow it at once.
func (s *session) beginBox(command, name string) *opening {
	o := &opening{s: s, name: name, box: box{name: name, writable: command == "SELECT"}}
	s.box, s.opening, s.last = box{}, o, o
	q, ok := quote(name)
	if !ok {
		o.err = errName
		return o
	}
	if s.has("CONDSTORE") || s.has("QRESYNC") {
		q += " (CONDSTORE)"
	}
	o.x = &exchange{on: func(r *response) {
		switch r.word {
		case "EXISTS":
			o.box.messages = r.num
		case "OK":
			o.box.code(r.reply())
		}
	}}
	o.err = s.w.send(command+" "+q, o.x)
	return o
}

// wait waits for the end. It may be called again. What is open then is what the
// last of several opens.
func (o *opening) wait() (box, error) {
	if o.s.opening == o {
		o.s.opening = nil
	}
	if o.err == nil {
		var replies []reply
		if replies, o.err = o.x.wait(); o.err == nil {
			o.err = replies[0].err()
		}
		if o.err == nil && o.s.last == o {
			o.s.box = o.box
		}
	}
	return o.box, o.err
}

func (b *box) code(r reply) {
	n, _ := strconv.ParseUint(strings.TrimSpace(r.Args), 10, 64)
	switch r.Code {
	case "UIDVALIDITY":
		b.validity = uint32(n)
	case "UIDNEXT":
		b.next = uint32(n)
	case "HIGHESTMODSEQ":
		b.modseq = n
	case "PERMANENTFLAGS":
		b.permanent = append(strings.Fields(strings.Trim(r.Args, "()")), "")
	}
}

// opened opens the folder unless it is open already.
func (s *session) opened(name string, write bool) (box, error) {
	if s.box.name == name && (s.box.writable || !write) {
		return s.box, nil
	}
	if write {
		return s.sel(name)
	}
	return s.examine(name)
}

// status asks for the counts of several folders in one go. A folder the server
// refuses is missing in the result.
func (s *session) status(names []string) (map[string]box, error) {
	out := map[string]box{}
	var commands []string
	for _, name := range names {
		if q, ok := quote(name); ok {
			commands = append(commands, "STATUS "+q+" "+s.statusItems())
		}
	}
	_, err := s.w.doAll(commands, func(r *response) {
		if b, ok := statusOf(r); ok {
			out[b.name] = b
		}
	})
	return out, err
}

func (s *session) statusItems() string {
	if s.has("CONDSTORE") || s.has("QRESYNC") {
		return "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
	}
	return "(MESSAGES UIDNEXT UIDVALIDITY)"
}

// statusOf reads a STATUS response.
func statusOf(r *response) (b box, ok bool) {
	if r.word != "STATUS" {
		return b, false
	}
	t := r.tokens()
	if len(t) < 2 || t[len(t)-1].kind != 'l' {
		return b, false
	}
	b.name = inbox(t[0].text)
	items := t[len(t)-1].list
	for i := 0; i+1 < len(items); i += 2 {
		n := items[i+1].number()
		switch strings.ToUpper(items[i].text) {
		case "MESSAGES":
			b.messages = uint32(n)
		case "UIDNEXT":
			b.next = uint32(n)
		case "UIDVALIDITY":
			b.validity = uint32(n)
		case "HIGHESTMODSEQ":
			b.modseq = n
		}
	}
	return b, true
}

// inbox writes INBOX in capitals, whatever the server writes.
func inbox(name string) string {
	if strings.EqualFold(name, "INBOX") {
		return "INBOX"
	}
	return name
}

const (
	metaItems = "(UID FLAGS INTERNALDATE RFC822.SIZE)"
	flagItems = "(UID FLAGS)"
)

// metadata lists the messages of the open folder in set, by UID. Only what
// was asked for counts; a message told twice counts once, as told last.
func (s *session) metadata(set, items string) ([]meta, error) {
	var out []meta
	sorted := true
	err := s.eachMeta(set, items, func(m meta) {
		sorted = sorted && (len(out) == 0 || out[len(out)-1].uid < m.uid)
		out = append(out, m)
	})
	if err != nil {
		return nil, err
	}
	if !sorted {
		sort.SliceStable(out, func(i, j int) bool { return out[i].uid < out[j].uid })
		kept := out[:0]
		for i, m := range out {
			if i+1 < len(out) && out[i+1].uid == m.uid {
				continue
			}
			kept = append(kept, m)
		}
		out = kept
	}
	return out, nil
}

// eachMeta hands on the messages of the open folder in set as the server lists
// them, keeping none.
func (s *session) eachMeta(set, items string, f func(meta)) error {
	x := &exchange{flood: 10*int(s.box.messages) + flood, on: func(r *response) {
		if m, ok := metaOf(r); ok {
			f(m)
		}
	}}
	_, err := s.w.do("UID FETCH "+set+" "+items, x)
	return err
}

// metaOf reads a FETCH response; ok is false for one without a UID, such as a
// server sends unasked when a flag changes.
func metaOf(r *response) (m meta, ok bool) {
	if r.word != "FETCH" {
		return m, false
	}
	t := r.tokens()
	if len(t) == 0 {
		return m, false
	}
	m.date = noDate
	list := t[0].list
	for i := 0; i+1 < len(list); i += 2 {
		v := list[i+1]
		switch strings.ToUpper(list[i].text) {
		case "UID":
			m.uid = uint32(v.number())
		case "FLAGS":
			m.flags = flagSet(v.list)
		case "RFC822.SIZE":
			m.size = int64(min(v.number(), 1<<62))
		case "INTERNALDATE":
			if d := parseDate(v.text); !d.IsZero() {
				_, zone := d.Zone()
				m.date, m.zone = d.Unix(), int32(zone)
			}
		}
	}
	return m, m.uid != 0
}

// flagSet writes flags in one spelling: sorted, each once, without \Recent.
func flagSet(list []token) string {
	flags := make([]string, 0, len(list))
	for _, t := range list {
		f := t.text
		if strings.HasPrefix(f, `\`) {
			f = systemFlag(f)
		}
		if f == "" || f == `\Recent` || f == `\*` {
			continue
		}
		flags = append(flags, strings.ToValidUTF8(strings.ReplaceAll(f, " ", "_"), "\uFFFD"))
	}
	return joinFlags(flags)
}

func joinFlags(flags []string) string {
	if len(flags) > 1 {
		sort.Strings(flags)
		kept := flags[:1]
		for _, f := range flags[1:] {
			if f != kept[len(kept)-1] {
				kept = append(kept, f)
			}
		}
		flags = kept
	}
	return strings.Join(flags, " ")
}

var systemFlags = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, `\Recent`}

func systemFlag(f string) string {
	for _, s := range systemFlags {
		if strings.EqualFold(f, s) {
			return s
		}
	}
	return f
}

// uids lists the UIDs of the open folder.
func (s *session) uids() ([]uint32, error) {
	if s.box.messages == 0 {
		return nil, nil
	}
	list, err := s.metadata("1:*", "(UID)")
	if err != nil {
		return nil, err
	}
	out := make([]uint32, len(list))
	for i, m := range list {
		out[i] = m.uid
	}
	return out, nil
}

// bodies streams the messages of set; f reads each as far as it wants. The
// bodies count only if bodies returns without an error: before the tagged OK
// nothing is known of them.
func (s *session) bodies(set, item string, f func(uid uint32, size int64, lit io.Reader) error) error {
	_, err := s.w.do("UID FETCH "+set+" (UID "+item+")", bodiesOf(f))
	return err
}

func bodiesOf(f func(uid uint32, size int64, lit io.Reader) error) *exchange {
	return &exchange{body: f, flood: flood, on: func(r *response) { shortBody(r, f) }}
}

// shortBody serves the servers that send a short body as a quoted string.
func shortBody(r *response, f func(uid uint32, size int64, lit io.Reader) error) {
	if r.word != "FETCH" || len(r.lits) > 0 {
		return
	}
	t := r.tokens()
	if len(t) == 0 {
		return
	}
	list := t[0].list
	for i := 0; i+1 < len(list); i += 2 {
		if strings.HasPrefix(strings.ToUpper(list[i].text), "BODY[") && list[i+1].str {
			_ = f(uidOf(r), int64(len(list[i+1].text)), strings.NewReader(list[i+1].text))
		}
	}
}

// header is what identifies a message without its body.
type header struct{ id, date string }

// headers reads Message-ID and Date of the messages in set.
func (s *session) headers(set string) (map[uint32]header, error) {
	out := map[uint32]header{}
	return out, s.eachHeader(set, func(uid uint32, h header) { out[uid] = h })
}

// eachHeader hands on the headers as they come in.
func (s *session) eachHeader(set string, f func(uint32, header)) error {
	x := &exchange{flood: 10*int(s.box.messages) + flood, on: func(r *response) {
		uid := uidOf(r)
		if r.word != "FETCH" || uid == 0 {
			return
		}
		list := r.tokens()[0].list
		for i := 0; i+1 < len(list); i += 2 {
			if strings.HasPrefix(strings.ToUpper(list[i].text), "BODY[") {
				f(uid, headerOf(list[i+1].text))
			}
		}
	}}
	_, err := s.w.do("UID FETCH "+set+" (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE)])", x)
	return err
}

var unfolding = strings.NewReplacer("\r\n ", " ", "\r\n\t", " ", "\n ", " ", "\n\t", " ")

func headerOf(text string) (h header) {
	text = unfolding.Replace(text)
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "message-id":
			h.id = strings.TrimSpace(value)
		case "date":
			h.date = strings.TrimSpace(value)
		}
	}
	return h
}
