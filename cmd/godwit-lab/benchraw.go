package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// style is one way to copy as fast as the wire allows: no list of what was
// done, no second look, no care. The best of them is the limit.
type style struct {
	name        string
	connections int  // pairs; each takes the next folder
	group       int  // messages
	multi       bool // a group is one MULTIAPPEND, else as many APPENDs in one go
	window      int  // groups under way on a connection
	wait        bool // synchronising literals: the next APPEND follows a body at once
}

// groupBytes ends a group early.
const groupBytes = 2 << 20

var styles = []style{
	{name: "pipelined 32, 1 connection", connections: 1, group: 16, window: 2},
	{name: "pipelined 32, 4 connections", connections: 4, group: 16, window: 2},
	{name: "MULTIAPPEND 100, 1 connection", connections: 1, group: 100, multi: true, window: 2},
	{name: "MULTIAPPEND 100, 4 connections", connections: 4, group: 100, multi: true, window: 2},
	{name: "MULTIAPPEND 25, 4 connections", connections: 4, group: 25, multi: true, window: 4},
}

// waiting are the styles for a target without LITERAL+.
var waiting = []style{
	{name: "waiting, overlapped, 4 connections", connections: 4, group: 1, window: 2, wait: true},
	{name: "waiting, MULTIAPPEND 25, 4 connections", connections: 4, group: 25, multi: true, window: 1, wait: true},
}

// wire is a connection without a care: what comes is read up to the answer.
type wire struct {
	net.Conn
	in    *bufio.Reader
	out   *bufio.Writer
	count int
	early map[string]bool // answered before they were asked about
}

func (s setting) wire(ctx context.Context, address, user string) (*wire, error) {
	secret, err := readSecret(s.ground.Master.SecretFile, nil)
	if err != nil {
		return nil, err
	}
	n, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l := &wire{Conn: n, in: bufio.NewReaderSize(n, 64<<10), out: bufio.NewWriterSize(n, 64<<10), early: map[string]bool{}}
	if _, err := l.in.ReadSlice('\n'); err != nil {
		return nil, err
	}
	return l, l.do("LOGIN "+quote(user+"*"+masterLogin)+" "+quote(secret), nil)
}

// send writes a command without its end.
func (l *wire) send(command string) (tag string) {
	l.count++
	tag = "r" + strconv.Itoa(l.count)
	_, _ = l.out.WriteString(tag + " " + command) // Flush says it
	return tag
}

func (l *wire) do(command string, on func(text string) error) error {
	tag := l.send(command + "\r\n")
	if err := l.out.Flush(); err != nil {
		return err
	}
	return l.await(tag, on)
}

