package stages_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"log/slog"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/sqlite"
	"godwit/plans"
	"godwit/stages"
	"godwit/stages/demohost"
	"godwit/stages/mailbox"
	"godwit/stages/mailer"
	"godwit/stages/platform"
	"godwit/stages/vault"
	"godwit/templates"
)

// TestMain is also the program that plans name as their driver: the test binary
// with the word demo-hook (see demohost.Hook).
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "demo-hook" {
		os.Exit(demohost.Hook(context.Background(), os.Args[2], os.Stdin, os.Stdout))
	}
	goleak.VerifyTestMain(m)
}

const (
	anna = "anna@acme.example"
	ben  = "ben@acme.example"
	zoe  = "zoe@zeta.example"

	acme = "acme.example"
	zeta = "zeta.example"
)

const planText = `version: 1
name: spring
timezone: Europe/Paris
source:
  imap: {address: "SOURCE", ca_file: ca.pem, auth: authzid, login: migrator, secret: "file:secrets/imap"}
  freeze: {driver: exec, command: [FREEZE]}
targets:
  new:
    imap: {address: "TARGET", ca_file: ca.pem, auth: authzid, login: migrator, secret: "file:secrets/imap"}
    admin: {driver: exec, command: [/bin/true]}
    webmail: "https://webmail.new.example"
notices:
  from: "Migration <migration@host.example>"
  smtp: {address: "RELAY", ca_file: ca.pem, login: migration, secret: "file:secrets/smtp"}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00"}
passwords: {mode: temporary}
output: {dir: out}
batches:
  - {name: one, date: 2026-12-02, accounts: list.csv}
`

const listText = `service,account,contact,name,locale,action,reason,passwords,source_secret,target_secret,x_ref
acme.example,anna@acme.example,it@contact.example,Anna,en,,,,old-anna,,A-1
acme.example,ben@acme.example,it@contact.example,Ben,en,,,,old-ben,,A-2
zeta.example,zoe@zeta.example,zoe@contact.example,Zoé,fr,,,,old-zoe,,Z-1
`

// hoster is a pretend hoster with a plan, a ledger and an output folder, wired
// as cmd/godwit does it, but for the admin side, which is called directly.
type hoster struct {
	*demohost.Host
	arrived int // messages at the target, which a rollback may bring home
	t       *testing.T
	dir     string
	clock   pipeline.Clock
	plan    *plans.Plan
	ledger  *sqlite.Store
	vault   *vault.Vault
	output  *os.Root
	log     logged
	freezer platform.Freezer // of the source
	admin   platform.Admin   // of the target; nil: the plan has none
	servers stages.Servers
	clients *stages.Clients
	sender  *mailer.Sender
}

// newHoster has three accounts of two services at the source, without mail.
// edits are pairs: this text of plan or list is replaced by that.
func newHoster(t *testing.T, edits ...string) *hoster {
	t.Helper()
	t.Parallel() // most of a run is waiting
	dir := t.TempDir()
	var h *hoster
	host, err := demohost.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		host.Close()
		if n := host.MutationCount(); n > h.arrived {
			t.Errorf("%d commands would have changed the source", n)
		}
	})
	h = &hoster{Host: host, t: t, dir: dir, freezer: demohost.Platform{Host: host}, admin: demohost.Platform{Host: host}}
	for _, address := range []string{anna, ben, zoe} {
		h.AddAccount(demohost.Source, address, "old-"+address[:strings.IndexByte(address, '@')])
	}
	h.put("secrets/imap", h.Migrator().Secret)
	h.put("secrets/smtp", h.Migrator().SMTPSecret)
	h.put("plan.yaml", strings.NewReplacer("SOURCE", h.SourceAddress, "TARGET", h.TargetAddress, "RELAY", h.SMTPAddress).Replace(planText))
	h.put("list.csv", listText)
	h.edit(append(edits, "FREEZE", "/bin/true")...)
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	if h.ledger, err = sqlite.Open(t.Context(), filepath.Join(dir, "out", "spring.ledger"), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.ledger.Close() })
	if h.output, err = os.OpenRoot(filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.output.Close() })
	if h.vault, err = vault.Open(filepath.Join(dir, "out"), "spring", ""); err != nil {
		t.Fatal(err)
	}
	h.at("2026-12-02 22:05")
	return h
}

