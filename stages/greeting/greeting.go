// Package greeting looks at a mail server as a user's client meets it: it
// connects, brings up TLS, reads the greeting and leaves. It never signs in.
//
//	Look       what an address says, and whether its certificate is good for a name
//	Unlike     how two greetings differ, where it is not the time or the host
package greeting

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Protocol is what an address speaks, by its greeting.
type Protocol string

// The protocols that mail clients speak.
const (
	IMAP Protocol = "IMAP"
	POP3 Protocol = "POP3"
	SMTP Protocol = "SMTP"
)

// Greeting is how a server greets.
type Greeting struct {
	Protocol Protocol
	Text     string // as it came, without control characters
}

// within bounds one look.
const within = 20 * time.Second

// beginsPlain are the ports on which TLS follows the greeting, by STARTTLS
// (RFC 8314, 4.1; RFC 2595); on all others it comes first.
var beginsPlain = []string{"25", "110", "143", "587"}

// Look connects to address as a client would that knows it as name, and checks
// the certificate for that name, against a CA file or, with "", the system's
// roots. Errors: that nobody answers, that it greets as no mail server does, or
// what is wrong with the certificate; they name no address.
func Look(ctx context.Context, address, name, caFile string) (Greeting, error) {
	config := &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return Greeting{}, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return Greeting{}, fmt.Errorf("%s holds no certificate in PEM form", caFile)
		}
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return Greeting{}, err
	}
	plainFirst := slices.Contains(beginsPlain, port)
	g, err := look(ctx, address, config, plainFirst)
	var noTLS tls.RecordHeaderError
	if errors.As(err, &noTLS) && !plainFirst { // another port that begins in clear
		return look(ctx, address, config, true)
	}
	return g, err
}

func look(ctx context.Context, address string, config *tls.Config, plainFirst bool) (Greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return Greeting{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if plainFirst {
		lines := bufio.NewReaderSize(conn, longest)
		g, err := greeted(lines)
		if err != nil {
			return g, err
		}
		if err := startTLS(conn, lines, g.Protocol); err != nil {
			return g, err
		}
		return g, shake(ctx, tls.Client(conn, config))
	}
	secure := tls.Client(conn, config)
	if err := shake(ctx, secure); err != nil {
		return Greeting{}, err
	}
	return greeted(bufio.NewReaderSize(secure, longest))
}

// shake brings TLS up and says what a client's user would be warned of.
func shake(ctx context.Context, conn *tls.Conn) error {
	err := conn.HandshakeContext(ctx)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("the certificate is for %s, not for %s", printable(strings.Join(name.Certificate.DNSNames, ", ")), name.Host)
	case errors.As(err, &unknown):
		return errors.New("the certificate's authority is not known")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the certificate has expired on %s", invalid.Cert.NotAfter.Format("2006-01-02"))
	case err != nil:
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}

// longest line that a server may greet with.
const longest = 8192

var starts = []struct {
	begins   string
	protocol Protocol
}{{"* OK", IMAP}, {"* PREAUTH", IMAP}, {"220", SMTP}, {"+OK", POP3}}

func greeted(lines *bufio.Reader) (Greeting, error) {
	line, err := read(lines)
	if err != nil {
		return Greeting{}, fmt.Errorf("no greeting: %w", err)
	}
	for _, s := range starts {
		if strings.HasPrefix(strings.ToUpper(line), s.begins) {
			for s.protocol == SMTP && strings.HasPrefix(line, "220-") && err == nil { // of several lines
				line, err = read(lines)
			}
			return Greeting{s.protocol, printable(line)}, err
		}
	}
	return Greeting{}, fmt.Errorf("it greets as no mail server does: %s", printable(line))
}

func read(lines *bufio.Reader) (string, error) {
	line, err := lines.ReadSlice('\n')
	return strings.TrimSpace(string(line)), err
}

// startTLS asks for TLS in the protocol's words.
func startTLS(conn net.Conn, lines *bufio.Reader, p Protocol) error {
	say := map[Protocol][]struct{ command, yes string }{
		IMAP: {{"a STARTTLS", "A OK"}},
		POP3: {{"STLS", "+OK"}},
		SMTP: {{"EHLO localhost", "250"}, {"STARTTLS", "220"}},
	}[p]
	for _, s := range say {
		if _, err := conn.Write([]byte(s.command + "\r\n")); err != nil {
			return err
		}
		line, err := read(lines)
		for err == nil && (p == SMTP && len(line) > 3 && line[3] == '-' || strings.HasPrefix(line, "* ")) {
			line, err = read(lines)
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(strings.ToUpper(line), s.yes) {
			return fmt.Errorf("it takes no STARTTLS: %s", printable(line))
		}
	}
	return nil
}

// passing are the parts of a greeting that differ from one connection or host to
// the next: capabilities, addresses, host names, ids and times.
var passing = regexp.MustCompile(`\[[^\]]*\]|<[^>]*>|\S*[0-9.:]\S*`)

// Unlike says that two servers greet in other words: they are not the same
// software, or not set up alike.
func Unlike(a, b Greeting) bool {
	return a.Protocol != b.Protocol || words(a.Text) != words(b.Text)
}

func words(text string) string {
	return strings.ToLower(strings.Join(strings.Fields(passing.ReplaceAllString(text, " ")), " "))
}

// printable keeps a server's text from reaching a terminal raw, or at length.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
