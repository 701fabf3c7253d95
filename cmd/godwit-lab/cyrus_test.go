package main

import (
	"os"
	"path/filepath"
	"testing"
)

// needCyrus fails where all must run, and skips elsewhere.
func needCyrus(t *testing.T) {
	t.Helper()
	for _, root := range cyrusRoots {
		if _, err := os.Stat(filepath.Join(root, "usr/lib/cyrus/bin/master")); err == nil {
			return
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(errNoCyrus)
	}
	t.Skip(errNoCyrus)
}

func TestCyrus(t *testing.T) {
	needCyrus(t)
	tests := map[string]naming{
		"cyrus":     {separator: ".", prefix: "INBOX."},
		"cyrus-alt": {separator: "/", prefix: ""},
	}
	for format, want := range tests {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			_, l := labProcess(t, "-target-format", format)
			password := addUser(t, l, "anna@old.example")
			c, err := signIn(t, l, l.Target.Address, "anna@old.example", password)
			if err != nil {
				t.Fatalf("the user is refused: %v", err)
			}
			if got, err := c.naming(); err != nil || got != want {
				t.Errorf("folders are named %+v, %v; want %+v", got, err, want)
			}
			if _, err := signIn(t, l, l.Target.Address, "anna@old.example", password+"x"); err == nil {
				t.Error("a wrong password was taken")
			}
			if _, err := signIn(t, l, l.Target.Address, "ben@old.example", password); err == nil {
				t.Error("an unknown user was let in")
			}
			master, err := l.openMailbox(t.Context(), l.Target.Address, "anna@old.example")
			if err != nil {
				t.Fatalf("the master is refused: %v", err)
			}
			master.logout()
		})
	}
}
