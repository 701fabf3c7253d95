package mailbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits below the library, so that no server can make memory grow.
const (
	chunk       = 64 << 10
	maxLine     = 1 << 20
	maxLiteral  = 1 << 20 // kept in memory; bodies are streamed past it
	maxResponse = 4 << 20
	maxLiterals = 10000
)

// Errors of the wire itself; each ends the connection.
var (
	errStall   = errors.New("no answer within the stall time")
	errClosed  = errors.New("the server closed the connection")
	errHostile = errors.New("the answer breaks the protocol")
)

// wire is the connection under imapclient. It replaces the library's fixed
// deadlines by progress deadlines, counts and slows bytes, keeps the BYE, lets
// through to the library only what it reads safely, and carries the commands
// that we send ourselves (see exchange.go).
//
// The library's reader goroutine is the only one that calls Read, so it is
// also the one that runs the callbacks of an exchange.
type wire struct {
	net.Conn
	ctx     context.Context
	stall   time.Duration
	busy    func(error) // told of every wish to come back later; may be nil
	limit   *rate.Limiter
	in, out atomic.Int64
	last    atomic.Int64 // when bytes went in or out, Unix nanoseconds
	pulse   *pulse       // of the pass; may be nil

	br      *bufio.Reader // read side: reader goroutine only
	pend    []byte
	greeted bool
	stray   int    // responses one after the other for the library, or for nobody
	line    []byte // beginning of a library command not yet ended; encoder lock
	literal bool   // what comes is one; encoder lock

	mu       sync.Mutex
	waiting  int           // answers owed by the server; none: no deadline
	asked    time.Time     // when waiting began
	least    time.Duration // that an answer took; 0: none has come
	queue    []*exchange   // commands of ours in flight, oldest first
	bye      string
	welcome  string     // the greeting
	pause    bool       // see pauses
	row      int        // commands since the last NOOP, where pause is set
	hidden   []string   // secrets that were sent, in the forms a server may repeat
	reading  bool       // see reads
	prompted bool       // see prompt
	changed  *sync.Cond // reading, prompted or err
	err      error
	seq      int
}

func newWire(ctx context.Context, c net.Conn, stall time.Duration, limit *rate.Limiter) *wire {
	w := &wire{Conn: c, ctx: ctx, stall: stall, limit: limit, pulse: pulseOf(ctx)}
	w.changed = sync.NewCond(&w.mu)
	w.br = bufio.NewReaderSize(source{w}, 16<<10)
	w.waiting, w.asked = 1, time.Now() // the greeting
	return w
}

// The library's own deadlines are absolute and would end a slow, living
// transfer: ours replace them.
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) SetDeadline(time.Time) error      { return nil }

// source reads from the network with the stall deadline, counting.
type source struct{ w *wire }

func (s source) Read(p []byte) (int, error) {
	w := s.w
	w.mu.Lock()
	if w.waiting > 0 {
		_ = w.Conn.SetReadDeadline(time.Now().Add(w.stall))
	} else {
		_ = w.Conn.SetReadDeadline(time.Time{})
	}
	w.mu.Unlock()
	n, err := w.Conn.Read(p)
	w.in.Add(int64(n))
	w.touched()
	if w.limit != nil && n > 0 {
		for left := n; left > 0; {
			step := min(left, max(w.limit.Burst(), 1))
			if werr := w.limit.WaitN(w.ctx, step); werr != nil {
				return n, werr
			}
			left -= step
		}
	}
	return n, err
}

// touched notes that bytes came or went. Those of keepAlive are no work.
func (w *wire) touched() {
	w.last.Store(time.Now().UnixNano())
	w.mu.Lock()
	working := w.waiting > 0 && (len(w.queue) == 0 || !w.queue[0].idle)
	w.mu.Unlock()
	if working {
		w.pulse.beat()
	}
}

// expect notes that the server owes n more answers from now on. Whatever was
// just written, the time to wait begins anew.
func (w *wire) expect(n int) {
	w.mu.Lock()
	switch {
	case n > 0 && w.waiting == 0:
		w.asked = time.Now()
	case n < 0 && !w.asked.IsZero():
		if d := time.Since(w.asked); w.least == 0 || d < w.least {
			w.least = d
		}
		w.asked = time.Time{}
	}
	w.waiting = max(0, w.waiting+n)
	if w.waiting > 0 && n >= 0 { // the reader may sit in a Read without a deadline
		_ = w.Conn.SetReadDeadline(time.Now().Add(w.stall))
	}
	w.mu.Unlock()
}

// Read hands the library its next response.
func (w *wire) Read(p []byte) (n int, err error) {
	w.reads(true)
	defer func() {
		if v := recover(); v != nil { // a bad server kills only its connection
			err = fmt.Errorf("%w: %v", errHostile, v)
		}
		if err != nil {
			err = w.fail(err)
		}
		w.reads(false)
	}()
	for len(w.pend) == 0 {
		if err := w.answered(); err != nil {
			return 0, err
		}
		r, err := w.response()
		if err != nil {
			return 0, err
		}
		w.pend = w.route(r)
	}
	n = copy(p, w.pend)
	w.pend = w.pend[n:]
	return n, nil
}

