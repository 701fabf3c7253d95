package mailbox

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/emersion/go-imap/v2"
)

// reply is the end of a command as the server told it: OK, NO or BAD, the code
// in brackets and the text.
type reply struct {
	Kind string // OK, NO, BAD, BYE
	Code string // upper case, without its arguments
	Args string
	Text string
}

// refusal is a NO or BAD. Only it means that the connection lives on.
type refusal struct{ reply }

func (r refusal) Error() string {
	text := safe(r.Text)
	if text == "" {
		text = "no reason given"
	}
	if r.Code != "" {
		return fmt.Sprintf("server said: %s [%s] %s", r.Kind, safe(r.Code), text)
	}
	return fmt.Sprintf("server said: %s %s", r.Kind, text)
}

// ended tells whether a refusal means that the session is over although the
// connection is not: a token has expired, or Exchange has lost its backend. No
// message is to blame; the next connection signs in anew.
func (r reply) ended() bool {
	if r.Kind == "OK" {
		return false
	}
	text := strings.ToLower(r.Text)
	return r.Code == "AUTHENTICATIONFAILED" || r.Code == "EXPIRED" || strings.Contains(text, notConnected) || strings.Contains(text, "token") && strings.Contains(text, "expired")
}

// notConnected is in what Exchange says of a session without a mailbox, also
// right after it said OK to a wrong password.
const notConnected = "authenticated but not connected"

func unconnected(err error) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), notConnected)
}

// tooLarge tells whether a message was refused for its size: by the code of RFC
// 7889, or in Zimbra's words.
func (r refusal) tooLarge() bool {
	return r.Code == "TOOBIG" || r.Code == "" && strings.Contains(strings.ToLower(r.Text), "maximum message size exceeded")
}

// refused tells a command's refusal from a lost connection, and from a refused
// sign-in in the middle of a pass.
func refused(err error) (refusal, bool) {
	var r refusal
	var u *unreachable
	ok := errors.As(err, &r) && !errors.As(err, &u)
	return r, ok
}

// unknown tells whether a refusal means that there is no such folder. Dovecot
// answers DELETE with the code (RFC 5530), and EXAMINE without.
func unknown(err error) bool {
	r, no := refused(err)
	return no && (r.Code == "NONEXISTENT" || strings.HasPrefix(strings.ToLower(r.Text), "mailbox doesn't exist"))
}

// fromLibrary turns the library's error into ours, so that there is one way to
// classify.
func fromLibrary(err error) error {
	var e *imap.Error
	if errors.As(err, &e) {
		return refusal{reply{Kind: string(e.Type), Code: strings.ToUpper(string(e.Code)), Text: e.Text}}
	}
	return err
}

// busyWords are what servers write where they have no code for it.
var busyWords = []string{"throttled", "try again", "too many", "temporarily", "server is busy", "rate limit", "come back later"}

// classify wraps a refusal with the sentinel a caller decides by: codes first,
// words second.
func classify(err error) error {
	r, ok := refused(err)
	if !ok {
		return err
	}
	switch r.Code {
	case "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED":
		return fmt.Errorf("%w: %w", ErrLogin, err)
	case "UNAVAILABLE", "INUSE", "LIMIT", "THROTTLED":
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case "OVERQUOTA":
		return fmt.Errorf("%w: %w", ErrOverQuota, err)
	}
	if r.Code == "REFERRAL" { // RFC 2221; followed, it would take the secret to a host that nobody has named
		return fmt.Errorf("the mailbox is on another server; name that one in the plan: %w", err)
	}
	text := strings.ToLower(r.Text)
	for _, w := range busyWords {
		if strings.Contains(text, w) {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
	if strings.Contains(text, "quota") && (strings.Contains(text, "exceed") || strings.Contains(text, "over")) {
		return fmt.Errorf("%w: %w", ErrOverQuota, err)
	}
	return err
}

// loginError is classify for the answer to a sign-in, where a plain NO means
// that the credentials were refused.
func loginError(err error) error {
	out := classify(err)
	if r, ok := refused(err); ok && r.Kind == "NO" && r.Code != "REFERRAL" && !errors.Is(out, ErrBusy) && !errors.Is(out, ErrLogin) {
		return fmt.Errorf("%w: %w", ErrLogin, err)
	}
	return out
}

const safeRunes = 200

// safe makes text of foreign origin harmless for terminals, logs and reports:
// no control, bidi or zero-width characters, at most 200 runes.
func safe(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(s) {
		if n++; n > safeRunes {
			b.WriteString("…")
			break
		}
		if r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) {
			r = '\uFFFD'
		}
		b.WriteRune(r)
	}
	return b.String()
}
