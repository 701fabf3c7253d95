package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"
)

// signIn proves who we are, as the plan says.
func (s *session) signIn(ctx context.Context, e Endpoint) error {
	secret := e.Login.Secret
	if e.Server.Auth == "master" || e.Server.Auth == "authzid" {
		secret = e.Server.Secret
	}
	if secret == nil {
		return errors.New("no secret is configured")
	}
	caps := s.c.Caps()
	if caps == nil {
		return s.because(errors.New("the server tells no capabilities"))
	}
	password, err := secret(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSecret, err)
	}
	for _, login := range []string{e.Login.User, e.Server.Login, e.Login.User + "\x00" + e.Server.Login} {
		s.w.hide(login, password)
	}
	if e.Server.Auth == "master" {
		s.w.hide(masterLogin(e), password)
	}
	err = s.authenticate(e, caps, password)
	if _, no := refused(fromLibrary(err)); no && e.Server.Auth == "xoauth2" && s.w.failure() == nil { // else it has not ended
		err = s.refresh(ctx, e, caps, secret, password, err)
	}
	if err != nil {
		if werr := s.end(); werr != nil {
			return werr
		}
		return loginError(fromLibrary(err))
	}
	// Once, right after the login: it waits for the new list.
	s.w.rests()
	caps = s.c.Caps()
	if caps == nil {
		return s.because(errors.New("the server tells no capabilities after the login"))
	}
	s.caps = imap.CapSet{}
	for c := range caps {
		s.caps[imap.Cap(strings.ToUpper(string(c)))] = struct{}{}
	}
	return nil
}

// refresh tries once more with a new token, where there is one: the first may
// have expired on its way.
func (s *session) refresh(ctx context.Context, e Endpoint, caps imap.CapSet, secret func(context.Context) (string, error), old string, err error) error {
	token, serr := secret(ctx)
	if serr != nil || token == old {
		return err
	}
	s.w.hide(e.Login.User, token)
	return s.authenticate(e, caps, token)
}

func (s *session) authenticate(e Endpoint, caps imap.CapSet, password string) error {
	user := e.Login.User
	switch e.Server.Auth {
	case "authzid":
		return s.c.Authenticate(sasl.NewPlainClient(user, e.Server.Login, password))
	case "xoauth2":
		x := &xoauth2{user: user, token: password}
		return x.explain(s.c.Authenticate(x))
	case "master":
		user = masterLogin(e)
	case "", "password":
	default:
		return fmt.Errorf("auth %q is not one of password, master, authzid, xoauth2", e.Server.Auth)
	}
	if caps.Has(imap.AuthCap("PLAIN")) {
		return s.c.Authenticate(sasl.NewPlainClient("", user, password))
	}
	if caps.Has(imap.CapLoginDisabled) {
		return errors.New("the server has disabled LOGIN here and offers no AUTH=PLAIN")
	}
	return s.c.Login(user, password).Wait()
}

// masterLogin is the name that a master user signs in with.
func masterLogin(e Endpoint) string {
	if e.Server.MasterFormat == "" {
		return e.Login.User + "*" + e.Server.Login
	}
	return strings.NewReplacer("{account}", e.Login.User, "{login}", e.Server.Login).Replace(e.Server.MasterFormat)
}

// xoauth2 is Google's and Microsoft's sign-in with a token.
type xoauth2 struct{ user, token, status string }

func (x *xoauth2) Start() (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}

// Next answers the error that a refusal begins with, so that the NO arrives.
func (x *xoauth2) Next(challenge []byte) ([]byte, error) {
	var why struct{ Status string }
	if json.Unmarshal(challenge, &why) == nil {
		x.status = safe(why.Status)
	}
	return []byte{}, nil
}

func (x *xoauth2) explain(err error) error {
	var no *imap.Error
	if !errors.As(err, &no) || x.status == "" {
		return err
	}
	told := *no
	told.Text += " (the token was refused with status " + x.status + ")"
	return &told
}
