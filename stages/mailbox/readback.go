package mailbox

import (
	"context"
	"errors"
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
	upto     int     // records below are written
	closing  bool    // the pass is through with the folder: its state is ours
	last     bool    // that is so in this step
	whole    *whole  // seen in this step; nil: it has to be looked at
	part     *part   // what comes next, if that is known already
	asked    *asking // of the target, before the step; may be nil
	validity uint32  // of the target
	proofs   *proofs
	stored   []byte // proofs as they are in the store
	out      []Skipped
}

func (c *checking) load(ctx context.Context) (err error) {
	if c.proofs, err = loadProofs(ctx, c.pass.Store, c.job.key, c.job.st); err != nil {
		return err
	}
	c.stored = mustJSON(c.proofs)
	c.proofs.Name = c.job.name
	return nil
}

// step reads back what has been written by now, and ends the folder when the
// pass is through with it.
func (c *checking) step(ctx context.Context, upto int, closing bool) error {
	if c.job.st.Target == "" || !c.job.here {
		return nil
	}
	defer func() { c.part, c.asked = nil, nil }()
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
		next, err := c.next(ctx, upto, all)
		if err != nil || next == nil {
			return err
		}
		c.part = nil
		rows, err := c.readBack(ctx, next.list)
		if err != nil {
			return err
		}
		changes := map[string][]byte{}
		p.Records = next.records
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

// part is what is read back in one round trip.
type part struct {
	list    []sent
	records int // those below are in it
}

// next is the next part, nil while there is none worth a round trip.
func (c *checking) next(ctx context.Context, upto int, all bool) (*part, error) {
	if c.part != nil {
		return c.part, nil
	}
	p := c.proofs
	next := &part{records: p.Records}
	for ; next.records < upto && len(next.list) < readBackMost; next.records++ {
		var rec record
		found, err := getJSON(ctx, c.pass.Store, recordKey(c.job.key, next.records), &rec)
		if err != nil {
			return nil, err
		}
		p.Whole = p.Whole && found
		next.list = append(next.list, rec.sent()...)
	}
	if next.records == p.Records || !all && next.records == upto && len(next.list) < readBackLeast {
		return nil, nil
	}
	c.part = next
	return next, nil
}

// readBack fetches messages from the target and judges them.
func (c *checking) readBack(ctx context.Context, list []sent) ([]proof, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if err := c.askSource(ctx, list); err != nil {
		return nil, err
	}
	back, metas, err := c.fetchBack(ctx, (&part{list: list}).targets(), c.item())
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
// It may have been asked for before.
func (c *checking) fetchBack(ctx context.Context, uids []uint32, item string) (digests map[uint32][]byte, metas map[uint32]meta, err error) {
	asked := c.asked
	c.asked = nil
	err = c.insist(func() error {
		dst, err := c.lane.target()
		if err != nil {
			return err
		}
		if !asked.is(dst, uids, item) {
			asked = c.ask(ctx, dst, uids, item)
		}
		digests, metas, err = c.answer(ctx, asked)
		return err
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
	return s.askBack(ctx, s.box.name, uids, item).wait(ctx)
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
