package mailbox_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// counter passes connections on to a server and counts what goes by.
type counter struct {
	address  string
	commands atomic.Int64 // lines from the client that begin with a tag, but for LOGOUT: nobody waits for it
	fetched  atomic.Int64 // FETCH responses
	vanished atomic.Int64
}

func count(t *testing.T, server string) *counter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{address: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	pass := func(from, to net.Conn, line func(string)) {
		defer to.Close()
		r := bufio.NewReader(from)
		for {
			text, err := r.ReadString('\n')
			line(text)
			if _, werr := to.Write([]byte(text)); err != nil || werr != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() {
				pass(in, out, func(s string) {
					if tag, rest, ok := strings.Cut(s, " "); ok && len(tag) > 1 && strings.Trim(tag[1:], "0123456789") == "" && rest != "LOGOUT\r\n" {
						c.commands.Add(1)
					}
				})
			})
			wg.Go(func() {
				pass(out, in, func(s string) {
					if strings.HasPrefix(s, "* ") && strings.Contains(s, " FETCH (") {
						c.fetched.Add(1)
					}
					if strings.HasPrefix(s, "* VANISHED (EARLIER)") {
						c.vanished.Add(1)
					}
				})
			})
		}
	})
	return c
}

// through is an account reached through the counter, in clear text.
func (c *counter) through(e mailbox.Endpoint) mailbox.Endpoint {
	return mailbox.Endpoint{Server: &mailbox.Server{Address: c.address, TLS: "none", Stall: e.Server.Stall}, Login: e.Login}
}

// TestNothingToDoIsConstant proves that a pass with nothing to do asks as
// little of a mailbox with many folders as of one with few.
func TestNothingToDoIsConstant(t *testing.T) {
	d := startDovecot(t, slashes)
	asked := func(folders int) (source, target int64) {
		from, to := d.account(), d.account()
		c := dial(t, from)
		for i := range folders {
			name := fmt.Sprint("F", i)
			c.must(c.Create(name, nil).Wait())
			c.add(name, mail(name, "s", "text"), day)
		}
		a, b := count(t, d.imap), count(t, d.imap)
		p := mailbox.Pass{Source: a.through(from), Target: b.through(to), Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Connections: 2, Verify: "content"}}
		run(t, p)
		run(t, p)
		a.commands.Store(0)
		b.commands.Store(0)
		if res := run(t, p); res.Messages != folders || res.Copied+res.Updated+res.Deleted+res.Moved != 0 {
			t.Errorf("got %+v", res)
		}
		return a.commands.Load(), b.commands.Load()
	}
	fewSource, fewTarget := asked(2)
	manySource, manyTarget := asked(40)
	t.Logf("commands: %d to the source, %d to the target", manySource, manyTarget)
	if fewSource != manySource || fewTarget != manyTarget {
		t.Errorf("2 folders: %d and %d commands; 40 folders: %d and %d", fewSource, fewTarget, manySource, manyTarget)
	}
	if manySource > 8 || manyTarget > 8 {
		t.Errorf("%d and %d commands for a pass with nothing to do", manySource, manyTarget)
	}
}

// TestDeltaAsksLittle proves that flags and deletions are carried with as
// little listing as the server's extensions allow, and without them as well.
func TestDeltaAsksLittle(t *testing.T) {
	const n = 150
	base := "IMAP4rev1 LITERAL+ UIDPLUS MOVE NAMESPACE LIST-EXTENDED LIST-STATUS MULTIAPPEND UNSELECT"
	tests := map[string]struct {
		capabilities string
		most         int64 // FETCH responses
		vanished     bool
	}{
		"QRESYNC":   {base + " ENABLE CONDSTORE QRESYNC", 20, true},
		"CONDSTORE": {base + " ENABLE CONDSTORE", n + 20, false},
		"neither":   {base, n + 20, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startDovecot(t, slashes+"protocol imap {\n  imap_capability = "+tt.capabilities+"\n}\n")
			from, to := d.account(), d.account()
			c := dial(t, from)
			for i := range n {
				c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
			}
			a := count(t, d.imap)
			p := mailbox.Pass{Source: a.through(from), Target: to, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
			run(t, p)
			change := func(flag imap.Flag, uids ...imap.UID) {
				t.Helper()
				_, err := c.Select("INBOX", nil).Wait()
				c.must(err)
				c.must(c.Store(imap.UIDSetNum(uids...), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close())
				c.must(c.Expunge().Close())
			}
			change(imap.FlagSeen, 1, 2) // Dovecot numbers changes from the first time that it is asked
			run(t, p)
			a.fetched.Store(0)
			a.vanished.Store(0)
			change(imap.FlagFlagged, 7, 100)
			change(imap.FlagDeleted, 3, 50, 51, n)
			c.add("INBOX", mail("new", "s", "new"), day)
			if res := run(t, p); res.Copied != 1 || res.Updated != 2 || res.Deleted != 4 {
				t.Errorf("got %+v", res)
			}
			if got := a.fetched.Load(); got > tt.most {
				t.Errorf("the source was made to list %d messages, want at most %d", got, tt.most)
			}
			if got := a.vanished.Load() > 0; got != tt.vanished {
				t.Errorf("VANISHED was told: %v", got)
			}
			same(t, from, to)
		})
	}
}

// TestDeletedParent proves on real servers that a folder that was deleted while
// another lies below it is gone, however the server goes on listing it, and
// that its mail goes at the target as any other that was deleted.
func TestDeletedParent(t *testing.T) {
	for _, format := range []string{"maildir:~/Maildir", "maildir:~/Maildir:LAYOUT=fs", "sdbox:~/sdbox", "mdbox:~/mdbox"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			d := startDovecot(t, slashes+"mail_location = "+format+"\n")
			from, to := d.account(), d.account()
			c := dial(t, from)
			c.must(c.Create("A", nil).Wait())
			c.must(c.Create("A/below", nil).Wait())
			for i := range 6 {
				c.add("A", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
			}
			c.add("A/below", mail("below", "s", "below"), day)
			c.add("INBOX", mail("inbox", "s", "inbox"), day)
			p := mailbox.Pass{Source: from, Target: to, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "content"}}
			run(t, p)
			c.must(c.Delete("A").Wait())
			if _, err := p.Run(t.Context()); !errors.Is(err, mailbox.ErrTooManyDeletions) {
				t.Errorf("six deletions: %v, want ErrTooManyDeletions", err)
			}
			p.Options.MaxDelete = 1
			if res := run(t, p); res.Deleted != 6 || len(res.Skipped) > 0 || res.Messages != 2 {
				t.Errorf("got %+v, want 6 messages deleted and nothing named", res)
			}
			if got := dial(t, to).in("A"); len(got) > 0 {
				t.Errorf("the target keeps %v", got)
			}
			if got := dial(t, to).in("A/below"); len(got) != 1 {
				t.Errorf("below it are %v", got)
			}
			c.must(c.Create("A", nil).Wait())
			c.add("A", mail("anew", "s", "anew"), day)
			if res := run(t, p); res.Copied != 1 || res.Deleted+len(res.Skipped) > 0 {
				t.Errorf("made anew: %+v", res)
			}
			same(t, from, to)
			verified(t, p, "content")
		})
	}
}
