package mailbox

import (
	"context"
	"errors"
	"io"
	"slices"
)

// ahead reads the groups of a folder before the target asks for them: a few are
// under way on the connection, so that no round trip is waited for.
type ahead struct {
	*lane
	job  *job
	rest []*group // not yet asked for
	open []*group // asked for, oldest first

	selecting *opening // the folder at the target; nil: not asked for
}

// run sends the groups to out, in order, until all are through or one has an
// error.
func (a *ahead) run(ctx context.Context, out chan<- *group) {
	defer func() {
		for _, g := range a.open {
			g.free()
		}
	}()
	for len(a.rest)+len(a.open) > 0 {
		if a.fill(ctx, fetchAhead, true) != nil { // cancelled
			return
		}
		a.prime()
		g := a.open[0]
		a.open = a.open[1:]
		if g.large {
			g.done = make(chan struct{})
		} else {
			g.err = a.fetch(ctx, a.job, g)
		}
		select {
		case out <- g:
		case <-ctx.Done():
			g.free()
			return
		}
		if g.err != nil {
			return
		}
		if g.large {
			select {
			case <-g.done:
			case <-ctx.Done():
				return
			}
		}
		for _, m := range g.over {
			a.rest = append([]*group{{metas: []meta{m}, large: true}}, a.rest...)
		}
	}
	a.prime()
}

// fill asks for groups until so many are under way. It waits for memory only
// where none is: who holds some must not wait for more. A large message has
// the connection to itself.
func (a *ahead) fill(ctx context.Context, most int, wait bool) error {
	for len(a.rest) > 0 && len(a.open) < most {
		g := a.rest[0]
		alone := len(a.open) == 0
		if g.large && !wait || !alone && (g.large || a.open[len(a.open)-1].large) {
			return nil
		}
		if !g.large {
			if held, err := g.hold(ctx, alone && wait); !held {
				return err
			}
			g.asked = a.ask(a.job, g.metas, g.buf.bytes)
		}
		a.rest, a.open = a.rest[1:], append(a.open, g)
	}
	return nil
}

// fetch takes a group's bodies. A body counts once the tagged OK has come, its
// UID was asked for and it was read in full. What is missing is asked for
// again, singly, and then named.
func (l *lane) fetch(ctx context.Context, j *job, g *group) error {
	g.got = make(map[uint32][]byte, len(g.metas))
	missing, err := l.fetchSet(ctx, j, g.metas, g.got, 0, g.asked)
	if err != nil {
		return err
	}
	for _, m := range g.metas { // and what is there instead: the next try may be luckier
		if isPlaceholder(g.got[m.uid]) {
			delete(g.got, m.uid)
			missing = append(missing, m)
		}
	}
	for _, m := range missing {
		one := map[uint32][]byte{}
		asked := l.ask(j, []meta{m}, nil)
		still, err := l.fetchSet(ctx, j, []meta{m}, one, 0, asked)
		switch {
		case err != nil:
			return err
		case len(still) == 0 && isPlaceholder(one[m.uid]):
			g.bad = append(g.bad, l.unreadable(j, m, notice))
		case len(still) == 0:
			g.got[m.uid] = one[m.uid]
		case asked.ended() && asked.over:
			g.over = append(g.over, m)
		default:
			g.bad = append(g.bad, l.unreadable(j, m, "the source does not give it"))
		}
	}
	g.sums = make(map[uint32][]byte, len(g.got))
	for uid, body := range g.got {
		g.sums[uid] = digestOf(body)
	}
	return nil
}

// fetchSet fetches list into got and returns what did not come. Where a
// message ends the connection, the set is halved until it is alone. asked is
// the first try, if it is under way already.
func (l *lane) fetchSet(ctx context.Context, j *job, list []meta, got map[uint32][]byte, strikes int, asked *fetching) (missing []meta, err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if asked == nil {
		asked = l.ask(j, list, nil)
	}
	part, err := asked.wait()
	if err == nil {
		for _, m := range list {
			body, ok := part[m.uid]
			if !ok || len(body) == 0 && (m.size > 0 || !sizesTold(j.fresh)) {
				missing = append(missing, m)
				continue
			}
			got[m.uid] = body
		}
		return missing, nil
	}
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return list, nil // each is asked for singly
	}
	if !lost(err) || errors.Is(err, ErrBusy) {
		return nil, err
	}
	if len(list) == 1 {
		if strikes > 0 {
			return list, nil
		}
		return l.fetchSet(ctx, j, list, got, strikes+1, nil)
	}
	if strikes == 0 { // the first loss may be chance
		return l.fetchSet(ctx, j, list, got, 1, nil)
	}
	for _, half := range [][]meta{list[:len(list)/2], list[len(list)/2:]} {
		m, err := l.fetchSet(ctx, j, half, got, 1, nil)
		if err != nil {
			return nil, err
		}
		missing = append(missing, m...)
	}
	return missing, nil
}

