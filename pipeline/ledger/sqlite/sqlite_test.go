package sqlite_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/ledgertest"
	"godwit/pipeline/ledger/sqlite"
)

func TestLedger(t *testing.T) {
	ledgertest.Run(t, func(t *testing.T) func(bool) (ledger.Ledger, error) {
		file := filepath.Join(t.TempDir(), "plan with ?#% in its name.ledger")
		return func(rehearsal bool) (ledger.Ledger, error) {
			l, err := sqlite.Open(t.Context(), file, rehearsal)
			if err != nil {
				return nil, err
			}
			return l, nil
		}
	})
}

func TestALedgerIsReadBesideARun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acme.ledger")
	if _, err := sqlite.Read(t.Context(), file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("reading what does not exist: %v", err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Read(t.Context(), file); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("reading what a first run is just making: %v", err)
	}
	run, err := sqlite.Open(t.Context(), file, false)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	key := ledger.Key{Batch: "b", Service: "s", Account: "a"}
	if err := run.Write(t.Context(), ledger.Change{Key: key, State: &ledger.State{Passes: 3}}); err != nil {
		t.Fatal(err)
	}
	look, err := sqlite.Read(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	states, err := look.States(t.Context(), "b")
	if err != nil || len(states) != 1 || states[0].Passes != 3 {
		t.Errorf("got %+v, %v", states, err)
	}
	if err := look.Write(t.Context(), ledger.Change{Key: key, State: &ledger.State{}}); err == nil {
		t.Error("a reader could write")
	}
}

func TestALedgerOfANewerGodwitIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acme.ledger")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("pragma user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), file, false); !errors.Is(err, ledger.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

func TestTheLedgerIsForItsOwnerOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acme.ledger")
	l, err := sqlite.Open(t.Context(), file, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want -rw-------", info.Mode(), err)
	}
}
