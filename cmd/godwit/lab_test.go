package main_test

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"godwit/stages/canarytest"
	"godwit/stages/mailbox"
)

// laboratory is two real Dovecots and an SMTP sink with a programme on them:
// the program and the lab as processes, as a hoster would run them.
type laboratory struct {
	t    *testing.T
	dir  string // plan, lists, output
	home string // the lab's
	bin  binaries
	env  []string
	up   struct {
		Source, Target struct {
			Address  string
			Doveadm  struct{ URL string }
			DenyFile string `json:"deny_file"`
		}
		CA     string
		Master struct {
			Login      string
			SecretFile string `json:"secret_file"`
		}
		SMTP struct {
			Address, Dir, Login string
			SecretFile          string `json:"secret_file"`
		}
	}
	users []user
	left  map[string]string // the source of each user, as they left it

	canaries *canarytest.Watch
}

type user struct{ service, address, password, mode string }

type binaries struct{ godwit, lab string }

// built compiles both programs once for all tests; godwit with the points at
// which a test may kill it.
var built = sync.OnceValues(func() (binaries, error) {
	dir, err := os.MkdirTemp("", "godwit-bin-")
	if err != nil {
		return binaries{}, err
	}
	b := binaries{filepath.Join(dir, "godwit"), filepath.Join(dir, "godwit-lab")}
	for path, args := range map[string][]string{b.godwit: {"-tags", "crashtest", "."}, b.lab: {"../godwit-lab"}} {
		out, err := exec.Command("go", append([]string{"build", "-o", path}, args...)...).CombinedOutput()
		if err != nil {
			return b, fmt.Errorf("%w: %s", err, out)
		}
	}
	return b, nil
})

const labPlan = `version: 1
name: lab
timezone: Europe/Paris
locale: fr
source:
  region: FR
  imap: {address: %[1]q, ca_file: %[3]q, auth: master, login: %[4]q, secret: "file:%[5]s", master_format: "{account}*{login}"}
  freeze: {driver: exec, command: [%[6]q, hook, -dir, %[7]q], settle: %[11]s}
targets:
  new:
    region: FR
    imap: {address: %[2]q, ca_file: %[3]q, auth: master, login: %[4]q, secret: "file:%[5]s", master_format: "{account}*{login}"}
    admin: {driver: exec, command: [%[6]q, hook, -dir, %[7]q]}
    webmail: "https://webmail.new.example"
promises: {residency: [FR], quota: keep}
notices:
  from: "Migration <migration@host.example>"
  smtp: {address: %[8]q, ca_file: %[3]q, tls: implicit, login: %[9]q, secret: "file:%[10]s", region: FR}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00"}
copy: {max_delete: 40%%}
batches:
  - {name: one, date: 2026-12-02, accounts: one.csv}
`

// newLaboratory starts the lab with users, their mail and a plan. Their passwords
// become canaries.
func newLaboratory(t *testing.T, messages int, settle string, users []user, up ...string) *laboratory {
	t.Helper()
	needServers(t)
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l := &laboratory{t: t, dir: t.TempDir(), home: t.TempDir(), bin: bin, users: users}
	l.start(up...)
	for i := range users {
		users[i].password = canarytest.Secret()
	}
	l.secrets(l.up.Master.SecretFile, l.up.SMTP.SecretFile)
	t.Cleanup(func() { l.search(l.up.SMTP.Dir) })
	for i, u := range users {
		secret := filepath.Join(l.home, "secret")
		l.write(secret, u.password+"\n")
		side := "both"
		if u.mode == "temporary" {
			side = "source"
		}
		l.lab("user", "-dir", l.home, "-side", side, u.address, secret)
		if messages == 0 {
			continue
		}
		l.lab("fill", "-dir", l.home, "-user", u.address, "-messages", fmt.Sprint(messages/len(users)), "-folders", "8", "-seed", fmt.Sprint(i+1))
	}
	l.write(filepath.Join(l.dir, "plan.yaml"), fmt.Sprintf(labPlan, l.up.Source.Address, l.up.Target.Address, l.up.CA,
		l.up.Master.Login, l.up.Master.SecretFile, bin.lab, l.home, l.up.SMTP.Address, l.up.SMTP.Login, l.up.SMTP.SecretFile, settle))
	rows := "service,account,contact,name,locale,passwords,source_secret,x_customer\n"
	for _, u := range users {
		rows += fmt.Sprintf("%s,%s,owner-%s@contact.example,User of %s,,%s,%s,=%s\n", u.service, u.address, u.service, u.address, u.mode, u.password, u.service)
	}
	l.write(filepath.Join(l.dir, "one.csv"), rows)
	return l
}

