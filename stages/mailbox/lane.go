package mailbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// lane is a pair of connections, one to each side. A lost connection is
// opened again where the next command needs one.
type lane struct {
	pass     *pass
	src, dst *session
	redials  atomic.Int32
	queue    <-chan *job   // where its jobs come from; nil: it has none
	next     *ahead        // the job it has taken already, if any; see prime.go
	signsIn  chan struct{} // closed once it is through with that; nil: it does not
}

const maxRedials = 20 // per lane and pass: then the server is not well

func (l *lane) source() (*session, error) { return l.sourceFirst(wish{gone: true}) }
func (l *lane) target() (*session, error) { return l.targetFirst(wish{}) }

// sourceFirst is source; first is asked of a connection that is opened for it.
func (l *lane) sourceFirst(first wish) (*session, error) {
	s, err := l.live(&l.src, l.pass.Source, first)
	return s, onSide(l.pass.side("source", "target"), err)
}

func (l *lane) targetFirst(first wish) (*session, error) {
	s, err := l.live(&l.dst, l.pass.Target, first)
	return s, onSide(l.pass.side("target", "source"), err)
}

// openTarget opens a job's folder at the target, unless it is open, and makes
// sure that it is the one which the map speaks of.
func (l *lane) openTarget(j *job, write bool) (*session, error) {
	dst, err := l.target()
	if err != nil {
		return nil, err
	}
	b, err := dst.opened(j.st.Target, write)
	if err == nil && b.validity != j.st.TargetValidity {
		err = errReplaced
	}
	return dst, err
}

// live is the connection, opened again if it was lost. It lives as long as the
// pass, not as the step that opens it.
func (l *lane) live(s **session, e Endpoint, first wish) (*session, error) {
	if *s != nil && (*s).w.failure() == nil {
		return *s, nil
	}
	if *s != nil {
		err := (*s).w.failure()
		(*s).abort()
		*s = nil
		if errors.Is(err, ErrBusy) {
			return nil, fmt.Errorf("%s: %w", e.Server.Address, err)
		}
		if l.redials.Add(1) > maxRedials {
			return nil, &unreachable{fmt.Errorf("%s: the connection was lost %d times, last: %w", e.Server.Address, maxRedials, err)}
		}
	}
	fresh, err := open(l.pass.ctx, e, first)
	if err != nil {
		return nil, &unreachable{err}
	}
	*s = fresh
	return fresh, nil
}

// ready opens both connections of a further lane. A server that has no room
// for it is left with those before.
func (l *lane) ready() bool {
	if l.pass.Source.Server.crowded() || l.pass.Target.Server.crowded() {
		return false
	}
	var g errgroup.Group
	for _, open := range []func() (*session, error){l.source, l.target} {
		g.Go(func() error {
			_, err := open()
			return err
		})
	}
	return !errors.Is(g.Wait(), ErrBusy)
}

// signIn opens both connections while others go on.
func (l *lane) signIn() {
	done := make(chan struct{})
	l.signsIn = done
	go func() {
		defer close(done)
		l.ready() // who needs it asks again
	}()
}

// signedIn waits until it is through with that; false: over came first.
func (l *lane) signedIn(ctx context.Context, over <-chan struct{}) bool {
	if l.signsIn == nil {
		return true
	}
	select {
	case <-l.signsIn:
		return true
	case <-over:
	case <-ctx.Done():
	}
	return false
}

// unreachable is a connection that could not be opened: no message is to blame.
type unreachable struct{ err error }

func (u *unreachable) Error() string { return u.err.Error() }
func (u *unreachable) Unwrap() error { return u.err }

// lost tells a lost connection, which can be opened again, from what a server
// refused and from our own end.
func lost(err error) bool {
	var u *unreachable
	if errors.As(err, &u) {
		return false
	}
	return errors.Is(err, errClosed) || errors.Is(err, errStall) || errors.Is(err, errHostile)
}

// shown is a state's folder name for people, for folders that are gone.
func (st *folderState) shown(wire string) string {
	name, _ := decodeName(wire)
	return name
}

// messageLimit is the largest message the target takes, 0: not known.
func messageLimit(max int64, dst *session) int64 {
	if limit := dst.appendLimit(); limit > 0 && (max == 0 || limit < max) {
		return limit
	}
	return max
}

// appendLimit is RFC 7889's APPENDLIMIT=n, 0: not told.
func (s *session) appendLimit() int64 {
	if limit, ok := s.caps.AppendLimit(); ok && limit != nil {
		return int64(*limit)
	}
	return 0
}
