package vault_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/stages/vault"
)

func TestASealedPasswordComesBackForItsAccountOnly(t *testing.T) {
	dir := t.TempDir()
	v, err := vault.Open(dir, "acme", "")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("b1", "anna@old.example", "canary-Secret")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("canary")) {
		t.Error("the sealed form shows the password")
	}
	again, err := vault.Open(dir, "acme", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Reveal("b1", "anna@old.example", sealed); got != "canary-Secret" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := again.Reveal("b1", "ben@old.example", sealed); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("another account's: %v, want ErrSealed", err)
	}
	info, err := os.Stat(filepath.Join(dir, "acme.b1.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
}

func TestADestroyedKeyStaysDestroyed(t *testing.T) {
	v, err := vault.Open(t.TempDir(), "acme", "")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("b1", "anna@old.example", "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Destroy("b1"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Reveal("b1", "anna@old.example", sealed); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := v.Seal("b1", "anna@old.example", "x"); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("sealing in a closed batch: %v, want ErrClosed", err)
	}
}

func TestAKeyFromTheEnvironmentLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	v, err := vault.Open(dir, "acme", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("b1", "a", "x")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Reveal("b1", "a", sealed); got != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
	if _, err := vault.Open(dir, "acme", "short"); err == nil || strings.Contains(err.Error(), "short\"") {
		t.Errorf("a bad key: %v", err)
	}
}
