package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// present finds out whether the target still has what was verified before.
// What it does not was removed there, unless it is more than MaxDelete.
func (c *checking) present(ctx context.Context, final bool) (removed bool, err error) {
	st, p := c.job.st, c.proofs
	b := c.job.target
	if !c.looks() {
		if st.uids.live() == 0 { // nothing can be missing
			p.Seen = b.seen()
		}
		return false, nil
	}
	there, err := spans(nil), error(nil)
	if dst, derr := c.lane.target(); c.whole == nil && derr == nil && c.lists(dst) {
		_, _, err = c.fetchBack(ctx, nil, "")
	}
	if c.whole != nil {
		b, there = c.whole.box, c.whole.uids
	} else if err == nil {
		err = c.insist(func() error {
			dst, err := c.lane.target()
			if err != nil {
				return err
			}
			if b, err = dst.examine(st.Target); err != nil || b.modseq != 0 && b.seen() == p.Seen {
				return err
			}
			there, err = dst.listed()
			return err
		})
	}
	replaced := errors.Is(err, errReplaced) || err == nil && b.validity != st.TargetValidity
	if !replaced && (err != nil || b.modseq != 0 && b.seen() == p.Seen) {
		return false, err
	}
	if replaced {
		c.differs(proof{}, Missing, "the target folder was replaced")
		return false, nil
	}
	live, gone := 0, []uint32(nil)
	for e := range st.uids.all() {
		if e.target == 0 {
			continue
		}
		if live++; !there.has(e.target) {
			gone = append(gone, e.source)
		}
	}
	switch {
	case len(gone) == 0:
		p.Seen = b.seen()
		return false, nil
	case !final:
		return false, nil
	case tooMany(len(gone), live, c.pass.Options.MaxDelete):
		c.differs(proof{}, Missing, fmt.Sprintf("%d of %d messages that were verified before are gone at the target", len(gone), live))
		return false, nil
	}
	gone = slices.DeleteFunc(gone, func(source uint32) bool { // was never there: that is said
		return slices.ContainsFunc(c.out, func(s Skipped) bool { return s.UID == source })
	})
	for _, source := range gone {
		st.note(Skipped{Folder: c.job.name, UID: source, Reason: Removed})
	}
	st.uids.edit(gone, func(e *entry) bool { e.target = 0; return true })
	return len(gone) > 0, nil
}

// looks tells whether the folder has to be looked at: something of ours is in it,
// and it may have changed since that was last seen.
func (c *checking) looks() bool {
	b := c.job.target
	unchanged := b.modseq != 0 && b.seen() == c.proofs.Seen
	return c.job.st.uids.live() > 0 && (c.job.scanned || !unchanged)
}

// searchStep keeps the answer to a search short enough for one line.
const searchStep = 100000

// listed are the UIDs of the open folder.
func (s *session) listed() (out spans, err error) {
	if s.box.messages == 0 {
		return nil, nil
	}
	if !s.has("ESEARCH") {
		err := s.eachMeta("1:*", "(UID)", func(m meta) { out = append(out, span{m.uid, m.uid}) })
		return out.merge(), err
	}
	for from := uint32(1); from <= s.box.messages; from += searchStep {
		part, err := s.search(fmt.Sprintf("%d:%d", from, min(from+searchStep-1, s.box.messages))).wait()
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out.merge(), nil
}

// whole is a folder of the target as it was when the pass was through with it.
type whole struct {
	box  box
	uids spans
}

// searching is a search for the UIDs of a set whose answer has not been looked at.
type searching struct {
	x   *exchange
	out spans
	err error
}

// search asks for the UIDs of a set of the open folder, as ranges (RFC 4731).
func (s *session) search(set string) *searching {
	f := &searching{}
	f.x = &exchange{on: func(r *response) {
		if r.word != "ESEARCH" {
			return
		}
		list := r.tokens()
		for i := 0; i+1 < len(list); i++ {
			if strings.EqualFold(list[i].text, "ALL") {
				f.out = append(f.out, parseSpans(list[i+1].text)...)
			}
		}
	}}
	f.err = s.w.send("UID SEARCH RETURN (ALL) "+set, f.x)
	return f
}

func (f *searching) wait() (spans, error) {
	if f.err != nil {
		return nil, f.err
	}
	replies, err := f.x.wait()
	if err != nil {
		return nil, err
	}
	return f.out.merge(), replies[0].err()
}
