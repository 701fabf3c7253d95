package pipeline

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"godwit/pipeline/ledger"
)

// Retry is a person's word: go on. It clears the trouble of what match selects,
// and lets notices that failed or are unknown go out again. It returns how many
// rows it changed.
func Retry(ctx context.Context, l ledger.Ledger, clock Clock, batches []string, match func(ledger.Key) bool) (int, error) {
	changed := 0
	for _, name := range batches {
		b, err := openBook(ctx, l, clock, name)
		if err != nil {
			return changed, err
		}
		for _, key := range sorted(b.rows) {
			if !match(key) || !stuck(b.state(key)) {
				continue
			}
			entry := &ledger.Entry{Key: key, Stage: "retry", Effect: "retry", Mark: ledger.Note, Text: "a person said: go on"}
			if err := b.write(ctx, key, entry, free); err != nil {
				return changed, err
			}
			changed++
		}
	}
	return changed, nil
}

func sorted(rows map[ledger.Key]ledger.State) []ledger.Key {
	return slices.SortedFunc(maps.Keys(rows), func(x, y ledger.Key) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Account, y.Account))
	})
}

func stuck(s ledger.State) bool {
	if s.Trouble != ledger.None || s.Deferrals > 0 || !s.Next.IsZero() {
		return true
	}
	for _, d := range s.Notices {
		if d.Lost() {
			return true
		}
	}
	return false
}

func free(s *ledger.State) {
	if s.Trouble == ledger.Held && s.Reason != "" && !slices.Contains(s.Waved, s.Reason) {
		s.Waved = append(slices.Clone(s.Waved), s.Reason)
	}
	s.Trouble, s.Origin, s.Reason, s.Detail = ledger.None, "", "", ""
	s.Tries, s.Deferrals, s.Next = 0, 0, time.Time{}
	maps.DeleteFunc(s.Notices, func(_ string, d *ledger.Delivery) bool { return d.Lost() })
}
