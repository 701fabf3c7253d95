package mailbox

import (
	"bytes"
	"context"
	"errors"
)

// A literal8 holds any octet (RFC 3516, 4.3). Some servers refuse NUL and bare
// line ends in a message that comes as a plain literal, and keep them as they
// are in one that comes so (Cyrus). So a message is sent once more that was
// refused and holds some. Not one of which a part is encoded as binary: that a
// server may encode anew, and what it then gives back is not what it was given.
//
// It is never sent before the server has asked for it: one that offers it and
// does not know it would take the message for commands.

// So many connections may end over the literal8 of one message, and so many in
// a row over any: once is chance.
const (
	mostCuts   = 2
	mostInARow = 4
)

// wantsLiteral8 tells whether a message that the target refused is to be sent
// once more as a literal8.
func (c *copier) wantsLiteral8(p parcel, said error) bool {
	r, no := refused(said)
	odd := !bytes.Equal(storedOf(p.digest), contentOf(p.digest))
	if !no || !odd || p.literal8 || p.encoded || r.tooLarge() || passing(said) {
		return false
	}
	if c.cuts[p.uid] >= mostCuts || c.pass.cuts.Load() >= mostInARow || hasBinaryPart(p.body) {
		return false
	}
	dst, err := c.target()
	return err == nil && dst.has("BINARY")
}

// asLiteral8 sends a message as a literal8 that the target has refused. Where
// the connection ends over it, what has arrived is found out before it is sent
// again.
func (c *copier) asLiteral8(ctx context.Context, p parcel, said error, size int64) error {
	p.literal8, p.said = true, said
	for {
		dst, err := c.target()
		if err != nil {
			return err
		}
		validity, out, err := dst.appendAll(c.job.st.Target, []parcel{p})
		if c.heard(p.uid, err); err == nil {
			return c.settleOne(ctx, p, validity, out[0], size)
		}
		if !lost(err) || errors.Is(err, ErrBusy) {
			return err
		}
		if err := c.intend(c.underway()); err != nil { // what is noted is not taken for this one
			return err
		}
		landed, err := c.recover(ctx, []meta{p.sized()}, map[uint32][]byte{p.uid: p.body}, c.arrived)
		if err != nil {
			return err
		}
		if landed {
			c.heard(p.uid, nil)
			return nil
		}
		c.job.resend(c.next, []uint32{p.uid})
		if c.written = false; c.cuts[p.uid] >= mostCuts {
			return c.refusedOne(ctx, p, said, size)
		}
		if err := c.intend(c.underway()); err != nil {
			return err
		}
	}
}

// heard counts the connections that ended over a literal8: of one message, and
// of all one after the other.
func (c *copier) heard(uid uint32, err error) {
	switch {
	case err == nil:
		c.pass.cuts.Store(0)
	case lost(err):
		if c.cuts == nil {
			c.cuts = map[uint32]int{}
		}
		c.cuts[uid]++
		c.pass.cuts.Add(1)
	}
}

// encodings looks for a part that is encoded as binary in the message that is
// written to it. A text that speaks of one counts as well.
type encodings struct {
	line   []byte // its beginning
	field  bool   // it is a Content-Transfer-Encoding, or goes on with one
	binary bool
}

const longestField = 1000 // what stands behind it is not looked at

func (e *encodings) Write(p []byte) (int, error) {
	for rest, ended := p, true; ended && !e.binary; {
		var line []byte
		line, rest, ended = bytes.Cut(rest, []byte("\n"))
		e.line = append(e.line, line[:min(len(line), longestField-len(e.line))]...)
		if ended {
			e.end()
		}
	}
	return len(p), nil
}

func (e *encodings) end() {
	line := e.line
	e.line = e.line[:0]
	if len(line) == 0 || line[0] != ' ' && line[0] != '\t' {
		name, _, _ := bytes.Cut(line, []byte(":"))
		e.field = bytes.EqualFold(bytes.TrimRight(name, " \t"), []byte("Content-Transfer-Encoding"))
	}
	e.binary = e.field && bytes.Contains(bytes.ToLower(line), []byte("binary"))
}

func hasBinaryPart(body []byte) bool {
	e := &encodings{}
	_, _ = e.Write(body) // it takes everything
	return e.binary
}
