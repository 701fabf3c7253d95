package mailbox

import "errors"

// subscribing is a folder's SUBSCRIBE on its way. Nobody waits for it until the
// folder is through.
type subscribing struct {
	x *exchange
	i int // of its command
}

// subscribe carries subscriptions, each once: what the user changes later
// stays.
func (r *pass) subscribe(dst *session) error {
	done := map[string]bool{}
	for _, l := range r.place.existing {
		done[l.wire] = l.subscribed
	}
	var commands []string
	x := &exchange{}
	for _, j := range r.jobs {
		if !j.here || !j.scanned || !j.exists || !j.source.subscribed || j.st.Subscribed {
			continue
		}
		if done[j.st.Target] {
			j.st.Subscribed = true
			continue
		}
		if q, ok := quote(j.st.Target); ok {
			j.subscribing = &subscribing{x, len(commands)}
			commands = append(commands, "SUBSCRIBE "+q)
		}
	}
	if len(commands) == 0 {
		return nil
	}
	x.flood = flood + 4*len(commands)
	return dst.w.sendAll(commands, x)
}

// subscribed takes what became of a folder's SUBSCRIBE. It is sent again where
// the connection was lost over it.
func (l *lane) subscribed(j *job) error {
	if j.subscribing == nil {
		return nil
	}
	replies, err := j.subscribing.x.wait()
	if err == nil {
		j.st.Subscribed = replies[j.subscribing.i].Kind == "OK"
		return nil
	}
	if !lost(err) || errors.Is(err, ErrBusy) {
		return err
	}
	dst, err := l.target()
	if err != nil {
		return err
	}
	q, _ := quote(j.st.Target)
	_, err = dst.w.do("SUBSCRIBE "+q, &exchange{})
	if _, no := refused(err); no && !errors.Is(err, ErrBusy) {
		return nil
	}
	j.st.Subscribed = err == nil
	return err
}
