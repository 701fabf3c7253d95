package stages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailbox"
	"godwit/stages/receipt"
	"godwit/stages/sheet"
)

// verified is what a receipt says beside the messages, as it was when the mailbox
// was verified under the freeze: what the plan says later does not count.
type verified struct {
	Source        string `json:"source"` // host:port
	SourceLogin   string `json:"source_login"`
	Target        string `json:"target"`
	TargetServer  string `json:"target_server"`
	TargetAccount string `json:"target_account"`
	Verify        string `json:"verify"`
	Messages      int    `json:"messages"` // of the source, in folders that the target has
}

func (c Copy) verified(task pipeline.Task, result mailbox.Result) verified {
	a := task.Account
	v := verified{
		Source: c.Plan.Source.IMAP.Address, SourceLogin: a.SourceLogin, Target: a.Target, TargetAccount: a.TargetAccount,
		Verify: task.Batch.Copy.Verify, Messages: result.Frozen,
	}
	if t := c.Plan.Targets[a.Target]; t != nil {
		v.TargetServer = t.IMAP.Address
	}
	return v
}

// ErrNeverVerified means that there is no receipt of an account yet.
var ErrNeverVerified = errors.New("it was not verified yet")

// keptReceipt, with the account behind it, is what the batch keeps of the
// receipt that was written last.
const keptReceipt = "receipt/"

// ReceiptMark is what the ledger keeps of a receipt's file.
type ReceiptMark struct {
	Hash string `json:"hash"`
	Size int64  `json:"size"`
	Of   string `json:"of"` // what it was written of
}

// ReceiptName is the file of an account's receipt, below output.dir: the account
// percent-encoded. Of one whose name no file system takes it is the beginning,
// and a hash of the whole.
func ReceiptName(key ledger.Key) string {
	name := url.PathEscape(key.Account)
	if len(name) > longestName {
		sum := sha256.Sum256([]byte(key.Account))
		name = name[:longestName-65] + "~" + hex.EncodeToString(sum[:])
	}
	return path.Join(key.Batch, key.Service, "receipts", name+".json")
}

// longestName leaves room for what stands around it while the file is written
// (sheet.Stream), in the 255 bytes of a file's name.
const longestName = 230

// receipt writes the receipt of an account that has moved, unless it stands there
// already. Where what is kept no longer adds up, the one before stays.
func (r Report) receipt(ctx context.Context, a plans.Account, state ledger.State, journal pipeline.Journal) error {
	if state.Phase != ledger.Switched || state.VerifiedAt.IsZero() {
		return nil
	}
	mark, of := ReceiptMark{}, receiptOf(state)
	data, err := journal.Get(ctx, keptReceipt+a.Address)
	if err == nil && data != nil {
		err = json.Unmarshal(data, &mark)
	}
	if err != nil {
		return err
	}
	name := ReceiptName(state.Key)
	if info, err := r.Output.Stat(name); err == nil && mark.Of == of && mark.Size == info.Size() {
		return nil
	}
	var file *counted
	pipeline.CrashPoint("before " + name)
	err = sheet.Stream(r.Output, name, func(w io.Writer) (err error) {
		file = &counted{w: w}
		mark.Hash, err = WriteReceipt(ctx, r.Ledger, r.Plan.Name, state, file)
		return err
	})
	if errors.Is(err, mailbox.ErrUnbalanced) || errors.Is(err, ErrNeverVerified) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	mark.Size, mark.Of = file.n, of
	if data, err = json.Marshal(mark); err != nil {
		return err
	}
	return journal.Put(ctx, map[string][]byte{keptReceipt + a.Address: data})
}

// receiptOf changes with what a receipt is written of. A pass that carried
// nothing changes nothing.
func receiptOf(s ledger.State) string {
	return fmt.Sprintf("verified %d, switched %d, plan %s, %d messages, %d copied, %d named",
		s.VerifiedAt.UnixNano(), s.SwitchedAt.UnixNano(), s.Revision, s.Messages, s.Copied, s.Noted)
}

type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// WriteReceipt writes an account's receipt from the ledger alone and returns its
// hash. The error wraps ErrNeverVerified, or mailbox.ErrUnbalanced where what is
// kept does not add up.
func WriteReceipt(ctx context.Context, l ledger.Ledger, plan string, state ledger.State, out io.Writer) (sum string, err error) {
	from := keptOf{l, state.Key}
	var v *verified
	var others, notes []mailbox.Skipped
	for name, value := range map[string]any{keptVerified: &v, keptSkipped: &others, keptNotes: &notes} {
		data, err := from.Get(ctx, name)
		if err == nil && data != nil {
			err = json.Unmarshal(data, value)
		}
		if err != nil {
			return "", fmt.Errorf("%s of %s: %w", name, state.Key.Account, err)
		}
	}
	if v == nil {
		return "", fmt.Errorf("%s: %w", state.Key.Account, ErrNeverVerified)
	}
	w := receipt.NewWriter(out, receipt.Head{
		Account: state.Key.Account, Service: state.Key.Service, Batch: state.Key.Batch, Plan: plan, PlanRevision: state.Revision,
		Source: v.Source, SourceLogin: v.SourceLogin, Target: v.Target, TargetServer: v.TargetServer, TargetAccount: v.TargetAccount,
		Verify: v.Verify, VerifiedAt: state.VerifiedAt, SwitchedAt: state.SwitchedAt,
	})
	frozen, err := mailbox.WriteReceipt(ctx, from, w, append(others, notes...))
	if err == nil && frozen != v.Messages {
		err = fmt.Errorf("%w: the source had %d messages, %d are known of", mailbox.ErrUnbalanced, v.Messages, frozen)
	}
	if err != nil {
		return "", err
	}
	return w.Close()
}

// keptOf is what a ledger keeps for an account.
type keptOf struct {
	ledger ledger.Ledger
	key    ledger.Key
}

func (k keptOf) Get(ctx context.Context, name string) ([]byte, error) {
	return k.ledger.Kept(ctx, k.key, name)
}
