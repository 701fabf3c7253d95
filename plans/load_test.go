package plans_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"godwit/plans"
)

// write makes files below a new folder and returns it. All are 0600, as lists
// with secrets in them must be.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// heap is what is in use after a collection, in bytes.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

const small = `version: 1
name: acme
timezone: Europe/Berlin
source: {imap: {address: "imap.old.example:993"}}
targets:
  new: {imap: {address: "imap.new.example"}}
batches:
  - {name: all, date: 2026-12-05, accounts: accounts.csv}
`

const master = `version: 1
name: acme
source: {imap: {address: "imap.old.example", auth: master, login: m, secret: env:X}}
targets:
  new: {imap: {address: "imap.new.example", auth: authzid, login: m, secret: env:X}}
batches:
  - {name: all, date: 2026-12-05, accounts: accounts.csv}
`

const accounts = `service,account,contact,source_secret,target_secret,x_ref
b.example,bea@b.example,boss@b.example,canary1,canary2,7
a.example,anna@a.example,ann@home.example,canary3,canary4,"8, 9"
b.example,carl@b.example,,canary5,canary6,
`

func TestDefaults(t *testing.T) {
	text := strings.Replace(small, "timezone: Europe/Berlin\n", "", 1)
	plan := good(t, map[string]string{"plan.yaml": text, "accounts.csv": accounts})
	b := plan.Batches[0]
	day := 24 * time.Hour
	for what, pair := range map[string][2]any{
		"zone":           {plan.Timezone.String(), "UTC"},
		"locale":         {plan.Locale, "en"},
		"platform":       {plan.Source.Platform, "imap"},
		"source":         {plan.Source.IMAP.Address, "imap.old.example:993"},
		"target":         {plan.Targets["new"].IMAP.Address, "imap.new.example:993"},
		"tls":            {plan.Source.IMAP.TLS, "implicit"},
		"auth":           {plan.Source.IMAP.Auth, "password"},
		"freeze":         {plan.Source.Freeze.Name, "none"},
		"settle":         {plan.Source.Freeze.Settle, time.Second},
		"admin":          {plan.Targets["new"].Admin.Name, "none"},
		"timeout":        {plan.Targets["new"].Admin.Timeout, 30 * time.Second},
		"default target": {plan.DefaultTarget, "new"},
		"window":         {b.Window, plans.Window{Until: day, MaxInterruption: 30 * time.Minute, Unit: "account"}},
		"copy":           {b.Copy, plans.Copy{Precopy: 3 * day, CatchUp: 3 * day, Accounts: 4, Connections: 2, MaxDelete: 0.1, Verify: "content"}},
		"passwords":      {b.Passwords, plans.Passwords{Mode: "keep", Length: 16, Deliver: "before", ValidFor: 30 * day}},
		"rollback_for":   {plan.RollbackFor, 3 * day},
		"output":         {plan.Output, plans.Output{Dir: "out", Delimiter: ','}},
		"notices":        {len(b.Notices.Send), 0},
		"minimum notice": {len(plan.Promises.MinimumNotice), 0},
		"date":           {b.Date, time.Date(2026, 12, 5, 0, 0, 0, 0, time.UTC)},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestValuesAndOverrides(t *testing.T) {
	plan := good(t, map[string]string{"accounts.csv": accounts, "more.csv": strings.ReplaceAll(accounts, ".example", ".test"), "plan.yaml": `version: 1
name: acme
timezone: Europe/Berlin
source: {imap: {address: "imap.old.example", tls: starttls}}
targets: {new: {imap: {address: "[2001:db8::1]:1993"}, admin: {driver: list}}}
promises: {minimum_notice: {7d: 4d}}
notices:
  from: Migration <m@host.example>
  smtp: {address: smtp.host.example, tls: starttls}
  send:
    - {when: 7d before, to: [contact]}
    - {when: 3d before, to: [contact, user]}
    - {when: 1d before}
    - {when: done}
  links: {guide: "https://host.example/guide", faq: "https://host.example/faq"}
window: {from: 22:00, until: 05:00, days: [mon, sat], max_interruption: 15m}
copy: {rate: 50MB/s, max_message: 1.5MiB, max_delete: 2.5%, folders: {exclude: ["Sync*"], rename: {a: b}}}
passwords: {mode: temporary}
batches:
  - {name: one, date: 2026-12-05, accounts: accounts.csv}
  - name: two
    date: "2026-12-07"
    accounts: more.csv
    window: {until: "06:00", days: [mon]}
    copy: {accounts: 9, folders: {rename: {c: d}}}
    passwords: {mode: keep}
    notices: {links: {faq: "https://host.example/faq2"}, smtp: {tls: implicit}, send: [{when: 2d before, template: remind}]}
`})
	one, two := plan.Batches[0], plan.Batches[1]
	day, hour := 24*time.Hour, time.Hour
	remind := plans.Notice{When: "2d before", Days: 2, To: []string{"contact"}, Template: "remind"}
	for what, pair := range map[string][2]any{
		"port":             {plan.Source.IMAP.Address, "imap.old.example:143"},
		"IPv6":             {plan.Targets["new"].IMAP.Address, "[2001:db8::1]:1993"},
		"minimum notice":   {plan.Promises.MinimumNotice, map[int]time.Duration{7: 4 * day, 3: 36 * hour, 2: day, 1: 12 * hour}},
		"templates":        {[]string{one.Notices.Send[0].Template, one.Notices.Send[1].Template, one.Notices.Send[2].Template, one.Notices.Send[3].Template}, []string{"announce", "remind", "remind", "done"}},
		"days of an event": {one.Notices.Send[3].Days, -1},
		"window":           {one.Window, plans.Window{From: 22 * hour, Until: 5 * hour, Days: []time.Weekday{time.Monday, time.Saturday}, MaxInterruption: 15 * time.Minute, Unit: "account"}},
		"its window":       {two.Window, plans.Window{From: 22 * hour, Until: 6 * hour, Days: []time.Weekday{time.Monday}, MaxInterruption: 15 * time.Minute, Unit: "account"}},
		"rate":             {one.Copy.Rate, int64(50_000_000)},
		"size":             {one.Copy.MaxMessage, int64(3 << 19)},
		"percent":          {one.Copy.MaxDelete, 0.025},
		"rename":           {one.Copy.Rename, map[string]string{"a": "b"}},
		"its rename":       {two.Copy.Rename, map[string]string{"a": "b", "c": "d"}},
		"its exclude":      {two.Copy.Exclude, []string{"Sync*"}},
		"its accounts":     {two.Copy.Accounts, 9},
		"passwords":        {one.Passwords.Mode, "temporary"},
		"its passwords":    {two.Passwords.Mode, "keep"},
		"links":            {one.Notices.Links["faq"], "https://host.example/faq"},
		"its links":        {two.Notices.Links, map[string]string{"guide": "https://host.example/guide", "faq": "https://host.example/faq2"}},
		"relay":            {one.Notices.SMTP.Address, "smtp.host.example:587"},
		"its relay":        {two.Notices.SMTP.Address, "smtp.host.example:465"},
		"its sender":       {two.Notices.From, "Migration <m@host.example>"},
		"its notices":      {two.Notices.Send, []plans.Notice{remind}},
		"date":             {two.Date.Format(time.RFC3339), "2026-12-07T00:00:00+01:00"},
	} {
		if diff := cmp.Diff(pair[1], pair[0]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

func TestMidnightThatDoesNotExist(t *testing.T) {
	// In Egypt clocks go forward at midnight: 2027-04-30 begins at 01:00.
	text := strings.NewReplacer("Europe/Berlin", "Africa/Cairo", "2026-12-05", "2027-04-30").Replace(small)
	plan := good(t, map[string]string{"plan.yaml": text, "accounts.csv": accounts})
	if got := plan.Batches[0].Date.Format(time.RFC3339); got != "2027-04-30T01:00:00+03:00" {
		t.Errorf("the day begins at %s", got)
	}
}

func TestRevision(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	list := strings.NewReplacer("canary", "env:GODWIT_").Replace(accounts)
	t.Chdir(write(t, map[string]string{"plan.yaml": small, "accounts.csv": list}))
	revision := func() string {
		plan, err := plans.Load("plan.yaml")
		if err != nil {
			t.Fatal(err)
		}
		defer plan.Close()
		return plan.Revision
	}
	digest := revision()
	if !regexp.MustCompile(`^sha256:[0-9a-f]{12}$`).MatchString(digest) {
		t.Errorf("outside of git: %q", digest)
	}
	commit(t)
	clean := revision()
	if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(clean) {
		t.Errorf("in a clean work tree: %q", clean)
	}
	if err := os.WriteFile("accounts.csv", []byte(list+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if dirty := revision(); dirty != clean+"+dirty" {
		t.Errorf("with a changed list: %q; want %s+dirty", dirty, clean)
	}
	if err := os.RemoveAll(".git"); err != nil {
		t.Fatal(err)
	}
	if again := revision(); again == digest {
		t.Errorf("the digest is still %s with a changed list", again)
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(small)
	for _, pattern := range []string{"testdata/bad/*.yaml", "examples/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	dir := write(f, map[string]string{"accounts.csv": accounts})
	f.Fuzz(func(t *testing.T, text string) { loadAnything(t, dir, "plan.yaml", text) })
}

func FuzzList(f *testing.F) {
	f.Add(accounts)
	f.Add("\ufeffservice;account\r\na;\"b@c\"\r\n")
	f.Add("service\taccount\txn--\n\t\"\n")
	dir := write(f, map[string]string{"plan.yaml": master})
	f.Fuzz(func(t *testing.T, text string) { loadAnything(t, dir, "accounts.csv", text) })
}

// loadAnything must neither panic nor return a plan whose rows cannot be read.
func loadAnything(t *testing.T, dir, name, text string) {
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plan, err := plans.Load(filepath.Join(dir, "plan.yaml"))
	if err != nil {
		return
	}
	defer plan.Close()
	for _, b := range plan.Batches {
		n := 0
		for s := range b.Services() {
			n += len(s.Accounts)
		}
		if n != b.Len() || n == 0 {
			t.Errorf("batch %s yields %d accounts of %d", b.Name, n, b.Len())
		}
	}
}
