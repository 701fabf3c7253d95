package stages

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/mailbox"
	"godwit/stages/sheet"
	"godwit/stages/vault"
	"godwit/templates"
)

// Report writes what people get, from the ledger and the lists alone: per batch
// for the operator, per service for the customer. The same ledger gives the
// same bytes, and a file that is the same already is not touched.
type Report struct {
	Plan   *plans.Plan
	Ledger ledger.Ledger
	Output *os.Root // output.dir
	Vault  *vault.Vault
}

// Columns of report.csv and skipped.csv (DESIGN, section 8).
var (
	reportColumns       = []string{"service", "account", "target", "target_account", "status", "reason", "passwords", "folders", "messages", "bytes", "copied", "already_there", "skipped", "passes", "notified_at", "frozen_at", "released_at", "interruption_seconds", "verified", "plan_revision"}
	skippedColumns      = []string{"service", "account", "folder", "uid", "message_id", "date", "bytes", "reason"}
	interruptionColumns = []string{"accounts", "median_seconds", "p95_seconds", "longest_seconds"}
)

// Name is the stage's word in plans, ledger and logs.
func (Report) Name() string { return pipeline.Report }

// Run writes the batch's files.
func (r Report) Run(ctx context.Context, task pipeline.Task, journal pipeline.Journal) (pipeline.Result, error) {
	states, err := r.Ledger.States(ctx, task.Batch.Name)
	if err != nil {
		return pipeline.Result{}, err
	}
	rows := map[ledger.Key]ledger.State{}
	for _, s := range states {
		rows[s.Key] = s
	}
	whole := pages{extra: extraColumns(task.Batch)}
	var unwritten error // one customer's files keep no other's from being written
	for service := range r.services(task.Batch, states) {
		own := pages{extra: extraColumns(task.Batch)}
		for _, a := range service.Accounts {
			if err := r.account(ctx, task.Batch, service, a, rows, &whole, &own); err != nil {
				return pipeline.Result{}, err
			}
			key := ledger.Key{Batch: task.Batch.Name, Service: service.Name, Account: a.Address}
			unwritten = errors.Join(unwritten, r.receipt(ctx, a, rows[key], journal))
		}
		unwritten = errors.Join(unwritten, r.customer(ctx, task.Batch, service.Name, own, journal))
	}
	name := task.Batch.Name
	return pipeline.Done("reports written"), errors.Join(unwritten,
		r.write(path.Join(name, "report.csv"), whole.header(reportColumns), whole.report),
		r.write(path.Join(name, "skipped.csv"), skippedColumns, whole.skipped),
		r.write(path.Join(name, "interruptions.csv"), interruptionColumns, interruptions(states)))
}

// interruptions sums up the batch's, for the operator.
func interruptions(states []ledger.State) [][]string {
	were := pipeline.InterruptionsOf(states)
	row := []string{strconv.Itoa(were.Accounts), "", "", ""}
	if were.Accounts > 0 {
		for i, seconds := range []float64{were.Median, were.P95, were.Longest} {
			row[i+1] = strconv.FormatFloat(seconds, 'f', 1, 64)
		}
	}
	return [][]string{row}
}

// services are the batch's, and with them the accounts that have moved and stand
// in no list any more: what was done for them stays in the reports.
func (r Report) services(b *plans.Batch, states []ledger.State) iter.Seq[plans.Service] {
	gone := map[string][]plans.Account{}
	for _, s := range states {
		if s.Key.Account != "" && s.Thaw != nil && (s.Moved() || !s.PasswordSet.IsZero()) {
			q := s.Thaw.Request
			a := plans.Account{Service: s.Key.Service, Address: s.Key.Account, Action: "migrate", Passwords: "keep", Target: q["target"], TargetAccount: q["target_account"]}
			if !s.PasswordAt.IsZero() {
				a.Passwords = "temporary"
			}
			gone[s.Key.Service] = append(gone[s.Key.Service], a)
		}
	}
	return func(yield func(plans.Service) bool) {
		for service := range b.Services() {
			for _, a := range gone[service.Name] {
				if !slices.ContainsFunc(service.Accounts, func(own plans.Account) bool { return own.Address == a.Address }) {
					service.Accounts = append(slices.Clip(service.Accounts), a)
				}
			}
			delete(gone, service.Name)
			if !yield(service) {
				return
			}
		}
		for _, name := range slices.Sorted(maps.Keys(gone)) {
			if !yield(plans.Service{Name: name, Accounts: gone[name]}) {
				return
			}
		}
	}
}

