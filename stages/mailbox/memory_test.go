package mailbox_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"godwit/stages/mailbox"
)

// memoryServer is the library's server in memory; any capability set.
type memoryServer struct {
	*imapmemserver.Server
	address string
}

func startMemory(t testing.TB, caps ...imap.Cap) *memoryServer {
	t.Helper()
	m := &memoryServer{Server: imapmemserver.New()}
	set := imap.CapSet{}
	for _, c := range caps {
		set[c] = struct{}{}
	}
	s := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return m.NewSession(), nil, nil
		},
		Caps: set, InsecureAuth: true, Logger: log.New(io.Discard, "", 0),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return m
}

func (m *memoryServer) account(t testing.TB) mailbox.Endpoint {
	t.Helper()
	name := fmt.Sprintf("user%d", accountNumber.Add(1))
	u := imapmemserver.NewUser(name, userSecret)
	if err := u.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	m.AddUser(u)
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: m.address, TLS: "none", Stall: 10 * time.Second},
		Login:  mailbox.Login{User: name, Secret: secret(userSecret)},
	}
}

var modern = []imap.Cap{imap.CapIMAP4rev1, imap.CapIMAP4rev2, imap.CapLiteralPlus}
