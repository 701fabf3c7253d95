package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
	"godwit/stages"
	"godwit/stages/mailbox"
	"godwit/stages/receipt"
	"godwit/stages/sheet"
)

func verifyCommand() *cobra.Command {
	var v verification
	c := &cobra.Command{
		Use: "verify PLAN|RECEIPT", Short: "Read mailboxes back and compare them with their receipts", Args: cobra.ExactArgs(1),
		Long: `With a receipt (receipts/ACCOUNT.json) it checks the file itself, and asks no server:
every line, the sums and the hash.

With a plan it signs in to the target as the run did, reads every mailbox that has
moved back, and compares it with what the ledger knows and with its receipt. It
names what is missing, altered, moved, flagged otherwise or new, and changes
nothing. --receipt compares one mailbox with a receipt from somewhere else.`,
		RunE: func(c *cobra.Command, args []string) error {
			v.out, v.json = c.OutOrStdout(), json.NewEncoder(c.OutOrStdout())
			if strings.HasSuffix(args[0], ".json") {
				if v.account+v.service+v.receipt != "" {
					return exit{exitWrong, errors.New("--account, --service and --receipt go with a plan")}
				}
				return v.offline(args[0])
			}
			if v.account != "" && v.service != "" || v.receipt != "" && v.service != "" {
				return exit{exitWrong, errors.New("one of --account and --service; --receipt is about one account")}
			}
			return v.online(c.Context(), args[0])
		},
	}
	c.Flags().StringVar(&v.account, "account", "", "this account")
	c.Flags().StringVar(&v.service, "service", "", "this service's accounts")
	c.Flags().StringVar(&v.receipt, "receipt", "", "compare with this receipt instead of the ledger's")
	c.Flags().BoolVar(&v.asJSON, "json", false, "as JSON, one finding or account a line")
	return c
}

// verification is one call of verify.
type verification struct {
	account, service, receipt string
	asJSON                    bool

	out    io.Writer
	json   *json.Encoder
	copies stages.Copy
	ledger ledger.Ledger
	plan   *plans.Plan
	done   int
	wrong  int // accounts that are not as their receipt says, or cannot be read
	unread int // of them, those that could not be looked at
}

// conclusion is what verify says of an account or a receipt at the end.
type conclusion struct {
	Account string           `json:"account,omitempty"`
	Result  string           `json:"result"` // verified, differs, damaged, no login, unreachable, no receipt
	Detail  string           `json:"detail,omitempty"`
	SHA256  string           `json:"sha256,omitempty"` // of the receipt
	Sums    *receipt.Sums    `json:"receipt,omitempty"`
	Found   *mailbox.Audited `json:"mailbox,omitempty"`
}

// offline checks a receipt's file.
func (v *verification) offline(file string) error {
	r, err := v.file(file)
	if err != nil {
		return exit{exitWrong, err}
	}
	if v.tell(file, concluded(r)); len(r.Damage) > 0 {
		return exit{exitTrouble, errors.New("")}
	}
	return nil
}

// file reads a receipt and tells its damage.
func (v *verification) file(file string) (receipt.Result, error) {
	f, err := os.Open(file)
	if err != nil {
		return receipt.Result{}, err
	}
	defer f.Close()
	r, err := receipt.Read(f, receipt.Visitor{})
	if err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	for _, d := range r.Damage {
		v.finding(file, d, d.String())
	}
	if r.More > 0 {
		v.finding(file, receipt.Damage{Text: "more"}, fmt.Sprintf("and %d more", r.More))
	}
	return r, nil
}

func concluded(r receipt.Result) conclusion {
	out := conclusion{Account: r.Head.Account, Result: "verified", SHA256: r.Hash, Sums: &r.Sums}
	if n := len(r.Damage) + r.More; n > 0 {
		out.Result, out.Detail = "damaged", fmt.Sprintf("%d places of the receipt are not as they were written", n)
	}
	return out
}

func (v *verification) finding(where string, finding any, line string) {
	if v.asJSON {
		_ = v.json.Encode(map[string]any{"of": where, "finding": finding})
		return
	}
	fmt.Fprintf(v.out, "%s: %s\n", where, sheet.Safe(line))
}

