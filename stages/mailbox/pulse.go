package mailbox

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// pulse is when a pass last did anything: a byte of its work came or went on any
// of its connections, or the ledger took something. Each connection has its own
// limit (Server.Stall); this one is for what no connection is to blame for. It
// makes of a fault of ours an account that is tried again, not a run that hangs.
type pulse struct{ last atomic.Int64 }

// stalls is how many stall times a pass may do nothing at all.
const stalls = 3

type pulseKey struct{}

// watched gives a pass its pulse, and ends its context where it has none.
func (p Pass) watched(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	u := &pulse{}
	u.beat()
	limit := stalls * max(p.Source.Server.stall(), p.Target.Server.stall())
	go func() {
		tick := time.NewTicker(limit / 10)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if time.Since(time.Unix(0, u.last.Load())) > limit {
					cancel(fmt.Errorf("nothing has moved for %s: given up; if it comes again, please report it", limit))
				}
			}
		}
	}()
	return context.WithValue(ctx, pulseKey{}, u), func() { cancel(nil) }
}

// pulseOf is the pulse of the pass that ctx belongs to; nil: of none.
func pulseOf(ctx context.Context) *pulse {
	u, _ := ctx.Value(pulseKey{}).(*pulse)
	return u
}

func (u *pulse) beat() {
	if u != nil {
		u.last.Store(time.Now().UnixNano())
	}
}

func (s *Server) stall() time.Duration {
	if s.Stall > 0 {
		return s.Stall
	}
	return defaultStall
}
