package zimbra

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"godwit/stages/platform"
)

// Ensure creates the target account if it does not exist and the driver may.
// Errors: platform.ErrNoAccount where it may not.
func (d *Driver) Ensure(ctx context.Context, r platform.Request) error {
	_, err := d.lookup(ctx, r.TargetAccount, true)
	if !errors.Is(err, platform.ErrNoAccount) {
		return err
	}
	if !d.config.Create {
		return fmt.Errorf("%w; make it on the server, or set admin.create: true", err)
	}
	attrs := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			attrs[name] = value
		}
	}
	set("displayName", r.Name)
	set("zimbraPrefLocale", strings.ReplaceAll(r.Locale, "-", "_"))
	if d.config.COS != "" {
		id, err := d.cos(ctx, d.config.COS)
		if err != nil {
			return err
		}
		set("zimbraCOSId", id)
	}
	var answer struct {
		Account found `json:"account"`
	}
	// Without a password nobody can sign in until the credentials are set.
	err = d.do(ctx, "CreateAccount", map[string]any{"name": r.TargetAccount, "a": pairs(attrs)}, &answer, true)
	switch {
	case isFault(err, "account.ACCOUNT_EXISTS"): // a list or alias has the address, or another run was quicker
		_, err = d.lookup(ctx, r.TargetAccount, true)
		return err
	case err != nil:
		return err
	}
	return mustBe(&answer.Account.account, r.TargetAccount)
}

// cos returns the id of a class of service.
func (d *Driver) cos(ctx context.Context, name string) (string, error) {
	var answer struct {
		COS found `json:"cos"`
	}
	err := d.do(ctx, "GetCos", map[string]any{"cos": map[string]any{"by": "name", "_content": name}}, &answer, false)
	if isFault(err, "account.NO_SUCH_COS") {
		return "", fmt.Errorf("the server has no class of service %q; see admin.cos", name)
	}
	if err == nil && (answer.COS.ID == "" || !strings.EqualFold(answer.COS.Name, name)) {
		err = fmt.Errorf("GetCos: asked for %q, answered with %q", name, printable(answer.COS.Name))
	}
	return answer.COS.ID, err
}

// SetPassword sets the target account's password. The server takes an
// administrator's password against its own policy and says so in a message:
// that is an error, since the user would be refused the same one.
func (d *Driver) SetPassword(ctx context.Context, r platform.Request, password string) error {
	if password == "" {
		return errors.New("SetPassword: the password is empty")
	}
	a, err := d.lookup(ctx, r.TargetAccount, true)
	if err != nil {
		return err
	}
	var answer struct {
		Message text `json:"message"`
	}
	err = d.do(ctx, "SetPassword", map[string]any{"id": a.ID, "newPassword": password}, &answer, true)
	if err != nil {
		return hide(err, password)
	}
	if answer.Message != "" {
		return fmt.Errorf("SetPassword: the password was set against the account's policy: %s", printable(strings.ReplaceAll(string(answer.Message), password, "[secret]")))
	}
	return nil
}

// hide keeps a password out of an error in which the server quotes it. The fault
// must not be wrapped yet: what wraps it has its words already.
func hide(err error, password string) error {
	var f *Fault
	if errors.As(err, &f) {
		f.Code = strings.ReplaceAll(f.Code, password, "[secret]")
		f.Reason = strings.ReplaceAll(f.Reason, password, "[secret]")
	}
	return err
}

// Activate makes the user choose a new password at the first webmail login. It
// comes after SetPassword, which clears the flag.
func (d *Driver) Activate(ctx context.Context, r platform.Request) error {
	const flag = "zimbraPasswordMustChange"
	a, err := d.lookup(ctx, r.TargetAccount, true)
	if err != nil || a.is(flag) {
		return err
	}
	if _, err := d.modify(ctx, a, map[string]string{flag: "TRUE"}); err != nil {
		return err
	}
	if a, err = d.lookup(ctx, r.TargetAccount, true); err != nil {
		return err
	}
	if !a.is(flag) {
		return fmt.Errorf("%s of %s was set and is not", flag, r.TargetAccount)
	}
	return nil
}
