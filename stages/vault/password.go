package vault

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"godwit/stages/platform"
)

// The alphabet has no look-alikes (0 O, 1 l I), nothing that a spreadsheet, a
// shell or a CSV reader takes for something else, and no blank. All of it is
// ASCII, so that bytes, characters and UTF-16 units are the same number.
const (
	upper   = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	lower   = "abcdefghijkmnopqrstuvwxyz"
	digits  = "23456789"
	special = "!#%*?_"
)

// Shortest is the shortest password that Generate makes of its own accord; a
// policy may shorten it as far as shortened.
const (
	Shortest  = 10
	shortened = 8
)

// longest is the most that a policy may ask for: it is the target's word, and
// beyond this nobody types it.
const longest = 128

// draws bounds how often a password is drawn for a policy that asks for much.
const draws = 2_000_000

// Generate returns a random password of n characters, or as many as policy
// allows or asks for, with at least one of each kind that policy allows, a letter
// first and last. A draw that misses something is thrown away whole: mending it
// in place would make some passwords likelier than others.
func Generate(n int, policy platform.Policy) (string, error) { return generate(rand.Reader, n, policy) }

func generate(random io.Reader, n int, policy platform.Policy) (string, error) {
	if n < Shortest {
		return "", fmt.Errorf("a temporary password of %d characters is too short: at least %d", n, Shortest)
	}
	r, err := rulesOf(n, policy)
	if err != nil {
		return "", err
	}
	source := bufio.NewReaderSize(random, 256)
	password := make([]byte, r.length)
	for range draws {
		for i := range password {
			alphabet := r.all
			if i == 0 || i == r.length-1 {
				alphabet = r.ends
			}
			if password[i], err = pick(source, alphabet); err != nil {
				return "", err
			}
		}
		if r.met(password) {
			return string(password), nil
		}
	}
	return "", fmt.Errorf("the target's password policy asks for more than a random password of %d characters can hold; raise passwords.length", r.length)
}

// pick draws one character, each as likely: bytes that would favour some are
// thrown away.
func pick(random io.ByteReader, alphabet string) (byte, error) {
	fair := 256 - 256%len(alphabet)
	for {
		b, err := random.ReadByte()
		if err != nil {
			return 0, err
		}
		if int(b) < fair {
			return alphabet[int(b)%len(alphabet)], nil
		}
	}
}

// rules are a policy worked out for our alphabet.
type rules struct {
	length    int
	all, ends string
	min       platform.Policy
}

func rulesOf(n int, p platform.Policy) (rules, error) {
	r := rules{length: max(n, p.MinLength), min: p}
	if p.MinLength > longest {
		return r, fmt.Errorf("the target's password policy asks for %d characters; at most %d are made", p.MinLength, longest)
	}
	if p.MaxLength > 0 && p.MaxLength < shortened {
		return r, fmt.Errorf("the target's password policy allows no more than %d characters, which somebody could guess; it has to allow %d", p.MaxLength, shortened)
	}
	if p.MaxLength > 0 {
		r.length = min(r.length, p.MaxLength)
	}
	upper, lower, digits, special := upper, lower, digits, special
	if p.Allowed != "" {
		allowed, err := regexp.Compile(`\A(?:` + p.Allowed + `)\z`)
		if err != nil {
			return r, fmt.Errorf("the target's policy allows characters by an expression that cannot be read: %w", err)
		}
		for _, kind := range []*string{&upper, &lower, &digits, &special} {
			*kind = only(*kind, allowed)
		}
	}
	if p.AllowedSpecial != "" {
		counts, err := regexp.Compile(`\A(?:` + p.AllowedSpecial + `)\z`)
		if err != nil {
			return r, fmt.Errorf("the target's policy names special characters by an expression that cannot be read: %w", err)
		}
		special = only(special, counts) // one that does not count would only be rarer
	}
	for kind, least := range map[string]*int{upper: &r.min.MinUpper, lower: &r.min.MinLower, digits: &r.min.MinDigits, special: &r.min.MinSpecial} {
		if kind != "" {
			*least = max(*least, 1)
		}
	}
	r.all, r.ends = upper+lower+digits+special, upper+lower
	if r.ends == "" {
		return r, errors.New("the target's policy allows no letters, which a temporary password begins and ends with")
	}
	return r, nil
}

func only(kind string, allowed *regexp.Regexp) string {
	return strings.Map(func(c rune) rune {
		if allowed.MatchString(string(c)) {
			return c
		}
		return -1
	}, kind)
}

// met counts what a password has of each kind.
func (r rules) met(password []byte) bool {
	var up, low, digit, special int
	for _, c := range password {
		switch {
		case unicode.IsUpper(rune(c)):
			up++
		case unicode.IsLower(rune(c)):
			low++
		case unicode.IsDigit(rune(c)):
			digit++
		default:
			special++
		}
	}
	return up >= r.min.MinUpper && low >= r.min.MinLower && digit >= r.min.MinDigits && special >= r.min.MinSpecial &&
		up+low >= r.min.MinLetters && digit+special >= r.min.MinDigitsOrSpecial
}
