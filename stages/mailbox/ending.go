package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// Anybody who uses a connection may find that it has failed, but what waits on
// it ends only once the reader has handed over what it was at: its callbacks
// write into what the waiting then look at.

// fail notes why the connection ended, unless it had ended before, and has what
// waits on it ended.
func (w *wire) fail(err error) error {
	w.mu.Lock()
	if w.err == nil {
		w.err = w.reason(err)
	}
	err = w.err
	w.changed.Broadcast()
	w.mu.Unlock()
	_ = w.Conn.Close()
	w.pressed(err)
	w.sweep()
	return err
}

// errGivenUp is why the library closes a connection, and so do we: see end.
var errGivenUp = fmt.Errorf("%w: it was given up", errHostile)

// Close is the library's.
func (w *wire) Close() error {
	_ = w.fail(errGivenUp) // or whatever ended it before
	return nil
}

// reads notes whether the reader is at work.
func (w *wire) reads(now bool) {
	w.mu.Lock()
	w.reading = now
	w.changed.Broadcast()
	w.mu.Unlock()
	w.sweep()
}

// sweep ends what waits on a connection that has failed, if the reader is not at
// work: it comes by here when it is done.
func (w *wire) sweep() {
	w.mu.Lock()
	var ended []*exchange
	if w.err != nil && !w.reading {
		ended, w.queue = w.queue, nil
	}
	err := w.err
	w.mu.Unlock()
	for _, x := range ended {
		x.end(err)
	}
}

// failure is why the connection ended, nil while it lives.
func (w *wire) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *wire) pressed(err error) {
	if w.busy != nil && errors.Is(err, ErrBusy) {
		w.busy(err)
	}
}

// reason tells stall, cancellation and the server's own end apart.
func (w *wire) reason(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w (%s)", errStall, w.stall)
	} else if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errClosed
	} else if !errors.Is(err, errHostile) && !errors.Is(err, errClosed) && !errors.Is(err, errStall) {
		err = fmt.Errorf("%w: %w", errClosed, err)
	}
	if w.bye != "" {
		r := response{lines: [][]byte{[]byte("* BYE " + w.bye)}}
		r.head()
		bye := classify(refusal{r.reply()})
		return fmt.Errorf("%w: %w", err, goodbye{bye})
	}
	return err
}

// goodbye keeps the class of the server's last word but not its being a
// refusal: the connection is gone.
type goodbye struct{ err error }

func (g goodbye) Error() string { return g.err.Error() }

func (g goodbye) Is(target error) bool {
	return (target == ErrBusy || target == ErrLogin || target == ErrOverQuota) && errors.Is(g.err, target)
}
