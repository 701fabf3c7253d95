package mailbox

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// bodyWanted is the exchange that takes the literal now beginning.
func (w *wire) bodyWanted(r *response) *exchange {
	r.head()
	x := w.owner(r)
	if x == nil || x.body == nil {
		return nil
	}
	if r.tag != "*" || r.word != "FETCH" {
		return nil
	}
	last := r.lines[len(r.lines)-1]
	open := bytes.LastIndexByte(last, '{')
	item := bytes.TrimRight(last[:open], " ~")
	if bytes.HasSuffix(bytes.ToUpper(item), []byte("BODY[]")) || bytes.HasSuffix(bytes.ToUpper(item), []byte("BODY[HEADER]")) {
		return x
	}
	return nil
}

// takeBody hands the literal of n bytes to the exchange and reads what it left.
func (x *exchange) takeBody(r *response, n int64, from io.Reader) error {
	lit := &io.LimitedReader{R: from, N: n}
	var err error
	if uid := uidOf(r); x.kept != nil {
		err = x.takeKept(uid, lit)
	} else {
		err = x.takeSummed(uid, lit)
	}
	if err == nil && lit.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var errTwoMessages = fmt.Errorf("%w: two messages under one UID", errHostile) // and which is which?

func (x *exchange) takeKept(uid uint32, lit *io.LimitedReader) error {
	if first := x.kept(uid); first != nil {
		c := &comparison{rest: first}
		if _, err := copyAll(c, lit); err != nil {
			return err
		}
		if c.differs || len(c.rest) > 0 {
			return errTwoMessages
		}
		return nil
	}
	if x.refusal == nil {
		x.refusal = x.body(uid, lit.N, lit)
	}
	_, err := io.Copy(io.Discard, lit)
	return err
}

// comparison is written what should be rest.
type comparison struct {
	rest    []byte
	differs bool
}

func (c *comparison) Write(p []byte) (int, error) {
	rest, same := bytes.CutPrefix(c.rest, p)
	c.rest, c.differs = rest, c.differs || !same
	return len(p), nil
}

func (x *exchange) takeSummed(uid uint32, lit *io.LimitedReader) error {
	sum := crc32.New(castagnoli)
	tee := io.TeeReader(lit, sum)
	if x.refusal == nil {
		x.refusal = x.body(uid, lit.N, tee)
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return err
	}
	if before, twice := x.sums[uid]; uid != 0 && twice && before != sum.Sum32() {
		return errTwoMessages
	}
	if x.sums == nil {
		x.sums = map[uint32]uint32{}
	}
	x.sums[uid] = sum.Sum32()
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// uidOf finds the UID in what has come so far of a FETCH response, 0 where
// the server sends it after the body.
func uidOf(r *response) uint32 {
	// Nearly all servers begin with it: no need to look at the rest.
	if rest := r.lines[0][r.rest:]; len(rest) > 6 && bytes.EqualFold(rest[:6], []byte(" (UID ")) {
		n, digits := uint64(0), rest[6:]
		for len(digits) > 0 && digits[0] >= '0' && digits[0] <= '9' && n < 1<<32 {
			n, digits = n*10+uint64(digits[0]-'0'), digits[1:]
		}
		if len(digits) > 0 && (digits[0] == ' ' || digits[0] == ')') && n < 1<<32 {
			return uint32(n)
		}
	}
	fields := r.tokens()
	if len(fields) == 0 {
		return 0
	}
	list := fields[0].list
	for i := 0; i+1 < len(list); i += 2 {
		if strings.EqualFold(list[i].text, "UID") {
			return uint32(list[i+1].number())
		}
	}
	return 0
}
