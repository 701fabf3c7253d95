package mailbox

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

const (
	dialTimeout  = 30 * time.Second
	defaultStall = 60 * time.Second
	mostStalls   = 5 // that a sign-in may take in all
)

// session is one signed-in connection.
type session struct {
	w    *wire
	c    *imapclient.Client
	caps imap.CapSet
	kind string // see platform.go; "" for no quirks
	stop func() bool
	late *time.Timer // ends a sign-in that does not end

	ended   chan struct{} // closed when the connection is given up
	once    sync.Once
	nc      net.Conn
	box     box           // the folder that is open, if any
	opening *opening      // of a folder that is not open yet
	last    *opening      // the one sent last
	out     *bufio.Writer // of messages
	early   *overview     // the folders, listed with the sign-in

	qresync bool // the server tells what is gone
}

// wish is what is asked of a server as soon as it has let us in, in the round
// trip that proves the login.
type wish struct {
	folders bool // list them
	gone    bool // tell what is gone, in folders opened from now on (RFC 7162, 3.2.3)
}

// CheckLogin signs in, selects INBOX and signs out. ErrLogin if refused.
func CheckLogin(ctx context.Context, e Endpoint) error {
	_, taken, err := takeSlots(ctx, need{e.Server, 1})
	if err != nil {
		return err
	}
	defer taken.release()
	s, err := open(ctx, e, wish{})
	if err != nil {
		return err
	}
	s.logout()
	return nil
}

// open connects, signs in and proves the login with an EXAMINE of INBOX. The
// caller holds a slot of the server.
func open(ctx context.Context, e Endpoint, first wish) (*session, error) {
	s, err := openOnce(ctx, e, first)
	if unconnected(err) && ctx.Err() == nil { // it may have lost its backend just now
		if s, err = openOnce(ctx, e, first); unconnected(err) {
			err = fmt.Errorf("%w: the server takes the name and has no mailbox for it (a wrong password, no rights, or no such mailbox): %w", ErrLogin, err)
		}
	}
	return s, err
}

func openOnce(ctx context.Context, e Endpoint, first wish) (s *session, err error) {
	began := time.Now()
	defer func() { e.Server.pressed(began, err) }()
	s, err = connect(ctx, e.Server)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Server.Address, err)
	}
	if err := s.signIn(ctx, e); err != nil {
		if errors.Is(err, errClosed) && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrDropped, err)
		}
		s.abort()
		return nil, fmt.Errorf("%s: sign in as %q: %w", e.Server.Address, safe(e.Login.User), err)
	}
	s.late.Stop() // a large INBOX may take its time to open
	if err := s.prove(e.Server.Platform, first); err != nil {
		if _, ok := refused(err); ok && !errors.Is(err, ErrBusy) {
			err = fmt.Errorf("%w: %w", ErrLogin, err)
		}
		s.abort()
		return nil, fmt.Errorf("%s: open INBOX of %q: %w", e.Server.Address, safe(e.Login.User), err)
	}
	idle := e.Server.Idle
	if idle <= 0 {
		idle = defaultIdle
	}
	go s.keepAlive(idle)
	return s, nil
}

// prove opens INBOX and leaves it again: a login that cannot do that is none.
// It is not kept open, because servers tell old counts of an open folder.
// With it goes the question what the server is, where it has not told.
func (s *session) prove(platform string, first wish) error {
	leave := "CLOSE" // of a folder opened read-only: nothing is removed
	if s.has("UNSELECT") {
		leave = "UNSELECT"
	}
	commands := []string{`EXAMINE "INBOX"`, leave}
	if s.kind = s.kindBefore(); s.kind == "" && s.has("ID") {
		commands = append(commands, "ID NIL")
	}
	if first.gone && s.has("QRESYNC") && s.has("ENABLE") { // one that refuses is asked by other means
		commands = append(commands, "ENABLE QRESYNC")
	}
	var o *overview
	if first.folders {
		o = s.overview()
		commands = append(commands, o.commands...)
	}
	replies, err := s.w.together(commands, &exchange{flood: 2*maxFolders + flood, on: func(r *response) {
		s.kind = cmp.Or(kindByID(r), s.kind)
		if r.word == "ENABLED" {
			s.qresync = s.qresync || slices.ContainsFunc(r.tokens(), func(t token) bool { return t.text == "QRESYNC" })
		}
		if o != nil {
			o.take(r)
		}
	}})
	if err != nil {
		return err
	}
	if s.kind == "" {
		s.kind = platform
	}
	s.w.pauses(s.strict())
	if o != nil {
		o.refusal = replies[len(replies)-1].err() // LIST is the last
		s.early = o
	}
	return replies[0].err()
}

