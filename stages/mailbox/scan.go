package mailbox

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
)

// scanAll scans the folders that may have changed. What LIST-STATUS shows to be
// unchanged costs nothing, not even a second connection.
func (r *pass) scanAll(ctx context.Context) error {
	var todo []*job
	for _, j := range r.jobs {
		open, err := r.Store.Get(ctx, intentKey(j.source.wire))
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		if j.here && open == nil && j.unchanged() {
			j.seen = int(j.st.Messages)
			continue
		}
		todo = append(todo, j)
	}
	return r.each(ctx, todo, (*lane).scan)
}

// scan finds out what is new, gone and changed in a folder. It changes nothing
// but what a crash left open.
func (l *lane) scan(ctx context.Context, j *job) error {
	if err := l.settle(ctx, j); err != nil {
		return err
	}
	if !j.here {
		l.vanish(j)
		return nil
	}
	if j.unchanged() {
		j.seen = int(j.st.Messages)
		return nil
	}
	src, err := l.source()
	if err != nil {
		return err
	}
	b, err := src.examine(j.source.wire)
	if _, no := refused(err); (no && !errors.Is(err, ErrBusy)) || errors.Is(err, errName) {
		j.st.skip(Skipped{Folder: j.name, Reason: Unreadable, Detail: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	j.box, j.scanned = b, true
	if b.next == 0 {
		j.box.next = j.source.box.next
	}
	if err := j.revalidate(); err != nil {
		return err
	}
	if err := l.diff(src, j); err != nil {
		return err
	}
	if (j.reset || len(j.st.entries) == 0 && !j.st.Complete) && j.exists && j.target.messages > 0 && !l.pass.Options.CatchUp {
		return l.rematch(ctx, j)
	}
	return nil
}

// unchanged is what makes a pass with nothing to do cheap: LIST-STATUS has
// told all of it.
func (j *job) unchanged() bool {
	b, st := j.source.box, j.st
	return st.Complete && j.source.told && j.exists && len(st.Orphans) == 0 && !st.retries() &&
		b.validity == st.SourceValidity && b.next == st.Next && b.messages == st.Messages &&
		b.modseq != 0 && b.modseq == st.ModSeq && j.target.validity == st.TargetValidity
}

// revalidate drops the map where either side has renumbered its messages.
func (j *job) revalidate() error {
	st := j.st
	if j.box.validity == 0 {
		return errors.New("the source tells no UIDVALIDITY: its messages cannot be told apart")
	}
	sourceMoved := st.SourceValidity != 0 && st.SourceValidity != j.box.validity
	targetMoved := st.TargetValidity != 0 && (!j.exists || st.TargetValidity != j.target.validity)
	if sourceMoved || targetMoved {
		if !targetMoved {
			for _, e := range st.entries {
				if e.target != 0 {
					st.Orphans = append(st.Orphans, e.target)
				}
			}
		} else {
			st.Orphans = nil
		}
		st.entries, st.Skipped, st.Notes = nil, nil, folderNotes(st.Notes)
		st.Complete, j.reset = false, true
		for n := st.Verified; n < st.next; n++ {
			j.stale = append(j.stale, recordKey(j.source.wire, n))
		}
		st.Folded, st.Verified = st.next, st.next
	}
	st.SourceValidity = j.box.validity
	if j.exists {
		st.TargetValidity = j.target.validity
	} else {
		st.TargetValidity = 0
	}
	return nil
}

func folderNotes(notes []Skipped) (out []Skipped) {
	for _, n := range notes {
		if n.UID == 0 {
			out = append(out, n)
		}
	}
	return out
}

// diff compares the folder with the map, with as little listing as the server
// allows.
func (l *lane) diff(src *session, j *job) error {
	st := j.st
	if st.Complete && st.ModSeq != 0 && j.box.modseq != 0 && st.Next != 0 {
		done, err := l.diffSince(src, j)
		if done || err != nil {
			return err
		}
	}
	var list []meta
	var err error
	if j.box.messages > 0 {
		items := metaItems
		if len(st.entries) > 0 {
			items = flagItems // dates and sizes matter for new ones only
		}
		if list, err = src.metadata("1:*", items, 0); err != nil {
			return err
		}
	}
	j.seen = len(list)
	fresh, gone, changes := st.compare(list)
	present := func(uid uint32) bool {
		i := sort.Search(len(list), func(i int) bool { return list[i].uid >= uid })
		return i < len(list) && list[i].uid == uid
	}
	j.gone, j.changes = gone, changes
	fresh = st.settled(fresh, present, l.pass.limit, st.retries())
	if len(st.entries) > 0 && len(fresh) > 0 {
		if fresh, err = src.details(fresh); err != nil {
			return err
		}
	}
	j.fresh = fresh
	return nil
}

// details adds dates and sizes to the messages of a flag listing.
func (s *session) details(list []meta) (out []meta, err error) {
	uids := make([]uint32, len(list))
	for i, m := range list {
		uids[i] = m.uid
	}
	for _, set := range sets(uids) {
		part, err := s.metadata(set, metaItems, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

// diffSince uses CONDSTORE: changed flags, then new messages, and the list of
// UIDs only where the count shows that some are gone. It is not done where the
// numbers do not add up.
func (l *lane) diffSince(src *session, j *job) (done bool, err error) {
	st := j.st
	var changed []meta
	if j.box.modseq != st.ModSeq && len(st.entries) > 0 {
		if changed, err = src.metadata("1:*", flagItems, st.ModSeq); err != nil {
			return false, err
		}
	}
	var fresh []meta
	if j.box.messages > 0 && j.box.next != st.Next {
		list, err := src.metadata(strconv.FormatUint(uint64(st.Next), 10)+":*", metaItems, 0)
		if err != nil {
			return false, err
		}
		for _, m := range list { // "n:*" also gives the last one below n
			if m.uid >= st.Next && st.find(m.uid) < 0 {
				fresh = append(fresh, m)
			}
		}
	}
	known := len(st.entries) + len(fresh)
	for _, s := range st.Skipped {
		if s.UID != 0 {
			if s.Reason == Unreadable || s.Reason == TooLarge {
				return false, nil // a full listing decides whether they are tried again
			}
			known++
		}
	}
	var gone []uint32
	if known != int(j.box.messages) {
		uids, err := src.uids()
		if err != nil {
			return false, err
		}
		list := make([]meta, len(uids))
		for i, uid := range uids {
			list[i].uid = uid
		}
		_, gone, _ = st.compare(list)
		if len(st.entries)-len(gone)+len(fresh) != len(uids) {
			return false, nil // something else happened: look at everything
		}
	}
	for _, m := range changed {
		if i := st.find(m.uid); i >= 0 {
			if c, ok := st.changed(st.entries[i], m.flags); ok {
				j.changes = append(j.changes, c)
			}
		}
	}
	j.fresh, j.gone, j.seen = fresh, gone, int(j.box.messages)
	return true, nil
}

// vanish is the scan of a folder that the source no longer has.
func (l *lane) vanish(j *job) {
	for _, e := range j.st.entries {
		j.gone = append(j.gone, e.source)
	}
	j.st.Skipped, j.st.Notes = nil, nil
}

// checkDeletions stops the pass before anything is changed where more has
// vanished than a person wants to have deleted unseen.
func (r *pass) checkDeletions() error {
	for _, j := range r.jobs {
		live, vanished := len(j.st.Orphans), len(j.orphans) // what was moved is no longer among the gone
		for _, e := range j.st.entries {
			if e.target != 0 {
				live++
			}
		}
		for _, uid := range j.gone {
			if i := j.st.find(uid); i >= 0 && j.st.entries[i].target != 0 {
				vanished++
			}
		}
		if tooMany(vanished, live, r.Options.MaxDelete) {
			return fmt.Errorf("%w: folder %q: %d of %d messages have vanished at the source (max_delete %g%%); nothing was changed",
				ErrTooManyDeletions, safe(j.name), vanished, live, 100*r.Options.MaxDelete)
		}
	}
	return nil
}
