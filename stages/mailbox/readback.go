package mailbox

import (
	"context"
	"errors"
	"io"
	"slices"
)

// A round trip reads back at most this many messages, and while there is more
// to come at least as many as are worth one.
const (
	readBackMost  = 512
	readBackLeast = 256
)

// checking is the verification of one folder.
type checking struct {
	*readers
	job      *job
	upto     int    // records below are written
	closing  bool   // the pass is through with the folder: its state is ours
	last     bool   // that is so in this step
	whole    *whole // seen in this step; nil: it has to be looked at
	validity uint32 // of the target
	proofs   *proofs
	stored   []byte // proofs as they are in the store
	out      []Skipped
}

func (c *checking) load(ctx context.Context) (err error) {
	if c.proofs, err = loadProofs(ctx, c.pass.Store, c.job.key, c.job.st); err != nil {
		return err
	}
	c.stored = mustJSON(c.proofs)
	if c.job.reset {
		c.proofs = begin(c.job.st, c.job.st.next)
	}
	c.proofs.Name = c.job.name
	return nil
}

// step reads back what has been written by now, and ends the folder when the
// pass is through with it.
func (c *checking) step(ctx context.Context, upto int, closing bool) error {
	if c.job.st.Target == "" || !c.job.here {
		return nil
	}
	c.last, c.whole = closing, nil
	if err := c.readRecords(ctx, upto, closing); err != nil {
		return err
	}
	if !closing || c.idle() {
		return nil
	}
	if err := c.job.st.load(ctx, c.pass.Store, c.job.key); err != nil {
		return err
	}
	if err := c.close(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	c.found = append(c.found, c.out...)
	c.mu.Unlock()
	c.out = nil
	return nil
}

// idle tells that nothing was done in the folder and nothing is in doubt.
func (c *checking) idle() bool {
	p := c.proofs
	return !c.pass.Options.Final && !c.job.scanned && p.Whole && !(p.HeadersOnly && c.mode == "content") && string(mustJSON(p)) == string(c.stored)
}

// readRecords reads back the messages of the records below upto.
func (c *checking) readRecords(ctx context.Context, upto int, all bool) error {
	p := c.proofs
	if all && c.job.st.Gone && !c.job.exists { // the target's user has removed them before they were read
		p.Records = upto
	}
	for p.Records < upto {
		var list []sent
		n := p.Records
		for ; n < upto && len(list) < readBackMost; n++ {
			var rec record
			found, err := getJSON(ctx, c.pass.Store, recordKey(c.job.key, n), &rec)
			if err != nil {
				return err
			}
			p.Whole = p.Whole && found
			list = append(list, rec.sent()...)
		}
		if !all && n == upto && len(list) < readBackLeast {
			return nil
		}
		rows, err := c.readBack(ctx, list)
		if err != nil {
			return err
		}
		changes := map[string][]byte{}
		p.Records = n
		if err := p.add(ctx, c.pass.Store, c.job.key, rows, changes); err != nil {
			return err
		}
		if err := put(ctx, c.pass.Store, changes); err != nil {
			return err
		}
		c.stored = mustJSON(p)
	}
	return nil
}

// readBack fetches messages from the target and judges them.
func (c *checking) readBack(ctx context.Context, list []sent) ([]proof, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if err := c.askSource(ctx, list); err != nil {
		return nil, err
	}
	uids := make([]uint32, len(list))
	for i, s := range list {
		uids[i] = s.target
	}
	slices.Sort(uids)
	item := "BODY.PEEK[]"
	if c.mode == "headers" {
		item = "BODY.PEEK[HEADER]"
	}
	back, metas, err := c.fetchBack(ctx, uids, item)
	if err != nil {
		return nil, err
	}
	var again []uint32 // a server may take the header of an odd message for something else
	rows := make([]proof, len(list))
	for i, s := range list {
		rows[i] = s.judge(c.mode, back[s.target], metas[s.target])
		if c.mode == "headers" && rows[i].finding&contentWrong != 0 && back[s.target] != nil {
			again = append(again, s.target)
		}
	}
	if len(again) == 0 {
		return rows, nil
	}
	if back, _, err = c.fetchBack(ctx, again, "BODY.PEEK[]"); err != nil {
		return nil, err
	}
	for i, s := range list {
		if slices.Contains(again, s.target) {
			rows[i] = s.judge("content", back[s.target], metas[s.target])
		}
	}
	return rows, nil
}

// askSource reads the digests that the ledger does not have.
func (c *checking) askSource(ctx context.Context, list []sent) error {
	var unread []uint32
	for _, s := range list {
		if s.known == nil {
			unread = append(unread, s.source)
		}
	}
	if len(unread) == 0 {
		return nil
	}
	slices.Sort(unread)
	var read map[uint32][]byte
	err := c.insist(func() error {
		src, err := c.lane.source()
		if err != nil {
			return err
		}
		if b, err := src.opened(c.job.source.wire, false); err != nil || b.validity != c.proofs.SourceValidity {
			return err
		}
		if src.rerenders() {
			if err := c.likeSource(ctx, src, list, unread); err != nil {
				return err
			}
		}
		read, err = src.digests(ctx, unread)
		return err
	})
	for i := range list {
		if list[i].known == nil {
			list[i].known = read[list[i].source]
		}
	}
	return err
}

// fetchBack reads item of messages, with their flags and dates, from the target.
func (c *checking) fetchBack(ctx context.Context, uids []uint32, item string) (digests map[uint32][]byte, metas map[uint32]meta, err error) {
	err = c.insist(func() error {
		dst, err := c.lane.target()
		if err != nil {
			return err
		}
		if dst.box.name == c.job.st.Target {
			if _, err := dst.w.do("NOOP", &exchange{}); err != nil { // what others append shows after a command
				return err
			}
			digests, metas, err = dst.readBack(ctx, uids, item)
			return err
		}
		o := dst.beginBox("EXAMINE", c.job.st.Target)
		var all *searching // of the folder, for present: it costs no round trip here
		if n := c.job.st.uids.n; c.last && n > 0 && n <= searchStep && dst.has("ESEARCH") {
			all = dst.search("1:*")
		}
		digests, metas, err = dst.readBack(ctx, uids, item)
		b, oerr := o.wait()
		if oerr != nil {
			return oerr
		} else if b.validity != c.proofs.TargetValidity {
			return errReplaced
		}
		if all == nil || err != nil {
			return err
		}
		if uids, serr := all.wait(); serr == nil && b.messages <= searchStep {
			c.whole = &whole{b, uids}
		}
		return nil
	})
	return digests, metas, err
}

// insist tries again what a lost connection cut short.
func (c *checking) insist(do func() error) error {
	for try := 0; ; try++ {
		err := do()
		if err == nil || !lost(err) || errors.Is(err, ErrBusy) || try == 3 {
			return err
		}
	}
}

// readBack reads digests, flags and dates of messages of the open folder, in one
// go where the server lets it.
func (s *session) readBack(ctx context.Context, uids []uint32, item string) (map[uint32][]byte, map[uint32]meta, error) {
	digests, metas := make(map[uint32][]byte, len(uids)), make(map[uint32]meta, len(uids))
	for _, set := range sets(uids) {
		err := s.readBackSet(ctx, set, item, digests, metas)
		if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
			err = s.readBackParts(ctx, set, item, digests, metas)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return digests, metas, nil
}

func (s *session) readBackSet(ctx context.Context, set, item string, digests map[uint32][]byte, metas map[uint32]meta) error {
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
			digests[uid] = d.sum()
		}
		return ctx.Err()
	}
	_, err := s.w.do("UID FETCH "+set+" (UID FLAGS INTERNALDATE "+item+")", &exchange{body: take, wants: wants, flood: flood, on: func(r *response) {
		shortBody(r, take)
		m, ok := metaOf(r)
		if ok && nobodys != nil {
			digests[m.uid] = nobodys
		}
		if nobodys = nil; ok && (m.flags != "" || m.date != noDate) {
			metas[m.uid] = m
		}
	}})
	return err
}

// readBackParts asks for bodies and the rest apart, after a refusal.
func (s *session) readBackParts(ctx context.Context, set, item string, digests map[uint32][]byte, metas map[uint32]meta) error {
	list, err := s.metadata(set, metaItems)
	if err != nil {
		return err
	}
	part := map[uint32][]byte{}
	if err := s.digestSingly(ctx, set, item, part); err != nil {
		return err
	}
	for _, m := range list {
		delete(digests, m.uid)
		if metas[m.uid] = m; part[m.uid] != nil {
			digests[m.uid] = part[m.uid]
		}
	}
	return nil
}
