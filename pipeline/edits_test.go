package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
)

// locked is the programme that the edits below are made to: announced on the
// 9th, reminded on the 15th, moved in the night of the 16th.
const locked = `version: 1
name: spring
timezone: Europe/Paris
source: {region: FR, imap: {address: "imap.old.example:993"}, freeze: {driver: exec, command: ["/bin/true"]}}
targets:
  new: {region: FR, imap: {address: "imap.new.example:993"}, admin: {driver: list}}
  pro: {region: FR, imap: {address: "imap.pro.example:993"}}
default_target: new
promises: {residency: [FR]}
notices:
  from: "M <m@host.example>"
  smtp: {address: "smtp.host.example:587", tls: starttls, region: FR}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00", max_interruption: 20m}
batches:
  - {name: one, date: 2026-12-16, accounts: list.csv}
`

const rows = `service,account,action,contact,passwords,target,target_account,source_secret,target_secret
acme,anna@acme.example,migrate,it@contact.example,keep,new,anna@acme.example,env:GODWIT_X,env:GODWIT_X
acme,ben@acme.example,migrate,it@contact.example,keep,,,env:GODWIT_X,env:GODWIT_X
`

// edit is one change to the programme, and what it must mean: before the first
// notice; between the notices with time enough and too late; after the last one
// with time enough (the date moves as well, unless after says when) and too late;
// during the cutover.
type edit struct {
	text [2]string // of the plan
	list [2]string // of the list
	set  func(*plans.Plan)
	was  func(*ledger.Promise) // the promise was another one
	anew bool                  // another ledger
	want [6]string
	at   [5]string // other times to look than usual
}

var (
	free   = [6]string{"harmless", "harmless", "harmless", "harmless", "harmless", "harmless"}
	fresh  = [6]string{"harmless", "send", "held", "send", "held", "held"}
	again  = [6]string{"harmless", "announce again", "held", "announce again", "held", "harmless"}
	usual  = [5]string{"2026-12-08 12:00", "2026-12-09 01:00", "2026-12-13 12:00", "2026-12-15 01:00", "2026-12-15 12:00"}
	b      = func(p *plans.Plan) *plans.Batch { return p.Batches[0] }
	source = func(set func(*plans.IMAP)) func(*plans.Plan) { return func(p *plans.Plan) { set(&p.Source.IMAP) } }
	target = func(set func(*plans.IMAP)) func(*plans.Plan) {
		return func(p *plans.Plan) { set(&p.Targets["new"].IMAP) }
	}
	freeze = func(set func(*plans.Driver)) func(*plans.Plan) { return func(p *plans.Plan) { set(&p.Source.Freeze) } }
	admin  = func(set func(*plans.Driver)) func(*plans.Plan) {
		return func(p *plans.Plan) { set(&p.Targets["new"].Admin) }
	}
)

