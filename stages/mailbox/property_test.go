package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"pgregory.net/rapid"

	"godwit/stages/demohost"
	"godwit/stages/mailbox"
)

// TestTargetEqualsSource proves that whatever users do between passes, at the
// source and at the target, the last pass makes the target equal to the source,
// keeps what the target's users did, and changes nothing at the source. A life
// that fails is made shorter and printed with the command that lives it again.
//
// The servers in memory live 500 lives, each time other ones, Dovecot a few;
// GODWIT_LONG (make soak) makes it ten times as many, GODWIT_LIVES=N any number.
func TestTargetEqualsSource(t *testing.T) {
	count := func(lives int) int {
		if own, err := strconv.Atoi(os.Getenv("GODWIT_LIVES")); err == nil {
			return own
		}
		if testing.Short() {
			lives = max(1, lives/10)
		}
		if soak {
			lives *= 10
		}
		return lives
	}
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprint("in memory ", part), func(t *testing.T) {
			t.Parallel()
			hosts := []*host{
				newHost(t),
				newHost(t, "UIDPLUS", "MOVE"),
				newHost(t, "LIST-STATUS", "LIST-EXTENDED", "SPECIAL-USE", "CREATE-SPECIAL-USE", "NAMESPACE", "IMAP4rev2"),
				newHost(t, "UIDPLUS", "MOVE", "LITERAL+", "LIST-STATUS", "LIST-EXTENDED", "NAMESPACE", "ESEARCH", "SEARCHRES", "CHILDREN", "STATUS=SIZE", "IMAP4rev2"),
			}
			lives(t, count(500)/parts, func(rt *rapid.T) {
				from, to := rapid.SampledFrom(hosts).Draw(rt, "source's server"), rapid.SampledFrom(hosts).Draw(rt, "target's server")
				l := &life{T: rt, t: t, before: from.MutationCount}
				l.live(from.account(demohost.Source), to.account(demohost.Target))
			})
		})
	}
	for name, capability := range map[string]string{
		"":                   "",
		" without CONDSTORE": "IMAP4rev1 LITERAL+ UIDPLUS MOVE NAMESPACE LIST-EXTENDED LIST-STATUS MULTIAPPEND UNSELECT",
		" without QRESYNC":   "IMAP4rev1 LITERAL+ UIDPLUS MOVE NAMESPACE LIST-EXTENDED LIST-STATUS MULTIAPPEND UNSELECT CONDSTORE ENABLE",
		" of the nineties":   "IMAP4rev1",
	} {
		t.Run("Dovecot"+name, func(t *testing.T) {
			t.Parallel()
			extra := slashes
			if capability != "" {
				extra += "protocol imap {\n  imap_capability = " + capability + "\n}\n"
			}
			d := startDovecot(t, extra)
			lives(t, count(8), func(rt *rapid.T) {
				l := &life{T: rt, t: t, before: func() int { return 0 }}
				l.live(d.account(), d.account())
			})
		})
	}
}

// lives lives at least n lives.
func lives(t *testing.T, n int, life func(*rapid.T)) {
	for lived := 0; lived < n && !t.Failed(); {
		rapid.Check(t, func(rt *rapid.T) {
			if lived++; lived <= n || t.Failed() {
				life(rt)
			}
		})
	}
}

// host is a demohost with accounts of its own for each life.
type host struct {
	*demohost.Host
	without []string
}

func newHost(t *testing.T, without ...string) *host {
	t.Helper()
	h, err := demohost.Start(t.TempDir(), append(without, "TLS")...) // the handshakes would be a quarter of a life
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return &host{h, without}
}

func (h *host) String() string { return fmt.Sprint("without ", h.without) }

func (h *host) account(side demohost.Side) mailbox.Endpoint {
	name := fmt.Sprintf("user%d@old.example", accountNumber.Add(1))
	h.AddAccount(side, name, userSecret)
	address := h.SourceAddress
	if side == demohost.Target {
		address = h.TargetAddress
	}
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: address, TLS: "none", Stall: 20 * time.Second, Linger: 100 * time.Millisecond},
		Login:  mailbox.Login{User: name, Secret: secret(userSecret)},
	}
}

