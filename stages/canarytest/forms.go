package canarytest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// shortest is what a form needs to be told from chance.
const shortest = 8

// forms are the ways in which a secret may be written.
func forms(secret string) map[string]string {
	all := map[string]string{
		"as it is": secret, "hex": hex.EncodeToString([]byte(secret)), "hex in capitals": strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"of a URL's query": url.QueryEscape(secret), "of a URL's path": url.PathEscape(secret), "with every byte escaped": escaped(secret),
		"quoted by Go": inside(strconv.Quote(secret)), "quoted by Go in ASCII": inside(strconv.QuoteToASCII(secret)),
		"quoted by a shell": strings.ReplaceAll(secret, "'", `'\''`), "quoted by a shell, byte by byte": shell(secret),
		"in HTML": html.EscapeString(secret), "in a mail": printable(secret),
		"UTF-16, little end first": wide(secret, binary.LittleEndian), "UTF-16, big end first": wide(secret, binary.BigEndian),
	}
	if quoted, err := json.Marshal(secret); err == nil {
		all["quoted by JSON"] = inside(string(quoted))
	}
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(secret) == nil {
		all["quoted by JSON, HTML left"] = inside(strings.TrimSpace(plain.String()))
	}
	for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 of URLs": base64.RawURLEncoding} {
		for before := range 3 {
			all[fmt.Sprintf("%s, %d bytes before it", name, before)] = within(encoding, secret, before)
		}
	}
	return all
}

func inside(quoted string) string { return quoted[1 : len(quoted)-1] }

// within is what of an encoding depends on the secret alone, with so many bytes
// before it and any behind.
func within(encoding *base64.Encoding, secret string, before int) string {
	text := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
	text = text[(before*8+5)/6:]
	if (before+len(secret))%3 != 0 {
		text = text[:len(text)-1]
	}
	return text
}

func escaped(secret string) string {
	var b strings.Builder
	for i := range len(secret) {
		fmt.Fprintf(&b, "%%%02X", secret[i])
	}
	return b.String()
}

func shell(secret string) string {
	var b strings.Builder
	for _, r := range secret {
		if strings.ContainsRune("'\"\\$`&|;<>()*?[]#~=% \t", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// printable is quoted-printable, without its line breaks.
func printable(secret string) string { return strings.ReplaceAll(secret, "=", "=3D") }

func wide(secret string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(secret)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

// index finds any of many texts in one go: by their first eight bytes.
type index struct {
	begins [1 << 16]bool // with these two
	by     map[string][]needle
}

type needle struct{ text, name, form, given string }

// newIndex also counts the forms.
func newIndex(secrets []secret) (*index, int) {
	x := &index{by: map[string][]needle{}}
	n := 0
	for _, s := range secrets {
		known := map[string]bool{}
		all := forms(s.value)
		for _, form := range slices.Sorted(maps.Keys(all)) { // "as it is" comes first
			text := all[form]
			if known[text] || len(text) < shortest {
				continue
			}
			known[text] = true
			n++
			x.begins[binary.BigEndian.Uint16([]byte(text))] = true
			x.by[text[:shortest]] = append(x.by[text[:shortest]], needle{text, s.name, form, s.given})
		}
	}
	return x, n
}

// find returns what text holds, each once, also where lines are broken as mails
// break them.
func (x *index) find(text []byte) []needle {
	var found []needle
	known := map[needle]bool{}
	for _, t := range [][]byte{text, joined(text)} {
		for i := 0; i+shortest <= len(t); i++ {
			if !x.begins[binary.BigEndian.Uint16(t[i:])] {
				continue
			}
			for _, n := range x.by[string(t[i:i+shortest])] {
				if bytes.HasPrefix(t[i:], []byte(n.text)) && !known[n] {
					known[n] = true
					found = append(found, n)
				}
			}
		}
	}
	return found
}

// joined is text without its line breaks, those of quoted-printable included;
// nil if it has none.
func joined(text []byte) []byte {
	if !bytes.ContainsRune(text, '\n') {
		return nil
	}
	for _, end := range []string{"=\r\n", "=\n", "\r\n ", "\n ", "\r\n", "\n"} {
		text = bytes.ReplaceAll(text, []byte(end), nil)
	}
	return text
}
