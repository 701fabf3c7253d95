package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// services is how many are moved, each to be rolled back with a kill at another
// point.
const services = 52

// A rollback is killed at every point, and repeated. The end is that of one
// that nobody disturbed.
func TestARollbackKilledAtEveryPoint(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	w := newCrashWorld(t, bin.godwit)
	defer w.close()
	list := "service,account,contact,passwords\n"
	address := func(n int) string { return fmt.Sprintf("user@s%02d.example", n) }
	for n := range services {
		w.host.AddAccount(demohost.Source, address(n), "own-password")
		for i := range 3 {
			w.put(address(n), "INBOX", i)
		}
		list += fmt.Sprintf("s%02d,%s,owner%02d@contact.example,temporary\n", n, address(n), n)
	}
	w.write("list.csv", list)
	for _, at := range nights {
		w.run(at, 0)
	}
	for n := range services {
		for i := range 3 {
			body := fmt.Sprintf("From: a@b.example\r\nSubject: new %d\r\nMessage-ID: <new-%[1]d>\r\n\r\nnew %[1]d\r\n", i)
			m := demohost.Message{Folder: []string{"INBOX", "Neu"}[i%2], Body: []byte(body), Date: time.Date(2026, 12, 3, 0, i, 0, 0, time.UTC), Flags: []string{`\Flagged`}}
			if err := w.host.Put(demohost.Target, address(n), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	back := func(n, point int) []string {
		return w.killedAt(point, w.program("rollback", "plan.yaml", "--now", "2026-12-03T09:00", "--service", fmt.Sprintf("s%02d", n)))
	}
	var points []int // but for the reports of the other services
	for i, label := range back(0, 0) {
		if !strings.HasSuffix(label, ".csv") || strings.HasSuffix(label, " one/s00/report.csv") {
			points = append(points, i+1)
		}
	}
	want := w.backAt(address(0), "undisturbed")
	t.Logf("%d points to kill at", len(points))
	if len(points) < 20 || len(points) >= services {
		t.Fatalf("%d points: want at least 20 and fewer than %d", len(points), services)
	}
	for i, point := range points {
		n := i + 1
		passed := back(n, point)
		back(n, 0)
		label := "killed at " + passed[len(passed)-1]
		if got := w.backAt(address(n), label); got != want {
			t.Errorf("%s: the end is another:\n%s", label, difference(want, got))
		}
	}
	if got := w.toldOfRollback(len(points) + 1); got != "" {
		t.Error(got)
	}
}

// backAt is how an account stands, without its name.
func (w *crashWorld) backAt(address, label string) string {
	w.t.Helper()
	mails, err := w.host.Mailbox(demohost.Source, address)
	if err != nil {
		w.t.Fatalf("%s: %v", label, err)
	}
	var lines []string
	for _, m := range mails {
		lines = append(lines, fmt.Sprintf("%s %d %q %v %s", m.Folder, m.UID, m.Body, m.Flags, m.Date.UTC()))
	}
	if s := w.host.State(address); s != platform.Open {
		w.t.Errorf("%s: %s is %s", label, address, s)
	}
	service := address[strings.IndexByte(address, '@')+1:][:3]
	for _, row := range w.rows(service + "/report.csv")[1:] {
		lines = append(lines, row[4])
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), address, "ADDRESS")
}

// toldOfRollback says whose notice is missing, or came twice although the kill
// left no doubt.
func (w *crashWorld) toldOfRollback(want int) string {
	ids := map[string]bool{}
	readers := map[string]int{}
	for _, m := range w.host.Mails() {
		parsed, err := mail.ReadMessage(bytes.NewReader(m.Data))
		if err != nil {
			w.t.Fatal(err)
		}
		id := parsed.Header.Get("Message-Id")
		if !strings.Contains(parsed.Header.Get("Subject"), "back on the old platform") || ids[m.To+id] {
			continue
		}
		ids[m.To+id] = true
		readers[m.To]++
	}
	var wrong []string
	for to, n := range readers {
		if n != 1 {
			wrong = append(wrong, fmt.Sprintf("%s was told in %d ways", to, n))
		}
	}
	if len(readers) != 2*want {
		wrong = append(wrong, fmt.Sprintf("%d readers were told, want a contact and a user for each of %d", len(readers), want))
	}
	slices.Sort(wrong)
	return strings.Join(wrong, "\n")
}

// letter is a message as the lab's own reader sees it.
type letter struct {
	Folder string
	UID    uint32
	SHA256 string
	Date   int64
	Flags  string
}

func (l *laboratory) snapshot(side, address string) map[letter]bool {
	l.t.Helper()
	all := map[letter]bool{}
	decoder := json.NewDecoder(strings.NewReader(l.lab("snapshot", "-dir", l.home, "-side", side, "-user", address)))
	for decoder.More() {
		var one letter
		if err := decoder.Decode(&one); err != nil {
			l.t.Fatal(err)
		}
		all[one] = true
	}
	return all
}

// added counts what the second mailbox has beside the first, by all but the
// UID. What it lacks is an error: nothing may have changed.
func (l *laboratory) added(before, after map[letter]bool) map[letter]int {
	l.t.Helper()
	for one := range before {
		if !after[one] {
			l.t.Errorf("it is gone or changed: %+v", one)
		}
	}
	more := map[letter]int{}
	for one := range after {
		if !before[one] && one.UID != 0 {
			one.UID = 0
			more[one]++
		}
	}
	return more
}

// 200 messages arrive at the target on real servers; the rollback is killed five
// times on the way and repeated. Each is at the source once, and nothing else
// there has changed.
func TestRollbackOnRealServers(t *testing.T) {
	users := []user{
		{"calm.example", "calm@calm.example", "own-Password-1", "keep"},
		{"rough.example", "rough@rough.example", "own-Password-2", "temporary"},
	}
	l := newLaboratory(t, 600, "1s", users)
	for _, at := range []string{"2026-11-25T03:00", "2026-12-01T03:00", "2026-12-02T22:30"} {
		l.run(at)
	}
	before, arrived := map[string]map[letter]bool{}, map[string]map[letter]int{}
	for i, u := range users {
		if l.letIn(u) {
			t.Errorf("%s can still log in at the source", u.address)
		}
		before[u.address] = l.snapshot("source", u.address)
		there := l.snapshot("target", u.address)
		l.lab("fill", "-dir", l.home, "-side", "target", "-user", u.address, "-messages", "200", "-folders", "12", "-seed", fmt.Sprint(i+100))
		arrived[u.address] = l.added(there, l.snapshot("target", u.address))
	}
	back := func(service string) (string, int) {
		return l.godwit("rollback", "plan.yaml", "--now", "2026-12-03T09:00", "--service", service)
	}
	if out, code := back("calm.example"); code != 0 || !strings.Contains(out, "200 messages carried back") {
		t.Errorf("rollback ended with %d:\n%s", code, out)
	}
	for _, point := range []string{"3", "14", "12", "10", "8"} {
		l.env = []string{"GODWIT_CRASH_AT=" + point}
		if out, code := back("rough.example"); code != -1 {
			t.Errorf("the rollback was not killed at its point %s, it ended with %d:\n%s", point, code, out)
		}
	}
	l.env = nil
	if out, code := back("rough.example"); code != 0 || !strings.Contains(out, "200 messages carried back") {
		t.Errorf("rollback ended with %d:\n%s", code, out)
	}
	for _, u := range users {
		after := l.snapshot("source", u.address)
		got, want := l.added(before[u.address], after), arrived[u.address]
		n := 0
		for one, times := range want {
			if n += times; got[one] != times {
				t.Errorf("%s: %d times at the source, want %d: %+v", u.address, got[one], times, one)
			}
		}
		for one, times := range got {
			if want[one] == 0 {
				t.Errorf("%s: %d times at the source, and it did not arrive: %+v", u.address, times, one)
			}
		}
		if n != 200 {
			t.Errorf("%s: %d arrivals, want 200", u.address, n)
		}
		if !l.letIn(u) {
			t.Errorf("%s cannot log in at the source", u.address)
		}
		for _, row := range l.csv("one/" + u.service + "/report.csv") {
			if row["status"] != "rolled-back" {
				t.Errorf("%s is %s", u.address, row["status"])
			}
		}
	}
	l.run("2026-12-03T22:30")
	for _, u := range users {
		if !l.letIn(u) {
			t.Errorf("%s was moved again", u.address)
		}
	}
}
