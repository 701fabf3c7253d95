package plans

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// rowChecker goes through a list once, row by row.
type rowChecker struct {
	*decoder
	list   *list
	mode   fs.FileMode
	across *across
	batch  uint32

	ids      map[string]uint32 // of services, in the order they appear
	id       []uint32          // of each row's service
	last     columns           // the row before: lists repeat themselves
	torn     bool              // the row before had an open quote
	literals bool              // a cell was a secret itself; said once
	locales  map[string]error
	foreign  []foreign
	has      map[string]bool // columns of this list
}

func (c *rowChecker) at(line uint32, format string, args ...any) {
	c.add(Pos{File: c.list.file, Line: int(line)}, format, args...)
}

func (c *rowChecker) check() {
	l := c.list
	offset, line, ok := c.header()
	if !ok {
		return
	}
	c.ids, c.locales, c.has = map[string]uint32{}, map[string]error{}, map[string]bool{}
	for _, name := range l.header {
		c.has[name] = true
	}
	rows := strings.Count(l.text[offset:], "\n") + 1
	l.rows, c.id = make([]row, 0, rows), make([]uint32, 0, rows)
	c.across.grow(rows)
	c.missingColumns(line)
	reader, any := l.reader(), false
	for offset < len(l.text) {
		line++
		begin, text := offset, lineAt(l.text, offset)
		offset = nextLine(l.text, offset)
		if text == "" {
			continue
		}
		any = true
		c.line(reader, row{uint32(begin), line}, text)
	}
	if !any {
		c.at(line, "the list has no account; add a line for each mailbox")
	}
	c.arrange()
}

// missingColumns says once what would be wrong with every row.
func (c *rowChecker) missingColumns(line uint32) {
	if auth := c.plan.Source.IMAP.Auth; c.ownSecrets("source.imap", c.plan.Source.IMAP) && !c.has["source_secret"] {
		c.at(line, `there is no column "source_secret", but the source has auth: %s; add it, or use auth: master or authzid`, auth)
	}
	if len(c.list.batch.Notices.Send) > 0 && !c.has["contact"] {
		c.at(line, `there is no column "contact", but notices are sent; add the services' addresses`)
	}
}

