package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ground is the servers that a benchmark runs on: one source, and a target of
// each kind that the rows ask for, all without TLS. What is on disk stands
// below disk, all else below dir.
type ground struct {
	*lab
	dir, disk string
	guard     *reaper
	servers   []*dovecot
	sites     map[string]site
	plain     string // the source's address
}

// site is a target server of one kind.
type site struct {
	side
	plain string // its address without TLS
	work  string // where programs keep their state: on the same disk as the mail
}

// setting is where a contender copies from and to.
type setting struct {
	site
	ground   *ground
	from, to string // addresses, perhaps those of a delaying proxy
}

// pair is a source mailbox and the target mailbox that one contender fills.
type pair struct{ source, target string }

// What a target of the kind tells of itself after the login.
const capabilities = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT THREAD=REFERENCES NAMESPACE UIDPLUS CHILDREN UNSELECT LIST-EXTENDED LIST-STATUS SPECIAL-USE CONDSTORE QRESYNC ESEARCH WITHIN MOVE"

const (
	usual     = "target"
	onDisk    = "disk"
	noMulti   = "no-multiappend"
	noLiteral = "no-literal"
)

// openGround starts the source and the usual target in memory.
func openGround(ctx context.Context, dir, disk string) (g *ground, err error) {
	g = &ground{dir: dir, disk: disk, sites: map[string]site{}}
	if g.lab, err = prepare(dir); err != nil {
		return nil, err
	}
	if g.guard, err = startReaper(); err != nil {
		return nil, err
	}
	d, err := g.serve(ctx, filepath.Join(dir, "source"), "never", "")
	if err == nil {
		g.Source, g.plain = d.describe(), plainAddress(d)
		_, err = g.site(ctx, usual)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	g.Target = g.sites[usual].server
	text, err := json.Marshal(g.lab) // for the freeze driver
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "lab.json"), text, 0o600)
	}
	return g, err
}

func plainAddress(d *dovecot) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(d.PlainPort))
}

func (g *ground) serve(ctx context.Context, dir, fsync, capability string) (*dovecot, error) {
	p, err := newProcess(dir, 0, g.guard)
	if err != nil {
		return nil, err
	}
	p.Cert, p.Key = filepath.Join(g.dir, "cert.pem"), filepath.Join(g.dir, "key.pem")
	d, err := newDovecot(p, options{format: "maildir", fsync: fsync, separator: "/"})
	if err != nil {
		return nil, err
	}
	d.Plain, d.Capability = true, capability
	if err := startDaemon(ctx, d); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(dir), err)
	}
	g.servers = append(g.servers, d)
	return d, nil
}

// site is the target of a kind, started if it was not asked for before.
func (g *ground) site(ctx context.Context, kind string) (site, error) {
	if s, ok := g.sites[kind]; ok {
		return s, nil
	}
	base, fsync, capability := g.dir, "never", ""
	switch kind {
	case onDisk:
		base, fsync = g.disk, "optimized"
	case noMulti:
		capability = capabilities + " LITERAL+"
	case noLiteral:
		capability = capabilities + " MULTIAPPEND"
	}
	dir := filepath.Join(base, kind)
	// One master for all: its secret lies beside each server's folder.
	if base != g.dir {
		secret, err := os.ReadFile(g.Master.SecretFile)
		if err != nil {
			return site{}, err
		}
		if err := os.WriteFile(filepath.Join(base, "master.secret"), secret, 0o600); err != nil {
			return site{}, err
		}
	}
	d, err := g.serve(ctx, dir, fsync, capability)
	if err != nil {
		return site{}, err
	}
	s := site{side{server{Address: d.address(), Config: d.config()}, dir}, plainAddress(d), filepath.Join(base, "work")}
	g.sites[kind] = s
	return s, os.MkdirAll(s.work, 0o700)
}

func (g *ground) close() {
	var all sync.WaitGroup
	for _, s := range g.servers {
		all.Go(s.stop)
	}
	all.Wait()
	g.guard.done()
}

// setting is a kind of target as it stands, or behind a delay on both sides.
// stop ends the proxies.
func (g *ground) setting(ctx context.Context, kind string, trip time.Duration) (s setting, stop func(), err error) {
	s.ground = g
	if s.site, err = g.site(ctx, kind); err != nil {
		return s, nil, err
	}
	s.from, s.to = g.plain, s.plain
	if trip == 0 {
		return s, func() {}, nil
	}
	ctx, stop = context.WithCancel(ctx)
	for _, address := range []*string{&s.from, &s.to} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			stop()
			return s, nil, err
		}
		to := *address
		*address = listener.Addr().String()
		go func() { _ = serveProxy(ctx, listener, to, trip/2, 0) }() // it ends with ctx
	}
	return s, stop, nil
}