// life is a mailbox on its way, with a user on either side. Bodies tell
// messages apart: of some there are several, and then the target's user leaves
// them alone, so that it is certain what has to be where in the end.
type life struct {
	*rapid.T
	t      *testing.T
	before func() int // how often the source was changed

	source, target client
	n              int
	born           map[string]int    // by body
	touched        map[string]string // by body, what the target's user did: flagged, deleted, moved
	own            []string          // the target's user's bodies
	forgetful      bool              // the ledger must not be lost any more
	elsewhere      bool              // as the last pass said, some folder is not where it would go to without a ledger
	lost           bool              // it was, and no pass has come to its end since
	flagged        bool              // by the source's user, since the last such pass
}

const mine = "Mine" // the target's user's own folder

func (l *life) live(source, target mailbox.Endpoint) {
	l.born, l.touched = map[string]int{}, map[string]string{}
	l.source, l.target = dial(l.t, source), dial(l.t, target)
	defer l.source.Close()
	defer l.target.Close()
	for _, f := range []string{"A", "B", "A/Ärger", "Odd & name", "sent"} {
		if l.chance(2, "folder "+f) {
			l.source.must(l.source.Create(f, nil).Wait())
		}
	}
	for range rapid.IntRange(0, 12).Draw(l.T, "mails") {
		l.arrive()
	}
	store := newMemory()
	p := mailbox.Pass{Source: source, Target: target, Store: store, Options: mailbox.Options{
		MaxDelete: 1, Connections: rapid.IntRange(1, 2).Draw(l.T, "connections"), Verify: "content",
	}}
	l.pass(p, store)
	for range rapid.IntRange(1, 3).Draw(l.T, "rounds") {
		l.goOn(6, "")
		there := rapid.IntRange(0, 3).Draw(l.T, "actions there")
		for range there {
			l.act("at the target", map[string]func(){
				"flag": l.flagThere, "delete": l.deleteThere, "move": l.moveThere, "arrive": l.arriveThere, "rename a folder": l.renameThere,
			})
		}
		l.pass(p, store)
		if !l.forgetful && !l.elsewhere && l.chance(6, "the ledger is lost") {
			store = newMemory()
			p.Store, l.lost = store, true
			l.pass(p, store)
		}
	}
	l.pass(p, store)
	verified(l.T, p, "content")
	if keys := store.strays(l.T); len(keys) > 0 {
		l.Fatalf("the ledger keeps %q", keys)
	}
	l.judge(p)
}

// pass makes one, which may crash at some write and is made again.
func (l *life) pass(p mailbox.Pass, store *memory) {
	_, err := l.target.Select("INBOX", nil).Wait() // Dovecot ends a session whose open folder goes
	l.target.must(err)
	changes := l.before()
	untouched := func() {
		if n := l.before(); n != changes {
			l.Fatalf("the source was changed %d times", n-changes)
		}
	}
	for l.chance(4, "it crashes") {
		left := rapid.IntRange(1, 16).Draw(l.T, "at write")
		store.crash = func(bool) error {
			if left--; left == 0 {
				return errCrash
			}
			return nil
		}
		if _, err := p.Run(context.Background()); err != nil && !errors.Is(err, errCrash) {
			l.Fatalf("pass: %v", err)
		}
		store.crash = nil
		untouched()
		if l.tell("crash"); !l.lost && !l.flagged && l.chance(2, "life goes on") {
			l.goOn(3, "flag") // of a flag that was carried and not noted, nothing is known
			changes = l.before()
		}
	}
	res := run(l.T, p)
	l.tell(fmt.Sprintf("pass: %d copied, %d there, %d updated, %d moved, %d renamed, %d deleted, %v", res.Copied, res.AlreadyThere, res.Updated, res.Moved, res.Renamed, res.Deleted, res.Notes))
	for _, d := range res.Differs {
		l.Fatalf("read back: %+v", d)
	}
	untouched()
	l.lost, l.flagged = false, false
	l.elsewhere = slices.ContainsFunc(res.Notes, func(n mailbox.Skipped) bool { return n.Reason == mailbox.FolderRenamed })
}

