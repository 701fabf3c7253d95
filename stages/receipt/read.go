package receipt

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// Errors of Read.
var (
	// ErrNoReceipt means that the file is something else.
	ErrNoReceipt = errors.New("this is no receipt of Godwit")
	// ErrNewer means that a newer Godwit wrote it.
	ErrNewer = errors.New("the receipt was written by a newer Godwit")
)

// Damage is a place where a receipt is not as it was written.
type Damage struct {
	Line   int    `json:"line,omitempty"` // 0: the file as a whole
	Folder string `json:"folder,omitempty"`
	UID    uint32 `json:"uid,omitempty"` // at the source, as the line has it
	Text   string `json:"text"`
}

func (d Damage) String() string {
	var b strings.Builder
	if d.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", d.Line)
	}
	if d.Folder != "" {
		fmt.Fprintf(&b, "folder %q: ", d.Folder)
	}
	if d.UID != 0 {
		fmt.Fprintf(&b, "UID %d: ", d.UID)
	}
	return b.String() + d.Text
}

// Result is what a receipt says, as far as it is sound.
type Result struct {
	Head    Head
	Folders int
	Sums    Sums
	Hash    string // as the file states it
	Damage  []Damage
	More    int // damages beyond the first thousand
}

// Visitor is called for each folder and message of a receipt in turn. An error
// ends the reading. A row that is damaged is left out.
type Visitor struct {
	Folder  func(Folder) error
	Message func(Message) error
}

const (
	longestLine = 1 << 20
	mostDamages = 1000
)

// reader is a receipt being read.
type reader struct {
	in      *bufio.Reader
	visit   Visitor
	out     Result
	line    int
	text    string // present line, without its end
	fold    hash.Hash
	hash    hash.Hash // of the present folder; nil: outside
	folder  Folder
	part    part
	sums    Sums // as the rows have them
	told    *Sums
	last    uint32
	comma   bool // the last row has one
	openRow int  // line of the last row of the list
	end     bool
}

// Read reads a receipt and checks all of it. What is wrong with the file is in
// the result; an error means that it could not be read, or is none.
func Read(in io.Reader, visit Visitor) (Result, error) {
	r := &reader{in: bufio.NewReaderSize(in, 64<<10), visit: visit, fold: sha256.New(), part: inFolders}
	if err := r.next(); err != nil || !strings.HasPrefix(r.text, `{"godwit_receipt":`) {
		return r.out, errors.Join(ErrNoReceipt, noEOF(err))
	}
	version := 0
	if n, err := fmt.Sscanf(r.text, `{"godwit_receipt":%d,`, &version); n != 1 || err != nil || r.text != fmt.Sprintf(`{"godwit_receipt":%d,`, version) {
		return r.out, ErrNoReceipt
	}
	if version > Version {
		return r.out, fmt.Errorf("%w: its version is %d, this one knows %d", ErrNewer, version, Version)
	}
	r.take()
	if err := r.head(); err != nil {
		return r.out, err
	}
	for !r.end {
		err := r.next()
		if errors.Is(err, io.EOF) {
			r.damage("the file ends here, before its end")
			return r.out, nil
		}
		if err == nil {
			err = r.one()
		}
		if err != nil {
			return r.out, err
		}
	}
	if err := r.next(); err == nil {
		r.damage("the receipt has ended before this line")
	} else if !errors.Is(err, io.EOF) {
		return r.out, err
	}
	return r.out, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// next reads a line.
func (r *reader) next() error {
	line, err := r.in.ReadSlice('\n')
	var long []byte
	for errors.Is(err, bufio.ErrBufferFull) && len(long) < longestLine {
		long = append(long, line...)
		line, err = r.in.ReadSlice('\n')
	}
	line = append(long, line...)
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil // an end without a line feed: the hash tells
	}
	if err != nil {
		return err
	}
	r.line++
	r.text = string(bytes.TrimSuffix(line, []byte("\n")))
	return nil
}

// take adds the present line to the hash it belongs to.
func (r *reader) take() {
	h := r.hash
	if h == nil {
		h = r.fold
	}
	_, _ = io.WriteString(h, r.text+"\n")
}

