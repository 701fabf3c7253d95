package mailbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
)

// large streams one message from the source into the target. The last bytes
// are held back until the source has said OK: before that nothing is known of
// the message, and a target that lacks them throws it away.
func (c *copier) large(ctx context.Context, m meta) error {
	if limit := c.lane.pass.limit; limit > 0 && m.size > 2*limit { // fetched for nothing, unless the size is a wrong estimate
		longer, err := c.longer(m.uid, limit)
		if err != nil && !lost(err) {
			return err
		}
		if longer {
			c.name(m, TooLarge, "", m.size)
			return nil
		}
	}
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.intend([]meta{m}); err != nil {
			return err
		}
		source, err := c.stream(ctx, m, nil)
		if err == nil {
			return nil
		}
		if !lost(err) && !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrBusy) {
			return err
		}
		if !source && try >= 2 {
			return err
		}
		landed, rerr := c.recover(ctx, []meta{m}, nil, c.arrived)
		if rerr != nil {
			return rerr
		}
		if landed {
			c.heard(m.uid, nil)
			return nil
		}
		if try >= 2 {
			c.name(m, Unreadable, err.Error(), m.size)
			return nil
		}
		c.job.resend(c.next, []uint32{m.uid})
		c.written = false
	}
}

const holdBack = 4096

// stream is one try of large. source tells whose error it is. said is what the
// target said to the message as a plain literal; then it goes out as a literal8.
func (c *copier) stream(ctx context.Context, m meta, said error) (source bool, err error) {
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
	var s *streaming
	for try := 0; try == 0 || try == 1 && err == nil && s.notice; try++ { // a notice once, and then again
		s = &streaming{c: c, dst: dst, m: m, literal8: said != nil, gate: make(chan bool, 1), end: make(chan struct{})}
		err = src.bodies(strconv.FormatUint(uint64(m.uid), 10), "BODY.PEEK[]", s.take)
	}
	s.gate <- err == nil
	if !s.begun {
		if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
			err = nil
		}
		if err == nil && s.tooLarge > 0 {
			c.name(m, TooLarge, "", s.tooLarge)
		} else if err == nil && s.notice {
			c.name(m, Unreadable, notice, m.size)
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
	if said != nil {
		c.heard(m.uid, s.err)
	}
	if s.err != nil {
		return false, s.err
	}
	p := s.parcel()
	p.digest, p.encoded, p.said = s.digest.sum(), s.parts.binary || !s.whole, said
	if c.wantsLiteral8(p, s.out.err) {
		return c.stream(ctx, m, s.out.err)
	}
	return false, c.settleOne(ctx, p, s.validity, s.out, s.size)
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
	notice   bool // instead of the message
	literal8 bool
	tooLarge int64
	size     int64
	flags    string
	digest   *digester
	parts    encodings
	whole    bool // read to its end
	validity uint32
	out      outcome
	err      error
}

func (s *streaming) take(uid uint32, size int64, lit io.Reader) error {
	if s.begun || size == 0 || uid != 0 && uid != s.m.uid {
		return nil
	}
	if limit := s.c.lane.pass.limit; limit > 0 && size > limit {
		s.tooLarge = size
		return nil
	}
	if size <= mostNotice { // its size was an estimate
		body, err := io.ReadAll(lit)
		if s.notice = isPlaceholder(body); err != nil || s.notice {
			return nil // the source's own error, if it is one, comes by itself
		}
		lit = bytes.NewReader(body)
	}
	s.begun, s.size, s.digest = true, size, newDigester()
	s.flags, s.m = s.c.held(s.m), s.c.inTime(s.m, size)
	pr, pw := io.Pipe()
	defer func() { // the source's own error, if there is one, comes by itself
		if !s.whole {
			_ = pw.CloseWithError(io.ErrUnexpectedEOF)
		}
	}()
	go s.append(pr)
	hold := min(size, holdBack)
	_, err := copyAll(io.MultiWriter(s.digest, &s.parts, pw), io.LimitReader(lit, size-hold))
	last := make([]byte, hold)
	if err == nil {
		_, err = io.ReadFull(lit, last)
	}
	if err != nil {
		return nil
	}
	_, _ = s.digest.Write(last)
	_, _ = s.parts.Write(last)
	s.whole = true
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

func (s *streaming) parcel() parcel {
	return parcel{meta: s.m, flags: s.flags, literal8: s.literal8}
}

func (s *streaming) append(pr *io.PipeReader) {
	defer close(s.end)
	q, _ := quote(s.c.job.st.Target)
	s.validity, s.out, s.err = s.dst.appendOne(q, s.parcel(), s.size, func(w io.Writer) error {
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
