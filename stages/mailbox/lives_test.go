package mailbox_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"godwit/stages/demohost"
	"godwit/stages/mailbox"
)

// TestFoundInLives keeps, in few steps, what lives of TestTargetEqualsSource
// have found: what the users of both sides did, and what the target has then.
func TestFoundInLives(t *testing.T) {
	type inFolders = map[string]string // the messages, in order
	tests := map[string]struct {
		before inFolders
		users  func(*scene)
		want   inFolders
	}{
		"what was removed stays removed when its folder is empty and it moves": {
			inFolders{"INBOX": "x", "A": "1 2"},
			func(s *scene) {
				s.remove(s.target, "A", "1", "2")
				s.move(s.source, "A", "1", "INBOX")
			},
			inFolders{"INBOX": "x", "A": ""},
		},
		"what was removed with its folder stays removed when it moves": {
			inFolders{"INBOX": "x", "A": "1", "A/below": "2"},
			func(s *scene) {
				s.must(s.target.Rename("A", "theirs", nil).Wait())
				s.remove(s.target, "theirs", "1")
				s.move(s.source, "A", "1", "A/below")
			},
			inFolders{"INBOX": "x", "theirs": "", "theirs/below": "2"},
		},
		"a name that is taken is noted, also once the rest is verified": {
			inFolders{"INBOX": "x", "A": "1 2", "B": ""},
			func(s *scene) {
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
			inFolders{"INBOX": "x", "A": "2", "B": "own"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			from, to := h.account(demohost.Source), h.account(demohost.Target)
			s := &scene{t, h, dial(t, from), dial(t, to), mailbox.Pass{
				Source: from, Target: to, Store: newMemory(), Options: mailbox.Options{MaxDelete: 1, Verify: "content"},
			}}
			for _, folder := range slices.Sorted(maps.Keys(tt.before)) {
				if folder != "INBOX" {
					s.must(s.source.Create(folder, nil).Wait())
				}
				for _, text := range strings.Fields(tt.before[folder]) {
					s.source.add(folder, mail(text, "s", text), day)
				}
			}
			s.pass()
			tt.users(s)
			s.pass()
			s.pass()
			verified(t, s.p, "content")
			got := inFolders{}
			for folder, list := range dial(t, to).messages() {
				var texts []string
				for _, m := range list {
					texts = append(texts, m.text())
				}
				got[folder] = strings.Join(texts, " ")
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("the target has %v, want %v", got, tt.want)
			}
		})
	}
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
