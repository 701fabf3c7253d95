package mailbox_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// TestSmallMailboxesSpareLanes proves that a pass beside others opens no lanes
// that are not worth their sign-ins, and does where it is alone, has much to do,
// or the servers are far away.
func TestSmallMailboxesSpareLanes(t *testing.T) {
	for name, tt := range map[string]struct {
		others int           // connections of other passes
		far    time.Duration // from how long a way on lanes are not spared
		bytes  int64         // for which a lane is not spared
		spares bool
	}{
		"beside others":            {others: 4, far: time.Hour, bytes: 1 << 30, spares: true},
		"beside few others":        {others: 3, far: time.Hour, bytes: 1 << 30},
		"alone":                    {others: 0, far: time.Hour, bytes: 1 << 30},
		"beside others, far away":  {others: 4, far: 1, bytes: 1 << 30},
		"beside others, with much": {others: 4, far: time.Hour, bytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			defer mailbox.LanesWorthIt(tt.bytes, tt.far)()
			s := newScenario(t, imaptest.Full, imaptest.Full)
			for i := range 8 {
				s.from.Add(fmt.Sprint("folder", i), letter(i+1))
			}
			s.pass.Options.Connections = 4
			give := mailbox.TakeSlots(t.Context(), s.pass.Target.Server, tt.others)
			defer give()
			var signedIn atomic.Int32
			s.target.Inject(imaptest.Fault{Name: "counted", On: "AUTHENTICATE", Before: func(*imaptest.Moment) { signedIn.Add(1) }})
			if res := run(t, s.pass); res.Copied != 28 {
				t.Errorf("%d copied", res.Copied)
			}
			if got := signedIn.Load(); tt.spares != (got == 2) || got < 2 { // a lane, and who reads back
				t.Errorf("%d sign-ins at the target", got)
			}
			for mailbox.SlotsUsed(s.pass.Target.Server) > tt.others { // LOGOUT is not waited for
				time.Sleep(time.Millisecond)
			}
		})
	}
}
