package plans

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// parseEndpoint checks host or host:port. The port is filled in later, when
// tls is known.
func parseEndpoint(s string) (any, error) {
	if strings.Contains(s, "@") {
		return nil, errors.New("has a user or password in it; write host:port only")
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return nil, wrong("begins with %s; write %q", shown(scheme+"://"), rest)
	}
	if strings.ContainsAny(s, "/?#") {
		return nil, wrong("%s has a path; write host:port only", shown(s))
	}
	host, port := splitEndpoint(s)
	if port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || !digits.MatchString(port) {
			return nil, wrong("%s has the port %s; ports are 1 to 65535", shown(s), shown(port))
		}
	} else if strings.HasSuffix(s, ":") {
		return nil, wrong("%s ends with a colon; write the port or leave it out", shown(s))
	}
	if !isHost(host) {
		return nil, wrong("%s is not a host; write one such as imap.example.org:993", shown(host))
	}
	return s, nil
}

// splitEndpoint cuts host and port; an IPv6 address with a port stands in
// brackets.
func splitEndpoint(s string) (host, port string) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, ""
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(s, "]"), "["), ":"), ""
}

func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if strings.Contains(host, ":") {
		return false
	}
	return hostFault(host) == ""
}

// hostFault says what is wrong with a host name, "" if nothing.
func hostFault(host string) string {
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		ascii = host
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if ascii == "" {
		return "it has no host"
	}
	if len(ascii) > 253 {
		return "its host is longer than 253 bytes"
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" {
			return "its host has an empty part"
		}
		if len(label) > 63 {
			return "a part of its host is longer than 63 bytes"
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return "a part of its host begins or ends with -"
		}
		for i := range len(label) {
			c := label[i]
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return "its host has a character that hosts cannot have"
			}
		}
	}
	return ""
}

// withPort fills in the port that goes with tls.
func withPort(address, implicit, other, tls string) string {
	host, port := splitEndpoint(address)
	if port == "" {
		port = other
		if tls == "implicit" {
			port = implicit
		}
	}
	return net.JoinHostPort(host, port)
}
