package mailbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
)

// Groups are cut so that memory stays small with many accounts at once: a few
// groups of each lane are in memory, a large message never is. 25 messages in
// one command are as fast as more.
const (
	groupMessages = 32
	groupBytes    = 1 << 20
)

// group is what is fetched, and appended, in one go.
type group struct {
	metas []meta
	large bool
	got   map[uint32][]byte
	bad   []Skipped
	done  chan struct{} // large: closed when the connection to the source is free again
	err   error
}

// groups cuts a list of messages, keeping its order.
func groups(list []meta) (out []*group) {
	var cur *group
	var size int64
	for _, m := range list {
		if m.size > groupBytes {
			out = append(out, &group{metas: []meta{m}, large: true})
			cur = nil
			continue
		}
		if cur == nil || len(cur.metas) == groupMessages || size+m.size > groupBytes {
			cur, size = &group{}, 0
			out = append(out, cur)
		}
		cur.metas = append(cur.metas, m)
		size += m.size
	}
	return out
}

// transfer copies the fresh messages of a folder: one goroutine fetches the
// next group while the target takes the present one.
func (l *lane) transfer(ctx context.Context, j *job) error {
	if len(j.fresh) == 0 {
		return nil
	}
	c := &copier{lane: l, job: j}
	if err := c.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	fetched := make(chan *group)
	go func() {
		defer close(fetched)
		for _, g := range groups(j.fresh) {
			if g.large {
				g.done = make(chan struct{})
			} else {
				g.err = l.fetch(ctx, j, g)
			}
			select {
			case fetched <- g:
			case <-ctx.Done():
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
		}
	}()
	err := c.consume(ctx, fetched)
	cancel()
	for range fetched { // wait for the goroutine
	}
	if err != nil {
		return err
	}
	return l.pass.ctx.Err() // ours is always cancelled here
}

// consume appends the groups as they come.
func (c *copier) consume(ctx context.Context, fetched <-chan *group) error {
	for g := range fetched {
		if g.err != nil {
			return g.err
		}
		var err error
		if g.large {
			err = c.large(ctx, g.metas[0])
			close(g.done)
		} else {
			err = c.small(ctx, g)
		}
		if err != nil {
			return err
		}
	}
	return c.flush()
}

// fetch reads a group's bodies. A body counts once the tagged OK has come, its
// UID was asked for and it was read in full. What is missing is asked for
// again, singly, and then named.
func (l *lane) fetch(ctx context.Context, j *job, g *group) error {
	g.got = map[uint32][]byte{}
	missing, err := l.fetchSet(ctx, j, g.metas, g.got, 0)
	if err != nil {
		return err
	}
	for _, m := range missing {
		one := map[uint32][]byte{}
		still, err := l.fetchSet(ctx, j, []meta{m}, one, 0)
		if err != nil {
			return err
		}
		if len(still) > 0 {
			g.bad = append(g.bad, l.unreadable(j, m, "the source does not give it"))
			continue
		}
		g.got[m.uid] = one[m.uid]
	}
	return nil
}

// fetchSet fetches list into got and returns what did not come. Where a
// message ends the connection, the set is halved until it is alone.
func (l *lane) fetchSet(ctx context.Context, j *job, list []meta, got map[uint32][]byte, strikes int) (missing []meta, err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	part, err := l.fetchOnce(j, list)
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
		if len(list) == 1 {
			return list, nil
		}
		return list, nil // each is asked for singly
	}
	if !lost(err) || errors.Is(err, ErrBusy) {
		return nil, err
	}
	if len(list) == 1 {
		if strikes > 0 {
			return list, nil
		}
		return l.fetchSet(ctx, j, list, got, strikes+1)
	}
	if strikes == 0 { // the first loss may be chance
		return l.fetchSet(ctx, j, list, got, 1)
	}
	for _, half := range [][]meta{list[:len(list)/2], list[len(list)/2:]} {
		m, err := l.fetchSet(ctx, j, half, got, 1)
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

// fetchOnce is one FETCH. What it returns counts.
func (l *lane) fetchOnce(j *job, list []meta) (map[uint32][]byte, error) {
	src, err := l.source()
	if err != nil {
		return nil, err
	}
	if b, err := src.opened(j.source.wire, false); err != nil {
		return nil, noMessage(err)
	} else if b.validity != j.box.validity {
		return nil, errRenumbered
	}
	uids := make([]uint32, len(list))
	asked := make(map[uint32]bool, len(list))
	for i, m := range list {
		uids[i] = m.uid
		asked[m.uid] = true
	}
	part := map[uint32][]byte{}
	budget := int64(4*groupBytes + 4096)
	set := sets(uids)[0]
	err = src.bodies(set, "BODY.PEEK[]", func(uid uint32, size int64, lit io.Reader) error {
		if uid == 0 && len(list) == 1 {
			uid = list[0].uid // the UID comes after the body; only one was asked for
		}
		if !asked[uid] || len(part[uid]) > 0 {
			return nil
		}
		if size > budget { // the source's SIZE was an estimate: it is streamed alone
			return nil
		}
		budget -= size
		body := make([]byte, size)
		if _, err := io.ReadFull(lit, body); err != nil {
			return err
		}
		part[uid] = body
		return nil
	})
	if err != nil {
		return nil, err
	}
	return part, nil
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

// large streams one message from the source into the target. The last bytes
// are held back until the source has said OK: before that nothing is known of
// the message, and a target that lacks them throws it away.
func (c *copier) large(ctx context.Context, m meta) error {
	limit := c.lane.pass.limit
	if limit > 0 && m.size > 2*limit { // an estimate of twice the limit is no error of estimation
		c.name(m, TooLarge, "", m.size)
		return nil
	}
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.intend([]meta{m}); err != nil {
			return err
		}
		source, err := c.stream(ctx, m)
		if err == nil {
			return nil
		}
		if !lost(err) && !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrBusy) {
			return err
		}
		if !source && try >= 2 {
			return err
		}
		landed, rerr := c.recover(ctx, []meta{m}, nil)
		if rerr != nil {
			return rerr
		}
		if landed {
			return nil
		}
		if try >= 2 {
			c.name(m, Unreadable, err.Error(), m.size)
			return nil
		}
	}
}

const holdBack = 4096

// stream is one try of large. source tells whose error it is.
func (c *copier) stream(ctx context.Context, m meta) (source bool, err error) {
	src, err := c.lane.source()
	if err != nil {
		return true, err
	}
	if _, err := src.opened(c.job.source.wire, false); err != nil {
		return true, noMessage(err)
	}
	dst, err := c.lane.target()
	if err != nil {
		return false, err
	}
	s := &streaming{c: c, dst: dst, m: m, gate: make(chan bool, 1), end: make(chan struct{})}
	err = src.bodies(strconv.FormatUint(uint64(m.uid), 10), "BODY.PEEK[]", s.take)
	s.gate <- err == nil
	if !s.begun {
		if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
			err = nil
		}
		if err == nil && s.tooLarge > 0 {
			c.name(m, TooLarge, "", s.tooLarge)
		} else if err == nil {
			c.name(m, Unreadable, "the source does not give it", m.size)
		}
		return true, err
	}
	<-s.end
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		c.name(m, Unreadable, err.Error(), m.size)
		return true, nil
	}
	if err != nil {
		return true, err
	}
	if s.err != nil {
		return false, s.err
	}
	return false, c.settleOne(ctx, parcel{meta: m, flags: s.flags, digest: s.digest.sum()}, s.validity, s.out, s.size)
}

