package mailbox

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"
)

// settle resolves what a crash left open in a folder: the intent says which
// messages may have been appended, and from which UID on they would stand. Only
// the target's end is looked at, and the content decides.
func (l *lane) settle(ctx context.Context, j *job) error {
	var it intent
	found, err := getJSON(ctx, l.pass.Store, intentKey(j.key), &it)
	if err != nil || !found {
		return err
	}
	sent, err := l.sent(ctx, j, it)
	if err != nil {
		return err
	}
	rec, err := l.arrived(ctx, j, it, sent)
	if err != nil && !errors.Is(err, errReplaced) { // of a replaced folder nothing is known: it is matched anew
		return err
	}
	var missing []uint32
	for _, source := range it.Sources {
		if !slices.Contains(rec.Sources, source) {
			missing = append(missing, source)
		}
	}
	if len(missing) > 0 {
		j.resend(it.Next, missing)
	}
	changes := map[string][]byte{intentKey(j.key): nil}
	if len(rec.Sources) > 0 {
		changes[recordKey(j.key, j.st.next)] = mustJSON(rec)
	}
	if err := put(ctx, l.pass.Store, changes); err != nil {
		return err
	}
	if len(rec.Sources) > 0 {
		j.st.fold(rec)
		j.st.next++
		l.pass.count(func(r *Result) { r.Copied += len(rec.Sources) })
	}
	return nil
}

// sent reads what stands for the messages an intent speaks of, from the source.
// Where the source no longer has them, there are none.
func (l *lane) sent(ctx context.Context, j *job, it intent) (map[uint32][]byte, error) {
	if !j.here {
		return nil, nil
	}
	src, err := l.source()
	if err != nil {
		return nil, err
	}
	b, err := src.examine(j.source.wire)
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return nil, nil
	}
	if err != nil || b.validity != j.st.SourceValidity {
		return nil, err
	}
	return src.signs(ctx, it.Sources, src.rerenders())
}

// arrived is reconcile after a connection was lost, with or without ourselves:
// the server may still be at work on what it had read. So what has not arrived
// is looked for again, until nothing has come for a while.
func (l *lane) arrived(ctx context.Context, j *job, it intent, sent map[uint32][]byte) (record, error) {
	linger := l.pass.Target.Server.linger()
	began, found := time.Now(), 0
	for {
		rec, err := l.reconcile(ctx, j, it, sent)
		if err != nil || len(rec.Sources) == len(it.Sources) || time.Since(began) > linger {
			return rec, err
		}
		if len(rec.Sources) > found {
			began, found = time.Now(), len(rec.Sources)
		}
		select {
		case <-time.After(linger / 8):
		case <-ctx.Done():
			return rec, ctx.Err()
		}
	}
}

// linger is how long a server may take over commands that it had read before
// the connection was lost.
func (s *Server) linger() time.Duration {
	if s.Linger > 0 {
		return s.Linger
	}
	stall := s.Stall
	if stall <= 0 {
		stall = defaultStall
	}
	return min(stall/20, time.Second)
}

// reconcile looks at the target from the intent's UIDNEXT on and finds the
// messages that arrived. sent holds the digests of the sources; a source
// without one is told by size and date.
func (l *lane) reconcile(ctx context.Context, j *job, it intent, sent map[uint32][]byte) (rec record, err error) {
	dst, err := l.target()
	if err != nil {
		return rec, err
	}
	b, err := dst.examine(j.st.Target)
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return rec, nil // the folder was not even made
	}
	if err == nil && b.validity != it.Validity {
		err = errReplaced // and may hold them all the same
	}
	if err != nil || b.messages == 0 {
		return rec, err
	}
	from := it.Next
	mapped := j.st.uids.targets()
	if b.next != 0 && b.next < from { // it said OK to messages that it never stored: their UIDs may be others' now
		from, mapped = 1, spans{}
	}
	list, err := dst.metadata(strconv.FormatUint(uint64(from), 10)+":*", metaItems)
	if err != nil {
		return rec, err
	}
	t := tail{metas: map[uint32]meta{}, dates: map[uint32]int64{}}
	for _, m := range list {
		if m.uid >= from && !mapped.has(m.uid) {
			t.uids = append(t.uids, m.uid)
			t.metas[m.uid], t.dates[m.uid] = m, m.date
		}
	}
	if len(t.uids) == 0 {
		return rec, nil
	}
	pairs, err := t.pair(ctx, dst, it, sent)
	if err != nil {
		return rec, err
	}
	for i, source := range it.Sources {
		target, ok := pairs[source]
		if _, carried := j.st.uids.find(source); ok && !carried {
			rec.Sources = append(rec.Sources, source)
			rec.Targets = append(rec.Targets, target)
			rec.Flags = append(rec.Flags, it.Flags[i])
			rec.Digests = append(rec.Digests, contentOnly(sent[source]))
			rec.Dates = append(rec.Dates, it.Dates[i])
			rec.Bytes += it.Sizes[i]
		}
	}
	return rec, nil
}
