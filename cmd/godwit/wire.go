package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/time/rate"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
	"godwit/stages"
	"godwit/stages/mailbox"
	"godwit/stages/mailer"
	"godwit/stages/platform"
	"godwit/stages/platform/dovecot"
	"godwit/stages/platform/program"
	"godwit/stages/platform/zimbra"
	"godwit/stages/vault"
	"godwit/templates"
)

// load reads the plan, or ends with exit code 2 and every problem.
func load(file string) (*plans.Plan, error) {
	plan, err := plans.Load(file)
	if err != nil {
		return nil, exit{exitWrong, err}
	}
	return plan, nil
}

// ledgerFile is where the plan's ledger lies.
func ledgerFile(plan *plans.Plan) string {
	return filepath.Join(outputDir(plan), plan.Name+".ledger")
}

func outputDir(plan *plans.Plan) string {
	if filepath.IsAbs(plan.Output.Dir) {
		return plan.Output.Dir
	}
	return filepath.Join(plan.Dir, plan.Output.Dir)
}

// openLedger takes the plan's lock. A run that holds it already is exit code 3,
// a mix of rehearsal and real run exit code 2.
func openLedger(ctx context.Context, file string, rehearsal bool) (ledger.Ledger, error) {
	if err := ours(file); err != nil {
		return nil, exit{exitWrong, err}
	}
	l, err := afterGuard(ctx, file, rehearsal)
	switch {
	case errors.Is(err, ledger.ErrBusy):
		return nil, exit{exitBusy, fmt.Errorf("%s: %w", file, err)}
	case errors.Is(err, ledger.ErrRehearsal) && rehearsal:
		return nil, exit{exitWrong, fmt.Errorf("%w; leave --now away, or rehearse with another output.dir", err)}
	case errors.Is(err, ledger.ErrRehearsal):
		return nil, exit{exitWrong, fmt.Errorf("%w; it was begun with --now: go on with --now, or set another output.dir for the real programme", err)}
	case err != nil:
		return nil, exit{exitWrong, err}
	}
	return l, nil
}

// tools are what the stages of a plan need, made once per command.
type tools struct {
	plan      *plans.Plan
	servers   stages.Servers
	admins    map[string]platform.Admin
	freeze    ledger.Thaw
	freezers  freezers
	vault     *vault.Vault
	templates map[*plans.Batch]*templates.Set
	senders   map[*plans.Batch]*mailer.Sender
	clients   *stages.Clients
	clock     pipeline.Clock
}

func wire(plan *plans.Plan, clock pipeline.Clock) (*tools, error) {
	t := &tools{
		plan: plan, clock: clock, clients: &stages.Clients{Plan: plan, Now: clock.Now}, admins: map[string]platform.Admin{},
		servers:   stages.Servers{Source: server(plan.Source.IMAP, plan.Source.Platform, plan.Source.Region, plan, plan.Copy.Rate), Targets: map[string]*mailbox.Server{}},
		templates: map[*plans.Batch]*templates.Set{}, senders: map[*plans.Batch]*mailer.Sender{},
	}
	var err error
	for name, target := range plan.Targets {
		t.servers.Targets[name] = server(target.IMAP, target.Platform, target.Region, plan, 0)
		switch target.Admin.Name {
		case "exec":
			t.admins[name] = program.New(target.Admin.Command, plan.Dir, target.Admin.Timeout)
		case "zimbra":
			if t.admins[name], err = zimbra.New(zimbraConfig(target.Admin)); err != nil {
				return nil, fmt.Errorf("targets.%s.admin: %w", name, err)
			}
		case "list", "none", "":
		default:
			return nil, fmt.Errorf("targets.%s.admin: there is no driver %q", name, target.Admin.Name)
		}
	}
	t.freeze = thawOf(plan)
	if t.vault, err = vault.Open(outputDir(plan), plan.Name, os.Getenv("GODWIT_KEY")); err != nil {
		return nil, err
	}
	for _, b := range plan.Batches {
		if t.templates[b], err = notices(plan, b); err != nil {
			return nil, err
		}
		smtp := b.Notices.SMTP
		t.senders[b] = &mailer.Sender{Server: mailer.Server{Address: smtp.Address, TLS: smtp.TLS, CAFile: smtp.CAFile, Login: smtp.Login, Secret: smtp.Secret.Open, Region: smtp.Region, Residency: plan.Promises.Residency}}
	}
	return t, nil
}

func zimbraConfig(d plans.Driver) zimbra.Config {
	return zimbra.Config{
		URL: d.URL, Login: d.Login, Secret: d.Secret.Open, CAFile: d.CAFile, Timeout: d.Timeout, COS: d.COS, Create: d.Create,
	}
}

// freezers makes each freeze driver once: all accounts share its connections,
// its sign-in and its limits.
type freezers struct {
	mu   sync.Mutex
	made map[string]platform.Freezer // by how, but for the request
}

func (f *freezers) open(how ledger.Thaw) (platform.Freezer, error) {
	how.Request = nil
	key, err := json.Marshal(how)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if driver := f.made[string(key)]; driver != nil {
		return driver, nil
	}
	driver, err := freezer(how)
	if err != nil {
		return nil, err
	}
	if f.made == nil {
		f.made = map[string]platform.Freezer{}
	}
	f.made[string(key)] = driver
	return driver, nil
}

