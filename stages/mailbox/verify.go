package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What verifying finds, beside the reasons of a pass.
const (
	Missing Reason = "missing" // carried, but the target does not have it
	Differs Reason = "differs" // the target gives back something else
	Removed Reason = "removed" // note: verified, and removed at the target since
)

// Verify reads back what the passes have not yet, and looks at the whole
// mailbox as Options.Final does: counts, and that the target has what it had.
// It returns what differs; nothing means verified.
//
// It speaks of the mailbox as of the last pass: mail that has arrived since is
// the next pass's.
func (p Pass) Verify(ctx context.Context, mode string) (differs []Skipped, err error) {
	p.Options.Verify, p.Options.Final = mode, true
	err = patient(ctx, func() error {
		differs, err = p.verify(ctx)
		return err
	})
	return differs, err
}

func (p Pass) verify(ctx context.Context) ([]Skipped, error) {
	r, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.list(ctx); err != nil {
		return nil, err
	}
	if len(r.names) == 0 {
		return nil, errors.New("nothing was copied yet: there is nothing to verify")
	}
	if err := r.startReaders(ctx); err != nil {
		return nil, err
	}
	return r.readers.end(false)
}

// Named returns what is not carried, and what is carried changed, as the
// passes and verifications so far have written it down.
func (p Pass) Named(ctx context.Context) (skipped, notes []Skipped, err error) {
	names, err := loadNames(ctx, p.Store)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		st, err := loadFolder(ctx, p.Store, name)
		if err == nil {
			err = st.load(ctx, p.Store, name)
		}
		if err != nil {
			return nil, nil, err
		}
		skipped = append(skipped, st.Skipped...)
		notes = append(notes, st.Notes...)
	}
	return skipped, notes, nil
}

// close ends a folder that the pass is through with: what is in doubt is read
// once more, what was altered is noted, and under the freeze (Final) the folder
// is looked at as a whole.
func (c *checking) close(ctx context.Context) error {
	final := c.pass.Options.Final
	if c.job.st.Gone && !c.job.exists {
		if final {
			c.freeze()
		}
		return c.sweep(ctx, c.job.missed)
	}
	if final && !c.sameFolders() {
		return nil
	}
	var open []entry
	var err error
	if p := c.proofs; !p.Whole || p.HeadersOnly && c.mode == "content" {
		if open, err = c.prove(ctx); err != nil {
			return err
		}
		p.Whole, p.HeadersOnly = len(open) == 0, p.HeadersOnly && c.mode == "headers"
	}
	mended, err := c.carried(ctx)
	if err != nil {
		return err
	}
	noted, err := c.note(ctx)
	if err != nil {
		return err
	}
	noted = noted || mended
	if final || c.job.scanned && !c.pass.Options.CatchUp && c.lane.tells() {
		removed, err := c.present(ctx, final)
		if err != nil {
			return err
		}
		noted = noted || removed
	}
	if final {
		if err := c.balance(); err != nil {
			return err
		}
		c.freeze()
	}
	if len(open) > 0 && c.mend(open) {
		noted = true
	}
	return c.sweep(ctx, noted)
}

// sameFolders looks whether both sides still have the folder that the map
// speaks of.
func (c *checking) sameFolders() bool {
	j, st := c.job, c.job.st
	switch {
	case !st.Complete && slices.ContainsFunc(st.Skipped, func(s Skipped) bool { return s.UID == 0 }):
		return false // it is named as a whole
	case !st.Complete:
		c.differs(proof{}, Missing, "the last pass did not come to its end")
	case st.uids.n == 0:
		return j.exists
	case !j.exists || j.target.validity != st.TargetValidity:
		c.differs(proof{}, Missing, "the target folder is gone or was replaced")
	case j.source.box.validity != 0 && j.source.box.validity != st.SourceValidity:
		c.differs(proof{}, Differs, "the source has renumbered its messages since the last pass")
	default:
		return true
	}
	return false
}

// tells says that the target lists UIDs as ranges, which costs next to nothing.
func (l *lane) tells() bool {
	dst, err := l.target()
	return err == nil && dst.has("ESEARCH")
}

func (c *checking) differs(p proof, reason Reason, detail string) {
	s := Skipped{Folder: c.job.name, UID: p.source, Bytes: p.size, Reason: reason, Detail: detail}
	if p.source != 0 && p.date != noDate {
		s.Date = time.Unix(p.date, 0).UTC()
	}
	c.out = append(c.out, s)
}

// carried looks whether the flags and removals of this pass have arrived. What
// has not is left to the next pass.
func (c *checking) carried(ctx context.Context) (mended bool, err error) {
	j, st := c.job, c.job.st
	if c.pass.Options.CatchUp || len(j.changes)+len(j.removed) == 0 {
		return false, nil
	}
	var targets []uint32
	for _, ch := range j.changes {
		if e, ok := st.uids.find(ch.source); ok && e.target != 0 {
			targets = append(targets, e.target)
		}
	}
	metas, err := c.metas(ctx, append(targets, j.removed...))
	if err != nil {
		return false, err
	}
	was := map[uint32]uint32{}
	for _, ch := range j.changes {
		e, _ := st.uids.find(ch.source)
		add, _ := difference(st.FlagSets[ch.from], st.FlagSets[ch.to])
		m, there := metas[e.target]
		if there && !c.flags(proof{source: ch.source, size: m.size, date: m.date}, strings.Join(add, " "), m.flags) {
			was[ch.source] = ch.from
		}
	}
	st.uids.edit(slices.Sorted(maps.Keys(was)), func(e *entry) bool { e.flags = was[e.source]; return true })
	left := len(st.Orphans)
	for _, uid := range j.removed {
		if m, there := metas[uid]; there && !strings.Contains(m.flags, `\Deleted`) { // without UIDPLUS it is only marked
			st.Orphans = append(st.Orphans, uid)
		}
	}
	if n := len(st.Orphans) - left; n > 0 {
		c.differs(proof{}, Differs, fmt.Sprintf("%d messages that were to be removed are still at the target", n))
		was[0] = 0
	}
	st.Complete = st.Complete && len(was) == 0
	return len(was) > 0, nil
}

