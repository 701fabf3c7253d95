package mailbox

import (
	"context"
	"errors"
	"slices"
)

// flight is a group on its way to the target. Several are in the air on a
// connection; they land in the order in which they were sent.
type flight struct {
	group *group
	list  []parcel
	sent  *sending
}

// launch sends a flight whose intent is written.
func (c *copier) launch(f *flight) error {
	dst, err := c.target()
	if err != nil {
		return err
	}
	f.sent, err = dst.sendAll(c.job.st.Target, f.list)
	return err
}

// land takes what became of the oldest flight.
func (c *copier) land(ctx context.Context) error {
	f := c.air[0]
	validity, out, err := f.sent.wait()
	if err != nil {
		return c.regain(ctx, err)
	}
	c.air = c.air[1:]
	if f.sent.whole && out[0].err != nil {
		return c.split(ctx, f)
	}
	if c.doubt(out); len(c.air) > 0 && !plainly(out) || anyRefused(out) {
		return c.settleLast(ctx, f, func() error { return c.take(ctx, f.list, validity, out) })
	}
	defer f.free()
	return c.take(ctx, f.list, validity, out)
}

// free gives the memory of a flight back that is through.
func (f *flight) free() {
	f.list = nil
	f.group.free()
}

func (c *copier) landAll(ctx context.Context) error {
	for len(c.air) > 0 {
		if err := c.land(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settleLast lands all others first and then does what has to be done about f
// with nothing else in the air. Until then f stays in the intent.
func (c *copier) settleLast(ctx context.Context, f *flight, do func() error) error {
	c.waiting = append(c.waiting, f)
	c.landing++
	err := c.landAll(ctx)
	if c.landing--; err != nil {
		return err
	}
	if err := c.intend(c.underway()); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	c.settled(f)
	return nil
}

func (c *copier) settled(f *flight) {
	c.waiting = slices.DeleteFunc(c.waiting, func(w *flight) bool { return w == f })
	f.free()
}

// split sends the messages of a refused group one by one, so that one bad
// message does not hold up the others.
func (c *copier) split(ctx context.Context, f *flight) error {
	return c.settleLast(ctx, f, func() error { return c.singly(ctx, f.list) })
}

// singly sends messages one by one, with nothing else in the air.
func (c *copier) singly(ctx context.Context, list []parcel) error {
	metas, bodies := make([]meta, len(list)), map[uint32][]byte{}
	for i, p := range list {
		metas[i], bodies[p.uid] = p.sized(), p.body
	}
	if _, err := c.recover(ctx, metas, bodies, c.reconcile); err != nil { // not every server drops the whole group
		return err
	}
	for i := range list {
		if c.has(list[i].uid) {
			continue
		}
		dst, err := c.target()
		if err != nil {
			return err
		}
		validity, out, err := dst.appendAll(c.job.st.Target, list[i:i+1])
		if err != nil {
			return err
		}
		if err := c.take(ctx, list[i:i+1], validity, out); err != nil {
			return err
		}
	}
	return nil
}

// plainly tells that all were stored and where: nothing is left to be done.
func plainly(out []outcome) bool {
	return !slices.ContainsFunc(out, func(o outcome) bool { return o.err != nil || o.uid == 0 })
}

func anyRefused(out []outcome) bool {
	return slices.ContainsFunc(out, func(o outcome) bool { return o.err != nil })
}

// regain goes on after the target's connection was lost with flights in the
// air: what of them arrived is found out, and the rest is sent again, one
// flight after the other.
func (c *copier) regain(ctx context.Context, err error) error {
	flights := c.air
	c.air, c.waiting = nil, append(c.waiting, flights...)
	for try := 0; len(flights) > 0; try++ {
		if !lost(err) || errors.Is(err, ErrBusy) || try >= 3 {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.intend(c.underway()); err != nil {
			return err
		}
		if err := c.lessArrived(ctx, flights); err != nil {
			return err
		}
		for len(flights) > 0 {
			if err = c.again(ctx, flights[0]); err != nil {
				break
			}
			c.settled(flights[0])
			flights, try = flights[1:], 0
		}
	}
	return nil
}

// lessArrived takes what the target shows of the flights off their lists.
func (c *copier) lessArrived(ctx context.Context, flights []*flight) error {
	var metas []meta
	bodies := map[uint32][]byte{}
	for _, f := range flights {
		for _, p := range f.list {
			metas, bodies[p.uid] = append(metas, p.sized()), p.body
		}
	}
	if _, err := c.recover(ctx, metas, bodies, c.arrived); err != nil {
		return err
	}
	var missing []uint32
	for _, f := range flights {
		var left []parcel
		for _, p := range f.list {
			if !c.has(p.uid) {
				left, missing = append(left, p), append(missing, p.uid)
			}
		}
		f.list = left
	}
	if len(missing) > 0 {
		c.job.resend(c.next, missing)
		c.written = false
	}
	return nil
}

// again sends what is left of a flight and waits for what becomes of it.
func (c *copier) again(ctx context.Context, f *flight) error {
	if len(f.list) == 0 {
		return nil
	}
	if err := c.intend(c.underway()); err != nil {
		return err
	}
	if err := c.launch(f); err != nil {
		return err
	}
	validity, out, err := f.sent.wait()
	if err != nil {
		return err
	}
	if f.sent.whole && out[0].err != nil {
		return c.singly(ctx, f.list)
	}
	return c.take(ctx, f.list, validity, out)
}

// freeAll gives the memory of what did not land back.
func (c *copier) freeAll() {
	for _, f := range append(c.air, c.waiting...) {
		f.free()
	}
}
