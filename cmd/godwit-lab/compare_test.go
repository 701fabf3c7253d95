package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// plants change one thing in a target that was made like the source.
var plants = map[string]struct {
	commands []string // in INBOX of the target; one that starts with ! is an APPEND's mail
	want     []string // folder: kind
}{
	"a message is lost":             {[]string{"STORE 1 +FLAGS.SILENT (\\Deleted)", "UID EXPUNGE 1"}, []string{"INBOX: missing"}},
	"a message is there twice":      {[]string{"COPY 1 INBOX"}, []string{"INBOX: extra"}},
	"a message is in a wrong place": {[]string{"MOVE 1 Sent"}, []string{"INBOX: missing", "Sent: extra"}},
	"a flag is lost":                {[]string{"STORE 1:* -FLAGS.SILENT (\\Seen)"}, []string{"INBOX: flags"}},
	"a keyword is new":              {[]string{"STORE 1 +FLAGS.SILENT (surprise)"}, []string{"INBOX: flags"}},
	"a folder is lost":              {[]string{"DELETE Archive"}, []string{"Archive: folder"}},
	"a folder is new":               {[]string{"CREATE \"new &- odd\""}, []string{"new & odd: folder"}},
	"a folder has another case":     {[]string{"RENAME Archive archive"}, []string{"Archive: folder", "archive: folder"}},
	"a folder is not subscribed":    {[]string{"UNSUBSCRIBE Sent"}, []string{"Sent: subscription"}},
	"a message is new":              {[]string{"!new mail"}, []string{"INBOX: extra"}},
}

func TestCompare(t *testing.T) {
	_, l := labProcess(t)
	addUser(t, l, "anna@old.example")
	must(t, "", "fill", "-dir", l.Dir, "-user", "anna@old.example", "-messages", "500", "-folders", "40")
	addUser(t, l, "as@new.example")
	must(t, "", "fill", "-dir", l.Dir, "-side", "target", "-user", "as@new.example", "-messages", "500", "-folders", "40")
	out := must(t, "", "compare", "-dir", l.Dir, "-user", "anna@old.example", "-as", "as@new.example")
	if !strings.HasPrefix(out, "equal: 40 folders, 500 messages, ") {
		t.Errorf("equal mailboxes: %s", out)
	}
	must(t, "", "act", "-dir", l.Dir, "-user", "anna@old.example", "-actions", "30")
	if out, err := do(t, "", "compare", "-dir", l.Dir, "-user", "anna@old.example", "-as", "as@new.example"); !errors.Is(err, errDiffers) || !strings.Contains(out, " differences in ") {
		t.Errorf("30 actions of the user made no difference: %s, %v", out, err)
	}
}

