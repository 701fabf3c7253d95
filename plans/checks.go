package plans

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// check holds the keys against each other and fills in what depends on more
// than one of them. Single values were checked when they were read.
func (d *decoder) check() {
	p := d.plan
	d.imap("source.imap", &p.Source.IMAP)
	d.driver("source.freeze", &p.Source.Freeze)
	for _, name := range slices.Sorted(maps.Keys(p.Targets)) {
		path := "targets." + name
		d.imap(path+".imap", &p.Targets[name].IMAP)
		d.driver(path+".admin", &p.Targets[name].Admin)
		for i, client := range p.Targets[name].Clients {
			p.Targets[name].Clients[i] = withPort(client, "993", "993", "implicit")
		}
	}
	d.defaultTarget()
	d.notices("notices", &p.Notices)
	d.output()
	d.batches()
	d.residency()
	d.minimumNotice()
}

// has says that the hoster wrote the key, rightly or not.
func (d *decoder) has(path string) bool { return d.at[path] != nil }

// good says that the hoster wrote the key and it could be read.
func (d *decoder) good(path string) bool { return d.at[path] != nil && !d.bad[path] }

// near is the place of the key at path, or of the nearest one around it.
func (d *decoder) near(path string) Pos {
	for path != "" {
		if n := d.at[path]; n != nil {
			return d.pos(n)
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return d.pos(d.at[""])
}

// wrong reports at the key's place.
func (d *decoder) wrong(path, format string, args ...any) { d.add(d.near(path), format, args...) }

func (d *decoder) imap(path string, i *IMAP) {
	if d.good(path + ".address") {
		d.portFits(path, i.Address, "143")
		i.Address = withPort(i.Address, "993", "143", i.TLS)
	}
	i.CAFile = d.caFile(path+".ca_file", i.CAFile)
	if d.bad[path+".auth"] || !d.has(path) {
		return
	}
	hasLogin, hasSecret := d.has(path+".login"), d.has(path+".secret")
	switch i.Auth {
	case "password":
		for _, name := range []string{"login", "secret"} {
			if d.has(path + "." + name) {
				d.wrong(path+"."+name, "%s is not used with auth: password, where each account's own stands in the list; say auth: master or auth: authzid, or take it out", name)
			}
		}
	case "master", "authzid":
		if !hasLogin {
			d.wrong(path+".auth", "auth: %s needs a login", i.Auth)
		}
		if !hasSecret {
			d.wrong(path+".auth", "auth: %s needs a secret", i.Auth)
		}
	}
	if i.Auth != "master" && d.has(path+".master_format") {
		d.wrong(path+".master_format", "master_format is for auth: master only; take it out")
	}
}

// portFits finds an address whose port is known to want another kind of TLS
// than the default.
func (d *decoder) portFits(path, address string, plain ...string) {
	_, port := splitEndpoint(address)
	if !d.has(path+".tls") && slices.Contains(plain, port) {
		d.wrong(path+".address", "port %s begins without TLS; add tls: starttls, or use the port for implicit TLS", port)
	}
}

// driverKeys are the keys of each driver: those it needs, and those it may have.
var driverKeys = map[string]struct{ needs, may []string }{
	"none": {},
	"list": {},
	"exec": {needs: []string{"command"}, may: []string{"timeout"}},
	"dovecot": {
		needs: []string{"url", "secret", "deny_file"},
		may:   []string{"ca_file", "timeout", "transport_map", "postmap", "route"},
	},
	"zimbra": {needs: []string{"url", "login", "secret"}, may: []string{"ca_file", "timeout", "cos", "create", "route"}},
}

func (d *decoder) driver(path string, v *Driver) {
	v.CAFile = d.caFile(path+".ca_file", v.CAFile)
	if d.bad[path+".driver"] {
		return
	}
	own := driverKeys[v.Name]
	owners := map[string][]string{}
	for _, driver := range slices.Sorted(maps.Keys(driverKeys)) {
		keys := driverKeys[driver]
		for _, name := range slices.Concat(keys.needs, keys.may) {
			owners[name] = append(owners[name], driver)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(owners)) {
		if d.has(path+"."+name) && !slices.Contains(owners[name], v.Name) {
			d.wrong(path+"."+name, "%s is for driver: %s only; say so, or take it out", name, strings.Join(owners[name], " or "))
		}
	}
	for _, name := range own.needs {
		if d.has(path+"."+name) || d.bad[path+"."+name] {
			continue
		}
		example := ""
		if name == "command" {
			example = `, such as ["./hooks/run"]`
		}
		d.wrong(path+".driver", "driver: %s needs a %s%s", v.Name, name, example)
	}
	if d.good(path+".url") && !private(v.URL) {
		d.wrong(path+".url", "url: an administrator's password goes there; it must begin with https://")
	}
	if v.Name == "exec" && len(v.Command) > 0 {
		d.command(path+".command", v.Command)
	}
	switch {
	case v.Name == "dovecot":
		d.dovecot(path, v)
	case v.Name == "zimbra" && path == "source.freeze" && !d.has(path+".route"):
		d.wrong(path+".driver", "driver: zimbra needs a route: where mail goes after the switch, as in smtp:[mx.new.example]:25")
	}
}

func (d *decoder) dovecot(path string, v *Driver) {
	if auth := d.plan.Source.IMAP.Auth; d.has("source.imap") && !d.bad["source.imap.auth"] && auth != "master" && auth != "authzid" {
		d.wrong(path+".driver", "driver: dovecot refuses the accounts' own logins, which auth: %s uses; say auth: master in source.imap", auth)
	}
	for _, name := range []string{"postmap", "route"} {
		if d.has(path+"."+name) && !d.has(path+".transport_map") {
			d.wrong(path+"."+name, "%s needs a transport_map beside it", name)
		}
	}
	if d.has(path+".transport_map") && !d.has(path+".route") {
		d.wrong(path+".transport_map", "transport_map needs a route beside it: where mail goes after the switch, as in smtp:[mx.new.example]:25")
	}
	if len(v.Postmap) > 0 {
		d.command(path+".postmap", v.Postmap)
	}
	for _, file := range []*string{&v.DenyFile, &v.TransportMap} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(d.plan.Dir, *file)
		}
	}
}

// private says that what goes to a URL cannot be read on the way.
func private(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "https" {
		return true // what is no URL has been said
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

func (d *decoder) command(path string, argv []string) {
	name := argv[0]
	if !strings.Contains(name, "/") {
		return
	}
	if err := d.isProgram(name); err != nil {
		key := path[strings.LastIndexByte(path, '.')+1:]
		d.wrong(path+"[0]", "%s: %s %s", key, shown(name), err)
	}
	argv[0] = program(d.plan.Dir, name)
}

func (d *decoder) defaultTarget() {
	p := d.plan
	names := slices.Sorted(maps.Keys(p.Targets))
	switch {
	case d.bad["default_target"]:
	case p.DefaultTarget != "" && p.Targets[p.DefaultTarget] == nil:
		if len(names) > 0 {
			d.wrong("default_target", "default_target: there is no target %s%s", shown(p.DefaultTarget), orOneOf(p.DefaultTarget, names))
		}
	case p.DefaultTarget == "" && len(names) == 1:
		p.DefaultTarget = names[0]
	case p.DefaultTarget == "" && len(names) > 1:
		d.wrong("targets", "there are %d targets: name the one for accounts that name none, default_target: %s", len(names), names[0])
	}
}

// orOneOf suggests the nearest word, or else names all.
func orOneOf(written string, words []string) string {
	if suggestion := didYouMean(written, words); suggestion != "" {
		return suggestion
	}
	return "; write one of: " + strings.Join(words, ", ")
}

// notices checks the plan's or a batch's notices.
func (d *decoder) notices(path string, n *Notices) {
	if d.good(path + ".smtp.address") {
		d.portFits(path+".smtp", n.SMTP.Address, "25", "587")
	}
	if n.SMTP.Address != "" {
		n.SMTP.Address = withPort(n.SMTP.Address, "465", "587", n.SMTP.TLS)
	}
	if d.has(path + ".smtp.ca_file") {
		n.SMTP.CAFile = d.caFile(path+".smtp.ca_file", n.SMTP.CAFile)
	} else {
		n.SMTP.CAFile = d.plan.Notices.SMTP.CAFile // the plan's, made absolute by now
	}
	if login, secret := d.has(path+".smtp.login"), d.has(path+".smtp.secret"); login != secret {
		switch {
		case login && n.SMTP.Secret.IsZero() && !d.bad[path+".smtp.secret"]:
			d.wrong(path+".smtp.login", "login needs a secret beside it")
		case secret && n.SMTP.Login == "" && !d.bad[path+".smtp.login"]:
			d.wrong(path+".smtp.secret", "secret needs a login beside it")
		}
	}
	if d.good(path + ".templates") {
		d.isFolder(path+".templates", n.Templates)
	}
	if len(n.Send) > 0 && d.has(path) {
		if n.From == "" && !d.bad[path+".from"] {
			d.wrong(path+".send", `notices need a sender: add from: "Name <address>"`)
		}
		if n.SMTP.Address == "" && !d.bad[path+".smtp.address"] {
			d.wrong(path+".send", "notices need a relay: add smtp: {address: …}")
		}
	}
	if d.has(path + ".send") {
		d.send(path+".send", n.Send)
	}
}

// send fills in days and templates, and finds who would be told twice.
func (d *decoder) send(path string, send []Notice) {
	first := -1
	for i := range send {
		n := &send[i]
		n.Days = -1
		if _, err := fmt.Sscanf(n.When, "%dd before", &n.Days); err == nil {
			first = max(first, n.Days)
		}
	}
	told := map[string]int{}
	for i := range send {
		n := &send[i]
		switch {
		case n.Template != "":
		case n.Days < 0:
			n.Template = n.When
		case n.Days == first:
			n.Template = "announce"
		default:
			n.Template = "remind"
		}
		at := fmt.Sprintf("%s[%d]", path, i)
		if len(n.To) == 0 && !d.bad[at+".to"] {
			d.wrong(at+".to", "to is empty; write [contact], [user] or both")
		}
		for _, who := range n.To {
			key := n.When + " " + who
			if line, ok := told[key]; ok && n.When != "" {
				d.wrong(at, "the %s would get two notices %q, the other is on line %d", who, n.When, line)
			}
			told[key] = d.near(at).Line
		}
	}
}

func (d *decoder) output() {
	if d.bad["output.dir"] {
		return
	}
	if d.plan.Output.Dir == "." {
		d.wrong("output.dir", "dir: the plan's own folder cannot be the output; name a folder below it, such as out")
		return
	}
	info, err := d.plan.Root.Stat(d.plan.Output.Dir)
	switch {
	case isEscape(err):
		d.wrong("output.dir", "dir: %s leads out of the plan's folder through a link", shown(d.plan.Output.Dir))
	case err == nil && !info.IsDir():
		d.wrong("output.dir", "dir: %s is a file, not a folder", shown(d.plan.Output.Dir))
	}
}

func (d *decoder) residency() {
	p := d.plan
	if len(p.Promises.Residency) == 0 {
		return
	}
	check := func(path, region, what string) {
		switch {
		case d.bad[path+".region"] || !d.has(path):
		case region == "":
			d.wrong(path, "%s has no region, but promises.residency is %s; say where it stands, as in region: %s", what, strings.Join(p.Promises.Residency, ", "), p.Promises.Residency[0])
		case !slices.Contains(p.Promises.Residency, region):
			d.wrong(path+".region", "region: %s is not in promises.residency (%s); customers were promised that their data stays there", region, strings.Join(p.Promises.Residency, ", "))
		}
	}
	check("source", p.Source.Region, "the source")
	for _, name := range slices.Sorted(maps.Keys(p.Targets)) {
		check("targets."+name, p.Targets[name].Region, "target "+name)
	}
	check("notices.smtp", p.Notices.SMTP.Region, "the relay")
	for i, b := range p.Batches {
		check(fmt.Sprintf("batches[%d].notices.smtp", i), b.Notices.SMTP.Region, "the relay")
	}
}

// minimumNotice fills in what is not said: 5d for 7d, 12h for 1d, half for
// others.
func (d *decoder) minimumNotice() {
	p := d.plan
	said := p.Promises.MinimumNotice
	sent := map[int]bool{}
	collect := func(n Notices) {
		for _, one := range n.Send {
			if one.Days >= 0 {
				sent[one.Days] = true
			}
		}
	}
	collect(p.Notices)
	for _, b := range p.Batches {
		collect(b.Notices)
	}
	for _, days := range slices.Sorted(maps.Keys(said)) {
		path := fmt.Sprintf("promises.minimum_notice.%dd", days)
		switch {
		case !sent[days]:
			d.wrong(path, "minimum_notice: no notice is sent %dd before; take %dd out, or add it to notices.send", days, days)
		case said[days] > time.Duration(days)*24*time.Hour:
			d.wrong(path, "minimum_notice: the notice %dd before can never be %s early; write at most %dd", days, d.at[path].Value, days)
		}
	}
	all := map[int]time.Duration{}
	for days := range sent {
		lead, ok := said[days]
		switch {
		case ok:
			all[days] = lead
		case days == 7:
			all[days] = 5 * 24 * time.Hour
		default:
			all[days] = half(days) // 12h for 1d
		}
	}
	p.Promises.MinimumNotice = all
}
