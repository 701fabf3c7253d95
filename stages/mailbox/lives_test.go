package mailbox_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/demohost"
	"godwit/stages/mailbox"
)

// inFolders are messages by their texts, in order; a flagged one has a "!".
type inFolders = map[string]string

// found is what a life of TestTargetEqualsSource has found, in few steps: what
// the users of both sides did, and what the target has then.
type found struct {
	before  inFolders
	users   func(*scene)
	want    inFolders
	crashes bool         // the pass after, at every write, one after another
	stops   bool         // that pass, because of MaxDelete
	then    func(*scene) // what they did between the crash and the next pass
}

func TestFoundInLives(t *testing.T) {
	playAll(t, map[string]found{
		"what was removed stays removed when its folder is empty and it moves": {
			before: inFolders{"INBOX": "x", "A": "1 2"},
			users: func(s *scene) {
				s.remove(s.target, "A", "1", "2")
				s.move(s.source, "A", "1", "INBOX")
			},
			want: inFolders{"INBOX": "x", "A": ""},
		},
		"what was removed with its folder stays removed when it moves": {
			before: inFolders{"INBOX": "x", "A": "1", "A/below": "2"},
			users: func(s *scene) {
				s.must(s.target.Rename("A", "theirs", nil).Wait())
				s.remove(s.target, "theirs", "1")
				s.move(s.source, "A", "1", "A/below")
			},
			want: inFolders{"INBOX": "x", "theirs": "", "theirs/below": "2"},
		},
		"what was removed stays removed when it moves within a folder that is renamed": {
			before: inFolders{"INBOX": "x", "A": "1"},
			users: func(s *scene) {
				s.remove(s.target, "A", "1")
				s.move(s.source, "A", "1", "A")
				s.pass()
				s.move(s.source, "A", "1", "A")
				s.must(s.source.Rename("A", "B", nil).Wait())
				s.must(s.source.Create("A", nil).Wait())
			},
			want: inFolders{"INBOX": "x", "A": "", "B": ""},
		},
		"a name that is taken is noted, also once the rest is verified": {
			before: inFolders{"INBOX": "x", "A": "1 2", "B": ""},
			users: func(s *scene) {
				s.must(s.source.Delete("B").Wait())
				s.must(s.source.Rename("A", "B", nil).Wait())
				s.target.add("B", mail("own", "s", "own"), day)
				s.pass()
				s.remove(s.target, "A", "1")
				verified(s.t, s.p, "content")
				if _, notes, err := s.p.Named(s.t.Context()); err != nil || len(notes) != 2 || notes[0].Reason != mailbox.FolderRenamed || notes[0].Detail != "A" {
					s.t.Errorf("notes %v, %v; want that B is called A and that one message was removed", notes, err)
				}
			},
			want: inFolders{"INBOX": "x", "A": "2", "B": "own"},
		},
		"what is below a folder that is renamed is not noted as elsewhere": {
			before: inFolders{"INBOX": "x", "A": "1", "A/below": "2"},
			users: func(s *scene) {
				s.must(s.source.Rename("A", "B", nil).Wait())
				s.pass()
				if _, notes, err := s.p.Named(s.t.Context()); err != nil || len(notes) > 0 {
					s.t.Errorf("notes %v, %v; want none", notes, err)
				}
			},
			want: inFolders{"INBOX": "x", "B": "1", "B/below": "2"},
		},
		"what a crashed pass removed is not taken for what the user did": {
			before: inFolders{"INBOX": "x", "A": "1"},
			users:  func(s *scene) { s.remove(s.source, "A", "1") },
			then: func(s *scene) {
				s.source.add("INBOX", mail("1", "s", "1"), day)
			},
			want:    inFolders{"INBOX": "x 1", "A": ""},
			crashes: true,
		},
		"a folder that both users rename keeps its place while another gets its name": {
			before: inFolders{"INBOX": "x", "A": "1 2"},
			users: func(s *scene) {
				s.must(s.target.Rename("A", "theirs", nil).Wait())
				s.must(s.source.Rename("A", "B", nil).Wait())
				s.must(s.source.Create("A", nil).Wait())
				s.source.add("A", mail("3", "s", "3"), day)
			},
			want:    inFolders{"INBOX": "x", "theirs": "1 2", "A": "3"},
			crashes: true,
		},
		"a folder that the user renamed is followed, whatever has its name now": {
			before: inFolders{"INBOX": "x", "A": "1 2"},
			users: func(s *scene) {
				s.must(s.target.Rename("A", "theirs", nil).Wait())
				s.must(s.target.Create("A", nil).Wait())
				s.target.add("A", mail("own", "s", "own"), day)
				s.source.add("A", mail("3", "s", "3"), day)
			},
			want: inFolders{"INBOX": "x", "theirs": "1 2 3", "A": "own"},
		},
		"folders that swap their names do so at the target": {
			before: inFolders{"INBOX": "x", "A": "1", "B": "2"},
			users: func(s *scene) {
				s.must(s.source.Rename("A", "C", nil).Wait())
				s.must(s.source.Rename("B", "A", nil).Wait())
				s.must(s.source.Rename("C", "B", nil).Wait())
			},
			want:    inFolders{"INBOX": "x", "A": "2", "B": "1"},
			crashes: true,
		},
		"a folder goes below another that gets its name": {
			before: inFolders{"INBOX": "x", "A": "1", "B": "2"},
			users: func(s *scene) {
				s.must(s.source.Rename("B", "A/below", nil).Wait())
				s.must(s.source.Rename("A", "B", nil).Wait())
			},
			want: inFolders{"INBOX": "x", "B": "1", "B/below": "2"},
		},
		"what the target's user did stays when it moves out of a folder that is made anew": {
			before: inFolders{"INBOX": "x", "A": "1 2 3"},
			users: func(s *scene) {
				s.remove(s.target, "A", "1")
				s.each(s.target, "A", []string{"2"}, func(m shown) { s.target.set(m.uid, imap.FlagFlagged) })
				s.move(s.source, "A", "1", "INBOX")
				s.move(s.source, "A", "2", "INBOX")
				s.must(s.source.Delete("A").Wait())
				s.must(s.source.Create("A", nil).Wait())
				s.source.add("A", mail("4", "s", "4"), day)
			},
			want:    inFolders{"INBOX": "x 2!", "A": "4"},
			crashes: true,
		},
		"what was removed stays removed when all are renumbered": {
			before: inFolders{"INBOX": "x", "A": "1 2"},
			users: func(s *scene) {
				s.remove(s.target, "A", "1")
				s.move(s.source, "A", "1", "INBOX")
				s.move(s.source, "A", "2", "INBOX")
				s.must(s.source.Delete("A").Wait())
				s.must(s.source.Create("A", nil).Wait())
				s.move(s.source, "INBOX", "1", "A")
				s.move(s.source, "INBOX", "2", "A")
			},
			want:    inFolders{"INBOX": "x", "A": "2"},
			crashes: true,
		},
		"a folder is renamed once another is gone, as is one that was below it": {
			before: inFolders{"INBOX": "x", "A": "1", "A/below": "2", "B": "3"},
			users: func(s *scene) {
				s.must(s.source.Delete("A/below").Wait())
				s.must(s.source.Delete("B").Wait())
				s.must(s.source.Rename("A", "B", nil).Wait())
			},
			want:    inFolders{"INBOX": "x", "B": "1"},
			crashes: true,
		},
		"a folder goes with what was below it": {
			before: inFolders{"INBOX": "x", "A": "1", "A/below": "2", "A/below/deep": ""},
			users: func(s *scene) {
				for _, folder := range []string{"A/below/deep", "A/below", "A"} {
					s.must(s.source.Delete(folder).Wait())
				}
			},
			want:    inFolders{"INBOX": "x"},
			crashes: true,
		},
		"a folder goes below its own name": {
			before: inFolders{"INBOX": "x", "A": "1"},
			users: func(s *scene) {
				s.must(s.source.Rename("A", "B", nil).Wait())
				s.must(s.source.Create("A", nil).Wait())
				s.must(s.source.Rename("B", "A/below", nil).Wait())
				s.source.add("A", mail("2", "s", "2"), day)
			},
			want:    inFolders{"INBOX": "x", "A": "2", "A/below": "1"},
			crashes: true,
		},
		"twins keep their flags when the ledger is lost": {
			before: inFolders{"INBOX": "x"},
			users: func(s *scene) {
				s.source.add("INBOX", mail("twin", "s", "twin"), day)
				s.source.add("INBOX", mail("twin", "s", "twin"), day, imap.FlagFlagged)
				s.pass()
				first := s.source.in("INBOX")[1]
				s.source.moveTo(first.uid, "INBOX") // at the target the copy stays where it is
				s.pass()
				s.p.Store = newMemory()
			},
			want: inFolders{"INBOX": "x twin twin!"},
		},
	})
}

