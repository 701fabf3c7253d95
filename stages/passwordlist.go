package stages

import (
	"bytes"
	"context"
	"fmt"
	"path"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/sheet"
)

// passwords.csv is the list of temporary passwords that a customer hands out, in
// clear or sealed with age, as the plan says (DESIGN, section 8).

var passwordColumns = []string{"service", "account", "target_account", "temporary_password", "webmail", "valid_until"}

// listed says that the account's password stands in the list: once it is set on
// the target, whatever the plan says now; before that, as the plan says.
func (r Report) listed(b *plans.Batch, a plans.Account, state ledger.State) bool {
	switch {
	case !state.PasswordSet.IsZero():
		return true
	case state.PasswordAt.IsZero(), a.Passwords != "temporary", a.Action == "skip":
		return false
	}
	return b.Passwords.Deliver == "before" || r.target(a).Admin.Name == "list"
}

func (r Report) password(ctx context.Context, key ledger.Key) (string, error) {
	sealed, err := r.Ledger.Kept(ctx, key, keptPassword)
	if err != nil {
		return "", err
	}
	return r.Vault.Reveal(key.Batch, key.Account, sealed)
}

func (r Report) passwordRow(b *plans.Batch, a plans.Account, state ledger.State, password string) []string {
	return []string{a.Service, a.Address, a.TargetAccount, password, r.target(a).Webmail, r.time(pipeline.NightFor(b, state).Start.Add(b.Passwords.ValidFor))}
}

// passwordList writes the list of one customer.
func (r Report) passwordList(ctx context.Context, b *plans.Batch, service string, rows [][]string, journal pipeline.Journal) error {
	data, err := r.style().EncodeSecrets(append([][]string{passwordColumns}, rows...), 3)
	if err != nil {
		return err
	}
	name := path.Join(b.Name, service, "passwords.csv")
	if len(b.Passwords.EncryptTo) == 0 {
		return r.put(name, data)
	}
	return r.sealed(ctx, b, service, name+".age", data, journal)
}

// sealed writes an age file once: again only when the list has changed.
func (r Report) sealed(ctx context.Context, b *plans.Batch, service, name string, data []byte, journal pipeline.Journal) error {
	mark, err := r.Vault.Mark(b.Name, data)
	if err != nil {
		return err
	}
	kept := "list/" + service
	have, err := journal.Get(ctx, kept)
	if err != nil {
		return err
	}
	if _, missing := r.Output.Stat(name); missing == nil && bytes.Equal(have, mark) {
		return nil
	}
	out, err := sheet.Encrypt(data, b.Passwords.EncryptTo)
	if err != nil {
		return fmt.Errorf("passwords.encrypt_to: %w", err)
	}
	if err := r.put(name, out); err != nil {
		return err
	}
	return journal.Put(ctx, map[string][]byte{kept: mark})
}
