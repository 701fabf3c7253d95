package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// What Verify finds, beside the reasons of a pass.
const (
	Missing Reason = "missing" // carried, but the target does not have it
	Differs Reason = "differs" // the target gives back something else
)

// Verify reads the target back over a new connection and compares it with the
// source: counts, dates and flags of all messages, and by content (mode
// "content"; "headers" compares header digests) those not yet verified.
// It returns what differs; nothing means verified.
//
// It speaks of the mailbox as of the last pass: mail that has arrived since is
// the next pass's. A message that was verified before and is missing now was
// removed by the target's user, unless there are more of them than MaxDelete.
func (p Pass) Verify(ctx context.Context, mode string) ([]Skipped, error) {
	if mode != "content" && mode != "headers" {
		return nil, fmt.Errorf("verify %q is not one of content, headers", mode)
	}
	r, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.list(ctx); err != nil {
		return nil, err
	}
	var out []Skipped
	if len(r.names) == 0 {
		return nil, errors.New("nothing was copied yet: there is nothing to verify")
	}
	err = r.each(ctx, r.jobs, func(l *lane, ctx context.Context, j *job) error {
		found, err := l.verify(ctx, j, mode)
		r.mu.Lock()
		out = append(out, found...)
		r.mu.Unlock()
		return err
	})
	sort.SliceStable(out, func(i, k int) bool { return out[i].Folder < out[k].Folder })
	return out, err
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

// checking is the verification of one folder.
type checking struct {
	*lane
	job    *job
	source map[uint32]meta
	target map[uint32]meta
	sent   map[uint32][]byte // digests to compare, by source UID; nil: the source is read
	out    []Skipped
}

func (l *lane) verify(ctx context.Context, j *job, mode string) ([]Skipped, error) {
	st := j.st
	if !j.here || st.Target == "" {
		return nil, nil
	}
	if err := st.load(ctx, l.pass.Store, j.key); err != nil || st.uids.n == 0 {
		return nil, err
	}
	c := &checking{lane: l, job: j}
	if ok, err := c.open(); !ok || err != nil {
		return c.out, err
	}
	if err := c.unverified(ctx); err != nil {
		return nil, err
	}
	todo := c.shapes()
	if err := c.contents(ctx, mode, todo); err != nil {
		return nil, err
	}
	if len(c.out) > 0 {
		return c.out, nil
	}
	return nil, c.done(ctx)
}

// open lists both sides.
func (c *checking) open() (ok bool, err error) {
	j, st := c.job, c.job.st
	src, err := c.lane.source()
	if err != nil {
		return false, err
	}
	dst, err := c.lane.target()
	if err != nil {
		return false, err
	}
	if !j.exists || j.target.validity != st.TargetValidity {
		c.differs(0, Missing, "the target folder is gone or was replaced")
		return false, nil
	}
	b, err := src.examine(j.source.wire)
	if err != nil {
		return false, err
	}
	if b.validity != st.SourceValidity {
		c.differs(0, Differs, "the source has renumbered its messages since the last pass")
		return false, nil
	}
	if c.source, err = listing(src); err != nil {
		return false, err
	}
	if _, err = dst.examine(st.Target); err != nil {
		return false, err
	}
	c.target, err = listing(dst)
	return true, err
}

func listing(s *session) (map[uint32]meta, error) {
	out := map[uint32]meta{}
	if s.box.messages == 0 {
		return out, nil
	}
	list, err := s.metadata("1:*", metaItems, 0)
	for _, m := range list {
		out[m.uid] = m
	}
	return out, err
}

func (c *checking) differs(uid uint32, reason Reason, detail string) {
	m := c.source[uid]
	c.out = append(c.out, Skipped{Folder: c.job.name, UID: uid, Date: m.time(), Bytes: m.size, Reason: reason, Detail: detail})
}

// unverified collects the digests of what was carried since the last
// verification.
func (c *checking) unverified(ctx context.Context) error {
	c.sent = map[uint32][]byte{}
	for n := c.job.st.Verified; n < c.job.st.next; n++ {
		var rec record
		if _, err := getJSON(ctx, c.pass.Store, recordKey(c.job.key, n), &rec); err != nil {
			return err
		}
		for i, s := range rec.Sources {
			if _, ok := c.job.st.uids.find(s); ok && rec.Targets[i] != 0 {
				c.sent[s] = rec.Digests[i]
			}
		}
	}
	return nil
}

// shapes compares counts, dates and flags of all messages, and returns those
// whose content is to be compared.
func (c *checking) shapes() (todo []entry) {
	st := c.job.st
	known := map[uint32]bool{}
	for _, s := range st.Skipped {
		known[s.UID] = true
	}
	live := 0
	var removed []uint32
	for e := range st.uids.all() {
		known[e.source] = true
		m, there := c.source[e.source]
		if !there || e.target == 0 {
			continue
		}
		live++
		_, fresh := c.sent[e.source]
		t, found := c.target[e.target]
		switch {
		case !found && fresh:
			c.differs(e.source, Missing, "the target does not have it any more")
		case !found:
			removed = append(removed, e.source)
		case fresh:
			c.shape(e, m, t)
			todo = append(todo, e)
		default:
			c.date(e, m, t)
		}
	}
	if tooMany(len(removed), live, c.pass.Options.MaxDelete) {
		c.differs(0, Missing, fmt.Sprintf("%d of %d messages that were verified before are gone at the target", len(removed), live))
	}
	st.uids.edit(removed, func(e *entry) bool { e.target = 0; return true })
	for uid := range c.source {
		if !known[uid] && uid < st.Next {
			c.differs(uid, Missing, "it was not carried")
		}
	}
	return todo
}

// shape compares date and flags of a message.
func (c *checking) shape(e entry, m, t meta) {
	c.date(e, m, t)
	was := c.job.st.FlagSets[e.flags]
	kept, _ := keepFlags(was, []string{`\*`})
	add, remove := difference(kept, t.flags)
	if len(remove) > 0 {
		remove = slices.DeleteFunc(remove, c.dropped)
	}
	if len(remove) > 0 {
		c.differs(e.source, Differs, "flags missing at the target: "+safe(strings.Join(remove, " ")))
	}
	_ = add // the target's user may add what they like
}

// dropped tells whether a keyword is noted as one the target cannot hold.
func (c *checking) dropped(flag string) bool {
	return slices.ContainsFunc(c.job.st.Notes, func(n Skipped) bool {
		return n.Reason == KeywordDropped && n.Detail == safe(flag)
	})
}

// Dates that 32-bit servers cannot hold; they store something else without a
// word.
var firstDate, lastDate = time.Unix(0, 0), time.Unix(1<<31-1, 0)

func (c *checking) date(e entry, m, t meta) {
	if m.date == t.date || slices.ContainsFunc(c.job.st.Notes, func(n Skipped) bool { return n.UID == e.source && n.Reason == Altered }) {
		return
	}
	if m.date == noDate || m.time().Before(firstDate) || m.time().After(lastDate) || c.impossible(m) {
		c.job.st.note(Skipped{
			Folder: c.job.name, UID: e.source, Date: m.time(), Bytes: m.size, Reason: Altered,
			Detail: "the target cannot hold the date " + m.time().Format(time.RFC3339),
		})
		return
	}
	c.differs(e.source, Differs, fmt.Sprintf("date %s at the source, %s at the target", m.time().Format(time.RFC3339), t.time().Format(time.RFC3339)))
}

// impossible tells of a date in the future, which some servers replace by now.
func (c *checking) impossible(m meta) bool { return m.time().After(time.Now().Add(24 * time.Hour)) }

// contents compares what the target gives back with what the source gave.
func (c *checking) contents(ctx context.Context, mode string, todo []entry) error {
	item := "BODY.PEEK[]"
	if mode == "headers" {
		item = "BODY.PEEK[HEADER]"
		for s := range c.sent {
			c.sent[s] = nil
		}
	}
	for len(todo) > 0 {
		n := min(len(todo), 500)
		if err := c.some(ctx, item, todo[:n]); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

func (c *checking) some(ctx context.Context, item string, todo []entry) error {
	var targets, unread []uint32
	for _, e := range todo {
		targets = append(targets, e.target)
		if c.sent[e.source] == nil {
			unread = append(unread, e.source)
		}
	}
	slices.Sort(targets)
	dst, err := c.lane.target()
	if err != nil {
		return err
	}
	if _, err := dst.opened(c.job.st.Target, false); err != nil {
		return err
	}
	back, err := dst.digestItem(ctx, targets, item)
	if err != nil {
		return err
	}
	if len(unread) > 0 {
		src, err := c.lane.source()
		if err != nil {
			return err
		}
		if _, err := src.opened(c.job.source.wire, false); err != nil {
			return err
		}
		read, err := src.digestItem(ctx, unread, item)
		if err != nil {
			return err
		}
		for uid, d := range read {
			c.sent[uid] = d
		}
	}
	for _, e := range todo {
		c.judge(e, c.sent[e.source], back[e.target])
	}
	return nil
}

func (c *checking) judge(e entry, sent, back []byte) {
	switch {
	case sent == nil:
		c.differs(e.source, Unreadable, "the source does not give it for the comparison")
	case back == nil:
		c.differs(e.source, Missing, "the target does not give it back")
	default:
		switch compareDigests(sent, back) {
		case altered:
			m := c.source[e.source]
			c.job.st.note(Skipped{
				Folder: c.job.name, UID: e.source, Date: m.time(), Bytes: m.size, Reason: Altered,
				Detail: "the target stores NUL bytes or bare line ends in another form",
			})
		case wrong:
			c.differs(e.source, Differs, "the content at the target is not what the source gave")
		}
	}
}

// done writes down that everything so far is verified, and drops the digests.
func (c *checking) done(ctx context.Context) error {
	st, key := c.job.st, c.job.key
	changes := map[string][]byte{}
	for n := st.Verified; n < st.next; n++ {
		changes[recordKey(key, n)] = nil
	}
	st.Verified = st.next
	st.save(changes, key)
	return put(ctx, c.pass.Store, changes)
}
