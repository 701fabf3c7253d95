package mailbox

import "context"

// A target that was made anew or restored from a backup lacks what it was given
// since, and its user has removed none of that. Another UIDVALIDITY tells so, if
// there is one: Zimbra's is 1 in every mailbox, and a backup may bring the old
// one back. Then a folder counts from below UIDs that have been read back from
// it, which no other cause has: its map is void, and its UIDs will be those of
// other messages.

// compareTarget finds out whether the target's mailbox is still the one of the
// pass before, and which of its folders have gone back in time.
func (r *pass) compareTarget(ctx context.Context, states map[string]*folderState, keys map[string]string, nameless []*job) error {
	all := make(map[string]*folderState, len(r.names)) // by key
	for name, st := range states {
		all[keys[name]] = st
	}
	for _, j := range nameless {
		all[j.key] = j.st
	}
	var same, older bool
	for key, st := range all {
		l := r.place.find(st.Target)
		if l == nil || st.TargetValidity == 0 || l.box.validity != st.TargetValidity {
			continue
		}
		same = true
		if l.box.next == 0 || l.box.next >= st.TargetNext {
			continue
		}
		var err error
		if st.rewound, err = r.readBackFrom(ctx, key, st, l.box.next); err != nil { // else it only lied in APPENDUID
			return err
		}
		older = older || st.rewound
	}
	r.sameTarget = same && !older
	return nil
}

// readBackFrom tells whether a folder of the target has given back a message of
// this UID or a later one.
func (r *pass) readBackFrom(ctx context.Context, key string, st *folderState, uid uint32) (found bool, err error) {
	p, err := loadProofs(ctx, r.Store, key, st)
	if err != nil {
		return false, err
	}
	return found, p.each(ctx, r.Store, key, 0, func(row proof) error {
		found = found || row.finding&notThere == 0 && row.target >= uid && row.target != nowhere
		return nil
	})
}
