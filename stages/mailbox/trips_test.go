package mailbox_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// How many round trips a copy waits for is proved without looking at the time:
// a gate lets nothing of a server through until the client has sent what it must
// not wait with.

// gate stands before both servers of a scenario.
type gate struct {
	t    *testing.T
	open func(line) bool // whether the server may be heard on a connection

	mu     sync.Mutex
	news   *sync.Cond
	sentOn map[line][]string // what the client has sent
	opened map[string]int    // by side
	gaveUp bool
}

// line is a connection to a side, counted from 1.
type line struct {
	side string
	n    int
}

var commandLine = regexp.MustCompile(`^[GT][0-9]+ ([A-Z].*)`)

// gated puts a gate before the scenario's servers.
func gated(s *scenario, open func(*gate, line) bool) *gate {
	g := &gate{t: s.t, sentOn: map[line][]string{}, opened: map[string]int{}}
	g.open = func(w line) bool { return open(g, w) }
	g.news = sync.NewCond(&g.mu)
	for side, e := range map[string]*mailbox.Endpoint{"source": &s.pass.Source, "target": &s.pass.Target} {
		e.Server = &mailbox.Server{Address: g.listen(side, s.server(side).Address), TLS: "none"}
	}
	return g
}

func (s *scenario) server(side string) *imaptest.Server {
	if side == "source" {
		return s.source
	}
	return s.target
}

func (g *gate) listen(side, to string) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.opened[side]++
			w := line{side, g.opened[side]}
			g.mu.Unlock()
			all.Go(func() { g.pass(w, client, to) })
		}
	})
	g.t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String()
}

func (g *gate) pass(w line, client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return // the client sees its connection end
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() {
		defer server.Close()
		for r := bufio.NewReader(client); ; {
			text, err := r.ReadString('\n')
			if m := commandLine.FindStringSubmatch(text); m != nil {
				g.mu.Lock()
				g.sentOn[w] = append(g.sentOn[w], strings.TrimSpace(m[1]))
				g.mu.Unlock()
				g.news.Broadcast()
			}
			if _, werr := server.Write([]byte(text)); err != nil || werr != nil {
				return
			}
		}
	})
	both.Go(func() {
		defer client.Close()
		for piece := make([]byte, 32<<10); ; {
			n, err := server.Read(piece)
			g.wait(w)
			if _, werr := client.Write(piece[:n]); err != nil || werr != nil {
				return
			}
		}
	})
	both.Wait()
}

// wait holds back what the server has said until the gate is open.
func (g *gate) wait(w line) {
	tooLong := time.AfterFunc(20*time.Second, func() { // the client waits for the answer
		g.mu.Lock()
		defer g.mu.Unlock()
		if !g.gaveUp {
			g.t.Errorf("%s %d: a round trip is waited for; sent so far:\n%v", w.side, w.n, g.sentOn)
		}
		g.gaveUp = true
		g.news.Broadcast()
	})
	defer tooLong.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.gaveUp && !g.open(w) {
		g.news.Wait()
	}
}

// sent counts the commands that began so, on one line or (n = 0) all of a side.
func (g *gate) sent(side string, n int, command string) (count int) {
	for w, lines := range g.sentOn {
		for _, line := range lines {
			if w.side == side && (n == 0 || w.n == n) && strings.HasPrefix(line, command) && (command != "UID FETCH" || strings.Contains(line, "BODY.PEEK[")) {
				count++
			}
		}
	}
	return count
}

const newFolders = 5

// manyFolders is a scenario of a first copy of INBOX and some folders, all of
// which hold mail with keywords.
func manyFolders(t *testing.T) *scenario {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	for i := range newFolders - 2 { // beside INBOX and Work
		for n := range 8 {
			s.from.Add(fmt.Sprint("Folder ", i), letter(1000*i+n))
		}
	}
	s.pass.Options = mailbox.Options{MaxDelete: 1, Connections: 1}
	return s
}

// TestNextFolderIsAskedFor proves that a lane asks for its next folder, on both
// sides, before the last messages of the one before have landed.
func TestNextFolderIsAskedFor(t *testing.T) {
	s := manyFolders(t)
	gated(s, func(g *gate, w line) bool {
		appended, fetched, opened := g.sent("target", 0, "APPEND"), g.sent("source", 0, "UID FETCH"), g.sent("target", 0, "SELECT")
		if w.side == "source" {
			return fetched == 0 || fetched >= min(appended+2, newFolders)
		}
		return appended == 0 || fetched >= min(appended+1, newFolders) && opened >= min(appended+1, newFolders)
	})
	if res := run(t, s.pass); res.Copied != 20+8*(newFolders-2) {
		t.Errorf("got %+v", res)
	}
	s.honest(nil)
}

