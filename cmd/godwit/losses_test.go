package main_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"godwit/stages/canarytest"
	"godwit/stages/mailbox/imaptest"
	"godwit/stages/platform/zimbra/zimbratest"
	"godwit/templates"
)

// kind is what may stand in a mailbox: how it is planted, and what must be said
// of it and become of it.
type kind struct {
	drawer  string // of the loss ledger
	reason  string // code of its sentence, "" for what is kept
	whole   bool   // the row is of the folder, not of a message
	arrives int    // how often its letter is at the target in the end; 0: not at all
	folder  string // at the source
	at      string // at the target, if elsewhere
	body    string // "letter" and "large" are made; "" is an empty message
	flag    string
	date    time.Time
	times   int
	attrs   map[string]string // of the account at the target's admin side
}

var someday = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)

// between two Dovecots, and from Exchange to Zimbra.
var (
	dovecotKinds = map[string]kind{
		"a letter":                     {drawer: "kept", arrives: 1, folder: "INBOX", body: "letter", date: someday},
		"a label":                      {drawer: "kept", arrives: 1, folder: "INBOX", body: "letter", flag: "Work", date: someday},
		"a letter that is there twice": {drawer: "kept", arrives: 2, folder: "INBOX", body: "letter", times: 2, date: someday},
		"an old letter":                {drawer: "kept", arrives: 1, folder: "INBOX", body: "letter", date: time.Date(1985, 1, 2, 3, 4, 5, 0, time.UTC)},
		"a folder in a folder":         {drawer: "kept", arrives: 1, folder: "Kunden/Müller & Söhne", body: "letter", date: someday},
		"a large message":              {drawer: "lost", reason: "too-large", folder: "INBOX", body: "large", date: someday},
		"an excluded folder":           {drawer: "lost", reason: "excluded", whole: true, folder: "Scratch", body: "letter", date: someday},
		"a folder that is renamed":     {drawer: "converted", reason: "folder-renamed", whole: true, arrives: 1, folder: "Envoyés", at: "Outgoing", body: "letter", date: someday},
	}
	exchangeKinds = map[string]kind{
		"a letter":                        {drawer: "kept", arrives: 1, folder: "INBOX", body: "letter", date: someday},
		"a name that Zimbra cannot hold":  {drawer: "converted", reason: "folder-renamed", whole: true, arrives: 1, folder: "A:B", at: "A：B", body: "letter", date: someday},
		"a folder without mail":           {drawer: "lost", reason: "not-mail", whole: true, folder: "Calendar", body: "letter", date: someday},
		"a label that Zimbra cannot hold": {drawer: "converted", reason: "keyword-dropped", whole: true, arrives: 1, folder: "Todo", body: "letter", flag: "to:do", date: someday},
		"a letter of another century":     {drawer: "converted", reason: "altered", arrives: 1, folder: "INBOX", body: "letter", date: time.Date(1960, 1, 2, 3, 4, 5, 0, time.UTC)},
		"a message of nothing":            {drawer: "lost", reason: "refused", folder: "INBOX", date: someday},
		"a shared folder":                 {drawer: "lost", reason: "shared", whole: true, folder: "Other Users/Bob", body: "letter", date: someday},
		"a large message":                 {drawer: "lost", reason: "too-large", folder: "INBOX", body: "large", date: someday},
		"a setting that hurts":            {drawer: "converted", reason: "target-settings", whole: true, attrs: map[string]string{"zimbraMailTrashLifetime": "30d"}},
		"a setting that destroys":         {drawer: "needs a person", reason: "target-settings", whole: true, attrs: map[string]string{"zimbraMailMessageLifetime": "60d"}},
		"a quota":                         {drawer: "needs a person", reason: "over-quota", whole: true, attrs: map[string]string{"zimbraMailQuota": "10"}},
	}
	// Of each service, by the source's platform.
	beyond = map[string]map[string]string{
		"dovecot": {"rules": "lost", "auto-reply": "lost"},
		"exchange": {
			"rules": "lost", "auto-reply": "lost", "signatures": "lost", "contacts": "lost", "calendars": "lost", "delegation": "lost",
			"unconverted": "lost", "invitations": "converted",
		},
	}
)

const (
	lossAccounts = 20 // of each of the two programmes
	lossItems    = 3  // of each account
	largest      = 20_000
)

// item is one planted thing.
type item struct {
	kind
	name    string
	account string
	sum     string // of its letter
	uid     uint32
}