// response reads one whole response. The body of a message is not kept but
// handed to the exchange that asked for it.
func (w *wire) response() (*response, error) {
	r := &response{}
	total := 0
	for {
		line, err := w.readLine()
		if err != nil {
			return nil, err
		}
		r.lines = append(r.lines, line)
		if !r.goesOn() {
			return nil, fmt.Errorf("%w: a message does not end where its length says", errHostile)
		}
		if total += len(line); total > maxResponse || len(r.lines) > maxLiterals {
			return nil, fmt.Errorf("%w: a response of more than %d bytes", errHostile, maxResponse)
		}
		n, ok := literalAt(line)
		if !ok {
			r.head()
			w.redact(r)
			return r, nil
		}
		if x := w.bodyWanted(r); x != nil {
			if err := x.takeBody(r, n, w.br); err != nil {
				return nil, err
			}
			r.lits, r.taker = append(r.lits, nil), x
			continue
		}
		if n > maxLiteral {
			return nil, fmt.Errorf("%w: a value of %d bytes where a short one belongs", errHostile, n)
		}
		lit := make([]byte, n)
		if _, err := io.ReadFull(w.br, lit); err != nil {
			return nil, err
		}
		total += len(lit)
		r.lits = append(r.lits, lit)
	}
}

func (w *wire) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := w.br.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return bytes.TrimRight(line, "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", errHostile, maxLine)
		}
	}
}

// route gives a response to the exchange in flight, or else what is left of it
// to the library.
func (w *wire) route(r *response) []byte {
	if r.tag == "*" && r.word == "BYE" {
		w.mu.Lock()
		w.bye = string(r.lines[0][r.rest:])
		w.mu.Unlock()
	}
	if x := w.owner(r); x != nil {
		w.stray = 0
		if x.take(w, r) {
			w.mu.Lock()
			w.queue = slices.DeleteFunc(slices.Clone(w.queue), func(y *exchange) bool { return y == x })
			w.mu.Unlock()
			x.end(x.err)
		}
		return nil
	}
	if w.stray++; w.stray > flood {
		_ = w.fail(errFlood)
		return nil
	}
	out := forLibrary(r)
	switch {
	case out == nil && r.tag != "*" && r.tag != "+" && r.tag != "":
		_ = w.fail(errNoEnd)
	case out == nil: // nobody's: the time to wait runs on
	case r.tag == "+":
		w.prompt(true)
	case !w.greeted && r.word != "CAPABILITY":
		w.greets(r)
		w.expect(-1)
	case r.tag != "*":
		w.expect(-1)
	}
	return out
}

func (w *wire) greets(r *response) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.greeted, w.welcome = true, string(r.lines[0])
}

// owner is the exchange in flight that a response belongs to: a tagged one to
// that of its tag, a message to who asked for it, all else to the oldest.
// Servers may work on two FETCHes at once, and mix what they give (RFC 9051, 5.5).
func (w *wire) owner(r *response) *exchange {
	w.mu.Lock()
	queue := w.queue
	w.mu.Unlock()
	if len(queue) == 0 || r.tag != "*" && isTag([]byte(r.tag+" ")) { // the library's, which asks for capabilities when it likes
		return nil
	}
	if r.taker != nil {
		return r.taker
	}
	if len(queue) == 1 {
		return queue[0]
	}
	uid := uint32(0)
	if r.tag == "*" && r.word == "FETCH" {
		uid = uidOf(r)
	}
	for _, x := range queue {
		if _, ok := x.tags[r.tag]; ok || uid != 0 && x.wants != nil && x.wants[uid] {
			return x
		}
	}
	return queue[0]
}

// Write sends what the library writes: commands and the answers of a sign-in.
func (w *wire) Write(p []byte) (int, error) {
	command := false // what answers a "+" is none; a "+" may come before its command is out
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			w.line = append(w.line, rest...)
			break
		}
		w.line = append(w.line, rest[:i]...)
		if !w.literal && isTag(w.line) {
			command = true
			w.expect(1)
		}
		_, w.literal = literalAt(bytes.TrimRight(w.line, "\r"))
		w.line = w.line[:0]
		rest = rest[i+1:]
	}
	if !command && bytes.HasSuffix(p, []byte("\n")) {
		w.prompt(false)
	}
	if err := w.put(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// isTag tells a command line of the library ("T12 NOOP") from a continuation.
func isTag(line []byte) bool {
	tag, _, ok := strings.Cut(string(line[:min(len(line), 24)]), " ")
	if !ok || len(tag) < 2 || tag[0] != 'T' {
		return false
	}
	return strings.Trim(tag[1:], "0123456789") == ""
}

// put writes with a deadline for each piece, so that slow is not dead.
func (w *wire) put(p []byte) error {
	for len(p) > 0 {
		_ = w.Conn.SetWriteDeadline(time.Now().Add(w.stall))
		n, err := w.Conn.Write(p[:min(len(p), chunk)])
		w.out.Add(int64(n))
		w.touched()
		if err != nil {
			return w.fail(err)
		}
		p = p[n:]
		w.expect(0)
	}
	return nil
}
