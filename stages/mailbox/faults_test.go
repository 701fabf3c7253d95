package mailbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// The faults of imaptest against the copy: what comes of them is judged by
// what the mailboxes really hold, whatever the passes say.

// soak tells whether the long versions are wanted; `make soak` sets it.
var soak = os.Getenv("GODWIT_LONG") != ""

// scenario is the move of one small mailbox between two servers that misbehave.
type scenario struct {
	t              *testing.T
	source, target *imaptest.Server
	from, to       *imaptest.Account
	pass           mailbox.Pass
	lies           bool            // a fault leaves behind what may take a person
	forgets        bool            // it is no longer known what was copied
	hides          bool            // the source shows another mailbox
	once           map[string]bool // bodies that the source had at any time
}

func newScenario(t *testing.T, sourceCaps, targetCaps []string) *scenario {
	s := &scenario{t: t, source: imaptest.Start(t, sourceCaps...), target: imaptest.Start(t, targetCaps...)}
	s.from, s.to = s.source.Account("anna"), s.target.Account("anna")
	for i := range 12 {
		s.from.Add("INBOX", letter(i+1))
	}
	for range 2 { // twins
		s.from.Add("INBOX", imaptest.Message{Body: []byte(mail("twin", "twin", "twin")), Date: day})
	}
	for i := range 6 {
		s.from.Add("Work", letter(i+101))
	}
	s.pass = mailbox.Pass{
		Source: endpoint(s.source), Target: endpoint(s.target), Store: newMemory(),
		Options: mailbox.Options{MaxDelete: 0.3, Verify: "content", Final: true},
	}
	s.once = map[string]bool{}
	for _, list := range s.from.Contents() {
		for _, m := range list {
			s.once[string(m.Body)] = true
		}
	}
	return s
}

func letter(n int) imaptest.Message {
	m := imaptest.Message{Body: []byte(mail(fmt.Sprint("m", n), "s", fmt.Sprint("text of ", n))), Date: day.Add(time.Duration(n) * time.Hour)}
	if n%2 == 0 {
		m.Flags = []string{`\Seen`}
	}
	if n%4 == 0 {
		m.Flags = []string{"$Work", `\Flagged`}
	}
	return m
}

func endpoint(s *imaptest.Server) mailbox.Endpoint {
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: s.Address, TLS: "none", Stall: 5 * time.Second},
		Login:  mailbox.Login{User: "anna", Secret: secret(imaptest.Secret)},
	}
}

// impatient gives up soon who stalls; a busy machine looks like it now and then,
// and then the pass is repeated.
func (s *scenario) impatient() { s.givesUpAfter(300 * time.Millisecond) }

func (s *scenario) givesUpAfter(stall time.Duration) {
	s.pass.Source.Server.Stall, s.pass.Target.Server.Stall = stall, stall
}

// user does what users do between two passes.
func (s *scenario) user() {
	s.from.Add("INBOX", letter(50))
	s.from.Move("INBOX", 7, "Work")
	s.from.Change("INBOX", func(m imaptest.Message) *imaptest.Message {
		switch m.UID {
		case 3:
			return nil
		case 4, 6:
			m.Flags = []string{`\Answered`, `\Seen`}
		}
		return &m
	})
}

// live makes passes until the mailbox is over, first with the faults, then
// without; whatever passes for verified is judged.
func (s *scenario) live(ctx context.Context) {
	s.t.Helper()
	var errs []error
	var res mailbox.Result
	for n := range passes {
		if n == faulty {
			s.source.Heal()
			s.target.Heal()
		}
		if n == 1 {
			s.user()
		}
		var err error
		res, err = s.pass.Run(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("pass %d hangs: %v", n+1, err)
		}
		if errs = append(errs, err); err != nil || len(res.Differs) > 0 {
			continue
		}
		if !s.hides || n >= faulty {
			s.honest(res.Skipped)
		}
		if n >= faulty {
			return
		}
	}
	found := res.Differs
	if last := errs[len(errs)-1]; s.lies && (last == nil && len(found) > 0 || errors.Is(last, mailbox.ErrTooManyDeletions)) {
		return // found out, and said
	}
	s.t.Fatalf("not done after %d passes: %v; the last verification found %d: %.300s", passes, errs, len(found), fmt.Sprint(found))
}

// A mailbox is moved in so many passes, the first of them with the faults.
const passes, faulty = 8, 3

