package mailbox_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// overheard is an endpoint behind a relay that writes down what is said to the
// server.
type overheard struct {
	mailbox.Endpoint
	mu    sync.Mutex
	lines []string
}

func overhear(t *testing.T, address string, e mailbox.Endpoint) *overheard {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &overheard{Endpoint: mailbox.Endpoint{
		Server: &mailbox.Server{Address: l.Addr().String(), TLS: "none", Stall: 10 * time.Second}, Login: e.Login,
	}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", address)
			if err != nil {
				_ = here.Close()
				continue
			}
			end := func() { _ = here.Close(); _ = there.Close() }
			wg.Go(func() { o.relay(there, here); end() })
			wg.Go(func() { _, _ = io.Copy(here, there); end() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return o
}

func (o *overheard) relay(to io.Writer, from io.Reader) {
	br := bufio.NewReader(from)
	for {
		line, err := br.ReadString('\n')
		o.mu.Lock()
		o.lines = append(o.lines, strings.TrimSpace(line))
		o.mu.Unlock()
		if _, werr := io.WriteString(to, line); err != nil || werr != nil {
			return
		}
	}
}

// bodies are the sets of UIDs whose bodies were asked for since the last call.
func (o *overheard) bodies() (sets []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, line := range o.lines {
		if f := strings.Fields(line); strings.Contains(line, "BODY.PEEK[") && len(f) > 3 {
			sets = append(sets, f[3])
		}
	}
	o.lines = nil
	return sets
}

// TestTheFreezeOnlyVerifiesWhatIsNew proves that a pass reads back what it
// copied, and that the final one reads back only what is new.
func TestTheFreezeOnlyVerifiesWhatIsNew(t *testing.T) {
	for _, mode := range []string{"content", "headers"} {
		t.Run(mode, func(t *testing.T) {
			d := startDovecot(t, slashes)
			source, target := d.account(), d.account()
			c := dial(t, source)
			c.must(c.Create("Work", nil).Wait())
			for i := range 90 {
				c.add([]string{"INBOX", "Work"}[i%2], mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
			}
			there := overhear(t, d.imap, target)
			store := newMemory()
			p := mailbox.Pass{Source: source, Target: there.Endpoint, Store: store, Options: mailbox.Options{MaxDelete: 0.1, Verify: mode}}
			run(t, p)
			if n := len(there.bodies()); n == 0 {
				t.Error("nothing was read back in the pass that copied")
			}
			for key := range store.data {
				if strings.HasPrefix(key, "copied/") {
					t.Errorf("%s is left although all is verified", key)
				}
			}
			c.add("Work", mail("new", "s", "new"), day)
			p.Options.Final = true
			if res := run(t, p); len(res.Differs) > 0 || res.Copied != 1 {
				t.Errorf("got %+v", res)
			}
			if got := there.bodies(); len(got) != 1 || got[0] != "46" {
				t.Errorf("the final pass read back %q, want 46", got)
			}
			if res := run(t, p); len(res.Differs) > 0 || len(there.bodies()) != 0 {
				t.Errorf("got %+v", res)
			}
		})
	}
}

// TestWhatDiffersIsCarriedAgain proves that little that went wrong is mended by
// the next pass, and that much is not.
func TestWhatDiffersIsCarriedAgain(t *testing.T) {
	d := startDovecot(t, slashes)
	spoil := map[string]func(t *testing.T, u client, dir string){
		"another text": func(t *testing.T, _ client, dir string) { tamper(t, dir, "text 7", "test 7") },
		"lost":         func(_ *testing.T, u client, _ string) { remove(u, 7) },
	}
	for name, do := range spoil {
		t.Run(name, func(t *testing.T) {
			source, target := d.account(), d.account()
			c := dial(t, source)
			for i := range 30 {
				c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i, " end")), day)
			}
			p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
			run(t, p)
			do(t, dial(t, target), filepath.Join(d.dir, "home", target.Login.User, "Maildir"))
			p.Options.Verify = "content"
			found, err := p.Verify(t.Context(), "content")
			if err != nil || len(found) != 1 {
				t.Fatalf("got %+v, %v", found, err)
			}
			p.Options.Final = true
			if res := run(t, p); len(res.Differs) > 0 || res.Copied != 1 {
				t.Errorf("got %+v", res)
			}
			same(t, source, target)
		})
	}
	t.Run("much", func(t *testing.T) {
		source, target := d.account(), d.account()
		c := dial(t, source)
		for i := range 30 {
			c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
		}
		p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
		run(t, p)
		tamper(t, filepath.Join(d.dir, "home", target.Login.User, "Maildir"), "text", "test")
		p.Options.Verify, p.Options.Final = "content", true
		for range 2 {
			if res := run(t, p); len(res.Differs) != 30 || res.Copied+res.Deleted > 0 {
				t.Errorf("%d differ, %d copied, %d deleted", len(res.Differs), res.Copied, res.Deleted)
			}
		}
	})
}

// TestWhatIsRemovedAfterItWasVerifiedIsNamed proves that it is not brought back,
// and that its absence is no secret.
func TestWhatIsRemovedAfterItWasVerifiedIsNamed(t *testing.T) {
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c := dial(t, source)
	for i := range 20 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.2, Verify: "content"}}
	run(t, p)
	u := dial(t, target)
	remove(u, 7)
	p.Options.Final = true
	for range 2 {
		res := run(t, p)
		if len(res.Differs) > 0 || len(res.Notes) != 1 || res.Notes[0].Reason != mailbox.Removed || res.Notes[0].UID != 7 {
			t.Errorf("got %+v", res)
		}
	}
	if n := len(u.folder("INBOX")); n != 19 {
		t.Errorf("%d messages", n)
	}
	for uid := imap.UID(8); uid < 13; uid++ {
		remove(u, uid)
	}
	if res := run(t, p); len(res.Differs) != 1 || res.Differs[0].Reason != mailbox.Missing {
		t.Errorf("got %+v", res)
	}
}

