package main_test

import (
	"bufio"
	"crypto/tls"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	_ "modernc.org/sqlite" // the ledger's
)

var million sync.Once

// TestMillion takes a mailbox of a million messages in one folder through the
// program: first copy, a pass with nothing to do, a delta, a pass after the
// ledger was lost. It logs time, memory and what the ledger takes, and fails
// where memory or ledger grow with the mailbox. The ordinary tests make do with
// a few thousand; GODWIT_LONG=1 (make soak) takes the million, GODWIT_MESSAGES=N
// any number.
func TestMillion(t *testing.T) {
	n := 3000
	if os.Getenv("GODWIT_LONG") != "" {
		million.Do(func() { n = 1_000_000 }) // once, however often the tests are run
	}
	if own, err := strconv.Atoi(os.Getenv("GODWIT_MESSAGES")); err == nil {
		n = own
	}
	l := newLaboratory(t, 0, "1s", []user{{"big.example", "big@big.example", "own-Password-1", "keep"}}, "-format", "mdbox")
	took := func(what string, f func()) {
		began := time.Now()
		f()
		t.Logf("%s: %s", what, time.Since(began).Round(10*time.Millisecond))
	}
	took(fmt.Sprintf("fill with %d messages", n), func() { l.append("big@big.example", 0, n) })

	l.run("2026-11-24T03:00")
	l.run("2026-11-25T03:00")
	pass := func(what, at string) {
		t.Helper()
		var peak int
		took(what, func() { peak = l.watched("run", "plan.yaml", "--now", at) })
		t.Logf("%s: peak memory %d MiB", what, peak>>10)
		if most := 64 + 40; peak > most<<10 { // the program and its ledger beside the 64 MiB of a worker
			t.Errorf("%s: %d MiB of memory, want at most %d", what, peak>>10, most)
		}
	}
	state := func(what string) {
		t.Helper()
		sizes := l.kept()
		t.Logf("%s: the ledger keeps %v bytes", what, sizes)
		if got, most := sizes["map"]+sizes["folder"], 1500+40*n/1000+3000; got > most {
			t.Errorf("%s: map and state take %d bytes, want at most %d", what, got, most)
		}
		if got, most := sizes["proved"], 44*n+10000; got > most { // more: messages are read back twice
			t.Errorf("%s: what was read back takes %d bytes, want at most %d", what, got, most)
		}
	}
	pass("first copy", "2026-11-29T23:00")
	state("first copy")
	l.alike(n)
	pass("nothing to do", "2026-11-30T23:00")
	c := l.client(l.up.Source.Address, "big@big.example")
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	store := func(from, step int, flag imap.Flag) {
		t.Helper()
		var set imap.UIDSet
		for i := range 100 {
			set.AddNum(imap.UID(from + i*step))
		}
		if err := c.Store(set, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close(); err != nil {
			t.Fatal(err)
		}
	}
	store(1, n/200, imap.FlagFlagged)
	store(n/2, n/300, imap.FlagDeleted)
	if err := c.Expunge().Close(); err != nil {
		t.Fatal(err)
	}
	l.append("big@big.example", n, 100)
	l.run("2026-12-01T03:00")
	pass("100 new, 100 flagged, 100 deleted", "2026-12-01T23:00")
	state("100 new, 100 flagged, 100 deleted")
	l.alike(n)
	pass("cutover with verification by content", "2026-12-02T22:30")
	state("cutover")
}

// append puts tiny messages, numbered from first, into INBOX of the source.
func (l *laboratory) append(user string, first, count int) {
	l.t.Helper()
	conn, err := tls.Dial("tcp", l.up.Source.Address, &tls.Config{InsecureSkipVerify: true}) // our own, on loopback
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	in, out := bufio.NewReader(conn), bufio.NewWriterSize(conn, 1<<16)
	await := func(tag string) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				l.t.Fatal(err)
			}
			if done, ok := strings.CutPrefix(line, tag+" "); ok {
				if !strings.HasPrefix(done, "OK") {
					l.t.Fatal(line)
				}
				return
			}
		}
	}
	fmt.Fprintf(out, "L LOGIN %s %s\r\n", user, l.users[0].password)
	_ = out.Flush()
	await("L")
	start := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)
	for from := first; from < first+count; from += 500 {
		tag := fmt.Sprint("A", from)
		fmt.Fprintf(out, "%s APPEND INBOX", tag)
		for i := from; i < min(from+500, first+count); i++ {
			flags := `\Seen`
			if i%10 == 3 {
				flags += ` \Answered`
			}
			body := fmt.Sprintf("From: a%d@example\r\nMessage-ID: <%d@million.example>\r\nDate: Mon, 02 Jan 2023 15:04:05 +0100\r\nSubject: %d\r\n\r\nThe text of message %d.\r\n", i%97, i, i, i)
			fmt.Fprintf(out, " (%s) %q {%d+}\r\n%s", flags, start.Add(time.Duration(i)*time.Minute).Format("_2-Jan-2006 15:04:05 -0700"), len(body), body)
		}
		fmt.Fprint(out, "\r\n")
		if err := out.Flush(); err != nil {
			l.t.Fatal(err)
		}
		await(tag)
	}
}