// inject arms faults on one side.
func (s *scenario) inject(side string, faults ...imaptest.Fault) {
	server := s.source
	if side == "target" {
		server = s.target
	}
	server.Inject(faults...)
	for _, f := range faults {
		s.lies = s.lies || f.Lies
		s.forgets = s.forgets || f.Forgets
		s.hides = s.hides || f.Hides && side == "source"
	}
}

// honest fails the test where a verified mailbox is not what it should be: a
// source's message is at the target exactly once or named, and nothing else is.
func (s *scenario) honest(named []mailbox.Skipped) {
	s.t.Helper()
	if changes := s.source.Changes(); len(changes) > 0 {
		s.t.Errorf("the source was changed: %q", changes)
	}
	from, to := s.from.Contents(), s.to.Contents()
	skipped := map[string]int{}
	for _, n := range named {
		skipped[fmt.Sprint(n.Folder, " ", n.UID)]++
		if n.Reason == "" {
			s.t.Errorf("named without a reason: %+v", n)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if skipped[name+" 0"] > 0 {
			continue
		}
		left := slices.Clone(to[name])
		for _, m := range from[name] {
			at := slices.IndexFunc(left, func(t imaptest.Message) bool { return bytes.Equal(t.Body, m.Body) && s.agrees(m, t) })
			switch key := fmt.Sprint(name, " ", m.UID); {
			case at >= 0:
				left = slices.Delete(left, at, at+1)
				if skipped[key] > 0 {
					s.t.Errorf("%s is at the target, and named as if it were not", key)
				}
			case skipped[key] == 0:
				s.t.Errorf("%s (%s) is not at the target, and not named", key, subject(m))
			}
		}
		for _, m := range left {
			if !s.mayStay(m, left) {
				s.t.Errorf("%s: the target has a message too many, UID %d: %q %v %v", name, m.UID, m.Body[:min(len(m.Body), 20)], m.Flags, m.Date)
			}
		}
	}
}

// mayStay tells whether a message that the source does not have is the target's
// own, or what a liar made of one, or one that nobody can tell from others'
// mail any more; but never twice.
func (s *scenario) mayStay(m imaptest.Message, all []imaptest.Message) bool {
	again := 0
	for _, o := range all {
		if bytes.Equal(o.Body, m.Body) {
			again++
		}
	}
	switch {
	case strings.Contains(string(m.Body), "from elsewhere"):
		return true
	case s.once[string(m.Body)]:
		return s.forgets && again == 1
	}
	return s.lies
}

func subject(m imaptest.Message) string {
	_, body, _ := strings.Cut(string(m.Body), "\r\n\r\n")
	return strings.TrimSpace(body[:min(len(body), 20)])
}

// agrees compares date and flags; a date that the source does not tell may be
// another, and a keyword that the target refuses may be missing.
func (s *scenario) agrees(m, t imaptest.Message) bool {
	noted := func(reason mailbox.Reason) bool {
		_, notes, err := s.pass.Named(context.Background())
		return err == nil && slices.ContainsFunc(notes, func(n mailbox.Skipped) bool {
			return n.Reason == reason && (n.UID == m.UID || n.UID == 0)
		})
	}
	has := slices.DeleteFunc(slices.Clone(m.Flags), func(f string) bool { return !slices.Contains(t.Flags, f) && noted(mailbox.KeywordDropped) })
	got := slices.DeleteFunc(slices.Clone(t.Flags), func(f string) bool { return f == "a_b" }) // the source told so
	if s.forgets {                                                                             // then they are only added to
		got = slices.DeleteFunc(got, func(f string) bool { return !slices.Contains(has, f) })
	}
	return (m.Date.Equal(t.Date) || noted(mailbox.Altered)) && slices.Equal(has, got)
}

type kind struct {
	name           string
	source, target []string
}

var kinds = []kind{
	{"modern", imaptest.Full, imaptest.Full},
	{"bare", imaptest.Bare, imaptest.Bare},
	{"no UIDPLUS", imaptest.Full, without(imaptest.Full, "UIDPLUS")},
	{"no MULTIAPPEND", imaptest.Full, without(imaptest.Full, "MULTIAPPEND")},
}

// strict targets take odd octets as a literal8 only, and get some.
var strict = kind{"strict", imaptest.Full, append(slices.Clone(imaptest.Full), "BINARY")}

func (k kind) scenario(t *testing.T) *scenario {
	if k.name == strict.name {
		return odd(t, k.target)
	}
	return newScenario(t, k.source, k.target)
}

func without(caps []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(caps), func(c string) bool { return c == name })
}

