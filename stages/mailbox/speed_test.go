//go:build speed

package mailbox_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// TestSpeed measures a first copy, a pass with nothing to do, verification and
// what is left for the freeze, on real servers. It is no part of the tests, which never look at
// the time: go test -tags speed -run Speed -v ./stages/mailbox
func TestSpeed(t *testing.T) {
	const n = 5000
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c := dial(t, source)
	for f := range 20 {
		c.must(c.Create(fmt.Sprint("F", f), nil).Wait())
	}
	for i := range n {
		c.add(fmt.Sprint("F", i%20), mail(fmt.Sprint(i), "s", strings.Repeat("some text of a mail\r\n", 50+i%3000)), day)
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Connections: 2}}
	took := func(what string, f func()) {
		began := time.Now()
		f()
		t.Logf("%s: %s", what, time.Since(began).Round(time.Millisecond))
	}
	took("first copy", func() {
		if res := run(t, p); res.Copied != n {
			t.Errorf("got %+v", res)
		}
	})
	took("nothing to do", func() { run(t, p) })
	took("verify by content", func() { verified(t, p, "content") })
	again := p
	again.Target, again.Store, again.Options.Verify = d.account(), newMemory(), "content"
	took("first copy, read back by content meanwhile", func() {
		if res := run(t, again); res.Copied != n || len(res.Differs) > 0 {
			t.Errorf("got %+v", res)
		}
	})
	for i := range 10 {
		c.add("F5", mail(fmt.Sprint("ten", i), "s", "x"), day)
	}
	again.Options.Final = true
	took("under the freeze: ten new ones, verified with all the rest", func() {
		if res := run(t, again); res.Copied != 10 || len(res.Differs) > 0 {
			t.Errorf("got %+v", res)
		}
	})
	c.add("F3", mail("new", "s", "x"), day)
	took("one new message", func() { run(t, p) })
}
