package main_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/pipeline/ledger/sqlite"
	"godwit/stages/canarytest"
	"godwit/stages/demohost"
	"godwit/stages/platform"
)

// fewest is how many points a kill -9 has to hit: a change that makes the
// points disappear would otherwise make this test empty in silence.
const fewest = 100

// nights are the runs of the programme that is killed.
var nights = []string{"2026-11-25T03:00", "2026-12-01T03:00", "2026-12-02T22:30"}

// crashWorld is a hoster in memory with a small programme, and the program as a
// process that a test can kill at any of its points.
type crashWorld struct {
	t      *testing.T
	host   *demohost.Host
	dir    string
	bin    string
	unlock func() // the ledger, where another program has it

	canaries *canarytest.Watch
}

var crashUsers = []string{"anna@acme.example", "ben@acme.example", "zoe@zeta.example"}

func newCrashWorld(t *testing.T, bin string) *crashWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "godwit-crash-")
	if err != nil {
		t.Fatal(err)
	}
	host, err := demohost.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &crashWorld{t: t, host: host, dir: dir, bin: bin, canaries: canarytest.New(t)}
	for i, address := range crashUsers {
		host.AddAccount(demohost.Source, address, fmt.Sprintf("own-password-%d", i))
		for n := range 6 {
			w.put(address, []string{"INBOX", "INBOX", "Sent"}[n%3], n)
		}
	}
	w.put(crashUsers[0], "INBOX", 0) // a genuine duplicate
	secrets := host.Migrator()
	w.write("imap", secrets.Secret)
	w.write("smtp", secrets.SMTPSecret)
	w.canaries.Add("the migrator's password", secrets.Secret)
	w.canaries.Add("the relay's password", secrets.SMTPSecret)
	w.write("list.csv", `service,account,contact,passwords
acme,anna@acme.example,it@contact.example,temporary
acme,ben@acme.example,it@contact.example,temporary
zeta,zoe@zeta.example,zoe@contact.example,keep
`)
	hook := fmt.Sprintf("[%q, demo-hook, %q]", bin, host.AdminSocket)
	w.write("plan.yaml", fmt.Sprintf(`version: 1
name: crash
timezone: Europe/Paris
source:
  imap: {address: %[1]q, ca_file: %[2]q, auth: authzid, login: %[3]s, secret: "file:imap"}
  freeze: {driver: exec, command: %[4]s, settle: 0s}
targets:
  new:
    imap: {address: %[5]q, ca_file: %[2]q, auth: authzid, login: %[3]s, secret: "file:imap"}
    admin: {driver: exec, command: %[4]s}
notices:
  from: "M <m@host.example>"
  smtp: {address: %[6]q, ca_file: %[2]q, tls: implicit, login: %[7]s, secret: "file:smtp"}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00"}
copy: {accounts: 1, connections: 1}
batches:
  - {name: one, date: 2026-12-02, accounts: list.csv}
`, host.SourceAddress, host.CAFile, secrets.Login, hook, host.TargetAddress, host.SMTPAddress, secrets.SMTPLogin))
	return w
}

// close also looks for the secrets, the temporary passwords among them, wherever
// Godwit wrote or showed anything.
func (w *crashWorld) close() {
	w.canaries.Lists(w.dir)
	for _, m := range w.host.Mails() {
		w.canaries.Output("a mail to "+m.To, m.Data)
	}
	w.canaries.Search([]string{w.dir}, "imap", "smtp", "zimbra", "passwords.csv")
	closed, gone := w.host.Close(), os.RemoveAll(w.dir)
	for try := 0; gone != nil && try < 50; try++ { // a guard may be about to leave
		time.Sleep(100 * time.Millisecond)
		gone = os.RemoveAll(w.dir)
	}
	if err := errors.Join(closed, gone); err != nil {
		w.t.Error(err)
	}
}

