package mailbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// oddly is a letter that a strict target takes only as a literal8.
func oddly(n int, more string) imaptest.Message {
	m := letter(n)
	m.Body = append(m.Body, more...)
	return m
}

// streamed has a message streamed, although it is small.
func streamed(m imaptest.Message) imaptest.Message {
	m.Says = map[string]string{"RFC822.SIZE": "5000000"}
	return m
}

// binaryPart is what a target may change.
const binaryPart = "--b\r\nContent-Transfer-Encoding:\r\n BINARY\r\n\r\n\x00\r\n--b--\r\n"

// What odd has of messages that are odd, and that are named in any case.
const oddOnes, namedOnes = 7, 2

// odd moves a mailbox with odd messages to a target that takes them as literal8
// only.
func odd(t *testing.T, caps []string) *scenario {
	s := newScenario(t, imaptest.Full, append(slices.Clone(caps), "BINARY"))
	for i, more := range []string{"one\x00two\x00\x00three\r\n", "one\ntwo\n", "\x00\r\n\n\r\r\n\x00", binaryPart} {
		s.from.Add("INBOX", oddly(60+3*i, more)) // the last has no keywords: they would be tried without
	}
	s.from.Add("INBOX", oddly(60, "one\x00two\x00\x00three\r\n")) // a twin
	s.from.Add("INBOX", letter(91))
	s.from.Add("Streamed", streamed(oddly(90, "0123456789abcdef\x00\r\n")))
	s.from.Add("Streamed", streamed(oddly(91, binaryPart)))
	for _, list := range s.from.Contents() {
		for _, m := range list {
			s.once[string(m.Body)] = true
		}
	}
	return s
}

// patient waits long for a server that only the machine keeps busy.
func (s *scenario) patient() {
	for _, e := range []mailbox.Endpoint{s.pass.Source, s.pass.Target} {
		e.Server.Stall, e.Server.Linger = 20*time.Second, 15*time.Millisecond
	}
}

// odds are the odd messages of the source and how many of them are not at
// the target, octet for octet.
func (s *scenario) odds() (all, missing int) {
	to := s.to.Contents()
	for name, list := range s.from.Contents() {
		for _, m := range list {
			if bytes.IndexByte(m.Body, 0) < 0 && bytes.Count(m.Body, []byte("\n")) == bytes.Count(m.Body, []byte("\r\n")) {
				continue
			}
			all++
			at := slices.IndexFunc(to[name], func(t imaptest.Message) bool { return bytes.Equal(t.Body, m.Body) })
			if at < 0 {
				missing++
				continue
			}
			to[name] = slices.Delete(to[name], at, at+1)
		}
	}
	return all, missing
}

// A message that a target refuses for NUL or bare line ends is there in the end
// as it was, and counts as exact; one that would be changed is named.
func TestLiteral8(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			s := odd(t, kind.target)
			large := letter(92)
			large.Body = append(large.Body, strings.Repeat("0123456789abcdef\x00\r\n", 1<<18)...)
			s.from.Add("Large", large)
			s.patient()
			res := run(t, s.pass)
			s.honest(res.Skipped)
			if all, missing := s.odds(); all != oddOnes+1 || missing != namedOnes {
				t.Errorf("of %d odd messages %d are missing", all, missing)
			}
			if len(res.Skipped) != namedOnes || !strings.Contains(res.Skipped[0].Detail, "NUL") || len(res.Notes)+len(res.Differs) > 0 {
				t.Errorf("named %+v, noted %+v, differs %+v", res.Skipped, res.Notes, res.Differs)
			}
			verified(t, s.pass, "content")
			if again := run(t, s.pass); again.Copied > 0 || len(again.Skipped) != namedOnes {
				t.Errorf("second pass: %+v", again)
			}
			if said := s.target.Complaints(); len(said) > 0 {
				t.Error(said)
			}
		})
	}
}