func playAll(t *testing.T, tests map[string]found) {
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; tt.play(t, at) && tt.crashes; at++ {
			}
		})
	}
}

// play tells whether there was a write to crash at.
func (f found) play(t *testing.T, at int) (crashed bool) {
	h := newHost(t)
	defer h.Close()
	from, to := h.account(demohost.Source), h.account(demohost.Target)
	store := newMemory()
	s := &scene{t, h, dial(t, from), dial(t, to), mailbox.Pass{
		Source: from, Target: to, Store: store, Options: mailbox.Options{MaxDelete: 1, Verify: "content"},
	}}
	for _, folder := range slices.Sorted(maps.Keys(f.before)) {
		if folder != "INBOX" {
			s.must(s.source.Create(folder, nil).Wait())
		}
		for _, text := range strings.Fields(f.before[folder]) {
			s.source.add(folder, mail(text, "s", text), day)
		}
	}
	s.pass()
	f.users(s)
	if f.crashes {
		left := at
		store.crash = func(bool) error {
			if left--; left == 0 {
				return errCrash
			}
			return nil
		}
		_, err := s.p.Run(t.Context())
		if crashed = errors.Is(err, errCrash); !crashed && !(f.stops && errors.Is(err, mailbox.ErrTooManyDeletions)) {
			s.must(err)
		}
		store.crash = nil
	}
	if f.then != nil {
		f.then(s)
	}
	s.pass()
	s.pass()
	verified(t, s.p, "content")
	if keys := s.p.Store.(*memory).strays(t); len(keys) > 0 {
		t.Errorf("the ledger keeps %q", keys)
	}
	got := inFolders{}
	for folder, list := range dial(t, to).messages() {
		var texts []string
		for _, m := range list {
			texts = append(texts, m.text())
			if slices.Contains(m.flags, string(imap.FlagFlagged)) {
				texts[len(texts)-1] += "!"
			}
		}
		got[folder] = strings.Join(texts, " ")
	}
	if !maps.Equal(got, f.want) {
		t.Errorf("the target has %v, want %v (crash at write %d: %v)", got, f.want, at, crashed)
	}
	return crashed
}

