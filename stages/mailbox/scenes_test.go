package mailbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// TestNamesOnDovecot carries names from one namespace into another, and those
// that the target refuses under another name.
func TestNamesOnDovecot(t *testing.T) {
	old, fresh := startDovecot(t, slashes), startDovecot(t, dots)
	source, target := old.account(), fresh.account()
	c := dial(t, source)
	names := []string{"Sent", "Work/2024", "Ärger & Söhne", "per%cent", `quote"d`, "INBOX/below", "below", "Work"}
	for _, n := range names {
		c.must(c.Create(n, nil).Wait())
		c.add(n, mail(n, "in "+n, "text"), day)
	}
	c.must(c.Subscribe("Work/2024").Wait())
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1, Exclude: []string{"per*"}, Rename: map[string]string{"below": "Renamed/here"}}}
	survey, err := p.Examine(t.Context())
	if err != nil || survey.Messages != len(names)-1 || survey.Bytes == 0 || len(survey.TargetCaps) < 5 {
		t.Errorf("examine: %+v, %v", survey, err)
	}
	res := run(t, p)
	if res.Copied != len(names)-1 || len(res.Skipped) != 1 || res.Skipped[0].Reason != mailbox.Excluded {
		t.Errorf("got %+v", res)
	}
	got := dial(t, target).contents()
	for _, n := range []string{"INBOX/Work/2024", "INBOX/Ärger & Söhne", "INBOX/Renamed/here", "INBOX/below", "INBOX/Sent", "INBOX/Work"} {
		if len(got[n]) != 1 {
			t.Errorf("%q is not at the target: %v", n, keys(got))
		}
	}
	verified(t, p, "content")
	if again := run(t, p); again.Copied != 0 || len(again.Notes) != len(res.Notes) || len(again.Skipped) != 1 {
		t.Errorf("second pass: %+v", again)
	}
	// and back, into names that Maildir with slashes refuses
	home := old.account()
	back := mailbox.Pass{Source: target, Target: home, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	if res := run(t, back); res.Copied != len(names)-1 {
		t.Errorf("back: %+v", res)
	}
}

