package mailbox

import (
	"bytes"
	"crypto/sha256"
	"hash"
)

const digestSize = 16

// digester takes the digest of a message as it is and, where servers are known
// to change it on the way in, of what becomes of it: NUL is stored as 0x80,
// a bare LF as CRLF.
type digester struct {
	exact hash.Hash
	canon hash.Hash // nil: so far the same as exact
	last  byte
}

func newDigester() *digester { return &digester{exact: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := d.odd(rest)
		if i < 0 {
			d.plain(rest)
			break
		}
		d.plain(rest[:i])
		if d.canon == nil {
			d.canon = d.clone()
		}
		d.exact.Write(rest[i : i+1])
		if rest[i] == 0 {
			d.canon.Write([]byte{0x80})
		} else {
			d.canon.Write([]byte("\r\n"))
		}
		d.last = rest[i]
		rest = rest[i+1:]
	}
	return len(p), nil
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

// sum is the digest as it is kept: 16 bytes, and 16 more where the message
// holds what servers change.
func (d *digester) sum() []byte {
	out := d.exact.Sum(nil)[:digestSize:digestSize]
	if d.canon != nil {
		out = append(out, d.canon.Sum(nil)[:digestSize]...)
	}
	return out
}

func digestOf(body []byte) []byte {
	d := newDigester()
	_, _ = d.Write(body)
	return d.sum()
}

// contentKey is the same for a message and for what a server makes of it.
func contentKey(digest []byte) string { return string(digest[len(digest)-digestSize:]) }

// verdict compares what was sent with what the target gives back.
type verdict int

const (
	exact verdict = iota
	altered
	wrong
)

func compareDigests(sent, back []byte) verdict {
	switch {
	case bytes.Equal(sent[:digestSize], back[:digestSize]):
		return exact
	case len(sent) > digestSize && contentKey(sent) == contentKey(back):
		return altered
	}
	return wrong
}
