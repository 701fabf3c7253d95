package mailbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// createFolders makes the folders that the target lacks, and subscribes them
// as at the source, in as few round trips as there are tries.
func (r *pass) createFolders(ctx context.Context) error {
	dst, err := r.lanes[0].target()
	if err != nil {
		return err
	}
	var todo []*job
	var commands []string
	for _, j := range r.jobs {
		if j.here && j.scanned && !j.exists && !(j.st.Gone && !j.needed && len(j.fresh) == 0) {
			todo = append(todo, j)
			commands = append(commands, r.createCommand(dst, j))
		}
	}
	for _, j := range todo {
		q, _ := quote(j.st.Target)
		commands = append(commands, "STATUS "+q+" "+dst.statusItems())
	}
	if err := r.intendFolders(ctx, todo); err != nil {
		return err
	}
	counts := map[string]box{}
	replies, err := dst.w.doAll(commands, func(resp *response) {
		if b, ok := statusOf(resp); ok {
			counts[b.name] = b
		}
	})
	if err != nil {
		return err
	}
	for i, j := range todo {
		if err := r.created(dst, j, replies[i].err()); err != nil {
			return err
		}
	}
	if err := r.statusOfCreated(dst, todo, counts); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.subscribe(dst)
}

// intendFolders writes down which folders are about to be made, so that they
// are known for Godwit's own whatever happens then.
func (r *pass) intendFolders(ctx context.Context, todo []*job) error {
	changes := map[string][]byte{}
	for _, j := range todo {
		j.st.Created = true
		j.st.save(changes, j.key)
	}
	if len(changes) == 0 {
		return nil
	}
	return put(ctx, r.Store, changes)
}

func (r *pass) createCommand(dst *session, j *job) string {
	q, _ := quote(j.st.Target)
	if use := j.source.special; use != "" && dst.has("CREATE-SPECIAL-USE") && r.place.special(use) == nil {
		return "CREATE " + q + " (USE (" + strings.ToUpper(use[:2]) + use[2:] + "))"
	}
	return "CREATE " + q
}

// created judges the answer to CREATE. A refused name is tried again plainly
// and then as names that servers are known to take; a folder that cannot be
// made is named with all that is in it.
func (r *pass) created(dst *session, j *job, err error) error {
	if err == nil {
		j.made()
		return nil
	}
	if _, no := refused(err); !no || errors.Is(err, ErrBusy) || errors.Is(err, ErrOverQuota) {
		return err
	} else if r.targetUsed(j, j.st.Target) == nil {
		if counts, err := dst.status([]string{j.st.Target}); err != nil {
			return err
		} else if b, ok := counts[j.st.Target]; ok {
			return r.unlisted(j, b)
		}
	}
	m := mapper{target: r.place, used: r.taken(j)}
	planned := r.followed(j)
	for _, p := range append([][]string{planned}, m.variants(planned, j.own)...) {
		p = m.free(p)
		wire := r.place.space.join(p)
		q, ok := quote(wire)
		if m.used[m.key(p)] = true; !ok { // tried once
			continue
		}
		_, cerr := dst.w.do("CREATE "+q, &exchange{})
		if cerr == nil {
			r.elsewhere[shownPath(j.path)] = p
			j.st.Target, j.path = wire, p
			j.made()
			j.noteName()
			return nil
		}
		if _, no := refused(cerr); !no || errors.Is(cerr, ErrBusy) {
			return cerr
		}
	}
	j.st.Target, j.st.Created = "", false
	j.st.skip(Skipped{Folder: j.name, Reason: FolderRefused, Bytes: sizeOf(j.fresh), Detail: fmt.Sprintf("%d messages: %v", len(j.fresh)+j.ahead.count(), err)})
	return nil
}

// unlisted takes a folder of the target that is there although LIST did not show
// it. What it holds has to be matched first, or it would be copied twice.
func (r *pass) unlisted(j *job, b box) error {
	j.exists, j.target, j.st.TargetValidity, j.st.Created = true, b, b.validity, false
	if b.messages == 0 {
		return nil
	}
	if r.Options.CatchUp {
		return fmt.Errorf("folder %q: the target has it but did not list it", safe(j.name))
	}
	return r.lanes[0].rematch(r.ctx, j, 1)
}

// made notes that the folder is there now.
func (j *job) made() {
	j.exists, j.st.Created, j.st.Gone = true, true, false
	j.st.Skipped = slices.DeleteFunc(j.st.Skipped, func(s Skipped) bool { return s.UID == 0 && s.Reason == FolderRefused })
}

// followed is a folder's path with those above it where they really are.
func (r *pass) followed(j *job) []string {
	for i := len(j.path) - 1; i > 0; i-- {
		if to, ok := r.elsewhere[shownPath(j.path[:i])]; ok {
			j.own = len(to)
			return append(slices.Clone(to), j.path[i:]...)
		}
	}
	return j.path
}

// taken are the keys of the folders of the target that are not j's.
func (r *pass) taken(me *job) map[string]bool {
	used := map[string]bool{}
	for _, j := range r.jobs {
		if j != me && j.st.Target != "" && !(me != nil && me.succeeds(j)) {
			used[r.place.key(j.st.Target)] = true
		}
	}
	for _, l := range r.place.existing {
		used[r.place.key(l.wire)] = true
	}
	return used
}

func sizeOf(list []meta) (sum int64) {
	for _, m := range list {
		sum += m.size
	}
	return sum
}

// targetUsed finds the folder that goes to the same folder of the target,
// whatever the case: not every server tells its names apart by it.
func (r *pass) targetUsed(me *job, wire string) *job {
	blind := r.place
	blind.anyCase = true
	for _, j := range r.jobs {
		if j != me && !me.succeeds(j) && blind.key(j.st.Target) == blind.key(wire) {
			return j
		}
	}
	return nil
}

// statusOfCreated takes what counts tells of the new folders, and asks for what
// it does not: those that got another name.
func (r *pass) statusOfCreated(dst *session, todo []*job, counts map[string]box) error {
	var names []string
	for _, j := range todo {
		if _, told := counts[j.st.Target]; j.exists && !told {
			names = append(names, j.st.Target)
		}
	}
	more, err := dst.status(names)
	if err != nil {
		return err
	}
	maps.Copy(counts, more)
	for _, j := range todo {
		if b, ok := counts[j.st.Target]; ok && j.exists {
			j.target, j.st.TargetValidity = b, b.validity
		}
	}
	return nil
}