// metas reads flags and dates of messages at the target.
func (c *checking) metas(ctx context.Context, uids []uint32) (map[uint32]meta, error) {
	out := map[uint32]meta{}
	if len(uids) == 0 {
		return out, nil
	}
	slices.Sort(uids)
	err := c.insist(func() error {
		dst, err := c.lane.target()
		if err != nil {
			return err
		}
		if _, err := dst.examine(c.job.st.Target); err != nil {
			return err
		}
		for _, set := range sets(uids) {
			part, err := dst.metadata(set, metaItems)
			if err != nil {
				return err
			}
			for _, m := range part {
				out[m.uid] = m
			}
		}
		return ctx.Err()
	})
	return out, err
}

// flags compares flags; false if some are missing. The target's user may add
// what they like.
func (c *checking) flags(p proof, sent, back string) bool {
	lost := slices.DeleteFunc(missingFlags(sent, back), c.dropped)
	if len(lost) > 0 {
		c.differs(p, Differs, "flags missing at the target: "+safe(strings.Join(lost, " ")))
	}
	return len(lost) == 0
}

// dropped tells whether a keyword is noted as one the target cannot hold.
func (c *checking) dropped(flag string) bool {
	return slices.ContainsFunc(c.job.st.Notes, func(n Skipped) bool {
		return n.Reason == KeywordDropped && n.Detail == safe(flag)
	})
}

// balance adds up: each message that the source had in the folder at the last
// pass is carried or named. A source that lists fewer than it says it has is
// asked once more: one may just have gone.
func (c *checking) balance() error {
	j, st := c.job, c.job.st
	have := st.uids.n
	for _, s := range st.Skipped {
		switch {
		case s.UID == 0:
			return nil // the folder as a whole
		default:
			if _, carried := st.uids.find(s.UID); !carried {
				have++
			}
		}
	}
	told := int(st.Messages)
	if j.scanned && int(j.box.messages) > told {
		err := c.insist(func() error {
			src, err := c.lane.source()
			if err != nil {
				return err
			}
			b, err := src.examine(j.source.wire)
			told = int(b.messages)
			return err
		})
		if err != nil {
			return err
		}
	}
	if have != int(st.Messages) || told > have {
		c.differs(proof{}, Missing, fmt.Sprintf("the source has %d messages, %d are carried or named", max(told, int(st.Messages)), have))
	}
	return nil
}

// freeze notes what the source had, for the receipt.
func (c *checking) freeze() {
	st := c.job.st
	last := max(st.Next, 1) - 1
	if last = max(last, st.uids.last()); len(st.Skipped) > 0 {
		last = max(last, slices.MaxFunc(st.Skipped, func(a, b Skipped) int { return cmp.Compare(a.UID, b.UID) }).UID)
	}
	c.proofs.Frozen = frozen{st.Messages, last + 1}
	c.mu.Lock()
	c.frozen += int(st.Messages)
	c.mu.Unlock()
}

// mend lets the next pass carry once more what is not right. If it is little,
// what stands at the target instead is removed then. If it is much, only what
// was never there is carried, and looked for by content first.
func (c *checking) mend(open []entry) bool {
	st := c.job.st
	if c.pass.Options.CatchUp {
		return false
	}
	missing := map[uint32]bool{}
	for _, s := range c.out {
		missing[s.UID] = missing[s.UID] || s.Reason == Missing
	}
	var gone []uint32
	much := tooMany(len(open), st.uids.n, c.pass.Options.MaxDelete)
	for _, e := range open {
		switch {
		case !much:
			st.Orphans = append(st.Orphans, e.target)
		case !missing[e.source]:
			continue
		}
		gone = append(gone, e.source)
	}
	if len(gone) == 0 {
		return false
	}
	st.forget(gone)
	st.Complete, st.Matching = false, st.Matching || much
	return true
}

// sweep writes down how far the folder is verified, and drops the records that
// nothing needs any more.
func (c *checking) sweep(ctx context.Context, changed bool) error {
	st, p, key := c.job.st, c.proofs, c.job.key
	changes := map[string][]byte{}
	if changed || st.Folded < st.next {
		st.save(changes, key)
	}
	for ; p.Kept < min(p.Records, st.Folded); p.Kept++ {
		changes[recordKey(key, p.Kept)] = nil
	}
	if now := mustJSON(p); string(now) != string(c.stored) {
		changes[proofsKey(key)] = now
	}
	if len(changes) == 0 {
		return nil
	}
	return put(ctx, c.pass.Store, changes)
}
