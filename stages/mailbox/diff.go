package mailbox

import (
	"slices"
	"strconv"
	"strings"
)

// What a pass holds of new messages in memory, over all folders; of the others
// it holds the UIDs, as ranges, and asks for the rest when their turn comes.
const window = 20000

// differ holds a listing of the source against the map while it comes in: what
// is new, what is gone, whose flags changed. The listing is never in memory as
// a whole.
type differ struct {
	st      *folderState
	fresh   func(meta)
	watched map[uint32]bool // messages named in reports -> still there
	settled map[uint32]bool // named, and not to be tried again

	run, at  int // next entry of the map
	last     uint32
	seen     int
	gone     []uint32
	changes  []change
	disorder bool // the server lists them in no order: the result is void
}

// see takes the next message of the listing.
func (d *differ) see(m meta) {
	if m.uid <= d.last {
		d.disorder = true
	}
	if d.disorder {
		return
	}
	d.last = m.uid
	d.seen++
	if _, ok := d.watched[m.uid]; ok {
		d.watched[m.uid] = true
	}
	e, mapped := d.upTo(m.uid)
	if !mapped {
		if !d.settled[m.uid] {
			d.fresh(m)
		}
		return
	}
	if c, ok := d.st.changed(e, m.flags); ok {
		d.changes = append(d.changes, c)
	}
}

// upTo passes the entries below a UID, which are gone, and returns its own.
func (d *differ) upTo(uid uint32) (e entry, ok bool) {
	for runs := d.st.uids.runs; d.run < len(runs); {
		e = runs[d.run].at(uint32(d.at))
		if e.source > uid {
			return e, false
		}
		if d.at++; d.at == int(runs[d.run].n) {
			d.run, d.at = d.run+1, 0
		}
		if e.source == uid {
			return e, true
		}
		d.gone = append(d.gone, e.source)
	}
	return e, false
}

// end takes the end of the listing.
func (d *differ) end() { d.upTo(1<<32 - 1) }

// diff compares the folder with the map, with as little listing as the server
// allows.
func (l *lane) diff(src *session, j *job) error {
	st := j.st
	if st.Complete && st.ModSeq != 0 && j.box.modseq >= st.ModSeq && st.Next != 0 { // else they were lost, and count anew
		done, err := l.diffSince(src, j)
		if done || err != nil {
			return err
		}
	}
	items := metaItems
	if st.uids.n > 0 {
		items = flagItems // dates and sizes matter for new ones only
	}
	d, err := l.list(src, j, items, (*session).eachMeta)
	if err != nil {
		return err
	}
	if d.disorder {
		j.fresh, j.ahead = nil, nil
		sorted := func(s *session, set, items string, f func(meta)) error {
			list, err := s.metadata(set, items)
			for _, m := range list {
				f(m)
			}
			return err
		}
		if d, err = l.list(src, j, items, sorted); err != nil {
			return err
		}
	}
	j.gone, j.changes, j.seen = d.gone, d.changes, d.seen
	st.prune(d.watched, d.settled)
	if len(j.ahead) > 0 && len(j.fresh) == 0 {
		return l.more(j)
	}
	return nil
}

// list holds all of the folder against the map.
func (l *lane) list(src *session, j *job, items string, each func(*session, string, string, func(meta)) error) (*differ, error) {
	d := &differ{st: j.st}
	d.watched, d.settled = j.st.named(l.pass.limit, j.st.retries())
	d.fresh = func(m meta) {
		if items == flagItems {
			j.ahead.add(m.uid)
			return
		}
		l.pass.hold(j, m)
	}
	if j.box.messages > 0 {
		if err := each(src, "1:*", items, d.see); err != nil {
			return nil, err
		}
	}
	d.end()
	return d, nil
}

// hold keeps a new message in memory, or, where there are too many, its UID.
func (r *pass) hold(j *job, m meta) {
	if len(j.ahead) == 0 && r.held.Add(1) <= window {
		j.fresh = append(j.fresh, m)
		return
	}
	j.ahead.add(m.uid)
}

// details are dates, sizes and flags of messages.
func (s *session) details(uids []uint32) (out []meta, err error) {
	for _, set := range sets(uids) {
		part, err := s.metadata(set, metaItems)
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

// diffSince uses CONDSTORE: changed flags, then new messages, and what is gone
// by QRESYNC or, only where the count shows that some are, by the list of UIDs.
// It is not done where the numbers do not add up.
func (l *lane) diffSince(src *session, j *job) (done bool, err error) {
	st := j.st
	for _, s := range st.Skipped {
		if s.UID != 0 && (s.Reason == Unreadable || s.Reason == TooLarge) {
			return false, nil // a full listing decides whether they are tried again
		}
	}
	var changes []change
	var vanished spans
	if j.box.modseq != st.ModSeq && st.uids.n > 0 {
		vanished, err = src.since(st.ModSeq, func(m meta) {
			if e, ok := st.uids.find(m.uid); ok {
				if c, ok := st.changed(e, m.flags); ok {
					changes = append(changes, c)
				}
			}
		})
		if err != nil {
			return false, err
		}
	}
	fresh := 0
	if j.box.messages > 0 && j.box.next != st.Next {
		last, ordered := uint32(0), true
		err := src.eachMeta(strconv.FormatUint(uint64(st.Next), 10)+":*", metaItems, func(m meta) {
			if _, mapped := st.uids.find(m.uid); m.uid < st.Next || mapped { // "n:*" also gives the last one below n
				return
			}
			if ordered = ordered && m.uid > last; ordered {
				last = m.uid
				fresh++
				l.pass.hold(j, m)
			}
		})
		if err != nil {
			return false, err
		}
		if !ordered {
			j.fresh, j.ahead = nil, nil
			return false, nil
		}
	}
	named := 0
	for _, s := range st.Skipped {
		if s.UID != 0 {
			named++
		}
	}
	gone := st.uids.within(vanished)
	if st.uids.n-len(gone)+fresh+named != int(j.box.messages) {
		d := &differ{st: st, fresh: func(meta) {}}
		if err := src.eachMeta("1:*", "(UID)", func(m meta) { d.see(meta{uid: m.uid, flags: unknownFlags}) }); err != nil {
			return false, err
		}
		d.end()
		if gone = d.gone; d.disorder || st.uids.n-len(gone)+fresh+named != d.seen {
			j.fresh, j.ahead = nil, nil
			return false, nil // something else happened: look at everything
		}
	}
	j.gone, j.changes, j.seen = gone, slices.DeleteFunc(sortChanges(changes), func(c change) bool {
		_, isGone := slices.BinarySearch(gone, c.source)
		return isGone
	}), int(j.box.messages)
	return true, nil
}

// since lists the flags that changed and, with QRESYNC, the UIDs that are gone
// (RFC 7162, 3.2.6).
func (s *session) since(modseq uint64, f func(meta)) (vanished spans, err error) {
	items := flagItems + " (CHANGEDSINCE " + strconv.FormatUint(modseq, 10)
	if s.qresync {
		items += " VANISHED"
	}
	var earlier []string
	x := &exchange{flood: 10*int(s.box.messages) + flood, on: func(r *response) {
		if m, ok := metaOf(r); ok {
			f(m)
		}
		if r.word == "VANISHED" {
			if t := r.tokens(); len(t) == 2 && t[0].kind == 'l' { // (EARLIER); without, it is news
				earlier = append(earlier, t[1].text)
			}
		}
	}}
	_, err = s.w.do("UID FETCH 1:* "+items+")", x)
	return parseSpans(strings.Join(earlier, ",")), err
}