// watched runs the program and returns the most memory it had, in KiB.
func (l *laboratory) watched(args ...string) (peak int) {
	l.t.Helper()
	cmd := exec.Command(l.bin.godwit, args...)
	cmd.Dir, cmd.Env = l.dir, append(os.Environ(), l.env...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)) // gone at the end
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kib, _ := strconv.Atoi(strings.Fields(value)[0])
				peak = max(peak, kib)
			}
		}
		select {
		case err := <-ended:
			if err != nil {
				l.t.Fatalf("%v: %v\n%s", args, err, said.String())
			}
			l.t.Logf("%v:\n%s", args, said.String())
			return peak
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// kept sums up what the ledger keeps for the account, by kind.
func (l *laboratory) kept() map[string]int {
	l.t.Helper()
	files, err := filepath.Glob(filepath.Join(l.dir, "out", "*.ledger"))
	if err != nil || len(files) != 1 {
		l.t.Fatalf("the ledger: %v, %v", files, err)
	}
	db, err := sql.Open("sqlite", files[0])
	if err != nil {
		l.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("select name, length(name) + length(value) from kept where account <> ''")
	if err != nil {
		l.t.Fatal(err)
	}
	defer rows.Close()
	sizes := map[string]int{}
	for rows.Next() {
		var name string
		var size int
		if err := rows.Scan(&name, &size); err != nil {
			l.t.Fatal(err)
		}
		kind, _, _ := strings.Cut(name, "/")
		sizes[kind] += size
	}
	if err := rows.Err(); err != nil {
		l.t.Fatal(err)
	}
	return sizes
}

func (l *laboratory) client(address, user string) *imapclient.Client {
	l.t.Helper()
	c, err := imapclient.DialTLS(address, &imapclient.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}}) // our own
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.Close() })
	if err := c.Login(user, l.users[0].password).Wait(); err != nil {
		l.t.Fatal(err)
	}
	return c
}

// alike compares the counts of both sides and one message in a hundred.
func (l *laboratory) alike(n int) {
	l.t.Helper()
	var sides [2][]string
	for i, address := range []string{l.up.Source.Address, l.up.Target.Address} {
		c := l.client(address, "big@big.example")
		box, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil || int(box.NumMessages) != n {
			l.t.Fatalf("side %d: %+v, %v; want %d messages", i, box, err, n)
		}
		var set imap.SeqSet
		for k := 1; k <= n; k += max(1, n/5000) {
			set.AddNum(uint32(k))
		}
		list, err := c.Fetch(set, &imap.FetchOptions{Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}}).Collect()
		if err != nil {
			l.t.Fatal(err)
		}
		for _, m := range list {
			flags := slices.DeleteFunc(m.Flags, func(f imap.Flag) bool { return f == `\Recent` })
			slices.Sort(flags)
			sides[i] = append(sides[i], fmt.Sprintf("%d %v %s %q", m.SeqNum, flags, m.InternalDate.UTC(), m.BodySection[0].Bytes))
		}
		_ = c.Close()
	}
	for i, want := range sides[0] {
		if got := sides[1][i]; got != want {
			l.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}
