package mailbox_test

import (
	"slices"
	"strings"
	"testing"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// What the source tells of its folders decides where their mail goes.
func TestWhereFoldersGo(t *testing.T) {
	tests := map[string]struct {
		caps   string
		list   []string
		say    func(*script, string) (string, bool, bool)
		there  []string // folders of the target
		arrive []string // folders that then hold the source's messages
		notes  []string
	}{
		"a localised name goes to the folder of that use": {
			list: []string{`() "/" INBOX`, `() "/" Gesendet`}, there: []string{"Sent"},
			arrive: []string{"INBOX", "Sent"}, notes: []string{"Gesendet is Sent"},
		},
		"what the source says goes before names": {
			caps: " SPECIAL-USE LIST-EXTENDED", list: []string{`() "/" INBOX`, `() "/" Gesendet`, `(\Sent) "/" Ausgang`}, there: []string{"Sent"},
			arrive: []string{"INBOX", "Gesendet", "Sent"}, notes: []string{"Ausgang is Sent"},
		},
		"an old server says it by XLIST": {
			caps: " XLIST", list: []string{`() "/" INBOX`, `() "/" Ausgang`}, there: []string{"Sent", "Spam"},
			say: func(_ *script, c string) (string, bool, bool) {
				return "* XLIST (\\HasNoChildren \\Sent) \"/\" Ausgang\r\nTAG OK done\r\n", strings.HasPrefix(c, "XLIST"), false
			},
			arrive: []string{"INBOX", "Sent"}, notes: []string{"Ausgang is Sent"},
		},
		"XLIST is refused": {
			caps: " XLIST", list: []string{`() "/" INBOX`, `() "/" Ausgang`}, there: []string{"Sent"},
			say: func(_ *script, c string) (string, bool, bool) {
				return "TAG BAD what?\r\n", strings.HasPrefix(c, "XLIST"), false
			},
			arrive: []string{"INBOX", "Ausgang"},
		},
		"a server that chokes on its subscriptions lists plainly": {
			caps: " LIST-EXTENDED LIST-STATUS", list: []string{`() "/" INBOX`, `() "/" Work`},
			say: func(_ *script, c string) (string, bool, bool) {
				return "TAG NO [SERVERBUG] Internal error occurred\r\n", strings.Contains(c, " RETURN ") || strings.HasPrefix(c, "LSUB"), false
			},
			arrive: []string{"INBOX", "Work"},
		},
		"a folder of which STATUS says nothing is opened": {
			list: []string{`() "/" INBOX`, `() "/" [x`},
			say: func(_ *script, c string) (string, bool, bool) {
				return "TAG NO not for this one\r\n", strings.HasPrefix(c, "STATUS"), false
			},
			arrive: []string{"INBOX", "[x"},
		},
		"the names of others are left alone, and said": {
			caps: " NAMESPACE", list: []string{`() "." INBOX`, `() "." "INBOX.Work"`, `() "." "user.ben"`, `() "." announcements`},
			say: func(_ *script, c string) (string, bool, bool) {
				return "* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) ((\"\" \".\"))\r\nTAG OK done\r\n", c == "NAMESPACE", false
			},
			arrive: []string{"INBOX", "Work"}, notes: []string{"announcements belongs to another user or is shared", "user/ben belongs to another user or is shared"},
		},
		"a broken spelling is one folder, and goes back as it came": {
			list:   []string{`() "/" INBOX`, `() "/" "a & b"`, `() "/" "a &- b"`, `() "/" "&Jjo"`}, // what looks the same twice
			arrive: []string{"INBOX", "a & b", "a & b (2)", "&Jjo"}, notes: []string{"a & b is a & b (2)"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{caps: sourceCaps + tt.caps, list: tt.list, say: tt.say, messages: []scripted{plainMessage(1), plainMessage(2)}}
			target := startMemory(t, modern...).account(t)
			c := dial(t, target)
			for _, folder := range tt.there {
				c.must(c.Create(folder, nil).Wait())
			}
			p := mailbox.Pass{Source: s.start(t), Target: target, Store: newMemory()}
			res := run(t, p)
			if again := run(t, p); again.Copied > 0 {
				t.Errorf("the second pass copied %d messages again", again.Copied)
			}
			got := c.contents()
			for folder, mails := range got {
				if slices.Contains(tt.arrive, folder) != (len(mails) > 0) {
					t.Errorf("folder %q of the target holds %d messages", folder, len(mails))
				}
			}
			for _, folder := range tt.arrive {
				if len(got[folder]) != 2 {
					t.Errorf("folder %q of the target holds %d messages, want 2", folder, len(got[folder]))
				}
			}
			var notes []string
			for _, n := range res.Notes {
				text := n.Folder + " " + n.Detail
				if n.Reason == mailbox.FolderRenamed {
					text = n.Folder + " is " + n.Detail
				}
				notes = append(notes, text)
			}
			if slices.Sort(notes); !slices.Equal(notes, tt.notes) {
				t.Errorf("noted %q, want %q", notes, tt.notes)
			}
		})
	}
}

// Names that are hard to read off the wire stay one folder in the next pass.
func TestOddNamesOnDovecot(t *testing.T) {
	d := startDovecot(t, slashes)
	source, target := d.account(), d.account()
	c := dial(t, source)
	for _, name := range []string{"[x", "]", "(", "{3}", "{3+}", "NIL", `"`, `\`, "a b", "*", "%", "&", "BODY[x"} {
		c.must(c.Create(name, nil).Wait())
		c.add(name, mail("in "+name, "odd", "text"), day)
	}
	p := mailbox.Pass{Source: source, Target: target, Store: newMemory()}
	run(t, p)
	if res := run(t, p); res.Copied > 0 {
		t.Errorf("the second pass copied %d messages again", res.Copied)
	}
	same(t, source, target)
	verified(t, p, "content")
}

// A folder of the target that LIST does not show is not filled again, not even
// where the server makes it with an OK each time (Dovecot does, and hides
// "subscriptions" beside a Maildir's own file of that name).
func TestAFolderThatTheTargetHides(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	s.target.Inject(imaptest.Fault{Name: "LIST leaves out Work", On: "LIST", After: func(m *imaptest.Moment) {
		m.Untagged = slices.DeleteFunc(m.Untagged, func(line string) bool { return strings.Contains(line, "Work") })
	}}, imaptest.Fault{Name: "CREATE is always OK", On: "CREATE", From: 2, After: func(m *imaptest.Moment) { m.Kind, m.Text = "OK", "made" }})
	run(t, s.pass)
	if again := run(t, s.pass); again.Copied > 0 {
		t.Errorf("the second pass copied %d messages again", again.Copied)
	}
	if got := s.to.Contents()["Work"]; len(got) != 6 {
		t.Errorf("the target's folder holds %d messages, want 6", len(got))
	}
}

// Names that the target refuses are respelt, children stay with their parents,
// and who comes without a ledger finds the folders again.
func TestNamesThatTheTargetRefuses(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	for i, folder := range []string{"50%", `50%/a"b`, "50%/plain", strings.Repeat("long", 60), "~!"} {
		s.from.Add(folder, letter(200+i))
	}
	s.target.Inject(imaptest.Fault{Name: "refuses names", On: "CREATE", Before: func(m *imaptest.Moment) {
		if name := strings.TrimPrefix(m.Line, "CREATE "); strings.ContainsAny(name, `%~!`) || strings.Contains(name, `\"`) || len(name) > 200 {
			m.Refuse("NO", "not this name")
		}
	}})
	want := []string{
		"50% is 50％", "50%/a\"b is 50％/a＂b", "50%/plain is 50％/plain", "~! is ～！",
		strings.Repeat("long", 60) + " is " + strings.Repeat("long", 22) + "lon-52118136",
	}
	slices.Sort(want)
	for name, store := range map[string]*memory{"at first": newMemory(), "without a ledger": newMemory()} {
		s.pass.Store = store
		res := run(t, s.pass)
		var notes []string
		for _, n := range res.Notes {
			notes = append(notes, n.Folder+" is "+n.Detail)
		}
		if slices.Sort(notes); !slices.Equal(notes, want) {
			t.Errorf("%s: noted %q, want %q", name, notes, want)
		}
		if again := run(t, s.pass); again.Copied > 0 {
			t.Errorf("%s: the second pass copied %d messages again", name, again.Copied)
		}
	}
	for folder, mails := range s.to.Contents() {
		if most := map[string]int{"INBOX": 14, "Work": 6}[folder]; len(mails) != max(most, 1) {
			t.Errorf("the target's folder %q holds %d messages", folder, len(mails))
		}
	}
}
