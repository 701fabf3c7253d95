package mailbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
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
		"and has the same messages, with flags of now": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: func(s *scene) {
				s.flag(s.source, "A", "1")
				s.pass()
				s.flag(s.target, "A", "2")
				s.anew("A")
				for _, text := range []string{"1", "2"} {
					s.source.add("A", mail(text, "s", text), day)
				}
			},
			want: inFolders{"INBOX": "x", "A": "1 2!"},
		},
		"and has a twin of another date": {
			before: inFolders{"INBOX": "x", "A": "1"}, crashes: true,
			users: func(s *scene) {
				s.flag(s.target, "A", "1")
				s.anew("A")
				s.source.add("A", mail("1", "s", "1"), day.Add(time.Hour))
			},
			want: inFolders{"INBOX": "x", "A": "1"},
		},
		"empty, and what moves into it is removed and moves on": {
			before: inFolders{"INBOX": "x 1", "A": ""},
			users: func(s *scene) {
				s.anew("A")
				s.move(s.source, "INBOX", "1", "A")
				s.pass()
				s.remove(s.target, "A", "1")
				s.move(s.source, "A", "1", "INBOX")
			},
			crashes: true,
			want:    inFolders{"INBOX": "x", "A": ""},
		},
		"empty, of which something was read back": {
			before: inFolders{"INBOX": "x", "A": "1"},
			users: func(s *scene) {
				s.move(s.source, "A", "1", "INBOX")
				s.pass()
				s.anew("A")
				s.pass()
				s.must(s.source.Delete("A").Wait())
			},
			crashes: true,
			want:    inFolders{"INBOX": "x 1"},
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

// TestMadeAnewInCatchUp proves that a catch-up deletes nothing of a folder made
// anew, and that a full pass after it deletes what is to be, and no more.
func TestMadeAnewInCatchUp(t *testing.T) {
	again := func(catchUp bool) func(*scene) {
		return func(s *scene) {
			s.move(s.source, "A", "1", "INBOX")
			s.anew("A")
			s.move(s.source, "INBOX", "1", "A")
			s.source.add("A", mail("3", "s", "3"), day)
			s.p.Options.CatchUp = catchUp
		}
	}
	full := func(s *scene) {
		had := len(s.target.in("A"))
		s.pass()
		if n := len(s.target.in("A")); n < had {
			s.t.Errorf("the catch-up left %d messages of %d", n, had)
		}
		s.p.Options.CatchUp = false
	}
	playAll(t, map[string]found{
		"and never before": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: again(true), then: full,
			want: inFolders{"INBOX": "x", "A": "1 3"},
		},
		"and renamed before the full pass, which crashes": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: func(s *scene) {
				again(true)(s)
				full(s)
				s.must(s.source.Rename("A", "B", nil).Wait())
			},
			want: inFolders{"INBOX": "x", "B": "1 3"},
		},
		"and emptied by both": {
			before: inFolders{"INBOX": "x", "A": "1"}, crashes: true,
			users: func(s *scene) {
				s.anew("A")
				s.p.Options.CatchUp = true
				full(s)
				s.remove(s.target, "A", "1")
				s.must(s.source.Delete("A").Wait())
			},
			want: inFolders{"INBOX": "x"},
		},
		"after a pass that crashed": {
			before: inFolders{"INBOX": "x", "A": "1 2"}, crashes: true,
			users: again(false),
			then: func(s *scene) {
				s.p.Options.CatchUp = true
				full(s)
			},
			want: inFolders{"INBOX": "x", "A": "1 3"},
		},
	})
}

