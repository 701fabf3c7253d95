package mailbox

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a target cannot hold in a folder's name is replaced by the character
// that looks like it: "a.b" becomes "a．b" where "." stands between levels. A
// name that has such a character of its own gets a mark before it, so that the
// way back is never in doubt and no two names become one.

const (
	mark      = '‛'       // U+201B
	wideShift = '！' - '!' // the wide forms of ASCII stand in the same order
	pictures  = '␀'       // of NUL; those of the other controls follow
	delete_   = '\x7f'
)

// like is what a character is replaced by; itself where there is nothing alike.
func like(r rune) rune {
	switch {
	case r < ' ':
		return pictures + r
	case r == ' ':
		return '␠'
	case r == delete_:
		return '␡'
	case r < delete_:
		return r + wideShift
	case unicode.IsControl(r): // C1
		return '␦'
	}
	return r
}

// unlike is the reverse of like.
func unlike(r rune) rune {
	switch {
	case r >= pictures && r < pictures+' ':
		return r - pictures
	case r == '␠':
		return ' '
	case r == '␡':
		return delete_
	case r > '！'-1 && r < delete_+wideShift:
		return r - wideShift
	}
	return r
}

// respell replaces in one level of a name what no says. The empty name
// becomes the mark.
func respell(part string, no func(rune) bool) string {
	return respellAt(part, no, func(_ int, r rune) bool { return no(r) })
}

// respellAt replaces what now says, of a character and where it stands, and
// marks what could be taken for a replacement of what no says.
func respellAt(part string, no func(rune) bool, now func(int, rune) bool) string {
	if part == "" {
		return string(mark)
	}
	var b strings.Builder
	for i, r := range part {
		switch {
		case now(i, r):
			r = like(r)
		case r == mark, unlike(r) != r && no(unlike(r)):
			b.WriteRune(mark)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// unspell is the reverse of respell with the same no, but for C1 controls,
// which look like nothing.
func unspell(part string, no func(rune) bool) string {
	if part == string(mark) {
		return ""
	}
	var b strings.Builder
	marked := false
	for _, r := range part {
		switch {
		case marked:
			marked = false
		case r == mark:
			marked = true
			continue
		case unlike(r) != r && no(unlike(r)):
			r = unlike(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shownPath is a name for people: / between levels, a wide one inside them.
func shownPath(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = strings.ReplaceAll(p, "/", string(like('/')))
	}
	return strings.Join(parts, "/")
}

// impossible tells what no name of the space can hold.
func (sp space) impossible(r rune) bool {
	return unicode.IsControl(r) || strings.ContainsRune(sp.delim, r) || sp.delim == "" && r == '/' || sp.zimbra && strings.ContainsRune(zimbraBars, r)
}

// unlikely tells, beside that, what servers are known to refuse, if only at
// the ends of a name.
func (sp space) unlikely(r rune) bool {
	return sp.impossible(r) || strings.ContainsRune(" .!\"#$%&*/:;<>?[\\]^`{|}~", r)
}

// careful is a level of a name that most servers take.
func (sp space) careful(part string) string {
	from, to := len(part)-len(strings.TrimLeft(part, " .")), len(strings.TrimRight(part, " ."))
	return respellAt(part, sp.unlikely, func(at int, r rune) bool {
		inside := at >= from && at < to
		return sp.unlikely(r) && (!inside || r != ' ' && r != '.' || sp.impossible(r))
	})
}

// short cuts a level of a name; what is cut off lives on in a digest, so that
// the same is always cut alike and different names stay different.
func short(part string, most int) string {
	if len(part) <= most {
		return part
	}
	sum := sha256.Sum256([]byte(part))
	end := "-" + hex.EncodeToString(sum[:4])
	for part = part[:most-len(end)]; !utf8.ValidString(part); {
		part = part[:len(part)-1]
	}
	return part + end
}

// strict is letters and digits and no more.
func strict(path []string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == ' ' || r == '-' {
			return r
		}
		return '_'
	}, strings.Join(path, "_"))
	return short(strings.TrimSpace(name), 60)
}