func TestCompareFindsEachPlantedDifference(t *testing.T) {
	_, l := labProcess(t)
	for name, tt := range plants {
		t.Run(name, func(t *testing.T) {
			as := strings.ReplaceAll(name, " ", "-") + "@new.example"
			addUser(t, l, as)
			for _, side := range []string{"source", "target"} {
				must(t, "", "fill", "-dir", l.Dir, "-side", side, "-user", as, "-messages", "40", "-folders", "8", "-seed", "3")
			}
			must(t, "", "compare", "-dir", l.Dir, "-user", as)
			plant(t, l, as, tt.commands)
			out, err := do(t, "", "compare", "-json", "-dir", l.Dir, "-user", as)
			if !errors.Is(err, errDiffers) {
				t.Fatalf("got %v, %s", err, out)
			}
			var r result
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range r.Differences {
				got = append(got, d.Folder+": "+d.Kind)
			}
			// Many messages may have lost the same flag.
			if got = slices.Compact(got); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// plant changes the target's INBOX.
func plant(t *testing.T, l *lab, user string, commands []string) {
	t.Helper()
	c, err := l.openMailbox(t.Context(), l.Target.Address, user)
	if err != nil {
		t.Fatal(err)
	}
	defer c.logout()
	if _, err := c.do(nil, "SELECT INBOX"); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		if text, isMail := strings.CutPrefix(command, "!"); isMail {
			tag, err := c.sendAppend("INBOX", []mail{{body: []byte(text), date: newCorpus(9).date()}})
			if err == nil {
				_, err = c.await(tag, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		if _, err := c.do(nil, command); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
}

func TestSeparatorAndPrefixAreTranslated(t *testing.T) {
	_, l := labProcess(t, "-format", "sdbox", "-prefix", "INBOX.", "-separator", ".")
	addUser(t, l, "anna@old.example")
	args := []string{"-dir", l.Dir, "-user", "anna@old.example", "-messages", "60", "-folders", "11"}
	must(t, "", append([]string{"fill", "-side", "source"}, args...)...)
	must(t, "", append([]string{"fill", "-side", "target"}, args...)...)
	out := must(t, "", "compare", "-dir", l.Dir, "-user", "anna@old.example")
	if !strings.HasPrefix(out, "equal: 11 folders, 60 messages, ") {
		t.Error(out)
	}
}

func TestDiff(t *testing.T) {
	one, two := [32]byte{1}, [32]byte{2}
	box := func(messages ...message) mailbox {
		for i := range messages {
			messages[i].UID = uint32(i + 1)
		}
		return mailbox{folders: map[string][]message{"INBOX": messages}}
	}
	plain := message{content: content{one, 100, `\seen`}}
	later := message{content: content{one, 101, `\seen`}}
	unread := message{content: content{one, 100, ""}}
	other := message{content: content{two, 100, `\seen`}}
	tests := map[string]struct {
		source, target mailbox
		view           view
		want           string
	}{
		"equal":                                {box(plain, other), box(other, plain), view{}, ""},
		"one second counts":                    {box(plain), box(later), view{}, "INBOX date"},
		"flags count":                          {box(plain), box(unread), view{}, "INBOX flags"},
		"date and flags are two":               {box(later), box(unread), view{}, "INBOX date, INBOX flags"},
		"one octet counts":                     {box(plain), box(other), view{}, "INBOX extra, INBOX missing"},
		"a duplicate stays one":                {box(plain, plain), box(plain), view{}, "INBOX missing"},
		"nothing is doubled":                   {box(plain), box(plain, plain), view{}, "INBOX extra"},
		"twins are told apart by their date":   {box(plain, later), box(later), view{}, "INBOX missing"},
		"what is named may be missing":         {box(plain, other), box(plain), view{named: map[string]map[uint32]bool{"INBOX": {2: true}}}, ""},
		"what is named must not be there":      {box(plain, other), box(plain, other), view{named: map[string]map[uint32]bool{"INBOX": {2: true}}}, "INBOX extra"},
		"a named folder may be missing":        {box(plain), mailbox{}, view{named: map[string]map[uint32]bool{"INBOX": {0: true}}}, ""},
		"an excluded folder may be missing":    {box(plain), mailbox{}, view{excluded: []string{"IN*"}}, ""},
		"a folder may have another name":       {box(plain), mailbox{folders: map[string][]message{"In": {plain}}}, view{renamed: map[string]string{"INBOX": "In"}}, ""},
		"an empty extra folder may be ignored": {mailbox{}, box(), view{ignoreEmptyExtra: true}, ""},
		"a full extra folder never":            {mailbox{}, box(plain), view{ignoreEmptyExtra: true}, "INBOX folder"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			r := diff(tt.source, tt.target, tt.view)
			for _, d := range r.Differences {
				got = append(got, d.Folder+" "+d.Kind)
			}
			if strings.Join(got, ", ") != tt.want || r.Equal != (tt.want == "") {
				t.Errorf("got %q, equal %t; want %q", got, r.Equal, tt.want)
			}
		})
	}
}

func TestNamedReadsSkippedCSV(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skipped.csv")
	text := "\ufeffservice;account;folder;uid;message_id;date;bytes;reason\n" +
		"s;anna@old.example;INBOX;7;<x>;;1;refused\ns;ben@old.example;INBOX;8;;;1;refused\ns;anna@old.example;\"a;b\";;;;;excluded\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var v view
	if err := v.readNamed(file, "anna@old.example"); err != nil {
		t.Fatal(err)
	}
	if !v.named["INBOX"][7] || v.named["INBOX"][8] || !v.leavesOut("a;b") || v.leavesOut("INBOX") {
		t.Errorf("got %v", v.named)
	}
}
