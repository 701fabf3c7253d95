package main

import (
	"testing"

	"pgregory.net/rapid"
)

func TestFolderNamesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if got := decodeName(encodeName(name)); got != name {
			t.Errorf("%q came back as %q", name, got)
		}
	})
}

func TestFolderNamesOnTheWire(t *testing.T) {
	tests := map[string]struct {
		naming      naming
		wire, local string
	}{
		"umlauts":                       {naming{"/", ""}, "M&APw-ller &- S&APY-hne", "Müller & Söhne"},
		"beyond the first plane":        {naming{"/", ""}, "&2DzfFg-", "🌖"},
		"levels by dots":                {naming{".", ""}, "a.b", "a/b"},
		"a prefix":                      {naming{".", "INBOX."}, "INBOX.Sent", "Sent"},
		"INBOX has none":                {naming{".", "INBOX."}, "INBOX", "INBOX"},
		"a slash that is no level":      {naming{".", ""}, "a/b", "a\uff0fb"},
		"what is no UTF-7 stays":        {naming{"/", ""}, "A&B", "A&B"},
		"another spelling stays itself": {naming{"/", ""}, "&AGE-", "&AGE-"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.naming.local(tt.wire); got != tt.local {
				t.Errorf("got %q, want %q", got, tt.local)
			}
		})
	}
}
