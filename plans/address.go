package plans

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/unicode/runenames"
)

// addressFault says what keeps text from being one plain mail address, "" if
// nothing does.
func addressFault(text string) string {
	if simpleAddress(text) {
		return ""
	}
	switch at := strings.Count(text, "@"); {
	case text == "":
		return "it is empty"
	case len(text) > 254:
		return "it is longer than 254 bytes"
	case at == 0 && lookAlike(text) == "":
		return "it has no @"
	}
	if bad, ok := control(text); ok {
		return fmt.Sprintf("it holds the control character %U", bad)
	}
	if why := lookAlike(text); why != "" {
		return why
	}
	if i := strings.IndexAny(text, ",;<>() \""); i >= 0 {
		return fmt.Sprintf("it holds %q; one plain address is wanted", text[i])
	}
	if strings.Count(text, "@") > 1 {
		return "it has more than one @"
	}
	local, host, _ := strings.Cut(text, "@")
	if local == "" {
		return "nothing stands before its @"
	}
	if len(local) > 64 {
		return "what stands before its @ is longer than 64 bytes"
	}
	if why := hostFault(host); why != "" {
		return why
	}
	parsed, err := mail.ParseAddress(text)
	if err != nil || parsed.Name != "" || parsed.Address != text {
		return "what stands before its @ is not written as addresses are"
	}
	return ""
}

// simpleAddress knows at a glance what nearly all addresses look like.
func simpleAddress(text string) bool {
	at := strings.IndexByte(text, '@')
	if at < 1 || at > 64 || at > len(text)-2 || len(text) > 254 || strings.Contains(text, "xn--") {
		return false
	}
	label := 0
	for i := range len(text) {
		c := text[i]
		switch {
		case i == at:
			label = 0
			continue
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '.' || c == '-' || i < at && (c == '_' || c == '+'):
			// Neither first nor last of its part, nor two in a row.
			if label == 0 || i == at-1 || i == len(text)-1 || !alphanumeric(text[i-1]) {
				return false
			}
			if c == '.' {
				label = 0
				continue
			}
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// foldAddress makes addresses equal that mean one mailbox: capitals, composed
// letters, and domains written in their own script or as xn--.
func foldAddress(address string) string {
	ascii := true
	for i := range len(address) {
		ascii = ascii && address[i] < 0x80
	}
	local, host, ok := strings.Cut(strings.ToLower(address), "@")
	if !ok || ascii && !strings.Contains(host, "xn--") && !strings.HasSuffix(host, ".") {
		return strings.ToLower(address)
	}
	if folded, err := idna.Lookup.ToASCII(norm.NFC.String(host)); err == nil {
		host = folded
	}
	return norm.NFC.String(local) + "@" + strings.TrimSuffix(strings.ToLower(host), ".")
}

// lookAlike finds a character that looks like another one: full-width forms,
// letters of two scripts in one word, words of letters that all pass for Latin
// ones, invisible characters.
func lookAlike(text string) string {
	if strings.Contains(text, "xn--") {
		if local, host, ok := strings.Cut(text, "@"); ok {
			if u, err := idna.ToUnicode(host); err == nil {
				text = local + "@" + u
			}
		}
	}
	for _, r := range text {
		switch {
		case r < 0x80:
		case unicode.In(r, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp, unicode.Co, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
			return "it holds the invisible character " + nameOf(r)
		case !norm.NFKC.IsNormalString(string(r)) && norm.NFC.IsNormalString(string(r)):
			return fmt.Sprintf("it holds %s, which looks like %q; write that instead", nameOf(r), norm.NFKC.String(string(r)))
		}
	}
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("@._-+", r) })
	plain := map[string]bool{} // scripts with a letter that no Latin one resembles
	for _, r := range text {
		if !strings.ContainsRune(passForLatin, r) {
			plain[scriptOf(r)] = true
		}
	}
	for _, word := range words {
		if why := mixed(word, plain); why != "" {
			return why
		}
	}
	return ""
}

func nameOf(r rune) string {
	return fmt.Sprintf("%U (%s)", r, strings.ToLower(runenames.Name(r)))
}

// mixed finds a letter of another script than the word's first, or a word of
// another script that could be read as Latin where nothing else in the address
// shows that script.
func mixed(word string, plain map[string]bool) string {
	first, passes := "", true
	var odd rune
	for _, r := range word {
		script := scriptOf(r)
		if script == "" {
			continue
		}
		if first == "" {
			first = script
		}
		if script != first && !together(script, first) {
			if script == "Latin" {
				r = firstNonLatin(word)
			}
			return fmt.Sprintf("it mixes scripts: %s stands among letters of another; write it in one", nameOf(r))
		}
		if script == "Latin" || !strings.ContainsRune(passForLatin, r) {
			passes = false
		} else if odd == 0 {
			odd = r
		}
	}
	if passes && odd != 0 && !plain[first] {
		return fmt.Sprintf("%q can be read as Latin letters but begins with %s; write it in Latin letters, or ask whose it is", word, nameOf(odd))
	}
	return ""
}

// passForLatin are Cyrillic, Greek and Armenian letters that pass for Latin
// ones in most fonts (Unicode TR39, confusables, the common ones).
const passForLatin = "асеорхуіјѕһԁԛԝӏвкмнтгьАВСЕНІЈКМОРЅТХУԌԚԜοαινρυκχγΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսցհոք" //nolint:gosec // letters, no credential

var scripts = []string{
	"Latin", "Cyrillic", "Greek", "Armenian", "Han", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Arabic",
	"Hebrew", "Thai", "Devanagari", "Georgian", "Cherokee", "Ethiopic", "Coptic", "Bengali", "Tamil", "Telugu", "Khmer", "Lao",
}

func scriptOf(r rune) string {
	if r < 0x80 {
		if unicode.IsLetter(r) {
			return "Latin"
		}
		return ""
	}
	for _, name := range scripts {
		if unicode.Is(unicode.Scripts[name], r) {
			return name
		}
	}
	if unicode.IsLetter(r) && !unicode.In(r, unicode.Common, unicode.Inherited) {
		return "other"
	}
	return ""
}

// together are scripts that one word of Japanese, Korean or Chinese mixes,
// Latin letters included (TR39, highly restrictive).
func together(a, b string) bool {
	east := func(s string) bool {
		return s == "Han" || s == "Hiragana" || s == "Katakana" || s == "Hangul" || s == "Bopomofo"
	}
	return (east(a) || a == "Latin") && (east(b) || b == "Latin")
}

func firstNonLatin(word string) rune {
	for _, r := range word {
		if s := scriptOf(r); s != "" && s != "Latin" {
			return r
		}
	}
	return 0
}