// source fills a mailbox of the source with seeded mail; it stays for all rows.
func (g *ground) source(ctx context.Context, name string, messages, count int, seed uint64) (string, error) {
	name += "@bench.example"
	s := side{g.Source, filepath.Join(g.dir, "source")}
	if s.has("userdb", name) {
		return name, nil
	}
	if err := s.ensure(name, ""); err != nil {
		return "", err
	}
	c, err := g.openMailbox(ctx, g.Source.Address, name)
	if err != nil {
		return "", err
	}
	defer c.logout()
	_, err = c.fill(newCorpus(seed), folders(count), messages)
	return name, err
}

// reopen makes a mailbox of the source usable again that was switched.
func (g *ground) reopen(name string) error {
	s := side{g.Source, filepath.Join(g.dir, "source")}
	return errors.Join(s.drop("routed", name), s.drop("denied", name))
}

// pairs makes target mailboxes that nobody has used.
func (s setting) pairs(sources []string) (list []pair, err error) {
	for _, source := range sources {
		target := "t" + rand.Text()[:10] + "-" + source
		if err := s.ensure(target, ""); err != nil {
			return nil, err
		}
		list = append(list, pair{source, target})
	}
	return list, nil
}

// forget removes the mail of target mailboxes: memory is what it lies in.
func (s setting) forget(list []pair) error {
	var all error
	for _, p := range list {
		all = errors.Join(all, os.RemoveAll(filepath.Join(s.dir, "mail", strings.ToLower(p.target))), s.drop("userdb", p.target))
	}
	return all
}

// check compares each target with its source, by the lab's own reading of both.
func (s setting) check(ctx context.Context, list []pair, o view) (differences int, first string, err error) {
	for _, p := range list {
		var source, target mailbox
		if source, err = s.ground.readMailbox(ctx, s.ground.Source.Address, p.source); err != nil {
			return 0, "", err
		}
		if target, err = s.ground.readMailbox(ctx, s.Address, p.target); err != nil {
			return 0, "", err
		}
		r := diff(source, target, o)
		if differences += len(r.Differences); first == "" && !r.Equal {
			first = r.Differences[0].String()
		}
	}
	return differences, first, nil
}

// change is what users do between two runs: new mail, flags and deletions,
// spread over INBOX.
func (g *ground) change(ctx context.Context, name string, seed uint64, fresh, flagged, gone int) error {
	c, err := g.openMailbox(ctx, g.Source.Address, name)
	if err != nil {
		return err
	}
	defer c.logout()
	if _, err := c.appendMany(newCorpus(seed), "INBOX", fresh); err != nil {
		return err
	}
	a := &actor{conn: c}
	exists, err := a.open("INBOX")
	if err != nil {
		return err
	}
	flagged, gone = min(flagged, exists/3), min(gone, exists/3)
	if flagged > 0 {
		if err := a.simply(fmt.Sprintf("STORE %d:%d -FLAGS.SILENT (\\Seen)", exists/3+1, exists/3+flagged)); err != nil {
			return err
		}
		if err := a.simply(fmt.Sprintf("STORE %d:%d +FLAGS.SILENT (\\Answered)", exists/3+1, exists/3+flagged)); err != nil {
			return err
		}
	}
	if gone == 0 {
		return nil
	}
	var uids []string
	if _, err := c.do(func(v []value) error {
		if len(v) == 3 && v[1].text == "FETCH" && len(v[2].list) > 1 {
			uids = append(uids, v[2].list[1].text)
		}
		return nil
	}, fmt.Sprintf("FETCH 1:%d (UID)", gone)); err != nil {
		return err
	}
	set := strings.Join(uids, ",")
	if err := a.simply("UID STORE " + set + ` +FLAGS.SILENT (\Deleted)`); err != nil {
		return err
	}
	return a.simply("UID EXPUNGE " + set)
}

// appendHuge puts one large message into a mailbox, once.
func (g *ground) appendHuge(ctx context.Context, name string, size int) error {
	c, err := g.openMailbox(ctx, g.Source.Address, name)
	if err != nil {
		return err
	}
	defer c.logout()
	line := strings.Repeat("0123456789abcdef", 4) + "\r\n"
	body := "From: a@bench.example\r\nSubject: huge\r\n\r\n" + strings.Repeat(line, size/len(line))
	tag, err := c.sendAppend("INBOX", []mail{{body: []byte(body), date: time.Unix(1.5e9, 0).UTC()}})
	if err != nil {
		return err
	}
	_, err = c.await(tag, nil)
	return err
}
