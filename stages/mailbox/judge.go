package mailbox

import (
	"slices"
	"strings"
	"time"
)

// sent is one message to be read back.
type sent struct {
	proof
	known []byte // digest; nil: the source is asked
	flags string
	noted bool // with another date
	like  bool // nothing known, and the same by its header as what the source makes of it now
}

// sent lists a record's messages; those that only stand for one that the target
// had elsewhere are none.
func (rec record) sent() (list []sent) {
	for i, source := range rec.Sources {
		if rec.Targets[i] == 0 {
			continue
		}
		s := sent{proof: proof{source: source, target: rec.Targets[i], date: noDate}, flags: rec.Flags[i]}
		if i < len(rec.Dates) {
			s.date = rec.Dates[i]
		}
		if sound(rec.Digests[i]) {
			s.known = rec.Digests[i]
		}
		s.noted = slices.ContainsFunc(rec.Notes, func(n Skipped) bool { return n.UID == source && n.Reason == Altered })
		list = append(list, s)
	}
	return list
}

// judge compares a message with what the target gives back of it.
func (s sent) judge(mode string, back []byte, m meta) proof {
	row := s.proof
	row.finding = 0
	if s.known != nil {
		row.size = lengthOf(s.known)
		copy(row.digest[:], contentOf(s.known))
	}
	switch {
	case back == nil:
		row.finding |= contentWrong | notThere
	case s.like:
		row.finding |= byHeader
		row.size = lengthOf(back)
		copy(row.digest[:], contentOf(back))
	case s.known == nil:
		row.finding |= contentWrong
	case mode == "headers":
		row.finding |= byHeader
		if string(headOf(s.known)) != contentKey(back)[:headSize] {
			row.finding |= contentWrong
		}
	default:
		switch compareDigests(s.known, back) {
		case altered:
			row.finding |= contentAltered
			copy(row.stored[:], contentOf(back))
		case wrong:
			row.finding |= contentWrong
		}
	}
	if m.uid == 0 {
		row.finding |= contentWrong | notThere
		return row
	}
	if date := judgeDate(s.date, m.date); date != 0 && s.noted {
		row.finding |= dateAltered
	} else {
		row.finding |= date
	}
	if row.date == noDate {
		row.date = m.date
	}
	if len(missingFlags(s.flags, m.flags)) > 0 {
		row.finding |= flagsWrong // perhaps not yet carried, or none that the target can hold
	}
	return row
}

// missingFlags are those of sent that back lacks, whatever the case of letters.
func missingFlags(sent, back string) (lost []string) {
	kept, _ := keepFlags(sent, []string{`\*`})
	lost, _ = difference(back, kept)
	return slices.DeleteFunc(lost, func(f string) bool {
		return slices.ContainsFunc(strings.Fields(back), func(b string) bool { return strings.EqualFold(b, f) })
	})
}

// Dates that 32-bit servers cannot hold; they store something else without a
// word.
var firstDate, lastDate = time.Unix(0, 0), time.Unix(1<<31-1, 0)

// judgeDate compares the date a message was sent with and that of the target. A
// date in the future is replaced by now at some servers.
func judgeDate(sent, back int64) finding {
	t := time.Unix(sent, 0)
	switch {
	case sent == back, sent == noDate:
		return 0
	case t.Before(firstDate), t.After(lastDate), t.After(time.Now().Add(24 * time.Hour)):
		return dateAltered
	}
	return dateWrong
}