// await reads up to the answer of tag; on gets each line before it.
func (l *wire) await(tag string, on func(text string) error) error {
	for !l.early[tag] {
		text, err := l.in.ReadString('\n')
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(text, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") {
				return errors.New(trimLine(text))
			}
			return nil
		}
		if on != nil {
			if err := on(trimLine(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// relayed is a message on its way.
type relayed struct {
	head string // flags and date, as APPEND wants them
	body []byte
}

// relay copies the mailboxes of list, some at once, in a style.
func (s setting) relay(ctx context.Context, how style, list []pair, atOnce int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, p := range list {
		group.Go(func() error { return s.relayMailbox(ctx, how, p) })
	}
	return group.Wait()
}

func (s setting) relayMailbox(ctx context.Context, how style, p pair) error {
	var lines [][2]*wire
	defer func() {
		for _, pair := range lines {
			_ = pair[0].Close()
			_ = pair[1].Close()
		}
	}()
	for range how.connections {
		var both [2]*wire
		var group errgroup.Group
		group.Go(func() (err error) { both[0], err = s.wire(ctx, s.from, p.source); return err })
		group.Go(func() (err error) { both[1], err = s.wire(ctx, s.to, p.target); return err })
		if err := group.Wait(); err != nil {
			return err
		}
		lines = append(lines, both)
	}
	names, err := lines[0][0].folders(lines[0][1])
	if err != nil {
		return err
	}
	queue := make(chan string, len(names))
	for _, name := range names {
		queue <- name
	}
	close(queue)
	var group errgroup.Group
	for _, both := range lines {
		group.Go(func() error {
			for name := range queue {
				if err := relayFolder(how, both[0], both[1], name); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// folders lists the source's folders that hold mail, fullest first, and makes
// all at the target. The names are as on the wire, quoted.
func (l *wire) folders(target *wire) (names []string, err error) {
	counts := map[string]int{}
	var all []string
	err = l.do(`LIST "" "*" RETURN (STATUS (MESSAGES))`, func(text string) error {
		if rest, ok := strings.CutPrefix(text, "* STATUS "); ok {
			name, count, _ := strings.Cut(rest, " (MESSAGES ")
			n, err := strconv.Atoi(strings.TrimSuffix(count, ")"))
			counts[name] = n
			return err
		}
		if flags, name, ok := strings.Cut(text, `) "/" `); ok && !strings.Contains(flags, `\Nos`) && !strings.Contains(flags, `\Non`) {
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, name := range all {
		if name != "INBOX" {
			tags = append(tags, target.send("CREATE "+name+"\r\n"))
		}
		if counts[name] > 0 {
			names = append(names, name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return counts[b] - counts[a] })
	if err := target.out.Flush(); err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if err := target.await(tag, nil); err != nil && !strings.Contains(err.Error(), "ALREADYEXISTS") {
			return nil, err
		}
	}
	return names, nil
}

// buffers holds the bodies of groups that are through.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func relayFolder(how style, source, target *wire, name string) error {
	groups := make(chan []relayed, 2)
	var group errgroup.Group
	group.Go(func() error {
		defer close(groups)
		return source.read(how, name, groups)
	})
	err := target.write(how, name, groups)
	for range groups { // so that the reader can end
	}
	return errors.Join(group.Wait(), err)
}

func (l *wire) read(how style, name string, groups chan<- []relayed) error {
	l.send("EXAMINE " + name + "\r\n")
	tag := l.send("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])\r\n")
	if err := l.out.Flush(); err != nil {
		return err
	}
	var group []relayed
	size := 0
	err := l.await(tag, func(text string) error {
		if !strings.Contains(text, " FETCH (") || !strings.HasSuffix(text, "}") {
			return nil
		}
		m, err := l.message(text)
		if err != nil {
			return err
		}
		if len(group) == how.group || size+len(m.body) > groupBytes && len(group) > 0 {
			groups <- group
			group, size = nil, 0
		}
		group, size = append(group, m), size+len(m.body)
		return nil
	})
	if len(group) > 0 {
		groups <- group
	}
	return err
}

// message reads "* 1 FETCH (UID 1 FLAGS (\Seen) INTERNALDATE "…" BODY[] {9}".
func (l *wire) message(text string) (m relayed, err error) {
	n, err := strconv.Atoi(text[strings.LastIndexByte(text, '{')+1 : len(text)-1])
	if err != nil {
		return m, err
	}
	_, rest, _ := strings.Cut(text, "FLAGS (")
	flags, rest, _ := strings.Cut(rest, ")")
	_, rest, _ = strings.Cut(rest, `INTERNALDATE "`)
	date, _, _ := strings.Cut(rest, `"`)
	flags = strings.TrimSpace(strings.ReplaceAll(flags, `\Recent`, ""))
	m.head = fmt.Sprintf(` (%s) "%s" {%d`, flags, date, n)
	b := buffers.Get().(*[]byte)
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	m.body = (*b)[:n]
	_, err = io.ReadFull(l.in, m.body)
	return m, err
}

// write sends groups as they come, and takes an answer when the window is full.
func (l *wire) write(how style, name string, groups <-chan []relayed) error {
	var open [][]string
	settle := func(most int) error {
		if err := l.out.Flush(); err != nil {
			return err
		}
		for ; len(open) > most; open = open[1:] {
			for _, tag := range open[0] {
				if err := l.await(tag, nil); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for group := range groups {
		if err := settle(how.window - 1); err != nil {
			return err
		}
		tags, err := l.append(how, name, group)
		if err != nil {
			return err
		}
		open = append(open, tags)
		for _, m := range group {
			buffers.Put(&m.body)
		}
	}
	return settle(0)
}

func (l *wire) append(how style, name string, group []relayed) (tags []string, err error) {
	for i, m := range group {
		if i == 0 || !how.multi {
			if i > 0 {
				_, _ = l.out.WriteString("\r\n")
			}
			tags = append(tags, l.send("APPEND "+name))
		}
		_, _ = l.out.WriteString(m.head)
		if how.wait {
			_, _ = l.out.WriteString("}\r\n")
			if err := l.goAhead(); err != nil {
				return nil, err
			}
		} else {
			_, _ = l.out.WriteString("+}\r\n")
		}
		_, _ = l.out.Write(m.body)
	}
	_, _ = l.out.WriteString("\r\n")
	if how.wait && !how.multi {
		return tags, nil // it goes out with the next command
	}
	return tags, l.out.Flush()
}

// goAhead waits for "+"; answers to commands before it may come first.
func (l *wire) goAhead() error {
	if err := l.out.Flush(); err != nil {
		return err
	}
	for {
		text, err := l.in.ReadString('\n')
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(text, "+"):
			return nil
		case strings.HasPrefix(text, "*"):
		case strings.Contains(text, " OK "):
			tag, _, _ := strings.Cut(text, " ")
			l.early[tag] = true
		default:
			return errors.New(trimLine(text))
		}
	}
}
