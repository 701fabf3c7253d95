package plans_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/plans"
)

func TestSecretNeverPrints(t *testing.T) {
	literal := plans.LiteralSecret("hunter2-canary")
	account := plans.Account{Address: "anna@a.example", SourceSecret: literal}
	private := struct{ inner struct{ s plans.Secret } }{}
	private.inner.s = literal
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", literal)
		fmt.Fprintf(&out, verb+"\n", &literal)
		fmt.Fprintf(&out, verb+"\n", account)
		fmt.Fprintf(&out, verb+"\n", private)
	}
	text, err := json.Marshal(map[string]any{"a": account, "s": literal})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	key, err := literal.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	out.Write(key)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", literal, "account", account)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", literal, "account", account)
	for _, form := range []string{"hunter2", "68756e746572", "68756E746572"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("it prints as %s", form)
		}
	}
	if got := fmt.Sprint(literal); got != "[secret]" {
		t.Errorf("it prints as %q; want [secret]", got)
	}
	if literal.Ref() != "" {
		t.Error("a literal has a reference that can be written down")
	}
}

func TestSecretOpen(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("GODWIT_TEST_SECRET", " s3cret ")
	t.Setenv("GODWIT_TEST_OTHER", "other")
	tests := map[string]struct{ ref, want, err string }{
		"env":                              {"env:GODWIT_TEST_SECRET", " s3cret ", ""},
		"env that is not set":              {"env:GODWIT_TEST_NONE", "", "secret env:GODWIT_TEST_NONE: the variable is not set"},
		"file, one newline off":            {"file:" + put("a", "s3cret\n\n", 0o600), "s3cret\n", ""},
		"file others can read":             {"file:" + put("b", "canary", 0o640), "", "others can read it (mode 0640); chmod 600 it"},
		"file that is missing":             {"file:" + dir + "/none", "", "no such file"},
		"file that is a folder":            {"file:" + dir, "", "not a regular file"},
		"file that is empty":               {"file:" + put("c", "\n", 0o600), "", "it is empty"},
		"file that is huge":                {"file:" + put("d", strings.Repeat("canary", 20_000), 0o600), "", "longer than 64 KiB"},
		"program":                          {"exec:" + put("e", "#!/bin/sh\nprintf '%s,%s\\n' \"$1\" \"$2\"\n", 0o700) + " a $HOME;b", "a,$HOME;b", ""},
		"program with a clean environment": {"exec:" + put("f", "#!/bin/sh\necho \"x$GODWIT_TEST_OTHER\"\n", 0o700), "x", ""},
		"program that fails":               {"exec:" + put("g", "#!/bin/sh\necho canary; echo canary >&2; exit 3\n", 0o700) + " canary", "", "exit status 3"},
		"program that is missing":          {"exec:" + dir + "/none canary", "", "no such file"},
		"program that floods":              {"exec:" + put("h", "#!/bin/sh\nyes canary\n", 0o700), "", "longer than 64 KiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			secret, err := plans.ParseSecret(tt.ref)
			if err != nil {
				t.Fatal(err)
			}
			got, err := secret.Open(t.Context())
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("it shows the secret: %v", err)
			}
		})
	}
	t.Run("a program that hangs ends with the caller", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		secret, err := plans.ParseSecret("exec:sleep 20")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := secret.Open(ctx); err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestSecretsOfListsStayBelowThePlan(t *testing.T) {
	dir := write(t, map[string]string{
		"plan.yaml":    small,
		"accounts.csv": "service,account,source_secret,target_secret\na.example,anna@a.example,file:secrets/anna,file:secrets/link\n",
		"secrets/anna": "geheim\n",
	})
	outside := write(t, map[string]string{"outside": "canary"})
	if err := os.Symlink(filepath.Join(outside, "outside"), filepath.Join(dir, "secrets/link")); err != nil {
		t.Fatal(err)
	}
	plan, err := plans.Load(filepath.Join(dir, "plan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	for s := range plan.Batches[0].Services() {
		a := s.Accounts[0]
		if got, err := a.SourceSecret.Open(t.Context()); got != "geheim" || err != nil {
			t.Errorf("below: %q, %v", got, err)
		}
		if want := "file:" + dir + "/secrets/anna"; a.SourceSecret.Ref() != want {
			t.Errorf("ref %q; want %q", a.SourceSecret.Ref(), want)
		}
		if got, err := a.TargetSecret.Open(t.Context()); err == nil {
			t.Errorf("a link led out of the folder: %q", got)
		}
	}
}
