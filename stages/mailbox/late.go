package mailbox

import "slices"

// A server may still be at work on commands that it had read when their
// connection was lost: longer than we wait, where it is under load. What was
// sent again is then stored twice. So the folder is looked at when it is through,
// and once more in the next pass, for messages that are nobody's.

// resent is what was sent again: messages that nothing at the target was known
// of, and from which UID on they would have stood.
type resent struct {
	Next    uint32
	Sources []uint32
}

// resend notes that messages are about to be sent again. It is written down
// with the folder's state, before they are.
func (j *job) resend(next uint32, sources []uint32) {
	r := j.st.Resent
	if r == nil {
		r = &resent{Next: next}
	}
	sources = append(slices.Clone(r.Sources), sources...)
	slices.Sort(sources)
	j.st.Resent = &resent{min(r.Next, next), slices.Compact(sources)}
	j.resent = true
}

// removeLate removes what arrived late of messages that were sent again: in
// content, size and date the same, not in the map, and no more of them than were
// sent again. It is only ever our own.
func (l *lane) removeLate(j *job) error {
	r := j.st.Resent
	if r == nil || !j.exists || l.pass.Options.CatchUp {
		return nil
	}
	doomed, err := l.late(j, r)
	if err != nil {
		return err
	}
	if len(doomed) > 0 {
		dst, err := l.openTarget(j, true)
		if err != nil {
			return err
		}
		if err := dst.expunge(doomed); err != nil {
			return err
		}
	}
	if !j.resent { // the pass after has looked as well
		j.st.Resent = nil
	}
	return nil
}

func (l *lane) late(j *job, r *resent) (doomed []uint32, err error) {
	dst, err := l.target()
	if err != nil {
		return nil, err
	}
	if b, err := dst.sel(j.st.Target); err != nil || b.messages == 0 || b.validity != j.st.TargetValidity {
		return nil, err
	}
	ours := map[uint32]bool{}
	for _, source := range r.Sources {
		if e, ok := j.st.uids.find(source); ok {
			ours[e.target] = true
		}
	}
	type shape struct{ size, date int64 }
	shapes := map[shape]bool{}
	mapped := j.st.uids.targets()
	var known, strange []meta
	err = dst.eachMeta((spans{{r.Next, 1<<32 - 1}}).sets()[0], "(UID INTERNALDATE RFC822.SIZE)", func(m meta) {
		switch {
		case ours[m.uid]:
			known = append(known, m)
			shapes[shape{m.size, m.date}] = true
		case m.uid >= r.Next && !mapped.has(m.uid):
			strange = append(strange, m)
		}
	})
	strange = slices.DeleteFunc(strange, func(m meta) bool { return !shapes[shape{m.size, m.date}] })
	if err != nil || len(strange) == 0 {
		return nil, err
	}
	var ask []uint32
	for _, m := range slices.Concat(known, strange) {
		ask = append(ask, m.uid)
	}
	slices.Sort(ask)
	digests, err := dst.digests(l.pass.ctx, ask)
	if err != nil {
		return nil, err
	}
	stock := map[string]int{}
	for _, m := range known {
		stock[string(digests[m.uid])]++
	}
	for _, m := range strange {
		if d := string(digests[m.uid]); d != "" && stock[d] > 0 {
			stock[d]--
			doomed = append(doomed, m.uid)
		}
	}
	slices.Sort(doomed)
	return doomed, nil
}
