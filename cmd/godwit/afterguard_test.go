package main // afterGuard is nobody else's

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
)

// TestAGuardThatIsJustGone proves that a ledger which is taken at the first look
// and of which no guard is to be seen any more at the second is not somebody
// else's; and that one which stays taken is.
func TestAGuardThatIsJustGone(t *testing.T) {
	ctx := context.Background()
	defer func(d time.Duration) { lookAgain = d }(lookAgain)
	lookAgain = 5 * time.Second
	file := filepath.Join(t.TempDir(), "spring.ledger")
	taken, err := sqlite.Open(ctx, file, true)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := afterGuard(ctx, file, true); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("a ledger that is taken: %v, %v", l, err)
	}
	closed := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { closed <- taken.Close() })
	l, err := afterGuard(ctx, file, true)
	if err = errors.Join(err, <-closed); err != nil {
		t.Fatalf("a ledger that was given back: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
