package mailbox

import (
	"context"
	"strconv"
)

// How a copier learns what has arrived where the answer to APPEND does not
// tell, or was lost.

// doubt forgets the UIDs that a server tells which are not the next ones in a
// row: other mail has come, or the answer is wrong. A wrong one would have
// somebody else's message taken for ours.
func (c *copier) doubt(out []outcome) {
	next := c.next
	for _, o := range out {
		if o.err == nil && o.uid == next {
			next++
		} else if o.err == nil {
			for i := range out {
				out[i].uid = 0
			}
			return
		}
	}
}

// fillUIDs looks up what a server without UIDPLUS does not tell: the new UIDs
// at the folder's end, in the order of sending. Where others arrived as well,
// the content tells which are ours.
func (c *copier) fillUIDs(ctx context.Context, list []parcel, out []outcome) error {
	var asked []int
	for i, o := range out {
		if o.err == nil && o.uid == 0 {
			asked = append(asked, i)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if done, err := c.inOrder(asked, out); done || err != nil {
		return err
	}
	it := intent{Validity: c.job.st.TargetValidity, Next: c.next}
	sent := map[uint32][]byte{}
	for _, i := range asked {
		p := list[i]
		it.Sources = append(it.Sources, p.uid)
		it.Sizes, it.Dates, it.Flags = append(it.Sizes, p.size), append(it.Dates, p.date), append(it.Flags, p.meta.flags)
		sent[p.uid] = p.digest
	}
	rec, err := c.reconcile(ctx, c.job, it, sent)
	if err != nil {
		return err
	}
	found := map[uint32]uint32{}
	for i, s := range rec.Sources {
		found[s] = rec.Targets[i]
	}
	for _, i := range asked {
		out[i].uid = found[list[i].uid]
	}
	return nil
}

// inOrder gives the new UIDs to the messages in the order of sending, where
// their number shows that nobody else's arrived.
func (c *copier) inOrder(asked []int, out []outcome) (done bool, err error) {
	if c.next < c.top || len(c.air) > 0 { // others of ours stand there
		return false, nil
	}
	dst, err := c.target()
	if err != nil {
		return false, err
	}
	b, err := dst.examine(c.job.st.Target)
	if err != nil {
		return false, err
	}
	if b.validity != c.job.st.TargetValidity {
		return false, errReplaced
	}
	if b.next != 0 && b.next < c.next { // it never stored what it said
		return false, nil
	}
	list, err := dst.metadata(strconv.FormatUint(uint64(c.next), 10)+":*", "(UID)")
	if err != nil {
		return false, err
	}
	for len(list) > 0 && list[0].uid < c.next { // "n:*" also gives the last one below n
		list = list[1:]
	}
	if len(list) != len(asked) {
		return false, nil
	}
	for i, k := range asked {
		out[k].uid = list[i].uid
	}
	return true, nil
}

// recover finds out by look, one of reconcile and arrived, what the target has
// of messages that were sent, and notes it. landed tells that it has all.
func (c *copier) recover(ctx context.Context, list []meta, bodies map[uint32][]byte, look func(context.Context, *job, intent, map[uint32][]byte) (record, error)) (landed bool, err error) {
	it := intent{Validity: c.job.st.TargetValidity, Next: c.next}
	sent := map[uint32][]byte{}
	for _, m := range list {
		if c.has(m.uid) {
			continue
		}
		it.Sources = append(it.Sources, m.uid)
		it.Sizes, it.Dates, it.Flags = append(it.Sizes, m.size), append(it.Dates, m.date), append(it.Flags, m.flags)
		if b, ok := bodies[m.uid]; ok {
			sent[m.uid] = digestOf(b)
		}
	}
	if bodies == nil {
		if sent, err = c.sent(ctx, c.job, it); err != nil {
			return false, err
		}
	}
	rec, err := look(ctx, c.job, it, sent)
	if err != nil {
		return false, err
	}
	for i, s := range rec.Sources {
		c.rec.Sources = append(c.rec.Sources, s)
		c.rec.Targets = append(c.rec.Targets, rec.Targets[i])
		c.rec.Flags = append(c.rec.Flags, rec.Flags[i])
		c.rec.Digests = append(c.rec.Digests, rec.Digests[i])
		c.rec.Dates = append(c.rec.Dates, rec.Dates[i])
		c.reached(rec.Targets[i])
		c.pass.count(func(r *Result) { r.Copied++ })
	}
	return len(rec.Sources) == len(it.Sources), nil
}
