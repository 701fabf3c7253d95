package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// sight is a folder of the source as a survey sees it.
type sight struct {
	mapping
	part        Survey // of this folder
	large, void []meta // what may be too large for the target, or empty

	// Where it was asked for before its turn; see foresee.go.
	opening *opening
	listing *exchange
	seen    int
	err     error
}

// survey counts folders and finds what will not go over as it is. Many are asked
// for in one go; one that does not tell what it says it has is looked at by itself.
func (r *pass) survey(ctx context.Context, out *Survey, folders []mapping) error {
	for some := range slices.Chunk(folders, foreseeAtOnce) {
		src, err := r.lanes[0].source()
		if err != nil {
			return err
		}
		list := make([]*sight, len(some))
		for i, m := range some {
			if list[i] = (&sight{mapping: m}); !list[i].empty() && !src.strict() {
				r.askSight(src, list[i])
			}
		}
		for _, f := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.surveyOne(out, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *sight) empty() bool { return f.source.told && f.source.box.messages == 0 }

func (r *pass) askSight(src *session, f *sight) {
	f.opening = src.beginBox("EXAMINE", f.source.wire)
	f.listing = &exchange{flood: 10*int(f.source.box.messages) + flood, on: func(resp *response) {
		if m, ok := metaOf(resp); ok {
			f.seen++
			r.sees(f, m)
		}
	}}
	f.err = src.w.send("UID FETCH 1:* "+metaItems, f.listing)
}

// told tells whether all was seen that was asked for before.
func (f *sight) told() bool {
	if f.opening == nil || f.err != nil {
		return false
	}
	b, err := f.opening.wait()
	replies, lerr := f.listing.wait()
	return err == nil && lerr == nil && replies[0].err() == nil && f.seen == int(b.messages)
}

func (r *pass) surveyOne(out *Survey, f *sight) error {
	out.Folders++
	name := f.source.name()
	if f.renamed() {
		out.Findings = append(out.Findings, Skipped{Folder: name, Reason: FolderRenamed, Detail: shownPath(f.path)})
	}
	if f.empty() {
		return nil
	}
	if !f.told() {
		f = &sight{mapping: f.mapping}
		src, err := r.lanes[0].source()
		if err != nil {
			return err
		}
		b, src, err := r.lanes[0].look(src, f.source.wire)
		if _, no := refused(err); no || errors.Is(err, errName) || errors.Is(err, errShut) {
			out.Findings = append(out.Findings, Skipped{Folder: name, Reason: Unreadable, Detail: err.Error()})
			return nil
		}
		if err == nil && b.messages > 0 {
			err = src.eachMeta("1:*", metaItems, func(m meta) { r.sees(f, m) })
		}
		if err != nil {
			return fmt.Errorf("folder %q: %w", safe(name), err)
		}
	}
	if err := r.lookInto(f); err != nil {
		return fmt.Errorf("folder %q: %w", safe(name), err)
	}
	out.Messages += f.part.Messages
	out.Bytes += f.part.Bytes
	out.Findings = append(out.Findings, f.part.Findings...)
	return nil
}

// sees takes a message of the listing.
func (r *pass) sees(f *sight, m meta) {
	f.part.Messages++
	f.part.Bytes += m.size
	sp := r.place.space
	if _, dropped := sp.keepFlags(m.flags, nil); len(dropped) > 0 {
		f.part.labels(f.source.name(), dropped)
	}
	switch {
	case r.limit > 0 && m.size > r.limit:
		f.large = append(f.large, m)
	case sp.zimbra && m.size == 0:
		f.void = append(f.void, m)
	case sp.zimbra && m.date != noDate && heldDate(m.date) != m.date:
		f.finds(m, Altered)
	}
}

// lookInto looks at the messages whose size is in doubt.
func (r *pass) lookInto(f *sight) error {
	if len(f.large)+len(f.void) == 0 {
		return nil
	}
	src, err := r.lanes[0].source()
	if err != nil {
		return err
	}
	if src.estimates() || len(f.void) > 0 {
		if _, err := src.opened(f.source.wire, false); err != nil { // another may be open by now
			return err
		}
	}
	for _, m := range f.large {
		longer := true
		if src.estimates() {
			if longer, err = src.longer(m.uid, r.limit); err != nil {
				return err
			}
		}
		if longer {
			f.finds(m, TooLarge)
		}
	}
	for _, m := range f.void { // or its size was not told
		some, err := src.longer(m.uid, 0)
		if err != nil {
			return err
		}
		if !some {
			f.finds(m, Refused)
		}
	}
	return nil
}

func (f *sight) finds(m meta, reason Reason) {
	f.part.Findings = append(f.part.Findings, Skipped{Folder: f.source.name(), UID: m.uid, Date: m.time(), Bytes: m.size, Reason: reason})
}

// labels notes keywords that the target cannot hold, once per folder each.
func (s *Survey) labels(folder string, dropped []string) {
	for _, f := range dropped {
		one := Skipped{Folder: folder, Reason: KeywordDropped, Detail: safe(f)}
		if !slices.Contains(s.Findings, one) {
			s.Findings = append(s.Findings, one)
		}
	}
}
