package mailbox

import "time"

// defaultIdle is well below the ten minutes after which some servers, and many
// firewalls between, end a connection on which nothing is said.
const defaultIdle = 2 * time.Minute

// keepAlive says NOOP on a connection on which nothing has been said for idle:
// one side of a pass may wait long for the other. It also finds out that a
// connection is dead before somebody needs it.
func (s *session) keepAlive(idle time.Duration) {
	tick := time.NewTicker(idle / 2)
	defer tick.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-tick.C:
			if s.w.quietFor(idle) {
				_, _ = s.w.do("NOOP", &exchange{idle: true}) // who needs the connection sees that it is gone
			}
		}
	}
}

// quietFor tells whether no command is in flight and nothing was sent or
// received for so long.
func (w *wire) quietFor(idle time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err == nil && len(w.queue) == 0 && w.waiting == 0 && time.Since(time.Unix(0, w.last.Load())) >= idle
}
