package mailbox

import "context"

// tail is what stands at the end of a target's folder and is in no map.
type tail struct {
	uids  []uint32
	metas map[uint32]meta
	dates map[uint32]int64
	found map[uint32][]byte // digests of what the target gives
}

// pair finds the messages of an intent in the tail: source -> target. The
// content decides, read once more where it decides against what looks alike.
// Size and date decide where there is no content: the source has the message
// no longer, or the target shows it and does not give it. That it arrived is
// then believed, because verifying finds out a message too few, and nothing
// finds one too many.
func (t *tail) pair(ctx context.Context, dst *session, it intent, sent map[uint32][]byte) (map[uint32]uint32, error) {
	var err error
	anew := anyIdentity(sent)
	if t.found, err = dst.signs(ctx, t.uids, anew); err != nil {
		return nil, err
	}
	source := side{uids: it.Sources, digests: sent, dates: map[uint32]int64{}, flags: map[uint32]string{}}
	for i, uid := range it.Sources {
		source.dates[uid], source.flags[uid] = it.Dates[i], it.Flags[i]
	}
	pairs, used := t.byContent(source)
	var again []uint32
	for i, uid := range it.Sources {
		free := func(target uint32) bool { return !used[target] && t.found[target] != nil }
		if target := t.alike(it.Sizes[i], it.Dates[i], free); target != 0 && pairs[uid] == 0 {
			again = append(again, target)
		}
	}
	if len(again) > 0 {
		more, err := dst.signs(ctx, again, anew)
		if err != nil {
			return nil, err
		}
		for uid, d := range more {
			t.found[uid] = d
		}
		pairs, used = t.byContent(source)
	}
	for i, uid := range it.Sources {
		free := func(target uint32) bool {
			return !used[target] && (sent[uid] == nil || !t.gives(target))
		}
		if target := t.alike(it.Sizes[i], it.Dates[i], free); target != 0 && pairs[uid] == 0 {
			pairs[uid], used[target] = target, true
		}
	}
	return pairs, nil
}

// gives tells whether the target gives a message's content: nothing is none,
// where it tells a size.
func (t *tail) gives(uid uint32) bool {
	d := t.found[uid]
	return d != nil && (isIdentity(d) || lengthOf(d) > 0 || t.metas[uid].size == 0)
}

func (t *tail) byContent(source side) (pairs map[uint32]uint32, used map[uint32]bool) {
	flags := map[uint32]string{}
	for uid, m := range t.metas {
		flags[uid] = m.flags
	}
	pairs, used = pairUp(source, side{uids: t.uids, digests: t.found, dates: t.dates, flags: flags}), map[uint32]bool{}
	for _, target := range pairs {
		used[target] = true
	}
	return pairs, used
}

// alike is the first message of a size and date that is free, 0 for none. A
// size of 0 is one that a server does not tell.
func (t *tail) alike(size, date int64, free func(uint32) bool) uint32 {
	for _, uid := range t.uids {
		if m := t.metas[uid]; m.date == date && (m.size == size || m.size == 0 || size == 0) && free(uid) {
			return uid
		}
	}
	return 0
}
