package main

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// Folder names travel in modified UTF-7 (RFC 3501, 5.1.3).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

func encodeName(name string) string {
	var out strings.Builder
	var odd []rune
	flush := func() {
		if len(odd) == 0 {
			return
		}
		var octets []byte
		for _, u := range utf16.Encode(odd) {
			octets = append(octets, byte(u>>8), byte(u))
		}
		out.WriteString("&" + utf7.EncodeToString(octets) + "-")
		odd = nil
	}
	for _, r := range name {
		switch {
		case r == '&':
			flush()
			out.WriteString("&-")
		case r >= ' ' && r <= '~':
			flush()
			out.WriteRune(r)
		default:
			odd = append(odd, r)
		}
	}
	flush()
	return out.String()
}

// decodeName leaves alone what is no modified UTF-7: such names differ by
// their octets, which is all that a comparison needs.
func decodeName(wire string) string {
	var out strings.Builder
	for rest := wire; rest != ""; {
		plain, after, found := strings.Cut(rest, "&")
		out.WriteString(plain)
		if !found {
			break
		}
		code, after, found := strings.Cut(after, "-")
		octets, err := utf7.DecodeString(code)
		if !found || err != nil || len(octets)%2 != 0 {
			return wire
		}
		if code == "" {
			out.WriteByte('&')
		}
		var units []uint16
		for pair := range slices.Chunk(octets, 2) {
			units = append(units, uint16(pair[0])<<8|uint16(pair[1]))
		}
		out.WriteString(string(utf16.Decode(units)))
		rest = after
	}
	if encodeName(out.String()) != wire {
		return wire // two spellings may be two folders
	}
	return out.String()
}

// naming is how a server spells folder names.
type naming struct {
	separator string
	prefix    string // of the user's own namespace
}

func (c *conn) naming() (naming, error) {
	n := naming{separator: "/"}
	_, err := c.do(func(v []value) error {
		// * NAMESPACE (("INBOX." ".")) NIL NIL
		if v[0].text != "NAMESPACE" || len(v) < 2 || len(v[1].list) == 0 || len(v[1].list[0].list) < 2 {
			return fmt.Errorf("unexpected answer to NAMESPACE: %v", v)
		}
		n = naming{separator: v[1].list[0].list[1].text, prefix: v[1].list[0].list[0].text}
		return nil
	}, "NAMESPACE")
	return n, err
}

// local turns a name on the wire into UTF-8 with / between levels and no
// prefix. A / inside a level becomes a wide one, as it cannot mean a level.
func (n naming) local(wire string) string {
	if strings.EqualFold(wire, "INBOX") {
		return "INBOX"
	}
	name := decodeName(wire)
	if n.separator != "/" && n.separator != "" {
		name = strings.ReplaceAll(name, "/", "\uff0f")
		name = strings.ReplaceAll(name, n.separator, "/")
	}
	prefix := strings.ReplaceAll(n.prefix, n.separator, "/")
	return strings.TrimPrefix(name, prefix)
}

// wire is the reverse of local.
func (n naming) wire(local string) string {
	if local == "INBOX" {
		return local
	}
	if n.separator != "/" {
		local = strings.ReplaceAll(local, "/", n.separator)
	}
	return encodeName(n.prefix + local)
}