func (w *crashWorld) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *crashWorld) put(address, folder string, n int) {
	w.t.Helper()
	body := fmt.Sprintf("From: a@b.example\r\nTo: %s\r\nSubject: mail %d\r\nMessage-ID: <%d.%s>\r\n\r\nbody %d\r\n", address, n, n, address, n)
	m := demohost.Message{Folder: folder, Body: []byte(body), Date: time.Date(2026, 1, 1, 0, n, 0, 0, time.UTC), Flags: [][]string{nil, {`\Seen`}, {"Work"}}[n%3]}
	if err := w.host.Put(demohost.Source, address, m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *crashWorld) command(at string) *exec.Cmd { return w.program("run", "plan.yaml", "--now", at) }

func (w *crashWorld) program(args ...string) *exec.Cmd {
	cmd := exec.Command(w.bin, args...)
	cmd.Dir = w.dir
	return cmd
}

// run is one run that is killed at a point; 0: not killed. It returns the
// labels of the points it passed.
func (w *crashWorld) run(at string, point int) []string {
	w.t.Helper()
	return w.killedAt(point, w.command(at))
}

// killedAt runs a command that is killed at a point; 0: not killed. It returns
// the labels of the points it passed.
func (w *crashWorld) killedAt(point int, cmd *exec.Cmd) []string {
	w.t.Helper()
	passed, killed := w.tryToKill(point, cmd)
	if point > 0 && !killed {
		w.t.Errorf("%v was not killed at point %d", cmd.Args[1:], point)
	}
	return passed
}

// tryToKill is killedAt for a command that may end before the point.
func (w *crashWorld) tryToKill(point int, cmd *exec.Cmd) (passed []string, killed bool) {
	w.t.Helper()
	log := filepath.Join(w.dir, "points")
	os.Remove(log)
	cmd.Env = append(os.Environ(), fmt.Sprintf("GODWIT_CRASH_AT=%d", point), "GODWIT_CRASH_LOG="+log)
	out, err := cmd.CombinedOutput()
	w.canaries.Output(fmt.Sprintf("the output of %v", cmd.Args[1:]), out)
	killed = cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	if err != nil && (point == 0 || !killed) {
		w.t.Errorf("%v: %v\n%s", cmd.Args[1:], err, out)
	}
	data, _ := os.ReadFile(log)
	return strings.Split(strings.TrimSpace(string(data)), "\n"), killed
}

// end is all that matters when the programme is over, without times and the
// random passwords.
func (w *crashWorld) end(label string) string {
	t := w.t
	t.Helper()
	var b strings.Builder
	for _, address := range crashUsers {
		for _, side := range []demohost.Side{demohost.Source, demohost.Target} {
			mails, err := w.host.Mailbox(side, address)
			if err != nil {
				t.Fatalf("%s: %v", label, err)
			}
			var lines []string
			for _, m := range mails {
				slices.Sort(m.Flags)
				lines = append(lines, fmt.Sprintf("%s %q %v %s", m.Folder, m.Body, m.Flags, m.Date.UTC()))
			}
			slices.Sort(lines)
			fmt.Fprintf(&b, "%s %s:\n%s\n", side, address, strings.Join(lines, "\n"))
		}
		if s := w.host.State(address); s != platform.Switched {
			t.Errorf("%s: %s is %s", label, address, s)
		}
		fmt.Fprintf(&b, "%s must change: %v\n", address, w.host.MustChange(address))
		history := w.history(address)
		if i := slices.Index(history, "switch intent"); i < 0 || slices.ContainsFunc(history[i:], func(e string) bool { return strings.HasPrefix(e, "thaw") }) {
			t.Errorf("%s: %s passed the point of no return and was thawed: %q", label, address, history)
		}
	}
	if n := w.host.MutationCount(); n != 0 {
		t.Errorf("%s: the source was changed %d times", label, n)
	}
	for _, name := range []string{"report.csv", "skipped.csv", "acme/report.csv", "acme/skipped.csv", "zeta/report.csv", "zeta/skipped.csv"} {
		fmt.Fprintf(&b, "%s: %s\n", name, w.timeless(name))
	}
	rows := w.rows("acme/passwords.csv")
	for _, row := range rows[1:] {
		if w.host.Password(demohost.Target, row[2]) != row[3] {
			t.Errorf("%s: the listed password of %s is not the one on the target", label, row[1])
		}
	}
	fmt.Fprintf(&b, "%d passwords\n", len(rows)-1)
	if _, err := os.Stat(filepath.Join(w.dir, "out/one/zeta/passwords.csv")); err == nil {
		t.Errorf("%s: a list for a service that keeps its passwords", label)
	}
	l, err := sqlite.Read(t.Context(), filepath.Join(w.dir, "out/crash.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if frozen, err := l.Underway(t.Context()); err != nil || len(frozen) > 0 {
		t.Errorf("%s: frozen: %v, %v", label, frozen, err)
	}
	return b.String()
}

func (w *crashWorld) rows(name string) [][]string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "out/one", name))
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// timeless is a report without its times, counts of tries and durations: only
// whether they are there.
func (w *crashWorld) timeless(name string) string {
	rows := w.rows(name)
	vague := map[string]bool{"plan_revision": true, "passes": true, "notified_at": true, "frozen_at": true, "released_at": true, "interruption_seconds": true, "verified": true}
	for _, row := range rows[1:] {
		for i, column := range rows[0] {
			if vague[column] && row[i] != "" {
				row[i] = "*"
			}
		}
	}
	return fmt.Sprint(rows)
}

