package mailbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"godwit/stages/mailbox"
)

// TestQuirks holds what real servers send (reference/go-imap.md, section 6)
// against what must come of it: three messages arrive, or are named.
func TestQuirks(t *testing.T) {
	first := func(list []scripted, uid int) bool {
		return slices.ContainsFunc(list, func(m scripted) bool { return m.uid == uid })
	}
	// body changes the answer to each FETCH of bodies.
	body := func(change func(m scripted) string) func(*script, string) (string, bool, bool) {
		return func(s *script, command string) (string, bool, bool) {
			list, isBody := s.isBody(command)
			if !isBody {
				return "", false, false
			}
			var b strings.Builder
			for _, m := range list {
				b.WriteString(change(m))
			}
			return b.String() + "TAG OK done\r\n", true, false
		}
	}
	normal := func(m scripted) string {
		return fmt.Sprintf("* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", m.uid, m.uid, len(m.body), m.body)
	}
	set := func(change func(m *scripted)) func(*script) {
		return func(s *script) { change(&s.messages[1]) }
	}
	says := func(say func(*script, string) (string, bool, bool)) func(*script) {
		return func(s *script) { s.say = say }
	}
	prefix := func(command, answer string) func(*script) {
		return says(func(s *script, c string) (string, bool, bool) {
			return answer, strings.HasPrefix(c, command), false
		})
	}
	tests := map[string]struct {
		does    func(*script)
		arrives int
		reason  mailbox.Reason // of the message that does not
	}{
		"sane":                             {func(*script) {}, 3, ""},
		"a size too small":                 {set(func(m *scripted) { m.size = "1" }), 3, ""},
		"a size too large":                 {set(func(m *scripted) { m.size = "3000000" }), 3, ""},
		"size NIL":                         {set(func(m *scripted) { m.size = "NIL" }), 3, ""},
		"size -1":                          {set(func(m *scripted) { m.size = "-1" }), 3, ""},
		"a date of nowhere":                {set(func(m *scripted) { m.date = `"00-Jan-0000 00:00:00 +0000"` }), 3, ""},
		"date NIL":                         {set(func(m *scripted) { m.date = "nil" }), 3, ""},
		"a date in GMT":                    {set(func(m *scripted) { m.date = `"04-Mar-2021 05:06:07 GMT"` }), 3, ""},
		"a second 60":                      {set(func(m *scripted) { m.date = `"04-Mar-2021 05:06:60 +0000"` }), 3, ""},
		"a keyword with a quote":           {set(func(m *scripted) { m.flags = `\Seen "a b" c"d` }), 3, ""},
		"a keyword with brackets":          {set(func(m *scripted) { m.flags = `[x] \Seen y]` }), 3, ""},
		"a keyword of C1 bytes":            {set(func(m *scripted) { m.flags = "\x80\x9f \\Seen" }), 3, ""},
		"a space at the end of the flags":  {set(func(m *scripted) { m.flags = `\Seen ` }), 3, ""},
		"a folder with a bare &":           {func(s *script) { s.list = append(s.list, `() "/" "a & b"`) }, 6, ""},
		"a folder in Latin-1":              {func(s *script) { s.list = append(s.list, "() \"/\" \"caf\xe9\"") }, 6, ""},
		"a folder in clear inside base64":  {func(s *script) { s.list = append(s.list, `() "/" "&AGEAYg-"`) }, 6, ""},
		"a folder as a literal":            {func(s *script) { s.list = append(s.list, "() \"/\" {3}\r\nabc") }, 6, ""},
		"a folder with a tab":              {func(s *script) { s.list = append(s.list, "() \"/\" \"a\tb\"") }, 6, ""},
		"nil in lower case":                {func(s *script) { s.list = []string{`() nil INBOX`} }, 3, ""},
		"inbox in lower case":              {func(s *script) { s.list = []string{`() "/" inbox`} }, 3, ""},
		"a folder listed twice":            {func(s *script) { s.list = append(s.list, s.list[0]) }, 3, ""},
		"a space at the end of CAPABILITY": {func(s *script) { s.caps += " " }, 3, ""},
		"no UID before the body": {says(body(func(m scripted) string {
			return fmt.Sprintf("* %d FETCH (BODY[] {%d}\r\n%s UID %d)\r\n", m.uid, len(m.body), m.body, m.uid)
		})), 3, ""},
		"a flag update before the body": {says(body(func(m scripted) string { return fmt.Sprintf("* %d FETCH (FLAGS (\\Seen))\r\n", m.uid) + normal(m) })), 3, ""},
		"unknown lines": {says(body(func(m scripted) string {
			return "* VANISHED (EARLIER) 4:9\r\n* XLIST () \"/\" x\r\n\r\n* WHAT\r\n*\r\n" + normal(m)
		})), 3, ""},
		"a quoted body":                 {says(body(func(m scripted) string { return fmt.Sprintf("* %d FETCH (UID %d BODY[] %q)\r\n", m.uid, m.uid, "S: x") })), 3, ""},
		"a body told twice":             {says(body(func(m scripted) string { return normal(m) + normal(m) })), 3, ""},
		"a body that was not asked for": {says(body(func(m scripted) string { o := m; o.uid += 500; return normal(o) + normal(m) })), 3, ""},
		"a message left out": {says(body(func(m scripted) string {
			if m.uid == 2 {
				return ""
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"an empty body": {says(body(func(m scripted) string {
			if m.uid == 2 {
				m.body = ""
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"body NIL": {says(body(func(m scripted) string {
			if m.uid == 2 {
				return "* 2 FETCH (UID 2 BODY[] NIL)\r\n"
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"another UID": {says(body(func(m scripted) string {
			if m.uid == 2 {
				m.uid = 77
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"brackets of Exchange": {prefix("EXAMINE", "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 1000] .\r\nTAG OK [Error=\"a] [b\" k=v] done\r\n"), 3, ""},
		"a connection that ends at a message": {says(func(s *script, c string) (string, bool, bool) {
			list, isBody := s.isBody(c)
			return "* 2 FETCH (UID 2 BODY[] {500}\r\nhalf", isBody && first(list, 2), true
		}), 2, mailbox.Unreadable},
		"a literal announced too long": {says(body(func(m scripted) string {
			if m.uid == 2 {
				return fmt.Sprintf("* 2 FETCH (UID 2 BODY[] {%d}\r\n%s)\r\n", len(m.body)+5000, m.body)
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"a literal of 99 GB": {says(body(func(m scripted) string {
			if m.uid == 2 {
				return "* 2 FETCH (UID 2 BODY[] {99000000000}\r\nx"
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"a notice instead of a message": {says(body(func(m scripted) string {
			if m.uid == 2 {
				m.body = "From: Microsoft Exchange Server\r\nSubject: Retrieval using the IMAP4 protocol failed for the following message: 2\r\n\r\nThe server couldn't retrieve it.\r\n"
			}
			return normal(m)
		})), 2, mailbox.Unreadable},
		"a NO for one message": {says(func(s *script, c string) (string, bool, bool) {
			list, isBody := s.isBody(c)
			return "TAG NO [SERVERBUG] cannot read\r\n", isBody && first(list, 2), false
		}), 2, mailbox.Unreadable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &script{caps: sourceCaps, list: []string{`() "/" INBOX`}, messages: []scripted{plainMessage(1), plainMessage(2), plainMessage(3)}}
			tt.does(s)
			source, target := s.start(t), startMemory(t, modern...).account(t)
			if strings.HasPrefix(name, "a literal") { // it stalls with each try
				source.Server.Stall = 700 * time.Millisecond
			}
			p := mailbox.Pass{Source: source, Target: target, Store: newMemory(), Options: mailbox.Options{MaxDelete: 0.1}}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			res, err := p.Run(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, lines := range dial(t, target).contents() {
				got += len(lines)
			}
			if got != tt.arrives || res.Copied != tt.arrives {
				t.Errorf("%d messages arrived, %d counted; want %d (%+v)", got, res.Copied, tt.arrives, res)
			}
			if tt.reason == "" && len(res.Skipped) > 0 || tt.reason != "" && (len(res.Skipped) != 1 || res.Skipped[0].Reason != tt.reason || res.Skipped[0].UID != 2) {
				t.Errorf("named: %+v; want message 2 %q", res.Skipped, tt.reason)
			}
			again := run(t, p)
			if again.Copied != 0 || len(again.Skipped) != len(res.Skipped) {
				t.Errorf("the second pass: %+v", again)
			}
			for _, c := range s.told() {
				if w, _, _ := strings.Cut(c, " "); slices.Contains([]string{"SELECT", "STORE", "APPEND", "EXPUNGE", "DELETE"}, w) || strings.Contains(c, "BODY[") {
					t.Errorf("the source was to be read only, but was told %q", c)
				}
			}
		})
	}
}

// A source that works on two FETCHes at once and tells a UID behind the body, as
// RFC 9051 lets it, must not have one message stored as another.
func TestMixedFetchesWithTheUIDLast(t *testing.T) {
	first, second := plainMessage(1), plainMessage(2)
	first.size, second.size = "900000", "900000" // each is asked for by itself
	held := ""
	s := &script{caps: sourceCaps, messages: []scripted{first, second}, say: func(s *script, c string) (string, bool, bool) {
		list, body := s.isBody(c)
		if !body || len(list) != 1 || held == "done" {
			return "", false, false
		}
		if held == "" {
			held = s.tag
			return "", true, false
		}
		last := func(m scripted) string {
			return fmt.Sprintf("* %d FETCH (BODY[] {%d}\r\n%s UID %d)\r\n", m.uid, len(m.body), m.body, m.uid)
		}
		answer := last(second) + last(first) + held + " OK done\r\nTAG OK done\r\n"
		held = "done"
		return answer, true, false
	}}
	target := startMemory(t, modern...).account(t)
	res := run(t, mailbox.Pass{Source: s.start(t), Target: target, Store: newMemory()})
	got := fmt.Sprint(dial(t, target).contents())
	for _, m := range []string{"m1", "m2"} {
		if strings.Count(got, m) != 1 {
			t.Errorf("%s is there %d times: %s", m, strings.Count(got, m), got)
		}
	}
	if res.Copied != 2 || len(res.Skipped) > 0 {
		t.Errorf("got %+v", res)
	}
}

// TestServersThatEndThePass holds what ends a pass against what is said.
func TestServersThatEndThePass(t *testing.T) {
	answer := func(command, answer string) *script {
		return &script{say: func(_ *script, c string) (string, bool, bool) {
			return answer, strings.HasPrefix(c, command), false
		}}
	}
	tests := map[string]struct {
		s    *script
		is   error
		says string
	}{
		"already signed in":           {&script{greeting: "* PREAUTH welcome"}, nil, "PREAUTH"},
		"login disabled":              {&script{caps: "IMAP4rev1 LOGINDISABLED"}, nil, "disabled LOGIN"},
		"a wrong password":            {answer("AUTHENTICATE", "TAG NO [AUTHENTICATIONFAILED] no\r\n"), mailbox.ErrLogin, ""},
		"a wrong password, no code":   {answer("AUTHENTICATE", "TAG NO nope\r\n"), mailbox.ErrLogin, "nope"},
		"unavailable":                 {answer("AUTHENTICATE", "TAG NO [UNAVAILABLE] later\r\n"), mailbox.ErrBusy, "later"},
		"in use":                      {answer("EXAMINE", "TAG NO [INUSE] later\r\n"), mailbox.ErrBusy, ""},
		"throttled":                   {answer("LIST", "TAG BAD Request is throttled. Suggested Backoff Time: 9\r\n"), mailbox.ErrBusy, "throttled"},
		"too many connections":        {&script{greeting: "* BYE too many connections"}, mailbox.ErrBusy, "too many"},
		"a farewell":                  {answer("LIST", "* BYE [UNAVAILABLE] going down\r\n"), mailbox.ErrBusy, "going down"},
		"no INBOX":                    {answer("EXAMINE", "TAG NO no such folder\r\n"), mailbox.ErrLogin, ""},
		"silence":                     {answer("LIST", ""), nil, "no answer"},
		"an endless line":             {answer("LIST", "* LIST "+strings.Repeat("x", 3<<20)), nil, "line of more"},
		"a flood":                     {answer("LIST", strings.Repeat("* 1 EXISTS\r\n", 200000)), nil, "flood"},
		"a flood of words":            {answer("LIST", strings.Repeat("nobody asked\r\n", 200000)), nil, "flood"},
		"a flood of wishes":           {answer("LIST", strings.Repeat("+ go on\r\n", 200000)), nil, "flood"},
		"a flood before all":          {&script{greeting: strings.Repeat("* LIST () NIL x\r\n", 200000)}, nil, "flood"},
		"a huge value":                {answer("LIST", "* LIST () \"/\" {50000000}\r\n"), nil, "where a short one belongs"},
		"escape and bidi in the text": {answer("LIST", "TAG NO \x1b[31m red \u202e evil \x07\r\n"), nil, "red"},
		"a panic of a parser, if any": {answer("LIST", "* LIST ((((((((((((((((((((((((((\r\n* LIST\r\n* 1\r\n* \r\nTAG NO stop\r\n"), nil, "stop"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := mailbox.Pass{Source: tt.s.start(t), Target: startMemory(t, modern...).account(t), Store: newMemory()}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := p.Run(ctx)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("got %v; want %v %q", err, tt.is, tt.says)
			}
			if tt.is == nil && (errors.Is(err, mailbox.ErrLogin) || errors.Is(err, mailbox.ErrOverQuota)) {
				t.Errorf("%v is of the wrong class", err)
			}
			if strings.ContainsAny(err.Error(), "\x1b\x07\u202e") || strings.Contains(err.Error(), userSecret) {
				t.Errorf("unsafe text in %q", err)
			}
		})
	}
}

// TestServerGoesDown proves that no message is blamed for a server that goes
// down, or lets nobody in any more, while it is read.
func TestServerGoesDown(t *testing.T) {
	for name, answer := range map[string]string{"down": "", "nobody may sign in": "TAG NO [AUTHENTICATIONFAILED] no\r\n", "no folder opens": "TAG NO [NONEXISTENT] gone\r\n"} {
		t.Run(name, func(t *testing.T) { serverGoesDown(t, answer) })
	}
}

func serverGoesDown(t *testing.T, answer string) {
	down := false
	s := &script{caps: sourceCaps, list: []string{`() "/" INBOX`}, messages: []scripted{plainMessage(1), plainMessage(2)}}
	s.say = func(s *script, c string) (string, bool, bool) {
		if _, body := s.isBody(c); body {
			down = true
			return "", true, true
		}
		if strings.Contains(answer, "AUTH") && !strings.HasPrefix(c, "AUTHENTICATE") || strings.Contains(answer, "gone") && !strings.HasPrefix(c, "EXAMINE") {
			return "", false, false
		}
		return answer, down, answer == ""
	}
	store := newMemory()
	p := mailbox.Pass{Source: s.start(t), Target: startMemory(t, modern...).account(t), Store: store}
	res, err := p.Run(t.Context())
	if err == nil || len(res.Skipped) > 0 {
		t.Errorf("got %+v, %v", res, err)
	}
	s.mu.Lock()
	s.say = nil
	s.mu.Unlock()
	if res := run(t, p); res.Copied != 2 || len(res.Skipped) > 0 {
		t.Errorf("when it is up again: %+v", res)
	}
}

// TestCancel proves that a cancelled context ends a pass that waits.
func TestCancel(t *testing.T) {
	s := &script{say: func(_ *script, c string) (string, bool, bool) { return "", strings.HasPrefix(c, "LIST"), false }}
	source := s.start(t)
	source.Server.Stall = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := mailbox.Pass{Source: source, Target: startMemory(t, imap.CapIMAP4rev1).account(t), Store: newMemory()}.Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
