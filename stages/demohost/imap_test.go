package demohost_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/google/go-cmp/cmp"

	"godwit/stages/demohost"
)

// read fetches everything in a mailbox over IMAP, as Host.Mailbox tells it.
func read(t *testing.T, c *imapclient.Client) (out []demohost.Message) {
	t.Helper()
	folders, err := c.List("", "*", nil).Collect()
	must(t, err)
	for _, f := range folders {
		data, err := c.Select(f.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		must(t, err)
		if data.NumMessages == 0 {
			continue
		}
		body := &imap.FetchItemBodySection{Peek: true}
		all := imap.UIDSet{imap.UIDRange{Start: 1, Stop: 0}}
		messages, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true, BodySection: []*imap.FetchItemBodySection{body}}).Collect()
		must(t, err)
		for _, m := range messages {
			got := demohost.Message{Folder: f.Mailbox, Body: m.FindBodySection(body), Date: m.InternalDate, UID: uint32(m.UID)}
			for _, flag := range m.Flags {
				got.Flags = append(got.Flags, string(flag))
			}
			slices.Sort(got.Flags)
			if m.RFC822Size != int64(len(got.Body)) {
				t.Errorf("%s %d: RFC822.SIZE is %d, the body has %d", f.Mailbox, m.UID, m.RFC822Size, len(got.Body))
			}
			out = append(out, got)
		}
	}
	return out
}

// differ compares mailboxes; bodies by their digest, for cmp looks at each byte.
func differ(want, got []demohost.Message) string {
	short := func(in []demohost.Message) []demohost.Message {
		out := slices.Clone(in)
		for i, m := range out {
			sum := sha256.Sum256(m.Body)
			out[i].Body = sum[:]
		}
		return out
	}
	return cmp.Diff(short(want), short(got))
}

func TestReadingChangesNothing(t *testing.T) {
	h := start(t)
	must(t, h.Put(demohost.Source, anna, demohost.Message{Body: []byte("Subject: x\r\n\r\ntext")}))
	c := migrate(t, h, demohost.Source, anna)
	_, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	must(t, err)
	_, err = c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect() // no PEEK, but EXAMINE
	must(t, err)
	must(t, c.UnselectAndExpunge().Wait())
	if n := h.MutationCount(); n != 0 {
		t.Errorf("%d changes were counted", n)
	}
	mails, err := h.Mailbox(demohost.Source, anna)
	must(t, err)
	if len(mails) != 1 || len(mails[0].Flags) != 0 {
		t.Errorf("got %+v", mails)
	}
}

func TestEveryChangeOfTheSourceIsCounted(t *testing.T) {
	one := imap.SeqSetNum(1)
	seen := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}}
	tests := map[string]func(*imapclient.Client) error{
		"APPEND":    func(c *imapclient.Client) error { return appendMail(c, "INBOX", []byte("\r\nx")) },
		"STORE":     func(c *imapclient.Client) error { return c.Store(one, seen, nil).Close() },
		"EXPUNGE":   func(c *imapclient.Client) error { return c.Expunge().Close() },
		"CLOSE":     func(c *imapclient.Client) error { return c.UnselectAndExpunge().Wait() },
		"COPY":      func(c *imapclient.Client) error { _, err := c.Copy(one, "Other").Wait(); return err },
		"MOVE":      func(c *imapclient.Client) error { _, err := c.Move(one, "Other").Wait(); return err },
		"CREATE":    func(c *imapclient.Client) error { return c.Create("New", nil).Wait() },
		"DELETE":    func(c *imapclient.Client) error { return c.Delete("Other").Wait() },
		"RENAME":    func(c *imapclient.Client) error { return c.Rename("Other", "New", nil).Wait() },
		"SUBSCRIBE": func(c *imapclient.Client) error { return c.Subscribe("Other").Wait() },
		"FETCH without PEEK": func(c *imapclient.Client) error {
			_, err := c.Fetch(one, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect()
			return err
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			for _, side := range []demohost.Side{demohost.Target, demohost.Source} {
				must(t, h.Put(side, ben, demohost.Message{Body: []byte("Subject: x\r\n\r\ntext")}))
				must(t, h.PutFolder(side, ben, demohost.Folder{Name: "Other"}))
				c := migrate(t, h, side, ben)
				_, err := c.Select("INBOX", nil).Wait()
				must(t, err)
				must(t, change(c))
				if want := map[demohost.Side]int{demohost.Target: 0, demohost.Source: 1}[side]; h.MutationCount() != want {
					t.Errorf("after a change of the %s: %d changes of the source; want %d", side, h.MutationCount(), want)
				}
			}
		})
	}
}

