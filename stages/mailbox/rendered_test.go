package mailbox_test

import (
	"errors"
	"fmt"
	"testing"

	"godwit/stages/mailbox/imaptest"
)

// rendered is a move from an Exchange that makes each message anew at each
// fetch, in its header too.
func rendered(t *testing.T) *scenario {
	s := newScenario(t, imaptest.Exchange, imaptest.Zimbra)
	s.source.Greet(imaptest.ExchangeGreeting)
	s.target.Greet(imaptest.ZimbraGreeting)
	for _, q := range imaptest.ExchangeQuirks() {
		if q.Name == "renders anew" {
			s.source.Be(s.from, q)
		}
	}
	for i := range 45 {
		m := letter(i + 200)
		m.Body = fmt.Appendf(nil, "Content-Type: multipart/mixed; boundary=render-0000\r\n%s--render-0000--\r\n", m.Body)
		s.from.Add("Work", m)
	}
	return s
}

// TestCrashWithRenderedMessages proves that a crash at any write to the ledger
// doubles nothing where the source cannot say what it had given.
func TestCrashWithRenderedMessages(t *testing.T) {
	points := 0
	for n := 1; ; n++ {
		s := rendered(t)
		store, count := newMemory(), 0
		store.crash = func(bool) error {
			if count++; count == n {
				return errCrash
			}
			return nil
		}
		s.pass.Store = store
		crashed := false
		for range 3 {
			res, err := s.pass.Run(t.Context())
			if errors.Is(err, errCrash) {
				crashed = true
				continue
			}
			if err != nil || len(res.Differs) > 0 {
				t.Fatalf("crash %d: %v, %+v", n, err, res.Differs)
			}
			s.judge(res)
		}
		s.source.Close()
		s.target.Close()
		if t.Failed() {
			t.Fatalf("crash %d", n)
		}
		if !crashed {
			break
		}
		points++
	}
	if points < 15 {
		t.Errorf("only %d crash points", points)
	}
	t.Logf("%d crash points", points)
}

// TestLostLedgerWithRenderedMessages proves that without a ledger what is there
// is known again, and a message that is there twice at the source stays so.
func TestLostLedgerWithRenderedMessages(t *testing.T) {
	s := rendered(t)
	run(t, s.pass)
	s.pass.Store = newMemory()
	res := run(t, s.pass)
	if res.Copied > 0 || res.AlreadyThere == 0 || len(res.Differs) > 0 {
		t.Errorf("got %+v", res)
	}
	s.judge(res)
}
