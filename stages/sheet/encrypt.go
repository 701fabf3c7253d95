package sheet

import (
	"bytes"

	"filippo.io/age"
)

// Encrypt returns data as an age file that the recipients ("age1…") can open.
func Encrypt(data []byte, recipients []string) ([]byte, error) {
	var to []age.Recipient
	for _, text := range recipients {
		recipient, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, err
		}
		to = append(to, recipient)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