// goOn has the source's user do up to n things, but for one.
func (l *life) goOn(n int, but string) {
	for range rapid.IntRange(0, n).Draw(l.T, "actions") {
		actions := map[string]func(){
			"arrive": l.arrive, "delete": l.delete, "move": l.move, "move another": l.move, "flag": l.flag, "copy": l.copyOne,
			"rename a folder": l.renameFolder, "delete a folder": l.deleteFolder, "create a folder": l.createFolder,
			"make a folder anew": l.makeAnew,
		}
		delete(actions, but)
		l.act("at the source", actions)
	}
}

func (l *life) act(where string, actions map[string]func()) {
	actions[rapid.SampledFrom(slices.Sorted(maps.Keys(actions))).Draw(l.T, where)]()
}

// tell says what was done, for who reads of a life that failed.
func (l *life) tell(what ...any) { l.Log(append([]any{"->"}, what...)...) }

func (l *life) chance(in int, what string) bool {
	return rapid.IntRange(1, in).Draw(l.T, what) == in
}

// judge compares the sides by an independent reader.
func (l *life) judge(p mailbox.Pass) {
	l.Helper()
	_, notes, err := p.Named(context.Background())
	if err != nil {
		l.Fatal(err)
	}
	place := map[string]string{}
	for _, n := range notes {
		if n.Reason == mailbox.FolderRenamed {
			place[n.Folder] = n.Detail
		}
	}
	want := map[string][]string{}
	for folder, list := range l.source.messages() {
		to := folder
		if other, ok := place[folder]; ok {
			to = other
		}
		want[to] = append(want[to], []string{}...)
		for _, m := range list {
			switch l.touched[m.body] {
			case "flagged":
				m.flags = append(m.flags, "$Mine")
			case "deleted", "moved":
				continue
			}
			want[to] = append(want[to], m.String())
		}
	}
	for body, what := range l.touched {
		if what == "moved" {
			want[mine] = append(want[mine], body)
		}
	}
	got := map[string][]string{}
	own := map[string]int{}
	there := dial(l.t, p.Target) // the player's may list folders of before
	defer there.Close()
	for folder, list := range there.messages() {
		for _, m := range list {
			switch {
			case slices.Contains(l.own, m.body):
				own[m.body]++
			case folder == mine:
				got[folder] = append(got[folder], m.body)
			default:
				got[folder] = append(got[folder], m.String())
			}
		}
	}
	for _, body := range l.own {
		if own[body] != 1 {
			l.Errorf("the target's user has %q %d times", body, own[body])
		}
	}
	folders := maps.Clone(want)
	maps.Copy(folders, got)
	for folder := range folders {
		sort.Strings(want[folder])
		sort.Strings(got[folder])
		if !slices.Equal(want[folder], got[folder]) {
			l.Errorf("folder %q:\nsource %s\ntarget %s", folder, strings.Join(want[folder], "\n       "), strings.Join(got[folder], "\n       "))
		}
	}
	if l.Failed() {
		l.FailNow()
	}
}

// shown is a message as a mailbox shows it.
type shown struct {
	uid   imap.UID
	date  time.Time
	flags []string
	body  string
}

func (m shown) String() string {
	sort.Strings(m.flags)
	return fmt.Sprintf("%s %v %q", m.date.UTC().Format(time.RFC3339), m.flags, m.body)
}

// messages reads a mailbox, folder by folder.
func (c client) messages() map[string][]shown {
	c.t.Helper()
	out := map[string][]shown{}
	for _, name := range c.folders() {
		out[name] = c.in(name)
	}
	return out
}

func (c client) folders() (out []string) {
	c.t.Helper()
	boxes, err := c.List("", "*", nil).Collect()
	c.must(err)
	for _, b := range boxes {
		below := slices.ContainsFunc(boxes, func(o *imap.ListData) bool { return strings.HasPrefix(o.Mailbox, b.Mailbox+"/") })
		if below { // Dovecot goes on listing it when it was deleted
			_, err := c.Status(b.Mailbox, &imap.StatusOptions{NumMessages: true}).Wait()
			if no := (*imap.Error)(nil); errors.As(err, &no) {
				continue
			}
			c.must(err)
		}
		if !hasAttr(b.Attrs, imap.MailboxAttrNoSelect) && !hasAttr(b.Attrs, imap.MailboxAttrNonExistent) {
			out = append(out, b.Mailbox)
		}
	}
	sort.Strings(out)
	return out
}

