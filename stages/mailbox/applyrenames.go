package mailbox

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// renameFolders gives the target's folders the names that the source's have
// now, parents first, because what is below follows. It is called before
// anything is copied, and once more in the end, when a name may have become
// free. One that the target does not rename keeps its name, and that is noted.
func (r *pass) renameFolders(ctx context.Context) error {
	var todo []*job
	for _, j := range r.jobs {
		if j.here && j.exists && j.scanned && j.wants != "" {
			todo = append(todo, j)
		}
	}
	slices.SortFunc(todo, func(a, b *job) int {
		return cmp.Or(cmp.Compare(len(a.wants), len(b.wants)), cmp.Compare(a.wants, b.wants))
	})
	for _, j := range todo {
		if err := r.makeWay(ctx, j, todo); err != nil {
			return err
		}
		if err := r.renameFolder(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// makeWay gives what stands where a folder is to go, and is to go elsewhere
// itself, a name for the meantime: two may have swapped theirs. So it does with
// a folder that is to go below its own place.
func (r *pass) makeWay(ctx context.Context, j *job, todo []*job) error {
	for _, o := range todo {
		old := o.st.Target
		in := r.place.find(j.wants)
		_, below := renamedTo(j.wants, j.st.Target, "", r.place.space.delim)
		if blocks := in != nil && in.wire == old || o == j && below; !blocks || old == o.wants {
			continue
		}
		dst, err := r.lanes[0].target()
		if err != nil {
			return err
		}
		wire := r.place.space.join(mapper{target: r.place, used: r.taken(nil)}.free(r.place.space.split(old)))
		no, err := r.renameAt(ctx, dst, renaming{url.PathEscape(old), url.PathEscape(wire), o.st.TargetValidity})
		if err == nil && !no {
			err = r.goWith(ctx, old, wire)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *pass) renameFolder(ctx context.Context, j *job) error {
	old, wire := j.st.Target, j.wants
	if old == wire { // it came with its parent
		j.st.Renamed = false
		j.path = r.place.space.split(wire)
		j.noteName()
		return nil
	}
	taken := r.place.find(wire) != nil // then it may be free in the end, or in the next pass
	dst, err := r.lanes[0].target()
	if err != nil {
		return err
	}
	if !taken {
		j.st.Renamed = false
		if taken, err = r.renameAt(ctx, dst, renaming{url.PathEscape(old), url.PathEscape(wire), j.st.TargetValidity}); err != nil {
			return err
		}
	}
	if taken {
		j.path = r.place.space.split(old)
		j.noteName()
		for _, other := range r.jobs { // new folders under the old name
			if _, below := renamedTo(other.st.Target, old, wire, r.place.space.delim); below && !other.placed && other.here && !other.exists {
				other.path = mapper{target: r.place, used: r.taken(other)}.free(other.path)
				other.st.Target = r.place.space.join(other.path)
			}
		}
		return nil
	}
	j.path = r.place.space.split(wire)
	j.noteName()
	r.count(func(res *Result) { res.Renamed++ })
	if err := r.goWith(ctx, old, wire); err != nil {
		return err
	}
	counts, err := dst.status([]string{wire})
	if err != nil {
		return err
	}
	if b := counts[wire]; b.validity != j.st.TargetValidity {
		return errReplaced // the next pass matches by content
	}
	return nil
}

// goWith writes down where all is that went with a RENAME.
func (r *pass) goWith(ctx context.Context, old, wire string) error {
	changes := map[string][]byte{"renaming": nil}
	for _, other := range r.jobs {
		if t, ok := renamedTo(other.st.Target, old, wire, r.place.space.delim); ok && !other.left && (other.placed || !other.here) {
			other.st.Target = t
			other.st.save(changes, other.key)
		}
	}
	for i, l := range r.place.existing {
		if t, ok := renamedTo(l.wire, old, wire, r.place.space.delim); ok {
			r.place.existing[i].wire = t
		}
	}
	return put(ctx, r.Store, changes)
}

// renaming is what the ledger knows of a RENAME on its way.
type renaming struct {
	From, To string // on the target's wire, percent-encoded
	Validity uint32
}

// renameAt sends the RENAME; refused is no error.
func (r *pass) renameAt(ctx context.Context, dst *session, it renaming) (no bool, err error) {
	if err := put(ctx, r.Store, map[string][]byte{"renaming": mustJSON(it)}); err != nil {
		return false, err
	}
	old, _ := url.PathUnescape(it.From)
	wire, _ := url.PathUnescape(it.To)
	if err := r.unselect(old); err != nil {
		return false, err
	}
	from, _ := quote(old)
	to, ok := quote(wire)
	if ok {
		_, err = dst.w.do("RENAME "+from+" "+to, &exchange{})
	}
	if _, no = refused(err); no && !errors.Is(err, ErrBusy) || !ok {
		return true, put(ctx, r.Store, map[string][]byte{"renaming": nil})
	}
	return false, err
}

// renamedTo is where a folder of the target is after a RENAME, with all below.
func renamedTo(wire, old, name, delim string) (string, bool) {
	if wire == old {
		return name, true
	}
	rest, below := strings.CutPrefix(wire, old+delim)
	return name + delim + rest, below && delim != ""
}

// settleRename finds out whether a RENAME that a crash cut short was done.
func (r *pass) settleRename(ctx context.Context, states map[string]*folderState, keys map[string]string, nameless []*job) error {
	var it renaming
	found, err := getJSON(ctx, r.Store, "renaming", &it)
	if err != nil || !found {
		return err
	}
	old, _ := url.PathUnescape(it.From)
	wire, _ := url.PathUnescape(it.To)
	done := false
	for _, l := range r.place.existing {
		if l.wire == old {
			done = false
			break
		}
		done = done || l.wire == wire && l.box.validity == it.Validity
	}
	changes := map[string][]byte{"renaming": nil}
	follow := func(st *folderState, key string) {
		if t, ok := renamedTo(st.Target, old, wire, r.place.space.delim); ok && done {
			st.Target = t
			st.save(changes, key)
		}
	}
	for name, st := range states {
		follow(st, keys[name])
	}
	for _, j := range nameless {
		follow(j.st, j.key)
	}
	return put(ctx, r.Store, changes)
}