// edits is written without looking at pipeline.Edits. A key may have several.
var edits = map[string][]edit{
	"version":      {{set: func(p *plans.Plan) { p.Version = 2 }, want: free}},
	"name":         {{anew: true, set: func(p *plans.Plan) { p.Name = "summer" }, want: fresh}},
	"timezone":     {{text: [2]string{"Europe/Paris", "Europe/Lisbon"}, want: again}},
	"locale":       {{text: [2]string{"timezone:", "locale: fr\ntimezone:"}, want: free}},
	"rollback_for": {{set: func(p *plans.Plan) { p.RollbackFor = time.Hour }, want: free}},
	"ledger":       {{anew: true, set: func(p *plans.Plan) { p.Ledger = "env:X" }, want: fresh}},

	"domains": {{text: [2]string{"promises:", "domains: {acme: [acme.example]}\npromises:"}, want: free}},

	"source":          {{set: func(p *plans.Plan) { p.Source = plans.Source{} }, want: free}},
	"source.platform": {{set: func(p *plans.Plan) { p.Source.Platform = "dovecot" }, want: free}},
	"source.region":   {{set: func(p *plans.Plan) { p.Source.Region = "DE" }, want: free}},
	"source.imap":     {{set: source(func(i *plans.IMAP) { *i = plans.IMAP{} }), want: free}},

	"source.imap.address":         {{set: source(func(i *plans.IMAP) { i.Address = "x:993" }), want: free}},
	"source.imap.tls":             {{set: source(func(i *plans.IMAP) { i.TLS = "none" }), want: free}},
	"source.imap.ca_file":         {{set: source(func(i *plans.IMAP) { i.CAFile = "/ca" }), want: free}},
	"source.imap.auth":            {{set: source(func(i *plans.IMAP) { i.Auth = "master" }), want: free}},
	"source.imap.login":           {{set: source(func(i *plans.IMAP) { i.Login = "root" }), want: free}},
	"source.imap.secret":          {{set: source(func(i *plans.IMAP) { i.Secret = plans.Secret{} }), want: free}},
	"source.imap.master_format":   {{set: source(func(i *plans.IMAP) { i.MasterFormat = "x" }), want: free}},
	"source.imap.max_connections": {{set: source(func(i *plans.IMAP) { i.MaxConnections = 1 }), want: free}},

	"source.freeze":               {{set: freeze(func(d *plans.Driver) { *d = plans.Driver{} }), want: free}},
	"source.freeze.driver":        {{set: freeze(func(d *plans.Driver) { d.Name = "none" }), want: free}},
	"source.freeze.command":       {{set: freeze(func(d *plans.Driver) { d.Command = nil }), want: free}},
	"source.freeze.timeout":       {{set: freeze(func(d *plans.Driver) { d.Timeout = time.Second }), want: free}},
	"source.freeze.settle":        {{set: freeze(func(d *plans.Driver) { d.Settle = time.Minute }), want: free}},
	"source.freeze.url":           {{set: freeze(func(d *plans.Driver) { d.URL = "https://x" }), want: free}},
	"source.freeze.login":         {{set: freeze(func(d *plans.Driver) { d.Login = "x" }), want: free}},
	"source.freeze.secret":        {{set: freeze(func(d *plans.Driver) { d.Secret = plans.Secret{} }), want: free}},
	"source.freeze.ca_file":       {{set: freeze(func(d *plans.Driver) { d.CAFile = "/ca" }), want: free}},
	"source.freeze.deny_file":     {{set: freeze(func(d *plans.Driver) { d.DenyFile = "/deny" }), want: free}},
	"source.freeze.transport_map": {{set: freeze(func(d *plans.Driver) { d.TransportMap = "/map" }), want: free}},
	"source.freeze.postmap":       {{set: freeze(func(d *plans.Driver) { d.Postmap = []string{"/x"} }), want: free}},
	"source.freeze.route":         {{set: freeze(func(d *plans.Driver) { d.Route = "smtp:[x]" }), want: free}},

	"targets":                           {{text: [2]string{"  pro:", "  other:"}, want: free}},
	"targets.NAME.platform":             {{set: func(p *plans.Plan) { p.Targets["new"].Platform = "cyrus" }, want: free}},
	"targets.NAME.region":               {{set: func(p *plans.Plan) { p.Targets["new"].Region = "DE" }, want: free}},
	"targets.NAME.imap":                 {{set: target(func(i *plans.IMAP) { *i = plans.IMAP{} }), want: free}},
	"targets.NAME.imap.address":         {{set: target(func(i *plans.IMAP) { i.Address = "x:993" }), want: free}},
	"targets.NAME.imap.tls":             {{set: target(func(i *plans.IMAP) { i.TLS = "none" }), want: free}},
	"targets.NAME.imap.ca_file":         {{set: target(func(i *plans.IMAP) { i.CAFile = "/ca" }), want: free}},
	"targets.NAME.imap.auth":            {{set: target(func(i *plans.IMAP) { i.Auth = "authzid" }), want: free}},
	"targets.NAME.imap.login":           {{set: target(func(i *plans.IMAP) { i.Login = "root" }), want: free}},
	"targets.NAME.imap.secret":          {{set: target(func(i *plans.IMAP) { i.Secret = plans.Secret{} }), want: free}},
	"targets.NAME.imap.master_format":   {{set: target(func(i *plans.IMAP) { i.MasterFormat = "x" }), want: free}},
	"targets.NAME.imap.max_connections": {{set: target(func(i *plans.IMAP) { i.MaxConnections = 1 }), want: free}},
	"targets.NAME.admin":                {{set: admin(func(d *plans.Driver) { *d = plans.Driver{} }), want: free}},
	"targets.NAME.admin.driver":         {{set: admin(func(d *plans.Driver) { d.Name = "exec" }), want: free}},
	"targets.NAME.admin.command":        {{set: admin(func(d *plans.Driver) { d.Command = []string{"/x"} }), want: free}},
	"targets.NAME.admin.timeout":        {{set: admin(func(d *plans.Driver) { d.Timeout = time.Second }), want: free}},
	"targets.NAME.admin.url":            {{set: admin(func(d *plans.Driver) { d.URL = "https://x" }), want: free}},
	"targets.NAME.admin.login":          {{set: admin(func(d *plans.Driver) { d.Login = "x" }), want: free}},
	"targets.NAME.admin.secret":         {{set: admin(func(d *plans.Driver) { d.Secret = plans.Secret{} }), want: free}},
	"targets.NAME.admin.ca_file":        {{set: admin(func(d *plans.Driver) { d.CAFile = "/ca" }), want: free}},
	"targets.NAME.admin.cos":            {{set: admin(func(d *plans.Driver) { d.COS = "x" }), want: free}},
	"targets.NAME.admin.create":         {{set: admin(func(d *plans.Driver) { d.Create = true }), want: free}},
	"targets.NAME.webmail":              {{set: func(p *plans.Plan) { p.Targets["new"].Webmail = "https://x" }, want: free}},
	"targets.NAME.clients":              {{set: func(p *plans.Plan) { p.Targets["new"].Clients = []string{"x:993"} }, want: free}},
	"default_target":                    {{text: [2]string{"default_target: new", "default_target: pro"}, want: again}},

	"promises": {{set: func(p *plans.Plan) { p.Promises.Quota = "keep" }, want: free}},
	"promises.residency": {
		{set: func(p *plans.Plan) { p.Promises.Residency = []string{"FR", "US"} }, want: again},
		{set: func(p *plans.Plan) { p.Promises.Residency = nil }, want: again},
	},
	"promises.quota":          {{set: func(p *plans.Plan) { p.Promises.Quota = "keep" }, want: free}},
	"promises.minimum_notice": {{set: func(p *plans.Plan) { p.Promises.MinimumNotice[7] = 6 * 24 * time.Hour }, want: free}},

	"notices":              {{set: func(p *plans.Plan) { b(p).Notices.From = "N <n@host.example>" }, want: free}},
	"notices.from":         {{set: func(p *plans.Plan) { b(p).Notices.From = "N <n@host.example>" }, want: free}},
	"notices.smtp":         {{set: func(p *plans.Plan) { b(p).Notices.SMTP = plans.SMTP{} }, want: free}},
	"notices.smtp.address": {{set: func(p *plans.Plan) { b(p).Notices.SMTP.Address = "x:25" }, want: free}},
	"notices.smtp.tls":     {{set: func(p *plans.Plan) { b(p).Notices.SMTP.TLS = "none" }, want: free}},
	"notices.smtp.ca_file": {{set: func(p *plans.Plan) { b(p).Notices.SMTP.CAFile = "/ca" }, want: free}},
	"notices.smtp.login":   {{set: func(p *plans.Plan) { b(p).Notices.SMTP.Login = "x" }, want: free}},
	"notices.smtp.secret":  {{set: func(p *plans.Plan) { b(p).Notices.SMTP.Secret = plans.Secret{} }, want: free}},
	"notices.smtp.region":  {{set: func(p *plans.Plan) { b(p).Notices.SMTP.Region = "DE" }, want: free}},
	"notices.send": {
		{ // one more
			text: [2]string{"    - {when: done", "    - {when: 3d before}\n    - {when: done"},
			want: [6]string{"harmless", "send", "held", "send", "held", "harmless"},
			at:   [5]string{1: "2026-12-13 01:00", 2: "2026-12-15 13:00", 3: "2026-12-15 02:00", 4: "2026-12-15 13:00"},
		},
		{text: [2]string{"    - {when: 7d before, to: [contact], template: announce}\n", ""}, want: free},
	},
	"notices.send[].when": {{
		text: [2]string{"1d before", "2d before"},
		want: [6]string{"harmless", "send", "held", "send", "held", "harmless"},
		at:   [5]string{1: "2026-12-14 01:00", 2: "2026-12-16 01:00", 3: "2026-12-15 02:00", 4: "2026-12-16 01:00"},
	}},
	"notices.send[].to": {{ // the users, too
		text: [2]string{"{when: 7d before, to: [contact]", "{when: 7d before, to: [contact, user]"},
		want: [6]string{"harmless", "send", "held", "", "held", "harmless"},
	}},
	"notices.send[].template": {{text: [2]string{"template: remind", "template: announce"}, want: free}},
	"notices.links":           {{set: func(p *plans.Plan) { b(p).Notices.Links = map[string]string{"faq": "https://x"} }, want: free}},
	"notices.templates":       {{set: func(p *plans.Plan) { b(p).Notices.Templates = "x" }, want: free}},

	"window":       {{set: func(p *plans.Plan) { b(p).Window.Unit = "service" }, want: free}},
	"window.from":  {{text: [2]string{`from: "22:00"`, `from: "21:00"`}, want: again}},
	"window.until": {{text: [2]string{`until: "05:00"`, `until: "06:00"`}, want: again}},
	"window.days":  {{text: [2]string{`until: "05:00"`, `until: "05:00", days: [wed]`}, want: free}},
	"window.max_interruption": {
		{text: [2]string{"max_interruption: 20m", "max_interruption: 21m"}, want: again},
		{text: [2]string{"max_interruption: 20m", "max_interruption: 19m"}, want: free},
	},
	"window.unit": {{text: [2]string{`until: "05:00"`, `until: "05:00", unit: service`}, want: free}},

	"copy":                 {{set: func(p *plans.Plan) { b(p).Copy.Precopy = 2 * 24 * time.Hour }, want: free}},
	"copy.precopy":         {{set: func(p *plans.Plan) { b(p).Copy.Precopy = 2 * 24 * time.Hour }, want: free}},
	"copy.catch_up":        {{set: func(p *plans.Plan) { b(p).Copy.CatchUp = time.Hour }, want: free}},
	"copy.accounts":        {{set: func(p *plans.Plan) { b(p).Copy.Accounts = 1 }, want: free}},
	"copy.connections":     {{set: func(p *plans.Plan) { b(p).Copy.Connections = 1 }, want: free}},
	"copy.rate":            {{set: func(p *plans.Plan) { b(p).Copy.Rate = 1 }, want: free}},
	"copy.max_message":     {{set: func(p *plans.Plan) { b(p).Copy.MaxMessage = 1 }, want: free}},
	"copy.max_delete":      {{set: func(p *plans.Plan) { b(p).Copy.MaxDelete = 1 }, want: free}},
	"copy.folders.exclude": {{set: func(p *plans.Plan) { b(p).Copy.Exclude = []string{"x"} }, want: free}},
	"copy.folders.rename":  {{set: func(p *plans.Plan) { b(p).Copy.Rename = map[string]string{"x": "y"} }, want: free}},
	"copy.verify":          {{set: func(p *plans.Plan) { b(p).Copy.Verify = "headers" }, want: free}},

	"passwords": {{set: func(p *plans.Plan) { b(p).Passwords.Length = 20 }, want: free}},
	"passwords.mode": {{ // of those whose row says nothing
		list: [2]string{"keep,new,anna", ",new,anna"}, set: func(p *plans.Plan) { b(p).Passwords.Mode = "temporary" }, want: again,
	}},
	"passwords.deliver": {
		{ // the list before the move, now after it
			list: [2]string{"keep,new,anna", "temporary,new,anna"}, set: func(p *plans.Plan) { b(p).Passwords.Deliver = "after" },
			was: func(p *ledger.Promise) { p.Temporary, p.Deliver = true, "before" }, want: again,
		},
		{set: func(p *plans.Plan) { b(p).Passwords.Deliver = "after" }, want: free}, // nobody gets one
	},
	"passwords.length":     {{set: func(p *plans.Plan) { b(p).Passwords.Length = 20 }, want: free}},
	"passwords.valid_for":  {{set: func(p *plans.Plan) { b(p).Passwords.ValidFor = time.Hour }, want: free}},
	"passwords.encrypt_to": {{set: func(p *plans.Plan) { b(p).Passwords.EncryptTo = []string{"age1x"} }, want: free}},

	"output":               {{set: func(p *plans.Plan) { p.Output.BOM = true }, want: free}},
	"output.dir":           {{anew: true, set: func(p *plans.Plan) { p.Output.Dir = "x" }, want: fresh}},
	"output.csv.delimiter": {{set: func(p *plans.Plan) { p.Output.Delimiter = ';' }, want: free}},
	"output.csv.bom":       {{set: func(p *plans.Plan) { p.Output.BOM = true }, want: free}},
	"output.metrics":       {{set: func(p *plans.Plan) { p.Output.Metrics = "x" }, want: free}},

	"batches":        {{text: [2]string{"batches:", "batches:\n  - {name: two, date: 2026-12-17, accounts: other.csv}"}, want: free}},
	"batches[].name": {{set: func(p *plans.Plan) { b(p).Name = "uno" }, want: free}},
	"batches[].date": {
		{text: [2]string{"2026-12-16", "2026-12-17"}, want: again},
		{text: [2]string{"2026-12-16", "2026-12-15"}, want: [6]string{"harmless", "announce again", "held", "", "held", "harmless"}},
	},
	"batches[].accounts":     {{set: func(p *plans.Plan) { b(p).Accounts = "x.csv" }, want: free}},
	"batches[].hold":         {{set: func(p *plans.Plan) { b(p).Hold = true }, want: [6]string{"held", "held", "held", "", "held", "harmless"}}},
	"batches[].short_notice": {{set: func(p *plans.Plan) { b(p).ShortNotice = true }, want: free}},
	"batches[].window":       {{set: func(p *plans.Plan) { b(p).Window.Unit = "service" }, want: free}},
	"batches[].copy":         {{set: func(p *plans.Plan) { b(p).Copy.Rate = 1 }, want: free}},
	"batches[].passwords":    {{set: func(p *plans.Plan) { b(p).Passwords.Length = 20 }, want: free}},
	"batches[].notices":      {{set: func(p *plans.Plan) { b(p).Notices.Links = nil }, want: free}},

	"list.service": {{list: [2]string{"acme,anna", "other,anna"}, want: fresh}},
	"list.account": {{list: [2]string{"acme,anna@acme.example,migrate,it@contact.example,keep,new,anna@acme.example", "acme,new@acme.example,migrate,it@contact.example,keep,new,"}, want: [6]string{"harmless", "announce again", "held", "announce again", "held", "held"}}},
	"list.contact": {{
		list: [2]string{"it@contact.example", "new@contact.example"},
		want: [6]string{"harmless", "announce again", "announce again", "announce again", "held", "harmless"},
		at:   [5]string{3: "2026-12-15 12:00", 4: "2026-12-16 12:00"},
	}},
	"list.name":   {{list: [2]string{"service,account,", "service,account,"}, want: free}},
	"list.locale": {{list: [2]string{"service,account,", "service,account,"}, want: free}},
	"list.action": {
		{list: [2]string{"anna@acme.example,migrate", "anna@acme.example,skip"}, want: [6]string{"harmless", "call off", "call off", "", "call off", "harmless"}},
		{list: [2]string{"anna@acme.example,migrate", "anna@acme.example,hold"}, want: [6]string{"held", "held", "held", "", "held", "harmless"}},
	},
	"list.reason":         {{list: [2]string{"service,account,", "service,account,"}, want: free}},
	"list.passwords":      {{list: [2]string{"keep,new,anna", "temporary,new,anna"}, set: func(p *plans.Plan) {}, want: again}},
	"list.target":         {{list: [2]string{"keep,new,anna", "keep,pro,anna"}, want: again}},
	"list.target_account": {{list: [2]string{"keep,new,anna", "keep,new,annie"}, want: again}},
	"list.source_login":   {{list: [2]string{"service,account,", "service,account,"}, want: free}},
	"list.source_secret":  {{list: [2]string{"keep,new,anna@acme.example,env:GODWIT_X", "keep,new,anna@acme.example,env:GODWIT_Y"}, want: free}},
	"list.target_secret":  {{list: [2]string{"env:GODWIT_X\nacme,ben", "env:GODWIT_Y\nacme,ben"}, want: free}},
	"list.x_…":            {{list: [2]string{"service,account,", "service,account,"}, want: free}},
}

