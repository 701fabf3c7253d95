package mailer

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	dialTimeout = 30 * time.Second
	answerWait  = 2 * time.Minute
	afterDot    = 10 * time.Minute
	goodbye     = 5 * time.Second
)

// session is one connection, signed in.
type session struct {
	client *smtp.Client
	wire   *wire
}

// connect dials, secures and signs in. Its errors are trouble.
func connect(ctx context.Context, server Server, timeout time.Duration) (*session, error) {
	host, config, err := server.check()
	if err == nil && len(server.Residency) > 0 && !slices.Contains(server.Residency, server.Region) {
		err = fmt.Errorf("relay %s: its region is %q, and customers were promised that their data stays in %s; no connection was made", server.Address, server.Region, strings.Join(server.Residency, ", "))
	}
	if err != nil {
		return nil, trouble{at: Connect, err: err}
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", server.Address)
	if err != nil {
		return nil, trouble{at: Connect, err: err}
	}
	timeout = cmp.Or(timeout, answerWait)
	live := &session{wire: &wire{Conn: conn, timeout: timeout}}
	stop := live.closeWith(ctx)
	defer stop()
	if err := live.open(ctx, server, config, timeout); err != nil {
		conn.Close()
		return nil, because(ctx, err)
	}
	if server.Login == "" {
		return live, nil
	}
	if err := live.signIn(ctx, server, host); err != nil {
		conn.Close()
		return nil, because(ctx, err)
	}
	return live, nil
}

// check reads what needs no connection.
func (s Server) check() (host string, config *tls.Config, err error) {
	host, _, err = net.SplitHostPort(s.Address)
	if err != nil {
		return "", nil, fmt.Errorf("relay %q: not host:port", s.Address)
	}
	switch s.TLS {
	case "", "implicit", "starttls":
	case "none":
		return host, nil, nil
	default:
		return "", nil, fmt.Errorf("relay %s: tls %q is none of implicit, starttls, none", s.Address, s.TLS)
	}
	config = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if s.CAFile == "" {
		return host, config, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return "", nil, fmt.Errorf("ca_file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return "", nil, fmt.Errorf("ca_file %s: holds no PEM certificate", s.CAFile)
	}
	return host, config, nil
}

// open brings the connection to the point where commands may be given.
func (s *session) open(ctx context.Context, server Server, config *tls.Config, timeout time.Duration) error {
	switch server.TLS {
	case "none":
		s.client = smtp.NewClient(s.wire)
	case "starttls":
		if err := s.startTLS(config, timeout); err != nil {
			return err
		}
	default:
		secure := tls.Client(s.wire, config)
		handshake, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if err := secure.HandshakeContext(handshake); err != nil {
			return trouble{at: TLS, err: err}
		}
		s.client = smtp.NewClient(secure)
	}
	s.client.CommandTimeout = timeout
	s.client.SubmissionTimeout = max(timeout, afterDot)
	// After STARTTLS this is also the handshake and the second EHLO, whose
	// extensions replace those told in clear (RFC 3207, 4.2).
	if err := s.client.Hello(literal(s.wire.LocalAddr())); err != nil {
		at := Connect
		var answer *smtp.SMTPError
		if server.TLS == "starttls" && !errors.As(err, &answer) {
			at = TLS
		}
		return trouble{at: at, err: err}
	}
	return nil
}

// startTLS never goes on in clear: a relay without STARTTLS, or one that says
// no, is an error.
func (s *session) startTLS(config *tls.Config, timeout time.Duration) error {
	// NewClientStartTLS waits with go-smtp's own five minutes; a watch on the
	// connection keeps to ours.
	watch := time.AfterFunc(timeout, func() { s.wire.Close() })
	defer watch.Stop()
	client, err := smtp.NewClientStartTLS(s.wire, config)
	if err != nil {
		var answer *smtp.SMTPError
		if errors.As(err, &answer) && !s.wire.upgrading {
			return trouble{at: Connect, err: err}
		}
		return trouble{at: TLS, err: err}
	}
	s.client = client
	return nil
}

// signIn opens the secret at the moment of use. PLAIN before LOGIN, which is
// obsolete but all that some relays offer.
func (s *session) signIn(ctx context.Context, server Server, host string) error {
	_, secure := s.client.TLSConnectionState()
	if !secure && server.TLS != "none" {
		return trouble{at: Auth, err: errors.New("no login is sent without TLS")}
	}
	offersPlain, offersLogin := s.client.SupportsAuth(sasl.Plain), s.client.SupportsAuth(sasl.Login)
	if !offersPlain && !offersLogin {
		return trouble{at: Auth, err: fmt.Errorf("relay %s offers neither AUTH PLAIN nor LOGIN; leave out login, or ask its operator", host)}
	}
	if server.Secret == nil {
		return trouble{at: Auth, err: errors.New("a login without a secret")}
	}
	secret, err := server.Secret(ctx)
	if err != nil {
		return trouble{at: Auth, err: fmt.Errorf("secret: %w", err)}
	}
	mechanism := sasl.NewLoginClient(server.Login, secret)
	if offersPlain {
		mechanism = sasl.NewPlainClient("", server.Login, secret)
	}
	if err := s.client.Auth(mechanism); err != nil {
		return trouble{at: Auth, hide: forms(server.Login, secret), err: err}
	}
	return nil
}

// forms are the shapes in which a relay may repeat the secret to us.
func forms(login, secret string) []string {
	encode := base64.StdEncoding.EncodeToString
	return []string{encode([]byte("\x00" + login + "\x00" + secret)), encode([]byte(secret)), secret}
}

// literal names this machine in EHLO by its address (RFC 5321, 4.1.3): a host
// name that means nothing outside is refused by some relays.
func literal(local net.Addr) string {
	host, _, err := net.SplitHostPort(local.String())
	ip := net.ParseIP(host)
	switch {
	case err != nil || ip == nil:
		return "localhost"
	case ip.To4() != nil:
		return "[" + host + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}

// closeWith ends the connection when ctx does: go-smtp knows no contexts.
func (s *session) closeWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.wire.Close() })
}

// quit says goodbye, but does not wait long for the answer.
func (s *session) quit() {
	s.client.CommandTimeout = goodbye
	if s.client.Quit() != nil {
		_ = s.client.Close() // it is of no use any more
	}
}