func keys(m map[string][]string) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TestTargetsUserIsNotOverruled proves that what the user did on the target
// stays.
func TestTargetsUserIsNotOverruled(t *testing.T) {
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c, u := dial(t, source), dial(t, target)
	for i := range 20 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	run(t, p)
	verified(t, p, "content")
	u.add("INBOX", mail("own", "s", "the user's own"), day)
	_, err := u.Select("INBOX", nil).Wait()
	u.must(err)
	u.must(u.Store(imap.UIDSetNum(1, 2), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
	u.must(u.Store(imap.UIDSetNum(3), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	u.must(u.Expunge().Close())
	_, err = c.Select("INBOX", nil).Wait()
	c.must(err)
	c.must(c.Store(imap.UIDSetNum(2, 3, 4), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close())
	c.must(c.Store(imap.UIDSetNum(5, 6), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	run(t, p)
	verified(t, p, "content")
	lines := strings.Join(u.folder("INBOX"), "\n")
	for _, want := range []string{`[\Flagged] "Message-ID: <0>`, `[\Flagged \Seen] "Message-ID: <1>`, `[\Seen] "Message-ID: <3>`, "Message-ID: <own>"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, lines)
		}
	}
	if n := strings.Count(lines, "\n") + 1; n != 20-1-2+1 || strings.Contains(lines, "<2>") {
		t.Errorf("%d messages:\n%s", n, lines)
	}
}

// TestMovesDoNotHideDeletions proves that max_delete counts what was deleted
// beside what was moved.
func TestMovesDoNotHideDeletions(t *testing.T) {
	m := startMemory(t, modern...)
	source, target := m.account(t), m.account(t)
	c := dial(t, source)
	c.must(c.Create("Work", nil).Wait())
	for i := range 30 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	run(t, p)
	var moved, gone imap.UIDSet
	moved.AddRange(1, 15)
	gone.AddRange(16, 25)
	_, err := c.Select("INBOX", nil).Wait()
	c.must(err)
	_, err = c.Move(moved, "Work").Wait()
	c.must(err)
	c.must(c.Store(gone, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	if _, err := p.Run(t.Context()); !errors.Is(err, mailbox.ErrTooManyDeletions) {
		t.Errorf("got %v", err)
	}
	if n := len(dial(t, target).folder("INBOX")); n != 30 {
		t.Errorf("%d messages are left of 30: something was changed", n)
	}
	p.Options.MaxDelete = 0.5
	if res := run(t, p); res.Moved != 15 || res.Deleted != 10 {
		t.Errorf("got %+v", res)
	}
	same(t, source, target)
}

// TestRenumbered proves that a side that renumbers its messages is matched
// anew, and that what the source no longer has is removed.
func TestRenumbered(t *testing.T) {
	d := startDovecot(t, slashes)
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			source, target := d.account(), d.account()
			c := dial(t, source)
			c.must(c.Create("Work", nil).Wait())
			for i := range 10 {
				c.add("Work", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
			}
			p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
			run(t, p)
			u := c
			if side == "target" {
				u = dial(t, target)
			}
			u.must(u.Rename("Work", "Aside", nil).Wait())
			u.must(u.Create("Work", nil).Wait())
			_, err := u.Select("Aside", nil).Wait()
			u.must(err)
			_, err = u.Copy(imap.SeqSet{imap.SeqRange{Start: 1, Stop: 8}}, "Work").Wait()
			u.must(err)
			_, err = u.Select("INBOX", nil).Wait()
			u.must(err)
			u.must(u.Delete("Aside").Wait())
			res := run(t, p)
			if res.AlreadyThere != 8 || side == "target" && res.Copied != 2 || side == "source" && res.Deleted != 2 {
				t.Errorf("got %+v", res)
			}
			same(t, source, target)
			verified(t, p, "content")
		})
	}
}

// TestEmptiedSource proves that a source that has become empty, or lists no
// folders, is not taken for a wish.
func TestEmptiedSource(t *testing.T) {
	s := &script{caps: sourceCaps, list: []string{`() "/" INBOX`, `() "/" Work`}}
	for i := range 10 {
		s.messages = append(s.messages, plainMessage(i+1))
	}
	source, target := s.start(t), startMemory(t, modern...).account(t)
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	run(t, p)
	want := dial(t, target).contents()
	for name, change := range map[string]func(){
		"no messages": func() { s.messages = nil },
		"no folders":  func() { s.list = []string{} },
	} {
		s.mu.Lock()
		change()
		s.mu.Unlock()
		if _, err := p.Run(t.Context()); !errors.Is(err, mailbox.ErrTooManyDeletions) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got := dial(t, target).contents(); len(got["INBOX"]) != 10 || len(got) != len(want) {
		t.Errorf("the target has changed: %v", got)
	}
}

// TestCatchUp proves that after the cutover only new mail is copied.
func TestCatchUp(t *testing.T) {
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c, u := dial(t, source), dial(t, target)
	c.must(c.Create("Work", nil).Wait())
	for i := range 10 {
		c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
	run(t, p)
	_, err := c.Select("INBOX", nil).Wait()
	c.must(err)
	_, err = c.Move(imap.UIDSetNum(1, 2), "Work").Wait()
	c.must(err)
	c.must(c.Store(imap.UIDSetNum(3, 4, 5, 6, 7, 8), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	c.must(c.Expunge().Close())
	c.add("Work", mail("late", "s", "late"), day)
	p.Options.CatchUp = true
	res := run(t, p)
	if res.Copied != 1 || res.Moved+res.Deleted+res.Updated != 0 {
		t.Errorf("got %+v", res)
	}
	if res := run(t, p); res.Copied != 0 {
		t.Errorf("the second catch-up copied %d", res.Copied)
	}
	if in, work := len(u.folder("INBOX")), len(u.folder("Work")); in != 10 || work != 1 {
		t.Errorf("INBOX %d, Work %d", in, work)
	}
}

// TestVerifyFinds proves that what is not as it was is found.
func TestVerifyFinds(t *testing.T) {
	d := startDovecot(t, slashes)
	tests := map[string]struct {
		does   func(t *testing.T, u client, maildir string)
		mode   string
		reason mailbox.Reason
	}{
		"a changed body":    {func(t *testing.T, _ client, dir string) { tamper(t, dir, "text 3", "test 3") }, "content", mailbox.Differs},
		"a changed header":  {func(t *testing.T, _ client, dir string) { tamper(t, dir, "Subject: s", "Subject: x") }, "headers", mailbox.Differs},
		"a missing message": {func(t *testing.T, u client, _ string) { remove(u, 3) }, "content", mailbox.Missing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			source, target := d.account(), d.account()
			c := dial(t, source)
			for i := range 10 {
				c.add("INBOX", mail(fmt.Sprint(i), "s", fmt.Sprint("text ", i)), day)
			}
			p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
			run(t, p)
			tt.does(t, dial(t, target), filepath.Join(d.dir, "home", target.Login.User, "Maildir"))
			found, err := p.Verify(t.Context(), tt.mode)
			if err != nil || len(found) == 0 || found[0].Reason != tt.reason {
				t.Errorf("got %+v, %v", found, err)
			}
		})
	}
}

func remove(u client, uid imap.UID) {
	_, err := u.Select("INBOX", nil).Wait()
	u.must(err)
	u.must(u.Store(imap.UIDSetNum(uid), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	u.must(u.Expunge().Close())
}

// tamper changes mail behind the server's back.
func tamper(t *testing.T, dir, from, to string) {
	changed := false
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !(strings.Contains(path, "/cur/") || strings.Contains(path, "/new/")) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte(from)) {
			return err
		}
		changed = true
		return os.WriteFile(path, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o600)
	})
	if err != nil || !changed {
		t.Fatalf("nothing to tamper with: %v", err)
	}
}

// TestQuiet proves that Quiet waits for the last change.
func TestQuiet(t *testing.T) {
	const settle = 300 * time.Millisecond
	source := startDovecot(t, slashes).account()
	c := dial(t, source)
	c.add("INBOX", mail("1", "s", "x"), day)
	dense := false
	for tries := 0; !dense && tries < 20; tries++ { // else the machine is busy: it was quiet in between
		dense = true
		last := time.Now() // a change's begin
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 5 {
				time.Sleep(100 * time.Millisecond)
				before := last
				last = time.Now()
				c.add("INBOX", mail("1", "s", "x"), day)
				dense = dense && time.Since(before) < settle
			}
		})
		err := mailbox.Quiet(t.Context(), source, settle)
		ended := time.Now()
		wg.Wait()
		if err != nil || dense && ended.Before(last.Add(settle)) {
			t.Errorf("quiet %s after the last change, %v", ended.Sub(last), err)
		}
	}
	if !dense {
		t.Error("the machine is too busy to change a mailbox side by side")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := mailbox.Quiet(ctx, source, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
