package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// exchange is one command of our own, or several sent in one go, on the
// connection that the library signed in on. Others may be in flight behind it,
// and of the library's CAPABILITY, whose answer goes to the library.
type exchange struct {
	tags    map[string]int // tag -> index in replies, or noop
	noops   []string       // that go before each command; see pauses
	replies []reply
	left    int
	on      func(*response)                                   // untagged responses; may be nil
	body    func(uid uint32, size int64, lit io.Reader) error // bodies, streamed; may be nil
	wants   map[uint32]bool                                   // whose messages, where others are in flight as well
	flood   int                                               // responses allowed that end no command
	news    chan int                                          // see goAhead
	done    chan struct{}
	once    sync.Once
	idle    bool                    // a NOOP of keepAlive, which gives way
	err     error                   // the connection is gone
	refusal error                   // the first error of body; the exchange went on to its end
	sums    map[uint32]uint32       // of the bodies so far, where there is no kept
	kept    func(uid uint32) []byte // the message, where body has kept one; may be nil
}

const flood = 20000

var errNotIdle = errors.New("somebody else uses the connection now")

var errFlood = fmt.Errorf("%w: a flood of answers nobody asked for", errHostile)

// start begins an exchange of n commands and returns their tags.
func (w *wire) start(n int, x *exchange) ([]string, error) {
	x.tags = make(map[string]int, n)
	x.replies = make([]reply, n)
	x.left = n
	x.news = make(chan int, n+1)
	x.done = make(chan struct{})
	if x.flood == 0 {
		x.flood = flood
	}
	extra := 0
	w.mu.Lock()
	for len(w.queue) > 0 && w.queue[0].idle {
		noop := w.queue[0]
		w.mu.Unlock()
		<-noop.done
		w.mu.Lock()
	}
	if w.err != nil {
		defer w.mu.Unlock()
		return nil, w.err
	}
	if x.idle && len(w.queue)+w.waiting > 0 { // it would get into what somebody else has begun to send
		w.mu.Unlock()
		return nil, errNotIdle
	}
	tags := make([]string, n)
	for i := range tags {
		w.seq++
		tags[i] = "G" + strconv.Itoa(w.seq)
		x.tags[tags[i]] = i
	}
	if w.pause {
		extra = x.breathe(w, n)
	}
	w.queue = append(w.queue, x)
	w.mu.Unlock()
	w.expect(n + extra)
	return tags, nil
}

// noop stands for the index of a NOOP between commands.
const noop = -1

// inARow is how many commands may follow each other where a NOOP is to be said
// between them: none of the servers that count refusals ends the connection
// before the fifth, nor before the same command has come 25 times.
const inARow = 4

// pauses tells whether a NOOP is said between every few commands. It goes out
// with them and costs no round trip.
func (w *wire) pauses(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pause = on
}

// breathe puts NOOPs before some of n commands and tells how many. The caller
// holds the lock.
func (x *exchange) breathe(w *wire, n int) (extra int) {
	x.noops = make([]string, n)
	for i := range x.noops {
		if w.row++; w.row <= inARow {
			continue
		}
		w.seq++
		tag := "G" + strconv.Itoa(w.seq)
		x.noops[i], x.tags[tag], w.row = tag+" NOOP\r\n", noop, 1
		x.left++
		extra++
	}
	return extra
}

// lead is what goes out before command i.
func (x *exchange) lead(i int) string {
	if i < len(x.noops) {
		return x.noops[i]
	}
	return ""
}

// take is called by the reader for each response; true ends the exchange.
func (x *exchange) take(w *wire, r *response) bool {
	i, ok := x.tags[r.tag]
	if !ok {
		x.flood--
	}
	if x.flood < 0 {
		_ = w.fail(errFlood) // the same error
		return false
	}
	switch r.tag {
	case "+":
		x.tell(goOn)
		return false
	case "*":
		if x.on != nil {
			x.on(r)
		}
		return false
	}
	if !ok && x.body != nil && r.tag != "" { // a piece of a message whose length was a lie
		_ = w.fail(fmt.Errorf("%w: a message goes on behind its end", errHostile)) // the same error
		return false
	}
	if !ok {
		return false
	}
	if !r.endsCommand() {
		_ = w.fail(errNoEnd) // the same error
		return false
	}
	delete(x.tags, r.tag)
	said := r.reply()
	if said.ended() {
		_ = w.fail(fmt.Errorf("%w: %w", errClosed, goodbye{refusal{said}})) // the same error
		return false
	}
	w.pressed(said.err())
	if i != noop {
		x.replies[i] = said
		x.tell(i)
	}
	x.left--
	w.expect(-1)
	return x.left == 0
}