// A target that takes everything, and a source that gives NUL as a literal8: no
// message goes out twice.
func TestNoLiteral8WhereNoneIsNeeded(t *testing.T) {
	s := odd(t, imaptest.Full)
	source, target := imaptest.Start(t, append(slices.Clone(imaptest.Full), "BINARY")...), imaptest.Start(t, imaptest.Full...)
	from, to := source.Account("anna"), target.Account("anna")
	for name, list := range s.from.Contents() {
		for _, m := range list {
			from.Add(name, m)
		}
	}
	s.source, s.target, s.from, s.to = source, target, from, to
	s.pass.Source, s.pass.Target = endpoint(source), endpoint(target)
	target.Be(to, imaptest.Quirk{Caps: func(caps []string) []string { return caps }, Faults: []imaptest.Fault{{
		Name: "offers BINARY", Caps: func(caps []string) []string { return append(caps, "BINARY") },
	}}})
	s.patient()
	res := run(t, s.pass)
	s.honest(res.Skipped)
	if all, missing := s.odds(); all != oddOnes || missing > 0 || len(res.Skipped) > 0 {
		t.Errorf("of %d odd messages %d are missing; named %+v", all, missing, res.Skipped)
	}
	for _, c := range target.Commands() {
		if strings.Contains(c, "~{") {
			t.Errorf("sent %q", c)
		}
	}
}

