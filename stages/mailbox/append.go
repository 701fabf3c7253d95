package mailbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parcel is one message ready to be appended.
type parcel struct {
	meta
	body   []byte
	flags  string // as the target can hold them
	digest []byte

	literal8 bool  // it goes out as one
	said     error // to the message as a plain literal, where it does
	encoded  bool  // a part may be encoded as binary; not looked for where the body is at hand
}

// sized is what is known of the message with its true size: that of the source
// may be an estimate.
func (p parcel) sized() meta {
	m := p.meta
	m.size = int64(len(p.body))
	return m
}

// outcome is what became of a parcel.
type outcome struct {
	uid uint32 // at the target, 0: the server does not tell
	err error  // a refusal
}

// head is what stands before a message of size bytes in APPEND: flags, date,
// size.
func (p parcel) head(size int64, plus bool) string {
	var b strings.Builder
	if p.flags != "" {
		b.WriteString(" (" + p.flags + ")")
	}
	if p.date != noDate {
		b.WriteString(` "` + p.time().Format("_2-Jan-2006 15:04:05 -0700") + `"`)
	}
	kind, mark := "", ""
	if p.literal8 {
		kind = "~"
	}
	if plus {
		mark = "+"
	}
	fmt.Fprintf(&b, " %s{%d%s}\r\n", kind, size, mark)
	return b.String()
}

// nonSync tells whether a message of size bytes may follow without the server's
// leave (RFC 7888).
func (s *session) nonSync(p parcel, size int64) bool {
	return !p.literal8 && (s.has("LITERAL+") || s.has("LITERAL-") && size <= 4096)
}

// sending is a group of messages on its way to the target.
type sending struct {
	x     *exchange
	n     int
	whole bool  // one command for all: all are stored or none
	kept  []int // commands that the server ended before it had their message
}

// sendAll sends parcels to the folder name: in one MULTIAPPEND (RFC 3502), or as
// many commands in one go. Where the server must be asked before each message,
// the question goes out with the message before. The answers are short: they
// fit into the connection's buffers.
func (s *session) sendAll(name string, list []parcel) (*sending, error) {
	q, ok := quote(name)
	if !ok {
		return nil, errName
	}
	f := &sending{x: &exchange{}, n: len(list), whole: len(list) > 1 && s.has("MULTIAPPEND")}
	commands := len(list)
	if f.whole {
		commands = 1
	}
	tags, err := s.w.start(commands, f.x)
	if err != nil {
		return nil, err
	}
	if s.out == nil {
		size := 16 << 10
		if !s.has("LITERAL+") { // most messages and the question for the next are to be one packet
			size = 64 << 10
		}
		s.out = bufio.NewWriterSize(putter{s.w}, size)
	}
	out := s.out
	for i, p := range list {
		if !f.whole || i == 0 {
			_, _ = out.WriteString(f.x.lead(i) + tags[i] + " APPEND " + q)
		}
		size := int64(len(p.body))
		plus := s.nonSync(p, size)
		_, _ = out.WriteString(p.head(size, plus))
		if !plus {
			if err := out.Flush(); err != nil {
				return nil, err
			}
			command := min(i, commands-1)
			if !f.x.goAhead(command) {
				if f.kept = append(f.kept, command); f.whole {
					return f, nil
				}
				continue
			}
			s.w.expect(0)
		}
		_, _ = out.Write(p.body)
		if !f.whole {
			_, _ = out.WriteString("\r\n")
		}
	}
	if f.whole {
		_, _ = out.WriteString("\r\n")
	}
	return f, out.Flush()
}

// wait returns what became of each message. A lost connection is an error: then
// nothing is known of any of them.
func (f *sending) wait() (validity uint32, out []outcome, err error) {
	replies, err := f.x.wait()
	if err != nil {
		return 0, nil, err
	}
	for _, i := range f.kept {
		if replies[i].Kind == "OK" {
			return 0, nil, errUnsent
		}
	}
	if !f.whole {
		for _, r := range replies {
			v, o := outcomeOf(r)
			if v != 0 {
				validity = v
			}
			out = append(out, o)
		}
		return validity, out, nil
	}
	out = make([]outcome, f.n)
	if err := replies[0].err(); err != nil {
		for i := range out {
			out[i].err = err
		}
		return 0, out, nil
	}
	validity, uids := appendUID(replies[0])
	if len(uids) == len(out) {
		for i, uid := range uids {
			out[i].uid = uid
		}
	}
	return validity, out, nil
}

