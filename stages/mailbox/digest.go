package mailbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// A digest is kept as one value: the length of the message (8 bytes), the first
// 16 bytes of the SHA-256 of its header, the SHA-256 of all of it, and, where it
// holds what servers change, the SHA-256 of what becomes of it.
const (
	lengthSize = 8
	headSize   = 16
	plainSize  = lengthSize + headSize + sha256.Size
)

// digester takes the digest of a message as it is and, where servers are known
// to change it on the way in, of what becomes of it: NUL is stored as 0x80,
// a bare LF as CRLF.
type digester struct {
	exact  hash.Hash
	canon  hash.Hash // nil: so far the same as exact
	head   []byte    // nil: the header has not ended yet
	length uint64
	line   int // bytes of the header's present line
	last   byte
}

func newDigester() *digester { return &digester{exact: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	d.length += uint64(len(p))
	rest := p
	if d.head == nil {
		n, ended := d.header(p)
		d.take(p[:n])
		if ended {
			d.head = d.exact.Sum(nil)[:headSize]
		}
		rest = p[n:]
	}
	d.take(rest)
	return len(p), nil
}

// header tells how much of p belongs to the header, which ends with the first
// empty line.
func (d *digester) header(p []byte) (n int, ended bool) {
	for n < len(p) {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			d.line += len(p) - n
			return len(p), false
		}
		before := d.last
		if n+i > 0 {
			before = p[n+i-1]
		}
		empty := d.line+i == 0 || d.line+i == 1 && before == '\r'
		n, d.line = n+i+1, 0
		if empty {
			return n, true
		}
	}
	return n, false
}

func (d *digester) take(p []byte) {
	for len(p) > 0 {
		i := d.odd(p)
		if i < 0 {
			d.plain(p)
			return
		}
		d.plain(p[:i])
		if d.canon == nil {
			d.canon = d.clone()
		}
		d.exact.Write(p[i : i+1])
		if p[i] == 0 {
			d.canon.Write([]byte{0x80})
		} else {
			d.canon.Write([]byte("\r\n"))
		}
		d.last = p[i]
		p = p[i+1:]
	}
}

func (d *digester) plain(p []byte) {
	if len(p) == 0 {
		return
	}
	d.exact.Write(p)
	if d.canon != nil {
		d.canon.Write(p)
	}
	d.last = p[len(p)-1]
}

// odd finds the first byte that servers change.
func (d *digester) odd(p []byte) int {
	nul := bytes.IndexByte(p, 0)
	for from := 0; ; {
		i := bytes.IndexByte(p[from:], '\n')
		if i < 0 || nul >= 0 && nul < from+i {
			return nul
		}
		i += from
		before := d.last
		if i > 0 {
			before = p[i-1]
		}
		if before != '\r' {
			return i
		}
		from = i + 1
	}
}

func (d *digester) clone() hash.Hash {
	c, err := d.exact.(hash.Cloner).Clone()
	if err != nil {
		panic(err) // sha256 always clones
	}
	return c
}

func (d *digester) sum() []byte {
	exact := d.exact.Sum(nil)
	head := d.head
	if head == nil {
		head = exact[:headSize]
	}
	out := binary.BigEndian.AppendUint64(make([]byte, 0, plainSize+sha256.Size), d.length)
	out = append(append(out, head...), exact...)
	if d.canon != nil {
		out = d.canon.Sum(out)
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
	return len(digest) == plainSize || len(digest) == plainSize+sha256.Size
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
	case len(sent) > plainSize && contentKey(sent) == contentKey(back):
		return altered
	}
	return wrong
}