// sizesTold tells whether the source tells sizes at all: only then is an empty
// message one.
func sizesTold(list []meta) bool {
	return slices.ContainsFunc(list, func(m meta) bool { return m.size > 0 })
}

// fetching is a FETCH of bodies on its way.
type fetching struct {
	job     *job
	list    []meta
	opening *opening // the EXAMINE before it, nil: the folder was open
	x       *exchange
	part    map[uint32][]byte
	buf     []byte // where bodies go as long as there is room
	budget  int64
	over    bool // one was larger than the budget
	guessed bool // whose the last body is: its UID is still to come
	err     error
}

// ask sends a FETCH, and an EXAMINE before it where the folder is not open.
func (l *lane) ask(j *job, list []meta, buf []byte) *fetching {
	f := &fetching{job: j, list: list, buf: buf, budget: streamAbove + groupBytes, part: make(map[uint32][]byte, len(list))}
	src, err := l.source()
	if err != nil {
		f.err = err
		return f
	}
	if src.box.name != j.source.wire {
		if f.opening = src.opening; f.opening == nil || f.opening.name != j.source.wire {
			f.opening = src.beginBox("EXAMINE", j.source.wire)
		}
	} else if src.box.validity != j.box.validity {
		f.err = errRenumbered
		return f
	}
	uids := make([]uint32, len(list))
	asked := make(map[uint32]bool, len(list))
	for i, m := range list {
		uids[i] = m.uid
		asked[m.uid] = true
	}
	f.x = bodiesOf(func(uid uint32, size int64, lit io.Reader) error {
		if uid == 0 && len(list) == 1 && f.part[list[0].uid] == nil {
			uid, f.guessed = list[0].uid, true // the UID comes after the body; only one was asked for
		}
		if !asked[uid] || len(f.part[uid]) > 0 {
			return nil
		}
		return f.take(uid, size, lit)
	})
	on := f.x.on
	f.x.on = func(r *response) {
		if f.guessed && uidOf(r) != list[0].uid { // it was that of another FETCH under way
			delete(f.part, list[0].uid)
		}
		f.guessed = false
		on(r)
	}
	f.x.wants = asked
	f.x.kept = func(uid uint32) []byte { return f.part[uid] }
	f.err = src.w.send("UID FETCH "+sets(uids)[0]+" (UID BODY.PEEK[])", f.x)
	return f
}

func (f *fetching) take(uid uint32, size int64, lit io.Reader) error {
	if size > f.budget { // the source's SIZE was an estimate
		f.over = true
		return nil
	}
	f.budget -= size
	var body []byte
	if size <= int64(len(f.buf)) {
		body, f.buf = f.buf[:size:size], f.buf[size:]
	} else {
		body = make([]byte, size)
	}
	if _, err := io.ReadFull(lit, body); err != nil {
		return err
	}
	f.part[uid] = body
	return nil
}

// wait returns what came. It counts.
func (f *fetching) wait() (map[uint32][]byte, error) {
	if f.opening != nil {
		if b, err := f.opening.wait(); err != nil {
			return nil, noMessage(err)
		} else if b.validity != f.job.box.validity {
			return nil, errRenumbered
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	replies, err := f.x.wait()
	if err != nil {
		return nil, err
	}
	return f.part, replies[0].err()
}

// ended tells that the server has ended the FETCH: nothing more can come.
func (f *fetching) ended() bool {
	if f.err != nil || f.x == nil {
		return false
	}
	select {
	case <-f.x.done:
		return f.x.err == nil
	default:
		return false
	}
}

// noMessage keeps the refusal of a folder from being taken for that of its
// messages. A connection lost meanwhile is opened again.
func noMessage(err error) error {
	if lost(err) {
		return err
	}
	return &unreachable{err}
}

func (l *lane) unreadable(j *job, m meta, detail string) Skipped {
	return Skipped{Folder: j.name, UID: m.uid, Date: m.time(), Bytes: m.size, Reason: Unreadable, Detail: detail}
}
