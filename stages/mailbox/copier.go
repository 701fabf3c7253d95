package mailbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"
)

// copier appends the groups of one folder and writes down what it does: the
// intent before a group, its outcome after it, both in one Put with the intent
// of the next.
type copier struct {
	*lane
	job       *job
	selecting *opening // of the target's folder; nil: not asked for
	permanent []string
	next      uint32         // a UID at the target below which nothing of an open intent stands
	top       uint32         // the highest UID of ours there, and one
	rec       record         // not yet written
	open      bool           // an intent is written that the next Put must end
	written   bool           // the state was written in this pass
	refusals  int            // in a row
	air       []*flight      // on their way, oldest first
	waiting   []*flight      // off the air and not settled
	landing   int            // flights that wait for those behind them
	cuts      map[uint32]int // see heard
}

const maxRefusals = 20

// mustOpen tells whether the target's folder has to be opened before anything is
// appended: for what it can hold, or where its UIDs go on.
func (j *job) mustOpen() bool {
	if j.target.next == 0 || j.st.TargetValidity == 0 {
		return true
	}
	for _, m := range j.fresh {
		for f := range strings.FieldsSeq(m.flags) {
			if !isSystem(f) {
				return true
			}
		}
	}
	return false
}

// begin finds out what the target's folder can hold and where its UIDs go on.
func (c *copier) begin() error {
	j := c.job
	if c.next = j.target.next; !j.mustOpen() {
		return nil
	}
	dst, b, err := c.selected()
	if err != nil {
		return err
	}
	c.permanent, c.next = b.permanent, max(c.next, b.next)
	if j.st.TargetValidity == 0 {
		j.st.TargetValidity = b.validity
	}
	if c.next == 0 { // a server without UIDNEXT
		uids, err := dst.uids()
		if err != nil {
			return err
		}
		c.next = 1
		if len(uids) > 0 {
			c.next = uids[len(uids)-1] + 1
		}
	}
	return nil
}

// reached notes that the target's UIDs have come so far. While a flight waits
// for those behind it, the intent still has to begin before its own.
func (c *copier) reached(uid uint32) {
	if c.top = max(c.top, uid+1); c.landing == 0 {
		c.next = max(c.next, c.top)
	}
}

// held is a message's flags as the target can hold them; what it cannot is
// noted once per folder and keyword.
func (c *copier) held(m meta) string {
	kept, dropped := c.pass.place.space.keepFlags(m.flags, c.permanent)
	for _, f := range dropped {
		c.rec.Notes = name(c.rec.Notes, Skipped{Folder: c.job.name, Reason: KeywordDropped, Detail: safe(f)})
	}
	return kept
}

// intend writes down which messages are about to be appended, and the outcome
// of the group before.
func (c *copier) intend(list []meta) error {
	it := intent{Validity: c.job.st.TargetValidity, Next: c.next}
	for _, m := range list {
		it.Sources = append(it.Sources, m.uid)
		it.Sizes = append(it.Sizes, m.size)
		it.Dates = append(it.Dates, m.date)
		it.Flags = append(it.Flags, m.flags)
	}
	return c.write(mustJSON(it))
}

// underway lists the messages whose outcome is not known.
func (c *copier) underway() (list []meta) {
	for _, f := range slices.Concat(c.waiting, c.air) {
		for _, p := range f.list {
			if !c.has(p.uid) {
				list = append(list, p.sized())
			}
		}
	}
	return list
}

// flush writes the last outcome.
func (c *copier) flush() error {
	if !c.open && c.rec.empty() {
		return nil
	}
	return c.write(nil)
}

func (r record) empty() bool { return len(r.Sources)+len(r.Skipped)+len(r.Notes) == 0 }

func (c *copier) write(it []byte) error {
	key := c.job.key
	changes := map[string][]byte{intentKey(key): it}
	if !c.rec.empty() {
		changes[recordKey(key, c.job.st.next)] = mustJSON(c.rec)
		c.job.st.fold(c.rec)
		c.job.st.next++
	}
	if !c.written {
		c.job.st.Complete = false
		c.job.st.save(changes, key)
	}
	c.rec, c.written, c.open = record{}, true, it != nil
	if err := put(c.pass.ctx, c.pass.Store, changes); err != nil {
		return err
	}
	c.pass.readers.written(c.job, c.job.st.next)
	return nil
}

