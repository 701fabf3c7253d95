package mailbox_test

import (
	"testing"

	"github.com/emersion/go-imap/v2"
)

// TestMadeAnew proves that a folder which the source's user deletes and makes
// anew under its name costs nothing of what is known of the one before, wherever
// the pass that finds it crashes, and whatever the users do before the next.
func TestMadeAnew(t *testing.T) {
	before := inFolders{"INBOX": "x", "A": "1 2 3 4"}
	users := func(s *scene) { // 1 is removed and moved, 2 flagged and moved, 3 deleted, 4 goes on in the new A
		s.remove(s.target, "A", "1")
		s.flag(s.target, "A", "2")
		s.move(s.source, "A", "1", "INBOX")
		s.move(s.source, "A", "2", "INBOX")
		s.move(s.source, "A", "4", "INBOX")
		s.anew("A")
		s.move(s.source, "INBOX", "4", "A")
		s.source.add("A", mail("5", "s", "5"), day)
	}
	playAll(t, map[string]found{
		"and left alone": {
			before: before, users: users, crashes: true,
			want: inFolders{"INBOX": "x 2!", "A": "4 5"},
		},
		"and once more": {
			before: before, users: users, crashes: true,
			then: func(s *scene) {
				s.move(s.source, "A", "5", "INBOX")
				s.anew("A")
				s.move(s.source, "INBOX", "2", "A")
				s.move(s.source, "INBOX", "1", "A")
			},
			want: inFolders{"INBOX": "x 5", "A": "2!"},
		},
		"and then deleted": {
			before: before, users: users, crashes: true,
			then: func(s *scene) { s.must(s.source.Delete("A").Wait()) },
			want: inFolders{"INBOX": "x 2!"},
		},
		"and then renamed": {
			before: before, users: users, crashes: true,
			then: func(s *scene) { s.must(s.source.Rename("A", "B", nil).Wait()) },
			want: inFolders{"INBOX": "x 2!", "B": "4 5"},
		},
		"and then renamed at the target": {
			before: before, users: users, crashes: true,
			then: func(s *scene) { s.must(s.target.Rename("A", "theirs", nil).Wait()) },
			want: inFolders{"INBOX": "x 2!", "theirs": "4 5"},
		},
		"and at the target it is deleted": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: func(s *scene) {
				s.must(s.target.Delete("A").Wait())
				s.move(s.source, "A", "1", "INBOX")
				s.anew("A")
				s.source.add("A", mail("3", "s", "3"), day)
			},
			want: inFolders{"INBOX": "x", "A": "3"},
		},
		"and the target's is replaced, too": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: func(s *scene) {
				s.move(s.source, "A", "1", "INBOX")
				s.anew("A")
				s.source.add("A", mail("3", "s", "3"), day)
			},
			then: func(s *scene) {
				s.must(s.target.Delete("A").Wait())
				s.must(s.target.Create("A", nil).Wait())
				s.target.add("A", mail("own", "s", "own"), day)
			},
			want: inFolders{"INBOX": "x 1", "A": "own 3"},
		},
		"not at all, but deleted, and replaced at the target": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: func(s *scene) {
				s.move(s.source, "A", "1", "INBOX")
				s.must(s.source.Delete("A").Wait())
				s.must(s.target.Delete("A").Wait())
				s.must(s.target.Create("A", nil).Wait())
				s.target.add("A", mail("own", "s", "own"), day)
			},
			want: inFolders{"INBOX": "x 1", "A": "own"},
		},
	})
}

// anew deletes a folder of the source and makes it anew.
func (s *scene) anew(folder string) {
	s.t.Helper()
	s.must(s.source.Delete(folder).Wait())
	s.must(s.source.Create(folder, nil).Wait())
}

func (s *scene) flag(c client, folder string, texts ...string) {
	s.t.Helper()
	s.each(c, folder, texts, func(m shown) { c.set(m.uid, imap.FlagFlagged) })
}