// TestMadeAnewAndMaxDelete proves that what moved out of a folder that was made
// anew is no deletion, and that what was deleted with it waits for a person, also
// after a crash.
func TestMadeAnewAndMaxDelete(t *testing.T) {
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprint(i))
	}
	texts := strings.Join(all, " ")
	few := func(s *scene) { s.p.Options.MaxDelete = 0.1 }
	playAll(t, map[string]found{
		"moved": {
			before: inFolders{"INBOX": "x", "A": texts}, crashes: true,
			users: func(s *scene) {
				few(s)
				for _, text := range all {
					s.move(s.source, "A", text, "INBOX")
				}
				s.anew("A")
			},
			want: inFolders{"INBOX": "x " + texts, "A": ""},
		},
		"deleted": {
			before: inFolders{"INBOX": "x", "A": texts}, crashes: true, stops: true,
			users: func(s *scene) {
				few(s)
				s.anew("A")
			},
			then: func(s *scene) {
				if _, err := s.p.Run(s.t.Context()); !errors.Is(err, mailbox.ErrTooManyDeletions) {
					s.t.Errorf("got %v", err)
				}
				if n := len(s.target.in("A")); n != len(all) {
					s.t.Errorf("%d messages are left of %d", n, len(all))
				}
				s.p.Options.MaxDelete = 1
			},
			want: inFolders{"INBOX": "x", "A": ""},
		},
	})
}

// TestMadeAnewAndRolledBack proves that nothing of a folder of before is an
// arrival at the target.
func TestMadeAnewAndRolledBack(t *testing.T) {
	playAll(t, map[string]found{"": {
		before: inFolders{"INBOX": "x", "A": "1 2 3"}, crashes: true,
		users: func(s *scene) {
			s.move(s.source, "A", "1", "INBOX")
			s.anew("A")
			s.source.add("A", mail("4", "s", "4"), day)
		},
		then: func(s *scene) {
			s.must(s.target.Create("B", nil).Wait())
			s.target.add("B", mail("new", "s", "new"), day)
			back := mailbox.Back{Source: s.p.Source, Target: s.p.Target, Store: s.p.Store}
			if found, err := back.Look(s.t.Context()); err != nil || found.Waiting != 1 {
				s.t.Errorf("%d arrivals, %v; want 1", found.Waiting, err)
			}
		},
		want: inFolders{"INBOX": "x 1", "A": "4", "B": "new"},
	}})
}

// TestMadeAnewInAnOldLedger proves that a pass goes on where an older Godwit
// crashed, which kept of the folder of before only where its copies are: what had
// moved is copied, nothing is there twice, and what was deleted goes.
func TestMadeAnewInAnOldLedger(t *testing.T) {
	var store *memory
	playAll(t, map[string]found{"": {
		before: inFolders{"INBOX": "x", "A": "1 2 3"},
		users: func(s *scene) {
			store = s.p.Store.(*memory)
			s.move(s.source, "A", "1", "INBOX")
			s.move(s.source, "A", "3", "INBOX")
			s.anew("A")
			s.move(s.source, "INBOX", "3", "A")
			store.crash = func(after bool) error {
				if _, parted := store.data["folder/A%002"]; after && parted {
					return errCrash
				}
				return nil
			}
			if _, err := s.p.Run(t.Context()); !errors.Is(err, errCrash) {
				s.t.Fatalf("got %v", err)
			}
			store.crash = nil
			store.makeOld(s.t)
		},
		want: inFolders{"INBOX": "x 1", "A": "3"},
	}})
}

// makeOld is the ledger as an older Godwit had it at that point: one state, and
// the copies of before as orphans.
func (m *memory) makeOld(t *testing.T) {
	var st map[string]any
	if err := json.Unmarshal(m.data["folder/A%002"], &st); err != nil {
		t.Fatal(err)
	}
	delete(st, "Name")
	st["Orphans"] = []int{1, 2, 3}
	state, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(m.data, func(key string, _ []byte) bool {
		_, rest, _ := strings.Cut(key, "/")
		return rest == "A" || strings.HasPrefix(rest, "A/") || rest == "A%002"
	})
	m.data["folder/A"], m.data["folders"] = state, []byte(`["A","INBOX"]`)
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

// strays lists what the ledger holds of folders that are no more.
func (m *memory) strays(t interface{ Fatal(...any) }) (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var folders []string
	if err := json.Unmarshal(m.data["folders"], &folders); err != nil {
		t.Fatal(err)
	}
	for _, key := range slices.Sorted(maps.Keys(m.data)) {
		parts := strings.Split(key, "/")
		known := len(parts) == 1 || slices.Contains(folders, parts[1])
		if !known || parts[0] == "intent" || strings.Contains(string(m.data[key]), `"Nameless":true`) {
			keys = append(keys, key)
		}
	}
	return keys
}
