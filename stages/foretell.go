package stages

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/losses"
	"godwit/templates"
)

// The loss ledger goes from validate, which finds it out, over the ledger to the
// announcement, which counts it, and to losses.csv, which spells it out.

const keptLosses = "losses" // []losses.Item as of the last check

var lossColumns = []string{"service", "account", "outcome", "kind", "folder", "uid", "message_id", "date", "count", "bytes", "reason", "link"}

func keepLosses(ctx context.Context, journal pipeline.Journal, items []losses.Item) error {
	data, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return journal.Put(ctx, map[string][]byte{keptLosses: data})
}

func readLosses(data []byte, account string) (items []losses.Item, err error) {
	if data == nil {
		return nil, nil
	}
	if err := json.Unmarshal(data, &items); err != nil {
		return nil, fmt.Errorf("%s of %s: %w", keptLosses, account, err)
	}
	return items, nil
}

// foretold is what the announcement says of losses; nil if nobody has looked.
func (n Notify) foretold(ctx context.Context, task pipeline.Task, journal pipeline.Journal, to pipeline.Recipient) (*templates.Losses, error) {
	if task.Notice.Plan.Template != "announce" {
		return nil, nil
	}
	var totals losses.Totals
	looked := false
	for _, a := range task.Service.Accounts {
		if a.Action == "skip" || to.Account != "" && a.Address != to.Account || !about(task.Notice, a) {
			continue
		}
		of := journal.Account(a.Address)
		if !of.State().Foretold {
			continue
		}
		data, err := of.Get(ctx, keptLosses)
		if err != nil {
			return nil, err
		}
		items, err := readLosses(data, a.Address)
		if err != nil {
			return nil, err
		}
		looked = true
		totals.Add(items)
	}
	if !looked {
		return nil, nil
	}
	totals.Add(losses.BeyondIMAP(n.Plan.Source.Platform))
	return &templates.Losses{Kept: totals.Kept, Converted: totals.Converted, Person: totals.Person, Lost: totals.Lost}, nil
}

// losses are the account's rows of losses.csv.
func (r Report) losses(ctx context.Context, b *plans.Batch, key ledger.Key, state ledger.State) ([][]string, error) {
	if !state.Foretold {
		return nil, nil
	}
	data, err := r.Ledger.Kept(ctx, key, keptLosses)
	if err != nil {
		return nil, err
	}
	items, err := readLosses(data, key.Account)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, i := range items {
		rows = append(rows, r.lossRow(b, key.Service, key.Account, i))
	}
	return rows, nil
}

// lossFile writes losses.csv, with what no copy over IMAP can carry at its end.
func (r Report) lossFile(b *plans.Batch, service string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	for _, i := range losses.BeyondIMAP(r.Plan.Source.Platform) {
		rows = append(rows, r.lossRow(b, service, "", i))
	}
	return r.write(path.Join(b.Name, service, "losses.csv"), lossColumns, rows)
}

// lossRow is one line. What is kept needs no guide.
func (r Report) lossRow(b *plans.Batch, service, account string, i losses.Item) []string {
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	link := b.Notices.Links["guide"]
	if i.Drawer == losses.Kept {
		link = ""
	}
	return []string{
		service, account, string(i.Drawer), i.Kind, i.Folder, number(int64(i.UID)), i.MessageID, r.time(i.Date),
		strconv.Itoa(i.Count), number(i.Bytes), templates.Sentence("en", i.Reason), link,
	}
}
