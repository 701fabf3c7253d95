package mailbox

import (
	"context"
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
	return out, r.survey(ctx, &out, folders)
}

// ExamineSource is Examine where the target has no mailbox yet: what its folders
// and its quota would say is not among the findings, only what its platform, as
// the plan has it, is known for.
func (p Pass) ExamineSource(ctx context.Context) (Survey, error) {
	_, taken, err := takeSlots(ctx, need{p.Source.Server, 1})
	if err != nil {
		return Survey{}, err
	}
	r := &pass{Pass: p, ctx: ctx, release: taken.release, reader: &lane{}, limit: p.Options.MaxMessage}
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
	return out, r.survey(ctx, &out, folders)
}

func (s *session) capabilities() []string {
	var out []string
	for c := range maps.Keys(s.caps) {
		out = append(out, string(c))
	}
	slices.Sort(out)
	return out
}

// quota asks what INBOX may hold.
func (r *pass) quota(out *Survey, dst *session) (err error) {
	out.Quota, out.Used, err = dst.storage()
	return err
}

// Quiet returns once the source's UIDNEXT, HIGHESTMODSEQ and counts have not
// changed for settle, or with the context's error.
func Quiet(ctx context.Context, source Endpoint, settle time.Duration) error {
	_, taken, err := takeSlots(ctx, need{source.Server, 1})
	if err != nil {
		return err
	}
	defer taken.release()
	s, err := open(ctx, source, wish{folders: true})
	if err != nil {
		return err
	}
	defer s.logout()
	pause := min(max(settle/4, 50*time.Millisecond), time.Second)
	var last string
	var since time.Time
	for {
		asked := time.Now()
		list, _, err := s.folders()
		if err != nil {
			return fmt.Errorf("%s: %w", source.Server.Address, err)
		}
		if now := fingerprint(list); now != last {
			last, since = now, time.Now()
		} else if asked.Sub(since) >= settle {
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