// small sends one group, and first takes what became of an earlier one where
// enough are under way. While the target works on those, the ledger gets the
// outcome of what is through and the intent of what is next.
func (c *copier) small(ctx context.Context, g *group) error {
	dst, err := c.target()
	if err != nil {
		return err
	}
	most := inTheAir
	if !dst.has("UIDPLUS") { // new UIDs are counted off from the folder's end
		most = 1
	}
	for len(c.air) >= most {
		if err := c.land(ctx); err != nil {
			return err
		}
	}
	f := &flight{group: g, list: c.parcels(g)}
	if len(f.list) == 0 {
		g.free()
		return nil
	}
	c.air = append(c.air, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := c.intend(c.underway()); err != nil {
		return err
	}
	if err := c.launch(f); err != nil {
		return c.regain(ctx, err)
	}
	return nil
}

// parcels makes what can be sent of a group, and names the rest.
func (c *copier) parcels(g *group) (list []parcel) {
	c.rec.Skipped = append(c.rec.Skipped, g.bad...)
	for _, m := range g.metas {
		body, ok := g.got[m.uid]
		switch limit := c.pass.limit; {
		case !ok && slices.ContainsFunc(g.over, func(o meta) bool { return o.uid == m.uid }):
		case !ok:
			c.pass.progress(m.size)
		case limit > 0 && int64(len(body)) > limit:
			c.name(m, TooLarge, "", int64(len(body)))
		case len(body) == 0 && c.pass.place.space.zimbra: // it would end the session
			c.name(m, Refused, "the target takes no empty message", 0)
		default:
			if m.date == noDate {
				m = c.dated(m, body)
			}
			m = c.inTime(m, int64(len(body)))
			list = append(list, parcel{meta: m, body: body, flags: c.held(m), digest: g.sums[m.uid]})
		}
	}
	return list
}

// has tells whether a message is carried, written down or about to be.
func (c *copier) has(uid uint32) bool {
	for _, s := range c.rec.Sources {
		if s == uid {
			return true
		}
	}
	_, carried := c.job.st.uids.find(uid)
	return carried
}

// take notes the outcomes of appended messages: first of those that are stored,
// so that their UIDs are none of those that are still to be looked for.
func (c *copier) take(ctx context.Context, list []parcel, validity uint32, out []outcome) error {
	if validity != 0 && validity != c.job.st.TargetValidity {
		return errReplaced
	}
	c.doubt(out)
	if err := c.fillUIDs(ctx, list, out); err != nil {
		return err
	}
	for _, no := range []bool{false, true} {
		for i, p := range list {
			if (out[i].err != nil) != no {
				continue
			}
			if err := c.settleOne(ctx, p, 0, out[i], int64(len(p.body))); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleOne notes the outcome of one message. One that was refused is tried
// once more, for each thing that it may have been refused for.
func (c *copier) settleOne(ctx context.Context, p parcel, validity uint32, o outcome, size int64) error {
	if validity != 0 && validity != c.job.st.TargetValidity {
		return errReplaced
	}
	if o.err != nil {
		return c.refusedOne(ctx, p, o.err, size)
	}
	if o.uid == 0 {
		one := []outcome{o}
		if err := c.fillUIDs(ctx, []parcel{p}, one); err != nil {
			return err
		}
		o = one[0]
	}
	if o.uid == 0 {
		return fmt.Errorf("the target said OK to a message but does not show it: %w", errReplaced)
	}
	c.refusals = 0
	c.rec.Sources = append(c.rec.Sources, p.uid)
	c.rec.Targets = append(c.rec.Targets, o.uid)
	c.rec.Flags = append(c.rec.Flags, p.meta.flags)
	c.rec.Digests = append(c.rec.Digests, p.digest)
	c.rec.Dates = append(c.rec.Dates, p.date)
	c.reached(o.uid)
	c.pass.count(func(r *Result) { r.Copied++ })
	c.rec.Bytes += size
	if p.body != nil {
		c.pass.progress(size)
	}
	return nil
}

func (c *copier) refusedOne(ctx context.Context, p parcel, err error, size int64) error {
	if passing(err) {
		return err
	}
	r, _ := refused(err)
	if r.Code == "" && !r.tooLarge() { // Zimbra says no more of a full mailbox than of anything else
		if full, qerr := c.full(size); full || qerr != nil {
			return cmp.Or(qerr, fmt.Errorf("%w: %w", ErrOverQuota, err))
		}
	}
	if c.wantsLiteral8(p, err) && p.body != nil {
		return c.asLiteral8(ctx, p, err, size)
	}
	if p.literal8 { // what was said at first tells more
		p.literal8, err = false, p.said
		r, _ = refused(err)
	}
	system, _ := keepFlags(p.flags, []string{"-"})
	if system != p.flags && p.body != nil && !r.tooLarge() { // perhaps it was a keyword
		dst, err := c.target()
		if err != nil {
			return err
		}
		for _, f := range strings.Fields(p.flags) {
			if !strings.HasPrefix(f, `\`) {
				c.rec.Notes = name(c.rec.Notes, Skipped{Folder: c.job.name, Reason: KeywordDropped, Detail: safe(f)})
			}
		}
		p.flags = system
		return c.onceMore(ctx, dst, p, size)
	}
	if near := heldDate(p.date); near != p.date && p.date != noDate && p.body != nil && !r.tooLarge() { // perhaps it was the date
		dst, err := c.target()
		if err != nil {
			return err
		}
		c.noteDate(p.meta, size)
		p.date = near
		return c.onceMore(ctx, dst, p, size)
	}
	if c.refusals++; c.refusals > maxRefusals {
		return fmt.Errorf("the target refused %d messages in a row, the last: %w", c.refusals, err)
	}
	reason := Refused
	if r.tooLarge() {
		reason = TooLarge
	}
	c.rec.Notes = slices.DeleteFunc(c.rec.Notes, func(n Skipped) bool { return n.UID == p.uid }) // of a try that failed
	c.name(p.meta, reason, err.Error(), size)
	if p.body != nil {
		h := headerOf(string(p.body[:min(len(p.body), 16<<10)]))
		c.rec.Skipped[len(c.rec.Skipped)-1].MessageID = safe(h.id)
	}
	return nil
}

// passing tells that a refusal is not about the message.
func passing(err error) bool {
	r, _ := refused(err)
	return errors.Is(err, ErrBusy) || errors.Is(err, ErrOverQuota) || r.Code == "TRYCREATE"
}

// onceMore appends a message that was refused, changed.
func (c *copier) onceMore(ctx context.Context, dst *session, p parcel, size int64) error {
	validity, out, err := dst.appendAll(c.job.st.Target, []parcel{p})
	if err != nil {
		return err
	}
	return c.settleOne(ctx, p, validity, out[0], size)
}

// noteDate notes that the target cannot hold a message's date.
func (c *copier) noteDate(m meta, size int64) {
	c.rec.Notes = name(c.rec.Notes, Skipped{
		Folder: c.job.name, UID: m.uid, Date: m.time(), Bytes: size, Reason: Altered,
		Detail: "the target cannot hold the date " + m.time().Format(time.RFC3339),
	})
}

// inTime gives a message a date that the target holds, where it is known to
// refuse others: what is streamed cannot be sent a second time.
func (c *copier) inTime(m meta, size int64) meta {
	if near := heldDate(m.date); c.pass.place.space.zimbra && m.date != noDate && near != m.date {
		c.noteDate(m, size)
		m.date = near
	}
	return m
}

// heldDate is the nearest date that every server holds.
func heldDate(date int64) int64 { return min(max(date, firstDate.Unix()), lastDate.Unix()) }

// name notes a message that is not carried.
func (c *copier) name(m meta, reason Reason, detail string, size int64) {
	c.rec.Skipped = append(c.rec.Skipped, Skipped{Folder: c.job.name, UID: m.uid, Date: m.time(), Bytes: size, Reason: reason, Detail: detail})
}

// dated finds a date for a message whose INTERNALDATE the source does not
// tell: the Date header's, else none, which means now.
func (c *copier) dated(m meta, body []byte) meta {
	detail := "the source tells no date of arrival: the target has the time of copying"
	if msg, err := mail.ReadMessage(bytes.NewReader(body)); err == nil {
		if t, err := msg.Header.Date(); err == nil && t.Year() > 1970 && t.Before(time.Now().Add(24*time.Hour)) {
			_, zone := t.Zone()
			m.date, m.zone = t.Unix(), int32(zone)
			detail = "the source tells no date of arrival: the target has the Date of the message"
		}
	}
	c.rec.Notes = append(c.rec.Notes, Skipped{Folder: c.job.name, UID: m.uid, Bytes: int64(len(body)), Reason: Altered, Detail: detail})
	return m
}
