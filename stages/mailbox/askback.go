package mailbox

import (
	"context"
	"errors"
	"io"
	"slices"
)

// Reading back is asked for in one go: the folder, which messages it has, and
// what the target gives back of them; and of as many folders as wait for it. A
// round trip for each folder takes longer than the copy that goes on meanwhile.

// asking is what was asked of a folder of the target and not looked at yet.
type asking struct {
	opening *opening   // nil: it was open
	all     *searching // the UIDs of the folder; nil: not asked for
	back    *backing
}

// backing is what the target gives back of messages, on its way.
type backing struct {
	s       *session
	folder  string
	uids    []uint32
	item    string
	sets    []string
	asked   []*exchange // for each set
	digests map[uint32][]byte
	metas   map[uint32]meta
	err     error
}

// is tells whether all this was asked of the connection.
func (a *asking) is(s *session, uids []uint32, item string) bool {
	return a != nil && a.back.s == s && a.back.item == item && slices.Equal(a.back.uids, uids)
}

// askAhead asks for what the first folders of a batch need, before any of them
// is looked at.
func (b *readers) askAhead(ctx context.Context, batch []turn) {
	messages, asks := 0, batch[:0:0]
	for _, t := range batch {
		if messages < readBackMost && t.asks(ctx) {
			messages, asks = messages+t.part.messages(), append(asks, t)
		}
	}
	if len(asks) < 2 {
		return
	}
	dst, err := b.lane.target()
	if err != nil || dst.strict() { // each asks for itself
		return
	}
	for _, t := range asks {
		if uids := t.part.targets(); len(uids) > 0 {
			t.asked = t.ask(ctx, dst, uids, t.item())
		} else if t.lists(dst) {
			t.asked = t.ask(ctx, dst, nil, "")
		}
	}
}

// asks tells whether the step will ask the target. Whatever goes wrong here goes
// wrong there again.
func (t turn) asks(ctx context.Context) bool {
	c := t.checking
	if c.job.st.Target == "" || !c.job.here || c.job.st.Gone && !c.job.exists {
		return false
	}
	c.last, c.whole = t.closing, nil
	next, err := c.next(ctx, t.upto, t.closing)
	ends := t.closing && !c.idle()
	if err != nil || ends && c.job.st.load(ctx, c.pass.Store, c.job.key) != nil {
		return false
	}
	return next.messages() > 0 || ends && (c.pass.Options.Final || c.job.scanned && !c.pass.Options.CatchUp) && c.looks()
}

func (p *part) messages() int {
	if p == nil {
		return 0
	}
	return len(p.list)
}

// targets are the UIDs of a part, in order.
func (p *part) targets() []uint32 {
	uids := make([]uint32, p.messages())
	for i := range uids {
		uids[i] = p.list[i].target
	}
	slices.Sort(uids)
	return uids
}

// item is what is read back of a message.
func (c *checking) item() string {
	if c.mode == "headers" {
		return "BODY.PEEK[HEADER]"
	}
	return "BODY.PEEK[]"
}

// lists tells whether the folder is small enough for its UIDs to be asked for
// beside the rest.
func (c *checking) lists(dst *session) bool {
	n := c.job.st.uids.n
	return c.last && n > 0 && n <= searchStep && dst.has("ESEARCH")
}

// ask asks for all that is to be known of a folder at once.
func (c *checking) ask(ctx context.Context, dst *session, uids []uint32, item string) *asking {
	a := &asking{}
	if lists := c.whole == nil && c.lists(dst); lists || dst.box.name != c.job.st.Target {
		a.opening = dst.beginBox("EXAMINE", c.job.st.Target)
		if lists {
			a.all = dst.search("1:*")
		}
	} else {
		// What others append shows after a command, at Dovecot only where none is
		// waiting behind it. If it fails, so does what follows.
		_, _ = dst.w.do("NOOP", &exchange{})
	}
	a.back = dst.askBack(ctx, c.job.st.Target, uids, item)
	return a
}

// answer takes what was asked for.
func (c *checking) answer(ctx context.Context, a *asking) (digests map[uint32][]byte, metas map[uint32]meta, err error) {
	var b box
	if a.opening != nil {
		if b, err = a.opening.wait(); err != nil {
			return nil, nil, err
		}
		if b.validity != c.proofs.TargetValidity {
			return nil, nil, errReplaced
		}
	}
	if digests, metas, err = a.back.wait(ctx); err != nil || a.all == nil {
		return digests, metas, err
	}
	if uids, serr := a.all.wait(); serr == nil && b.messages <= searchStep {
		c.whole = &whole{b, uids}
	}
	return digests, metas, nil
}

// askBack asks for digests, flags and dates of messages of a folder that is open,
// or will be by then.
func (s *session) askBack(ctx context.Context, folder string, uids []uint32, item string) *backing {
	b := &backing{s: s, folder: folder, uids: uids, item: item, digests: make(map[uint32][]byte, len(uids)), metas: make(map[uint32]meta, len(uids))}
	if len(uids) == 0 {
		return b
	}
	b.sets = sets(uids)
	for _, set := range b.sets {
		if b.err == nil {
			b.err = b.ask(ctx, set)
		}
	}
	return b
}

func (b *backing) ask(ctx context.Context, set string) error {
	var nobodys []byte // the server tells the UID after the body
	wants := map[uint32]bool{}
	for _, p := range parseSpans(set) {
		for uid := uint64(p.from); uid <= uint64(p.to); uid++ {
			wants[uint32(uid)] = true
		}
	}
	take := func(uid uint32, size int64, lit io.Reader) error {
		d := newDigester()
		n, err := copyAll(d, lit)
		if err != nil || n != size {
			return err
		}
		if uid == 0 {
			nobodys = d.sum()
		} else {
			b.digests[uid] = d.sum()
		}
		return ctx.Err()
	}
	x := &exchange{body: take, wants: wants, flood: flood, on: func(r *response) {
		shortBody(r, take)
		m, ok := metaOf(r)
		if ok && nobodys != nil {
			b.digests[m.uid] = nobodys
		}
		if nobodys = nil; ok && (m.flags != "" || m.date != noDate) {
			b.metas[m.uid] = m
		}
	}}
	b.asked = append(b.asked, x)
	return b.s.w.send("UID FETCH "+set+" (UID FLAGS INTERNALDATE "+b.item+")", x)
}

// wait takes what came. A set that is refused is asked for in parts.
func (b *backing) wait(ctx context.Context) (map[uint32][]byte, map[uint32]meta, error) {
	if b.err != nil {
		return nil, nil, b.err
	}
	var again []string
	for i, x := range b.asked {
		replies, err := x.wait()
		if err == nil {
			err = replies[0].err()
		}
		if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
			again, err = append(again, b.sets[i]), nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	for _, set := range again {
		if _, err := b.s.opened(b.folder, false); err != nil { // another may have been opened behind it
			return nil, nil, err
		}
		if err := b.s.readBackParts(ctx, set, b.item, b.digests, b.metas); err != nil {
			return nil, nil, err
		}
	}
	return b.digests, b.metas, nil
}
