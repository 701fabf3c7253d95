package mailbox

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// Groups are so small in tests that a folder of a few dozen messages has several
// under way at once.
func init() { groupMessages = 40 }

// Pure functions, for the tables.
var (
	EncodeName = encodeName
	DecodeName = decodeName
	ParseSet   = parseSet
	Sets       = sets
	Safe       = safe
	TooMany    = tooMany
	StartTLS   = func(c net.Conn) error { return startTLS(c) }
	DigestOf   = digestOf
)

// Pair is one message of a UID map.
type Pair struct{ Source, Target uint32 }

// PackedSize packs a map, unpacks it again and returns its size.
func PackedSize(pairs []Pair) (back []Pair, size int, err error) {
	var m uidMap
	for _, p := range pairs {
		m.add([]entry{{source: p.Source, target: p.Target}})
	}
	data := m.pack(func(flags uint32) uint32 { return flags })
	m, err = unpack(data, 1)
	for e := range m.all() {
		back = append(back, Pair{e.source, e.target})
	}
	return back, len(data), err
}

// Unpack must survive any bytes.
func Unpack(data []byte) error { _, err := unpack(data, 4); return err }

// UIDMap is a UID map for tests of its own.
type UIDMap struct{ m uidMap }

// Entry is one message of a UIDMap.
type Entry struct{ Source, Target, Flags uint32 }

// Add takes in entries.
func (u *UIDMap) Add(list ...Entry) {
	var in []entry
	for _, e := range list {
		in = append(in, entry{e.Source, e.Target, e.Flags})
	}
	u.m.add(in)
}

// Edit sets flags and targets of sorted source UIDs, or drops them.
func (u *UIDMap) Edit(uids []uint32, change func(*Entry) bool) {
	u.m.edit(uids, func(e *entry) bool {
		out := Entry{e.source, e.target, e.flags}
		keep := change(&out)
		*e = entry{out.Source, out.Target, out.Flags}
		return keep
	})
}

// All lists the entries; n is how many the map believes it has.
func (u *UIDMap) All() (out []Entry, n int) {
	for e := range u.m.all() {
		out = append(out, Entry{e.source, e.target, e.flags})
	}
	return out, u.m.n
}

// Find looks one up.
func (u *UIDMap) Find(source uint32) (Entry, bool) {
	e, ok := u.m.find(source)
	return Entry{e.source, e.target, e.flags}, ok
}

// Within lists the source UIDs in an IMAP set.
func (u *UIDMap) Within(set string) []uint32 { return u.m.within(parseSpans(set)) }

// HoldsTarget tells whether the map speaks of a target UID.
func (u *UIDMap) HoldsTarget(target uint32) bool { return u.m.targets().has(target) }

// Stored packs the map and reads it back.
func (u *UIDMap) Stored(sets int) (size int, err error) {
	data := u.m.pack(func(flags uint32) uint32 { return flags })
	u.m, err = unpack(data, sets)
	return len(data), err
}

// Dropped removes UIDs from a set of UIDs.
func Dropped(set string, uids []uint32) string {
	s := parseSpans(set)
	s.drop(uids)
	return strings.Join(s.sets(), " ")
}

// Verdict compares a message with what a target gives back.
func Verdict(sent, back string) int {
	return int(compareDigests(digestOf([]byte(sent)), digestOf([]byte(back))))
}

// Folder is a source or target folder of a table.
type Folder struct {
	Name, Special string
}

// Map maps source folders to a target with the given delimiter and prefix, and
// returns source -> target as the wire has it.
func Map(sourceDelim, sourcePrefix string, source []Folder, targetDelim, targetPrefix string, existing []Folder, kept, rename map[string]string) map[string]string {
	return MapCase(false, sourceDelim, sourcePrefix, source, targetDelim, targetPrefix, existing, kept, rename)
}

// MapCase is Map to a target that may not tell names apart by case.
func MapCase(anyCase bool, sourceDelim, sourcePrefix string, source []Folder, targetDelim, targetPrefix string, existing []Folder, kept, rename map[string]string) map[string]string {
	from := space{delim: sourceDelim, prefix: sourcePrefix}
	to := place{space: space{delim: targetDelim, prefix: targetPrefix}, anyCase: anyCase}
	var list []listed
	for _, f := range source {
		l := listed{wire: f.Name, special: f.Special}
		from.place(&l)
		list = append(list, l)
	}
	for _, f := range existing {
		l := listed{wire: f.Name, special: f.Special}
		to.space.place(&l)
		to.existing = append(to.existing, l)
	}
	out := map[string]string{}
	for _, m := range mapFolders(list, to, kept, rename) {
		out[m.source.wire] = m.target
	}
	return out
}

