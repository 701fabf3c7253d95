package mailbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Examine signs in on both sides and looks, changing nothing.
func (p Pass) Examine(ctx context.Context) (Survey, error) {
	r, err := p.begin(ctx)
	if err != nil {
		return Survey{}, err
	}
	defer r.close()
	src, dst := r.lanes[0].src, r.lanes[0].dst
	out := Survey{SourceCaps: src.capabilities(), SourceKind: src.kind, TargetCaps: dst.capabilities(), TargetLimit: dst.appendLimit()}
	source, _, err := src.folders()
	if err != nil {
		return out, r.at(r.Source, err)
	}
	existing, sp, err := dst.folders()
	if err != nil {
		return out, r.at(r.Target, err)
	}
	r.place = place{space: sp, existing: existing}
	r.limit = messageLimit(r.Options.MaxMessage, dst)
	if err := r.quota(&out, dst); err != nil {
		return out, err
	}
	wanted, notCarried, foreign := r.Options.wanted(source)
	out.Findings = append(notCarried, foreign...)
	folders, err := r.mapAll(dst, wanted, nil)
	if err != nil {
		return out, r.at(r.Target, err)
	}
	for _, m := range folders {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if src, err = r.lanes[0].source(); err != nil {
			return out, err
		}
		if err := r.survey(&out, src, m); err != nil {
			return out, err
		}
	}
	return out, nil
}

// ExamineSource is Examine where the target has no mailbox yet: what its folders
// and its quota would say is not among the findings, only what its platform, as
// the plan has it, is known for.
func (p Pass) ExamineSource(ctx context.Context) (Survey, error) {
	_, release, err := takeSlots(ctx, need{p.Source.Server, 1})
	if err != nil {
		return Survey{}, err
	}
	r := &pass{Pass: p, ctx: ctx, release: release, reader: &lane{}, limit: p.Options.MaxMessage}
	r.lanes = []*lane{{pass: r}}
	defer r.close()
	src, err := r.lanes[0].sourceFirst(wish{folders: true})
	if err != nil {
		return Survey{}, err
	}
	out := Survey{SourceCaps: src.capabilities(), SourceKind: src.kind}
	source, _, err := src.folders()
	if err != nil {
		return out, r.at(r.Source, err)
	}
	wanted, notCarried, foreign := r.Options.wanted(source)
	out.Findings = append(notCarried, foreign...)
	var folders []mapping
	for _, l := range wanted {
		folders = append(folders, mapping{source: l, path: l.path})
	}
	if p.Target.Server != nil && p.Target.Server.Platform == kindZimbra {
		r.place = place{space: space{delim: "/", zimbra: true}, anyCase: true}
		folders = mapFolders(wanted, r.place, nil, p.Options.Rename)
	}
	for _, m := range folders {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if src, err = r.lanes[0].source(); err != nil {
			return out, err
		}
		if err := r.survey(&out, src, m); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (s *session) capabilities() []string {
	var out []string
	for c := range maps.Keys(s.caps) {
		out = append(out, string(c))
	}
	slices.Sort(out)
	return out
}

// survey counts one folder and finds what will not go over as it is.
func (r *pass) survey(out *Survey, src *session, m mapping) error {
	out.Folders++
	name := m.source.name()
	if m.renamed() {
		out.Findings = append(out.Findings, Skipped{Folder: name, Reason: FolderRenamed, Detail: shownPath(m.path)})
	}
	if m.source.told && m.source.box.messages == 0 {
		return nil
	}
	b, src, err := r.lanes[0].look(src, m.source.wire)
	if err != nil {
		if _, no := refused(err); no || errors.Is(err, errName) || errors.Is(err, errShut) {
			out.Findings = append(out.Findings, Skipped{Folder: name, Reason: Unreadable, Detail: err.Error()})
			return nil
		}
		return fmt.Errorf("folder %q: %w", safe(name), err)
	}
	if b.messages == 0 {
		return nil
	}
	var large, void []meta
	sp := r.place.space
	err = src.eachMeta("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)", func(msg meta) {
		out.Messages++
		out.Bytes += msg.size
		if _, dropped := sp.keepFlags(msg.flags, nil); len(dropped) > 0 {
			out.labels(name, dropped)
		}
		switch {
		case r.limit > 0 && msg.size > r.limit:
			large = append(large, msg)
		case sp.zimbra && msg.size == 0:
			void = append(void, msg)
		case sp.zimbra && msg.date != noDate && heldDate(msg.date) != msg.date:
			out.Findings = append(out.Findings, Skipped{Folder: name, UID: msg.uid, Date: msg.time(), Bytes: msg.size, Reason: Altered})
		}
	})
	for _, msg := range large {
		longer := true
		if err == nil && src.estimates() {
			longer, err = src.longer(msg.uid, r.limit)
		}
		if err == nil && longer {
			out.Findings = append(out.Findings, Skipped{Folder: name, UID: msg.uid, Date: msg.time(), Bytes: msg.size, Reason: TooLarge})
		}
	}
	for _, msg := range void { // or its size was not told
		var some bool
		if err == nil {
			some, err = src.longer(msg.uid, 0)
		}
		if err == nil && !some {
			out.Findings = append(out.Findings, Skipped{Folder: name, UID: msg.uid, Date: msg.time(), Reason: Refused})
		}
	}
	if err != nil {
		return fmt.Errorf("folder %q: %w", safe(name), err)
	}
	return nil
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

// quota asks what INBOX may hold.
func (r *pass) quota(out *Survey, dst *session) (err error) {
	out.Quota, out.Used, err = dst.storage()
	return err
}

// Quiet returns once the source's UIDNEXT, HIGHESTMODSEQ and counts have not
// changed for settle, or with the context's error.
func Quiet(ctx context.Context, source Endpoint, settle time.Duration) error {
	_, release, err := takeSlots(ctx, need{source.Server, 1})
	if err != nil {
		return err
	}
	defer release()
	s, err := open(ctx, source, wish{folders: true})
	if err != nil {
		return err
	}
	defer s.logout()
	pause := min(max(settle/4, 50*time.Millisecond), time.Second)
	var last string
	since := time.Now()
	for {
		list, _, err := s.folders()
		if err != nil {
			return fmt.Errorf("%s: %w", source.Server.Address, err)
		}
		if now := fingerprint(list); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) >= settle {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// fingerprint changes with every folder that does.
func fingerprint(list []listed) string {
	var b strings.Builder
	for _, l := range list {
		fmt.Fprintf(&b, "%q %d %d %d %d\n", l.wire, l.box.validity, l.box.next, l.box.messages, l.box.modseq)
	}
	return b.String()
}
