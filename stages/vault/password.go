package vault

import (
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// The alphabet has no look-alikes (0 O, 1 l I), nothing that a spreadsheet, a
// shell or a CSV reader takes for something else, and no blank.
const (
	upper   = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	lower   = "abcdefghijkmnopqrstuvwxyz"
	digits  = "23456789"
	special = "!#%*?_"
	letters = upper + lower
)

// Shortest is the shortest password that Generate makes.
const Shortest = 10

// Generate returns a random password of n characters with at least one of each
// kind, a letter first and last. A draw that lacks a kind is thrown away whole:
// mending it in place would make some passwords likelier than others.
func Generate(n int) (string, error) { return generate(rand.Reader, n) }

func generate(random io.Reader, n int) (string, error) {
	if n < Shortest {
		return "", fmt.Errorf("a temporary password of %d characters is too short: at least %d", n, Shortest)
	}
	for {
		var b strings.Builder
		for i := range n {
			alphabet := letters + digits + special
			if i == 0 || i == n-1 {
				alphabet = letters
			}
			k, err := rand.Int(random, big.NewInt(int64(len(alphabet)))) // uniform: by rejection
			if err != nil {
				return "", err
			}
			b.WriteByte(alphabet[k.Int64()])
		}
		if s := b.String(); strings.ContainsAny(s, upper) && strings.ContainsAny(s, lower) && strings.ContainsAny(s, digits) && strings.ContainsAny(s, special) {
			return s, nil
		}
	}
}
