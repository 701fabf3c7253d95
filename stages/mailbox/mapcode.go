package mailbox

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"io"
)

// How a UID map is written. Where the messages stand and what flags they have
// are told apart, so that a mailbox that was copied in order takes a few bytes
// for any number of messages, and each later change a few more:
//
//	form     plain, or deflated where that is shorter
//	places   their number; for each the gap at the source, the length with the
//	         lowest bit set for "removed by the target's user", and, if it is
//	         not, how far the target is from where the gap puts it
//	flags    pairs of a flag set and how many messages in a row have it
//
// All numbers are varints.
const (
	plainMap    = 1
	deflatedMap = 2
)

var errPacked = errors.New("it is damaged")

// pack writes the map; number gives flag sets the numbers to write.
func (m *uidMap) pack(number func(flags uint32) uint32) []byte {
	places, spoken := m.places(), []byte(nil)
	out := binary.AppendUvarint([]byte{plainMap}, uint64(len(places)))
	var source, target uint32 // where the last place ended
	for _, r := range places {
		gap := r.source - source
		out = binary.AppendUvarint(out, uint64(gap))
		if r.target == 0 {
			out = binary.AppendUvarint(out, uint64(r.n)<<1|1)
		} else {
			out = binary.AppendUvarint(out, uint64(r.n)<<1)
			out = binary.AppendVarint(out, int64(r.target)-int64(target)-int64(gap))
			target = r.target + r.n
		}
		source = r.source + r.n
	}
	flags, n := uint32(0), uint64(0)
	tell := func() {
		if n > 0 {
			spoken = binary.AppendUvarint(binary.AppendUvarint(spoken, uint64(number(flags))), n)
		}
	}
	for _, r := range m.runs {
		if r.flags != flags {
			tell()
			flags, n = r.flags, 0
		}
		n += uint64(r.n)
	}
	tell()
	out = append(out, spoken...)
	if short := deflate(out[1:]); 1+len(short) < len(out) {
		return append([]byte{deflatedMap}, short...)
	}
	return out
}

// places are the runs without regard to flags.
func (m *uidMap) places() []run {
	var out uidMap
	for _, r := range m.runs {
		r.flags = 0
		out.push(r)
	}
	return out.runs
}

// deflaters are kept, as many as are used at once: each weighs a megabyte, and a
// map mostly a few bytes.
var deflaters = make(chan *flate.Writer, 4)

func deflate(data []byte) []byte {
	var w *flate.Writer
	select {
	case w = <-deflaters:
	default:
		w, _ = flate.NewWriter(nil, flate.BestSpeed) // the level is one
	}
	var b bytes.Buffer
	w.Reset(&b)
	_, _ = w.Write(data) // a buffer takes everything
	_ = w.Close()
	select {
	case deflaters <- w:
	default:
	}
	return b.Bytes()
}

// unpack reads what pack wrote. sets is how many flag sets there are.
func unpack(data []byte, sets int) (m uidMap, err error) {
	if len(data) == 0 {
		return m, nil
	}
	in := varints{rest: data[1:]}
	switch data[0] {
	case plainMap:
	case deflatedMap:
		if in.rest, err = io.ReadAll(flate.NewReader(bytes.NewReader(data[1:]))); err != nil {
			return m, errPacked
		}
	default:
		return m, errPacked
	}
	var places []run
	var source, target, total int64
	for range in.count() {
		gap, length := in.next(), in.next()
		r := run{n: uint32(length >> 1)}
		source += gap
		if length&1 == 0 {
			target += gap + in.signed()
			r.target = uint32(target)
			if target <= 0 || target+int64(r.n) > 1<<32 {
				return m, errPacked
			}
			target += int64(r.n)
		}
		if in.bad || r.n == 0 || length>>33 != 0 || source <= 0 && len(places) == 0 || source+int64(r.n) > 1<<32 {
			return m, errPacked
		}
		r.source = uint32(source)
		source, total = source+int64(r.n), total+int64(r.n)
		places = append(places, r)
	}
	for i, from := 0, uint32(0); total > 0; {
		flags, n := in.next(), in.next()
		if in.bad || flags >= int64(sets) || n <= 0 || n > total {
			return m, errPacked
		}
		for total -= n; n > 0; {
			part := places[i].part(from, uint32(min(int64(places[i].n), int64(from)+n)))
			part.flags = uint32(flags)
			m.push(part)
			n -= int64(part.n)
			if from += part.n; from == places[i].n {
				i, from = i+1, 0
			}
		}
	}
	if len(in.rest) > 0 {
		return m, errPacked
	}
	return m, nil
}

// varints reads numbers below 2^40; what is none leaves it bad.
type varints struct {
	rest []byte
	bad  bool
}

func (v *varints) next() int64 {
	u, n := binary.Uvarint(v.rest)
	if n <= 0 || u > 1<<40 {
		v.bad, v.rest = true, nil
		return 0
	}
	v.rest = v.rest[n:]
	return int64(u)
}

func (v *varints) signed() int64 {
	u := v.next()
	return int64(uint64(u)>>1) ^ -(u & 1)
}

// count is a number of things of at least two bytes each, so that a damaged
// one cannot keep us busy.
func (v *varints) count() int64 {
	n := v.next()
	if n > int64(len(v.rest)) {
		v.bad, v.rest = true, nil
		return 0
	}
	return n
}
