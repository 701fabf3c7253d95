package mailbox_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"godwit/stages/mailbox"
)

// dovecot is a private Dovecot below a temporary folder: any user may sign in
// with the password "secret", and "migrator" with "master" as anybody.
type dovecot struct {
	dir, ca     string
	imap, imaps string // host:port
}

const (
	dovecotBinary = "/usr/sbin/dovecot"
	userSecret    = "secret"
	masterSecret  = "master"
)

// Namespaces as hosters have them.
const (
	slashes = "namespace inbox {\n  inbox = yes\n  separator = /\n  mailbox Sent {\n    special_use = \\Sent\n  }\n}\n"
	dots    = "namespace inbox {\n  inbox = yes\n  separator = .\n  prefix = INBOX.\n}\n"
)

// startDovecot runs one for the length of the test. extra is configuration.
func startDovecot(t *testing.T, extra string) *dovecot {
	t.Helper()
	if _, err := os.Stat(dovecotBinary); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("this test needs %s: apt-get install dovecot-imapd", dovecotBinary)
		}
		t.Skipf("no %s: tests against a real server are left out", dovecotBinary)
	}
	// Not t.TempDir: its parent is closed to the user that Dovecot runs as.
	dir, err := os.MkdirTemp("", "godwit-dovecot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &dovecot{dir: dir, ca: filepath.Join(dir, "ca.pem"), imap: freePort(t), imaps: freePort(t)}
	writeCertificate(t, dir)
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	mailUser, loginUser, internalUser := who, who.Username, who.Username
	if who.Uid == "0" {
		if mailUser, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
		loginUser, internalUser = "dovenull", "dovecot"
	}
	home := filepath.Join(dir, "home")
	uid, _ := strconv.Atoi(mailUser.Uid)
	gid, _ := strconv.Atoi(mailUser.Gid)
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if who.Uid == "0" {
		if err := os.Chown(home, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(d.imap)
	_, tlsPort, _ := net.SplitHostPort(d.imaps)
	config := fmt.Sprintf(`
protocols = imap
listen = 127.0.0.1
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
default_internal_user = %[2]s
default_login_user = %[3]s
default_internal_group = %[8]s
first_valid_uid = 1
disable_plaintext_auth = no
ssl = yes
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
auth_master_user_separator = *
mail_location = maildir:~/Maildir
mail_max_userip_connections = 200
auth_failure_delay = 0
login_trusted_networks =
passdb {
  driver = passwd-file
  master = yes
  args = %[1]s/masters
}
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=%[4]d gid=%[5]d home=%[1]s/home/%%u
}
service imap-login {
  chroot =
  process_min_avail = 1
  service_count = 0
  client_limit = 500
  inet_listener imap {
    port = %[6]s
  }
  inet_listener imaps {
    port = %[7]s
    ssl = yes
  }
}
service anvil {
  chroot =
}
%[9]s
`, dir, internalUser, loginUser, uid, gid, port, tlsPort, groupOf(t, internalUser), extra)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("dovecot.conf", config)
	write("masters", "migrator:{PLAIN}"+masterSecret+"\n")
	cmd := exec.Command(dovecotBinary, "-F", "-c", filepath.Join(dir, "dovecot.conf"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if log, _ := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("the end of Dovecot's log:\n%s", log[max(0, len(log)-2000):])
		}
	})
	for range 400 {
		up := true
		for _, address := range []string{d.imap, d.imaps} {
			c, err := net.Dial("tcp", address)
			if up = up && err == nil; err == nil {
				_ = c.Close()
			}
		}
		if up {
			return d
		}
		time.Sleep(25 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log"))
	t.Fatalf("dovecot does not listen: %s%s", said.String(), log)
	return nil
}

func groupOf(t *testing.T, name string) string {
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

// freePort is below the ports that the kernel gives out: of those another test
// may get the same before Dovecot takes it.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10000+mathrand.IntN(20000)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
}

// writeCertificate makes a certificate that is its own authority.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "godwit test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		"cert.pem": cert, "ca.pem": cert,
		"key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

var accountNumber atomic.Int64

// account is a fresh mailbox on the server, over TLS.
func (d *dovecot) account() mailbox.Endpoint {
	name := fmt.Sprintf("user%d", accountNumber.Add(1))
	return mailbox.Endpoint{
		Server: &mailbox.Server{Address: d.imaps, TLS: "implicit", CAFile: d.ca, Stall: 20 * time.Second},
		Login:  mailbox.Login{User: name, Secret: secret(userSecret)},
	}
}

func secret(s string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return s, nil }
}
