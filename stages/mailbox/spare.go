package mailbox

import "time"

// A further lane costs each server a sign-in, which is as much work as 50
// messages are. Beside others that keep the servers busy a small mailbox does
// better without: eight at once took a fifth less of the servers' time.
const laneMessages = 2000 // for which one more lane is worth it

// The tests have others.
var (
	laneBytes int64 = 64 << 20 // or these
	farAway         = 15 * time.Millisecond
)

// spare puts lanes aside that are not worth their sign-ins, as far as LIST-STATUS
// tells. Where an answer takes long, lanes wait more than they work: then all are
// used, and so they are while the servers have little else to do.
func (r *pass) spare(todo []*job) {
	if r.away() >= farAway || r.Target.Server.connections().busy()-r.slots.of(r.Target.Server) < len(r.lanes) {
		return
	}
	messages := 0
	for _, j := range todo {
		if !j.source.told {
			return
		}
		messages += max(0, int(j.source.box.messages)-j.st.uids.n)
	}
	n := min(len(r.lanes), 1+messages/laneMessages)
	r.lanes, r.spared = r.lanes[:n:n], r.lanes[n:]
}

// unspare takes lanes back for the bytes that are to be copied, and gives the
// slots of the others to whoever waits for them.
func (r *pass) unspare() {
	n := min(len(r.spared), max(0, 1+int(r.total/laneBytes)-len(r.lanes)))
	r.lanes, r.spared = append(r.lanes, r.spared[:n]...), r.spared[n:]
	r.slots.give(r.Source.Server, len(r.spared))
	r.slots.give(r.Target.Server, len(r.spared))
	r.spared = nil
}

// away is how long an answer takes at least: hardly more than the way there and
// back.
func (r *pass) away() (d time.Duration) {
	for _, s := range []*session{r.lanes[0].src, r.lanes[0].dst} {
		s.w.mu.Lock()
		d = max(d, s.w.least)
		s.w.mu.Unlock()
	}
	return d
}
