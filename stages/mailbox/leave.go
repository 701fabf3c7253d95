package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// leaveFolders ends the folders that the source no longer has, once all that is
// there now has its place; what is below another goes before it. Of what folders
// were before they were made anew, this is the whole of apply, one after another:
// they share a place.
func (r *pass) leaveFolders(ctx context.Context) error {
	var ended []*job
	for _, j := range r.jobs {
		if j.scanned && !j.here && !r.Options.CatchUp {
			ended = append(ended, j)
		}
	}
	slices.SortStableFunc(ended, func(a, b *job) int { return cmp.Compare(len(b.st.Target), len(a.st.Target)) })
	for _, j := range ended {
		var err error
		if j.st.Nameless {
			err = r.lanes[0].apply(ctx, j)
		}
		if err == nil {
			err = r.leave(ctx, j)
		}
		if err != nil {
			return fmt.Errorf("folder %q: %w", safe(j.name), err)
		}
	}
	return nil
}

// leave ends a folder of which nothing is left at the source: the target's is
// deleted if Godwit made it and it is empty.
func (r *pass) leave(ctx context.Context, j *job) error {
	if j.st.Created && j.exists {
		if err := r.deleteEmpty(j); err != nil {
			return err
		}
	}
	names := slices.DeleteFunc(slices.Clone(r.names), func(n string) bool { return n == j.key })
	changes := map[string][]byte{folderKey(j.key): nil, mapKey(j.key): nil, "folders": saveNames(names)}
	if err := forgetProofs(ctx, r.Store, j.key, j.st.next, changes); err != nil {
		return err
	}
	if err := put(ctx, r.Store, changes); err != nil {
		return err
	}
	r.names, j.left = names, true
	return nil
}

// deleteEmpty looks right before: what arrives in between goes with the folder.
func (r *pass) deleteEmpty(j *job) error {
	wire := j.st.Target
	if r.hasChildren(wire) {
		return nil
	}
	if err := r.unselect(wire); err != nil {
		return err
	}
	dst, err := r.lanes[0].target()
	if err != nil {
		return err
	}
	counts, err := dst.status([]string{wire})
	if err != nil {
		return err
	}
	if b, ok := counts[wire]; !ok || b.messages != 0 || b.validity != j.st.TargetValidity {
		return nil
	}
	q, _ := quote(wire)
	_, err = dst.w.do("DELETE "+q, &exchange{})
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	r.place.existing = slices.DeleteFunc(r.place.existing, func(e listed) bool { return e.wire == wire })
	for _, o := range r.jobs { // one of before, whose turn comes later
		o.exists = o.exists && o.st.Target != wire
	}
	return nil
}

func (r *pass) hasChildren(wire string) bool {
	for _, l := range r.place.existing {
		if _, in := renamedTo(l.wire, wire, "", r.place.space.delim); in && l.wire != wire {
			return true
		}
	}
	return slices.ContainsFunc(r.jobs, func(j *job) bool {
		_, in := renamedTo(j.st.Target, wire, "", r.place.space.delim)
		return j.here && in
	})
}

// unselect leaves a folder of the target, and what is below it, on all
// connections, none of which is at work: to who has a folder open that another
// connection deletes or renames, Dovecot says BYE.
func (r *pass) unselect(wire string) error {
	for _, l := range append(slices.Clone(r.lanes), r.reader) {
		if l.signsIn != nil {
			select {
			case <-l.signsIn:
			default:
				continue
			}
		}
		if l.dst == nil || l.dst.last == nil || l.dst.w.failure() != nil {
			continue
		}
		if _, in := renamedTo(l.dst.last.name, wire, "", r.place.space.delim); !in {
			continue
		}
		if err := l.dst.unselect(); err != nil && !lost(err) {
			return err
		}
	}
	return nil
}

// unselect leaves the open folder, removing nothing (RFC 3691). Without UNSELECT
// another is opened for reading only, which CLOSE removes nothing from.
func (s *session) unselect() (err error) {
	command := "UNSELECT"
	if !s.has("UNSELECT") {
		command = "CLOSE"
		_, err = s.examine("INBOX")
	}
	if err == nil {
		s.box, s.opening, s.last = box{}, nil, nil
		_, err = s.w.do(command, &exchange{})
	}
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return nil
	}
	return err
}
