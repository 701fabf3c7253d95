package stages_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/stages"
)

// oldServer is what users' clients have configured: it greets in words of its
// own, until leadsTo names another server.
type oldServer struct {
	Address string
	CA      []byte // PEM
	leadsTo atomic.Value
}

func newOldServer(t *testing.T, address string, ips ...net.IP) *oldServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: ips, DNSNames: []string{"other.example"},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	must(t, err)
	l, err := net.Listen("tcp", address)
	must(t, err)
	s := &oldServer{Address: l.Addr().String(), CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn, config) })
		}
	})
	return s
}

func (s *oldServer) serve(conn net.Conn, config *tls.Config) {
	defer conn.Close()
	if to, ok := s.leadsTo.Load().(string); ok {
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer up.Close()
		go func() { _, _ = io.Copy(up, conn); up.Close() }()
		_, _ = io.Copy(conn, up)
		return
	}
	secure := tls.Server(conn, config)
	fmt.Fprint(secure, "* OK The old platform is at your service.\r\n")
	_, _ = io.Copy(io.Discard, secure)
}

// with lets the plan name the server as what clients have configured.
func (s *oldServer) with(h *hoster) {
	h.t.Helper()
	file := filepath.Join(h.dir, "ca.pem")
	authorities, err := os.ReadFile(file)
	must(h.t, err)
	must(h.t, os.WriteFile(file, append(authorities, s.CA...), 0o600))
	h.edit("    webmail:", fmt.Sprintf("    clients: [%q]\n    webmail:", s.Address))
}

// Before the move validate tells what would warn a client; it holds nobody.
func TestValidateLooksWhereClientsConnect(t *testing.T) {
	tests := map[string]struct {
		ip   net.IP
		want string // "" for nothing
	}{
		"a server whose certificate fits": {net.IPv4(127, 0, 0, 1), ""},
		"one whose certificate does not":  {net.IPv4(127, 0, 0, 9), "the certificate is for "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			old := newOldServer(t, "127.0.0.1:0", tt.ip)
			h := newHoster(t)
			old.with(h)
			var found []string
			for _, f := range h.checked(acme)[""] {
				if f.Verdict != stages.Warning || f.Reason != "clients" {
					t.Errorf("%s %s: %s", f.Verdict, f.Reason, f.Text)
				}
				found = append(found, f.Text)
			}
			got := strings.Join(found, "\n")
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || got != "" && !strings.Contains(got, old.Address) {
				t.Errorf("got %q; want %q", got, tt.want)
			}
			h.outcome("done", h.validate(), "", acme)
		})
	}
}

// A name that the target's certificate does not have is told before the move:
// every client would be warned after it.
func TestValidateFindsThatTheTargetCannotStandIn(t *testing.T) {
	old := newOldServer(t, "127.0.0.2:0", net.IPv4(127, 0, 0, 2)) // on loopback, and not in the target's certificate
	h := newHoster(t)
	old.with(h)
	found := h.checked(acme)[""]
	if len(found) != 1 || !strings.Contains(found[0].Text, "the target could not stand in for it") || !strings.Contains(found[0].Text, "127.0.0.2") {
		t.Errorf("got %+v", found)
	}
}

// After the switch it is told where clients still meet the old server, to the
// operator and not to the customer; and not any more once they do not.
func TestClientsAreLookedAtAfterTheSwitch(t *testing.T) {
	old := newOldServer(t, "127.0.0.1:0", net.IPv4(127, 0, 0, 1))
	h := newHoster(t)
	old.with(h)
	h.untilTheNight()
	h.run("2026-12-02 22:05")
	const want = "it does not lead to the target: it greets with \"* OK The old platform"
	if got := h.state(anna).Clients; !strings.Contains(got, old.Address) || !strings.Contains(got, want) {
		t.Errorf("after the switch: %q", got)
	}
	if got := h.sheet("one/report.csv")[0]["reason"]; !strings.Contains(got, want) {
		t.Errorf("the operator reads %q", got)
	}
	if got := h.sheet("one/" + acme + "/report.csv")[0]["reason"]; strings.Contains(got, "old platform") {
		t.Errorf("the customer reads %q", got)
	}
	old.leadsTo.Store(h.TargetAddress)
	h.run("2026-12-03 22:05")
	if got := h.state(anna).Clients; got != "" {
		t.Errorf("once they lead to the target: %q", got)
	}
	h.outcome("done", h.copying(), pipeline.CatchUp, anna)
}
