package mailer

import (
	"strings"
	"unicode"
)

const longestText = 200 // runes

// safe makes text of foreign origin fit to be shown: one line, no control,
// bidi or zero-width characters, at most 200 runes.
func safe(text string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
	runes := []rune(strings.TrimSpace(clean))
	if len(runes) > longestText {
		runes = append(runes[:longestText-1], '…')
	}
	return string(runes)
}

// redact takes secrets out of text: some relays repeat the line they refuse.
func redact(text string, secrets []string) string {
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	return text
}