// TestTheSumsAreEqual proves that a message that the source has, but does not
// list, keeps a mailbox from being called verified.
func TestTheSumsAreEqual(t *testing.T) {
	s := &script{say: func(s *script, command string) (string, bool, bool) {
		if strings.HasPrefix(command, "EXAMINE") {
			return fmt.Sprintf("* %d EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 1000] ok\r\nTAG OK done\r\n", len(s.messages)+1), true, false
		}
		return "", false, false
	}}
	for i := range 10 {
		s.messages = append(s.messages, plainMessage(i+1))
	}
	p := mailbox.Pass{Source: s.start(t), Target: startMemory(t, modern...).account(t), Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "content", Final: true}}
	if res := run(t, p); len(res.Differs) != 1 || res.Differs[0].Reason != mailbox.Missing || res.Copied != 10 {
		t.Errorf("got %+v", res)
	}
}

// TestHeadersInDoubtAreComparedByContent proves that odd messages, whose header
// servers give in different ways, are no false alarm, and that the source is
// not asked for them again.
func TestHeadersInDoubtAreComparedByContent(t *testing.T) {
	d := startDovecot(t, slashes)
	target := d.account()
	s := &script{}
	for i, body := range []string{"Subject: no body", "no header at all\r\nnor here\r\n", "Subject: bare\nTo: x\n\ntext\n", "\r\nonly a body\r\n", mail("plain", "s", "x")} {
		m := plainMessage(i + 1)
		m.body, m.size = body, fmt.Sprint(len(body))
		s.messages = append(s.messages, m)
	}
	p := mailbox.Pass{Source: s.start(t), Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Verify: "headers", Final: true}}
	if res := run(t, p); len(res.Differs) > 0 || res.Copied != 5 {
		t.Errorf("got %+v", res)
	}
	asked := 0
	for _, command := range s.told() {
		if strings.Contains(command, "BODY.PEEK[") {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the source was asked for bodies %d times:\n%s", asked, strings.Join(s.told(), "\n"))
	}
}
