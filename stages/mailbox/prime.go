package mailbox

import (
	"errors"
	"slices"
)

// The first messages of a lane's next folder are asked for behind the last of the
// one before, and the next folder of the target is opened behind the last APPEND:
// else each folder waits for a round trip more than the wire has to.
//
// Who holds memory for the next folder must not wait for more: it is given back
// only once that folder's turn has come. So nothing is asked for while the folder
// before may still want some, and never more than there is at once.

// take is the lane's next job, nil when there is none left.
func (l *lane) take() *job {
	if l.next != nil {
		return l.next.job
	}
	return <-l.queue
}

// drop gives back what was asked for in vain.
func (l *lane) drop() {
	if l.next != nil {
		for _, g := range l.next.open {
			g.free()
		}
	}
	l.next = nil
}

// prime asks for the beginning of the lane's next folder, once nothing of the
// one before is left to be asked for.
func (a *ahead) prime() {
	l := a.lane
	if l.next != nil || len(a.rest) > 0 || len(a.job.ahead) > 0 || slices.ContainsFunc(a.open, func(g *group) bool { return g.large }) {
		return
	}
	select {
	case j := <-l.queue:
		if j == nil {
			return
		}
		l.next = &ahead{lane: l, job: j, rest: groups(j.fresh)}
		if j.scanned && j.st.Target != "" {
			_ = l.next.fill(l.pass.ctx, fetchAhead, false) // it cannot fail: it does not wait
		}
	default: // the lane has no queue
	}
}

// openNext opens the lane's next folder at the target, unless this one's is
// still of use.
func (c *copier) openNext() {
	j, next := c.job, c.lane.next
	if next == nil || len(next.open) == 0 || !next.job.mustOpen() || len(j.changes)+len(j.gone)+len(j.orphans) > 0 || j.st.Resent != nil {
		return
	}
	if dst, err := c.target(); err == nil { // who needs it asks again
		next.selecting = dst.beginBox("SELECT", next.job.st.Target)
	}
}

// selected opens the target's folder, unless that was asked for already.
func (c *copier) selected() (*session, box, error) {
	for try := 0; ; try++ {
		dst, err := c.target()
		if err != nil {
			return nil, box{}, err
		}
		o := c.selecting
		if c.selecting = nil; o == nil || o.s != dst {
			o = dst.beginBox("SELECT", c.job.st.Target)
		}
		b, err := o.wait()
		again := err == nil && dst.box.name != o.name || lost(err) && !errors.Is(err, ErrBusy) // another was opened behind it
		if !again || try == 2 {
			return dst, b, err
		}
	}
}
