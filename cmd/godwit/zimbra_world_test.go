package main_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/stages/canarytest"
	"godwit/stages/mailbox"
	"godwit/stages/platform/zimbra/zimbratest"
)

// bystander is an account of the target that is not in any list.
const bystander = "boss@new.example"

// mustChange is what Zimbra says to the right password that must be changed.
const mustChange = "password must be changed before IMAP login permitted"

const zimbraPlan = `version: 1
name: crash
timezone: Europe/Paris
source:
  imap: {address: %[1]q, ca_file: %[3]q, auth: authzid, login: %[4]s, secret: "file:%[5]s"}
  freeze: {driver: exec, command: [%[6]q, hook, -dir, %[7]q], settle: 0s}
targets:
  new:
    imap: {address: %[2]q, ca_file: %[3]q, auth: authzid, login: %[4]s, secret: "file:%[5]s"}
    admin: {driver: zimbra, url: %[8]q, login: %[9]s, secret: "file:zimbra", ca_file: %[10]q, create: true}
    webmail: "https://webmail.new.example"
notices:
  from: "M <m@host.example>"
  smtp: {address: %[11]q, ca_file: %[3]q, tls: implicit, login: %[12]s, secret: "file:%[13]s"}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00"}
copy: {accounts: 1, connections: 1}
domains: {"*": [%[14]s]}
batches:
  - {name: one, date: 2026-12-02, accounts: list.csv}
`

// zimbraWorld is a programme with temporary passwords from one real Dovecot to
// another, on which Zimbra's admin side sets the passwords: a Dovecot that
// checks what the Zimbra of the test has, and lets nobody in who has to choose a
// new password first, as Zimbra does. The two Dovecots are shared by many.
type zimbraWorld struct {
	*laboratory
	server *zimbratest.Server
	domain string
}

// zimbraAt makes the n-th programme on the lab: zoe keeps her password, the
// others get new ones.
func (l *laboratory) zimbraAt(t *testing.T, n int, names ...string) *zimbraWorld {
	t.Helper()
	own := *l
	dir, err := os.MkdirTemp("", "godwit-zimbra-")
	if err != nil {
		t.Fatal(err)
	}
	own.t, own.dir, own.users = t, dir, nil
	w := &zimbraWorld{laboratory: &own, server: zimbratest.New(t), domain: fmt.Sprintf("c%d.example", n)}
	for _, name := range names {
		u := user{"acme", name + "@" + w.domain, canarytest.Secret(), "temporary"}
		if name == "zoe" {
			u.service, u.mode = "zeta", "keep"
		}
		own.users = append(own.users, u)
	}
	z := w.server
	z.Domains = []string{w.domain, "new.example"}
	z.COS["zimbraPasswordMinLength"], z.COS["zimbraPasswordMinUpperCaseChars"] = "14", "2"
	z.COS["zimbraPasswordMinNumericChars"], z.COS["zimbraPasswordMinPunctuationChars"] = "2", "1"
	z.OnChange = w.mirror
	z.Add(bystander, "untouched", nil)
	list := "service,account,contact,passwords,source_secret\n"
	for _, u := range w.users {
		w.put("source", "passdb", u.address, map[string]string{"password": "{PLAIN}" + u.password})
		w.put("source", "userdb", u.address, struct{}{})
		w.letters(u.address, 3)
		if u.mode == "keep" {
			z.Add(u.address, u.password, nil)
		}
		list += fmt.Sprintf("%s,%s,it@contact.example,%s,%s\n", u.service, u.address, u.mode, u.password)
	}
	w.write(filepath.Join(w.dir, "zimbra"), z.AdminPassword)
	w.write(filepath.Join(w.dir, "list.csv"), list)
	w.secrets(filepath.Join(w.dir, "zimbra"))
	w.write(filepath.Join(w.dir, "plan.yaml"), fmt.Sprintf(zimbraPlan, w.up.Source.Address, w.up.Target.Address, w.up.CA,
		w.up.Master.Login, w.up.Master.SecretFile, w.bin.lab, w.home, z.URL, z.Admin, z.CAFile, w.up.SMTP.Address, w.up.SMTP.Login, w.up.SMTP.SecretFile, w.domain))
	return w
}