// in opens a folder and reads it. Dovecot goes on listing in one session what
// was deleted in another: that is empty.
func (c client) in(name string) (out []shown) {
	c.t.Helper()
	data, err := c.Select(name, nil).Wait()
	if no := (*imap.Error)(nil); errors.As(err, &no) {
		return nil
	}
	c.must(err)
	if data.NumMessages == 0 {
		return nil
	}
	list, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	c.must(err)
	for _, m := range list {
		var flags []string
		for _, f := range m.Flags {
			if f != `\Recent` {
				flags = append(flags, string(f))
			}
		}
		out = append(out, shown{m.UID, m.InternalDate, flags, string(m.BodySection[0].Bytes)})
	}
	return out
}

// pick opens a folder and chooses a message in it that suits; 0 if there is
// none.
func (l *life) pick(c client, suits func(shown) bool) shown {
	folder := rapid.SampledFrom(c.folders()).Draw(l.T, "in")
	list := slices.DeleteFunc(c.in(folder), func(m shown) bool { return !suits(m) })
	if len(list) == 0 {
		return shown{}
	}
	m := list[rapid.IntRange(0, len(list)-1).Draw(l.T, "message")]
	l.tell("in", folder, "message", m.uid, strconv.Quote(m.body))
	return m
}

// At the source.

func anything(shown) bool { return true }

func (l *life) arrive() {
	l.n++
	id := fmt.Sprint("id", rapid.IntRange(0, 30).Draw(l.T, "id")) // some Message-IDs come twice
	text := fmt.Sprint("text ", l.n)
	body := mail(id, "s", text)
	switch rapid.IntRange(0, 7).Draw(l.T, "kind") {
	case 0:
		body = "Subject: no id\r\n\r\n" + text + "\r\n"
	case 1:
		body = "X-Only: this\r\n\r\n" + text
	case 2:
		body = strings.Replace(body, "Subject", "Message-ID: <another@example>\r\nSubject", 1)
	case 3: // a twin
		for _, b := range slices.Sorted(maps.Keys(l.born)) {
			if l.touched[b] == "" {
				body = b
			}
		}
	}
	l.born[body]++
	flags := rapid.SampledFrom([][]imap.Flag{nil, {imap.FlagSeen}, {imap.FlagFlagged, "$Work"}, {imap.FlagDraft, "$odd.1"}}).Draw(l.T, "flags")
	folder := rapid.SampledFrom(l.source.folders()).Draw(l.T, "in")
	l.tell("new in", folder, strconv.Quote(body))
	l.source.add(folder, body, day.Add(time.Duration(rapid.IntRange(0, 3).Draw(l.T, "when"))*time.Hour), flags...)
}

func (l *life) delete() {
	if m := l.pick(l.source, anything); m.uid != 0 {
		l.source.remove(m.uid)
	}
}

// remove deletes a message of the open folder.
// set sets a flag of a message of the open folder.
func (c client) set(uid imap.UID, flag imap.Flag) {
	c.must(c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close())
}

