package mailbox_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit/stages/mailbox"
	"godwit/stages/mailbox/imaptest"
)

// TestCutAtEachOffset cuts one FETCH of three messages after each of its bytes,
// outside `make soak` after some of them: the pass asks again and carries all.
func TestCutAtEachOffset(t *testing.T) {
	step := 17
	if soak {
		step = 1
	}
	source, target := imaptest.Start(t, imaptest.Full...), imaptest.Start(t, imaptest.Full...)
	text := strings.Repeat("a line of text that goes over the wire\r\n", 35)
	for offset := 0; offset <= 4096; offset++ {
		if offset%step != 0 && offset > 48 {
			continue
		}
		name := fmt.Sprint("anna", offset)
		s := &scenario{t: t, source: source, target: target, from: source.Account(name), to: target.Account(name), once: map[string]bool{}}
		for i := range 3 {
			s.from.Add("INBOX", imaptest.Message{Body: []byte(mail(fmt.Sprint(i), "s", text)), Date: day})
		}
		login := mailbox.Login{User: name, Secret: secret(imaptest.Secret)}
		s.pass = mailbox.Pass{Source: endpoint(source), Target: endpoint(target), Store: newMemory()}
		s.pass.Source.Login, s.pass.Target.Login = login, login
		source.Heal()
		source.Inject(imaptest.Fault{Name: "cut", On: "BODY", Once: 1, After: func(m *imaptest.Moment) { m.HangUp(offset) }})
		res := run(t, s.pass)
		if struck := source.Heal()["cut"]; res.Copied != 3 || len(res.Skipped) > 0 || struck != 1 {
			t.Errorf("cut %d times after %d bytes: %d copied, named %+v", struck, offset, res.Copied, res.Skipped)
		}
		s.honest(nil)
		if t.Failed() {
			return
		}
	}
}

// TestLostAnswers loses the answer to each of the first APPENDs of a larger
// folder: nothing is doubled, with and without UIDPLUS, MULTIAPPEND, LITERAL+.
func TestLostAnswers(t *testing.T) {
	for _, kind := range kinds {
		for n := 1; n <= 7; n++ {
			t.Run(fmt.Sprint(kind.name, " ", n), func(t *testing.T) {
				t.Parallel()
				s := newScenario(t, kind.source, kind.target)
				for i := range 200 {
					s.from.Add("INBOX", letter(i+200))
				}
				s.target.Inject(imaptest.Fault{Name: "lost", On: "APPEND", From: n, Once: 1, After: func(m *imaptest.Moment) { m.HangUp(0) }})
				res := run(t, s.pass)
				s.honest(res.Skipped)
				if struck := s.target.Heal()["lost"]; struck != 1 || len(res.Skipped) > 0 || res.Copied != 220 {
					t.Errorf("lost %d answers, %d copied, named %+v", struck, res.Copied, res.Skipped)
				}
				found, err := s.pass.Verify(t.Context(), "content")
				if err != nil || len(found) > 0 {
					t.Errorf("verify: %v, %v", found, err)
				}
			})
		}
	}
}

// TestGiants proves that nothing that a server sends without end, or announces,
// makes memory grow, on either side.
func TestGiants(t *testing.T) {
	line := strings.Repeat("x", 1<<20)
	pour := func(begin string, times int, piece func(i int) string) func(*imaptest.Moment) {
		return func(m *imaptest.Moment) {
			m.Flood = func(w io.Writer) {
				_, err := io.WriteString(w, begin)
				for i := 0; i < times && err == nil; i++ {
					_, err = io.WriteString(w, piece(i))
				}
			}
		}
	}
	same := func(s string) func(int) string { return func(int) string { return s } }
	giants := []imaptest.Fault{
		{Name: "a line of 300 MB", On: "LIST", After: pour("* LIST () \"/\" ", 300, same(line))},
		{Name: "a value of 300 MB", On: "LIST", After: pour("* LIST () \"/\" {314572800}\r\n", 300, same(line))},
		{Name: "a value of 4 GB", On: "META", After: pour("* 1 FETCH (UID 1 FLAGS {4294967296}\r\n", 300, same(line))},
		{Name: "values without end", On: "META", After: pour("* 1 FETCH (UID 1 X", 300, same(" {1048576}\r\n"+line))},
		{Name: "parentheses without end", On: "META", After: pour("* 1 FETCH ", 300, same(strings.Repeat("(", 1<<20)))},
		{Name: "300,000 folders", On: "LIST", After: pour("", 300000, func(i int) string { return fmt.Sprintf("* LIST () \"/\" folder-%040d\r\n", i) })},
		{Name: "5,000,000 messages that are not there", On: "META", After: pour("", 5000000, func(i int) string { return fmt.Sprintf("* %d FETCH (UID %d FLAGS ())\r\n", i+1, i+1) })},
		{Name: "news without end", On: "EXAMINE", From: 2, After: pour("", 5000000, same("* 5 EXISTS\r\n* 5 RECENT\r\n"))},
		{Name: "a greeting without end", On: "GREETING", After: pour("* OK ", 300, same(line))},
		{Name: "a body of 99 GB", On: "BODY", After: pour("* 1 FETCH (UID 1 BODY[] {99000000000}\r\n", 60, same(line))},
		{Name: "a message too many, 60 times", On: "BODY", After: pour("", 60, func(i int) string {
			return fmt.Sprintf("* 1 FETCH (UID %d BODY[] {1048576}\r\n%s)\r\n", i+1000, line)
		})},
	}
	for _, side := range []string{"source", "target"} {
		for _, g := range giants {
			t.Run(side+", "+g.Name, func(t *testing.T) {
				s := newScenario(t, imaptest.Full, imaptest.Full)
				s.inject(side, g)
				s.impatient()
				runtime.GC()
				before := heap()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := s.pass.Run(ctx)
				if err == nil {
					_, err = s.pass.Verify(ctx, "content")
				}
				if ctx.Err() != nil {
					t.Errorf("hangs: %v", err)
				}
				if grown := int64(heap()-before) >> 20; grown > 200 {
					t.Errorf("%d MB more memory", grown)
				}
				s.source.Heal()
				s.target.Heal()
				s.givesUpAfter(5 * time.Second)
				res := run(t, s.pass)
				s.honest(res.Skipped)
			})
		}
	}
}

// heap is the memory that Go has taken for its heap so far. It never shrinks.
func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}
