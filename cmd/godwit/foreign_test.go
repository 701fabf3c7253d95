package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
)

// Somebody else made the output folder before the first run, with a ledger that
// says that an account is frozen, and how it is thawed.
func TestForeignLedgerRunsNothing(t *testing.T) {
	if os.Geteuid() != 0 { // nobody else can give a file away
		if err := ours("/etc/spring.ledger"); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
			t.Errorf("got %v", err)
		}
		return
	}
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	hook := filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntouch "+ran+"\necho '{\"state\": \"open\"}'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []string{"folder", "ledger", "nothing"} {
		t.Run(foreign, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "spring.ledger")
			l, err := sqlite.Open(t.Context(), file, false)
			if err != nil {
				t.Fatal(err)
			}
			key := ledger.Key{Batch: "one", Service: "acme.example", Account: "anna@acme.example"}
			err = l.Write(t.Context(), ledger.Change{Key: key, State: &ledger.State{
				Key: key, Phase: ledger.Frozen, FrozenAt: time.Now(), Deadline: time.Now(),
				Thaw: &ledger.Thaw{Driver: "exec", Command: []string{hook}, Dir: dir, Timeout: 10 * time.Second},
			}})
			if err := errors.Join(err, l.Close()); err != nil {
				t.Fatal(err)
			}
			if path, ok := map[string]string{"folder": filepath.Dir(file), "ledger": file}[foreign]; ok {
				if err := os.Chown(path, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
			_, err = release(t.Context(), file, logger("text"), nil)
			_, unrun := os.Stat(ran)
			if foreign == "nothing" {
				if err != nil || unrun != nil {
					t.Fatalf("our own is not thawed: %v, %v", err, unrun)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "belongs to another user") || unrun == nil {
				t.Errorf("got %v; the program was run: %v", err, unrun == nil)
			}
		})
	}
}
