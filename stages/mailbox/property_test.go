package mailbox_test

import (
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"pgregory.net/rapid"

	"godwit/stages/mailbox"
)

// TestTargetEqualsSource proves that whatever users do between passes, the last
// pass makes the target equal to the source.
func TestTargetEqualsSource(t *testing.T) {
	tests := map[string]func(*testing.T) func() mailbox.Endpoint{
		"in memory": func(t *testing.T) func() mailbox.Endpoint {
			m := startMemory(t, modern...)
			return func() mailbox.Endpoint { return m.account(t) }
		},
		"Dovecot": func(t *testing.T) func() mailbox.Endpoint { return startDovecot(t, slashes).account },
	}
	for name, start := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			account := start(t)
			lives := 0
			rapid.Check(t, func(rt *rapid.T) {
				if lives++; name == "Dovecot" && lives > 15 && os.Getenv("GODWIT_LONG") == "" {
					return // the server in memory lives all the others
				}
				life(t, rt, account(), account())
			})
		})
	}
}

var folderNames = []string{"INBOX", "A", "B", "Ärger", "Odd & name", "sent"}

// life plays a user: a random tree, then rounds of random actions and a pass.
func life(t *testing.T, rt *rapid.T, source, target mailbox.Endpoint) {
	c := dial(t, source)
	defer c.Close()
	u := &player{client: c, rt: rt}
	for _, f := range folderNames[1:] {
		if rapid.Bool().Draw(rt, "folder "+f) {
			c.must(c.Create(f, nil).Wait())
		}
	}
	for range rapid.IntRange(0, 40).Draw(rt, "mails") {
		u.arrive()
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 1, Connections: rapid.IntRange(1, 3).Draw(rt, "connections")}}
	for range rapid.IntRange(1, 4).Draw(rt, "rounds") {
		for range rapid.IntRange(0, 8).Draw(rt, "actions") {
			rapid.SampledFrom([]func(){u.arrive, u.delete, u.move, u.flag, u.copyOne, u.renameFolder}).Draw(rt, "action")()
		}
		run(rt, p)
		if rapid.IntRange(0, 5).Draw(rt, "the ledger is lost") == 0 {
			p.Store = newMemory() // between passes: what happens then is not known to be Godwit's
			run(rt, p)
		}
	}
	run(rt, p)
	got, want := dialT(t, rt, target).contents(), dialT(t, rt, source).contents()
	for name, lines := range want {
		if !slices.Equal(lines, got[name]) {
			rt.Fatalf("folder %q:\nsource %s\ntarget %s", name, strings.Join(lines, "\n       "), strings.Join(got[name], "\n       "))
		}
	}
	for name, lines := range got {
		if _, ok := want[name]; !ok && len(lines) > 0 {
			rt.Fatalf("the target's folder %q is not at the source", name)
		}
	}
	verified(rt, p, "content")
}

func dialT(t *testing.T, rt *rapid.T, e mailbox.Endpoint) client {
	c := dial(t, e)
	rt.Cleanup(func() { _ = c.Close() })
	return c
}

type player struct {
	client
	rt *rapid.T
	n  int
}

func (u *player) folders() []string {
	boxes, err := u.List("", "*", nil).Collect()
	u.must(err)
	var out []string
	for _, b := range boxes {
		out = append(out, b.Mailbox)
	}
	sort.Strings(out)
	return out
}

func (u *player) folder() string { return rapid.SampledFrom(u.folders()).Draw(u.rt, "in") }

// pick opens a folder and chooses a message in it; 0 if there is none.
func (u *player) pick() imap.UID {
	data, err := u.Select(u.folder(), nil).Wait()
	u.must(err)
	if data.NumMessages == 0 {
		return 0
	}
	msgs, err := u.Fetch(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true}).Collect()
	u.must(err)
	return rapid.SampledFrom(msgs).Draw(u.rt, "message").UID
}

func (u *player) arrive() {
	u.n++
	id := fmt.Sprint("id", rapid.IntRange(0, 30).Draw(u.rt, "id")) // some Message-IDs come twice
	text := fmt.Sprint("text ", rapid.IntRange(0, 3).Draw(u.rt, "text"))
	body := mail(id, "s", text)
	switch rapid.IntRange(0, 5).Draw(u.rt, "kind") {
	case 0:
		body = "Subject: no id\r\n\r\n" + text + "\r\n"
	case 1:
		body = "X-Only: this\r\n\r\n" + text
	}
	flags := rapid.SampledFrom([][]imap.Flag{nil, {imap.FlagSeen}, {imap.FlagFlagged, "$Work"}}).Draw(u.rt, "flags")
	u.add(u.folder(), body, day.Add(time.Duration(rapid.IntRange(0, 3).Draw(u.rt, "when"))*time.Hour), flags...)
}

func (u *player) delete() {
	if uid := u.pick(); uid != 0 {
		u.must(u.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
		u.must(u.Expunge().Close())
	}
}

func (u *player) move() {
	if uid := u.pick(); uid != 0 {
		_, err := u.Move(imap.UIDSetNum(uid), u.folder()).Wait()
		_ = err // a move onto itself may be refused
	}
}

func (u *player) copyOne() {
	if uid := u.pick(); uid != 0 {
		_, _ = u.Copy(imap.UIDSetNum(uid), u.folder()).Wait()
	}
}

func (u *player) flag() {
	if uid := u.pick(); uid != 0 {
		op := rapid.SampledFrom([]imap.StoreFlagsOp{imap.StoreFlagsAdd, imap.StoreFlagsDel}).Draw(u.rt, "op")
		flag := rapid.SampledFrom([]imap.Flag{imap.FlagSeen, imap.FlagAnswered, "$Later"}).Draw(u.rt, "flag")
		u.must(u.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: op, Silent: true, Flags: []imap.Flag{flag}}, nil).Close())
	}
}

func (u *player) renameFolder() {
	if f := u.folder(); f != "INBOX" {
		u.n++
		_, err := u.Select("INBOX", nil).Wait() // Dovecot ends a session whose open folder goes
		u.must(err)
		_ = u.Rename(f, fmt.Sprint("renamed", u.n), nil).Wait()
	}
}