// columns are edits that add one column to the list.
var columns = map[string]string{"list.name": "Anna", "list.locale": "fr", "list.reason": "why", "list.source_login": "root@acme.example", "list.x_…": "7"}

var phases = [6]string{"before the first notice", "between the notices", "between, too late", "after the last", "after the last, too late", "during the cutover"}

// said is the programme with what the ledger knew after the first notice and
// after the last.
type said struct{ none, first, last map[string][]ledger.State }

func TestEveryEditMeansWhatTheTableSays(t *testing.T) {
	w := newWorld(t)
	w.put("plan.yaml", locked)
	w.put("list.csv", rows)
	w.put("other.csv", strings.ReplaceAll(strings.ReplaceAll(rows, "acme", "zeta"), "it@", "zeta@"))
	var known said
	w.run("2026-12-09 00:10")
	known.first = map[string][]ledger.State{"one": w.rows()}
	w.run("2026-12-15 00:10")
	known.last = map[string][]ledger.State{"one": w.rows()}
	for key, list := range edits {
		for i, e := range list {
			for phase, want := range e.want {
				if want == "" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d/%s", key, i, phases[phase]), func(t *testing.T) {
					if got := e.means(t, w, key, phase, known); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				})
			}
		}
	}
}

// rows are the ledger's states after a run.
func (w *world) rows() []ledger.State {
	var list []ledger.State
	for _, s := range w.states() {
		list = append(list, s)
	}
	return list
}