// connect reaches the server and reads its greeting. Nothing secret is sent. The
// promise of where data lies is held here as well as when the plan is read.
func connect(ctx context.Context, server *Server) (*session, error) {
	if len(server.Residency) > 0 && !slices.Contains(server.Residency, server.Region) {
		return nil, fmt.Errorf("%w (%s): its region is %q; no connection was made", ErrResidency, strings.Join(server.Residency, ", "), server.Region)
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(dialCtx, "tcp", server.Address)
	if err != nil {
		return nil, err
	}
	stopDial := context.AfterFunc(dialCtx, func() { _ = nc.Close() })
	secured, err := secure(dialCtx, server, nc)
	stopDial()
	if err != nil {
		_ = nc.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return newSession(ctx, server, secured)
}

// newSession puts wire and library on a connection.
func newSession(ctx context.Context, server *Server, nc net.Conn) (*session, error) {
	s := &session{nc: nc, w: newWire(ctx, nc, server.stall(), server.Rate), ended: make(chan struct{})}
	began := time.Now()
	s.w.busy = func(err error) { server.pressed(began, err) }
	s.stop = context.AfterFunc(ctx, func() { _ = s.w.fail(context.Cause(ctx)) }) // the only cancellation there is
	atMost := mostStalls * server.stall()
	s.late = time.AfterFunc(atMost, func() {
		_ = s.w.fail(fmt.Errorf("%w: for %s the server has said something now and then, and has not let us in", errStall, atMost))
	})
	s.c = imapclient.New(s.w, nil)
	if err := s.c.WaitGreeting(); err != nil {
		err = s.because(err)
		s.abort()
		return nil, err
	}
	if s.c.State() != imap.ConnStateNotAuthenticated {
		s.abort()
		return nil, errors.New("the server calls the connection already signed in (PREAUTH): refused, it could be anybody's mailbox")
	}
	return s, nil
}

// has tells whether the server offers a capability, also by implication.
func (s *session) has(capability imap.Cap) bool { return s.caps.Has(capability) }

// because prefers what the wire knows of the end of the connection.
func (s *session) because(err error) error {
	if werr := s.end(); werr != nil {
		return werr
	}
	return classify(fromLibrary(err))
}

// end is why the connection ended; nil also where only the library knows.
func (s *session) end() error {
	if err := s.w.failure(); !errors.Is(err, errGivenUp) {
		return err
	}
	return nil
}

// abort gives the connection up at once.
func (s *session) abort() {
	if s == nil {
		return
	}
	s.stop()
	s.late.Stop()
	s.once.Do(func() { close(s.ended) })
	_ = s.nc.Close() // first: Client.Close alone waits for a reader that waits for us
	_ = s.c.Close()
}

// logout ends the connection politely.
func (s *session) logout() {
	if s != nil {
		s.takeLeave()()
	}
}

// takeLeave says LOGOUT; what it returns waits for the answer, also where the
// context ends meanwhile.
func (s *session) takeLeave() func() {
	x := &exchange{}
	if s.w.failure() != nil || s.w.send("LOGOUT", x) != nil {
		return s.abort
	}
	s.stop()
	return func() {
		defer time.AfterFunc(s.w.stall, s.abort).Stop() // whatever trickles in
		_, _ = x.wait()                                 // the connection is given up in any case
		s.abort()
	}
}
