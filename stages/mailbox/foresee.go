package mailbox

// What a first copy has to know of its folders is asked for in one go: two round
// trips for each of them, one after the other, take longer than the copy does.
// It is a guess that all goes well. Where it does not, the folder is scanned as
// if it had never been asked for.

// foreseen is a folder's listing that was asked for before its scan.
type foreseen struct {
	opening *opening
	listing *exchange // nil: it is empty
	differ  *differ
	err     error
}

// foreseeAtOnce is how many folders are asked for in one go.
const foreseeAtOnce = 50

// foresee lists the new folders of the source. The lanes that will be needed
// begin to sign in.
func (r *pass) foresee(todo []*job) {
	for _, l := range r.lanes[1:min(len(r.lanes), max(1, len(todo)))] {
		l.signIn()
	}
	src, err := r.lanes[0].source()
	if err != nil || src.strict() { // which lose patience, or the connection
		return
	}
	var list []*job
	messages := 0
	for _, j := range todo {
		if n := int(j.source.box.messages); j.isNew() && messages+n <= window {
			list, messages = append(list, j), messages+n
		}
	}
	for len(list) > 0 {
		some := list[:min(foreseeAtOnce, len(list))]
		for _, j := range some {
			r.ask(src, j)
		}
		for _, j := range some {
			if r.see(j); j.seenBefore == nil {
				src.box = box{} // whatever is open now
			}
		}
		list = list[len(some):]
	}
}

// isNew tells whether nothing at all is known of a folder of the source, and the
// target has nothing that it would have to be matched with.
func (j *job) isNew() bool {
	st := j.st
	if j.exists && j.target.messages > 0 {
		return false
	}
	return j.here && j.source.told && !j.source.notMail && st.loaded && st.uids.n == 0 && st.SourceValidity == 0 && !st.Complete && len(st.Skipped) == 0
}

func (r *pass) ask(src *session, j *job) {
	f := &foreseen{differ: &differ{st: j.st, fresh: func(m meta) { r.hold(j, m) }}}
	j.seenBefore = f
	f.opening = src.beginBox("EXAMINE", j.source.wire)
	if f.err = f.opening.err; f.err != nil || j.source.box.messages == 0 {
		return
	}
	f.listing = &exchange{flood: 10*int(j.source.box.messages) + flood, on: func(resp *response) {
		if m, ok := metaOf(resp); ok {
			f.differ.see(m)
		}
	}}
	f.err = src.w.send("UID FETCH 1:* "+metaItems, f.listing)
}

// see waits for a listing. It counts only where it agrees with what the folder
// said of itself.
func (r *pass) see(j *job) {
	f := j.seenBefore
	b, err := f.opening.wait()
	if f.err == nil && f.listing != nil {
		var replies []reply
		if replies, f.err = f.listing.wait(); f.err == nil {
			f.err = replies[0].err()
		}
	}
	d := f.differ
	d.end()
	if err == nil && f.err == nil && !d.disorder && d.seen == int(b.messages) && (b.next == 0 || d.last < b.next) && len(j.ahead) == 0 {
		return
	}
	r.unsee(j)
}

// unsee forgets a listing.
func (r *pass) unsee(j *job) {
	r.held.Add(-int64(len(j.fresh)))
	j.fresh, j.ahead, j.seenBefore = nil, nil, nil
}
