package mailbox_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// TestCutConnections cuts both sides after any number of bytes: nothing is
// lost or doubled.
func TestCutConnections(t *testing.T) {
	d := startDovecot(t, slashes)
	source := d.account()
	c := dial(t, source)
	for i := range 40 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", strings.Repeat("some text\r\n", i*20)), day)
	}
	c.add("INBOX", mail("large", "s", strings.Repeat("0123456789\r\n", 120000)), day)
	want := c.folder("INBOX")
	for _, cut := range []int64{2500, 6000, 20000, 60000, 150000, 400000, 1200000} {
		for _, sideName := range []string{"source", "target", "both"} {
			t.Run(fmt.Sprint(sideName, " after ", cut), func(t *testing.T) {
				t.Parallel()
				from, to := source, d.account()
				if sideName != "target" {
					from = throughCutter(t, d, from, cut)
				}
				viaCut := to
				if sideName != "source" {
					viaCut = throughCutter(t, d, to, cut)
				}
				p := mailbox.Pass{Source: from, Target: viaCut, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
				var err error
				for range 12 {
					if _, err = p.Run(t.Context()); err == nil {
						break
					}
				}
				p.Source, p.Target = source, to
				if res := run(t, p); len(res.Skipped) > 0 {
					t.Errorf("still named: %+v", res.Skipped)
				}
				got := dial(t, to).folder("INBOX")
				if !slices.Equal(got, want) {
					t.Errorf("%d messages at the source, %d at the target", len(want), len(got))
				}
			})
		}
	}
}

// throughCutter is an endpoint behind a relay that cuts each connection after
// so many bytes, a little later each time.
func throughCutter(t *testing.T, d *dovecot, e mailbox.Endpoint, after int64) mailbox.Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := int64(0); ; n++ {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", d.imap)
			if err != nil {
				_ = here.Close()
				continue
			}
			left := &budget{left: after + n*after/3}
			end := func() { _ = here.Close(); _ = there.Close() }
			wg.Go(func() { _, _ = io.Copy(there, left.of(here)); end() })
			wg.Go(func() { _, _ = io.Copy(here, left.of(there)); end() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	server := &mailbox.Server{Address: l.Addr().String(), TLS: "none", Stall: 10 * time.Second}
	return mailbox.Endpoint{Server: server, Login: e.Login}
}

type budget struct {
	mu   sync.Mutex
	left int64
}

func (b *budget) of(r io.Reader) io.Reader { return cutReader{b, r} }

type cutReader struct {
	b *budget
	r io.Reader
}

func (c cutReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if int64(n) > c.b.left {
		n, err = int(c.b.left), io.EOF
	}
	c.b.left -= int64(n)
	return n, err
}