// pages are the rows of one reader's files.
type pages struct {
	extra     []string
	report    [][]string
	skipped   [][]string
	losses    [][]string
	passwords [][]string
}

func (p pages) header(columns []string) []string { return append(slices.Clone(columns), p.extra...) }

// extraColumns are the x_ columns of the batch's list, in its order: every row
// has them all.
func extraColumns(b *plans.Batch) []string {
	next, stop := iter.Pull(b.Services())
	defer stop()
	service, ok := next()
	if !ok || len(service.Accounts) == 0 {
		return nil
	}
	var names []string
	for _, x := range service.Accounts[0].Extra {
		names = append(names, x.Name)
	}
	return names
}

// account adds an account's rows to the operator's and the customer's pages:
// the operator reads details, the customer plain sentences.
func (r Report) account(ctx context.Context, b *plans.Batch, service plans.Service, a plans.Account, rows map[ledger.Key]ledger.State, whole, own *pages) error {
	key := ledger.Key{Batch: b.Name, Service: service.Name}
	of := rows[key]
	key.Account = a.Address
	state := rows[key]
	plain := r.plain(b, a, state, of)
	detail := plain
	if state.Detail != "" || of.Detail != "" {
		detail = cmp.Or(state.Detail, of.Detail)
	}
	if pipeline.Status(a, state, of) == "done" || a.Action == "skip" {
		detail = plain
	}
	if state.Phase == ledger.Switched && state.Clients != "" {
		detail = strings.TrimSpace(detail + " " + state.Clients)
	}
	whole.report = append(whole.report, r.row(a, state, of, detail, whole.extra))
	own.report = append(own.report, r.row(a, state, of, plain, own.extra))

	var skipped []mailbox.Skipped
	if state.Noted > 0 {
		var err error
		if skipped, err = r.skipped(ctx, key); err != nil {
			return err
		}
	}
	for _, s := range skipped {
		sentence := templates.Sentence("en", string(s.Reason))
		if s.Reason == mailbox.FolderRenamed { // the new name is the user's own, respelt
			sentence += " It is now: " + s.Detail
			s.Detail = sentence
		}
		whole.skipped = append(whole.skipped, r.skippedRow(a, s, cmp.Or(s.Detail, sentence)))
		own.skipped = append(own.skipped, r.skippedRow(a, s, sentence))
	}
	foretold, err := r.losses(ctx, b, key, state)
	if err != nil {
		return err
	}
	if a.Action == "skip" { // as in the announcement: what does not move loses nothing
		foretold = nil
	}
	own.losses = append(own.losses, foretold...)
	if !r.listed(b, a, state) {
		return nil
	}
	password, err := r.password(ctx, key)
	if errors.Is(err, vault.ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	own.passwords = append(own.passwords, r.passwordRow(b, a, state, password))
	return nil
}

// target is where the account goes; empty if the plan no longer has it.
func (r Report) target(a plans.Account) *plans.Target {
	if t := r.Plan.Targets[a.Target]; t != nil {
		return t
	}
	return &plans.Target{Name: a.Target}
}

// plain is the customer's reason: one of a fixed set of sentences, or the
// list's own reason for a skipped account.
func (r Report) plain(b *plans.Batch, a plans.Account, state, service ledger.State) string {
	if a.Action == "skip" && !state.Moved() {
		return a.Reason
	}
	codes := r.remarks(b, a, state)
	if code := pipeline.Reason(a, state, service); code != "" {
		codes = append([]string{code}, codes...)
	}
	var sentences []string
	for _, code := range codes {
		sentences = append(sentences, templates.Sentence("en", code))
	}
	return strings.Join(sentences, " ")
}

// remarks are what a report says of how an account was moved, whatever came of it.
func (r Report) remarks(b *plans.Batch, a plans.Account, state ledger.State) []string {
	if state.Phase == ledger.New {
		return nil
	}
	var codes []string
	target := r.target(a)
	if state.Phase == ledger.Switched && state.NotFrozen {
		codes = append(codes, "no-freeze")
	}
	if state.Phase == ledger.Switched && loginsOpen(state.Thaw) {
		codes = append(codes, "logins-open")
	}
	if r.Plan.Source.IMAP.TLS == "none" || target.IMAP.TLS == "none" {
		codes = append(codes, "no-tls")
	}
	if b.ShortNotice {
		codes = append(codes, "short-notice")
	}
	if a.Passwords == "temporary" && target.Admin.Name == "list" {
		codes = append(codes, "passwords-first")
	}
	return codes
}

func (r Report) row(a plans.Account, s, service ledger.State, reason string, extra []string) []string {
	row := []string{
		a.Service, a.Address, a.Target, a.TargetAccount, pipeline.Status(a, s, service), reason, a.Passwords,
		strconv.Itoa(s.Folders), strconv.Itoa(s.Messages), strconv.FormatInt(s.Bytes, 10), strconv.Itoa(s.Copied),
		strconv.Itoa(s.Already), strconv.Itoa(s.Skipped), strconv.Itoa(s.Passes), r.time(notified(service)),
		r.time(s.FrozenAt), r.time(s.ReleasedAt), interruption(s), r.time(s.VerifiedAt), cmp.Or(s.Revision, r.Plan.Revision),
	}
	values := map[string]string{}
	if s.Extra != nil {
		for _, x := range s.Extra {
			values[x.Name] = x.Value
		}
	} else {
		for _, x := range a.Extra {
			values[x.Name] = x.Value
		}
	}
	for _, name := range extra {
		row = append(row, values[name])
	}
	return row
}

func interruption(s ledger.State) string {
	if s.FrozenAt.IsZero() || s.ReleasedAt.IsZero() {
		return ""
	}
	return strconv.FormatFloat(s.Interrupted.Seconds(), 'f', 1, 64)
}

// notified is when the customer was first told.
func notified(service ledger.State) time.Time {
	var first time.Time
	for _, d := range service.Notices {
		if d.Accepted() && (first.IsZero() || d.At.Before(first)) {
			first = d.At
		}
	}
	return first
}

func (r Report) skipped(ctx context.Context, key ledger.Key) ([]mailbox.Skipped, error) {
	var all []mailbox.Skipped
	for _, name := range []string{keptSkipped, keptNotes, keptBack} {
		data, err := r.Ledger.Kept(ctx, key, name)
		if err != nil {
			return nil, err
		}
		var list []mailbox.Skipped
		if data != nil {
			if err := json.Unmarshal(data, &list); err != nil {
				return nil, fmt.Errorf("%s of %s: %w", name, key.Account, err)
			}
		}
		all = append(all, list...)
	}
	return all, nil
}

func (r Report) skippedRow(a plans.Account, s mailbox.Skipped, reason string) []string {
	uid, size := "", ""
	if s.UID != 0 {
		uid = strconv.FormatUint(uint64(s.UID), 10)
	}
	if s.Bytes != 0 {
		size = strconv.FormatInt(s.Bytes, 10)
	}
	return []string{a.Service, a.Address, s.Folder, uid, s.MessageID, r.time(s.Date), size, reason}
}

func (r Report) time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(r.Plan.Timezone).Format(time.RFC3339)
}

// customer writes the files that are handed to one customer.
func (r Report) customer(ctx context.Context, b *plans.Batch, service string, own pages, journal pipeline.Journal) error {
	dir := path.Join(b.Name, service)
	err := errors.Join(
		r.write(path.Join(dir, "report.csv"), own.header(reportColumns), own.report),
		r.write(path.Join(dir, "skipped.csv"), skippedColumns, own.skipped),
		r.lossFile(b, service, own.losses))
	if err != nil || len(own.passwords) == 0 {
		return err
	}
	return r.passwordList(ctx, b, service, own.passwords, journal)
}

func (r Report) style() sheet.Style {
	return sheet.Style{Delimiter: r.Plan.Output.Delimiter, BOM: r.Plan.Output.BOM}
}

func (r Report) write(name string, header []string, rows [][]string) error {
	data, err := r.style().Encode(append([][]string{header}, rows...))
	if err != nil {
		return err
	}
	return r.put(name, data)
}

func (r Report) put(name string, data []byte) error {
	pipeline.CrashPoint("before " + name)
	if err := sheet.Write(r.Output, name, data); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