func (c client) remove(uid imap.UID) {
	c.t.Helper()
	c.must(c.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
}

func (l *life) move() {
	if m := l.pick(l.source, anything); m.uid != 0 {
		l.source.moveTo(m.uid, rapid.SampledFrom(l.source.folders()).Draw(l.T, "to"))
	}
}

// moveTo works on any server; onto itself it may be refused.
func (c client) moveTo(uid imap.UID, folder string) {
	if _, err := c.Copy(imap.UIDSetNum(uid), folder).Wait(); err == nil {
		c.remove(uid)
	}
}

func (l *life) copyOne() {
	if m := l.pick(l.source, func(m shown) bool { return l.touched[m.body] == "" }); m.uid != 0 {
		if _, err := l.source.Copy(imap.UIDSetNum(m.uid), rapid.SampledFrom(l.source.folders()).Draw(l.T, "to")).Wait(); err == nil {
			l.born[m.body]++
		}
	}
}

func (l *life) flag() {
	l.flagged = true
	if m := l.pick(l.source, anything); m.uid != 0 {
		op := rapid.SampledFrom([]imap.StoreFlagsOp{imap.StoreFlagsAdd, imap.StoreFlagsDel}).Draw(l.T, "op")
		flag := rapid.SampledFrom([]imap.Flag{imap.FlagSeen, imap.FlagAnswered, "$Later"}).Draw(l.T, "flag")
		l.source.must(l.source.Store(imap.UIDSetNum(m.uid), &imap.StoreFlags{Op: op, Silent: true, Flags: []imap.Flag{flag}}, nil).Close())
	}
}

func (l *life) createFolder() {
	l.n++
	name := rapid.SampledFrom([]string{"A", "B", "new " + fmt.Sprint(l.n), "A/below" + fmt.Sprint(l.n)}).Draw(l.T, "name")
	l.tell("create", name, l.source.Create(name, nil).Wait()) // it may be there
}

// folderOf chooses one that can be renamed or deleted, and leaves the one that
// is open: Dovecot ends a session whose folder goes.
func (l *life) folderOf(c client) string {
	folder := rapid.SampledFrom(c.folders()).Draw(l.T, "which")
	_, err := c.Select("INBOX", nil).Wait()
	c.must(err)
	if folder == "INBOX" || folder == mine {
		return ""
	}
	return folder
}

func (l *life) renameFolder() {
	if f := l.folderOf(l.source); f != "" {
		l.n++
		name := rapid.SampledFrom([]string{"renamed", "A/", "B"}).Draw(l.T, "name")
		if name != "B" {
			name += fmt.Sprint(l.n)
		}
		l.tell("rename", f, "to", name, l.source.Rename(f, name, nil).Wait())
	}
}

func (l *life) deleteFolder() {
	if f := l.folderOf(l.source); f != "" {
		l.tell("delete", f, l.source.Delete(f).Wait())
	}
}

func (l *life) makeAnew() {
	if f := l.folderOf(l.source); f != "" {
		l.tell("delete", f, l.source.Delete(f).Wait())
		l.tell("create", f, l.source.Create(f, nil).Wait())
	}
}

// At the target.

// only is a message that the target's user may act on.
func (l *life) only(m shown) bool {
	return l.born[m.body] == 1 && l.touched[m.body] == ""
}

func (l *life) flagThere() {
	if m := l.pick(l.target, l.only); m.uid != 0 {
		l.target.must(l.target.Store(imap.UIDSetNum(m.uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{"$Mine"}}, nil).Close())
		l.touched[m.body] = "flagged"
	}
}

func (l *life) deleteThere() {
	if m := l.pick(l.target, l.only); m.uid != 0 {
		l.target.remove(m.uid)
		l.touched[m.body], l.forgetful = "deleted", true
	}
}

func (l *life) moveThere() {
	if m := l.pick(l.target, l.only); m.uid != 0 {
		_ = l.target.Create(mine, nil).Wait() // it may be there
		l.target.moveTo(m.uid, mine)
		l.touched[m.body], l.forgetful = "moved", true
	}
}

func (l *life) arriveThere() {
	l.n++
	body := mail(fmt.Sprint("own", l.n), "own", "the target's")
	l.own = append(l.own, body)
	l.target.add(rapid.SampledFrom(l.target.folders()).Draw(l.T, "in"), body, day)
}

// renameThere renames a folder in which a message is left to tell it by.
func (l *life) renameThere() {
	f := rapid.SampledFrom(l.target.folders()).Draw(l.T, "which")
	if f == "INBOX" || f == mine {
		return
	}
	left := map[string]bool{}
	for _, list := range l.source.messages() {
		for _, m := range list {
			left[m.body] = true
		}
	}
	tells := slices.ContainsFunc(l.target.in(f), func(m shown) bool { return left[m.body] && l.only(m) })
	_, err := l.target.Select("INBOX", nil).Wait()
	l.target.must(err)
	if tells {
		l.n++
		name := fmt.Sprint("theirs", l.n)
		l.tell("rename", f, "to", name, l.target.Rename(f, name, nil).Wait())
		l.forgetful = true
	}
}