func appendMail(c *imapclient.Client, folder string, body []byte) error {
	cmd := c.Append(folder, int64(len(body)), &imap.AppendOptions{Flags: []imap.Flag{"$Forwarded"}, Time: time.Date(2001, 2, 3, 4, 5, 6, 0, time.FixedZone("", -3600))})
	if _, err := cmd.Write(body); err != nil {
		return err
	}
	if err := cmd.Close(); err != nil {
		return err
	}
	_, err := cmd.Wait()
	return err
}

func TestATargetTakesFoldersAndMail(t *testing.T) {
	h := start(t)
	c := migrate(t, h, demohost.Target, ben)
	const name = `Büro/"Ämter" & 100 %/📦`
	must(t, c.Create(name, nil).Wait())
	must(t, c.Create("Gesendete", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrSent}}).Wait())
	must(t, c.Subscribe("Gesendete").Wait())
	var refused *imap.Error
	if err := c.Create(name, nil).Wait(); !errors.As(err, &refused) || refused.Code != imap.ResponseCodeAlreadyExists {
		t.Errorf("creating a folder again: %v", err)
	}
	body := []byte("a b c\r\n\r\n" + strings.Repeat("x", 100_000))
	must(t, appendMail(c, name, body))
	mails, err := h.Mailbox(demohost.Target, ben)
	must(t, err)
	if diff := differ(mails, read(t, c)); diff != "" || len(mails) != 1 {
		t.Errorf("IMAP and Mailbox differ: %s", diff)
	} else if m := mails[0]; m.Folder != name || !bytes.Equal(m.Body, body) || m.Date.Format(time.RFC3339) != "2001-02-03T04:05:06-01:00" || m.Flags[0] != "$Forwarded" {
		t.Errorf("got %+v", m)
	}
	folders, err := h.Folders(demohost.Target, ben)
	must(t, err)
	want := []demohost.Folder{
		{Name: "Büro"},
		{Name: `Büro/"Ämter" & 100 %`},
		{Name: name},
		{Name: "Gesendete", Subscribed: true, Use: []string{`\Sent`}},
		{Name: "INBOX", Subscribed: true},
	}
	if diff := cmp.Diff(want, folders); diff != "" {
		t.Error(diff)
	}
	must(t, c.Rename("Büro", "Ablage", nil).Wait())
	listed, err := c.List("", "Ablage/*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true}}).Collect()
	must(t, err)
	if len(listed) != 2 || listed[1].Mailbox != strings.Replace(name, "Büro", "Ablage", 1) || *listed[1].Status.NumMessages != 1 {
		t.Errorf("after the rename: %+v", listed)
	}
}

