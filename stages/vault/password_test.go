package vault_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"godwit/stages/platform"
	"godwit/stages/vault"
)

// policies are those of five kinds of hosters.
var policies = map[string]platform.Policy{
	"zimbra's default": {MinLength: 6, MaxLength: 64},
	"two of each":      {MinLength: 12, MaxLength: 20, MinUpper: 2, MinLower: 2, MinDigits: 2, MinSpecial: 2},
	"long":             {MinLength: 24, MinDigitsOrSpecial: 4, MinLetters: 8},
	"no punctuation":   {MinLength: 8, MaxLength: 16, Allowed: `[A-Za-z0-9]`, MinDigits: 3},
	"own punctuation":  {MinLength: 10, MaxLength: 12, AllowedSpecial: `[!_]`, MinSpecial: 1, MinUpper: 1},
}

// A million passwords: none twice, each within its policy and as harmless in a
// CSV file as it looks; and at each place every character of a kind as likely as
// the others (chi-square, p > 0.001 over all places together).
func TestAMillionPasswords(t *testing.T) {
	const each = 200_000
	seed := [32]byte{'g', 'o', 'd', 'w', 'i', 't'}
	random := rand.NewChaCha8(seed)
	seen := make(map[string]bool, each*len(policies))
	for name, policy := range policies {
		var counts [][256]int
		for range each {
			p, err := vault.GenerateFrom(random, 16, policy)
			if err != nil {
				t.Fatal(err)
			}
			if fault := wrong(p, policy); seen[p] || fault != "" {
				t.Fatalf("%s: %q: twice: %v; %s", name, p, seen[p], fault)
			}
			seen[p] = true
			if counts == nil {
				counts = make([][256]int, len(p))
			}
			for i := range len(p) {
				counts[i][p[i]]++
			}
		}
		even(t, name, counts)
	}
}

// wrong says what of the policy, or of a list's needs, a password misses. It
// shares nothing with the generator.
func wrong(p string, policy platform.Policy) string {
	n := map[string]int{}
	for _, r := range p {
		switch {
		case r > unicode.MaxASCII || strings.ContainsRune(`0O1lI|"',;\<>&=+-@ `+"\t", r):
			return "a character that is hard to copy, or that CSV quotes"
		case unicode.IsUpper(r):
			n["upper"]++
		case unicode.IsLower(r):
			n["lower"]++
		case unicode.IsDigit(r):
			n["digit"]++
		case policy.AllowedSpecial == "" || strings.ContainsRune("!_", r):
			n["special"]++
		}
		if policy.Allowed != "" && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return "a character that the policy does not allow"
		}
	}
	letters := n["upper"] + n["lower"]
	switch {
	case len(p) < max(policy.MinLength, 10), policy.MaxLength > 0 && len(p) > policy.MaxLength:
		return "its length"
	case n["upper"] < policy.MinUpper, n["lower"] < policy.MinLower, n["digit"] < policy.MinDigits, n["special"] < policy.MinSpecial:
		return "too few of a kind"
	case letters < policy.MinLetters, n["digit"]+n["special"] < policy.MinDigitsOrSpecial:
		return "too few of two kinds"
	case !unicode.IsLetter(rune(p[0])), !unicode.IsLetter(rune(p[len(p)-1])):
		return "no letter first and last"
	}
	return ""
}

// even tests each place and kind for uniformity. The bound is that of the
// chi-square distribution for p = 0.001 divided by the number of tests.
func even(t *testing.T, name string, counts [][256]int) {
	kinds := []string{"ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz", "23456789", "!#%*?_"}
	if policies[name].AllowedSpecial != "" {
		kinds[3] = "!_"
	}
	p := 0.001 / float64(len(counts)*len(kinds)*len(policies))
	for place, count := range counts {
		for _, kind := range kinds {
			sum := 0
			for _, c := range []byte(kind) {
				sum += count[c]
			}
			inside := place > 0 && place < len(counts)-1
			if sum == 0 && inside && (kind[0] != '!' || policies[name].Allowed == "") {
				t.Errorf("%s: place %d has none of %s", name, place, kind)
			}
			if sum == 0 {
				continue
			}
			expect, chi := float64(sum)/float64(len(kind)), 0.0
			for _, c := range []byte(kind) {
				d := float64(count[c]) - expect
				chi += d * d / expect
			}
			if free := float64(len(kind) - 1); chi > quantile(free, p) {
				t.Errorf("%s, place %d, %s: chi-square %.1f, over the bound %.1f", name, place, kind, chi, quantile(free, p))
			}
		}
	}
}

// quantile is the chi-square value exceeded with probability p (Wilson and
// Hilferty's approximation).
func quantile(free, p float64) float64 {
	z := math.Sqrt2 * math.Erfinv(1-2*p)
	k := 2 / (9 * free)
	return free * math.Pow(1-k+z*math.Sqrt(k), 3)
}

func TestAPolicyThatCannotBeMetIsSaid(t *testing.T) {
	for name, policy := range map[string]platform.Policy{
		"too many digits":      {MinDigits: 15, MaxLength: 16},
		"no letters":           {Allowed: `[0-9]`},
		"an expression broken": {Allowed: `[`},
		"gigabytes":            {MinLength: 1 << 40},
		"soon guessed":         {MaxLength: 4},
	} {
		if p, err := vault.Generate(16, policy); err == nil {
			t.Errorf("%s: got %d characters, want an error", name, len(p))
		}
	}
	if _, err := vault.Generate(9, platform.Policy{}); err == nil {
		t.Error("nine characters: want an error")
	}
}