// secrets names the secrets of the programme and begins to look for them.
func (l *laboratory) secrets(files ...string) {
	l.t.Helper()
	l.canaries = canarytest.New(l.t)
	for _, file := range files {
		l.canaries.File(file)
	}
	for _, u := range l.users {
		l.canaries.Add("the password of "+u.address, u.password)
	}
}

// search looks for every secret of the programme, those that it made too,
// wherever Godwit wrote or showed anything.
func (l *laboratory) search(folders ...string) {
	l.t.Helper()
	l.canaries.Lists(l.dir)
	l.canaries.Search(append(folders, l.dir), "one.csv", "list*.csv", "zimbra", "passwords.csv")
}

// needServers skips where the mail servers are not, but not where all must run.
func needServers(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/dovecot"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Dovecot: run .ci/needs")
		}
		t.Skip("no Dovecot: run .ci/needs")
	}
}

func (l *laboratory) start(args ...string) {
	l.t.Helper()
	up := exec.Command(l.bin.lab, append([]string{"up", "-dir", l.home, "-smtp", "-fsync", "never"}, args...)...)
	stdin, err := up.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	stdout, err := up.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	up.Stderr = os.Stderr
	if err := up.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { stdin.Close(); _ = up.Wait() })
	if err := json.NewDecoder(stdout).Decode(&l.up); err != nil {
		l.t.Fatalf("the lab does not start: %v", err)
	}
}

