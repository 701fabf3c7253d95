package demohost

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// delimiter separates the levels of folder names on both sides.
const delimiter = '/'

// account is one mailbox on one side.
type account struct {
	address string

	// guarded by Host.mu
	password   string
	mustChange bool
	logins     int // by the user

	mu       sync.Mutex
	folders  map[string]*folder
	anyCase  bool   // names that differ only in case are one folder
	validity uint32 // the last UIDVALIDITY given
}

// folder is guarded by its account's mu.
type folder struct {
	name       string
	validity   uint32
	next       imap.UID
	messages   []*message
	subscribed bool
	use        []imap.MailboxAttr
	tracker    *imapserver.MailboxTracker
}

// message never changes but for flags, whose slice is replaced as a whole: a
// copy of the struct is a snapshot.
type message struct {
	uid   imap.UID
	body  []byte
	date  time.Time
	flags []imap.Flag
}

func newAccount(address, password string, side Side) *account {
	a := &account{address: address, password: password, folders: map[string]*folder{}, validity: 1_600_000_000}
	if side == Target {
		a.validity = 1_790_000_000
	}
	a.create("INBOX", nil).subscribed = true
	return a
}

// spelt is a name with INBOX, which has no case (RFC 9051, 5.1), in capitals.
func spelt(name string) string {
	first, rest, _ := strings.Cut(name, string(delimiter))
	if !strings.EqualFold(first, "INBOX") {
		return name
	}
	return strings.TrimSuffix("INBOX"+string(delimiter)+rest, string(delimiter))
}

// folder finds a folder by the name a client says; nil if there is none.
func (a *account) folder(name string) *folder {
	name = spelt(name)
	if f := a.folders[name]; f != nil || !a.anyCase {
		return f
	}
	for _, f := range a.folders {
		if strings.EqualFold(f.name, name) {
			return f
		}
	}
	return nil
}

// create makes a folder and those above it; one that exists stays as it is.
func (a *account) create(name string, use []imap.MailboxAttr) *folder {
	name = spelt(name)
	if i := strings.LastIndexByte(name, delimiter); i > 0 {
		name = a.create(name[:i], nil).name + name[i:] // as those above are written
	}
	f := a.folder(name)
	if f == nil {
		a.validity++
		f = &folder{name: name, validity: a.validity, next: 1, use: use, tracker: imapserver.NewMailboxTracker(0)}
		a.folders[name] = f
	}
	return f
}

// names lists the folders in order.
func (a *account) names() []string {
	names := make([]string, 0, len(a.folders))
	for name := range a.folders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (a *account) hasChildren(name string) bool {
	for other := range a.folders {
		if strings.HasPrefix(other, name+string(delimiter)) {
			return true
		}
	}
	return false
}

func (f *folder) add(body []byte, flags []imap.Flag, date time.Time) imap.UID {
	if date.IsZero() {
		date = time.Now()
	}
	m := &message{uid: f.next, body: body, date: date.Truncate(time.Second)}
	m.flags = changeFlags(nil, imap.StoreFlagsAdd, flags)
	f.next++
	f.messages = append(f.messages, m)
	f.tracker.QueueNumMessages(uint32(len(f.messages)))
	return m.uid
}

// remove takes out the messages that gone says.
func (f *folder) remove(gone func(*message) bool) {
	for i := len(f.messages) - 1; i >= 0; i-- {
		if gone(f.messages[i]) {
			f.messages = slices.Delete(f.messages, i, i+1)
			f.tracker.QueueExpunge(uint32(i) + 1)
		}
	}
}

// find returns the place of the message with uid, or -1.
func (f *folder) find(uid imap.UID) int {
	return slices.IndexFunc(f.messages, func(m *message) bool { return m.uid == uid })
}

// store changes the flags of the i-th message; source is told nothing of it.
func (f *folder) store(i int, op imap.StoreFlagsOp, flags []imap.Flag, source *imapserver.SessionTracker) {
	m := f.messages[i]
	m.flags = changeFlags(m.flags, op, flags)
	f.tracker.QueueMessageFlags(uint32(i)+1, m.uid, m.flags, source)
}

// changeFlags returns a new slice. Flags differ in more than case; \Recent is
// nobody's to set.
func changeFlags(old []imap.Flag, op imap.StoreFlagsOp, flags []imap.Flag) []imap.Flag {
	var out []imap.Flag
	if op != imap.StoreFlagsSet {
		out = slices.Clone(old)
	}
	for _, flag := range flags {
		if op == imap.StoreFlagsDel {
			out = slices.DeleteFunc(out, func(have imap.Flag) bool { return strings.EqualFold(string(have), string(flag)) })
		} else if !hasFlag(out, flag) && !strings.EqualFold(string(flag), `\Recent`) {
			out = append(out, flag)
		}
	}
	return out
}

func hasFlag(flags []imap.Flag, flag imap.Flag) bool {
	return slices.ContainsFunc(flags, func(have imap.Flag) bool { return strings.EqualFold(string(have), string(flag)) })
}

func (f *folder) count(flag imap.Flag) (n uint32) {
	for _, m := range f.messages {
		if hasFlag(m.flags, flag) {
			n++
		}
	}
	return n
}

func (f *folder) status(o *imap.StatusOptions) *imap.StatusData {
	data := &imap.StatusData{Mailbox: f.name}
	total := uint32(len(f.messages))
	if o.NumMessages {
		data.NumMessages = &total
	}
	if o.NumRecent {
		data.NumRecent = new(uint32)
	}
	if o.UIDNext {
		data.UIDNext = f.next
	}
	if o.UIDValidity {
		data.UIDValidity = f.validity
	}
	if o.NumUnseen {
		n := total - f.count(imap.FlagSeen)
		data.NumUnseen = &n
	}
	if o.NumDeleted {
		n := f.count(imap.FlagDeleted)
		data.NumDeleted = &n
	}
	if o.Size {
		var n int64
		for _, m := range f.messages {
			n += int64(len(m.body))
		}
		data.Size = &n
	}
	return data
}
