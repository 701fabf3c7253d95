package plans

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strconv"
)

// across finds what is there twice in all lists together: accounts, target
// mailboxes, services. It keeps a hash per row instead of its text and reads
// the rows again where two hashes are equal.
type across struct {
	d        *decoder
	seed     maphash.Seed
	accounts []seen
	targets  []seen
	sources  []seen // the logins at the source
	services map[string]*list
}

// seen is one row of one list.
type seen struct {
	hash       uint64
	batch, row uint32
}

func newAcross(d *decoder) *across {
	return &across{d: d, seed: maphash.MakeSeed(), services: map[string]*list{}}
}

func (a *across) grow(rows int) {
	a.accounts, a.targets = slices.Grow(a.accounts, rows), slices.Grow(a.targets, rows)
	a.sources = slices.Grow(a.sources, rows)
}

func (a *across) account(batch, row uint32, address string) {
	a.accounts = append(a.accounts, seen{maphash.String(a.seed, foldAddress(address)), batch, row})
}

func (a *across) source(batch, row uint32, login string) {
	a.sources = append(a.sources, seen{maphash.String(a.seed, foldAddress(login)), batch, row})
}

func (a *across) target(batch, row uint32, target, address string) {
	a.targets = append(a.targets, seen{maphash.String(a.seed, mailbox(target, address)), batch, row})
}

func mailbox(target, address string) string { return target + "\x00" + foldAddress(address) }

// service finds one that is split over two lists.
func (a *across) service(d *decoder, l *list, s service) {
	first, ok := a.services[s.name]
	if !ok {
		a.services[s.name] = l
		return
	}
	i, _ := slices.BinarySearchFunc(first.services, s.name, func(s service, name string) int { return cmp.Compare(s.name, name) })
	d.add(Pos{File: l.file, Line: int(s.line)}, "service %s is split over two batches, %q and %q, first in %s:%d; move it into one",
		shown(s.name), first.batch.Name, l.batch.Name, first.file, first.services[i].line)
}

// doubles reports accounts, source and target mailboxes that are there twice.
func (a *across) doubles() {
	readers := map[uint32]*rowReader{}
	read := func(s seen) (columns, Pos) {
		l := a.d.plan.Batches[s.batch].list
		if readers[s.batch] == nil {
			readers[s.batch] = l.reader()
		}
		c, _, _ := readers[s.batch].at(l.rows[s.row])
		c.Target, c.TargetAccount = or(c.Target, l.plan.DefaultTarget), or(c.TargetAccount, c.Account)
		return c, Pos{File: l.file, Line: int(l.rows[s.row].line)}
	}
	each(a.accounts, func(first, again seen) {
		one, here := read(first)
		two, there := read(again)
		if foldAddress(one.Account) == foldAddress(two.Account) {
			a.d.add(there, "%s is listed twice, first %s", shown(two.Account), from(there, here))
		}
	})
	each(a.sources, func(first, again seen) {
		one, here := read(first)
		two, there := read(again)
		login := or(two.SourceLogin, two.Account)
		if foldAddress(one.Account) != foldAddress(two.Account) && foldAddress(or(one.SourceLogin, one.Account)) == foldAddress(login) {
			a.d.add(there, "%s and %s would be copied from one mailbox, %s, the first %s", shown(two.Account), shown(one.Account), shown(login), from(there, here))
		}
	})
	each(a.targets, func(first, again seen) {
		one, here := read(first)
		two, there := read(again)
		if foldAddress(one.Account) != foldAddress(two.Account) && mailbox(one.Target, one.TargetAccount) == mailbox(two.Target, two.TargetAccount) {
			a.d.add(there, "%s and %s would go to one mailbox, %s on target %q, the first %s",
				shown(two.Account), shown(one.Account), shown(two.TargetAccount), two.Target, from(there, here))
		}
	})
}

// each calls found for every row whose hash was there before, with the first.
func each(all []seen, found func(first, again seen)) {
	slices.SortFunc(all, func(a, b seen) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.batch, b.batch), cmp.Compare(a.row, b.row))
	})
	first := 0
	for i := 1; i < len(all); i++ {
		if all[i].hash != all[first].hash {
			first = i
			continue
		}
		found(all[first], all[i])
	}
}

// from says where the first one stands, seen from the other.
func from(there, first Pos) string {
	if there.File == first.File {
		return "on line " + strconv.Itoa(first.Line)
	}
	return "in " + first.String()
}
