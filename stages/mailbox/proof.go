package mailbox

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"
)

// What is kept of a folder's messages once they were read back from the target:
//
//	proved/KEY      proofs: how far the folder was read back
//	proved/KEY/SEQ  rowsPerChunk rows; only the last chunk is ever written again
//
// A row is never changed: a later one for the same pair of UIDs stands for it,
// and one whose pair the UID map no longer holds (deleted, moved) for nothing.

const rowsPerChunk = 1024

// proofs is how far a folder was read back.
type proofs struct {
	Name                           string // of the folder, UTF-8, / as separator
	SourceValidity, TargetValidity uint32 // the UIDs that the rows speak of
	Records                        int    // records below were read back
	Kept                           int    // records below are gone from the store
	Rows                           int
	Noted                          int  // rows below are in the folder's notes, where altered
	Whole                          bool // all that was read back is right
	HeadersOnly                    bool // some of it was compared by header
	Seen                           seen // when all messages were found at the target
	Frozen                         frozen

	last []proof // rows of the chunk that is not full
}

// seen is what a folder is known by: nothing has changed while it is the same.
type seen struct {
	Messages, Next uint32
	ModSeq         uint64
}

// frozen is what the source had in a folder when all of it was verified. What
// has a UID from Next on came later.
type frozen struct{ Messages, Next uint32 }

func (b box) seen() seen { return seen{b.messages, b.next, b.modseq} }

// finding is what came of reading a message back.
type finding byte

const (
	contentAltered finding = 1 << iota // in a known way
	dateAltered
	contentWrong
	dateWrong
	flagsWrong
	byHeader // only the header was compared
	notThere // content wrong: the target gives nothing
)

const anythingWrong = contentWrong | dateWrong | flagsWrong

// proof is one message that was read back.
type proof struct {
	source, target uint32
	size           int64 // bytes appended
	date           int64 // as the source told it; noDate: it told none
	finding        finding
	digest         [32]byte // SHA-256 of the bytes appended
	stored         [32]byte // of what the target gives back, where altered
}

func proofsKey(key string) string { return "proved/" + url.PathEscape(key) }
func chunkKey(key string, n int) string {
	return "proved/" + url.PathEscape(key) + "/" + strconv.Itoa(n)
}

// loadProofs reads how far a folder was read back. What speaks of other UIDs
// than the map does is void.
func loadProofs(ctx context.Context, store Kept, key string, st *folderState) (*proofs, error) {
	p := &proofs{Whole: st.Folded == 0}
	if _, err := getJSON(ctx, store, proofsKey(key), p); err != nil {
		return nil, err
	}
	if p.SourceValidity == st.SourceValidity && p.TargetValidity == 0 && p.Rows > 0 { // it had none any more: no row has a UID of it
		p.TargetValidity = st.TargetValidity
	}
	if p.SourceValidity != st.SourceValidity || p.TargetValidity != st.TargetValidity {
		was := *p
		*p = proofs{Name: was.Name, SourceValidity: st.SourceValidity, TargetValidity: st.TargetValidity, Records: was.Records, Kept: was.Kept, Whole: was.Whole && was.Rows == 0}
		if was.SourceValidity == st.SourceValidity { // what the source had then is still true
			p.Frozen = was.Frozen
		}
	}
	return p, nil
}

// each yields the rows from the nth on, a chunk at a time.
func (p *proofs) each(ctx context.Context, store Kept, key string, from int, f func(proof) error) error {
	for n := from / rowsPerChunk; n*rowsPerChunk < p.Rows; n++ {
		rows, err := loadChunk(ctx, store, key, n)
		if err != nil {
			return err
		}
		for i, row := range rows {
			if n*rowsPerChunk+i < from {
				continue
			}
			if err := f(row); err != nil {
				return err
			}
		}
	}
	return nil
}

func loadChunk(ctx context.Context, store Kept, key string, n int) ([]proof, error) {
	data, err := store.Get(ctx, chunkKey(key, n))
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	rows, err := unpackProofs(data)
	if err != nil {
		return nil, fmt.Errorf("ledger: proofs of %q: %w", safe(key), err)
	}
	return rows, nil
}