func (w *zimbraWorld) close() {
	w.search()
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Error(err)
	}
}

// put writes what the lab's Dovecots read at each login.
func (l *laboratory) put(side, kind, name string, content any) {
	l.t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join(l.home, side, kind, name)
	err = os.WriteFile(path+".new", text, 0o644)
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		l.t.Error(err)
	}
}

// letters puts mail into a mailbox of the source, which is a Maildir.
func (w *zimbraWorld) letters(address string, n int) {
	w.t.Helper()
	home := filepath.Join(w.home, "source", "mail", address)
	inbox := filepath.Join(home, "Maildir", "cur")
	var err error
	for _, part := range []string{"cur", "new", "tmp"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(home, "Maildir", part), 0o700))
	}
	for i := range n {
		text := fmt.Sprintf("From: a@b.example\r\nTo: %s\r\nSubject: mail %d\r\nMessage-ID: <%d.%[1]s>\r\n\r\nbody %[2]d\r\n", address, i, i)
		err = errors.Join(err, os.WriteFile(filepath.Join(inbox, fmt.Sprintf("%d.M1P1.host:2,S", 1700000000+i)), []byte(text), 0o600))
	}
	info, staterr := os.Stat(filepath.Dir(home))
	if err = errors.Join(err, staterr); err != nil {
		w.t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	err = filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(owner.Uid), int(owner.Gid)))
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// mirror has the target's Dovecot check what Zimbra has.
func (w *zimbraWorld) mirror(a zimbratest.Account) {
	entry := map[string]string{"password": "{PLAIN.b64}" + base64.StdEncoding.EncodeToString([]byte(a.Password))}
	switch {
	case a.Password == "":
		entry = map[string]string{"password": "{CRYPT}*", "nologin": "y"}
	case a.Attrs["zimbraPasswordMustChange"] == "TRUE":
		entry["nologin"], entry["reason"] = "y", mustChange
	}
	w.put("target", "passdb", a.Name, entry)
	w.put("target", "userdb", a.Name, struct{}{})
}

// signIn tries a login of the user at the target: what the server says, "" if it
// lets in.
func (w *zimbraWorld) signIn(address, password string) string {
	w.t.Helper()
	server := &mailbox.Server{Address: w.up.Target.Address, TLS: "implicit", CAFile: w.up.CA, Auth: "password"}
	secret := func(context.Context) (string, error) { return password, nil }
	err := mailbox.CheckLogin(context.Background(), mailbox.Endpoint{Server: server, Login: mailbox.Login{User: address, Secret: secret}})
	if err == nil {
		return ""
	}
	if !errors.Is(err, mailbox.ErrLogin) {
		w.t.Error(err)
	}
	return err.Error()
}

// settled checks what must hold when the programme is over, however it went.
func (w *zimbraWorld) settled(label string) {
	t := w.t
	t.Helper()
	rows, untouched := w.csv("one/acme/passwords.csv"), map[string]string{bystander: "untouched"}
	for _, u := range w.users {
		if u.mode == "keep" {
			untouched[u.address] = u.password
		}
	}
	if want := len(w.users) - len(untouched) + 1; len(rows) != want {
		t.Errorf("%s: the list has %d passwords, want %d", label, len(rows), want)
	}
	for _, row := range rows {
		who, password := row["target_account"], row["temporary_password"]
		if said := w.signIn(who, password); !strings.Contains(said, mustChange) {
			t.Errorf("%s: %s has to choose a password first, and the server says %q", label, who, said)
		}
		if said := w.signIn(who, password+"x"); said == "" || strings.Contains(said, mustChange) {
			t.Errorf("%s: %s with a wrong password: %q", label, who, said)
		}
		a, _ := w.server.Get(who)
		if a.Attrs["zimbraPasswordMustChange"] != "TRUE" {
			t.Errorf("%s: %s need not change the password", label, who)
		}
		w.server.Set(who, "zimbraPasswordMustChange", "") // as webmail does in the end
		if said := w.signIn(who, password); said != "" {
			t.Errorf("%s: the listed pair of %s does not log in: %s", label, who, said)
		}
	}
	for name, password := range untouched {
		if a, _ := w.server.Get(name); a.Password != password || len(a.Attrs) != 0 {
			t.Errorf("%s: %s was changed: %v", label, name, a.Attrs)
		}
		if said := w.signIn(name, password); said != "" {
			t.Errorf("%s: the password of %s does not work any more: %s", label, name, said)
		}
	}
	for _, row := range w.csv("one/report.csv") {
		if row["account"] == "info@"+w.domain && row["status"] == "held" {
			continue // the alias
		}
		if row["status"] != "done" || row["messages"] != "3" || row["copied"] != "3" || row["verified"] == "" {
			t.Errorf("%s: %v", label, row)
		}
	}
}