// freezer makes a freeze driver from what the ledger keeps, so that thawing needs
// no plan.
func freezer(how ledger.Thaw) (platform.Freezer, error) {
	switch how.Driver {
	case "exec":
		return program.New(how.Command, how.Dir, how.Timeout), nil
	case "dovecot":
		return dovecotDriver(how)
	case "zimbra":
		return zimbraDriver(how)
	default:
		return nil, fmt.Errorf("there is no freeze driver %q", how.Driver)
	}
}

func dovecotDriver(how ledger.Thaw) (*dovecot.Driver, error) {
	secret, err := plans.ParseSecret(how.Secret)
	if err != nil {
		return nil, fmt.Errorf("the doveadm secret %w", err)
	}
	return dovecot.New(dovecot.Config{
		URL: how.URL, CAFile: how.CAFile, Secret: secret.Open, Timeout: how.Timeout,
		DenyFile: how.DenyFile, TransportMap: how.TransportMap, Postmap: how.Postmap, Route: how.Route,
	})
}

func zimbraDriver(how ledger.Thaw) (*zimbra.Driver, error) {
	secret, err := plans.ParseSecret(how.Secret)
	if err != nil {
		return nil, fmt.Errorf("the administrator's secret %w", err)
	}
	return zimbra.New(zimbra.Config{URL: how.URL, Login: how.Login, Secret: secret.Open, CAFile: how.CAFile, Timeout: how.Timeout, Route: how.Route})
}

// thawOf is what the ledger keeps of how the plan freezes.
func thawOf(plan *plans.Plan) ledger.Thaw {
	f := plan.Source.Freeze
	return ledger.Thaw{
		Driver: f.Name, Command: f.Command, Dir: plan.Dir, Timeout: f.Timeout, URL: f.URL, Login: f.Login, Secret: f.Secret.Ref(), CAFile: f.CAFile,
		DenyFile: f.DenyFile, TransportMap: f.TransportMap, Postmap: f.Postmap, Route: f.Route,
	}
}

func server(imap plans.IMAP, platform, region string, plan *plans.Plan, bytesPerSecond int64) *mailbox.Server {
	s := &mailbox.Server{
		Address: imap.Address, TLS: imap.TLS, Platform: platform, CAFile: imap.CAFile, Auth: imap.Auth, Login: imap.Login,
		MasterFormat: imap.MasterFormat, Connections: imap.MaxConnections,
		Region: region, Residency: plan.Promises.Residency,
	}
	if !imap.Secret.IsZero() {
		s.Secret = imap.Secret.Open
	}
	if bytesPerSecond > 0 {
		s.Rate = rate.NewLimiter(rate.Limit(bytesPerSecond), int(max(bytesPerSecond, 1<<20)))
	}
	return s
}

// notices are the built-in templates with the hoster's over them.
func notices(plan *plans.Plan, b *plans.Batch) (*templates.Set, error) {
	var own fs.FS
	if b.Notices.Templates != "" {
		var err error
		if own, err = fs.Sub(plan.Root.FS(), filepath.ToSlash(filepath.Clean(b.Notices.Templates))); err != nil {
			return nil, err
		}
	}
	return templates.Load(own)
}

func (t *tools) validate() stages.Validate {
	return stages.Validate{
		Plan: t.plan, Servers: t.servers, Admins: t.admins, Now: t.clock.Now, Drivers: t.programs,
		Driver: t.freeze, Open: t.freezers.open, Clients: t.clients,
		Sender: func(b *plans.Batch) *mailer.Sender { return t.senders[b] },
	}
}

// programs looks whether the plan's own programs can be run, and its files
// written.
func (t *tools) programs() error {
	if f := t.plan.Source.Freeze; f.Name == "exec" {
		if err := program.Check(f.Command, t.plan.Dir); err != nil {
			return fmt.Errorf("source.freeze.command: %w", err)
		}
	}
	if t.freeze.Driver == "dovecot" {
		driver, err := dovecotDriver(t.freeze)
		if err == nil {
			err = driver.Probe()
		}
		if err != nil {
			return fmt.Errorf("source.freeze: %w", err)
		}
	}
	for name, target := range t.plan.Targets {
		if target.Admin.Name != "exec" {
			continue
		}
		if err := program.Check(target.Admin.Command, t.plan.Dir); err != nil {
			return fmt.Errorf("targets.%s.admin.command: %w", name, err)
		}
	}
	return nil
}

// stages is the whole way, over an open ledger and output folder.
func (t *tools) stages(l ledger.Ledger, output *os.Root, progress func(account string, done, total int64)) []pipeline.Stage {
	now := t.clock.Now
	return stages.All(
		t.validate(),
		stages.Notify{
			Plan: t.plan, Now: now,
			Sender:    func(b *plans.Batch) *mailer.Sender { return t.senders[b] },
			Templates: func(b *plans.Batch) *templates.Set { return t.templates[b] },
		},
		stages.Freeze{Plan: t.plan, Servers: t.servers, Driver: t.freeze, Open: t.freezers.open, Vault: t.vault, Now: now},
		stages.Copy{Plan: t.plan, Servers: t.servers, Admins: t.admins, Vault: t.vault, Clients: t.clients, Now: now, Progress: progress},
		stages.Credentials{Plan: t.plan, Servers: t.servers, Admins: t.admins, Open: t.freezers.open, Vault: t.vault, Clients: t.clients, Now: now},
		stages.Report{Plan: t.plan, Ledger: l, Output: output, Vault: t.vault},
	)
}

func (t *tools) close() error {
	var err error
	for _, s := range t.senders {
		err = errors.Join(err, s.Close())
	}
	return err
}

func logger(format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}
