package mailbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"unicode/utf8"
)

// A digest is kept as one value: the length of the message (8 bytes), the first
// 16 bytes of the SHA-256 of its settled header, the SHA-256 of all of it, and,
// where it holds what servers change, the SHA-256 of what becomes of it: as most
// store it, and, if that is another, settled.
const (
	lengthSize = 8
	headSize   = 16
	plainSize  = lengthSize + headSize + sha256.Size
)

// digester takes the digest of a message as it is and, where servers are known
// to change it on the way in, of what becomes of it. See changed.
type digester struct {
	exact   hash.Hash
	changed *changed // nil: so far the same as exact
	head    []byte   // nil: the header has not ended yet
	length  uint64
	line    int // bytes of the header's present line, but for CRs
	crs     int // at the end of what was written: not digested yet
}

func newDigester() *digester { return &digester{exact: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	d.length += uint64(len(p))
	rest := p
	if d.head == nil {
		n, ended := d.header(p)
		d.take(p[:n], true)
		if ended {
			d.head = d.settled().Sum(nil)[:headSize]
		}
		rest = p[n:]
	}
	d.take(rest, false)
	return len(p), nil
}

// header tells how much of p belongs to the header, which ends with the first
// empty line.
func (d *digester) header(p []byte) (n int, ended bool) {
	for n < len(p) {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			d.line += len(p) - n - bytes.Count(p[n:], []byte{'\r'})
			return len(p), false
		}
		empty := d.line+i == bytes.Count(p[n:n+i], []byte{'\r'})
		n, d.line = n+i+1, 0
		if empty {
			return n, true
		}
	}
	return n, false
}

func (d *digester) take(p []byte, header bool) {
	if d.crs > 0 && len(p) > 0 {
		p = append(bytes.Repeat([]byte{'\r'}, d.crs), p...)
		d.crs = 0
	}
	for len(p) > 0 && p[len(p)-1] == '\r' { // what follows decides what becomes of them
		d.crs++
		p = p[:len(p)-1]
	}
	if d.changed == nil {
		i := odd(p, header)
		if i < 0 {
			d.exact.Write(p)
			return
		}
		d.exact.Write(p[:i])
		d.changed = &changed{stored: clone(d.exact)}
		p = p[i:]
	}
	d.exact.Write(p)
	d.changed.write(p, header)
}

// odd finds the first byte that servers change.
func odd(p []byte, header bool) int {
	first := bytes.IndexByte(p, 0)
	if header {
		if i := slices.IndexFunc(p, func(b byte) bool { return b >= utf8.RuneSelf }); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	for from := 0; ; {
		i := bytes.IndexByte(p[from:], '\n')
		if i < 0 || first >= 0 && first < from+i {
			return first
		}
		i += from
		crs := 0
		for crs < i && p[i-1-crs] == '\r' {
			crs++
		}
		if crs != 1 {
			return i - crs
		}
		from = i + 1
	}
}

// changed digests what becomes of a message on the way into servers: NUL is
// stored as 0x80, any line end as CRLF without further CRs before it, and none
// at the very end (Dovecot). settled is that with what is not ASCII in the
// header replaced by X (Cyrus), and so the same for a message and for all that
// servers make of it.
type changed struct {
	stored  hash.Hash
	settled hash.Hash // nil: the same so far
}

func (c *changed) write(p []byte, header bool) {
	out := make([]byte, 0, len(p)+len(p)/16)
	var last []byte // as out, settled
	crs := 0
	for _, b := range p {
		switch {
		case b == '\r':
			crs++
			continue
		case b == '\n':
			out, last = append(out, "\r\n"...), append(last, "\r\n"...)
			crs = 0
			continue
		case b == 0:
			b = 0x80
		}
		for ; crs > 0; crs-- {
			out, last = append(out, '\r'), append(last, '\r')
		}
		out, last = append(out, b), append(last, b)
		if header && b >= 0x80 {
			last[len(last)-1] = 'X'
			if c.settled == nil {
				c.settled = clone(c.stored)
			}
		}
	}
	c.stored.Write(out)
	if c.settled != nil {
		c.settled.Write(last)
	}
}

// settled is the digest of what is the same for all that servers make of
// the message.
func (d *digester) settled() hash.Hash {
	switch {
	case d.changed == nil:
		return d.exact
	case d.changed.settled == nil:
		return d.changed.stored
	}
	return d.changed.settled
}

func clone(h hash.Hash) hash.Hash {
	c, err := h.(hash.Cloner).Clone()
	if err != nil {
		panic(err) // sha256 always clones
	}
	return c
}

// sum ends the message.
func (d *digester) sum() []byte {
	if d.crs > 0 {
		if d.changed == nil {
			d.changed = &changed{stored: clone(d.exact)}
		}
		d.exact.Write(bytes.Repeat([]byte{'\r'}, d.crs))
		d.crs = 0
	}
	head := d.head
	if head == nil {
		head = d.settled().Sum(nil)[:headSize]
	}
	out := binary.BigEndian.AppendUint64(make([]byte, 0, plainSize+2*sha256.Size), d.length)
	out = d.exact.Sum(append(out, head...))
	if d.changed != nil {
		out = d.changed.stored.Sum(out)
		if d.changed.settled != nil {
			out = d.changed.settled.Sum(out)
		}
	}
	return out
}

func digestOf(body []byte) []byte {
	d := newDigester()
	_, _ = d.Write(body)
	return d.sum()
}

// sound tells a digest from none, and from those of a ledger that kept others.
func sound(digest []byte) bool {
	return len(digest) == plainSize || len(digest) == plainSize+sha256.Size || len(digest) == plainSize+2*sha256.Size
}

// bareDigest is the digest of a message of which only the SHA-256 is known.
func bareDigest(length int64, content []byte) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, plainSize), uint64(length))
	return append(append(out, make([]byte, headSize)...), content...)
}

// contentKey is the same for a message and for what a server makes of it.
func contentKey(digest []byte) string { return string(digest[len(digest)-sha256.Size:]) }

func lengthOf(digest []byte) int64   { return int64(binary.BigEndian.Uint64(digest)) }
func headOf(digest []byte) []byte    { return digest[lengthSize : lengthSize+headSize] }
func contentOf(digest []byte) []byte { return digest[lengthSize+headSize : plainSize] }

// storedOf is the digest of a message as most servers store it.
func storedOf(digest []byte) []byte {
	if len(digest) == plainSize {
		return contentOf(digest)
	}
	return digest[plainSize : plainSize+sha256.Size]
}

// verdict compares what was sent with what the target gives back.
type verdict int

const (
	exact verdict = iota
	altered
	wrong
)

func compareDigests(sent, back []byte) verdict {
	switch {
	case bytes.Equal(contentOf(sent), contentOf(back)):
		return exact
	case bytes.Equal(storedOf(sent), contentOf(sent)): // no NUL, no odd line end
		if contentKey(sent) == string(contentOf(back)) {
			return altered
		}
	case bytes.Equal(storedOf(sent), storedOf(back)), contentKey(sent) == string(storedOf(back)):
		return altered
	}
	return wrong
}
