package mailbox

import (
	"bytes"
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
	permanent []string
	next      uint32 // a UID at the target that no message had before this group
	rec       record // not yet written
	open      bool   // an intent is written that the next Put must end
	written   bool   // the state was written in this pass
	refusals  int    // in a row
}

const maxRefusals = 20

// begin finds out what the target's folder can hold and where its UIDs go on.
func (c *copier) begin() error {
	j := c.job
	c.next = j.target.next
	keywords := false
	for _, m := range j.fresh {
		for _, f := range strings.Fields(m.flags) {
			keywords = keywords || !isSystem(f)
		}
	}
	if !keywords && c.next != 0 && j.st.TargetValidity != 0 {
		return nil
	}
	dst, err := c.target()
	if err != nil {
		return err
	}
	b, err := dst.sel(j.st.Target)
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

// held is a message's flags as the target can hold them; what it cannot is
// noted once per folder and keyword.
func (c *copier) held(m meta) string {
	kept, dropped := keepFlags(m.flags, c.permanent)
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

// small appends one group.
func (c *copier) small(ctx context.Context, g *group) error {
	c.rec.Skipped = append(c.rec.Skipped, g.bad...)
	var todo []meta
	for _, m := range g.metas {
		body, ok := g.got[m.uid]
		if !ok {
			c.pass.progress(m.size)
			continue
		}
		if isPlaceholder(body) {
			c.name(m, Unreadable, "the source gives a notice instead of the message", m.size)
			continue
		}
		if limit := c.pass.limit; limit > 0 && int64(len(body)) > limit {
			c.name(m, TooLarge, "", int64(len(body)))
			continue
		}
		todo = append(todo, m)
	}
	for try := 0; len(todo) > 0; try++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.intend(todo); err != nil {
			return err
		}
		err := c.send(ctx, todo, g.got)
		if err == nil {
			return nil
		}
		if !lost(err) || errors.Is(err, ErrBusy) || try >= 3 {
			return err
		}
		if _, err := c.recover(ctx, todo, g.got); err != nil {
			return err
		}
		left := todo[:0]
		for _, m := range todo {
			if !c.has(m.uid) {
				left = append(left, m)
			}
		}
		todo = left
	}
	return nil
}

// isPlaceholder recognizes the notice that Exchange gives, with an OK, instead
// of a message that it cannot convert.
func isPlaceholder(body []byte) bool {
	head, _, _ := bytes.Cut(body[:min(len(body), 8<<10)], []byte("\r\n\r\n"))
	return bytes.Contains(head, []byte("Subject: Retrieval using the IMAP4 protocol failed for the following message:"))
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

// send appends the messages and takes their outcomes.
func (c *copier) send(ctx context.Context, todo []meta, bodies map[uint32][]byte) error {
	dst, err := c.target()
	if err != nil {
		return err
	}
	list := make([]parcel, len(todo))
	for i, m := range todo {
		body := bodies[m.uid]
		if m.date == noDate {
			m = c.dated(m, body)
		}
		list[i] = parcel{meta: m, body: body, flags: c.held(m), digest: digestOf(body)}
	}
	validity, out, err := dst.appendAll(c.job.st.Target, list)
	if err != nil {
		return err
	}
	if len(out) > 1 && out[0].err != nil && out[len(out)-1].err != nil && dst.has("MULTIAPPEND") {
		return c.singly(ctx, list)
	}
	return c.take(ctx, list, validity, out)
}

// singly sends the messages of a refused group one by one, so that one bad
// message does not hold up the others.
func (c *copier) singly(ctx context.Context, list []parcel) error {
	metas, bodies := make([]meta, len(list)), map[uint32][]byte{}
	for i, p := range list {
		metas[i], bodies[p.uid] = p.meta, p.body
	}
	if _, err := c.recover(ctx, metas, bodies); err != nil { // not every server drops the whole group
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

// take notes the outcomes of appended messages.
func (c *copier) take(ctx context.Context, list []parcel, validity uint32, out []outcome) error {
	if validity != 0 && validity != c.job.st.TargetValidity {
		return errReplaced
	}
	c.doubt(out)
	if err := c.fillUIDs(ctx, list, out); err != nil {
		return err
	}
	for i, p := range list {
		if err := c.settleOne(ctx, p, 0, out[i], int64(len(p.body))); err != nil {
			return err
		}
	}
	return nil
}

// settleOne notes the outcome of one message. A refusal of flags is tried once
// more without keywords.
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
	c.next = max(c.next, o.uid+1)
	c.pass.count(func(r *Result) { r.Copied++ })
	c.rec.Bytes += size
	if p.body != nil {
		c.pass.progress(size)
	}
	return nil
}

func (c *copier) refusedOne(ctx context.Context, p parcel, err error, size int64) error {
	r, _ := refused(err)
	if errors.Is(err, ErrBusy) || errors.Is(err, ErrOverQuota) || r.Code == "TRYCREATE" {
		return err
	}
	system, _ := keepFlags(p.flags, []string{"-"})
	if system != p.flags && p.body != nil && r.Code != "TOOBIG" { // perhaps it was a keyword
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
	if near := heldDate(p.date); near != p.date && p.date != noDate && p.body != nil && r.Code != "TOOBIG" { // perhaps it was the date
		dst, err := c.target()
		if err != nil {
			return err
		}
		c.rec.Notes = name(c.rec.Notes, Skipped{
			Folder: c.job.name, UID: p.uid, Date: p.time(), Bytes: size, Reason: Altered,
			Detail: "the target cannot hold the date " + p.time().Format(time.RFC3339),
		})
		p.date = near
		return c.onceMore(ctx, dst, p, size)
	}
	if c.refusals++; c.refusals > maxRefusals {
		return fmt.Errorf("the target refused %d messages in a row, the last: %w", c.refusals, err)
	}
	reason := Refused
	if r.Code == "TOOBIG" {
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

// onceMore appends a message that was refused, changed.
func (c *copier) onceMore(ctx context.Context, dst *session, p parcel, size int64) error {
	validity, out, err := dst.appendAll(c.job.st.Target, []parcel{p})
	if err != nil {
		return err
	}
	return c.settleOne(ctx, p, validity, out[0], size)
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
