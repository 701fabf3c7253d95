package mailbox

import (
	"errors"
	"slices"
	"strings"
)

// listed is one folder as a server lists it.
type listed struct {
	wire       string   // the server's spelling: what goes back to it
	path       []string // UTF-8, without the personal prefix
	levels     []string // the wire names of the folders that path leads through
	special    string   // \Sent, \Trash…; "" for none
	subscribed bool
	noselect   bool
	notMail    bool // Exchange's own; see notmail.go
	absent     bool // the server says that it has no such folder
	foreign    bool // in another user's or a shared namespace
	box        box
	told       bool // box holds what the server said
}

// name is the UTF-8 name with / between its parts.
func (l listed) name() string { return shownPath(l.path) }

const maxFolders = 50000

var errFolders = errors.New("the server lists more than 50,000 folders")

// folders lists all folders with their counts, in as few round trips as the
// server allows.
func (s *session) folders() ([]listed, space, error) {
	o, sp := s.early, space{}
	if s.early = nil; o == nil {
		o = s.overview()
		replies, err := s.w.together(o.commands, &exchange{flood: 2*maxFolders + flood, on: o.take})
		if err != nil {
			return nil, sp, err
		}
		o.refusal = replies[len(replies)-1].err()
	}
	if o.refusal != nil && o.extended && !errors.Is(o.refusal, ErrBusy) {
		// One folder that the server itself cannot look into is enough for it
		// to refuse the whole of it.
		o.extended, o.list = false, nil
		_, o.refusal = s.w.do(plainList, &exchange{flood: 2*maxFolders + flood, on: o.take})
	}
	if o.refusal != nil {
		return nil, sp, o.refusal
	}
	if len(o.list) > maxFolders {
		return nil, sp, errFolders
	}
	list := unique(o.list)
	if !o.extended {
		if err := s.lsub(list); err != nil {
			return nil, sp, err
		}
	}
	if !s.has("SPECIAL-USE") && s.has("XLIST") {
		if err := s.xlist(list); err != nil {
			return nil, sp, err
		}
	}
	sp = o.space
	sp.guessPrefix(list, s.has("NAMESPACE"))
	for i := range list {
		sp.place(&list[i])
	}
	guessSpecial(list)
	if sp.zimbra = s.kind == kindZimbra; s.kind == kindExchange {
		markNotMail(list)
	}
	return list, sp, s.fillCounts(list, o.counts, sp.delim)
}

const plainList = `LIST "" "*"`

// overview is what a server tells of all its folders in one round trip.
type overview struct {
	commands []string // the last is LIST
	extended bool     // it asks for more than the names
	space    space    // none where a server has no answer to NAMESPACE
	list     []listed
	counts   map[string]box // that came with the list
	refusal  error          // of LIST
}

func (s *session) overview() *overview {
	o := &overview{extended: s.has("LIST-EXTENDED") || s.has("LIST-STATUS"), counts: map[string]box{}}
	if s.has("NAMESPACE") {
		o.commands = append(o.commands, "NAMESPACE")
	}
	command := plainList
	if o.extended {
		command += " RETURN (" + s.listItems() + ")"
	}
	o.commands = append(o.commands, command)
	return o
}

func (o *overview) take(r *response) {
	switch r.word {
	case "NAMESPACE":
		o.space.take(r)
	case "STATUS":
		if b, ok := statusOf(r); ok {
			o.counts[b.name] = b
		}
	case "LIST":
		if l, delim, ok := listOf(r, "LIST"); ok && len(o.list) <= maxFolders {
			if o.space.delim == "" {
				o.space.delim = delim
			}
			o.list = append(o.list, l)
		}
	}
}

func (s *session) listItems() string {
	items := "SUBSCRIBED"
	if s.has("SPECIAL-USE") {
		items += " SPECIAL-USE"
	}
	if s.has("LIST-STATUS") {
		items += " STATUS " + s.statusItems()
	}
	return items
}

