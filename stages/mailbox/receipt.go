package mailbox

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"godwit/stages/receipt"
)

// ErrUnbalanced means that what the ledger holds does not add up to what the
// source had under the freeze: there is nothing to write a receipt of.
var ErrUnbalanced = errors.New("the sums are not equal")

// WriteReceipt writes the folders of an account's receipt from what the passes
// have kept, and others, the folders that were not carried. It reads one chunk
// of messages at a time. frozen is how many messages the source had under the
// freeze in those folders. The error wraps ErrUnbalanced where it does not add up.
func WriteReceipt(ctx context.Context, kept Kept, w *receipt.Writer, others []Skipped) (frozen int, err error) {
	keys, err := loadNames(ctx, kept)
	if err != nil {
		return 0, err
	}
	carried, places := map[string]bool{}, map[string]bool{}
	for _, key := range keys {
		st, err := loadFolder(ctx, kept, key)
		if err != nil {
			return 0, err
		}
		places[st.Target] = places[st.Target] || !st.Nameless
	}
	for _, key := range keys {
		st, err := loadFolder(ctx, kept, key)
		if err == nil {
			err = st.load(ctx, kept, key)
		}
		if err != nil {
			return 0, err
		}
		p, err := loadProofs(ctx, kept, key, st)
		if err != nil {
			return 0, err
		}
		if st.Target == "" || p.Name == "" || p.Frozen.Next == 0 && st.uids.n == 0 {
			continue // it has nothing, or is named as a whole
		}
		if st.Nameless && places[st.Target] {
			continue // it was made anew: the sums tell
		}
		carried[p.Name] = true
		frozen += int(p.Frozen.Messages)
		if err := writeFolder(ctx, kept, w, key, st, p); err != nil {
			return 0, fmt.Errorf("folder %q: %w", safe(p.Name), err)
		}
	}
	told := map[string]bool{}
	for _, s := range others {
		if s.UID == 0 && !carried[s.Folder] && !told[s.Folder] {
			told[s.Folder] = true
			w.Exception(s.Folder, string(s.Reason))
		}
	}
	return frozen, nil
}

func writeFolder(ctx context.Context, kept Kept, w *receipt.Writer, key string, st *folderState, p *proofs) error {
	target, _ := decodeName(st.Target)
	w.Folder(receipt.Folder{
		Name: p.Name, Target: target, TargetName: st.Place,
		SourceValidity: st.SourceValidity, TargetValidity: st.TargetValidity,
	})
	late := func(uid uint32) bool { return uid >= p.Frozen.Next }
	sums := receipt.Sums{AtFreeze: int(p.Frozen.Messages)}
	where, err := p.index(ctx, kept, key, st)
	if err != nil {
		return err
	}
	pages := chunks{kept: kept, key: key}
	i := 0
	for e := range st.uids.all() {
		at := where[i]
		i++
		switch {
		case (e.target == 0 || st.Gone) && !late(e.source):
			sums.Removed++
		case e.target == 0 || st.Gone: // the target had it elsewhere, or has removed its folder
		case at == 0:
			return fmt.Errorf("%w: UID %d was not read back", ErrUnbalanced, e.source)
		default:
			row, err := pages.row(ctx, int(at)-1)
			if err != nil {
				return err
			}
			w.Message(row.line(st.FlagSets[e.flags]))
			switch altered := row.finding&(contentAltered|dateAltered) != 0; {
			case late(e.source):
				sums.Late++
			case altered:
				sums.Altered++
			default:
				sums.Exact++
			}
		}
	}
	named := slices.Clone(st.Skipped)
	slices.SortFunc(named, func(a, b Skipped) int { return cmp.Compare(a.UID, b.UID) })
	for _, s := range named {
		if _, carried := st.uids.find(s.UID); s.UID == 0 || carried {
			continue
		}
		if !late(s.UID) {
			sums.NotCarried++
		}
		w.Named(receipt.Named{UID: s.UID, Reason: string(s.Reason), Date: s.Date, Bytes: s.Bytes, MessageID: s.MessageID})
	}
	if !sums.Equal() {
		return fmt.Errorf("%w: the source had %d messages; %+v", ErrUnbalanced, sums.AtFreeze, sums)
	}
	w.EndFolder(sums)
	return nil
}

// index tells for each message of the map which row speaks of it, counted from
// 1; 0 where none does that is right.
func (p *proofs) index(ctx context.Context, kept Kept, key string, st *folderState) ([]uint32, error) {
	entries := slices.Collect(st.uids.all())
	where := make([]uint32, len(entries))
	n := uint32(0)
	return where, p.each(ctx, kept, key, 0, func(row proof) error {
		n++
		i, mapped := slices.BinarySearchFunc(entries, row.source, func(e entry, uid uint32) int { return cmp.Compare(e.source, uid) })
		if !mapped || entries[i].target != row.target {
			return nil
		}
		if where[i] = n; row.finding&anythingWrong != 0 {
			where[i] = 0
		}
		return nil
	})
}

// chunks holds a few chunks of rows: they are mostly read in order.
type chunks struct {
	kept Kept
	key  string
	held []held
}

type held struct {
	n    int
	rows []proof
}

const heldChunks = 8

func (c *chunks) row(ctx context.Context, i int) (proof, error) {
	n := i / rowsPerChunk
	for k, h := range c.held {
		if h.n == n {
			if i%rowsPerChunk >= len(h.rows) {
				return proof{}, errPacked
			}
			copy(c.held[1:k+1], c.held[:k])
			c.held[0] = h
			return h.rows[i%rowsPerChunk], nil
		}
	}
	rows, err := loadChunk(ctx, c.kept, c.key, n)
	if err != nil {
		return proof{}, err
	}
	if len(c.held) < heldChunks {
		c.held = append(c.held, held{})
	}
	copy(c.held[1:], c.held)
	c.held[0] = held{n, rows}
	return c.row(ctx, i)
}

// line is the row as a receipt has it.
func (p proof) line(flags string) receipt.Message {
	m := receipt.Message{UID: p.source, TargetUID: p.target, Size: p.size, Flags: flags, Digest: hex.EncodeToString(p.digest[:])}
	if p.date != noDate {
		m.Date = time.Unix(p.date, 0)
	}
	var found []string
	if p.finding&contentAltered != 0 {
		found = append(found, "altered")
		m.Stored = hex.EncodeToString(p.stored[:])
	}
	if p.finding&dateAltered != 0 {
		found = append(found, "date")
	}
	if p.finding&byHeader != 0 {
		found = append(found, "header")
	}
	m.Found = cmp.Or(strings.Join(found, " "), "exact")
	return m
}