// lossWorld is one programme with what was planted into its mailboxes.
type lossWorld struct {
	*laboratory
	items []item
	put   func(u user, i item, body []byte) uint32
	there func(address string) map[letter]int // at the target, without UIDs and dates
}

// 40 mailboxes with 120 planted items: each stands in its drawer of the loss
// ledger before anybody is told, the announcement counts as the ledger does, and
// in the end no letter that was called lost is at the target, and every other is.
func TestTheLossLedger(t *testing.T) {
	l := newLaboratory(t, 0, "0s", lossUsers("d"))
	t.Run("between two Dovecots", func(t *testing.T) { l.dovecots(t).prove(t, "dovecot", dovecotKinds) })
	t.Run("from Exchange to Zimbra", func(t *testing.T) { l.exchange(t).prove(t, "exchange", exchangeKinds) })
}

func lossUsers(letter string) (users []user) {
	for n := range lossAccounts {
		service := fmt.Sprintf("%s%d.example", letter, n%4)
		users = append(users, user{service, fmt.Sprintf("user%02d@%s", n, service), canarytest.Secret(), "keep"})
	}
	return users
}

// dovecots is the lab's own programme.
func (l *laboratory) dovecots(t *testing.T) *lossWorld {
	own := *l
	own.t = t
	plan := strings.NewReplacer(
		"locale: fr", "locale: en", "source:\n", "source:\n  platform: dovecot\n",
		"copy: {", `copy: {max_message: 20kB, folders: {exclude: ["Scratch"], rename: {"Envoyés": Outgoing}}, `).Replace(own.read("plan.yaml"))
	own.write(filepath.Join(own.dir, "plan.yaml"), plan)
	w := &lossWorld{laboratory: &own}
	w.put = func(u user, i item, body []byte) uint32 { return w.appendTo(w.up.Source.Address, u, i, body) }
	w.there = func(address string) map[letter]int {
		all := map[letter]int{}
		for one := range w.snapshot("target", address) {
			all[letter{Folder: one.Folder, SHA256: one.SHA256}]++
		}
		return all
	}
	return w
}