// repeated names the mails that a reader got more than once. It may happen only
// where the kill came between a notice's intent and its outcome, when nobody
// can know whether it was taken, and then under the same Message-ID (P3).
func (w *crashWorld) repeated(labels ...string) {
	w.t.Helper()
	subjects, ids := map[string]int{}, map[string]bool{}
	for _, m := range w.host.Mails() {
		parsed, err := mail.ReadMessage(bytes.NewReader(m.Data))
		if err != nil {
			w.t.Fatal(err)
		}
		subjects[m.To+" "+parsed.Header.Get("Subject")]++
		ids[m.To+" "+parsed.Header.Get("Message-Id")] = true
	}
	label, more := strings.Join(labels, ", then "), 0
	for what, n := range subjects {
		if more += n - 1; n > 1 {
			w.t.Logf("%s: sent %d times: %s", label, n, what)
		}
	}
	doubtful := len(slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return !unknowable.MatchString(l) }))
	if more > doubtful {
		w.t.Errorf("%s: %d notices too many, where %d may come again", label, more, doubtful)
	}
	if want := 2 + 2 + 3 + 2; len(ids) != want {
		w.t.Errorf("%s: %d different notices, want %d", label, len(ids), want)
	}
}

// unknowable is the point after the relay's yes and before it stands in the ledger.
var unknowable = regexp.MustCompile(`: before \S* notice \S+ to \S+ done$`)

// The program is killed at every point of every night; a run of the same night
// follows each kill, and then the rest. The end is that of a programme that
// nobody disturbed.
func TestAKillAtEveryPoint(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	calm := newCrashWorld(t, bin.godwit)
	defer calm.close()
	points := make([]int, len(nights))
	total := 0
	for i, at := range nights {
		points[i] = len(calm.run(at, 0))
		total += points[i]
	}
	want := calm.end("undisturbed")
	calm.repeated("undisturbed")
	t.Logf("%d points to kill at", total)
	if total < fewest {
		t.Fatalf("only %d points, want at least %d", total, fewest)
	}

	hit := killEverywhere(t, bin.godwit, points, want)
	t.Logf("killed at %d points", hit)
	if hit < total {
		t.Errorf("killed at %d points of %d", hit, total)
	}
}

// killEverywhere lives as many programmes as the longest night has points, each
// killed once in every night that has such a point, and returns how often.
func killEverywhere(t *testing.T, bin string, points []int, want string) (hit int) {
	var mu sync.Mutex
	var alone [][]int
	each(slices.Max(points), func(n int) {
		at := make([]int, len(points))
		for i := range at {
			if n < points[i] {
				at[i] = n + 1
			}
		}
		killed, missed := killedProgramme(t, bin, at, want)
		mu.Lock()
		defer mu.Unlock()
		hit += killed
		for _, night := range missed { // an earlier kill has shortened the night
			one := make([]int, len(points))
			one[night] = n + 1
			alone = append(alone, one)
		}
	})
	each(len(alone), func(n int) {
		killed, _ := killedProgramme(t, bin, alone[n], want)
		mu.Lock()
		defer mu.Unlock()
		hit += killed
	})
	return hit
}

// each calls do for 0 to n-1, three at a time.
func each(n int, do func(int)) {
	var g errgroup.Group
	g.SetLimit(3)
	for i := range n {
		g.Go(func() error { do(i); return nil })
	}
	_ = g.Wait() // none has an error
}

// killedProgramme is a programme that is killed in each night at a point, 0:
// not, and each time run again. It returns how often it was killed, and the
// nights that ended before their point.
func killedProgramme(t *testing.T, bin string, points []int, want string) (killed int, missed []int) {
	w := newCrashWorld(t, bin)
	defer w.close()
	var labels []string
	for i, at := range nights {
		if points[i] > 0 {
			passed, dead := w.tryToKill(points[i], w.command(at))
			if dead { // accounts go side by side: what was hit is told by the run itself
				killed++
				labels = append(labels, fmt.Sprintf("killed at %s, point %s", at, strings.Replace(passed[len(passed)-1], " ", ": ", 1)))
			} else {
				missed = append(missed, i)
			}
		}
		w.run(at, 0)
	}
	label := strings.Join(labels, ", then ")
	if got := w.end(label); got != want {
		t.Errorf("%s: the end is another:\n%s", label, difference(want, got))
	}
	w.repeated(labels...)
	return killed, missed
}

// difference is the lines that only one of two texts has.
func difference(want, got string) string {
	var b strings.Builder
	have := strings.Split(got, "\n")
	for _, line := range strings.Split(want, "\n") {
		if i := slices.Index(have, line); i >= 0 {
			have = slices.Delete(have, i, i+1)
			continue
		}
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, line := range have {
		fmt.Fprintf(&b, "+ %s\n", line)
	}
	return b.String()
}
