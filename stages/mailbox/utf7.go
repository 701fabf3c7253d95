package mailbox

import (
	"encoding/base64"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Folder names travel in modified UTF-7 (RFC 3501, 5.1.3). The library refuses
// a whole LIST for one name in a wrong spelling, so we decode ourselves: what
// cannot be decoded is shown as it stands, and the server's own spelling is
// what goes back to it.

var utf7Base64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeName turns a name off the wire into UTF-8. clean is false where the
// spelling was wrong; the name is then readable, but not exact.
func decodeName(wire string) (name string, clean bool) {
	clean = true
	var b strings.Builder
	for i := 0; i < len(wire); {
		c := wire[i]
		if c >= utf8.RuneSelf { // a server that speaks UTF-8 or Latin-1 unasked
			r, n := utf8.DecodeRuneInString(wire[i:])
			if r == utf8.RuneError {
				r, n, clean = rune(c), 1, false
			}
			b.WriteRune(r)
			i += n
			continue
		}
		if c != '&' {
			b.WriteByte(c)
			i++
			continue
		}
		end := strings.IndexByte(wire[i:], '-')
		if end == 1 {
			b.WriteByte('&')
			i += 2
			continue
		}
		if end < 0 {
			b.WriteByte('&')
			i, clean = i+1, false
			continue
		}
		text, ok := decodeShift(wire[i+1 : i+end])
		if !ok {
			b.WriteByte('&')
			i, clean = i+1, false
			continue
		}
		b.WriteString(text)
		i += end + 1
	}
	return b.String(), clean
}

func decodeShift(s string) (string, bool) {
	raw, err := utf7Base64.DecodeString(s)
	if err != nil || len(raw) == 0 || len(raw)%2 != 0 {
		return "", false
	}
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	runes := utf16.Decode(units)
	return string(runes), slices.Equal(utf16.Encode(runes), units) // else: half a surrogate
}

// encodeName turns a UTF-8 name into its spelling on the wire.
func encodeName(name string) string {
	var b strings.Builder
	var shift []rune
	flush := func() {
		if len(shift) == 0 {
			return
		}
		units := utf16.Encode(shift)
		raw := make([]byte, 2*len(units))
		for i, u := range units {
			raw[2*i], raw[2*i+1] = byte(u>>8), byte(u)
		}
		b.WriteByte('&')
		b.WriteString(utf7Base64.EncodeToString(raw))
		b.WriteByte('-')
		shift = shift[:0]
	}
	for _, r := range name {
		if r < ' ' || r > '~' {
			shift = append(shift, r)
			continue
		}
		flush()
		if r == '&' {
			b.WriteString("&-")
			continue
		}
		b.WriteRune(r)
	}
	flush()
	return b.String()
}
