// Package platformtest is what every driver of package platform must do. A
// driver's own test calls Freezer, Admin or both with a way to make one.
package platformtest

import (
	"context"
	"errors"
	"testing"

	"godwit/stages/platform"
)

// Freezer checks the promises of platform.Freezer. new returns a driver and an
// account that is open; it is called once for every case.
func Freezer(t *testing.T, new func(t *testing.T) (platform.Freezer, platform.Request)) {
	tests := map[string]struct {
		do   []string
		want platform.State
	}{
		"an account nobody touched is open":              {nil, platform.Open},
		"a frozen account is frozen":                     {[]string{"freeze"}, platform.Frozen},
		"freezing twice is freezing once":                {[]string{"freeze", "freeze"}, platform.Frozen},
		"thaw undoes freeze":                             {[]string{"freeze", "thaw"}, platform.Open},
		"one thaw undoes two freezes":                    {[]string{"freeze", "freeze", "thaw"}, platform.Open},
		"thawing twice is thawing once":                  {[]string{"freeze", "thaw", "thaw"}, platform.Open},
		"thawing an open account leaves it open":         {[]string{"thaw"}, platform.Open},
		"an account can be frozen again after a thaw":    {[]string{"freeze", "thaw", "freeze"}, platform.Frozen},
		"a switched account is switched":                 {[]string{"freeze", "switch"}, platform.Switched},
		"switching twice is switching once":              {[]string{"freeze", "switch", "switch"}, platform.Switched},
		"rollback undoes switch":                         {[]string{"freeze", "switch", "rollback"}, platform.Open},
		"rolling back twice is rolling back once":        {[]string{"freeze", "switch", "rollback", "rollback"}, platform.Open},
		"who was rolled back can move again":             {[]string{"freeze", "switch", "rollback", "freeze", "switch"}, platform.Switched},
		"a try that starts over after a thaw can switch": {[]string{"freeze", "thaw", "freeze", "switch"}, platform.Switched},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f, r := new(t)
			for i, action := range tt.do {
				if err := freezerAction(t.Context(), f, action, r); err != nil {
					t.Fatalf("%s, step %d of %v: %v", action, i+1, tt.do, err)
				}
			}
			mustBe(t, f, r, tt.want)
			mustBe(t, f, r, tt.want) // asking changes nothing
		})
	}
	for _, action := range []string{"freeze", "thaw", "switch", "check"} {
		t.Run(action+" of an unknown account is an error", func(t *testing.T) {
			f, r := new(t)
			if err := freezerAction(t.Context(), f, action, stranger(r)); err == nil {
				t.Error("got no error")
			}
			mustBe(t, f, r, platform.Open)
		})
		t.Run(action+" with a cancelled context does nothing and says so", func(t *testing.T) {
			f, r := new(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := freezerAction(ctx, f, action, r); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v; want context.Canceled", err)
			}
			mustBe(t, f, r, platform.Open)
		})
	}
}

func freezerAction(ctx context.Context, f platform.Freezer, action string, r platform.Request) error {
	switch action {
	case "freeze":
		return f.Freeze(ctx, r)
	case "thaw":
		return f.Thaw(ctx, r)
	case "rollback":
		r.Rollback = true
		return f.Thaw(ctx, r)
	case "switch":
		return f.Switch(ctx, r)
	case "check":
		_, err := f.Check(ctx, r)
		return err
	}
	panic("no action " + action)
}

func mustBe(t *testing.T, f platform.Freezer, r platform.Request, want platform.State) {
	t.Helper()
	got, err := f.Check(t.Context(), r)
	if err != nil || got != want {
		t.Errorf("check: got %q, %v; want %q", got, err, want)
	}
}

// stranger is r for an account that nobody has.
func stranger(r platform.Request) platform.Request {
	r.Account, r.Login, r.TargetAccount = "nobody@nowhere.example", "nobody@nowhere.example", "nobody@nowhere.example"
	return r
}
