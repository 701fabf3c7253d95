// Package imaptest is an IMAP server in memory that misbehaves as told.
//
// As it stands it is sane: accounts with folders, UIDs, flags and dates, all
// commands that a copy needs on either side, and only the capabilities that it
// is started with. A Fault changes what one command does or how it is answered;
// faults.go holds the catalogue. What the mailboxes really hold is read from
// Account, without IMAP, so that a test's judgement depends on no protocol.
//
//	read.go ─► Moment ─► Fault.Before ─► do.go … ─► Fault.After ─► answer.go
//
// One lock guards everything but the network: the mailboxes are small.
package imaptest

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// Full is what a modern server offers.
var Full = []string{
	"IMAP4rev1", "AUTH=PLAIN", "AUTH=XOAUTH2", "SASL-IR", "LITERAL+", "UIDPLUS", "MULTIAPPEND", "MOVE", "NAMESPACE",
	"LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE", "CONDSTORE", "UNSELECT",
}

// Bare is what a server of 1996 offers.
var Bare = []string{"IMAP4rev1"}

// Server is one side of a copy. Its fields may be changed until the first
// connection.
type Server struct {
	Address   string // host:port on loopback, without TLS
	Greeting  string // "* OK ready" if empty
	Delimiter string // "/" if empty

	mu         sync.Mutex
	caps       []string
	accounts   map[string]*Account
	faults     []*armed
	names      string // the answer to ID
	changes    []string
	complaints []string
	log        []string
	sessions   int // so far
	open       map[net.Conn]bool
	most       int // open at once
	validity   uint32
	listener   net.Listener
	serving    sync.WaitGroup
	down       chan struct{}
}

// Start starts a server that ends with the test.
func Start(t testing.TB, caps ...string) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Address: l.Addr().String(), Greeting: "* OK ready", Delimiter: "/", caps: caps,
		accounts: map[string]*Account{}, open: map[net.Conn]bool{}, validity: 1000, listener: l, down: make(chan struct{}),
	}
	s.serving.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

// Close ends all connections.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.down:
		s.mu.Unlock()
		return
	default:
	}
	close(s.down)
	s.listener.Close()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		select {
		case <-s.down:
			c.Close()
		default:
			s.open[c] = true
			s.sessions++
			s.most = max(s.most, len(s.open))
			n := s.sessions
			s.serving.Go(func() { s.serve(c, n) })
		}
		s.mu.Unlock()
	}
}

func (s *Server) serve(c net.Conn, number int) {
	v := newSession(s, c, number)
	v.run()
	c.Close()
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
}

// Hang ends the connections that are open now.
func (s *Server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.Close()
	}
}

// Changes lists the commands so far that would change a mailbox, refused ones
// too. A source must see none.
func (s *Server) Changes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.changes...)
}

// Commands lists what was asked so far, without tags and literals.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.log...)
}

// Sessions counts the connections so far, and how many there were at once.
func (s *Server) Sessions() (all, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions, s.most
}

// has tells whether the server really does what a capability promises, whatever
// a fault makes it say.
func (s *Server) has(name string) bool {
	for _, c := range s.caps {
		if strings.EqualFold(c, name) {
			return true
		}
	}
	return false
}