func (h *hoster) put(name, text string) {
	h.t.Helper()
	file := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hoster) get(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// edit changes plan and list, and reads them again. What is already gone (a
// placeholder another edit replaced) is an error only for a test's own edits.
func (h *hoster) edit(edits ...string) {
	h.t.Helper()
	for i := 0; i < len(edits); i += 2 {
		found := edits[i] == "FREEZE"
		for _, name := range []string{"plan.yaml", "list.csv"} {
			text := h.get(name)
			found = found || strings.Contains(text, edits[i])
			h.put(name, strings.ReplaceAll(text, edits[i], edits[i+1]))
		}
		if !found {
			h.t.Fatalf("neither plan nor list has %q", edits[i])
		}
	}
	p, err := plans.Load(filepath.Join(h.dir, "plan.yaml"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { p.Root.Close() })
	h.wire(p)
}

func (h *hoster) wire(p *plans.Plan) {
	h.plan = p
	h.clients = &stages.Clients{Plan: p, Now: func() time.Time { return h.clock.Now() }}
	p.Source.Freeze.Settle = 50 * time.Millisecond // less than a plan may say: tests wait for it
	h.servers = stages.Servers{Source: server(p.Source.IMAP), Targets: map[string]*mailbox.Server{}}
	h.servers.Source.Platform = p.Source.Platform
	for name, target := range p.Targets {
		h.servers.Targets[name] = server(target.IMAP)
	}
	smtp := p.Notices.SMTP
	sender := &mailer.Sender{Server: mailer.Server{Address: smtp.Address, TLS: smtp.TLS, CAFile: smtp.CAFile, Login: smtp.Login, Secret: smtp.Secret.Open}}
	h.sender = sender
	h.t.Cleanup(func() { sender.Close() })
}

func server(imap plans.IMAP) *mailbox.Server {
	s := &mailbox.Server{Address: imap.Address, TLS: imap.TLS, CAFile: imap.CAFile, Auth: imap.Auth, Login: imap.Login}
	if !imap.Secret.IsZero() {
		s.Secret = imap.Secret.Open
	}
	return s
}

// at sets the clock, in Paris.
func (h *hoster) at(text string) time.Time {
	h.t.Helper()
	at, err := time.ParseInLocation("2006-01-02 15:04", text, h.plan.Timezone)
	if err != nil {
		h.t.Fatal(err)
	}
	h.clock = pipeline.Starting(at)
	return at
}

func (h *hoster) admins() map[string]platform.Admin {
	if h.admin == nil {
		return nil
	}
	return map[string]platform.Admin{"new": h.admin}
}

func (h *hoster) open(ledger.Thaw) (platform.Freezer, error) { return h.freezer, nil }

func (h *hoster) driver() ledger.Thaw {
	f := h.plan.Source.Freeze
	return ledger.Thaw{Driver: f.Name, Command: f.Command, Dir: h.plan.Dir, Timeout: f.Timeout}
}

func (h *hoster) validate() stages.Validate {
	return stages.Validate{Plan: h.plan, Servers: h.servers, Admins: h.admins(), Driver: h.driver(), Open: h.open, Clients: h.clients, Now: h.clock.Now, Sender: func(*plans.Batch) *mailer.Sender { return h.sender }}
}

func (h *hoster) notify() stages.Notify {
	set, err := templates.Load(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return stages.Notify{
		Plan: h.plan, Now: h.clock.Now,
		Sender:    func(*plans.Batch) *mailer.Sender { return h.sender },
		Templates: func(*plans.Batch) *templates.Set { return set },
	}
}

func (h *hoster) freeze() stages.Freeze {
	return stages.Freeze{Plan: h.plan, Servers: h.servers, Driver: h.driver(), Open: h.open, Vault: h.vault, Now: h.clock.Now}
}

func (h *hoster) copying() stages.Copy {
	return stages.Copy{Plan: h.plan, Servers: h.servers, Admins: h.admins(), Vault: h.vault, Clients: h.clients, Now: h.clock.Now}
}

func (h *hoster) credentials() stages.Credentials {
	return stages.Credentials{Plan: h.plan, Servers: h.servers, Admins: h.admins(), Open: h.open, Vault: h.vault, Clients: h.clients, Now: h.clock.Now}
}

func (h *hoster) report() stages.Report {
	return stages.Report{Plan: h.plan, Ledger: h.ledger, Output: h.output, Vault: h.vault}
}

func (h *hoster) stages() []pipeline.Stage {
	return stages.All(h.validate(), h.notify(), h.freeze(), h.copying(), h.credentials(), h.report())
}

// run is one run that begins at a time in Paris.
func (h *hoster) run(at string) pipeline.Tally {
	h.t.Helper()
	h.at(at)
	r := pipeline.Runner{Plan: h.plan, Ledger: h.ledger, Stages: h.stages(), Clock: h.clock, Log: slog.New(slog.NewTextHandler(&h.log, nil))}
	tally, err := r.Run(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return tally
}

// untilTheNight has everybody told and copied, as far as can be.
func (h *hoster) untilTheNight() {
	h.t.Helper()
	h.run("2026-11-25 03:00")
	h.run("2026-12-01 03:00")
}

func (h *hoster) retry(service string) {
	h.t.Helper()
	n, err := pipeline.Retry(h.t.Context(), h.ledger, h.clock, []string{"one"}, func(k ledger.Key) bool { return k.Service == service })
	if err != nil || n == 0 {
		h.t.Fatalf("retry: %d rows, %v", n, err)
	}
}

// task is for an account or for a service, whichever subject names.
func (h *hoster) task(stage string, step pipeline.Step, subject string) pipeline.Task {
	h.t.Helper()
	b := h.plan.Batches[0]
	for s := range b.Services() {
		task := pipeline.Task{Stage: stage, Step: step, Batch: b, Service: s, Night: pipeline.NightOf(b, b.Date)}
		if s.Name == subject {
			return task
		}
		for _, a := range s.Accounts {
			if a.Address == subject {
				task.Account = a
				return task
			}
		}
	}
	h.t.Fatalf("the list has no %s", subject)
	return pipeline.Task{}
}

// do runs one task of one stage to its answer.
func (h *hoster) do(stage pipeline.Stage, step pipeline.Step, subject string) pipeline.Result {
	h.t.Helper()
	task := h.task(stage.Name(), step, subject)
	result, err := stage.Run(h.t.Context(), task, h.journal(task.Key()))
	if err != nil {
		h.t.Fatalf("%s: %v", task, err)
	}
	return result
}

// outcome is do for those who must come to this end.
func (h *hoster) outcome(want pipeline.Outcome, stage pipeline.Stage, step pipeline.Step, subject string) pipeline.Result {
	h.t.Helper()
	result := h.do(stage, step, subject)
	if result.Outcome != want {
		h.t.Fatalf("%s %s %s: got %s: %s %s; want %s", stage.Name(), step, subject, result.Outcome, result.Reason, result.Text, want)
	}
	return result
}

func (h *hoster) key(subject string) ledger.Key {
	h.t.Helper()
	return h.task("", "", subject).Key()
}

func (h *hoster) state(subject string) ledger.State {
	h.t.Helper()
	return h.journal(h.key(subject)).State()
}

// set changes a row as another stage would have.
func (h *hoster) set(subject string, change func(*ledger.State)) {
	h.t.Helper()
	if err := h.journal(h.key(subject)).End(h.t.Context(), "set by the test", ledger.Note, "", change); err != nil {
		h.t.Fatal(err)
	}
}

// history is all that the ledger says in words.
func (h *hoster) history() string {
	h.t.Helper()
	var b strings.Builder
	for e, err := range h.ledger.Entries(h.t.Context(), ledger.Key{Batch: "one"}) {
		if err != nil {
			h.t.Fatal(err)
		}
		fmt.Fprintln(&b, e.Key.Service, e.Key.Account, e.Stage, e.Effect, e.Mark, e.Text)
	}
	return b.String()
}

// password is the account's temporary one, "" if none was made.
func (h *hoster) password(address string) string {
	h.t.Helper()
	sealed, err := h.ledger.Kept(h.t.Context(), h.key(address), "password")
	if err != nil {
		h.t.Fatal(err)
	}
	if sealed == nil {
		return ""
	}
	password, err := h.vault.Reveal("one", address, sealed)
	if err != nil {
		h.t.Fatal(err)
	}
	return password
}

// letter puts a mail into a source mailbox, whatever its state.
func (h *hoster) letter(address, folder, title string) {
	h.t.Helper()
	if err := h.Put(demohost.Source, address, letter(folder, title)); err != nil {
		h.t.Fatal(err)
	}
}

func letter(folder, title string) demohost.Message {
	body := fmt.Sprintf("From: Ada <ada@elsewhere.example>\r\nSubject: %s\r\nMessage-ID: <%s@elsewhere.example>\r\nDate: Tue, 01 Dec 2026 10:00:00 +0100\r\n\r\nThis is %s.\r\n",
		title, strings.ReplaceAll(title, " ", "-"), title)
	return demohost.Message{Folder: folder, Body: []byte(body), Date: time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)}
}

// mailbox shows a mailbox, a message a line: folder, subject, flags.
func (h *hoster) mailbox(side demohost.Side, address string) string {
	h.t.Helper()
	all, err := h.Mailbox(side, address)
	if err != nil {
		h.t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintln(&b, m.Folder, header(h.t, m.Body).Get("Subject"), strings.Join(m.Flags, " "))
	}
	return b.String()
}

// uid finds a source message by its subject.
func (h *hoster) uid(address, folder, title string) uint32 {
	h.t.Helper()
	all, err := h.Mailbox(demohost.Source, address)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, m := range all {
		if m.Folder == folder && header(h.t, m.Body).Get("Subject") == title {
			return m.UID
		}
	}
	h.t.Fatalf("%s has no %q in %s", address, title, folder)
	return 0
}

func header(t *testing.T, data []byte) mail.Header {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header
}

// to lists the recipients of the mails that were sent, oldest first.
func (h *hoster) to() []string {
	list := []string{}
	for _, m := range h.Mails() {
		list = append(list, m.To)
	}
	return list
}

// sheet reads a CSV file of the output: the header's names of each row.
func (h *hoster) sheet(name string) []map[string]string {
	h.t.Helper()
	records, err := csv.NewReader(strings.NewReader(h.get("out/" + name))).ReadAll()
	if err != nil || len(records) == 0 {
		h.t.Fatalf("%s: %d rows, %v", name, len(records), err)
	}
	rows := []map[string]string{}
	for _, record := range records[1:] {
		row := map[string]string{}
		for i, column := range records[0] {
			row[column] = record[i]
		}
		rows = append(rows, row)
	}
	return rows
}

// logged is a log that many may write.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// thawRequest is what a person's own tools would ask of the platform for anna.
func (h *hoster) thawRequest() platform.Request {
	return platform.Request{Account: anna, TargetAccount: anna, Rollback: true}
}