// line checks one line. One with an open quote spoils those after it up to the
// quote's end, so only the first is reported.
func (c *rowChecker) line(reader *rowReader, where row, text string) {
	if len(text) > lineLimit {
		c.at(where.line, "the line is longer than 64 KiB")
		return
	}
	r, _, err := reader.line(text)
	switch {
	case errors.Is(err, errQuote):
		if !c.torn {
			c.at(where.line, "%s", err)
		}
		c.torn = true
		return
	case err != nil && c.torn:
		return
	case errors.Is(err, errColumns):
		if strings.Trim(text, " ,;\t") == "" {
			c.at(where.line, "the row is empty; take it out")
			return
		}
		c.at(where.line, "the row has %s, the header %d; put a cell with the delimiter %q in it in quotes",
			plural(len(reader.record), "column"), len(c.list.header), c.list.comma)
		return
	case err != nil:
		c.at(where.line, "%s", err)
		return
	}
	c.torn = false
	if strings.Trim(text, " ,;\t") == "" {
		c.at(where.line, "the row is empty; take it out")
		return
	}
	if !c.clean(where.line, text, reader.record) {
		return
	}
	c.row(where, &r)
	c.last = r
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clean finds control characters and cells that are too long. The line is
// looked at first: few have any.
func (c *rowChecker) clean(line uint32, text string, record []string) bool {
	suspect := len(text) > cellLimit
	for i := 0; i < len(text) && !suspect; i++ {
		b := text[i]
		suspect = b < 0x20 || b == 0x7f || b == 0xc2
	}
	if !suspect {
		return true
	}
	ok := true
	for i, cell := range record {
		if len(cell) > cellLimit {
			ok = false
			c.at(line, "column %s is longer than 4 KiB", c.list.header[i])
		}
		if bad, is := control(cell); is {
			ok = false
			c.at(line, "column %s holds the control character %U; take it out", c.list.header[i], bad)
		}
	}
	return ok
}

// row checks the cells of one account.
func (c *rowChecker) row(where row, r *columns) {
	l := c.list
	serviceOK := r.Service == c.last.Service && r.Service != "" && len(l.rows) > 0 || c.serviceName(where.line, r.Service)
	if why := addressFault(r.Account); why != "" {
		c.at(where.line, "%s is not an address: %s", shown(r.Account), why)
		return
	}
	if r.Contact != "" && r.Contact != c.last.Contact {
		if why := addressFault(r.Contact); why != "" {
			c.at(where.line, "contact %s is not an address: %s", shown(r.Contact), why)
			r.Contact = ""
		}
	}
	if r.Locale != "" && !c.localeOK(where.line, r.Locale) {
		r.Locale = ""
	}
	migrates := c.word(where.line, "action", &r.Action, "migrate", "skip", "hold")
	c.word(where.line, "passwords", &r.Passwords, or(l.batch.Passwords.Mode, "keep"), "keep", "temporary")
	address := c.target(where, r, migrates)
	c.secrets(where.line, r)
	if !serviceOK {
		return
	}
	index := uint32(len(l.rows))
	l.rows = append(l.rows, where)
	id := c.service(where.line, r)
	c.id = append(c.id, id)
	target := c.plan.Targets[or(r.Target, c.plan.DefaultTarget)]
	if address == "" {
		target = nil // reported
	}
	c.whose(where.line, id, r, target)
	c.across.account(c.batch, index, r.Account)
	if r.Action != "skip" {
		c.across.source(c.batch, index, or(r.SourceLogin, r.Account))
	}
	if address != "" && r.Action != "skip" {
		c.across.target(c.batch, index, or(r.Target, c.plan.DefaultTarget), address)
	}
}

func (c *rowChecker) localeOK(line uint32, locale string) bool {
	err, ok := c.locales[locale]
	if !ok {
		_, err = parseLocale(locale)
		if len(c.locales) < 1000 {
			c.locales[strings.Clone(locale)] = err
		}
	}
	if err != nil {
		c.at(line, "column locale: %s", err)
	}
	return err == nil
}

// word checks a cell that may be one of few words; the result says whether it
// is the first of them.
func (c *rowChecker) word(line uint32, column string, cell *string, words ...string) bool {
	value := or(*cell, words[0])
	if slices.Contains(words, value) {
		return value == words[0]
	}
	c.at(line, "column %s: unknown word %s%s", column, shown(value), orOneOf(value, slices.Compact(words)))
	*cell = ""
	return false
}

// target checks where the account goes and whether Godwit can sign in there.
// The result is its mailbox on the target, "" if that is not known.
func (c *rowChecker) target(where row, r *columns, migrates bool) string {
	name := or(r.Target, c.plan.DefaultTarget)
	target := c.plan.Targets[name]
	if target == nil {
		if r.Target != "" {
			c.at(where.line, "column target: there is no target %s%s", shown(name), orOneOf(name, c.targetNames()))
		}
		return ""
	}
	address := r.Account
	if r.TargetAccount != "" {
		address = r.TargetAccount
		if why := addressFault(address); why != "" {
			c.at(where.line, "target_account %s is not an address: %s", shown(address), why)
			return ""
		}
	}
	for _, login := range []string{target.Admin.Login, target.IMAP.Login} {
		// Its password would be set anew and stand in the list.
		if login != "" && foldAddress(login) == foldAddress(address) {
			c.at(where.line, "%s is Godwit's own login at target %q, and no mailbox to move to", shown(address), name)
			return ""
		}
	}
	if migrates {
		c.canSignIn(where.line, r, name, target)
	}
	return address
}

// canSignIn checks that there is a secret for either side.
func (c *rowChecker) canSignIn(line uint32, r *columns, name string, target *Target) {
	l := c.list
	temporary := or(r.Passwords, l.batch.Passwords.Mode) == "temporary"
	admin := target.Admin.Name
	if c.bad["targets."+name+".admin.driver"] {
		admin = "unknown"
	}
	// Of the whole batch it was said in the plan.
	if temporary && admin == "none" && (name != c.plan.DefaultTarget || l.batch.Passwords.Mode != "temporary") {
		c.at(line, "column passwords: temporary needs an admin driver on target %q: zimbra, exec, or list if you set the passwords yourself", name)
	}
	if r.SourceSecret == "" && c.has["source_secret"] && c.ownSecrets("source.imap", c.plan.Source.IMAP) {
		c.at(line, "column source_secret is empty, but the source has auth: %s; fill it in for %s, or set its action to skip", c.plan.Source.IMAP.Auth, shown(r.Account))
	}
	if r.TargetSecret == "" && !(temporary && admin == "list") && c.ownSecrets("targets."+name+".imap", target.IMAP) {
		c.at(line, "column target_secret is empty, but target %q has auth: %s; fill it in for %s, or use auth: master or authzid", name, target.IMAP.Auth, shown(r.Account))
	}
}

// ownSecrets says that each account signs in with a secret of its own: always
// with auth: password, with xoauth2 where the plan has no token for all.
func (c *rowChecker) ownSecrets(path string, i IMAP) bool {
	if c.bad[path+".auth"] || c.bad[path+".secret"] {
		return false
	}
	return i.Auth == "password" || i.Auth == "xoauth2" && i.Secret.IsZero()
}

// targetNames is asked for on wrong rows only.
func (c *rowChecker) targetNames() []string {
	var all []string
	for name := range c.plan.Targets {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// secrets checks the references of a row, and that a list with secrets in it
// is kept as one.
func (c *rowChecker) secrets(line uint32, r *columns) {
	for _, cell := range [...]struct{ name, text string }{{"source_secret", r.SourceSecret}, {"target_secret", r.TargetSecret}} {
		if cell.text == "" {
			continue
		}
		secret, err := c.list.secret(cell.text)
		if err != nil {
			c.at(line, "column %s %s", cell.name, err)
			continue
		}
		if secret.r().scheme != "literal" || c.literals || strings.HasSuffix(c.list.batch.Accounts, ".age") {
			continue
		}
		c.literals = true
		if c.mode&0o077 != 0 {
			c.at(line, "column %s holds a secret itself, but others can read the list (mode %04o); chmod 600 it, or write file: or env:GODWIT_…", cell.name, c.mode)
		}
		if tracked(c.plan.Dir, filepath.Clean(c.list.batch.Accounts)) {
			c.at(line, "column %s holds a secret itself, but git tracks the list; take it out of git, or write file: or env:GODWIT_…", cell.name)
		}
	}
}

// secret reads a cell. Customers may write lists, so a reference in one can
// name only what is meant for lists, and start nothing.
func (l *list) secret(text string) (Secret, error) {
	scheme, value, _ := strings.Cut(text, ":")
	switch scheme {
	case "env":
		if !strings.HasPrefix(value, "GODWIT_") || !variable.MatchString(value) || l.plan.reserved(scheme, value) {
			return Secret{}, errors.New("names a variable that is not for lists; those begin with GODWIT_ and are not Godwit's own")
		}
	case "file":
		if !filepath.IsLocal(value) {
			return Secret{}, errors.New("names a file outside the plan's folder; put it below")
		}
		if l.plan.reserved(scheme, value) {
			return Secret{}, errors.New("names a file that is the plan's own; lists have theirs")
		}
	case "exec":
		return Secret{}, errors.New("holds exec:, which lists may not; write file: or env:GODWIT_…")
	default:
		return LiteralSecret(text), nil
	}
	return sealed(&reference{scheme: scheme, value: value, dir: l.plan.Dir, root: l.plan.Root}), nil
}

// reserved says that a list may not send this to a server: it is Godwit's own
// secret, one of the plan's, or a file that Godwit reads or writes.
func (p *Plan) reserved(scheme, value string) bool {
	if scheme == "env" {
		if value == "GODWIT_KEY" || value == "GODWIT_LEDGER" || value == "GODWIT_IDENTITY" {
			return true
		}
	} else {
		value = filepath.Clean(value)
		below := func(dir string) bool {
			dir = filepath.Clean(dir)
			return value == dir || strings.HasPrefix(value, dir+string(filepath.Separator))
		}
		if identity := os.Getenv("GODWIT_IDENTITY"); identity != "" && sameFile(identity, filepath.Join(p.Dir, value)) {
			return true
		}
		if value == filepath.Base(p.File) || below(p.Output.Dir) || p.Notices.Templates != "" && below(p.Notices.Templates) {
			return true
		}
		if slices.ContainsFunc(p.Batches, func(b *Batch) bool { return value == filepath.Clean(b.Accounts) }) {
			return true
		}
	}
	own := []Secret{p.Source.IMAP.Secret, p.Notices.SMTP.Secret}
	for _, t := range p.Targets {
		own = append(own, t.IMAP.Secret, t.Admin.Secret)
	}
	for _, b := range p.Batches {
		own = append(own, b.Notices.SMTP.Secret)
	}
	return slices.ContainsFunc(own, func(s Secret) bool {
		ref := s.Ref()
		if name, ok := strings.CutPrefix(ref, "file:"); ok && scheme == "file" {
			return sameFile(name, filepath.Join(p.Dir, value))
		}
		return ref == scheme+":"+value
	})
}

// sameFile compares two names by what they lead to.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	two, other := os.Stat(b)
	return err == nil && other == nil && os.SameFile(one, two)
}