// goOn is the news that the server wants the literal it was told of; other
// news is the number of a command that has ended.
const goOn = -1

// tell never waits: news that nobody looks at is lost.
func (x *exchange) tell(news int) {
	select {
	case x.news <- news:
	default:
	}
}

// goAhead waits until the server wants the literal of command i. It does not
// where it has ended the command instead.
func (x *exchange) goAhead(i int) bool {
	for {
		select {
		case news := <-x.news:
			if news == goOn || news == i {
				return news == goOn
			}
		case <-x.done:
			return false
		}
	}
}

func (x *exchange) end(err error) {
	x.once.Do(func() {
		if err != nil {
			x.err = err
		}
		close(x.done)
	})
}

// wait returns the replies once all commands have ended.
func (x *exchange) wait() ([]reply, error) {
	<-x.done
	if x.err != nil {
		return nil, x.err
	}
	return x.replies, x.refusal
}

// do sends one command and waits for its end. A NO or BAD is a refusal.
func (w *wire) do(command string, x *exchange) (reply, error) {
	if err := w.send(command, x); err != nil {
		return reply{}, err
	}
	replies, err := x.wait()
	if err != nil {
		return reply{}, err
	}
	return replies[0], replies[0].err()
}

// send sends one command; x.wait waits for its end. After an error nothing of it
// is in flight any more.
func (w *wire) send(command string, x *exchange) error {
	tags, err := w.start(1, x)
	if err != nil {
		return err
	}
	return w.putOf(x, []byte(x.lead(0)+tags[0]+" "+command+"\r\n"))
}

// doAll sends commands in one go and returns the reply of each.
func (w *wire) doAll(commands []string, on func(*response)) ([]reply, error) {
	return w.together(commands, &exchange{on: on, flood: flood + 4*len(commands)})
}

// together is doAll with an exchange of the caller's.
func (w *wire) together(commands []string, x *exchange) ([]reply, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	if err := w.sendAll(commands, x); err != nil {
		return nil, err
	}
	return x.wait()
}

// sendAll sends commands, at least one; x.wait waits for the end of all, as after
// send.
func (w *wire) sendAll(commands []string, x *exchange) error {
	tags, err := w.start(len(commands), x)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for i, c := range commands {
		fmt.Fprintf(&b, "%s%s %s\r\n", x.lead(i), tags[i], c)
	}
	return w.putOf(x, b.Bytes())
}

// putOf sends the commands of an exchange that has begun.
func (w *wire) putOf(x *exchange, commands []byte) error {
	err := w.put(commands)
	if err != nil {
		<-x.done
	}
	return err
}

// err is nil for OK.
func (r reply) err() error {
	if r.Kind == "OK" {
		return nil
	}
	return classify(refusal{r})
}

// quote writes a string so that a server reads it back as it is. ok is false
// for what no quoted string can hold.
func quote(s string) (quoted string, ok bool) {
	if strings.ContainsAny(s, "\r\n\x00") {
		return `""`, false
	}
	return `"` + quoting.Replace(s) + `"`, true
}

var quoting = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// forLibrary lets pass what the library reads safely: greetings, capabilities,
// ends of commands and requests to continue. Everything else it would end the
// connection for, or has no use for, is swallowed.
func forLibrary(r *response) []byte {
	line := r.lines[0]
	switch {
	case len(r.lines) > 1:
		return nil
	case r.tag == "+":
		return append(bytes.Clone(line), "\r\n"...)
	case r.tag == "*":
		switch r.word {
		case "CAPABILITY":
			return append(bytes.TrimRight(bytes.Clone(line), " "), "\r\n"...)
		case "OK", "PREAUTH", "BYE", "NO", "BAD":
			return plain("*", r.reply())
		}
		return nil
	case !isTag([]byte(r.tag+" ")) || !r.endsCommand(): // its error would repeat it
		return nil
	}
	return plain(r.tag, r.reply())
}

// endsCommand tells whether the word is one that ends a command.
func (r *response) endsCommand() bool { return r.word == "OK" || r.word == "NO" || r.word == "BAD" }

var errNoEnd = fmt.Errorf("%w: the end of a command that nobody gave, or none of OK, NO, BAD", errHostile)

// plain writes a status response in its strictest form.
func plain(tag string, r reply) []byte {
	code := ""
	if r.Code == "CAPABILITY" {
		code = "[CAPABILITY " + strings.Join(strings.Fields(r.Args), " ") + "] "
	} else if r.Code != "" && strings.Trim(r.Code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") == "" {
		code = "[" + r.Code + "] "
	}
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, r.Text)
	if text == "" || strings.HasPrefix(text, "[") {
		text = "- " + text
	}
	return []byte(tag + " " + r.Kind + " " + code + text + "\r\n")
}