// add puts rows behind the others, and what must be written into changes.
func (p *proofs) add(ctx context.Context, store Kept, key string, rows []proof, changes map[string][]byte) error {
	if p.last == nil && p.Rows%rowsPerChunk != 0 {
		last, err := loadChunk(ctx, store, key, p.Rows/rowsPerChunk)
		if err != nil {
			return err
		}
		p.last = last
	}
	for _, row := range rows {
		p.last = append(p.last, row)
		p.Rows++
		if row.finding&anythingWrong != 0 {
			p.Whole = false
		}
		p.HeadersOnly = p.HeadersOnly || row.finding&byHeader != 0
		if len(p.last) == rowsPerChunk {
			changes[chunkKey(key, p.Rows/rowsPerChunk-1)] = packProofs(p.last)
			p.last = nil
		}
	}
	if len(p.last) > 0 {
		changes[chunkKey(key, p.Rows/rowsPerChunk)] = packProofs(p.last)
	}
	changes[proofsKey(key)] = mustJSON(p)
	return nil
}

// begin is where a folder stands whose messages below record n are no longer
// what the map speaks of.
func begin(st *folderState, n int) *proofs {
	return &proofs{SourceValidity: st.SourceValidity, TargetValidity: st.TargetValidity, Records: n, Kept: n, Whole: true}
}

// forgetProofs removes all that is kept of a folder's proofs, also of void ones,
// and of its records.
func forgetProofs(ctx context.Context, store Kept, key string, records int, changes map[string][]byte) error {
	p := &proofs{}
	if _, err := getJSON(ctx, store, proofsKey(key), p); err != nil {
		return err
	}
	for n := p.Kept; n < records; n++ {
		changes[recordKey(key, n)] = nil
	}
	for n := 0; n*rowsPerChunk < p.Rows; n++ {
		changes[chunkKey(key, n)] = nil
	}
	changes[proofsKey(key)] = nil
	return nil
}

// packProofs writes each row as differences to the one before, which are small.
func packProofs(rows []proof) []byte {
	out := make([]byte, 0, 44*len(rows))
	var before proof
	for _, r := range rows {
		out = append(out, byte(r.finding))
		out = binary.AppendVarint(out, int64(r.source)-int64(before.source))
		out = binary.AppendVarint(out, int64(r.target)-int64(before.target))
		out = binary.AppendUvarint(out, uint64(r.size))
		out = binary.AppendVarint(out, r.date-before.date)
		out = append(out, r.digest[:]...)
		if r.finding&contentAltered != 0 {
			out = append(out, r.stored[:]...)
		}
		before = r
	}
	return out
}

func unpackProofs(data []byte) (rows []proof, err error) {
	in := reading{data: data}
	var before proof
	for len(in.data) > 0 {
		var r proof
		r.finding = finding(in.bytes(1)[0])
		r.source = uint32(int64(before.source) + in.varint())
		r.target = uint32(int64(before.target) + in.varint())
		r.size = int64(in.uvarint())
		r.date = before.date + in.varint()
		copy(r.digest[:], in.bytes(len(r.digest)))
		if r.finding&contentAltered != 0 {
			copy(r.stored[:], in.bytes(len(r.stored)))
		}
		if in.short {
			return nil, errPacked
		}
		rows, before = append(rows, r), r
	}
	return rows, nil
}

// reading takes values off the front of data; short tells that there were too few.
type reading struct {
	data  []byte
	short bool
}

func (r *reading) bytes(n int) []byte {
	if len(r.data) < n {
		r.short, r.data = true, nil
		return make([]byte, n)
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

func (r *reading) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	r.bytes(max(n, 0))
	r.short = r.short || n <= 0
	return v
}

func (r *reading) varint() int64 {
	v, n := binary.Varint(r.data)
	r.bytes(max(n, 0))
	r.short = r.short || n <= 0
	return v
}
