package mailbox

import (
	"context"
	"errors"
	"fmt"
)

var errRenumbered = errors.New("the source renumbered its messages while they were copied; the next pass matches them anew")

// scanAll scans the folders that may have changed. What LIST-STATUS shows to be
// unchanged costs nothing, not even a second connection.
func (r *pass) scanAll(ctx context.Context) error {
	var todo []*job
	for _, j := range r.jobs {
		open, err := r.Store.Get(ctx, intentKey(j.key))
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		if j.here && open == nil && j.unchanged() {
			j.seen = int(j.st.Messages)
			continue
		}
		todo = append(todo, j)
	}
	if len(todo) > 0 {
		r.spare(todo)
		r.foresee(todo)
	}
	former, todo := r.former(todo) // which those of now are held against
	if err := r.each(ctx, former, (*lane).scan); err != nil {
		return err
	}
	return r.each(ctx, todo, (*lane).scan)
}

// scan finds out what is new, gone and changed in a folder. It changes nothing
// but what a crash left open.
func (l *lane) scan(ctx context.Context, j *job) error {
	if err := j.st.load(ctx, l.pass.Store, j.key); err != nil {
		return err
	}
	if err := l.believe(ctx, j); err != nil {
		return err
	}
	if j.missed {
		j.st.note(Skipped{Folder: j.name, Reason: Removed, Detail: fmt.Sprintf("%d messages, with the folder", j.st.uids.live())})
		if err := l.left(ctx, j); err != nil { // also where the source has nothing new
			return err
		}
	}
	if err := l.settle(ctx, j); err != nil {
		return err
	}
	if !j.here {
		if j.vanish(); j.exists && !l.pass.Options.CatchUp {
			return l.findOrphans(j)
		}
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
	if j.seenBefore != nil && !j.isNew() { // what a crash left open has been settled meanwhile
		l.pass.unsee(j)
	}
	var b box
	if f := j.seenBefore; f != nil {
		b = f.opening.box
	} else {
		b, src, err = l.look(src, j.source.wire)
	}
	opened := j.st.SourceValidity != 0 // before, so it will do so again
	shut := errors.Is(err, errShut) && !opened
	_, no := refused(err)
	no = no && !errors.Is(err, ErrBusy)
	if no && opened && l.pass.Options.Final {
		return fmt.Errorf("the source opened it before and does not now; nobody is switched without it (to leave it out: copy.folders.exclude): %w", err)
	}
	if no || errors.Is(err, errName) || shut {
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
	if err := l.pass.madeAnew(ctx, j); err != nil {
		return err
	}
	if err := l.revalidate(ctx, j); err != nil {
		return err
	}
	if f := j.seenBefore; f != nil { // another folder is open now, and nothing is to be asked
		j.seen = f.differ.seen
		return nil
	}
	if err := l.diff(src, j); err != nil {
		return err
	}
	if !j.exists || l.pass.Options.CatchUp && len(l.pass.before(j)) == 0 {
		return nil
	}
	if from := j.unknownFrom(); from != 0 {
		if err := l.rematch(ctx, j, from); err != nil {
			return err
		}
	}
	return l.findOrphans(j)
}

// errShut is a folder that ends the connection each time it is opened: Exchange
// has had such, with a blank at the end of the name.
var errShut = errors.New("the connection ends when the folder is opened")

// look opens a folder of the source, on a new connection where the first is lost.
// A server that is silent too long is slow, or not well: that says nothing of the
// folder.
func (l *lane) look(src *session, wire string) (box, *session, error) {
	b, err := src.examine(wire)
	if !lost(err) || errors.Is(err, ErrBusy) {
		return b, src, err
	}
	again, rerr := l.source()
	if rerr != nil {
		return b, src, err
	}
	if b, err = again.examine(wire); errors.Is(err, errClosed) && !errors.Is(err, ErrBusy) {
		err = fmt.Errorf("%w: %s", errShut, err.Error())
	}
	return b, again, err
}

// unchanged is what makes a pass with nothing to do cheap: LIST-STATUS has
// told all of it.
func (j *job) unchanged() bool {
	b, st := j.source.box, j.st
	there := j.exists && !st.rewound && j.target.validity == st.TargetValidity || !j.exists && st.Gone
	return st.Complete && !st.renamed && there && j.source.told && len(st.Orphans) == 0 && st.Resent == nil && !st.retries() &&
		b.validity == st.SourceValidity && b.next == st.Next && b.messages == st.Messages &&
		b.modseq != 0 && b.modseq == st.ModSeq
}

// left writes down that the target's user has removed the folder with all that
// was in it. What was read back stays known: it may move at the source.
func (l *lane) left(ctx context.Context, j *job) error {
	st := j.st
	p, err := loadProofs(ctx, l.pass.Store, j.key, st)
	if err != nil {
		return err
	}
	var all []uint32
	for e := range st.uids.all() {
		all = append(all, e.source)
	}
	st.uids.edit(all, func(e *entry) bool { e.target = 0; return true })
	st.TargetValidity, st.TargetNext, st.Gone, st.Orphans = 0, 0, true, nil
	p.TargetValidity, p.Seen = 0, seen{}
	changes := map[string][]byte{proofsKey(j.key): mustJSON(p)}
	st.save(changes, j.key)
	return put(ctx, l.pass.Store, changes)
}

// revalidate drops the map where either side has renumbered its messages, and
// writes that down before anything else is. On the way home what is not to be
// carried stays so, wherever that would go to.
func (l *lane) revalidate(ctx context.Context, j *job) error {
	st := j.st
	void := j.renumbered() || j.replaced()
	if j.box.validity == 0 {
		return errors.New("the source tells no UIDVALIDITY: its messages cannot be told apart")
	}
	if void {
		if j.replaced() {
			st.Orphans, st.TargetNext, st.rewound = nil, 0, false
		}
		var left uidMap
		for e := range st.uids.all() {
			if l.pass.home && !j.renumbered() && e.target == 0 {
				left.push(run{e.source, 0, 1, e.flags})
			}
		}
		st.uids, st.Skipped, st.Notes = left, nil, folderNotes(st.Notes)
		st.Bytes = 0
		st.Folded = st.next
	}
	st.SourceValidity = j.box.validity
	if j.exists {
		st.TargetValidity = j.target.validity
	} else {
		st.TargetValidity = 0
	}
	if !void {
		return nil
	}
	changes := map[string][]byte{}
	if err := forgetProofs(ctx, l.pass.Store, j.key, st.next, changes); err != nil {
		return err
	}
	changes[proofsKey(j.key)] = mustJSON(begin(st, st.next))
	j.save(changes)
	return put(ctx, l.pass.Store, changes)
}

// unknownFrom is the UID from which on the target's folder may hold what is new
// at the source, 0 for none. With a map, that is what was carried after a ledger
// was saved that is in its place again; without one, all.
func (j *job) unknownFrom() uint32 {
	st := j.st
	switch {
	case j.target.messages == 0:
	case st.Matching || st.uids.n == 0 && !st.Complete:
		return 1
	case st.TargetNext != 0 && j.target.next > st.TargetNext && len(j.fresh) > 0:
		return st.TargetNext
	}
	return 0
}

// renumbered tells whether the source has another folder than before, or has
// numbered its messages anew, which comes to the same: also where it was restored
// from a backup, and gives out UIDs again. One that shows nothing at all may be
// seen again as it was, and its map with it.
func (j *job) renumbered() bool {
	b, st := j.box, j.st
	return st.SourceValidity != 0 && (b.validity != st.SourceValidity || b.messages > 0 && b.next != 0 && b.next < st.Next)
}

// replaced tells so of the target.
func (j *job) replaced() bool {
	return j.st.TargetValidity != 0 && (!j.exists || j.st.rewound || j.st.TargetValidity != j.target.validity)
}

func folderNotes(notes []Skipped) (out []Skipped) {
	for _, n := range notes {
		if n.UID == 0 {
			out = append(out, n)
		}
	}
	return out
}

// vanish is the scan of a folder that the source no longer has. Of what the
// target has replaced nothing is known any more.
func (j *job) vanish() {
	if j.exists && j.replaced() {
		j.st.uids, j.st.Orphans = uidMap{}, nil
	}
	for e := range j.st.uids.all() {
		j.gone = append(j.gone, e.source)
	}
	j.st.Skipped, j.st.Notes = nil, nil
}

// checkDeletions stops the pass before anything is changed where more has
// vanished than a person wants to have deleted unseen.
func (r *pass) checkDeletions() error {
	var all, gone int
	for _, j := range r.jobs {
		live, vanished := len(j.st.Orphans)+j.st.uids.live(), len(j.orphans) // what was moved is no longer among the gone
		for _, uid := range j.gone {
			if e, ok := j.st.uids.find(uid); ok && e.target != 0 {
				vanished++
			}
		}
		all, gone = all+live, gone+vanished
		if tooMany(vanished, live, r.Options.MaxDelete) {
			return fmt.Errorf("%w: folder %q: %d of %d messages have vanished at the source (max_delete %g%%); nothing was changed",
				ErrTooManyDeletions, safe(j.name), vanished, live, 100*r.Options.MaxDelete)
		}
	}
	if gone > 0 && gone == all && r.Options.MaxDelete < 1 { // however few: a mailbox is seldom emptied, and a server often wrong
		return fmt.Errorf("%w: all %d messages have vanished at the source; nothing was changed", ErrTooManyDeletions, all)
	}
	return nil
}
