package platformtest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"godwit/stages/platform"
)

// Admin checks the promises of platform.Admin. new returns a driver and an
// account that may be created at the target and does not exist there yet; it is
// called once for every case. password tells the password of the target account
// now, and whether the account exists. A request for nobody@nowhere.example
// must be refused by the target.
func Admin(t *testing.T, new func(t *testing.T) (platform.Admin, platform.Request), password func(t *testing.T, r platform.Request) (string, bool)) {
	t.Run("ensure creates the account", func(t *testing.T) {
		a, r := new(t)
		if _, ok := password(t, r); ok {
			t.Fatal("the account exists before ensure")
		}
		do(t, a.Ensure(t.Context(), r))
		if _, ok := password(t, r); !ok {
			t.Error("there is no account after ensure")
		}
	})
	t.Run("ensure leaves an account alone that exists", func(t *testing.T) {
		a, r := new(t)
		do(t, a.Ensure(t.Context(), r))
		do(t, a.SetPassword(t.Context(), r, "first-Secret7"))
		do(t, a.Ensure(t.Context(), r))
		mustHold(t, password, r, "first-Secret7")
	})
	t.Run("setting a password twice is setting it once", func(t *testing.T) {
		a, r := new(t)
		do(t, a.Ensure(t.Context(), r))
		do(t, a.SetPassword(t.Context(), r, "first-Secret7"))
		do(t, a.SetPassword(t.Context(), r, "first-Secret7"))
		mustHold(t, password, r, "first-Secret7")
	})
	t.Run("the last password holds", func(t *testing.T) {
		a, r := new(t)
		do(t, a.Ensure(t.Context(), r))
		do(t, a.SetPassword(t.Context(), r, "first-Secret7"))
		do(t, a.SetPassword(t.Context(), r, "second-Secret8"))
		mustHold(t, password, r, "second-Secret8")
	})
	t.Run("every character of a password arrives", func(t *testing.T) {
		a, r := new(t)
		do(t, a.Ensure(t.Context(), r))
		const odd = `a"b\c'd<e>&f$(g)%h é€ z`
		do(t, a.SetPassword(t.Context(), r, odd))
		mustHold(t, password, r, odd)
	})
	t.Run("activate twice is activate once and keeps the password", func(t *testing.T) {
		a, r := new(t)
		do(t, a.Ensure(t.Context(), r))
		do(t, a.SetPassword(t.Context(), r, "first-Secret7"))
		do(t, a.Activate(t.Context(), r))
		do(t, a.Activate(t.Context(), r))
		mustHold(t, password, r, "first-Secret7")
	})
	for action, call := range adminActions {
		t.Run(action+" of an unknown account is an error without the password", func(t *testing.T) {
			a, r := new(t)
			err := call(t.Context(), a, stranger(r))
			if err == nil {
				t.Fatal("got no error")
			}
			if strings.Contains(err.Error(), canary) {
				t.Error("the error quotes the password")
			}
		})
		t.Run(action+" with a cancelled context does nothing and says so", func(t *testing.T) {
			a, r := new(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := call(ctx, a, r); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v; want context.Canceled", err)
			}
			if _, ok := password(t, r); ok {
				t.Error("the account was created")
			}
		})
	}
}

// canary is a password that must not be seen anywhere.
const canary = "canary-Secret9"

var adminActions = map[string]func(context.Context, platform.Admin, platform.Request) error{
	"ensure": func(ctx context.Context, a platform.Admin, r platform.Request) error { return a.Ensure(ctx, r) },
	"set_password": func(ctx context.Context, a platform.Admin, r platform.Request) error {
		return a.SetPassword(ctx, r, canary)
	},
	"activate": func(ctx context.Context, a platform.Admin, r platform.Request) error { return a.Activate(ctx, r) },
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustHold(t *testing.T, password func(*testing.T, platform.Request) (string, bool), r platform.Request, want string) {
	t.Helper()
	if got, ok := password(t, r); !ok || got != want {
		t.Errorf("the account exists: %v; its password is the one expected: %v", ok, got == want)
	}
}