func TestSearchAndSections(t *testing.T) {
	h := start(t)
	for _, body := range []string{
		"Message-ID: <one@x>\r\nSubject: first\r\n folded\r\n\r\nalpha\r\n",
		"no header field\r\nMessage-ID: <two@x>\r\n\r\nbeta\r\n",
		"\r\nneither header nor\r\n\r\nend",
	} {
		must(t, h.Put(demohost.Source, anna, demohost.Message{Body: []byte(body), Flags: []string{"$L"}}))
	}
	c := migrate(t, h, demohost.Source, anna)
	_, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	must(t, err)
	searches := map[string]struct {
		criteria imap.SearchCriteria
		want     string
	}{
		"all":              {imap.SearchCriteria{}, "1:3"},
		"by Message-ID":    {imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Message-ID", Value: "<TWO@x>"}}}, "2"},
		"by UID":           {imap.SearchCriteria{UID: []imap.UIDSet{{{Start: 2, Stop: 0}}}}, "2:3"},
		"not the last":     {imap.SearchCriteria{Not: []imap.SearchCriteria{{UID: []imap.UIDSet{{{Start: 3, Stop: 3}}}}}}, "1:2"},
		"by keyword":       {imap.SearchCriteria{Flag: []imap.Flag{"$l"}, Body: []string{"Alpha"}}, "1"},
		"nothing unkeyed":  {imap.SearchCriteria{NotFlag: []imap.Flag{"$L"}}, ""},
		"received earlier": {imap.SearchCriteria{Before: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}, ""},
	}
	for name, tt := range searches {
		data, err := c.UIDSearch(&tt.criteria, nil).Wait()
		must(t, err)
		got := ""
		if set, ok := data.All.(imap.UIDSet); ok && len(set) > 0 {
			got = set.String()
		}
		if got != tt.want {
			t.Errorf("search %s: got %q; want %q", name, got, tt.want)
		}
	}
	sections := map[string]struct {
		item imap.FetchItemBodySection
		want []string
	}{
		"HEADER": {imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader}, []string{"Message-ID: <one@x>\r\nSubject: first\r\n folded\r\n\r\n", "no header field\r\nMessage-ID: <two@x>\r\n\r\n", "\r\n"}},
		"TEXT":   {imap.FetchItemBodySection{Specifier: imap.PartSpecifierText}, []string{"alpha\r\n", "beta\r\n", "neither header nor\r\n\r\nend"}},
		"fields": {imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"subject", "MESSAGE-ID"}}, []string{"Message-ID: <one@x>\r\nSubject: first\r\n folded\r\n\r\n", "Message-ID: <two@x>\r\n\r\n", "\r\n"}},
		"part":   {imap.FetchItemBodySection{Partial: &imap.SectionPartial{Offset: 2, Size: 5}}, []string{"ssage", " head", "neith"}},
	}
	for name, tt := range sections {
		tt.item.Peek = true
		got, err := c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{&tt.item}}).Collect()
		must(t, err)
		for i, m := range got {
			if s := string(m.FindBodySection(&tt.item)); s != tt.want[i] {
				t.Errorf("%s of %d: got %q; want %q", name, i+1, s, tt.want[i])
			}
		}
	}
	// a BODYSTRUCTURE of a broken message must not end the connection
	_, err = c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{BodyStructure: &imap.FetchItemBodyStructure{Extended: true}, Envelope: true}).Collect()
	must(t, err)
}

func TestSessionsHearOfEachOther(t *testing.T) {
	h := start(t)
	for range 3 {
		must(t, h.Put(demohost.Target, ben, demohost.Message{Body: []byte("\r\nx")}))
	}
	a, b := migrate(t, h, demohost.Target, ben), migrate(t, h, demohost.Target, ben)
	for _, c := range []*imapclient.Client{a, b} {
		_, err := c.Select("INBOX", nil).Wait()
		must(t, err)
	}
	must(t, a.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	gone, err := a.UIDExpunge(imap.UIDSetNum(1, 2)).Collect()
	must(t, err)
	if len(gone) != 1 || gone[0] != 1 {
		t.Errorf("expunged %v; want 1", gone)
	}
	data, err := a.Move(imap.UIDSetNum(2), "INBOX2").Wait()
	var refused *imap.Error
	if !errors.As(err, &refused) || refused.Code != imap.ResponseCodeTryCreate {
		t.Errorf("moving to nowhere: %v, %v", data, err)
	}
	must(t, b.Noop().Wait())
	if n := b.Mailbox().NumMessages; n != 2 {
		t.Errorf("the other session counts %d; want 2", n)
	}
	left, err := b.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true}).Collect()
	must(t, err)
	if len(left) != 2 || left[0].UID != 2 || left[1].UID != 3 {
		t.Errorf("the other session sees %v", left)
	}
}