// IsExcluded tells whether patterns match a folder.
func IsExcluded(patterns []string, path ...string) bool {
	return excluded(patterns, listed{path: path})
}

// Difference is what carries flags.
var Difference = difference

// KeepFlags is what a target can hold of flags.
var KeepFlags = keepFlags

// Parse reads one response line as the wire would and counts its values.
func Parse(line string) int {
	r := &response{lines: [][]byte{[]byte(line)}}
	r.head()
	r.reply()
	_, _ = metaOf(r)
	_, _ = statusOf(r)
	_, _, _ = listOf(r, r.word)
	_ = forLibrary(r)
	return len(r.tokens())
}

// Respell and Unspell are the way of a name to a target with a delimiter, and
// back; Careful and Uncareful those where it refused the name.
func Respell(delim, part string) string { return respell(part, space{delim: delim}.impossible) }

func Unspell(delim, part string) string { return unspell(part, space{delim: delim}.impossible) }

func Careful(delim, part string) string { return space{delim: delim}.careful(part) }

func Uncareful(delim, part string) string { return unspell(part, space{delim: delim}.unlikely) }

// Guess returns which of the names are taken for folders of special use.
func Guess(names []string) map[string]string {
	var list []listed
	for _, n := range names {
		list = append(list, listed{wire: n, path: []string{n}})
	}
	guessSpecial(list)
	out := map[string]string{}
	for _, l := range list {
		if l.special != "" {
			out[l.wire] = l.special
		}
	}
	return out
}

// Foreign tells whether a folder is in a namespace that is not the user's.
func Foreign(prefix, delim string, foreign []string, wire string) bool {
	l := listed{wire: wire}
	space{delim: delim, prefix: prefix, foreign: foreign}.place(&l)
	return l.foreign
}

// DigestInPieces is DigestOf as the pieces come in.
func DigestInPieces(parts []string) []byte {
	d := newDigester()
	for _, p := range parts {
		_, _ = d.Write([]byte(p))
	}
	return d.sum()
}

// ContentKey is what a message is recognized by.
func ContentKey(body string) string { return contentKey(digestOf([]byte(body))) }

// Settled is what a server may make of a message.
func Settled(body string) string {
	text := strings.TrimRight(strings.ReplaceAll(body, "\x00", "\x80"), "\r")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if i < len(lines)-1 {
			lines[i] = strings.TrimRight(line, "\r")
		}
	}
	for i, line := range lines {
		if line == "" && i < len(lines)-1 {
			break
		}
		octets := []byte(line)
		for k, b := range octets {
			if b >= 0x80 {
				octets[k] = 'X'
			}
		}
		lines[i] = string(octets)
	}
	return strings.Join(lines, "\r\n")
}

// LargeFolder puts a folder of n messages into the store as passes leave it:
// read back in order, but every seventh once more later. It returns how much
// was written at once.
func LargeFolder(ctx context.Context, store Store, n uint32) (most int) {
	st := &folderState{Target: "INBOX", SourceValidity: 7, TargetValidity: 9, Complete: true, Messages: n, Next: n + 1, loaded: true}
	p := begin(st, 0)
	p.Name, p.Frozen = "INBOX", frozen{n, n + 1}
	write := func(rows []proof) {
		changes, size := map[string][]byte{}, 0
		_ = p.add(ctx, store, "INBOX", rows, changes) // a store in memory
		for _, v := range changes {
			size += len(v)
		}
		most = max(most, size)
		_ = store.Put(ctx, changes)
	}
	var rows, late []proof
	for uid := uint32(1); uid <= n; uid++ {
		st.uids.push(run{uid, uid, 1, st.flagIndex(`\Seen`)})
		row := proof{source: uid, target: uid, size: 20000, date: 1700000000 + int64(uid)*60, digest: sha256.Sum256(binary.BigEndian.AppendUint32(nil, uid))}
		if uid%7 == 0 {
			late = append(late, row)
			continue
		}
		if rows = append(rows, row); len(rows) == readBackMost {
			write(rows)
			rows = rows[:0]
		}
	}
	write(rows)
	for part := range slices.Chunk(late, readBackMost) {
		write(part)
	}
	changes := map[string][]byte{"folders": saveNames([]string{"INBOX"})}
	st.save(changes, "INBOX")
	_ = store.Put(ctx, changes)
	return most
}