func (v *verification) tell(where string, r conclusion) {
	v.done++
	if r.Result != "verified" {
		v.wrong++
	}
	if r.Result == "unreachable" || r.Result == "no login" {
		v.unread++
	}
	if v.asJSON {
		_ = v.json.Encode(r)
		return
	}
	line := r.Result
	if r.Detail != "" {
		line += ": " + r.Detail
	}
	if s := r.Sums; s != nil {
		line += fmt.Sprintf("; receipt: %d messages, %d exact, %d altered in a known way, %d removed, %d not carried, %d late", s.AtFreeze+s.Late, s.Exact, s.Altered, s.Removed, s.NotCarried, s.Late)
	}
	if f := r.Found; f != nil {
		line += fmt.Sprintf("; mailbox: %d right, %d moved, %d missing, %d wrong, %d flagged otherwise, %d new", f.Right, f.Moved, f.Missing, f.Wrong, f.Flagged, f.Extra)
	}
	fmt.Fprintf(v.out, "%s: %s\n", where, sheet.Safe(line))
	if r.SHA256 != "" {
		fmt.Fprintf(v.out, "%s: sha256 %s\n", where, sheet.Safe(r.SHA256))
	}
}

// online compares mailboxes with what the ledger or a receipt says.
func (v *verification) online(ctx context.Context, file string) error {
	plan, err := load(file)
	if err != nil {
		return err
	}
	var given *receipt.Result
	if v.receipt != "" {
		r, err := v.file(v.receipt)
		if err != nil {
			return exit{exitWrong, err}
		}
		if v.account != "" && v.account != r.Head.Account {
			return exit{exitWrong, fmt.Errorf("%s is the receipt of %s", v.receipt, r.Head.Account)}
		}
		given, v.account = &r, r.Head.Account
	}
	t, err := wire(plan, pipeline.Clock{})
	if err != nil {
		return exit{exitWrong, err}
	}
	l, err := sqlite.Read(ctx, ledgerFile(plan))
	if errors.Is(err, os.ErrNotExist) {
		return exit{exitWrong, fmt.Errorf("there is no ledger %s: nothing has moved yet", ledgerFile(plan))}
	}
	if err != nil {
		return exit{exitWrong, err}
	}
	defer l.Close()
	v.plan, v.ledger, v.copies = plan, l, stages.Copy{Plan: plan, Servers: t.servers, Vault: t.vault}
	if err := v.accounts(ctx, given); err != nil {
		return err
	}
	if v.done == 0 {
		if err := unplanned(plan, v.account, v.service); err != nil {
			return exit{exitWrong, err}
		}
		return exit{exitWrong, fmt.Errorf("no account of %s has moved", cmp.Or(v.service+v.account, "the plan"))}
	}
	if !v.asJSON {
		fmt.Fprintf(v.out, "%d mailboxes: %d as their receipts say, %d not", v.done, v.done-v.wrong, v.wrong-v.unread)
		if v.unread > 0 {
			fmt.Fprintf(v.out, ", %d could not be read", v.unread)
		}
		fmt.Fprintln(v.out)
	}
	if v.wrong > 0 {
		return exit{exitTrouble, errors.New("")}
	}
	return nil
}

func (v *verification) accounts(ctx context.Context, given *receipt.Result) error {
	subjects, err := look(ctx, v.plan)
	if err != nil {
		return err
	}
	for s := range subjects {
		for _, a := range s.Service.Accounts {
			state := s.Accounts[a.Address]
			if v.account != "" && v.account != a.Address || v.service != "" && v.service != s.Service.Name || state.Phase != ledger.Switched {
				continue
			}
			r, err := v.one(ctx, s, a, state, given)
			if ctx.Err() != nil {
				return exit{exitInterrupted, errors.New("interrupted")}
			}
			if err != nil {
				return err
			}
			v.tell(a.Address, r)
		}
	}
	return nil
}