func (l *laboratory) write(path, text string) {
	l.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *laboratory) lab(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(l.bin.lab, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("godwit-lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// godwit runs the program and returns its output and exit code.
func (l *laboratory) godwit(args ...string) (string, int) {
	l.t.Helper()
	cmd := exec.Command(l.bin.godwit, args...)
	cmd.Dir, cmd.Env = l.dir, append(os.Environ(), l.env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	l.canaries.Output("the output of "+strings.Join(args, " "), out)
	return string(out), cmd.ProcessState.ExitCode()
}

// run is one run at a time of the plan's zone, which has to end with 0.
func (l *laboratory) run(at string) string {
	l.t.Helper()
	out, code := l.godwit("run", "plan.yaml", "--now", at)
	if code != 0 {
		l.t.Fatalf("run --now %s ended with %d:\n%s", at, code, out)
	}
	return out
}

// notices counts the mails the relay took, per recipient and Message-ID.
func (l *laboratory) notices() map[string]map[string]int {
	l.t.Helper()
	all := map[string]map[string]int{}
	files, err := filepath.Glob(filepath.Join(l.up.SMTP.Dir, "*.eml"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.Open(file)
		if err != nil {
			l.t.Fatal(err)
		}
		m, err := mail.ReadMessage(data)
		if err != nil {
			l.t.Fatal(err)
		}
		data.Close()
		to := strings.Trim(m.Header.Get("To"), "<>")
		if all[to] == nil {
			all[to] = map[string]int{}
		}
		all[to][m.Header.Get("Message-Id")]++
	}
	return all
}

// letIn says whether the user's own login works at the source.
func (l *laboratory) letIn(u user) bool {
	l.t.Helper()
	server := &mailbox.Server{Address: l.up.Source.Address, TLS: "implicit", CAFile: l.up.CA, Auth: "password"}
	return l.check(server, u.address, u.password)
}

func (l *laboratory) letInTarget(address, password string) bool {
	l.t.Helper()
	server := &mailbox.Server{Address: l.up.Target.Address, TLS: "implicit", CAFile: l.up.CA, Auth: "password"}
	return l.check(server, address, password)
}

func (l *laboratory) check(server *mailbox.Server, address, password string) bool {
	l.t.Helper()
	secret := func(context.Context) (string, error) { return password, nil }
	err := mailbox.CheckLogin(l.t.Context(), mailbox.Endpoint{Server: server, Login: mailbox.Login{User: address, Secret: secret}})
	if err != nil && !errors.Is(err, mailbox.ErrLogin) {
		l.t.Fatal(err)
	}
	return err == nil
}

// equal compares every mailbox with the lab's own reader, which trusts nothing
// that the copier wrote.
func (l *laboratory) equal() {
	l.t.Helper()
	for _, u := range l.users {
		out, err := exec.Command(l.bin.lab, "compare", "-dir", l.home, "-user", u.address, "-named", filepath.Join(l.dir, "out/one/skipped.csv")).CombinedOutput()
		if err != nil {
			l.t.Errorf("%s differs: %v\n%s", u.address, err, out)
		}
	}
}

// csv reads a file of the output folder; the first row names the columns.
func (l *laboratory) csv(name string) []map[string]string {
	l.t.Helper()
	f, err := os.Open(filepath.Join(l.dir, "out", name))
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		l.t.Fatal(err)
	}
	var list []map[string]string
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, name := range rows[0] {
			m[name] = row[i]
		}
		list = append(list, m)
	}
	return list
}

// files digests the files that people get.
func (l *laboratory) files() map[string]string {
	l.t.Helper()
	sums := map[string]string{}
	root := filepath.Join(l.dir, "out", "one")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sum := sha256.Sum256(data)
		name, _ := filepath.Rel(root, path)
		sums[name] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return sums
}

func twelve() []user {
	var users []user
	for service, n := range map[string]int{"acme.example": 5, "bistro.example": 4, "club.example": 3} {
		for i := range n {
			mode := "keep"
			if service != "acme.example" {
				mode = "temporary"
			}
			users = append(users, user{service, fmt.Sprintf("user%d@%s", i+1, service), fmt.Sprintf("own-Password-%d-%s", i+1, service), mode})
		}
	}
	return users
}

// The whole way on two real Dovecots: three services, twelve accounts, 5,000
// messages.
func TestTheProgrammeOnRealServers(t *testing.T) {
	l := newLaboratory(t, 5000, "1s", twelve())
	l.remember()
	out, code := l.godwit("validate", "plan.yaml")
	if code != 0 || !strings.Contains(out, "12 accounts checked") {
		t.Fatalf("validate ended with %d:\n%s", code, out)
	}
	out, code = l.godwit("preview", "plan.yaml", "--now", "2026-11-25T03:00")
	if code != 0 || strings.Count(out, "now: validate") != 3 {
		t.Fatalf("preview ended with %d:\n%s", code, out)
	}

	told := func(when string, want int) {
		t.Helper()
		n := 0
		for to, ids := range l.notices() {
			for id, times := range ids {
				n += times
				if times != 1 {
					t.Errorf("%s: %s got %s %d times", when, to, id, times)
				}
			}
		}
		if n != want {
			t.Errorf("%s: %d notices in all, want %d", when, n, want)
		}
		for _, u := range l.users {
			if !l.letIn(u) {
				t.Errorf("%s: %s cannot log in", when, u.address)
			}
		}
	}
	l.run("2026-11-24T03:00")
	told("T-8", 0)
	l.run("2026-11-25T03:00")
	told("T-7", 3)
	l.run("2026-11-25T23:00")
	told("T-7, again", 3)
	l.run("2026-11-30T23:00")
	told("T-2", 3)
	l.act(1)
	l.run("2026-12-01T03:00")
	told("T-1", 3+3+12)
	l.act(2)
	l.run("2026-12-02T21:00")
	told("an hour before the window", 18)
	l.act(3)
	l.run("2026-12-02T22:30")

	l.equal()
	if n := len(l.notices()); n != 15 {
		t.Errorf("%d readers were written to, want 3 contacts and 12 users", n)
	}
	l.reports()
	before, mails := l.files(), l.notices()
	l.run("2026-12-02T22:50")
	if after := l.files(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a second run changed the files:\n%v\n%v", before, after)
	}
	if after := l.notices(); fmt.Sprint(after) != fmt.Sprint(mails) {
		t.Errorf("a second run sent mail:\n%v\n%v", mails, after)
	}
	l.equal()
	l.untouched()
	for _, u := range l.users {
		if l.letIn(u) {
			t.Errorf("%s is switched, and can still log in at the source", u.address)
		}
	}
}

// act lets every user work in their mailbox. Since they did so last, nobody but
// Godwit has been there, and it must have left all as it was.
func (l *laboratory) act(seed int) {
	l.untouched()
	for _, u := range l.users {
		l.lab("act", "-dir", l.home, "-user", u.address, "-seed", fmt.Sprint(seed), "-actions", "12")
	}
	l.remember()
}

// remember notes how the users have left the source.
func (l *laboratory) remember() {
	l.left = map[string]string{}
	for _, u := range l.users {
		l.left[u.address] = l.source(u)
	}
}

// source is all that can be seen of a user's mailbox at the source: folders,
// UIDVALIDITY, UIDNEXT, subscriptions, messages with UID, flags, date and digest.
func (l *laboratory) source(u user) string {
	return l.lab("snapshot", "-dir", l.home, "-side", "source", "-user", u.address)
}

// untouched holds the source against what its users left.
func (l *laboratory) untouched() {
	l.t.Helper()
	for _, u := range l.users {
		if diff := cmp.Diff(strings.Split(l.left[u.address], "\n"), strings.Split(l.source(u), "\n")); diff != "" {
			l.t.Errorf("the source of %s was changed, and not by its user (-left +found):\n%s", u.address, diff)
		}
	}
}

// reports checks what people get.
func (l *laboratory) reports() {
	t := l.t
	t.Helper()
	rows := l.csv("one/report.csv")
	if len(rows) != 12 {
		t.Errorf("report.csv has %d accounts, want 12", len(rows))
	}
	for _, r := range rows {
		if r["status"] != "done" || r["verified"] == "" || r["notified_at"] == "" || r["frozen_at"] == "" || r["released_at"] == "" || r["x_customer"] != "'="+r["service"] {
			t.Errorf("report: %v", r)
		}
		var messages, copied, already, skipped int
		_, err := fmt.Sscan(r["messages"]+" "+r["copied"]+" "+r["already_there"]+" "+r["skipped"], &messages, &copied, &already, &skipped)
		if err != nil || messages == 0 || messages != copied+already+skipped {
			t.Errorf("the sums of %s: %d messages, %d copied, %d already there, %d skipped", r["account"], messages, copied, already, skipped)
		}
	}
	for service, n := range map[string]int{"acme.example": 0, "bistro.example": 4, "club.example": 3} {
		for _, r := range l.csv("one/" + service + "/report.csv") {
			if r["service"] != service {
				t.Errorf("%s's report holds a row of %s", service, r["service"])
			}
		}
		if n == 0 {
			if _, err := os.Stat(filepath.Join(l.dir, "out/one", service, "passwords.csv")); err == nil {
				t.Errorf("%s keeps its passwords and has a list", service)
			}
			continue
		}
		info, err := os.Stat(filepath.Join(l.dir, "out/one", service, "passwords.csv"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("passwords.csv: %v, %v", info, err)
		}
		list := l.csv("one/" + service + "/passwords.csv")
		if len(list) != n {
			t.Errorf("%s's list has %d rows, want %d", service, len(list), n)
		}
		for _, r := range list {
			if !l.letInTarget(r["target_account"], r["temporary_password"]) {
				t.Errorf("the listed password of %s does not work", r["account"])
			}
			if _, err := os.Stat(filepath.Join(l.home, "target", "activated")); err != nil {
				t.Errorf("no must-change flags: %v", err)
			}
		}
	}
	for _, u := range l.users {
		if u.mode == "keep" && !l.letInTarget(u.address, u.password) {
			t.Errorf("%s keeps the password, which does not work at the target", u.address)
		}
	}
}