func (r *reader) damage(format string, args ...any) { r.damaged(r.line, 0, format, args...) }

func (r *reader) damaged(line int, uid uint32, format string, args ...any) {
	if len(r.out.Damage) == mostDamages {
		r.out.More++
		return
	}
	d := Damage{Line: line, UID: uid, Text: fmt.Sprintf(format, args...)}
	if r.hash != nil {
		d.Folder = r.folder.Name
	}
	r.out.Damage = append(r.out.Damage, d)
}

func (r *reader) head() error {
	for _, f := range r.out.Head.fields() {
		if err := r.next(); err != nil {
			return errors.Join(ErrNoReceipt, noEOF(err))
		}
		r.take()
		value, ok := r.value(f.key, ",")
		if f.time != nil {
			*f.time, ok = moment(value, ok)
		} else if ok {
			*f.value = value
		}
		if !ok {
			r.damage("%s is not what it was", f.key)
		}
	}
	if err := r.next(); err != nil {
		return errors.Join(ErrNoReceipt, noEOF(err))
	}
	if r.take(); r.text != `"folders":[` {
		r.damage(`"folders" should begin here`)
	}
	return nil
}

// value reads a line that holds one string.
func (r *reader) value(key, end string) (value string, ok bool) {
	rest, named := strings.CutPrefix(r.text, text(key)+":")
	rest, ended := strings.CutSuffix(rest, end)
	err := json.Unmarshal([]byte(rest), &value)
	return value, named && ended && err == nil && text(value) == rest
}

