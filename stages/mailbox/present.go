package mailbox

import (
	"fmt"
	"slices"
	"strings"
)

// present finds out whether the target still has what was verified before.
// What it does not was removed there, unless it is more than MaxDelete.
func (c *checking) present(final bool) (removed bool, err error) {
	st, p := c.job.st, c.proofs
	b := c.job.target
	if unchanged := b.modseq != 0 && b.seen() == p.Seen; unchanged && !c.job.scanned {
		return false, nil
	}
	var there spans
	err = c.insist(func() error {
		dst, err := c.lane.target()
		if err != nil {
			return err
		}
		if b, err = dst.examine(st.Target); err != nil {
			return err
		}
		if b.modseq != 0 && b.seen() == p.Seen {
			return nil
		}
		there, err = dst.listed()
		return err
	})
	if err != nil || b.modseq != 0 && b.seen() == p.Seen {
		return false, err
	}
	if b.validity != st.TargetValidity {
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
		_, err := s.w.do(fmt.Sprintf("UID SEARCH RETURN (ALL) %d:%d", from, min(from+searchStep-1, s.box.messages)), &exchange{on: func(r *response) {
			if r.word != "ESEARCH" { // RFC 4731
				return
			}
			list := r.tokens()
			for i := 0; i+1 < len(list); i++ {
				if strings.EqualFold(list[i].text, "ALL") {
					out = append(out, parseSpans(list[i+1].text)...)
				}
			}
		}})
		if err != nil {
			return nil, err
		}
	}
	return out.merge(), nil
}
