package demohost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/stages/demohost"
	"godwit/stages/platform"
	"godwit/stages/platform/platformtest"
	"godwit/stages/platform/program"
)

// both are the ways to the admin side.
var both = map[string]func(t *testing.T, h *demohost.Host, timeout time.Duration) interface {
	platform.Freezer
	platform.Admin
}{
	"hook": func(t *testing.T, h *demohost.Host, timeout time.Duration) interface {
		platform.Freezer
		platform.Admin
	} {
		return program.New([]string{self, "demo-hook", h.AdminSocket}, t.TempDir(), timeout)
	},
	"direct": func(_ *testing.T, h *demohost.Host, _ time.Duration) interface {
		platform.Freezer
		platform.Admin
	} {
		return demohost.Platform{Host: h}
	},
}

func TestPlatform(t *testing.T) {
	for name, open := range both {
		t.Run(name, func(t *testing.T) {
			platformtest.Freezer(t, func(t *testing.T) (platform.Freezer, platform.Request) {
				return open(t, start(t), time.Minute), platform.Request{Account: ben, TargetAccount: ben}
			})
			var h *demohost.Host
			platformtest.Admin(t, func(t *testing.T) (platform.Admin, platform.Request) {
				h = start(t)
				return open(t, h, time.Minute), platform.Request{Account: anna, TargetAccount: "anna@new.example"}
			}, func(_ *testing.T, r platform.Request) (string, bool) {
				password := h.Password(demohost.Target, r.TargetAccount)
				return password, password != ""
			})
		})
	}
}

func TestActionsGoWrongAsTold(t *testing.T) {
	for name, open := range both {
		t.Run(name, func(t *testing.T) {
			h := start(t)
			d, r := open(t, h, 700*time.Millisecond), platform.Request{Account: ben, TargetAccount: ben}
			h.FailNext("freeze", 2, demohost.Later)
			h.FailNext("freeze", 1, demohost.Broken)
			h.FailNext("freeze", 1, demohost.Lost)
			for i, want := range []error{platform.ErrLater, platform.ErrLater, nil} {
				if err := d.Freeze(t.Context(), r); err == nil || want != nil && !errors.Is(err, want) || errors.Is(err, platform.ErrUnknown) {
					t.Errorf("try %d: got %v; want %v", i+1, err, want)
				}
				if got := h.State(ben); got != platform.Open {
					t.Errorf("try %d: %s", i+1, got)
				}
			}
			if err := d.Freeze(t.Context(), r); !errors.Is(err, platform.ErrUnknown) {
				t.Errorf("a lost answer: got %v", err)
			}
			if got := h.State(ben); got != platform.Frozen {
				t.Errorf("the answer was lost, the action was not: %s", got)
			}
			must(t, d.Thaw(t.Context(), r))
			h.FailNext("set_password", 1, demohost.Lost)
			if err := d.SetPassword(t.Context(), r, "new-Secret7"); !errors.Is(err, platform.ErrUnknown) || h.Password(demohost.Target, ben) != "new-Secret7" {
				t.Errorf("a lost set_password: %v", err)
			}
			if h.MustChange(ben) {
				t.Error("must change before activate")
			}
			must(t, d.Activate(t.Context(), r))
			if !h.MustChange(ben) {
				t.Error("activate is not recorded")
			}
		})
	}
}

func TestHook(t *testing.T) {
	h := start(t)
	tests := map[string]struct {
		stdin  string
		code   int
		stdout string
	}{
		"check prints the state":         {`{"action":"check","account":"anna@old.example","plan":"demo"}`, 0, `{"state":"open"}` + "\n"},
		"an unknown account is an error": {`{"action":"check","account":"nobody@old.example"}`, 1, ""},
		"an unknown action is an error":  {`{"action":"dance","account":"anna@old.example"}`, 1, ""},
		"no JSON is an error":            {"freeze anna\n", 1, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if code := demohost.Hook(t.Context(), h.AdminSocket, strings.NewReader(tt.stdin), &out); code != tt.code || out.String() != tt.stdout {
				t.Errorf("got %d, %q; want %d, %q", code, &out, tt.code, tt.stdout)
			}
		})
	}
	t.Run("a lost answer ends with the context", func(t *testing.T) {
		h.FailNext("check", 1, demohost.Lost)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if code := demohost.Hook(ctx, h.AdminSocket, strings.NewReader(tests["check prints the state"].stdin), &bytes.Buffer{}); code == 0 {
			t.Error("got 0")
		}
	})
	t.Run("nobody is there", func(t *testing.T) {
		if code := demohost.Hook(t.Context(), h.AdminSocket+"x", strings.NewReader("{}"), &bytes.Buffer{}); code != 1 {
			t.Errorf("got %d", code)
		}
	})
}

func TestCloseEndsAHookThatWaits(t *testing.T) {
	h, err := demohost.Start(t.TempDir())
	must(t, err)
	h.AddAccount(demohost.Source, anna, "x")
	h.FailNext("freeze", 1, demohost.Lost)
	ended := make(chan error, 1)
	go func() {
		code := demohost.Hook(t.Context(), h.AdminSocket, strings.NewReader(fmt.Sprintf(`{"action":"freeze","account":%q}`, anna)), &bytes.Buffer{})
		if code == 0 {
			ended <- errors.New("got 0")
		}
		ended <- nil
	}()
	for h.State(anna) != platform.Frozen {
		time.Sleep(10 * time.Millisecond)
	}
	must(t, h.Close())
	must(t, <-ended)
}