// Whatever a target does about a literal8, no message is lost or doubled, and
// those that it does not take are named with what it said to them at first.
func TestLiteral8Faults(t *testing.T) {
	named := map[string]int{
		"literal8 is unknown": oddOnes, "literal8 is refused": oddOnes, "literal8 ends the connection before the message": oddOnes,
		"literal8 ends the connection in the message": oddOnes, "literal8 ends the connection behind the message": oddOnes,
	}
	for i, f := range imaptest.Literal8Faults() {
		for at, kind := range kinds {
			if !soak && at > 0 && i%(len(kinds)-1) != at-1 {
				continue
			}
			t.Run(kind.name+"/"+f.Name, func(t *testing.T) {
				t.Parallel()
				s := odd(t, kind.target)
				s.inject("target", f)
				if s.patient(); strings.Contains(f.Name, "stalls") {
					s.pass.Target.Server.Stall = 2 * time.Second
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if strings.Contains(f.Name, "0x80") {
					s.alters(ctx)
					return
				}
				s.live(ctx)
				skipped, _, err := s.pass.Named(ctx)
				if want := max(named[f.Name], namedOnes); err != nil || len(skipped) != want && !f.Lies {
					t.Errorf("%d are named, want %d: %+v, %v", len(skipped), want, skipped, err)
				}
				for _, n := range skipped {
					if n.Reason != mailbox.Refused || !strings.Contains(n.Detail, "NUL") {
						t.Errorf("named: %+v", n)
					}
				}
			})
		}
	}
}

// alters proves that a target which takes a literal8 and changes it is found out.
func (s *scenario) alters(ctx context.Context) {
	s.t.Helper()
	res, err := s.pass.Run(ctx)
	altered := 0
	for _, n := range res.Notes {
		if n.Reason == mailbox.Altered {
			altered++
		}
	}
	if err != nil || altered != 4 || len(res.Differs) > 0 || len(res.Skipped) != namedOnes { // one of the odd ones has no NUL
		s.t.Errorf("%d are noted as altered, differs %+v, named %+v, %v", altered, res.Differs, res.Skipped, err)
	}
}

// late has the target store a literal8 after all, when it comes again.
func late() []imaptest.Fault {
	var late imaptest.Message
	return []imaptest.Fault{
		{Name: "lost", On: "APPEND8", Once: 1, Before: func(m *imaptest.Moment) { late, m.Skip = *m.Messages[0], true }, After: func(m *imaptest.Moment) { m.HangUp(0) }},
		{Name: "late", On: "APPEND8", From: 2, Once: 1, Before: func(m *imaptest.Moment) { m.Put(late) }},
	}
}

// Of a literal8 that was stored twice because it arrived late, one is removed.
func TestLateLiteral8(t *testing.T) {
	s := odd(t, imaptest.Full)
	s.target.Inject(late()...)
	s.patient()
	s.honest(run(t, s.pass).Skipped)
	if struck := s.target.Heal(); struck["lost"] != 1 || struck["late"] != 1 {
		t.Error(struck)
	}
}

// Odd twins in several groups under way at once, and each answer to a literal8
// lost, or the literal8 cut: none is taken for another.
func TestLiteral8OfManyFlights(t *testing.T) {
	ends := map[string]imaptest.Fault{
		"answer lost": {After: func(m *imaptest.Moment) { m.HangUp(0) }},
		"cut":         {Early: func(m *imaptest.Moment) { m.Drop = true }},
	}
	for _, kind := range kinds {
		for name, f := range ends {
			for n := 1; n <= 6; n++ {
				t.Run(fmt.Sprint(kind.name, "/", name, " ", n), func(t *testing.T) {
					t.Parallel()
					s := newScenario(t, imaptest.Full, append(slices.Clone(kind.target), "BINARY"))
					for i := range 120 {
						m := letter(i + 200)
						if i%40 >= 38 {
							m = oddly(4, "\x00\r\n")
						}
						s.from.Add("Many", m)
					}
					f := f
					f.On, f.From, f.Once = "APPEND8", n, 1
					s.target.Inject(f)
					s.patient()
					res := run(t, s.pass)
					s.honest(res.Skipped)
					if all, missing := s.odds(); all != 6 || missing > 0 || len(res.Skipped)+len(res.Differs) > 0 {
						t.Errorf("of %d odd messages %d are missing; named %+v, differs %+v", all, missing, res.Skipped, res.Differs)
					}
					verified(t, s.pass, "content")
					s.inOnePlace()
				})
			}
		}
	}
}

// inOnePlace removes the odd messages at the source, one after the other: were
// two of them taken for the same one at the target, one would stay.
func (s *scenario) inOnePlace() {
	s.t.Helper()
	for left := 5; left >= 0; left-- {
		gone := false
		s.from.Change("Many", func(m imaptest.Message) *imaptest.Message {
			if !gone && bytes.IndexByte(m.Body, 0) >= 0 {
				gone = true
				return nil
			}
			return &m
		})
		s.honest(run(s.t, s.pass).Skipped)
	}
}

// A target that ends the connection over each literal8 does not end the pass:
// neither where there are many, nor where one is streamed.
func TestLiteral8EndsConnections(t *testing.T) {
	tests := map[string][]imaptest.Message{"one, streamed": {streamed(oddly(60, "\x00\r\n"))}}
	for i := range 12 {
		tests["many"] = append(tests["many"], oddly(300+i, "\x00\r\n"))
	}
	for name, list := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScenario(t, imaptest.Full, append(slices.Clone(imaptest.Full), "BINARY"))
			for _, m := range list {
				s.from.Add("INBOX", m)
			}
			s.target.Inject(imaptest.Fault{On: "APPEND8", Before: func(m *imaptest.Moment) { m.Skip = true }, After: func(m *imaptest.Moment) { m.HangUp(0) }})
			s.patient()
			res := run(t, s.pass)
			s.honest(res.Skipped)
			if len(res.Skipped) != len(list) {
				t.Errorf("%d are named", len(res.Skipped))
			}
		})
	}
}

// Where the target refuses a message before it has it, nobody knows all of it,
// and NUL was not what it was refused for.
func TestRefusedUnseen(t *testing.T) {
	s := newScenario(t, imaptest.Full, append(slices.Clone(imaptest.Bare), "BINARY"))
	for _, name := range []string{"INBOX", "Work"} {
		s.from.Change(name, func(imaptest.Message) *imaptest.Message { return nil })
	}
	s.from.Add("Streamed", streamed(oddly(90, "\x00\r\n"+strings.Repeat("0123456789\r\n", 60000))))
	s.target.Inject(imaptest.Fault{On: "APPEND", Early: func(m *imaptest.Moment) { m.Refuse("NO", "not that one") }})
	s.patient()
	res := run(t, s.pass)
	if len(res.Skipped) != 1 || !strings.Contains(res.Skipped[0].Detail, "not that one") {
		t.Errorf("named: %+v", res.Skipped)
	}
	for _, c := range s.target.Commands() {
		if strings.Contains(c, "~{") {
			t.Errorf("sent %q", c)
		}
	}
}

