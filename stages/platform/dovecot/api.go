package dovecot

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"godwit/stages/platform"
)

// api is Dovecot's administration over HTTP, one command a request:
//
//	[["kick", {"mask": ["anna"]}, "godwit"]]  ─►  [["doveadmResponse" | "error", …, "godwit"]]
//
// A command that failed is answered with 200 as well; its exit code is one of
// sysexits.h.
type api struct {
	url    string
	secret func(context.Context) (string, error)
	client *http.Client
	key    atomic.Bool // the secret is doveadm_api_key, not doveadm_password
}

const (
	maxAnswer = 1 << 20

	exitNoUser = 67
	exitNoHost = 68 // kick: there was nobody
	exitLater  = 75
)

func newAPI(c Config) (*api, error) {
	pool, err := roots(c.CAFile)
	if err != nil {
		return nil, err
	}
	return &api{url: c.URL, secret: c.Secret, client: &http.Client{
		Timeout: c.Timeout,
		// Never over a proxy of the environment, nor to where an answer points:
		// the administrator's secret goes along.
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// failure is a command that Dovecot ran without success.
type failure struct {
	command, kind string
	code          int
}

func (f failure) Error() string {
	text := "doveadm " + f.command + ": " + strconv.QuoteToASCII(f.kind)
	if f.code != 0 {
		text += fmt.Sprintf(" with exit code %d", f.code)
	}
	return text
}

func (f failure) Is(target error) bool { return target == platform.ErrLater && f.code == exitLater }

// users asks whether there is such a user.
func (a *api) users(ctx context.Context, name string) (bool, error) {
	_, err := a.call(ctx, "user", "userMask", name)
	if failedWith(err, exitNoUser) {
		return false, nil
	}
	return err == nil, err
}

func (a *api) kick(ctx context.Context, name string) error {
	_, err := a.call(ctx, "kick", "mask", name)
	if failedWith(err, exitNoHost) {
		return nil
	}
	return err
}

// who asks whether the user has a session.
func (a *api) who(ctx context.Context, name string) (bool, error) {
	data, err := a.call(ctx, "who", "mask", name)
	if err != nil {
		return false, err
	}
	var sessions []json.RawMessage
	if err := json.Unmarshal(data, &sessions); err != nil {
		return false, fmt.Errorf("doveadm who: the answer is no list: %w", err)
	}
	return len(sessions) > 0, nil
}

// flush has Dovecot forget what it remembers of the user's logins.
func (a *api) flush(ctx context.Context, name string) error {
	for _, form := range names(name) {
		if _, err := a.call(ctx, "authCacheFlush", "user", form); err != nil {
			return err
		}
	}
	return nil
}

func failedWith(err error, code int) bool {
	var f failure
	return errors.As(err, &f) && f.code == code
}

// call runs a command on one user. Where the password is refused the secret is
// taken for an API key, which goes to the same place in another form.
func (a *api) call(ctx context.Context, command, parameter, name string) (json.RawMessage, error) {
	body, err := json.Marshal([]any{[]any{command, map[string][]string{parameter: {name}}, "godwit"}})
	if err != nil {
		return nil, err
	}
	secret, err := a.secret(ctx)
	if err != nil {
		return nil, err
	}
	key := a.key.Load()
	data, status, err := a.post(ctx, body, secret, key)
	if status == http.StatusUnauthorized {
		if data, status, err = a.post(ctx, body, secret, !key); err == nil && status == http.StatusOK {
			a.key.Store(!key)
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("doveadm %s: %w", command, err)
	case status == http.StatusUnauthorized:
		return nil, fmt.Errorf("doveadm %s: the secret is refused", command)
	case status != http.StatusOK:
		return nil, fmt.Errorf("doveadm %s: HTTP status %d", command, status)
	}
	return parse(command, data)
}

func (a *api) post(ctx context.Context, body []byte, secret string, key bool) (data []byte, status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key {
		r.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(secret)))
	} else {
		r.SetBasicAuth("doveadm", secret)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	data, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = errors.New("the answer has no end")
	}
	return data, answer.StatusCode, err
}

// parse reads the answer to one command.
func parse(command string, data []byte) (json.RawMessage, error) {
	var all [][]json.RawMessage
	var kind string
	if err := json.Unmarshal(data, &all); err != nil || len(all) != 1 || len(all[0]) < 2 || json.Unmarshal(all[0][0], &kind) != nil {
		return nil, fmt.Errorf("doveadm %s: this is not the answer of a doveadm API", command)
	}
	if kind == "doveadmResponse" {
		return all[0][1], nil
	}
	var why struct {
		Type     string `json:"type"`
		ExitCode int    `json:"exitCode"`
	}
	if kind != "error" || json.Unmarshal(all[0][1], &why) != nil {
		return nil, fmt.Errorf("doveadm %s: this is not the answer of a doveadm API", command)
	}
	return nil, failure{command, why.Type, why.ExitCode}
}