// edited is the plan after the edit.
func (e edit) edited(t *testing.T, w *world, key string, later bool) *plans.Plan {
	t.Helper()
	put := func(name, text string, change [2]string) {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("%s has no %q", name, change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
		if name == "list.csv" && key == "list.contact" {
			text = strings.ReplaceAll(text, change[0], change[1])
		}
		w.put(name, text)
	}
	put("plan.yaml", locked, e.text)
	put("list.csv", rows, e.list)
	if value, ok := columns[key]; ok {
		name := strings.TrimPrefix(strings.Replace(key, "…", "ref", 1), "list.")
		lines := strings.Split(strings.TrimSuffix(rows, "\n"), "\n")
		w.put("list.csv", lines[0]+","+name+"\n"+lines[1]+","+value+"\n"+lines[2]+",\n")
	}
	p := w.load()
	if e.set != nil {
		e.set(p)
	}
	if later {
		b(p).Date = b(p).Date.AddDate(0, 0, 14)
	}
	return p
}

// means finds out what the edit does to the programme.
func (e edit) means(t *testing.T, w *world, key string, phase int, known said) string {
	move := phase == 3 && e.at[3] == "" && e.want[3] == "announce again"
	p := e.edited(t, w, key, move)
	states := [6]map[string][]ledger.State{known.none, known.first, known.first, known.last, known.last, known.last}[phase]
	if e.anew {
		states = map[string][]ledger.State{"one": {{Key: ledger.Key{Batch: "one", Service: "acme"}}}}
	}
	clock := "2026-12-16 22:35"
	if phase < 5 {
		clock = usual[phase]
		if e.at[phase] != "" {
			clock = e.at[phase]
		}
		if key != "timezone" && phase == 3 && (e.anew || key == "list.service") {
			clock = usual[1] // for what is new it is as good as between
		}
	}
	now, err := time.ParseInLocation("2006-01-02 15:04", clock, p.Timezone)
	if err != nil {
		t.Fatal(err)
	}
	word := "harmless"
	for s := range pipeline.Subjects(p, byBatch(p, e.before(states, phase, now))) {
		if s.Batch.Name == "two" {
			continue
		}
		word = heavier(word, meaning(s, now))
		if word == "harmless" && key != "list.service" { // of which there are two then
			goesOn(t, s, phase, now)
		}
	}
	return word
}

// byBatch: services take their rows along to a batch of another name.
func byBatch(p *plans.Plan, states []ledger.State) map[string][]ledger.State {
	for i := range states {
		states[i].Key.Batch = p.Batches[len(p.Batches)-1].Name
	}
	return map[string][]ledger.State{p.Batches[len(p.Batches)-1].Name: states}
}

// before are the states as the edit finds them.
func (e edit) before(known map[string][]ledger.State, phase int, now time.Time) []ledger.State {
	states := append(slices.Clone(known["one"]), ledger.State{Key: ledger.Key{Batch: "one", Service: "other"}})
	for i, s := range states {
		if s.Promise != nil && e.was != nil {
			promise := *s.Promise
			e.was(&promise)
			states[i].Promise = &promise
		}
		if phase == 5 && s.Key.Account == annaA {
			states[i].Phase, states[i].FrozenAt, states[i].Deadline = ledger.Frozen, now.Add(-time.Minute), now.Add(10*time.Minute)
		}
		states[i].ValidatedAt, states[i].PassedAt, states[i].PasswordAt = now, now, now
	}
	return states
}

// heavier is the word that says more.
func heavier(a, b string) string {
	order := []string{"harmless", "send", "call off", "announce again", "held"}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// meaning is what the real decisions say of one service.
func meaning(s pipeline.Subject, now time.Time) string {
	word := "harmless"
	for _, a := range s.Service.Accounts {
		if s.Accounts[a.Address].InCutover() {
			return word // of the others' rows it is said elsewhere
		}
		if pipeline.BlockedAccount(s, a, now) != nil || a.Action == "hold" || s.Batch.Hold {
			word = "held"
		}
	}
	if pipeline.Blocked(s, now) != nil {
		word = "held"
	}
	for _, task := range pipeline.Due(s, now) {
		switch {
		case task.Stage != pipeline.Notify:
		case task.Notice.Plan.When == "changed":
			word = heavier(word, "announce again")
		case task.Notice.Plan.When == "cancelled":
			word = heavier(word, "call off")
		default:
			word = heavier(word, "send")
		}
	}
	return word
}

// goesOn fails unless what is harmless lets the programme go on: the notice
// goes out, and who was told is moved in the night.
func goesOn(t *testing.T, s pipeline.Subject, phase int, now time.Time) {
	t.Helper()
	want, step, at := pipeline.Notify, pipeline.Announce, s.Batch.Date.AddDate(0, 0, -before(s)).Add(time.Hour)
	switch phase {
	case 1, 2:
		return // looked at in the other phases
	case 3, 4:
		want, step, at = pipeline.Freeze, pipeline.Whole, s.Batch.Date.Add(s.Batch.Window.From+time.Minute)
	case 5:
		want, step, at = pipeline.Copy, pipeline.Final, now
	}
	s.State.ValidatedAt = at
	for who, state := range s.Accounts {
		state.PassedAt = at
		if phase > 2 && phase < 5 {
			state.Phase = ledger.Copied
		}
		s.Accounts[who] = state
	}
	for _, task := range pipeline.Due(s, at) {
		if task.Stage == want && task.Step == step {
			return
		}
	}
	t.Errorf("at %s there is no %s %s: %v", at, want, step, pipeline.Due(s, at))
}

// before is how many days before the move the first notice goes out.
func before(s pipeline.Subject) (days int) {
	for _, n := range s.Batch.Notices.Send {
		days = max(days, n.Days)
	}
	return days
}

// No key and no column is forgotten, in neither table, and both say the same.
func TestTheTablesOfEditsAreWhole(t *testing.T) {
	var keys []string
	prefix := ""
	for line := range strings.SplitSeq(plans.Reference(), "\n") {
		if strings.HasPrefix(line, "| column") {
			prefix = "list."
		}
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			keys = append(keys, prefix+name)
		}
	}
	if len(keys) < 100 {
		t.Fatalf("%d keys", len(keys))
	}
	for _, key := range keys {
		row, ok := pipeline.EditOf(key)
		if !ok {
			t.Errorf("%s: say in pipeline/edits.go what it means when it changes after the announcement", key)
			continue
		}
		if len(edits[key]) == 0 {
			t.Errorf("%s: edits_test.go has no case", key)
			continue
		}
		e := edits[key][0].want
		for phase, got := range map[int]pipeline.Meaning{0: row.Before, 1: row.Between, 4: row.After, 5: row.During} {
			want := e[phase]
			if phase == 4 && e[3] != "" {
				want = e[3]
			}
			if got == pipeline.Anew {
				got = pipeline.Sent // what another ledger comes to, in time
			}
			late := phase == 4 && want == "held" && (got == pipeline.Again || got == pipeline.Sent)
			if string(got) != want && !late {
				t.Errorf("%s %s: pipeline/edits.go says %q, the test %q", key, phases[phase], got, want)
			}
		}
	}
	for _, row := range pipeline.Edits {
		for _, key := range row.Keys {
			if !slices.Contains(keys, key) {
				t.Errorf("%s is no key any more", key)
			}
		}
	}
	for key := range edits {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is no key any more, and has a case", key)
		}
	}
}
