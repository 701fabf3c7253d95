package zimbra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode"

	"godwit/stages/platform"
)

// Bounds of an answer: an account with all its attributes takes some 50 KB and
// is nested six deep.
const (
	maxAnswer = 4 << 20
	maxDepth  = 32
)

// Fault is an answer that says no. Code is what a caller decides by, such as
// account.NO_SUCH_ACCOUNT; Reason is the server's text, for the operator.
type Fault struct {
	Request, Code, Reason string
}

func (f *Fault) Error() string {
	return f.Request + ": " + printable(f.Code) + ": " + printable(f.Reason)
}

// Unwrap sorts the codes that go away by themselves.
func (f *Fault) Unwrap() error {
	switch f.Code {
	case "service.TEMPORARILY_UNAVAILABLE", "service.RESOURCE_UNREACHABLE", "service.PROXY_ERROR":
		return platform.ErrLater
	}
	return nil
}

// isFault tells whether err is a fault with one of codes.
func isFault(err error, codes ...string) bool {
	var f *Fault
	if !errors.As(err, &f) {
		return false
	}
	for _, code := range codes {
		if f.Code == code {
			return true
		}
	}
	return false
}

// do sends a request of urn:zimbraAdmin and decodes its answer. A token that
// has run out is renewed once. changes says that a lost answer leaves open
// whether it was done.
func (d *Driver) do(ctx context.Context, name string, body map[string]any, answer any, changes bool) error {
	for try := 0; ; try++ {
		token, err := d.signedIn(ctx)
		if err != nil {
			return fmt.Errorf("sign-in as %s: %w", d.config.Login, err)
		}
		err = d.post(ctx, name, token, body, answer, changes)
		if try == 0 && isFault(err, "service.AUTH_EXPIRED", "service.AUTH_REQUIRED") {
			d.forget(token)
			continue
		}
		return err
	}
}

// signedIn returns the token that all calls share, a new one if there is none.
func (d *Driver) signedIn(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token != "" {
		return d.token, nil
	}
	password, err := d.config.Secret(ctx)
	if err != nil {
		return "", err
	}
	var answer struct {
		AuthToken text `json:"authToken"`
		TwoFactor any  `json:"twoFactorAuthRequired"`
	}
	body := map[string]any{"name": d.config.Login, "password": password}
	if err := d.post(ctx, "Auth", "", body, &answer, false); err != nil {
		return "", hide(err, password)
	}
	if answer.AuthToken == "" {
		return "", errors.New("the server gave no token; an administrator with a second factor cannot be used, make one without")
	}
	d.token = string(answer.AuthToken)
	return d.token, nil
}

// forget drops a token that the server does not take any more.
func (d *Driver) forget(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.token == token {
		d.token = ""
	}
}

// post is one HTTP exchange.
func (d *Driver) post(ctx context.Context, name, token string, body map[string]any, answer any, changes bool) error {
	if err := d.limiter.Wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.config.URL, bytes.NewReader(envelope(name, token, body)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/soap+xml; charset=utf-8")
	// A request with a body is not repeated by net/http once a byte was sent.
	response, err := d.client.Do(request)
	if err != nil {
		return lost(name, err, changes)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return lost(name, err, changes)
	}
	return read(name, response.StatusCode, data, answer, changes)
}

// envelope is the request as JSON (com.zimbra.common.soap.Element.JSONElement).
func envelope(name, token string, body map[string]any) []byte {
	header := map[string]any{
		"_jsns": "urn:zimbra", "nosession": map[string]any{},
		"userAgent": map[string]any{"name": "godwit", "version": "1"},
	}
	if token != "" {
		header["authToken"] = token
	}
	inner := map[string]any{"_jsns": "urn:zimbraAdmin"}
	for k, v := range body {
		inner[k] = v
	}
	data, err := json.Marshal(map[string]any{
		"_jsns": "urn:zimbraSoap", "Header": map[string]any{"context": header},
		"Body": map[string]any{name + "Request": inner},
	})
	if err != nil {
		panic(err) // strings, maps and lists of our own
	}
	return data
}

// lost sorts an exchange that got no whole answer.
func lost(name string, err error, changes bool) error {
	err = fmt.Errorf("%s: %w", name, withoutURL(err))
	var dial *net.OpError
	if !changes || errors.As(err, &dial) && dial.Op == "dial" {
		return err
	}
	return fmt.Errorf("%w: %w", platform.ErrUnknown, err)
}

// withoutURL drops the address that net/http puts before every error.
func withoutURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "Post ") {
		return inner
	}
	return err
}

// read takes the answer apart. HTTP 500 with a fault is an answer; anything else
// without an envelope comes from something in between.
func read(name string, status int, data []byte, answer any, changes bool) error {
	var reply struct {
		Body map[string]json.RawMessage `json:"Body"`
	}
	switch {
	case len(data) > maxAnswer:
		return unclear(name, "its answer is longer than 4 MiB", changes)
	case tooDeep(data):
		return unclear(name, "its answer is nested deeper than any of Zimbra's", changes)
	case json.Unmarshal(data, &reply) != nil || len(reply.Body) == 0:
		err := unclear(name, fmt.Sprintf("HTTP %d and no SOAP: is this the admin interface?", status), changes)
		if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests || status == http.StatusBadGateway {
			return fmt.Errorf("%w: %w", platform.ErrLater, err)
		}
		return err
	}
	if raw, ok := reply.Body["Fault"]; ok {
		return fault(name, raw)
	}
	raw, ok := reply.Body[name+"Response"]
	if !ok {
		return unclear(name, "its answer is that to another request", changes)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return unclear(name, "its answer cannot be read: "+err.Error(), changes)
	}
	return nil
}

// unclear is an answer that does not say whether the request was done.
func unclear(name, why string, changes bool) error {
	if changes {
		return fmt.Errorf("%w: %s: %s", platform.ErrUnknown, name, why)
	}
	return fmt.Errorf("%s: %s", name, why)
}

func fault(name string, raw json.RawMessage) error {
	var f struct {
		Reason struct {
			Text text `json:"Text"`
		} `json:"Reason"`
		Detail struct {
			Error struct {
				Code text `json:"Code"`
			} `json:"Error"`
		} `json:"Detail"`
	}
	if err := json.Unmarshal(raw, &f); err != nil || f.Detail.Error.Code == "" {
		return fmt.Errorf("%s: a fault that cannot be read", name)
	}
	return &Fault{name, string(f.Detail.Error.Code), string(f.Reason.Text)}
}

// tooDeep is asked before decoding, which would follow every level.
func tooDeep(data []byte) bool {
	depth, quoted, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped = c == '\\'
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// text is a string however Zimbra writes it: as such, as {"_content": …}, or as
// the first of a list (a child that is not unique is a list even when single).
type text string

// UnmarshalJSON takes all of them; anything else is "".
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = text(s)
		return nil
	}
	var content struct {
		Content text `json:"_content"`
	}
	if json.Unmarshal(data, &content) == nil {
		*t = content.Content
		return nil
	}
	var list []text
	if json.Unmarshal(data, &list) == nil && len(list) > 0 {
		*t = list[0]
		return nil
	}
	*t = text(strings.Trim(string(data), `"`)) // a number or a truth value
	return nil
}

// printable keeps a server's text from reaching a terminal raw, or at length:
// control, direction and invisible characters become blanks.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
