// Package demohost is a pretend hoster in memory: source and target IMAP
// servers, an SMTP sink and an admin side. The demo, scripts and stage tests
// run on it.
//
//	IMAP session ─► account ─► folder ─► message      one tree per side
//	Deliver ─► route (open: source, frozen: queue, switched: target)
//	Hook ─► admin socket ─► act ─► states, passwords
//
// The IMAP protocol is go-imap's imapserver; the mail store is our own, because
// imapmemserver writes headers anew when it hands out a message and returns
// nothing at all for a message whose header is broken.
//
// Locks: Host.mu guards who is who (accounts, passwords, states, counters);
// account.mu guards what is in one mailbox. Host.mu is taken first.
package demohost

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-smtp"

	"godwit/stages/platform"
)

// Side is one of the two mail servers.
type Side string

const (
	Source Side = "source"
	Target Side = "target"
)

// Host is a running pretend hoster. All servers listen on loopback with TLS.
type Host struct {
	SourceAddress string // host:port, implicit TLS
	TargetAddress string
	SMTPAddress   string // host:port, implicit TLS
	CAFile        string // PEM of the certificate authority all servers use
	AdminSocket   string // unix socket of the admin side, see Hook

	migrator Migrator
	without  []string
	tls      *tls.Config
	closers  []func() error
	serving  sync.WaitGroup

	mu        sync.Mutex
	accounts  map[Side]map[string]*account
	states    map[string]platform.State // of source accounts; absent: open
	route     map[string]string         // switched source account -> target account
	queue     map[string][]Message      // deliveries that wait for thaw or switch
	sessions  map[*session]struct{}
	mutations int
	failures  map[string][]Failure // by action, the next first
	sink      sink
}

// Message is a mail put into a mailbox, or read from one.
type Message struct {
	Folder string
	Body   []byte
	Flags  []string
	Date   time.Time
	UID    uint32 // when read
}

// Mail is what the SMTP sink took.
type Mail struct {
	From, To string
	Data     []byte
	At       time.Time
}

// Migrator is how Godwit signs in: at both IMAP servers, with the account as
// authorization identity or as "account*login", and at the SMTP sink.
type Migrator struct {
	Login, Secret         string
	SMTPLogin, SMTPSecret string
}

// Start starts a hoster without accounts. It writes ca.pem and the admin socket
// into dir (the socket elsewhere if dir's name is too long for one). Its servers
// offer all that they can but the capabilities named by without; without "TLS"
// they speak in clear.
func Start(dir string, without ...string) (*Host, error) {
	h := &Host{
		without: without,
		CAFile:  filepath.Join(dir, "ca.pem"),
		migrator: Migrator{
			Login: "migrator", Secret: rand.Text(),
			SMTPLogin: "migration", SMTPSecret: rand.Text(),
		},
		accounts: map[Side]map[string]*account{Source: {}, Target: {}},
		states:   map[string]platform.State{},
		route:    map[string]string{},
		queue:    map[string][]Message{},
		sessions: map[*session]struct{}{},
		failures: map[string][]Failure{},
	}
	if err := h.start(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("demo host: %w", err), h.Close())
	}
	return h, nil
}

func (h *Host) start(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	authority, config, err := certificates()
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.CAFile, authority, 0o600); err != nil {
		return err
	}
	h.tls = config
	if h.SourceAddress, err = h.serveIMAP(Source); err != nil {
		return err
	}
	if h.TargetAddress, err = h.serveIMAP(Target); err != nil {
		return err
	}
	if h.SMTPAddress, err = h.serveSMTP(); err != nil {
		return err
	}
	return h.serveAdmin(dir)
}

// Close ends all servers and connections. Mail and state stay readable.
func (h *Host) Close() error {
	var errs []error
	for _, closer := range h.closers {
		errs = append(errs, closer())
	}
	h.closers = nil
	h.serving.Wait()
	return errors.Join(errs...)
}

// Migrator tells how Godwit signs in.
func (h *Host) Migrator() Migrator { return h.migrator }

// MutationCount counts the commands with which IMAP sessions tried to change
// the source: STORE, APPEND, EXPUNGE, CLOSE after SELECT, COPY, MOVE, CREATE,
// DELETE, RENAME, SUBSCRIBE, and a FETCH that sets \Seen. It must stay 0.
func (h *Host) MutationCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mutations
}

func (h *Host) serveIMAP(side Side) (string, error) {
	caps := imap.CapSet{}
	for _, c := range []imap.Cap{
		imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapLiteralPlus, imap.CapUIDPlus, imap.CapNamespace, imap.CapMove,
		imap.CapESearch, imap.CapSearchRes, imap.CapListExtended, imap.CapListStatus, imap.CapStatusSize,
		imap.CapChildren, imap.CapSpecialUse, imap.CapCreateSpecialUse,
	} {
		if !slices.Contains(h.without, string(c)) {
			caps[c] = struct{}{}
		}
	}
	server := imapserver.New(&imapserver.Options{
		NewSession: func(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &session{host: h, side: side, conn: c}, nil, nil
		},
		Caps:         caps,
		InsecureAuth: slices.Contains(h.without, "TLS"),
		Logger:       quiet,
	})
	return h.listen(server.Serve, server.Close)
}

func (h *Host) serveSMTP() (string, error) {
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &submission{host: h, conn: c}, nil
	}))
	server.Domain = "smtp.demo.example"
	server.ErrorLog = quiet
	server.EnableSMTPUTF8 = true
	return h.listen(server.Serve, server.Close)
}

// listen serves TLS on a free port of loopback until Close.
func (h *Host) listen(serve func(net.Listener) error, stop func() error) (string, error) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	conns := &connections{Listener: tcp}
	var l net.Listener = conns
	if !slices.Contains(h.without, "TLS") {
		l = tls.NewListener(conns, h.tls)
	}
	h.serving.Go(func() { _ = serve(l) })
	h.closers = append(h.closers, func() error {
		conns.drop()
		_ = stop() // complains about the listener that is closed already
		return nil
	})
	return tcp.Addr().String(), nil
}

// connections is a listener that can end all it accepted: the servers forget
// connections that have not shaken hands yet.
type connections struct {
	net.Listener
	mu   sync.Mutex
	all  []net.Conn
	gone bool
}

func (c *connections) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		conn.Close()
		return nil, net.ErrClosed
	}
	c.all = append(c.all, conn)
	return conn, nil
}

func (c *connections) drop() {
	c.Listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, conn := range c.all {
		conn.Close()
	}
}

// quiet drops the servers' logs: cut connections are part of the game here.
var quiet = log.New(io.Discard, "", 0)
