package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// TestJudge holds what may have become of a mailbox against the verdict.
func TestJudge(t *testing.T) {
	day := time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC).Unix()
	m := func(uid uint32, body, flags string, date int64) message {
		v, err := (&conn{}).text(body)
		if err != nil {
			t.Fatal(err)
		}
		return message{content{v.sum, date, flags}, uid, v.size, v.kept}
	}
	note := func(uid uint32, reason, detail string) said {
		return said{Notes: []saying{{"INBOX", uid, reason, detail}}}
	}
	skip := func(uid uint32) said { return said{Skipped: []saying{{"INBOX", uid, "refused", "no"}}} }
	plain := m(1, "a\r\n", `\seen`, day)
	tests := map[string]struct {
		source, target []message
		said           said
		messages       string // by class
		wrong          string // a part of it
	}{
		"as it was":                      {[]message{plain}, []message{plain}, said{}, "map[exact:1]", ""},
		"lost":                           {[]message{plain}, nil, said{}, "map[]", "is not at the target"},
		"lost and named":                 {[]message{plain}, nil, skip(1), "map[named:1]", ""},
		"another one is named":           {[]message{plain}, nil, skip(2), "map[]", "is not at the target"},
		"named, but there":               {[]message{plain}, []message{plain}, skip(1), "map[named:1]", "has not, or not as often"},
		"doubled":                        {[]message{plain}, []message{plain, m(2, "a\r\n", `\seen`, day)}, said{}, "map[exact:1]", "not as often"},
		"twins, one lost":                {[]message{plain, m(2, "a\r\n", `\seen`, day)}, []message{plain}, said{}, "map[exact:1]", "is not at the target"},
		"another octet":                  {[]message{plain}, []message{m(1, "b\r\n", `\seen`, day)}, note(1, "altered", ""), "map[]", "is not at the target"},
		"line ends, said":                {[]message{m(1, "a\nb\r\r\nc\r", "", day)}, []message{m(1, "a\r\nb\r\nc", "", day)}, note(1, "altered", ""), "map[altered:1]", ""},
		"line ends, not said":            {[]message{m(1, "a\n", "", day)}, []message{m(1, "a\r\n", "", day)}, said{}, "map[]", "it was not said"},
		"NUL, said":                      {[]message{m(1, "a\x00\r\n", "", day)}, []message{m(1, "a\x80\r\n", "", day)}, note(1, "altered", ""), "map[altered:1]", ""},
		"8-bit header, said":             {[]message{m(1, "S: \xe4\r\n\r\n\xe4", "", day)}, []message{m(1, "S: X\r\n\r\n\xe4", "", day)}, note(1, "altered", ""), "map[altered:1]", ""},
		"8-bit text":                     {[]message{m(1, "S: a\r\n\r\n\xe4", "", day)}, []message{m(1, "S: a\r\n\r\nX", "", day)}, note(1, "altered", ""), "map[]", "is not at the target"},
		"an ordinary date":               {[]message{plain}, []message{m(1, "a\r\n", `\seen`, day+1)}, note(1, "altered", ""), "map[]", "became"},
		"an impossible date, said":       {[]message{m(1, "a", "", -1e9)}, []message{m(1, "a", "", 0)}, note(1, "altered", ""), "map[altered:1]", ""},
		"an impossible date, not said":   {[]message{m(1, "a", "", -1e9)}, []message{m(1, "a", "", 0)}, said{}, "map[]", "it was not said"},
		"a date of 32 bits, told anew":   {[]message{m(1, "a", "", 1<<31)}, []message{m(1, "a", "", -1<<31)}, said{}, "map[altered:1]", ""},
		"a keyword, said":                {[]message{m(1, "a", "k", day)}, []message{m(1, "a", "", day)}, note(0, "keyword-dropped", "K"), "map[altered:1]", ""},
		"a system flag":                  {[]message{plain}, []message{m(1, "a\r\n", "", day)}, note(1, "altered", ""), "map[]", "is lost"},
		"a flag of nobody's":             {[]message{m(1, "a", "", day)}, []message{m(1, "a", `\seen`, day)}, said{}, "map[]", "is new"},
		"the folder is elsewhere":        {[]message{plain}, nil, note(0, "folder-renamed", "Other"), "map[]", `as "Other"`},
		"the folder is named as refused": {[]message{plain}, nil, said{Skipped: []saying{{"INBOX", 0, "folder-refused", ""}}}, "map[named:1]", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := verdict{Folders: map[string]int{}, Messages: map[string]int{}, said: tt.said}
			target := mailbox{folders: map[string][]message{"INBOX": tt.target}}
			v.judge(mailbox{folders: map[string][]message{"INBOX": tt.source}}, target)
			maps.DeleteFunc(v.Messages, func(_ string, n int) bool { return n == 0 })
			if got := fmt.Sprint(v.Messages); got != tt.messages {
				t.Errorf("got %s, want %s", got, tt.messages)
			}
			if wrong := strings.Join(v.Wrong, "\n"); (wrong == "") != (tt.wrong == "") || !strings.Contains(wrong, tt.wrong) {
				t.Errorf("wrong: %q, want %q", wrong, tt.wrong)
			}
		})
	}
}

// The corpus is as nasty as it claims, and no two of its folders are one.
func TestHostileCorpus(t *testing.T) {
	mails, names := hostile(), hostileNames()
	if len(mails) < 60 || len(names) < 60 {
		t.Errorf("%d mails and %d names, want at least 60 of each", len(mails), len(names))
	}
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			t.Errorf("%q is there twice", name)
		}
		seen[name] = true
	}
	has := map[string]bool{}
	for _, m := range mails {
		body := string(m.body)
		has["NUL"] = has["NUL"] || strings.Contains(body, "\x00")
		has["20 MB"] = has["20 MB"] || len(body) > 20<<20
		has["no body"] = has["no body"] || !strings.Contains(body, "\r\n\r\n")
		has["an empty one"] = has["an empty one"] || body == ""
		has["40 keywords"] = has["40 keywords"] || len(m.flags) == 40
		has["1899"] = has["1899"] || m.date.Year() == 1899
		has["2040"] = has["2040"] || m.date.Year() == 2040
		for line := range strings.Lines(body) {
			has["a long line"] = has["a long line"] || len(line) >= 200000
			has["a bare LF"] = has["a bare LF"] || !strings.HasSuffix(line, "\r\n") && strings.HasSuffix(line, "\n")
		}
	}
	if len(has) < 9 {
		t.Errorf("the corpus has only %v", has)
	}
	for what, is := range has {
		if !is {
			t.Errorf("no mail has %s", what)
		}
	}
}