// TestNobodyWaitsForSubscriptions proves that the copy begins before the target
// has said anything to SUBSCRIBE.
func TestNobodyWaitsForSubscriptions(t *testing.T) {
	s := manyFolders(t)
	s.from.Subscribe("Work")
	gated(s, func(g *gate, w line) bool {
		return w.side == "source" || g.sent("target", 0, "SUBSCRIBE") == 0 || g.sent("source", 0, "UID FETCH") > 0
	})
	run(t, s.pass)
	s.honest(nil)
	if !s.to.Subscribed("Work") || s.to.Subscribed("INBOX") {
		t.Error("not subscribed as at the source")
	}
}

// TestASubscriptionIsNotLost proves that a connection that is lost over SUBSCRIBE
// does not leave a folder unsubscribed.
func TestASubscriptionIsNotLost(t *testing.T) {
	s := manyFolders(t)
	s.from.Subscribe("Work")
	s.target.Inject(imaptest.Fault{Name: "lost", On: "SUBSCRIBE", Once: 1, Before: func(m *imaptest.Moment) { m.Skip = true }, After: func(m *imaptest.Moment) { m.HangUp(0) }})
	run(t, s.pass)
	s.honest(nil)
	if !s.to.Subscribed("Work") || s.target.Heal()["lost"] != 1 {
		t.Error("not subscribed")
	}
}

// TestNobodyWaitsForSignIns proves that the folders are made while further lanes
// sign in.
func TestNobodyWaitsForSignIns(t *testing.T) {
	s := manyFolders(t)
	s.pass.Options.Connections = 3
	gated(s, func(g *gate, w line) bool { return w.n == 1 || g.sent("target", 0, "CREATE") > 0 })
	run(t, s.pass)
	s.honest(nil)
}

// completions is a store that knows how many folders are through.
type completions struct {
	*memory
	g *gate
	n int
}

func (c *completions) Put(ctx context.Context, changes map[string][]byte) error {
	err := c.memory.Put(ctx, changes)
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	for key, value := range changes {
		if strings.HasPrefix(key, "folder/") && strings.Contains(string(value), `"Complete":true`) {
			c.n++
		}
	}
	c.g.news.Broadcast()
	return err
}

// TestFoldersAreReadBackInOneGo proves that all folders which wait for it are
// asked for before the first has answered. (Of the last one the reader may hear
// a moment later.)
func TestFoldersAreReadBackInOneGo(t *testing.T) {
	s := manyFolders(t)
	s.pass.Options.Verify = "headers"
	store := &completions{memory: newMemory()}
	s.pass.Store = store
	store.g = gated(s, func(g *gate, w line) bool {
		reader := w == line{"target", 2}
		return !reader || store.n >= newFolders && (g.sent("target", 2, "UID FETCH") == 0 || g.sent("target", 2, "EXAMINE") >= newFolders) // with the one of the sign-in
	})
	if res := run(t, s.pass); len(res.Differs) > 0 {
		t.Errorf("got %+v", res)
	}
	s.honest(nil)
}

// TestEmptyFoldersAreNotReadBack proves that a folder in which nothing of ours is
// costs nothing.
func TestEmptyFoldersAreNotReadBack(t *testing.T) {
	s := manyFolders(t)
	s.from.Add("Empty", letter(1))
	s.from.Change("Empty", func(imaptest.Message) *imaptest.Message { return nil })
	s.pass.Options.Verify, s.pass.Options.Final = "headers", true
	if res := run(t, s.pass); len(res.Differs) > 0 {
		t.Errorf("got %+v", res)
	}
	for _, command := range s.target.Commands() {
		if strings.HasPrefix(command, `EXAMINE "Empty"`) {
			t.Error(command)
		}
	}
}

// TestSurveyAsksInOneGo proves that a survey does not wait for one folder before
// it asks for the next, and counts what it did folder by folder.
func TestSurveyAsksInOneGo(t *testing.T) {
	s := manyFolders(t)
	gated(s, func(g *gate, w line) bool {
		n := g.sent("source", 0, "EXAMINE")
		return w.side == "target" || n <= 1 || n == 1+newFolders // with the one of the sign-in
	})
	survey, err := s.pass.Examine(t.Context())
	if err != nil || survey.Folders != newFolders || survey.Messages != 20+8*(newFolders-2) {
		t.Errorf("got %+v, %v", survey, err)
	}
}