// awaited checks how many have yet to sign in with their temporary password.
func (w *zimbraWorld) awaited(want int) {
	w.t.Helper()
	out, _ := w.godwit("status", "plan.yaml", "--now", "2026-12-03T09:00", "--sign-ins")
	if got := strings.Count(out, "has not signed in with the temporary password yet, as of 2026-12-03 09:00"); got != want {
		w.t.Errorf("status waits for %d to sign in, want %d:\n%s", got, want, out)
	}
}

// points is a run that is killed at a point; 0: not killed. It returns the
// points that it passed.
func (w *zimbraWorld) points(at string, point int) []string {
	w.t.Helper()
	log := filepath.Join(w.dir, "points")
	os.Remove(log)
	cmd := exec.Command(w.bin.godwit, "run", "plan.yaml", "--now", at)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), fmt.Sprintf("GODWIT_CRASH_AT=%d", point), "GODWIT_CRASH_LOG="+log)
	out, err := cmd.CombinedOutput()
	if killed := cmd.ProcessState.ExitCode() == -1; killed != (point > 0) || point == 0 && err != nil {
		w.t.Errorf("run --now %s, to be killed at point %d: %v\n%s", at, point, err, out)
	}
	w.canaries.Output("the output of a killed run", out)
	return strings.Split(strings.TrimSpace(w.read("points")), "\n")
}

// night is a run that may put something off if it is disturbed. It is not left
// to wait for the next try: the runs that follow make it.
func (w *zimbraWorld) night(at string, disturbed bool) {
	w.t.Helper()
	tryTo(w.t, w.bin.godwit, w.dir, at, disturbed, w.canaries)
}

// try is one run that may end as it likes.
func (w *zimbraWorld) try(at string) (code int, log string) {
	w.t.Helper()
	code, log = untilItWaits(w.t, w.bin.godwit, w.dir, at)
	w.canaries.Output("the output of a run at "+at, []byte(log))
	return code, log
}

func tryTo(t *testing.T, bin, dir, at string, disturbed bool, canaries *canarytest.Watch) {
	t.Helper()
	tries := []string{at}
	if disturbed {
		begin, err := time.Parse(planTime, at)
		if err != nil {
			t.Fatal(err)
		}
		tries = append(tries, begin.Add(20*time.Minute).Format(planTime), begin.Add(time.Hour).Format(planTime))
	}
	for i, at := range tries {
		code, log := untilItWaits(t, bin, dir, at)
		canaries.Output("the output of a run at "+at, []byte(log))
		switch {
		case code == 0:
			return
		case !disturbed && code == 1 && strings.Contains(log, "another mailbox"): // the alias is held
			return
		case code == 4 && disturbed && i < len(tries)-1 && strings.Contains(log, "its switch is not finished"): // it was interrupted
		case !disturbed, code != 1 && code != 130, i == len(tries)-1:
			t.Errorf("run --now %s ended with %d:\n%s", at, code, log)
		}
	}
}

// untilItWaits runs until the end, or until nothing is left but to wait.
func untilItWaits(t *testing.T, bin, dir, at string) (code int, log string) {
	t.Helper()
	cmd := exec.Command(bin, "run", "plan.yaml", "--now", at)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	var text strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "msg=waiting") {
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	_ = cmd.Wait() // its code is what is looked at
	return cmd.ProcessState.ExitCode(), text.String()
}
