package mailbox_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// quirky is one quirk of one side.
type quirky struct {
	side string
	imaptest.Quirk
}

func (q quirky) String() string { return q.side + " " + q.Name }

func allQuirks() (all []func() quirky) {
	for i := range imaptest.ExchangeQuirks() { // made anew for each move: they count
		all = append(all, func() quirky { return quirky{"Exchange", imaptest.ExchangeQuirks()[i]} })
	}
	for i := range imaptest.ZimbraQuirks() {
		all = append(all, func() quirky { return quirky{"Zimbra", imaptest.ZimbraQuirks()[i]} })
	}
	return all
}

// TestEachQuirk moves a mailbox from Exchange to Zimbra with each quirk alone.
func TestEachQuirk(t *testing.T) {
	for _, q := range allQuirks() {
		q := q()
		t.Run(q.String(), func(t *testing.T) {
			t.Parallel()
			moveBetweenPlatforms(t, q)
		})
	}
}

// TestPairsOfQuirks does so with every two of them, on one side or on both.
func TestPairsOfQuirks(t *testing.T) {
	all, count := allQuirks(), 0
	for i, a := range all {
		for _, b := range all[i+1:] {
			count++
			a, b := a(), b()
			t.Run(fmt.Sprintf("%s, %s", a, b), func(t *testing.T) {
				t.Parallel()
				moveBetweenPlatforms(t, a, b)
			})
		}
	}
	if count < 700 {
		t.Errorf("only %d pairs: the catalogue has become small", count)
	}
}

// moveBetweenPlatforms moves a mailbox from one quirky server to another, with
// its user at work, and judges by what the mailboxes really hold.
func moveBetweenPlatforms(t *testing.T, quirks ...quirky) {
	t.Helper()
	s := newScenario(t, imaptest.Exchange, imaptest.Zimbra)
	s.source.Greet(imaptest.ExchangeGreeting)
	s.target.Greet(imaptest.ZimbraGreeting)
	full := false
	for _, q := range quirks {
		if q.Quirk.Source != nil {
			q.Quirk.Source(s.from)
		}
		server, account, end := s.source, s.from, &s.pass.Source
		if q.side == "Zimbra" {
			server, account, end = s.target, s.to, &s.pass.Target
		}
		server.Be(account, q.Quirk)
		form := q.Forms
		end.Server.Auth, end.Server.Login = cmp.Or(form.Auth, end.Server.Auth), cmp.Or(form.Login, end.Server.Login)
		end.Server.MasterFormat, end.Server.Platform = cmp.Or(form.MasterFormat, end.Server.MasterFormat), cmp.Or(form.Platform, end.Server.Platform)
		end.Server.Secret = secret(imaptest.Secret)
		full = full || q.Relieve != nil
	}
	s.givesUpAfter(20 * time.Second) // nobody stalls here: it is the machine that is busy
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var res mailbox.Result
	var errs []error
	for n := range passes {
		var err error
		res, err = s.pass.Run(ctx)
		if ctx.Err() != nil {
			t.Fatalf("pass %d hangs: %v", n+1, err)
		}
		if errs = append(errs, err); err == nil && len(res.Differs) == 0 && n > 1 {
			break
		}
		if n == 0 {
			s.user()
		}
		for _, q := range quirks {
			if n == 0 && q.Relieve != nil {
				q.Relieve(s.to)
			}
		}
	}
	if errs[len(errs)-1] != nil || len(res.Differs) > 0 {
		t.Fatalf("not done: %v; differs: %+v", errs, res.Differs)
	}
	if full && !slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, mailbox.ErrOverQuota) }) {
		t.Errorf("nobody was told of the full mailbox: %v", errs)
	}
	for _, side := range []*imaptest.Server{s.source, s.target} {
		if c := side.Complaints(); len(c) > 0 {
			t.Errorf("bad manners: %q", c)
		}
	}
	if changes := s.source.Changes(); len(changes) > 0 {
		t.Errorf("the source was changed: %q", changes)
	}
	s.judge(res)
}

// judge fails the test where a message of the source is not at the target
// exactly once, in the folder that is told, as it was; or else named.
func (s *scenario) judge(res mailbox.Result) {
	s.t.Helper()
	named, place, dropped, altered := map[string]mailbox.Reason{}, map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, n := range res.Skipped {
		named[fmt.Sprint(n.Folder, " ", n.UID)] = n.Reason
	}
	for _, n := range res.Notes {
		switch n.Reason {
		case mailbox.FolderRenamed:
			place[n.Folder] = n.Detail
		case mailbox.KeywordDropped:
			dropped[n.Detail] = true
		case mailbox.Altered:
			altered[fmt.Sprint(n.Folder, " ", n.UID)] = true
		}
	}
	left := map[string][]imaptest.Message{}
	for wire, list := range s.to.Contents() {
		name, _ := mailbox.DecodeName(wire)
		left[name] = list
	}
	from := s.from.Contents()
	for _, wire := range slices.Sorted(maps.Keys(from)) {
		name, _ := mailbox.DecodeName(wire)
		if named[name+" 0"] != "" {
			continue
		}
		to := cmp.Or(place[name], name)
		if _, there := left[to]; !there {
			s.t.Errorf("%q: the target has no %q", name, to)
		}
		for _, m := range from[wire] {
			key := fmt.Sprint(name, " ", m.UID)
			at := slices.IndexFunc(left[to], func(got imaptest.Message) bool {
				lost := slices.DeleteFunc(slices.Clone(m.Flags), func(f string) bool { return slices.Contains(got.Flags, f) || dropped[f] })
				return bytes.Equal(imaptest.Rendered(got.Body), imaptest.Rendered(m.Body)) && len(lost) == 0 && (got.Date.Equal(m.Date) || altered[key])
			})
			switch {
			case at >= 0 && named[key] != "":
				s.t.Errorf("%s is at the target, and named %s", key, named[key])
			case at >= 0:
				left[to] = slices.Delete(left[to], at, at+1)
			case named[key] == "":
				s.t.Errorf("%s (%s) is not in %q, and not named", key, subject(m), to)
			}
		}
	}
	for name, list := range left {
		for _, m := range list {
			s.t.Errorf("%q has a message too many: %.60q %v", name, m.Body, m.Flags)
		}
	}
}