// one verifies an account. An error is of the ledger.
func (v *verification) one(ctx context.Context, s pipeline.Subject, a plans.Account, state ledger.State, given *receipt.Result) (conclusion, error) {
	expected, sum, err := v.expected(ctx, state)
	switch {
	case errors.Is(err, stages.ErrNeverVerified), errors.Is(err, mailbox.ErrUnbalanced):
		if given == nil {
			return conclusion{Account: a.Address, Result: "no receipt", Detail: err.Error()}, nil
		}
	case err != nil:
		return conclusion{}, err
	}
	if given != nil {
		return v.audit(ctx, s, a, state, *given, func() (io.ReadCloser, error) { return os.Open(v.receipt) })
	}
	filed := v.filed(state, sum)
	r, err := v.audit(ctx, s, a, state, receipt.Result{Hash: sum}, expected)
	if err == nil && !filed && r.Result == "verified" {
		r.Result, r.Detail = "damaged", "the mailbox is right, the receipt's file is not: godwit report writes it again"
	}
	return r, err
}

// expected is the receipt as the ledger gives it.
func (v *verification) expected(ctx context.Context, state ledger.State) (open func() (io.ReadCloser, error), sum string, err error) {
	sum, err = stages.WriteReceipt(ctx, v.ledger, v.plan.Name, state, io.Discard)
	return func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			_, err := stages.WriteReceipt(ctx, v.ledger, v.plan.Name, state, w)
			_ = w.CloseWithError(err)
		}()
		return r, nil
	}, sum, err
}

// filed looks whether the receipt that was handed out is the ledger's.
func (v *verification) filed(state ledger.State, sum string) bool {
	file := filepath.Join(outputDir(v.plan), filepath.FromSlash(stages.ReceiptName(state.Key)))
	r, err := v.file(file)
	switch {
	case err != nil:
		v.finding(state.Key.Account, conclusion{Result: "no receipt", Detail: err.Error()}, err.Error())
	case r.Hash != sum && len(r.Damage) == 0:
		text := fmt.Sprintf("%s has the hash %s, the ledger's receipt %s", file, r.Hash, sum)
		v.finding(state.Key.Account, conclusion{Result: "differs", Detail: text}, text)
	case len(r.Damage) == 0:
		return true
	}
	return false
}

// audit compares the mailbox with a receipt.
func (v *verification) audit(ctx context.Context, s pipeline.Subject, a plans.Account, state ledger.State, known receipt.Result, open func() (io.ReadCloser, error)) (conclusion, error) {
	in, err := open()
	if err != nil {
		return conclusion{}, err
	}
	defer in.Close()
	out := conclusion{Account: a.Address, Result: "verified", SHA256: known.Hash}
	found, read, err := v.copies.Audit(ctx, v.ledger, s.Batch, a, state, in, func(d mailbox.Deviation) {
		v.finding(a.Address, d, sentence(d))
	})
	zone := v.plan.Timezone
	switch {
	case errors.Is(err, stages.ErrLoginEnded):
		out.Result, out.Detail = "no login", "its login on the target has ended (the user has set a new password, or the batch is closed); it was verified on "+state.VerifiedAt.In(zone).Format("2006-01-02 15:04")
		return out, nil
	case errors.Is(err, mailbox.ErrLogin):
		out.Result, out.Detail = "no login", err.Error()
		return out, nil
	case err != nil:
		out.Result, out.Detail = "unreachable", err.Error()
		return out, nil
	}
	out.Sums, out.Found = &read.Sums, &found
	switch {
	case found.Missing+found.Wrong > 0:
		out.Result = "differs"
	case len(read.Damage) > 0:
		out.Result, out.Detail = "damaged", "the mailbox is right where the receipt can be read"
	}
	return out, nil
}

// sentence is a deviation for people.
func sentence(d mailbox.Deviation) string {
	text := fmt.Sprintf("folder %q: ", d.Folder)
	if d.UID != 0 {
		text += fmt.Sprintf("UID %d (%d at the target): ", d.UID, d.TargetUID)
	}
	text += d.Kind
	if d.Detail != "" {
		text += ": " + d.Detail
	}
	return text
}
