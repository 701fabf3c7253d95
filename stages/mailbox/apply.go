package mailbox

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// apply brings one folder of the target up to the source: what it holds
// already is noted, what is new is copied, flags are carried, and what Godwit
// put there and the source no longer has is deleted.
func (l *lane) apply(ctx context.Context, j *job) error {
	if !j.scanned || j.here && j.st.Target == "" || !j.here && l.pass.Options.CatchUp {
		return nil
	}
	if err := l.transferAll(ctx, j); err != nil {
		return err
	}
	if !l.pass.Options.CatchUp {
		if err := l.carryFlags(j); err != nil {
			return err
		}
		if err := l.removeGone(ctx, j); err != nil {
			return err
		}
	}
	return l.finish(ctx, j)
}

// transferAll copies what is new: what is held in memory, and then the rest,
// part by part.
func (l *lane) transferAll(ctx context.Context, j *job) error {
	for {
		if err := l.transfer(ctx, j); err != nil {
			return err
		}
		if j.fresh = nil; len(j.ahead) == 0 {
			return nil
		}
		j.target.next = max(j.target.next, j.st.uids.end())
		if err := l.more(j); err != nil {
			return err
		}
	}
}

// more fetches what there is to know of the next new messages.
func (l *lane) more(j *job) error {
	uids := j.ahead.take(window)
	for try := 0; ; try++ {
		list, err := l.details(j, uids)
		if err == nil {
			j.fresh = list
			return nil
		}
		if !lost(err) || errors.Is(err, ErrBusy) || try >= 2 {
			return err
		}
	}
}

func (l *lane) details(j *job, uids []uint32) ([]meta, error) {
	src, err := l.source()
	if err != nil {
		return nil, err
	}
	if b, err := src.opened(j.source.wire, false); err != nil {
		return nil, err
	} else if b.validity != j.box.validity {
		return nil, errRenumbered
	}
	return src.details(uids)
}

// carryFlags sends the flags that came and went at the source.
func (l *lane) carryFlags(j *job) error {
	type step struct{ add, remove string }
	steps := map[step][]uint32{}
	for _, c := range j.changes {
		if c.target == 0 {
			continue
		}
		add, remove := difference(j.st.FlagSets[c.from], j.st.FlagSets[c.to])
		s := step{strings.Join(add, " "), strings.Join(remove, " ")}
		steps[s] = append(steps[s], c.target)
	}
	if len(steps) > 0 {
		dst, err := l.openTarget(j, true)
		if err != nil {
			return err
		}
		for s, uids := range steps {
			slices.Sort(uids)
			add, dropped := l.pass.place.space.keepFlags(s.add, dst.box.permanent)
			remove, _ := l.pass.place.space.keepFlags(s.remove, dst.box.permanent)
			for _, f := range dropped {
				j.st.note(Skipped{Folder: j.name, Reason: KeywordDropped, Detail: safe(f)})
			}
			if err := dst.store(uids, "+", add); err != nil {
				return err
			}
			if err := dst.store(uids, "-", remove); err != nil {
				return err
			}
		}
	}
	to := make(map[uint32]uint32, len(j.changes))
	uids := make([]uint32, 0, len(j.changes))
	for _, c := range j.changes {
		to[c.source] = c.to
		uids = append(uids, c.source)
	}
	slices.Sort(uids)
	j.st.uids.edit(uids, func(e *entry) bool { e.flags = to[e.source]; return true })
	l.pass.count(func(r *Result) { r.Updated += len(to) })
	return nil
}

// store changes flags of messages in the open folder of the target.
func (s *session) store(uids []uint32, sign, flags string) error {
	if flags == "" || len(uids) == 0 {
		return nil
	}
	for _, set := range sets(uids) {
		if _, err := s.w.do("UID STORE "+set+" "+sign+"FLAGS.SILENT ("+flags+")", &exchange{}); err != nil {
			return err
		}
	}
	return nil
}

// removeGone deletes what Godwit put there and the source no longer has.
func (l *lane) removeGone(ctx context.Context, j *job) error {
	doomed := append([]uint32(nil), j.orphans...)
	for _, uid := range j.gone {
		if e, ok := j.st.uids.find(uid); ok && e.target != 0 {
			doomed = append(doomed, e.target)
		}
	}
	if len(doomed) > 0 && j.exists {
		dst, err := l.openTarget(j, true)
		if err != nil {
			return err
		}
		slices.Sort(doomed)
		// Forgotten before they are removed: what is not there any more, and in the
		// map, was removed by the target's user, and what it was is not carried again.
		changes := map[string][]byte{}
		j.st.forget(j.gone)
		j.st.Orphans = doomed
		j.save(changes)
		if err := put(ctx, l.pass.Store, changes); err != nil {
			return err
		}
		if err := dst.expunge(doomed); err != nil {
			return err
		}
		j.removed = append(j.removed, doomed...)
		l.pass.count(func(r *Result) { r.Deleted += len(doomed) })
	}
	j.st.Orphans = nil
	j.st.forget(j.gone)
	return nil
}

// forget drops source UIDs from the map.
func (st *folderState) forget(gone []uint32) {
	if len(gone) == 0 {
		return
	}
	before := st.uids.n
	slices.Sort(gone)
	st.uids.edit(gone, func(*entry) bool { return false })
	if before > 0 {
		st.Bytes = st.Bytes * int64(st.uids.n) / int64(before) // sizes are not kept
	}
}

// expunge removes messages from the open folder and no others: without UIDPLUS
// a plain EXPUNGE would also remove what the user has marked, so then the
// messages are only marked, unless nothing else is.
func (s *session) expunge(uids []uint32) error {
	if err := s.store(uids, "+", `\Deleted`); err != nil {
		return err
	}
	if s.has("UIDPLUS") {
		for _, set := range sets(uids) {
			if _, err := s.w.do("UID EXPUNGE "+set, &exchange{flood: flood + 2*len(uids)}); err != nil {
				return err
			}
		}
		return nil
	}
	list, err := s.metadata("1:*", flagItems)
	if err != nil {
		return err
	}
	ours := map[uint32]bool{}
	for _, u := range uids {
		ours[u] = true
	}
	for _, m := range list {
		if strings.Contains(m.flags, `\Deleted`) && !ours[m.uid] {
			return nil
		}
	}
	_, err = s.w.do("EXPUNGE", &exchange{flood: flood + 2*len(list)})
	return err
}

// finish writes down what the folder is known by from now on.
func (l *lane) finish(ctx context.Context, j *job) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := l.removeLate(j); err != nil {
		return err
	}
	if err := l.subscribed(j); err != nil {
		return err
	}
	st := j.st
	if !j.here {
		return nil // see leaveFolders
	}
	st.SourceValidity, st.Next, st.Messages = j.box.validity, j.box.next, uint32(j.seen)
	st.ModSeq = j.box.modseq
	if l.pass.Options.CatchUp && !l.pass.home {
		st.ModSeq = 0 // flags and deletions were not looked at
	}
	st.Complete, st.Matching = true, false
	if st.Tries++; !st.hasUnreadable() {
		st.Tries = 0
	}
	changes := map[string][]byte{}
	st.save(changes, j.key)
	return put(l.pass.ctx, l.pass.Store, changes)
}
