// Package dovecot freezes accounts of a Dovecot source, with Postfix in front
// of it if there is one.
//
//	freeze: delivery waits (transport map) ─► logins refused (deny file) ─► cached verdicts flushed ─► sessions kicked
//	switch: mail is routed to the target; logins stay refused
//
// The two files are all there is to say how an account stands, so that thawing
// needs nothing else. Both are the hoster's, named once in the configuration of
// Dovecot and Postfix, and may hold other lines, which are left alone:
//
//	passdb { driver = passwd-file; deny = yes; args = DENY-FILE }   before the users' passdbs, after the master's
//	transport_maps = hash:TRANSPORT-MAP, …                          before the others
//
// A refused name is refused its own login only: a master passdb that stands
// before it, without "pass = yes", goes on to let Godwit in.
package dovecot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"godwit/stages/platform"
	"godwit/stages/platform/program"
)

// Config is how a Dovecot is administered. Paths are absolute.
type Config struct {
	URL    string // of the doveadm HTTP API, as in https://host:8080/doveadm/v1
	CAFile string // "" for the system's
	Secret func(context.Context) (string, error)

	DenyFile     string   // names whose login is refused
	TransportMap string   // Postfix's, "" for none
	Postmap      []string // compiles it; nil for /usr/sbin/postmap and the map
	Route        string   // where a switched account's mail goes, as in smtp:[mx.example]:25

	Timeout time.Duration // of one call; 0: 30 s
	Reread  time.Duration // until Dovecot has seen a change; 0: what it takes
}

// Driver is safe for concurrent use, and beside other processes.
type Driver struct {
	Config
	api *api
}

var _ platform.Freezer = (*Driver)(nil)

// rereads is how long Dovecot may take to see that a passwd-file has changed: it
// looks once a second (db-passwd-file.c).
const rereads = 1200 * time.Millisecond

// New returns a driver. It connects to nothing yet.
func New(c Config) (*Driver, error) {
	if c.TransportMap != "" && c.Route == "" {
		return nil, errors.New("with a transport map it must be said where a switched account's mail goes: route")
	}
	if c.Postmap == nil {
		c.Postmap = []string{"/usr/sbin/postmap", c.TransportMap}
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Reread == 0 {
		c.Reread = rereads
	}
	a, err := newAPI(c)
	return &Driver{c, a}, err
}

// Probe says beforehand what would keep a freeze from working on this machine;
// Check asks Dovecot.
func (d *Driver) Probe() error {
	err := d.denied().writable()
	if d.TransportMap != "" {
		err = errors.Join(err, d.routed().writable(), program.Check(d.Postmap, "/"))
	}
	return err
}

// Freeze stops delivery first, so that nothing arrives that nobody may read.
func (d *Driver) Freeze(ctx context.Context, r platform.Request) error {
	now, err := d.Check(ctx, r)
	switch {
	case now == platform.Switched:
		return fmt.Errorf("%s has moved already", r.Account)
	case err != nil && !errors.Is(err, errHalf):
		return err
	}
	if err := d.change(ctx, r, platform.Frozen); err != nil {
		return fmt.Errorf("%w: %w", platform.ErrUnknown, err)
	}
	if err := d.kick(ctx, login(r)); err != nil {
		return fmt.Errorf("%w: %w", platform.ErrUnknown, err)
	}
	return nil
}

// Thaw takes the account's lines out again.
func (d *Driver) Thaw(ctx context.Context, r platform.Request) error {
	if _, err := d.Check(ctx, r); err != nil && !errors.Is(err, errHalf) {
		return err
	}
	return d.change(ctx, r, platform.Open)
}

// Switch routes the account's mail to the target, what waits as well.
func (d *Driver) Switch(ctx context.Context, r platform.Request) error {
	if _, err := d.Check(ctx, r); err != nil && !errors.Is(err, errHalf) {
		return err
	}
	return d.change(ctx, r, platform.Switched)
}

// errHalf: a try was cut off between the two files.
var errHalf = errors.New("half done")

// Check reads how the account stands off the files; where it stands in none, it
// must at least be known to Dovecot.
func (d *Driver) Check(ctx context.Context, r platform.Request) (platform.State, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	for _, name := range []string{login(r), r.Account} {
		if err := plain(name); err != nil {
			return "", err
		}
	}
	state, err := d.denied().state(login(r))
	if err != nil {
		return "", err
	}
	if d.TransportMap != "" {
		routed, err := d.routed().state(r.Account)
		if err != nil {
			return "", err
		}
		if routed != state {
			return "", fmt.Errorf("%s is %s in %s and %s in %s: %w", r.Account, state, d.DenyFile, routed, d.TransportMap, errHalf)
		}
	}
	if state != platform.Open {
		return state, nil
	}
	known, err := d.api.users(ctx, login(r))
	if err == nil && !known {
		err = fmt.Errorf("%s: %w", login(r), platform.ErrNoAccount)
	}
	if err != nil {
		return "", err
	}
	return platform.Open, nil
}

// change writes both files and waits until it holds: delivery stops before the
// login does, and starts after it.
func (d *Driver) change(ctx context.Context, r platform.Request, to platform.State) error {
	steps := []func() error{
		func() error { return d.route(ctx, r, to) },
		func() error { return d.deny(ctx, login(r), to) },
	}
	if to == platform.Open {
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) deny(ctx context.Context, name string, to platform.State) error {
	denied := d.denied()
	if err := denied.held(ctx, func() error { return denied.set(name, to) }); err != nil {
		return err
	}
	select {
	case <-time.After(d.Reread):
	case <-ctx.Done():
		return ctx.Err()
	}
	return d.api.flush(ctx, name)
}

func (d *Driver) route(ctx context.Context, r platform.Request, to platform.State) error {
	if d.TransportMap == "" {
		return nil
	}
	routed := d.routed()
	return routed.held(ctx, func() error { // else an older map could be compiled last
		if err := routed.set(r.Account, to); err != nil {
			return err
		}
		return program.Run(ctx, d.Postmap, "/", d.Timeout)
	})
}

// kicks is how often a session that stays is kicked.
const kicks = 5

// kick ends the user's sessions, which began before the freeze.
func (d *Driver) kick(ctx context.Context, name string) error {
	for range kicks {
		if err := d.api.kick(ctx, name); err != nil {
			return err
		}
		left, err := d.api.who(ctx, name)
		if err != nil || !left {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s has a session that cannot be kicked", name)
}

// login is the name the account signs in with.
func login(r platform.Request) string {
	if r.Login != "" {
		return r.Login
	}
	return r.Account
}

// plain refuses names that mean something else in a file or in a pattern.
func plain(name string) error {
	if name == "" || name[0] == '#' || strings.ContainsAny(name, ":*?\\\"'%,;()<>[]") || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is no name that this driver writes into a file", name)
	}
	return nil
}
