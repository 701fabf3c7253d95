package stages

import (
	"bytes"
	"context"
	"fmt"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages/sheet"
)

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