// A crash at any write to the ledger, with literal8s on their way, loses and
// doubles nothing.
func TestCrashWithLiteral8(t *testing.T) {
	nothing := func() []imaptest.Fault { return nil }
	answers := func() []imaptest.Fault {
		return []imaptest.Fault{{On: "APPEND8", Not: 1, After: func(m *imaptest.Moment) { m.HangUp(0) }}}
	}
	tests := map[string]struct {
		caps   []string
		faults func() []imaptest.Fault
	}{
		"modern":                       {imaptest.Full, nothing},
		"answers lost":                 {imaptest.Full, answers},
		"late":                         {imaptest.Full, late},
		"no MULTIAPPEND":               {without(imaptest.Full, "MULTIAPPEND"), nothing},
		"no MULTIAPPEND, answers lost": {without(imaptest.Full, "MULTIAPPEND"), answers},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			points := 0
			for n := 1; ; n++ {
				s := odd(t, tt.caps)
				s.target.Inject(tt.faults()...)
				store, count := newMemory(), 0
				store.crash = func(bool) error {
					if count++; count == n {
						return errCrash
					}
					return nil
				}
				s.pass.Store = store
				s.patient()
				_, err := s.pass.Run(t.Context())
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				crashed := err != nil
				store.crash = nil
				res := run(t, s.pass)
				s.honest(res.Skipped)
				if _, missing := s.odds(); missing != namedOnes || len(res.Skipped) != namedOnes || len(res.Differs) > 0 {
					t.Errorf("%d are missing; named %+v, differs %+v", missing, res.Skipped, res.Differs)
				}
				s.source.Close()
				s.target.Close()
				if t.Failed() {
					t.Fatalf("crash %d", n)
				}
				if !crashed {
					break
				}
				points++
			}
			if points < 20 {
				t.Errorf("only %d crash points", points)
			}
		})
	}
}

func TestBinaryParts(t *testing.T) {
	tests := map[string]struct {
		text string
		want bool
	}{
		"in the header":              {"Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\nx", true},
		"the first line":             {"Content-Transfer-Encoding:binary\n\nx", true},
		"in capitals, in a part":     {"\r\n--b\r\nCONTENT-TRANSFER-ENCODING: BINARY\r\n\r\nx", true},
		"on a line that goes on":     {"Content-Transfer-Encoding:\r\n\t(so)\r\n binary\r\n\r\n", true},
		"with a comment":             {"Content-Transfer-Encoding : (8bit) binary ; x\r\n\r\n", true},
		"another encoding":           {"Content-Transfer-Encoding: 8bit\r\n\r\nbinary\r\n", false},
		"another field":              {"X-Content-Transfer-Encoding: binary\r\n binary\r\n\r\n", false},
		"a field that goes on":       {"Subject: Content-Transfer-Encoding:\r\n binary\r\n\r\n", false},
		"the field's end":            {"Content-Transfer-Encoding: 8bit\r\nSubject: x\r\n binary\r\n\r\n", false},
		"behind an empty line":       {"Content-Transfer-Encoding:\r\n\r\n binary\r\n", false},
		"far behind in a long line":  {"Content-Transfer-Encoding: 8bit" + strings.Repeat(" ", 5000) + "binary\r\n", false},
		"behind a line without end":  {strings.Repeat("x", 5000) + "\r\nContent-Transfer-Encoding: binary\r\n", true},
		"nothing":                    {"", false},
		"in one that is quoted":      {"> Content-Transfer-Encoding: binary\r\n", false},
		"in the text of a forwarded": {"Subject: x\r\n\r\nContent-Transfer-Encoding: binary\r\n", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 7, 1 << 20} {
				if got := mailbox.HasBinaryPart(tt.text, size); got != tt.want {
					t.Errorf("in pieces of %d: got %t", size, got)
				}
			}
		})
	}
}