// TestEachFault lets each fault strike alone, on each side, between servers of
// several kinds.
func TestEachFault(t *testing.T) {
	all := append(slices.Clone(kinds), strict)
	for at, kind := range all {
		for side, faults := range map[string][]imaptest.Fault{"source": imaptest.SourceFaults(), "target": imaptest.TargetFaults()} {
			for i, f := range faults {
				if !soak && at > 0 && i%(len(all)-1) != at-1 {
					continue // between modern servers, and one pair of others
				}
				t.Run(kind.name+"/"+side+" "+f.Name, func(t *testing.T) {
					t.Parallel()
					s := kind.scenario(t)
					s.inject(side, f)
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					s.impatient()
					s.live(ctx)
				})
			}
		}
	}
}

var allPairs atomic.Bool

// TestPairsOfFaults lets two faults strike in one move: one at each side, or
// two at the same. Outside `make soak` they are a part of all that there are.
func TestPairsOfFaults(t *testing.T) {
	type one struct {
		side string
		imaptest.Fault
	}
	var all []one
	for _, f := range imaptest.SourceFaults() {
		all = append(all, one{"source", f})
	}
	for _, f := range imaptest.TargetFaults() {
		all = append(all, one{"target", f})
	}
	every := 19                       // a prime: no row or column of the table is left out
	if soak && !allPairs.Swap(true) { // however often the tests are repeated
		every = 1
	}
	count := 0
	for i, a := range all {
		for k, b := range all[i+1:] {
			if count++; count%every != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s %s, %s %s", a.side, a.Name, b.side, b.Name), func(t *testing.T) {
				t.Parallel()
				kinds := append(slices.Clone(kinds), strict)
				s := kinds[(i+k)%len(kinds)].scenario(t)
				s.inject(a.side, a.Fault)
				s.inject(b.side, b.Fault)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s.impatient()
				s.live(ctx)
			})
		}
	}
	if ran := count / every; ran < 700 {
		t.Errorf("only %d pairs: the test has become small", ran)
	}
}

// faultNamed is a fault of the catalogue.
func faultNamed(t *testing.T, list []imaptest.Fault, name string) imaptest.Fault {
	i := slices.IndexFunc(list, func(f imaptest.Fault) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no fault is called %q", name)
	}
	return list[i]
}

// TestArrivedButNotGiven lets a target show a message, after a pass that was cut
// short, without giving its content: it is taken for there, and not sent again.
func TestArrivedButNotGiven(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, kind.source, kind.target)
			for _, name := range []string{"body is empty", "APPEND is unavailable"} {
				s.inject("target", faultNamed(t, imaptest.TargetFaults(), name))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s.impatient()
			s.live(ctx)
		})
	}
}

// TestFilledInTheVoid lets a target show an empty mailbox before any pass was
// whole: the folder that is filled there was not removed by its user afterwards.
func TestFilledInTheVoid(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, kind.source, kind.target)
			s.inject("source", faultNamed(t, imaptest.SourceFaults(), "listing is refused"))
			s.inject("target", faultNamed(t, imaptest.TargetFaults(), "is emptied for the second connection"))
			s.lies = false // all of it has to be mended
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s.impatient()
			s.live(ctx)
		})
	}
}

// TestNobodyLeavesAFolderBehind lets the source refuse a folder that it has
// opened before: a pass names it and goes on, but nobody is switched without it.
func TestNobodyLeavesAFolderBehind(t *testing.T) {
	s := newScenario(t, imaptest.Full, imaptest.Full)
	s.pass.Options.Final = false
	run(t, s.pass)
	s.from.Add("Work", letter(200))
	s.from.Add("INBOX", letter(13))
	s.source.Inject(imaptest.Fault{On: "EXAMINE", Before: func(m *imaptest.Moment) {
		if strings.Contains(m.Line, "Work") {
			m.Refuse("NO", "cannot open")
		}
	}})
	unreadable := func(n mailbox.Skipped) bool { return n.Folder == "Work" && n.Reason == mailbox.Unreadable }
	if res := run(t, s.pass); res.Copied != 1 || !slices.ContainsFunc(res.Skipped, unreadable) {
		t.Errorf("a pass: %+v", res)
	}
	s.pass.Options.Final = true
	if _, err := s.pass.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `folder "Work"`) || !strings.Contains(err.Error(), "cannot open") || !strings.Contains(err.Error(), "copy.folders.exclude") {
		t.Errorf("the final pass: %v", err)
	}
	s.source.Heal()
	if res := run(t, s.pass); res.Copied != 1 || len(res.Skipped) > 0 || len(res.Differs) > 0 {
		t.Errorf("a final pass afterwards: %+v", res)
	}
}
