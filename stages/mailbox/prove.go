package mailbox

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// note notes what the target altered, once.
func (c *checking) note(ctx context.Context) (noted bool, err error) {
	st, p := c.job.st, c.proofs
	known := map[uint32]bool{}
	for _, n := range st.Notes {
		if n.Reason == Altered {
			known[n.UID] = true
		}
	}
	err = p.each(ctx, c.pass.Store, c.job.key, p.Noted, func(row proof) error {
		e, mapped := st.uids.find(row.source)
		if row.finding&(contentAltered|dateAltered) == 0 || known[row.source] || !mapped || e.target != row.target {
			return nil
		}
		known[row.source], noted = true, true
		st.Notes = append(st.Notes, row.noteOf(c.job.name))
		return nil
	})
	p.Noted = p.Rows
	return noted, err
}

func (p proof) noteOf(folder string) Skipped {
	s := Skipped{Folder: folder, UID: p.source, Bytes: p.size, Reason: Altered, Detail: "the target stores NUL bytes or bare line ends in another form"}
	if p.date != noDate {
		s.Date = time.Unix(p.date, 0).UTC()
	}
	if p.finding&contentAltered == 0 {
		s.Detail = "the target cannot hold the date " + s.Date.Format(time.RFC3339)
	}
	return s
}

// prove looks at all rows of the folder and reads once more what has none, or
// none that is right. It returns what still is not as it should be.
func (c *checking) prove(ctx context.Context) (open []entry, err error) {
	st := c.job.st
	entries := slices.Collect(st.uids.all())
	right := make([]bool, len(entries))
	rows := map[int]proof{}
	err = c.proofs.each(ctx, c.pass.Store, c.job.key, 0, func(row proof) error {
		i, mapped := slices.BinarySearchFunc(entries, row.source, func(e entry, uid uint32) int { return cmp.Compare(e.source, uid) })
		if !mapped || entries[i].target != row.target {
			return nil
		}
		right[i] = row.finding&anythingWrong == 0 && (row.finding&byHeader == 0 || c.mode == "headers")
		if rows[i] = row; right[i] {
			delete(rows, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var doubtful []entry
	known := map[uint32]proof{}
	for i, e := range entries {
		if e.target != 0 && !right[i] {
			doubtful = append(doubtful, e)
			if row, ok := rows[i]; ok {
				known[e.source] = row
			}
		}
	}
	for len(doubtful) > 0 {
		n := min(len(doubtful), readBackMost)
		still, err := c.again(ctx, doubtful[:n], known)
		if err != nil {
			return nil, err
		}
		open, doubtful = append(open, still...), doubtful[n:]
	}
	return open, nil
}

// again reads doubtful messages once more and says what is wrong with them.
func (c *checking) again(ctx context.Context, doubtful []entry, known map[uint32]proof) (open []entry, err error) {
	st := c.job.st
	judged := make([]proof, len(doubtful))
	list := make([]sent, len(doubtful))
	var unread []int
	for k, e := range doubtful {
		row, ok := known[e.source]
		if !ok {
			row = proof{source: e.source, target: e.target, date: noDate, finding: contentWrong}
		}
		judged[k], list[k] = row, sent{proof: row, flags: st.FlagSets[e.flags]}
		if row.finding&anythingWrong != flagsWrong {
			unread = append(unread, k)
		}
	}
	if err := c.readAgain(ctx, unread, list, judged); err != nil {
		return nil, err
	}
	var flagged []uint32
	for _, row := range judged {
		if row.finding&flagsWrong != 0 {
			flagged = append(flagged, row.target)
		}
	}
	metas, err := c.metas(ctx, flagged)
	if err != nil {
		return nil, err
	}
	for k := range judged {
		before := len(c.out)
		if judged[k].finding&flagsWrong != 0 && c.flags(judged[k], list[k].flags, metas[judged[k].target].flags) {
			judged[k].finding &^= flagsWrong
		}
		c.explain(list[k], &judged[k])
		if len(c.out) > before {
			open = append(open, doubtful[k])
		}
	}
	changes := map[string][]byte{}
	if err := c.proofs.add(ctx, c.pass.Store, c.job.key, judged, changes); err != nil {
		return nil, err
	}
	return open, put(ctx, c.pass.Store, changes)
}

// readAgain judges once more some of a list. The digest that the ledger has
// holds; only where it is all there is, and the target has something else, does
// the source tell what a server might have made of it.
func (c *checking) readAgain(ctx context.Context, which []int, list []sent, judged []proof) error {
	some := make([]sent, len(which))
	for n, k := range which {
		some[n] = list[k]
	}
	if err := c.askSource(ctx, some); err != nil {
		return err
	}
	for n, k := range which {
		if row := list[k].proof; row.digest != [32]byte{} && (some[n].known == nil || string(contentOf(some[n].known)) != string(row.digest[:])) {
			some[n].known = bareDigest(row.size, row.digest[:])
		}
	}
	rows, err := c.readBack(ctx, some)
	for n, k := range which {
		if err == nil {
			list[k], judged[k] = some[n], rows[n]
		}
	}
	return err
}

// explain says what is wrong with a message.
func (c *checking) explain(s sent, row *proof) {
	noted := slices.ContainsFunc(c.job.st.Notes, func(n Skipped) bool { return n.UID == row.source && n.Reason == Altered })
	switch {
	case row.finding&contentWrong != 0 && s.known == nil:
		c.differs(*row, Unreadable, "the source does not give it for the comparison")
	case row.finding&contentWrong != 0 && row.finding&notThere != 0:
		c.differs(*row, Missing, "the target does not have it")
	case row.finding&contentWrong != 0:
		c.differs(*row, Differs, "the content at the target is not what the source gave")
	case row.finding&dateWrong != 0 && noted:
		row.finding ^= dateWrong | dateAltered
	case row.finding&dateWrong != 0:
		c.differs(*row, Differs, "the date at the target is not "+time.Unix(row.date, 0).UTC().Format(time.RFC3339))
	}
}
