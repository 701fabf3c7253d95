package mailbox

import (
	"context"
	"slices"
)

// A target may show another mailbox for the length of a connection: an empty one
// while its storage is away. What is then not to be seen was not removed by its
// user, and what is then stored is nowhere afterwards.

// lookAgain lists the target's folders over a new connection where the first
// shows nothing of what it had. What is still not there then is gone.
func (r *pass) lookAgain(states map[string]*folderState) error {
	had := 0
	for _, st := range states {
		if st.TargetValidity == 0 || st.Complete && st.Messages == 0 {
			continue
		}
		if l := r.place.find(st.Target); l != nil && l.box.messages > 0 {
			return nil
		}
		had++
	}
	if had == 0 {
		return nil
	}
	first := r.lanes[0]
	first.dst.logout()
	first.dst = nil
	dst, err := first.targetFirst(wish{folders: true})
	if err != nil {
		return err
	}
	return r.listTarget(dst)
}

// listTarget lists the target's folders. What Dovecot goes on listing for a
// while after it was removed is not among them.
func (r *pass) listTarget(dst *session) (err error) {
	r.place.existing, r.place.space, err = dst.folders()
	r.place.existing = slices.DeleteFunc(r.place.existing, func(l listed) bool { return l.absent && !l.noselect })
	return r.at(r.Target, err)
}

// believe looks whether a folder that is missing at the target was ever seen
// there with something in it. One that was not may have been filled on a
// connection that showed another mailbox: nobody has removed it, and it is
// carried again.
func (l *lane) believe(ctx context.Context, j *job) error {
	if !j.missed || !j.here || j.st.uids.live() == 0 {
		return nil
	}
	p, err := loadProofs(ctx, l.pass.Store, j.key, j.st)
	if err != nil {
		return err
	}
	j.missed = false
	return p.each(ctx, l.pass.Store, j.key, 0, func(row proof) error {
		j.missed = j.missed || row.finding&notThere == 0
		return nil
	})
}