// streaming is a large message on its way: the source's reader writes it into
// a pipe of which the other end is the APPEND.
type streaming struct {
	c        *copier
	dst      *session
	m        meta
	gate     chan bool // the source said OK
	end      chan struct{}
	begun    bool
	tooLarge int64
	size     int64
	flags    string
	digest   *digester
	validity uint32
	out      outcome
	err      error
}

func (s *streaming) take(_ uint32, size int64, lit io.Reader) error {
	if s.begun || size == 0 {
		return nil
	}
	if limit := s.c.lane.pass.limit; limit > 0 && size > limit {
		s.tooLarge = size
		return nil
	}
	s.begun, s.size, s.digest = true, size, newDigester()
	s.flags = s.c.held(s.m)
	pr, pw := io.Pipe()
	go s.append(pr)
	hold := min(size, holdBack)
	_, err := io.Copy(io.MultiWriter(s.digest, pw), io.LimitReader(lit, size-hold))
	last := make([]byte, hold)
	if err == nil {
		_, err = io.ReadFull(lit, last)
	}
	if err != nil {
		_ = pw.CloseWithError(io.ErrUnexpectedEOF)
		return nil // the source's own error, if it is one, comes by itself
	}
	_, _ = s.digest.Write(last)
	go func() { // the rest only after the OK
		if <-s.gate {
			_, _ = pw.Write(last)
			_ = pw.Close()
			return
		}
		_ = pw.CloseWithError(io.ErrUnexpectedEOF)
	}()
	return nil
}

func (s *streaming) append(pr *io.PipeReader) {
	defer close(s.end)
	q, _ := quote(s.c.job.st.Target)
	s.validity, s.out, s.err = s.dst.appendOne(q, s.flags, s.m, s.size, func(w io.Writer) error {
		buf := make([]byte, chunk)
		for {
			n, err := pr.Read(buf)
			if n > 0 {
				s.c.lane.pass.progress(int64(n))
				if _, werr := w.Write(buf[:n]); werr != nil {
					return werr
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	_ = pr.CloseWithError(io.ErrClosedPipe) // whoever still writes learns that nobody reads
}
