package vault_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/stages/vault"
)

func TestASealedPasswordComesBackForItsAccountOnly(t *testing.T) {
	dir := t.TempDir()
	v, err := vault.Open(dir, "acme", "")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("b1", "anna@old.example", "canary-Secret")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("canary")) {
		t.Error("the sealed form shows the password")
	}
	again, err := vault.Open(dir, "acme", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Reveal("b1", "anna@old.example", sealed); got != "canary-Secret" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := again.Reveal("b1", "ben@old.example", sealed); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("another account's: %v, want ErrSealed", err)
	}
	info, err := os.Stat(filepath.Join(dir, "acme.b1.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
}

func TestADestroyedKeyStaysDestroyed(t *testing.T) {
	v, err := vault.Open(t.TempDir(), "acme", "")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("b1", "anna@old.example", "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Destroy("b1"); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Reveal("b1", "anna@old.example", sealed); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if _, err := v.Seal("b1", "anna@old.example", "x"); !errors.Is(err, vault.ErrClosed) {
		t.Errorf("sealing in a closed batch: %v, want ErrClosed", err)
	}
}

func TestAKeyFromTheEnvironmentLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	v, err := vault.Open(dir, "acme", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := v.Seal("b1", "a", "x")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Reveal("b1", "a", sealed); got != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("files: %v", files)
	}
	if _, err := vault.Open(dir, "acme", "short"); err == nil || strings.Contains(err.Error(), "short\"") {
		t.Errorf("a bad key: %v", err)
	}
}

// The characters of each place must be equally likely among those the place
// allows; 100,000 draws, chi-square with about four standard deviations.
func TestPasswordsAreUniformAndHarmless(t *testing.T) {
	const n, draws = 16, 100_000
	var counts [n]map[byte]int
	for i := range counts {
		counts[i] = map[byte]int{}
	}
	seen := map[string]bool{}
	for range draws {
		p, err := vault.Generate(n)
		if err != nil {
			t.Fatal(err)
		}
		if seen[p] || len(p) != n || strings.ContainsAny(p, `0O1lI|"',;\<>&= @`) {
			t.Fatalf("a password that is doubled, of the wrong length or hard to copy (%d characters)", len(p))
		}
		seen[p] = true
		for i := range n {
			counts[i][p[i]]++
		}
	}
	for i, count := range counts {
		for kind, alphabet := range map[string]string{"upper": "ABCDEFGHJKLMNPQRSTUVWXYZ", "lower": "abcdefghijkmnopqrstuvwxyz", "digit": "23456789", "special": "!#%*?_"} {
			sum := 0
			for _, c := range []byte(alphabet) {
				sum += count[c]
			}
			if sum == 0 {
				if i == 0 || i == n-1 {
					continue
				}
				t.Errorf("place %d has no %s", i, kind)
			}
			expect, chi := float64(sum)/float64(len(alphabet)), 0.0
			for _, c := range []byte(alphabet) {
				d := float64(count[c]) - expect
				chi += d * d / expect
			}
			free := float64(len(alphabet) - 1)
			if sum > 0 && chi > free+5*math.Sqrt(2*free) {
				t.Errorf("place %d, %s: chi-square %.1f with %v degrees of freedom", i, kind, chi, free)
			}
		}
	}
}