// moment reads a time; "" is none.
func moment(s string, ok bool) (time.Time, bool) {
	if s == "" || !ok {
		return time.Time{}, ok
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil && stamp(t) == s
}

// one takes the present line.
func (r *reader) one() error {
	inside := r.hash != nil
	switch {
	case strings.HasPrefix(r.text, `{"folder":`):
		return r.begin()
	case strings.HasPrefix(r.text, `"sha256":`) && inside:
		r.close()
		r.take()
	case strings.HasPrefix(r.text, `"sha256":`):
		r.last256()
	case strings.HasPrefix(r.text, "[") && r.part != inFolders:
		r.take()
		return r.row()
	default:
		r.take()
		r.between()
	}
	return nil
}

// between is a line between two lists.
func (r *reader) between() {
	if r.comma {
		r.damaged(r.openRow, 0, "a row is missing behind this one")
	}
	r.comma, r.openRow = false, 0
	var s Sums
	switch inside := r.hash != nil; {
	case inside && r.text == `],"named":[` && r.part == inMessages:
		r.part, r.last = inNamed, 0
	case inside && strings.HasPrefix(r.text, `],"at_freeze":`):
		form := `],"at_freeze":%d,"exact":%d,"altered":%d,"removed":%d,"not_carried":%d,"late":%d,`
		_, _ = fmt.Sscanf(r.text, form, &s.AtFreeze, &s.Exact, &s.Altered, &s.Removed, &s.NotCarried, &s.Late)
		if r.told = &s; r.text != fmt.Sprintf(form, s.AtFreeze, s.Exact, s.Altered, s.Removed, s.NotCarried, s.Late) {
			r.damage("the sums are not what they were")
		}
	case !inside && r.text == "]," && r.part == inFolders:
	case !inside && r.text == `"exceptions":[`:
		r.part = inExceptions
	case !inside && r.text == "]," && r.part == inExceptions:
	default:
		r.damage("this line is not what it was")
	}
}

// begin is the first line of a folder.
func (r *reader) begin() error {
	if r.hash != nil {
		r.damage("a folder begins before the one above has ended")
		r.close()
	}
	var f struct {
		Folder           string `json:"folder"`
		Target           string `json:"target"`
		TargetName       string `json:"target_name"`
		SourceValidity   uint32 `json:"source_uidvalidity"`
		TargetUIDValidty uint32 `json:"target_uidvalidity"`
		Messages         []int  `json:"messages"`
	}
	err := json.Unmarshal([]byte(r.text+"]}"), &f)
	r.folder = Folder{f.Folder, f.Target, f.TargetName, f.SourceValidity, f.TargetUIDValidty}
	r.hash, r.part, r.sums, r.told, r.last, r.comma = sha256.New(), inMessages, Sums{}, nil, 0, false
	r.take()
	r.out.Folders++
	if err != nil || r.text != r.folder.line() {
		r.damage("the first line of the folder is not what it was")
		r.folder.TargetName = ""
		return nil
	}
	if r.visit.Folder != nil {
		return r.visit.Folder(r.folder)
	}
	return nil
}

// close is the "sha256" line of a folder.
func (r *reader) close() {
	sum := hex.EncodeToString(r.hash.Sum(nil))
	told, ok := "", false
	for _, end := range []string{"},", "}"} {
		if !ok {
			told, ok = r.value("sha256", end)
		}
	}
	before := len(r.out.Damage) + r.out.More
	switch {
	case r.told == nil:
		r.damage("the sums of the folder are missing")
	case r.told.Exact+r.told.Altered+r.told.Late != r.sums.Exact || r.told.NotCarried > r.sums.NotCarried:
		r.damage("the folder has %d messages carried and %d named, its sums say %d and %d",
			r.sums.Exact, r.sums.NotCarried, r.told.Exact+r.told.Altered+r.told.Late, r.told.NotCarried)
	case !r.told.Equal():
		r.damage("the sums of the folder do not add up")
	}
	if r.told != nil {
		r.out.Sums.Add(*r.told)
	}
	if (!ok || told != sum) && before == len(r.out.Damage)+r.out.More {
		r.damage("the folder's lines fold into %s, this line says %s: one of them was changed", sum, told)
	}
	r.hash, r.part = nil, inFolders
}

// last256 is the last line.
func (r *reader) last256() {
	told, ok := r.value("sha256", "}")
	sum := hex.EncodeToString(r.fold.Sum(nil))
	r.out.Hash, r.end = told, true
	if !ok || told != sum {
		r.damage("the receipt folds into %s, this line says %s: one of the lines outside the folders was changed", sum, told)
	}
}

// row is a line of a list.
func (r *reader) row() error {
	if r.openRow != 0 && !r.comma {
		r.damaged(r.openRow, 0, "the comma at the end is missing, or a row was added behind it")
	}
	line, comma := strings.CutSuffix(r.text, ",")
	r.comma, r.openRow = comma, r.line
	i := strings.LastIndexByte(line, ',')
	if i < 0 || line[i:] != ","+text(check(line[:max(i, 0)]))+"]" {
		uid := uint32(0)
		_, _ = fmt.Sscanf(line, "[%d,", &uid)
		r.damaged(r.line, uid, "the row does not fit its check: one of them was changed")
		r.count() // one row all the same
		return nil
	}
	uid := uint32(0)
	switch body := line[:i]; r.part {
	case inMessages:
		m, ok := parseMessage(body)
		if uid = m.UID; !ok {
			r.damaged(r.line, uid, "this is no row of a message")
		} else if err := r.message(m); err != nil {
			return err
		}
	case inNamed:
		var n Named
		if _, err := fmt.Sscanf(body, "[%d,", &n.UID); err != nil {
			r.damage("this is no row of a named message")
		}
		uid = n.UID
	default:
		return nil
	}
	if uid <= r.last {
		r.damaged(r.line, uid, "the row stands twice, or not in its place")
	}
	r.last = uid
	r.count()
	return nil
}

func (r *reader) count() {
	switch r.part {
	case inMessages:
		r.sums.Exact++
	case inNamed:
		r.sums.NotCarried++
	}
}

func (r *reader) message(m Message) error {
	if r.visit.Message == nil || r.folder.TargetName == "" {
		return nil
	}
	return r.visit.Message(m)
}

// parseMessage reads a row of a message without its check.
func parseMessage(row string) (m Message, ok bool) {
	var date string
	list := []any{&m.UID, &m.TargetUID, &date, &m.Size, &m.Flags, &m.Found, &m.Digest, &m.Stored}
	if err := json.Unmarshal([]byte(row+"]"), &list); err != nil || len(list) != 8 {
		return m, false
	}
	m.Date, ok = moment(date, true)
	return m, ok && m.line() == row
}