// scene is an account with somebody at the source and at the target.
type scene struct {
	t              *testing.T
	host           *host
	source, target client
	p              mailbox.Pass
}

// pass makes one, which must leave the source alone.
func (s *scene) pass() {
	s.t.Helper()
	before := s.host.MutationCount()
	if res := run(s.t, s.p); len(res.Differs) > 0 {
		s.t.Errorf("read back: %v", res.Differs)
	}
	if n := s.host.MutationCount() - before; n != 0 {
		s.t.Errorf("the source was changed %d times", n)
	}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// text is the last line of a mail.
func (m shown) text() string {
	lines := strings.Split(strings.TrimSpace(m.body), "\r\n")
	return lines[len(lines)-1]
}

// each opens the folder and does something with the messages of these texts.
func (s *scene) each(c client, folder string, texts []string, do func(shown)) {
	s.t.Helper()
	done := 0
	for _, m := range c.in(folder) {
		if slices.Contains(texts, m.text()) {
			do(m)
			done++
		}
	}
	if done != len(texts) {
		s.t.Fatalf("%d of %v are in %q", done, texts, folder)
	}
}

func (s *scene) remove(c client, folder string, texts ...string) {
	s.t.Helper()
	s.each(c, folder, texts, func(m shown) { c.remove(m.uid) })
}

func (s *scene) move(c client, folder, text, to string) {
	s.t.Helper()
	s.each(c, folder, []string{text}, func(m shown) { c.moveTo(m.uid, to) })
}