// appendAll appends parcels and waits for what becomes of them.
func (s *session) appendAll(name string, list []parcel) (validity uint32, out []outcome, err error) {
	f, err := s.sendAll(name, list)
	if err != nil {
		return 0, nil, err
	}
	return f.wait()
}

// appendOne streams one message of size bytes; body writes them. An error of
// body ends the connection, so that the server throws away what it has.
func (s *session) appendOne(q string, p parcel, size int64, body func(io.Writer) error) (uint32, outcome, error) {
	plus := s.nonSync(p, size) && s.kind != kindZimbra // which takes all of it before it refuses it for its size
	x := &exchange{}
	tags, err := s.w.start(1, x)
	if err != nil {
		return 0, outcome{}, err
	}
	if err := s.w.put([]byte(x.lead(0) + tags[0] + " APPEND " + q + p.head(size, plus))); err != nil {
		return 0, outcome{}, err
	}
	if !plus && !x.goAhead(0) { // refused before a byte was sent
		replies, err := x.wait()
		if err != nil {
			return 0, outcome{}, err
		}
		if replies[0].Kind == "OK" {
			return 0, outcome{}, errUnsent
		}
		return 0, outcome{err: replies[0].err()}, nil
	}
	s.w.expect(0)
	counted := &countWriter{w: putter{s.w}}
	if err := body(counted); err != nil || counted.n != size {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		s.abort()
		return 0, outcome{}, err
	}
	if err := s.w.put([]byte("\r\n")); err != nil {
		return 0, outcome{}, err
	}
	replies, err := x.wait()
	if err != nil {
		return 0, outcome{}, err
	}
	v, o := outcomeOf(replies[0])
	return v, o, nil
}

var errUnsent = fmt.Errorf("%w: APPEND succeeded without its message", errHostile)

func outcomeOf(r reply) (validity uint32, o outcome) {
	if err := r.err(); err != nil {
		return 0, outcome{err: err}
	}
	validity, uids := appendUID(r)
	if len(uids) == 1 {
		o.uid = uids[0]
	}
	return validity, o
}

// appendUID reads [APPENDUID validity set] (RFC 4315).
func appendUID(r reply) (validity uint32, uids []uint32) {
	if r.Code != "APPENDUID" {
		return 0, nil
	}
	v, set, _ := strings.Cut(strings.TrimSpace(r.Args), " ")
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, nil
	}
	return uint32(n), parseSet(set)
}

// parseSet reads a UID set as a server sends it, at most 100,000 of them.
func parseSet(set string) (uids []uint32) {
	for _, part := range strings.Split(strings.TrimSpace(set), ",") {
		from, to, ranged := strings.Cut(part, ":")
		a, err := strconv.ParseUint(from, 10, 32)
		if err != nil {
			return nil
		}
		b := a
		if ranged {
			if b, err = strconv.ParseUint(to, 10, 32); err != nil {
				return nil
			}
		}
		if b < a {
			a, b = b, a
		}
		if b-a > 100000 || len(uids) > 100000 {
			return nil
		}
		for ; a <= b; a++ {
			uids = append(uids, uint32(a))
		}
	}
	return uids
}

// putter writes to the wire below the library.
type putter struct{ w *wire }

func (p putter) Write(b []byte) (int, error) {
	if err := p.w.put(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// keepFlags drops what an IMAP atom or the folder cannot hold, and tells what
// it dropped.
func keepFlags(flags string, permanent []string) (kept string, dropped []string) {
	if flags == "" {
		return "", nil
	}
	any := len(permanent) == 0
	may := map[string]bool{}
	for _, p := range permanent {
		any = any || p == `\*`
		may[strings.ToLower(p)] = true
	}
	var out []string
	for _, f := range strings.Fields(flags) {
		system := systemFlag(f) == f && strings.HasPrefix(f, `\`) && isSystem(f)
		switch {
		case system:
			out = append(out, f)
		case !isAtom(f), !any && !may[strings.ToLower(f)]:
			dropped = append(dropped, f)
		default:
			out = append(out, f)
		}
	}
	return strings.Join(out, " "), dropped
}

func isSystem(f string) bool {
	for _, s := range systemFlags {
		if s == f {
			return true
		}
	}
	return false
}

func isAtom(f string) bool {
	return f != "" && !strings.ContainsFunc(f, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
	})
}

var errReplaced = errors.New("the target folder was replaced while it was being filled; the next pass matches it anew")
