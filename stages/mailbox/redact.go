package mailbox

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// hide makes a secret unreadable in all that the server says from now on: some
// repeat the command that they refuse.
func (w *wire) hide(login, secret string) {
	encode := base64.StdEncoding.EncodeToString
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hidden = append(w.hidden, secret, encode([]byte(secret)))
	for _, form := range []string{"\x00" + login + "\x00" + secret, login + "\x00" + secret, "user=" + login + "\x01auth=Bearer " + secret + "\x01\x01"} {
		w.hidden = append(w.hidden, encode([]byte(form)))
	}
	if quoted, ok := quote(secret); ok {
		w.hidden = append(w.hidden, strings.Trim(quoted, `"`))
	}
}

// redact acts on the texts of status responses only: data is never changed.
func (w *wire) redact(r *response) {
	switch r.word {
	case "OK", "NO", "BAD", "BYE":
	default:
		if r.tag != "+" {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, secret := range w.hidden {
		if len(secret) > 0 && bytes.Contains(r.lines[0][r.rest:], []byte(secret)) {
			r.lines[0] = append(bytes.Clone(r.lines[0][:r.rest]), bytes.ReplaceAll(r.lines[0][r.rest:], []byte(secret), []byte("(secret)"))...)
		}
	}
}
