package mailbox

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// secure brings up TLS as the plan says; there is no way around it.
func secure(ctx context.Context, server *Server, nc net.Conn) (net.Conn, error) {
	if server.TLS == "none" {
		return nc, nil
	}
	config, err := tlsConfig(server)
	if err != nil {
		return nil, err
	}
	switch server.TLS {
	case "", "implicit":
	case "starttls":
		if err := startTLS(nc); err != nil {
			return nil, fmt.Errorf("starttls: %w; the connection is not encrypted, no login was sent: somebody may be stripping STARTTLS", err)
		}
	default:
		return nil, fmt.Errorf("tls %q is not one of implicit, starttls, none", server.TLS)
	}
	tc := tls.Client(nc, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, distrust(err)
	}
	if server.TLS == "starttls" {
		return &greeted{Conn: tc, first: []byte("* OK ready\r\n")}, nil
	}
	return tc, nil
}

// distrust says what would be right where a certificate is not trusted.
func distrust(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return errors.New("tls: the certificate's authority is not known; if it is the hoster's own, name it in imap.ca_file; no login was sent")
	case errors.As(err, &name):
		return fmt.Errorf("tls: the certificate is for %s, not for %s; no login was sent", safe(strings.Join(name.Certificate.DNSNames, ", ")), name.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("tls: the certificate has expired on %s; no login was sent", invalid.Cert.NotAfter.Format("2006-01-02"))
	}
	return fmt.Errorf("tls: %w; no login was sent", err)
}

func tlsConfig(server *Server) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(server.Address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if server.CAFile != "" {
		pem, err := os.ReadFile(server.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", server.CAFile)
		}
	}
	return config, nil
}

// startTLS speaks the lines before the handshake. It stands below wire and
// library so that nothing said in clear outlives it: bytes that came along
// with the OK are an injection and end the connection.
func startTLS(nc net.Conn) error {
	_ = nc.SetDeadline(time.Now().Add(dialTimeout))
	defer func() { _ = nc.SetDeadline(time.Time{}) }()
	br := bufio.NewReaderSize(nc, 4096)
	for step, want := range []string{"* OK", "S1 OK"} {
		if step == 1 {
			if _, err := nc.Write([]byte("S1 STARTTLS\r\n")); err != nil {
				return err
			}
		}
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(line))
		if !strings.HasPrefix(strings.ToUpper(text)+" ", want+" ") {
			return fmt.Errorf("server said: %s", safe(text))
		}
		if br.Buffered() > 0 {
			return errors.New("the server sent bytes before the handshake: refused, they may be injected")
		}
	}
	return nil
}

// greeted gives the library the greeting that startTLS has read.
type greeted struct {
	net.Conn
	first []byte
}

func (g *greeted) Read(p []byte) (int, error) {
	if len(g.first) > 0 {
		n := copy(p, g.first)
		g.first = g.first[n:]
		return n, nil
	}
	return g.Conn.Read(p)
}
