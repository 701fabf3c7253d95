package mailbox_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"go.uber.org/goleak"

	"godwit/stages/mailbox"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "50") // quick; the command line overrides it
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if !mailbox.MemoryIsFree() { // it is all accounts': what is lost once is lost for the life of the process
			fmt.Fprintln(os.Stderr, "FAIL: bodies still have memory after the last test")
			code = 1
		}
		os.Exit(code)
	}))
}

// memory is a Store in memory. crash, if set, is called at every Put, before
// and after the change; what it returns ends the Put.
type memory struct {
	mu    sync.Mutex
	data  map[string][]byte
	crash func(after bool) error
}

func newMemory() *memory { return &memory{data: map[string][]byte{}} }

func (m *memory) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[key], nil
}

func (m *memory) Put(_ context.Context, changes map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crash != nil {
		if err := m.crash(false); err != nil {
			return err
		}
	}
	for k, v := range changes {
		if v == nil {
			delete(m.data, k)
			continue
		}
		m.data[k] = append([]byte(nil), v...)
	}
	if m.crash != nil {
		return m.crash(true)
	}
	return nil
}

// client is an independent client of the library's, to fill mailboxes and to
// look at them.
type client struct {
	*imapclient.Client
	t testing.TB
}

func dial(t testing.TB, e mailbox.Endpoint) client {
	t.Helper()
	var c *imapclient.Client
	var err error
	if e.Server.TLS == "none" {
		c, err = imapclient.DialInsecure(e.Server.Address, nil)
	} else {
		pem, rerr := os.ReadFile(e.Server.CAFile)
		if rerr != nil {
			t.Fatal(rerr)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		c, err = imapclient.DialTLS(e.Server.Address, &imapclient.Options{TLSConfig: &tls.Config{RootCAs: pool}})
	}
	if err != nil {
		t.Fatal(err)
	}
	password, _ := e.Login.Secret(t.Context())
	if err := c.Login(e.Login.User, password).Wait(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	c.Caps()
	return client{c, t}
}

func (c client) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// add appends a message and returns its UID.
func (c client) add(folder, body string, date time.Time, flags ...imap.Flag) imap.UID {
	c.t.Helper()
	cmd := c.Append(folder, int64(len(body)), &imap.AppendOptions{Flags: flags, Time: date})
	if _, err := cmd.Write([]byte(body)); err != nil {
		c.t.Fatal(err)
	}
	c.must(cmd.Close())
	data, err := cmd.Wait()
	c.must(err)
	return data.UID
}

// contents lists a mailbox as comparable lines, folder by folder.
func (c client) contents() map[string][]string {
	c.t.Helper()
	out := map[string][]string{}
	boxes, err := c.List("", "*", nil).Collect()
	c.must(err)
	for _, b := range boxes {
		if hasAttr(b.Attrs, imap.MailboxAttrNoSelect) || hasAttr(b.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		name := b.Mailbox
		if b.Delim != 0 {
			name = strings.ReplaceAll(name, string(b.Delim), "/")
		}
		out[name] = c.folder(b.Mailbox)
	}
	return out
}

func hasAttr(list []imap.MailboxAttr, a imap.MailboxAttr) bool {
	for _, x := range list {
		if strings.EqualFold(string(x), string(a)) {
			return true
		}
	}
	return false
}

func (c client) folder(name string) []string {
	c.t.Helper()
	data, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	c.must(err)
	lines := []string{}
	if data.NumMessages == 0 {
		return lines
	}
	msgs, err := c.Fetch(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	c.must(err)
	for _, m := range msgs {
		var flags []string
		for _, f := range m.Flags {
			if f != `\Recent` {
				flags = append(flags, string(f))
			}
		}
		sort.Strings(flags)
		lines = append(lines, fmt.Sprintf("%s %v %q", m.InternalDate.UTC().Format(time.RFC3339), flags, m.BodySection[0].Bytes))
	}
	sort.Strings(lines)
	return lines
}

func mail(id, subject, text string) string {
	return "Message-ID: <" + id + ">\r\nDate: Mon, 02 Jan 2023 15:04:05 +0100\r\nFrom: a@example\r\nSubject: " + subject + "\r\n\r\n" + text + "\r\n"
}

var day = time.Date(2021, 3, 4, 5, 6, 7, 0, time.FixedZone("", 2*3600))

// pass runs one pass and fails the test on an error.
func run(t fataler, p mailbox.Pass) mailbox.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := p.Run(ctx)
	if err != nil {
		t.Fatalf("pass: %v", err)
	}
	return res
}

// verified fails the test unless everything is verified.
func verified(t fataler, p mailbox.Pass, mode string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := p.Verify(ctx, mode)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	for _, f := range found {
		t.Errorf("verify: %s %d %s %s", f.Folder, f.UID, f.Reason, f.Detail)
	}
}

// fataler is a test or a run of a property.
type fataler interface {
	Helper()
	Fatalf(string, ...any)
	Errorf(string, ...any)
}