// TestNotForMail proves which folders of an Exchange are left out: those of the
// mailbox's own language, and none that a user has made.
func TestNotForMail(t *testing.T) {
	german := []string{"Gesendete Elemente", "Gelöschte Elemente", "Entwürfe", "Kalender", "Kontakte", "Aufgaben", "Notizen", "Journal", "Postausgang"}
	tests := map[string]struct {
		folders []string
		rename  map[string]string
		out     []string
	}{
		"a user's folder in another language": {append(slices.Clone(german), "Notes", "Contacts", "Work/Kalender"), nil, german[3:]},
		"a user's folder that the plan names": {append(slices.Clone(german), "Kalender/Post"), map[string]string{"Kalender": "Alte Post"}, german[4:]},
		"below one that is left out":          {append(slices.Clone(german), "Kontakte/Freunde"), nil, append(slices.Clone(german[3:]), "Kontakte/Freunde")},
		"no language to tell by":              {[]string{"Work", "Sync Issues/Local Failures", "RSS Feeds"}, nil, []string{"Sync Issues/Local Failures", "RSS Feeds"}},
		"two languages":                       {append(slices.Clone(german), "Sent Items", "Deleted Items", "Calendar", "Contacts", "Outbox"), nil, append(slices.Clone(german[3:]), "Calendar", "Contacts", "Outbox")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source, target := imaptest.Start(t, imaptest.Exchange...), imaptest.Start(t, imaptest.Full...)
			source.Greet(imaptest.ExchangeGreeting)
			anna := source.Account("anna")
			for i, f := range tt.folders {
				anna.Add(mailbox.EncodeName(f), letter(i+1))
			}
			target.Account("anna")
			res := run(t, mailbox.Pass{Source: endpoint(source), Target: endpoint(target), Store: newMemory(), Options: mailbox.Options{Rename: tt.rename}})
			var out []string
			for _, s := range res.Skipped {
				if s.Reason != mailbox.NotMail || s.UID != 0 {
					t.Errorf("named: %+v", s)
				}
				out = append(out, s.Folder)
			}
			slices.Sort(out)
			if !slices.Equal(out, slices.Sorted(slices.Values(tt.out))) || res.Copied != len(tt.folders)-len(tt.out) {
				t.Errorf("left out: %q, %d copied; want %q", out, res.Copied, tt.out)
			}
		})
	}
}

// TestLoginWithoutAMailbox proves that a login that Exchange takes and has no
// mailbox for is told from one that only lost its backend.
func TestLoginWithoutAMailbox(t *testing.T) {
	for name, times := range map[string]int{"lost for a moment": 1, "never there": 0} {
		t.Run(name, func(t *testing.T) {
			s := imaptest.Start(t, imaptest.Exchange...)
			s.Account("anna")
			s.Inject(imaptest.Fault{On: "EXAMINE", Once: times, Before: func(m *imaptest.Moment) { m.Refuse("BAD", "User is authenticated but not connected.") }})
			if err := mailbox.CheckLogin(t.Context(), endpoint(s)); (err == nil) != (times == 1) || err != nil && !errors.Is(err, mailbox.ErrLogin) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestSurveyOfEstimates proves that validate calls no message too large for a
// size that Exchange only estimates.
func TestSurveyOfEstimates(t *testing.T) {
	s := newScenario(t, imaptest.Exchange, append(slices.Clone(imaptest.Full), "APPENDLIMIT=1000"))
	s.source.Greet(imaptest.ExchangeGreeting)
	s.from.Add("INBOX", imaptest.Message{Body: bytes.Repeat([]byte("12345678\r\n"), 101), Date: day})
	for _, q := range imaptest.ExchangeQuirks() {
		if q.Name == "sizes of giants" {
			s.source.Be(s.from, q)
		}
	}
	survey, err := s.pass.Examine(t.Context())
	if err != nil || len(survey.Findings) != 1 || survey.Findings[0].UID != 15 || survey.SourceKind != "exchange" {
		t.Errorf("got %+v, %v; want one message too large, UID 15", survey, err)
	}
}