// fillCounts adds STATUS to the folders, asking for those not told yet, and
// opens what STATUS says nothing of: a folder whose UIDVALIDITY is not known
// would look like one that was replaced.
//
// Dovecot on Maildir++ goes on listing a folder that was deleted while others
// lie below it as if it could be opened. It is what others list as \Noselect.
func (s *session) fillCounts(list []listed, counts map[string]box, delim string) error {
	var ask []string
	for _, l := range list {
		if _, ok := counts[l.wire]; !ok && !l.noselect && !l.foreign && !l.notMail {
			ask = append(ask, l.wire)
		}
	}
	if len(ask) > 0 {
		more, err := s.status(ask)
		if err != nil {
			return err
		}
		for name, b := range more {
			counts[name] = b
		}
	}
	for i := range list {
		l := &list[i]
		l.box, l.told = counts[l.wire], counts[l.wire].validity != 0
		if l.told || l.noselect || l.foreign || l.notMail || s.kind == kindExchange { // the scan looks there, and may lose the connection
			continue
		}
		b, err := s.examine(l.wire)
		if _, no := refused(err); (no && !errors.Is(err, ErrBusy)) || errors.Is(err, errName) {
			_, clean := decodeName(l.wire) // else it may only not understand itself
			l.absent = unknown(err)
			l.noselect = l.absent && clean && hasBelow(list, l.wire, delim)
			continue // it is named when it is scanned
		}
		if err != nil {
			return err
		}
		l.box = b
	}
	return nil
}

// hasBelow tells whether a folder is listed below another.
func hasBelow(list []listed, wire, delim string) bool {
	return delim != "" && slices.ContainsFunc(list, func(l listed) bool { return strings.HasPrefix(l.wire, wire+delim) })
}

// hidden finds folders of the target that earlier passes went to and that LIST
// does not show. Taken for gone, they would be filled again.
func (s *session) hidden(p place, kept map[string]string) ([]listed, error) {
	var ask []string
	for _, wire := range kept {
		if p.find(wire) == nil {
			ask = append(ask, wire)
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	slices.Sort(ask)
	counts, err := s.status(ask)
	var found []listed
	for _, wire := range ask {
		if b, ok := counts[wire]; ok && b.validity != 0 {
			l := listed{wire: wire, subscribed: true, box: b, told: true} // whether it is subscribed, nobody knows
			p.space.place(&l)
			found = append(found, l)
		}
	}
	return found, err
}

// listOf reads a LIST or LSUB response.
func listOf(r *response, word string) (l listed, delim string, ok bool) {
	if r.word != word {
		return l, "", false
	}
	t := r.tokens()
	if len(t) < 3 || t[0].kind != 'l' {
		return l, "", false
	}
	if !t[1].isNil() {
		delim = t[1].text
	}
	l.wire = inbox(t[2].text)
	for _, a := range t[0].list {
		switch strings.ToLower(a.text) {
		case `\noselect`, `\nonexistent`:
			l.noselect = true
		case `\subscribed`:
			l.subscribed = true
		case `\sent`, `\drafts`, `\trash`, `\junk`, `\archive`:
			l.special = strings.ToLower(a.text)
		case `\spam`: // XLIST
			l.special = `\junk`
		}
	}
	return l, delim, l.wire != ""
}

// unique drops folders listed twice.
func unique(list []listed) []listed {
	seen := map[string]bool{}
	out := list[:0]
	for _, l := range list {
		if !seen[l.wire] {
			seen[l.wire] = true
			out = append(out, l)
		}
	}
	return out
}

func (s *session) lsub(list []listed) error {
	subscribed := map[string]bool{}
	_, err := s.w.do(`LSUB "" "*"`, &exchange{flood: 2*maxFolders + flood, on: func(r *response) {
		if l, _, ok := listOf(r, "LSUB"); ok {
			subscribed[l.wire] = true
		}
	}})
	if _, no := refused(err); err != nil && !no {
		return err
	}
	for i := range list {
		list[i].subscribed = subscribed[list[i].wire]
	}
	return nil
}