// LeaveMemory takes what there is for bodies, but n bytes, and gives it back.
func LeaveMemory(ctx context.Context, n int64) (give func(), err error) {
	err = memory.Acquire(ctx, memoryBytes-n)
	return func() { memory.Release(memoryBytes - n) }, err
}

// ReadMetas reads a listing off a connection and counts its messages.
func ReadMetas(text string) (n int) {
	w := &wire{br: bufio.NewReader(strings.NewReader(text))}
	for {
		r, err := w.response()
		if err != nil {
			return n
		}
		if _, ok := metaOf(r); ok {
			n++
		}
	}
}

// Appender returns what sends a message n times to a server that takes all and
// answers nothing.
func Appender() func(n int, body []byte) {
	s := &session{w: newWire(context.Background(), silent{}, time.Minute, nil), caps: imap.CapSet{"MULTIAPPEND": {}, "LITERAL+": {}}}
	return func(n int, body []byte) {
		list := make([]parcel, n)
		for i := range list {
			list[i] = parcel{meta: meta{uid: uint32(i + 1), date: 1.6e9}, flags: `\Seen`, body: body}
		}
		if _, err := s.sendAll("INBOX", list); err != nil {
			panic(err) // nothing can fail
		}
		s.w.queue = nil
	}
}

type silent struct{ net.Conn }

func (silent) Write(p []byte) (int, error)      { return len(p), nil }
func (silent) SetReadDeadline(time.Time) error  { return nil }
func (silent) SetWriteDeadline(time.Time) error { return nil }

// MemoryIsFree says that no group holds any of it.
func MemoryIsFree() bool {
	free := memory.TryAcquire(memoryBytes)
	if free {
		memory.Release(memoryBytes)
	}
	return free
}

// HasBinaryPart looks for a part encoded as binary, in pieces of size octets.
func HasBinaryPart(text string, size int) bool {
	e := &encodings{}
	for piece := range slices.Chunk([]byte(text), size) {
		_, _ = e.Write(piece)
	}
	return e.binary
}

// LanesWorthIt sets for how many bytes a lane is not spared, and how far away.
func LanesWorthIt(bytes int64, far time.Duration) (reset func()) {
	b, f := laneBytes, farAway
	laneBytes, farAway = bytes, far
	return func() { laneBytes, farAway = b, f }
}

// TakeSlots takes connections of a server as another pass does.
func TakeSlots(ctx context.Context, s *Server, n int) (give func()) {
	if n == 0 {
		return func() {}
	}
	_, taken, err := takeSlots(ctx, need{s, n})
	if err != nil {
		panic(err) // there is no limit
	}
	return taken.release
}

// SlotsUsed is how many connections of a server are taken.
func SlotsUsed(s *Server) int { return s.connections().busy() }

// What the bodies of groups lie in.
const MemoryBytes = memoryBytes

// NewArena has groups lie where nothing was lost yet.
func NewArena() {
	bodies.Lock()
	defer bodies.Unlock()
	bodies.now = nil
}

type Buffer struct{ buffer }

func InCells(n int64) int64        { return inCells(n) }
func TakeBuffer(size int64) Buffer { return Buffer{takeBuffer(size)} }
func (b Buffer) Give(again bool)   { b.give(again) }
func (b Buffer) Size() int64       { return int64(len(b.bytes)) }
func (b Buffer) Own() bool         { return b.of == nil }

// Wire is a connection below the library, whose reader has begun.
type Wire struct{ w *wire }

func NewWire(c net.Conn) Wire {
	w := newWire(context.Background(), c, time.Minute, nil)
	go func() {
		for buf := make([]byte, 100); ; {
			if _, err := w.Read(buf); err != nil {
				return
			}
		}
	}()
	return Wire{w}
}

// Ask sends a command; on is called for each untagged answer.
func (w Wire) Ask(command string, on func()) (wait func() error, err error) {
	x := &exchange{on: func(*response) { on() }}
	err = w.w.send(command, x)
	return func() error { _, err := x.wait(); return err }, err
}

// KeepAlive says a NOOP as who keeps a connection alive does.
func (w Wire) KeepAlive() error {
	_, err := w.w.do("NOOP", &exchange{idle: true})
	return err
}

// SignIn tells what a server offers once we are in, and how many answers it is
// believed to owe after a while.
func SignIn(ctx context.Context, e Endpoint) (caps []string, owed int, err error) {
	s, err := open(ctx, e, wish{})
	if err != nil {
		return nil, 0, err
	}
	defer s.abort()
	time.Sleep(10 * time.Millisecond)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return s.capabilities(), s.w.waiting, nil
}
