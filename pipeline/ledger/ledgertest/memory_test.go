package ledgertest_test

import (
	"testing"

	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/ledgertest"
)

func TestMemory(t *testing.T) {
	ledgertest.Run(t, func(*testing.T) func(bool) (ledger.Ledger, error) {
		return new(ledgertest.Memory).Open
	})
}
