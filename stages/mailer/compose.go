package mailer

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"
	"golang.org/x/net/idna"
)

const (
	longestAddress = 254 // RFC 5321, 4.5.3.1.3, with its erratum 1690
	longestSubject = 500
	longestWord    = 33 // bytes, 56 once encoded
)

var (
	messageID = regexp.MustCompile(`^[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+@[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+$`)
	language  = regexp.MustCompile(`^[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8})*$`)
	spaces    = regexp.MustCompile(` {2,}`)
)

// letter is a message as it goes over the wire.
type letter struct {
	from, to string // envelope
	utf8     bool   // an address needs SMTPUTF8
	data     []byte
}

// compose builds the message (RFC 5322, RFC 2045) and refuses what could
// become a second header or a second recipient.
func compose(m Message) (letter, error) {
	header, from, to, err := head(m)
	if err != nil {
		return letter{}, err
	}
	parts := []part{{kind: "text/plain", body: []byte(m.Text)}}
	if m.HTML != "" {
		parts = append(parts, part{kind: "text/html", body: []byte(m.HTML)})
	}
	if m.Invite != nil {
		calendar, err := invite(m, from, to)
		if err != nil {
			return letter{}, fmt.Errorf("invite: %w", err)
		}
		parts = append(parts, calendar)
	}
	var data bytes.Buffer
	if err := write(&data, header, parts); err != nil {
		return letter{}, err
	}
	return letter{
		from: from.Address, to: to.Address, data: data.Bytes(),
		utf8: !ascii(from.Address) || !ascii(to.Address),
	}, nil
}

// head checks every value that ends up in a header. There is no Precedence:
// Auto-Submitted (RFC 3834) says what it used to be abused for.
func head(m Message) (header gomail.Header, from, to *mail.Address, err error) {
	if from, err = sender(m.From); err != nil {
		return header, nil, nil, fmt.Errorf("from %.60q: %w", m.From, err)
	}
	if to, err = recipient(m.To); err != nil {
		return header, nil, nil, fmt.Errorf("to %.60q: %w", m.To, err)
	}
	subject := spaces.ReplaceAllString(strings.Trim(m.Subject, " "), " ")
	switch {
	case subject == "":
		err = errors.New("no subject")
	case utf8.RuneCountInString(subject) > longestSubject:
		err = fmt.Errorf("subject: longer than %d characters", longestSubject)
	case !messageID.MatchString(m.MessageID):
		err = fmt.Errorf("message id %.60q: not of the form left@right", m.MessageID)
	case m.Date.IsZero():
		err = errors.New("no date")
	case m.Locale != "" && !language.MatchString(m.Locale):
		err = fmt.Errorf("locale %.60q: not a language tag such as fr or fr-CA", m.Locale)
	default:
		if err = plain(subject); err != nil {
			err = fmt.Errorf("subject %.60q: %w", subject, err)
		}
	}
	if err != nil {
		return header, nil, nil, err
	}
	// Written in reverse: a header field set later stands above.
	header.Set("Auto-Submitted", "auto-generated")
	if m.Locale != "" {
		header.Set("Content-Language", m.Locale)
	}
	header.SetMessageID(m.MessageID)
	header.SetDate(m.Date)
	header.Set("Subject", encode(subject))
	header.Set("To", display(to))
	header.Set("Reply-To", display(from))
	header.Set("From", display(from))
	return header, from, to, nil
}

// sender reads "Name <address>" or a bare address.
func sender(value string) (*mail.Address, error) {
	if err := plain(value); err != nil {
		return nil, err
	}
	address, err := mail.ParseAddress(value)
	if err != nil {
		return nil, errors.New(`not one address of the form Name <name@example.org>`)
	}
	if err := plain(address.Name); err != nil {
		return nil, err
	}
	address.Address, err = single(address.Address)
	return address, err
}

// recipient reads one bare address and nothing else.
func recipient(value string) (*mail.Address, error) {
	if err := plain(value); err != nil {
		return nil, err
	}
	address, err := mail.ParseAddress(value)
	if err != nil || address.Name != "" || address.Address != value {
		return nil, errors.New("not one bare address; right would be name@example.org")
	}
	address.Address, err = single(value)
	return address, err
}

// single refuses what another program might read as two addresses, and writes
// the domain in ASCII, which every relay takes.
func single(address string) (string, error) {
	if len(address) > longestAddress {
		return "", fmt.Errorf("longer than %d bytes", longestAddress)
	}
	if strings.ContainsAny(address, ",;:<>()[]\\\" ") || strings.Count(address, "@") != 1 {
		return "", errors.New("not one plain address; right would be name@example.org")
	}
	local, domain, _ := strings.Cut(address, "@")
	if ascii(domain) {
		return address, nil
	}
	domain, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return "", fmt.Errorf("domain: %w", err)
	}
	return local + "@" + domain, nil
}

// plain refuses control characters, and encoded-words (RFC 2047): those could
// hide a line break that the reader's program decodes.
func plain(value string) error {
	if !utf8.ValidString(value) {
		return errors.New("not UTF-8")
	}
	if i := strings.IndexFunc(value, unprintable); i >= 0 {
		return errors.New("has a line break or another control character")
	}
	if strings.Contains(value, "=?") {
		return errors.New(`has "=?", which begins an encoded word; write the text itself`)
	}
	return nil
}

// unprintable are controls (C0, DEL, C1), line and paragraph separators.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// encode writes text for a header as RFC 2047 words that are short enough for
// go-message to fold between them; with those of mime.WordEncoder the first
// line of a subject would be too long, and then it folds nowhere.
func encode(text string) string {
	if ascii(text) {
		return text
	}
	var words []string
	for len(text) > 0 {
		end := 0
		for end < len(text) {
			_, size := utf8.DecodeRuneInString(text[end:])
			if end+size > longestWord {
				break
			}
			end += size
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(text[:end]))+"?=")
		text = text[end:]
	}
	return strings.Join(words, " ")
}

// display formats an address for a header. net/mail quotes a name in ASCII; an
// address beyond ASCII goes as it is (RFC 6532).
func display(a *mail.Address) string {
	switch {
	case a.Name == "":
		return "<" + a.Address + ">"
	case !ascii(a.Name):
		return encode(a.Name) + " <" + a.Address + ">"
	}
	return strings.TrimSuffix((&mail.Address{Name: a.Name, Address: "x@x"}).String(), "<x@x>") + "<" + a.Address + ">"
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}

// part is one shape of the same content.
type part struct {
	kind   string
	params map[string]string
	body   []byte
}

// write puts header and parts into one multipart/alternative.
func write(w *bytes.Buffer, header gomail.Header, parts []part) error {
	header.SetContentType("multipart/alternative", nil)
	writer, err := message.CreateWriter(w, header.Header)
	if err != nil {
		return err
	}
	for _, p := range parts {
		var h message.Header
		params := map[string]string{"charset": "utf-8"}
		for key, value := range p.params {
			params[key] = value
		}
		h.Set("Content-Transfer-Encoding", "quoted-printable") // short lines, whatever was written
		h.SetContentType(p.kind, params)
		body, err := writer.CreatePart(h)
		if err != nil {
			return err
		}
		if _, err := body.Write(p.body); err != nil {
			return err
		}
		if err := body.Close(); err != nil {
			return err
		}
	}
	return writer.Close()
}
