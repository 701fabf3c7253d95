package plans

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Customers may write lists, and Godwit can open mailboxes and set passwords
// that are not theirs. So a list names only what its service has: the domains
// that the plan says, or those of the service's accounts. Where nothing but a
// mailbox's own password opens it, that password is the proof, of that mailbox.

// anyDomain in domains stands for all of them, and as a service for those that
// domains does not name.
const anyDomain = "*"

func parseDomain(s string) (any, error) {
	if s == anyDomain {
		return s, nil
	}
	if strings.Contains(s, "@") {
		return nil, wrong("%s is an address; write what stands behind its @", shown(s))
	}
	if why := addressFault("a@" + s); why != "" {
		return nil, wrong("%s is not a domain: %s", shown(s), why)
	}
	return s, nil
}

// Owns says that the plan names the address's domain as one of the service's.
func (p *Plan) Owns(service, address string) bool {
	named, _ := p.domains(service)
	return has(named, domainOf(address))
}

// domains are those that the plan names for a service; ok is false where it
// names none.
func (p *Plan) domains(service string) (named []string, ok bool) {
	if named, ok = p.Domains[service]; !ok {
		named = p.Domains[anyDomain]
	}
	return named, len(named) > 0
}

// has compares as mail does: capitals and scripts do not matter.
func has(domains []string, domain string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return d == anyDomain || domain != "" && foldDomain(d) == domain })
}

func foldDomain(domain string) string { return domainOf("a@" + domain) }

// domainOf is the folded domain of an address, "" for a login that is none: it
// does not show whose it is.
func domainOf(login string) string {
	if addressFault(login) != "" {
		return ""
	}
	folded := foldAddress(login)
	return folded[strings.LastIndexByte(folded, '@')+1:]
}

// OpensAny says that one secret of Godwit's own opens any mailbox there.
func (i IMAP) OpensAny() bool {
	return i.Auth == "master" || i.Auth == "authzid" || i.Auth == "xoauth2" && !i.Secret.IsZero()
}

// foreign is a login of another domain than its row's account.
type foreign struct {
	line, service uint32
	column, login string
	power         string // what Godwit can do there
}

// whose holds what a row names against the plan's domains. Without any, it
// keeps what arrange holds against the service's other accounts.
func (c *rowChecker) whose(line, service uint32, r *columns, target *Target) {
	if r.Action == "skip" {
		return
	}
	own := domainOf(r.Account)
	named, said := c.plan.domains(r.Service)
	if said && !has(named, own) {
		c.at(line, "%s is of another domain than domains has for service %s; if it is theirs, add %q there", shown(r.Account), shown(r.Service), own)
	}
	hold := func(column, login, power string, opens bool) {
		domain := domainOf(login)
		switch {
		case login == "" || domain == own && domain != "", said && has(named, domain):
		case said && domain != "":
			c.at(line, "%s %s is of another domain than domains has for service %s; if it is theirs, add %q there", column, shown(login), shown(r.Service), domain)
		case opens && domain == "":
			c.at(line, `%s %s has no domain that shows whose it is, and Godwit can %s; if it is theirs, write domains: {%s: ["*"]} into the plan`, column, shown(login), power, r.Service)
		case opens:
			c.foreign = append(c.foreign, foreign{line, service, column, strings.Clone(login), power})
		}
	}
	if why := c.unproved(r, own, target); why != "" && !said {
		c.at(line, "%s; if it is theirs, write domains: {%s: [%s]} into the plan", why, r.Service, strings.Trim(own+", "+domainOf(r.SourceLogin), ", "))
	}
	hold("source_login", r.SourceLogin, "open any mailbox there", c.plan.Source.IMAP.OpensAny())
	if target == nil {
		return
	}
	if target.Admin.Name != "none" {
		hold("target_account", r.TargetAccount, "set any password there", true)
		return
	}
	hold("target_account", r.TargetAccount, "open any mailbox there", target.IMAP.OpensAny())
}

// unproved says what Godwit could do to an account whose row signs in at the
// source as somebody of another domain: that password proves nothing of it.
func (c *rowChecker) unproved(r *columns, own string, target *Target) string {
	if r.SourceLogin == "" || own == "" || domainOf(r.SourceLogin) == own || c.plan.Source.IMAP.OpensAny() {
		return ""
	}
	power := ""
	switch {
	case c.plan.Source.Freeze.Name != "none":
		power = "hold back its mail"
	case target == nil || r.TargetAccount != "":
	case target.Admin.Name != "none":
		power = "set its password at the target"
	case target.IMAP.OpensAny():
		power = "open its mailbox at the target"
	}
	if power == "" {
		return ""
	}
	return fmt.Sprintf("the password of source_login %s does not show whose %s is, and Godwit can %s", shown(r.SourceLogin), shown(r.Account), power)
}

// strangers reports logins of domains that no account of their service has.
func (c *rowChecker) strangers() {
	l := c.list
	if len(c.foreign) == 0 {
		return
	}
	known := map[uint32]map[string]bool{} // only of services with such a login
	for _, f := range c.foreign {
		known[f.service] = map[string]bool{}
	}
	reader := l.reader()
	for i, id := range c.id {
		if known[id] == nil {
			continue
		}
		if r, _, err := reader.at(l.rows[i]); err == nil && r.Action != "skip" {
			known[id][domainOf(r.Account)] = true
		}
	}
	for _, f := range c.foreign {
		domain := domainOf(f.login)
		if known[f.service][domain] {
			continue
		}
		own := slices.Sorted(maps.Keys(known[f.service]))
		if len(own) > 3 {
			own = append(own[:3], "…")
		}
		c.at(f.line, "%s %s is of a domain that no account of its service has, and Godwit can %s; if it is theirs, write domains: {%s: [%s]} into the plan",
			f.column, shown(f.login), f.power, l.services[f.service].name, strings.Join(append(own, domain), ", "))
	}
	c.foreign = nil
}

// namedServices finds a service of domains that no list has: one misspelt would
// go without.
func (d *decoder) namedServices(lists map[string]*list) {
	if slices.ContainsFunc(d.plan.Batches, func(b *Batch) bool { return b.list == nil }) {
		return // what the missing list has is not known
	}
	for _, name := range slices.Sorted(maps.Keys(d.plan.Domains)) {
		if name == anyDomain || lists[name] != nil {
			continue
		}
		suggestion := didYouMean(name, slices.Sorted(maps.Keys(lists)))
		d.wrong(join("domains", name), "domains: no list has a service %s%s", shown(name), suggestion)
	}
}