// appendTo puts a letter into a user's mailbox at a Dovecot.
func (l *laboratory) appendTo(address string, u user, i item, body []byte) uint32 {
	l.t.Helper()
	authority, err := os.ReadFile(l.up.CA)
	if err != nil {
		l.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	c, err := imapclient.DialTLS(address, &imapclient.Options{TLSConfig: &tls.Config{RootCAs: roots}})
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	must := func(err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	must(c.Login(u.address, u.password).Wait())
	if i.folder != "INBOX" {
		_ = c.Create(i.folder, nil).Wait() // it may be there
	}
	options := &imap.AppendOptions{Time: i.date}
	if i.flag != "" {
		options.Flags = []imap.Flag{imap.Flag(i.flag)}
	}
	command := c.Append(i.folder, int64(len(body)), options)
	_, err = command.Write(body)
	must(err)
	must(command.Close())
	data, err := command.Wait()
	must(err)
	return uint32(data.UID)
}

const exchangePlan = `version: 1
name: exchange
timezone: Europe/Paris
source: {platform: exchange, imap: {address: %[1]q, tls: none}}
targets:
  new:
    platform: zimbra
    imap: {address: %[2]q, tls: none}
    admin: {driver: zimbra, url: %[3]q, login: %[4]s, secret: "file:zimbra", ca_file: %[5]q}
promises: {quota: keep}
notices:
  from: "Migration <migration@host.example>"
  smtp: {address: %[6]q, ca_file: %[7]q, login: %[8]q, secret: "file:%[9]s"}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
window: {from: "22:00", until: "05:00"}
copy: {max_message: 20kB}
batches:
  - {name: one, date: 2026-12-02, accounts: one.csv}
`

// exchange is a programme on servers in memory, which the plan calls Exchange and
// Zimbra.
func (l *laboratory) exchange(t *testing.T) *lossWorld {
	own := *l
	own.t, own.dir, own.users = t, t.TempDir(), lossUsers("x")
	w := &lossWorld{laboratory: &own}
	source, target, admin := imaptest.Start(t, imaptest.Full...), imaptest.Start(t, imaptest.Full...), zimbratest.New(t)
	source.Inject(imaptest.Fault{Name: "a namespace of others", On: "NAMESPACE", After: func(m *imaptest.Moment) {
		m.Untagged = []string{"* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) NIL\r\n"}
	}})
	list := "service,account,contact,source_secret,target_secret\n"
	for _, u := range own.users {
		source.Account(u.address).Renew(u.password)
		target.Account(u.address).Renew(u.password)
		admin.Add(u.address, u.password, nil)
		list += fmt.Sprintf("%s,%s,owner-%[1]s@contact.example,%[3]s,%[3]s\n", u.service, u.address, u.password)
	}
	w.write(filepath.Join(w.dir, "zimbra"), admin.AdminPassword)
	w.write(filepath.Join(w.dir, "one.csv"), list)
	w.write(filepath.Join(w.dir, "plan.yaml"), fmt.Sprintf(exchangePlan, source.Address, target.Address, admin.URL, admin.Admin, admin.CAFile,
		w.up.SMTP.Address, w.up.CA, w.up.SMTP.Login, w.up.SMTP.SecretFile))
	w.secrets(filepath.Join(w.dir, "zimbra"))
	t.Cleanup(func() { w.search() })
	w.put = func(u user, i item, body []byte) uint32 {
		for name, value := range i.attrs {
			admin.Set(u.address, name, value)
			return 0
		}
		m := imaptest.Message{Body: body, Date: i.date}
		if i.flag != "" {
			m.Flags = []string{i.flag}
		}
		return source.Account(u.address).Add(i.folder, m)
	}
	w.there = func(address string) map[letter]int {
		all := map[letter]int{}
		for folder, list := range target.Account(address).Contents() {
			for _, m := range list {
				all[letter{Folder: decoded(folder), SHA256: sumOf(m.Body)}]++
			}
		}
		return all
	}
	return w
}

func sumOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// decoded is a folder's name as people read it.
func decoded(wire string) string { return strings.ReplaceAll(wire, "&,xo-", "：") }

// plant spreads the kinds over the mailboxes, each as often as the others.
func (w *lossWorld) plant(kinds map[string]kind) {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	n := 0
	for _, u := range w.users {
		for range lossItems {
			name := names[n%len(names)]
			i := item{kind: kinds[name], name: name, account: u.address}
			n += 3 // and not beside those that are like it
			var body []byte
			switch i.body {
			case "letter", "large":
				body = fmt.Appendf(nil, "From: a@b.example\r\nTo: <%s>\r\nSubject: %d\r\nMessage-ID: <%d@%s>\r\n\r\nletter %[2]d\r\n", u.address, n, n, u.address)
			}
			if i.body == "large" {
				body = append(body, strings.Repeat("0123456789\r\n", largest/10)...)
			}
			if i.attrs == nil {
				i.sum = sumOf(body)
			}
			for range max(i.times, 1) {
				i.uid = w.put(u, i, body)
			}
			w.items = append(w.items, i)
		}
	}
}

// prove runs the programme to its end.
func (w *lossWorld) prove(t *testing.T, platform string, kinds map[string]kind) {
	w.plant(kinds)
	w.godwit("run", "plan.yaml", "--now", "2026-11-25T03:00") // some wait for a person
	told := w.announced()
	rows := map[string][]map[string]string{}
	for _, u := range w.users {
		if rows[u.service] == nil {
			rows[u.service] = w.csv("one/" + u.service + "/losses.csv")
			w.beyond(rows[u.service], u.service, beyond[platform])
			if got := sums(rows[u.service]); got != told[u.service] {
				t.Errorf("%s: the announcement says %v, losses.csv %v (kept, converted, needs a person, lost)", u.service, told[u.service], got)
			}
		}
	}
	for _, i := range w.items {
		w.drawer(rows[i.account[strings.IndexByte(i.account, '@')+1:]], i)
	}

	// What needs a person gets one.
	for _, i := range w.items {
		if i.drawer == "needs a person" {
			for name := range i.attrs {
				w.put(user{address: i.account}, item{kind: kind{attrs: map[string]string{name: ""}}}, nil)
			}
			if out, code := w.godwit("retry", "plan.yaml", "--account", i.account); code != 0 {
				t.Errorf("retry of %s ended with %d:\n%s", i.account, code, out)
			}
		}
	}
	w.run("2026-11-25T04:00")
	w.run("2026-12-01T03:00")
	w.run("2026-12-02T22:30")
	counts := map[string]int{}
	for _, i := range w.items {
		counts[i.name]++
		w.arrived(i)
	}
	for name := range kinds {
		if counts[name] < 3 {
			t.Errorf("only %d of %s", counts[name], name)
		}
	}
	t.Logf("%d mailboxes, %d items: %v; %d more kinds of each service", len(w.users), len(w.items), counts, len(beyond[platform]))
}

// drawer looks for the row of an item; what is kept has none.
func (w *lossWorld) drawer(rows []map[string]string, i item) {
	w.t.Helper()
	var found []map[string]string
	for _, r := range rows {
		switch {
		case r["account"] != i.account || r["outcome"] == "kept" || i.attrs != nil && r["outcome"] != i.drawer: // settings share a sentence
		case i.reason == "":
			if r["folder"] == i.folder && r["uid"] == fmt.Sprint(i.uid) {
				found = append(found, r)
			}
		case r["reason"] == templates.Sentence("en", i.reason) && (i.whole && r["uid"] == "" && r["folder"] == i.folder || !i.whole && r["uid"] == fmt.Sprint(i.uid)):
			found = append(found, r)
		}
	}
	if i.reason == "" && len(found) > 0 || i.reason != "" && (len(found) != 1 || found[0]["outcome"] != i.drawer) {
		w.t.Errorf("%s of %s, %s UID %d, is to be %q, and losses.csv has %v", i.name, i.account, i.folder, i.uid, i.drawer, found)
	}
}

// arrived looks for an item's letter at the target.
func (w *lossWorld) arrived(i item) {
	w.t.Helper()
	if i.sum == "" {
		return
	}
	want := i.at
	if want == "" {
		want = i.folder
	}
	total := 0
	for one, n := range w.there(i.account) {
		if one.SHA256 != i.sum {
			continue
		}
		if total += n; one.Folder != want {
			w.t.Errorf("%s of %s is in %q, not in %q", i.name, i.account, one.Folder, want)
		}
	}
	if total != i.arrives {
		w.t.Errorf("%s of %s, said to be %q, is at the target %d times, want %d", i.name, i.account, i.drawer, total, i.arrives)
	}
}

// beyond looks for what no copy carries: once for a service.
func (w *lossWorld) beyond(rows []map[string]string, service string, want map[string]string) {
	w.t.Helper()
	got := map[string]string{}
	for _, r := range rows {
		if r["account"] == "" {
			if got[r["kind"]] != "" {
				w.t.Errorf("%s: %s is there twice", service, r["kind"])
			}
			got[r["kind"]] = r["outcome"]
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("%s: beyond IMAP: %v, want %v", service, got, want)
	}
}

// sums counts as an announcement does: messages that are kept, lines of the rest.
func sums(rows []map[string]string) (s [4]int) {
	for _, r := range rows {
		switch n := slices.Index([]string{"kept", "converted", "needs a person", "lost"}, r["outcome"]); {
		case n == 0 && r["kind"] == "messages":
			count, _ := strconv.Atoi(r["count"])
			s[0] += count
		case n > 0:
			s[n]++
		}
	}
	return s
}

var toldLosses = []*regexp.Regexp{
	regexp.MustCompile(`Messages that we carry: (\d+)`), regexp.MustCompile(`Carried in another form: (\d+)`),
	regexp.MustCompile(`Looked into by us before the move: (\d+)`), regexp.MustCompile(`Not carried [^:]*: (\d+)`),
}

// announced is what the services were told of losses.
func (w *lossWorld) announced() map[string][4]int {
	w.t.Helper()
	all := map[string][4]int{}
	files, _ := filepath.Glob(filepath.Join(w.up.SMTP.Dir, "*.eml"))
	for _, file := range files {
		m, err := mail.ReadMessage(strings.NewReader(w.readFile(file)))
		if err != nil {
			w.t.Fatal(err)
		}
		text := strings.Join(strings.Fields(plainText(w.t, m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)), " ")
		var s [4]int
		for i, pattern := range toldLosses {
			if found := pattern.FindStringSubmatch(text); found != nil {
				s[i], _ = strconv.Atoi(found[1])
			}
		}
		to := strings.Trim(m.Header.Get("To"), "<>")
		all[strings.TrimSuffix(strings.TrimPrefix(to, "owner-"), "@contact.example")] = s
	}
	return all
}

// plainText is the first text/plain of a mail.
func plainText(t *testing.T, contentType, encoding string, body io.Reader) string {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err != nil {
				return ""
			}
			if text := plainText(t, part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part); text != "" {
				return text
			}
		}
	}
	if kind != "text/plain" {
		return ""
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
