package mailbox_test

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"godwit/stages/mailbox"
)

func TestNamesOnTheWire(t *testing.T) {
	tests := map[string]struct {
		wire, name string
		clean      bool
	}{
		"plain":               {"Sent", "Sent", true},
		"umlauts":             {"Entw&APw-rfe", "Entwürfe", true},
		"an ampersand":        {"a &- b", "a & b", true},
		"beyond the plane":    {"&2D3eAA-", "😀", true},
		"a bare ampersand":    {"a & b", "a & b", false},
		"an unfinished shift": {"&AGE", "&AGE", false},
		"an odd number":       {"&AA-", "&AA-", false},
		"half a surrogate":    {"&2D0-", "&2D0-", false},
		"Latin-1":             {"caf\xe9", "café", false},
		"UTF-8 unasked":       {"café", "café", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, clean := mailbox.DecodeName(tt.wire)
			if got != tt.name || clean != tt.clean {
				t.Errorf("got %q, %v; want %q, %v", got, clean, tt.name, tt.clean)
			}
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.String().Draw(rt, "name")
		if got, _ := mailbox.DecodeName(mailbox.EncodeName(s)); got != s {
			rt.Fatalf("%q came back as %q", s, got)
		}
		if i := strings.IndexFunc(mailbox.EncodeName(s), func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			rt.Fatalf("%q is not 7-bit on the wire", s)
		}
	})
}

func TestFolders(t *testing.T) {
	type folders = []mailbox.Folder
	tests := map[string]struct {
		delim, prefix   string
		source          folders
		tdelim, tprefix string
		existing        folders
		kept, rename    map[string]string
		want            map[string]string
	}{
		"the same names": {
			"/", "",
			folders{{"INBOX", ""}, {"A/B", ""}},
			"/", "", nil, nil, nil,
			map[string]string{"INBOX": "INBOX", "A/B": "A/B"},
		},
		"another delimiter and prefix": {
			".", "INBOX.",
			folders{{"INBOX", ""}, {"INBOX.A.B", ""}},
			"/", "", nil, nil, nil,
			map[string]string{"INBOX": "INBOX", "INBOX.A.B": "A/B"},
		},
		"into a prefix": {
			"/", "",
			folders{{"INBOX", ""}, {"A/B", ""}, {"INBOX/C", ""}},
			".", "INBOX.", nil, nil, nil,
			map[string]string{"INBOX": "INBOX", "A/B": "INBOX.A.B", "INBOX/C": "INBOX.C"},
		},
		"a name with the target's delimiter": {
			"/", "",
			folders{{"a.b", ""}, {"a_b", ""}},
			".", "", nil, nil, nil,
			map[string]string{"a.b": wire("a．b"), "a_b": "a_b"},
		},
		"special use": {
			"/", "",
			folders{{"&AMk-l&AOk-ments envoy&AOk-s", `\sent`}, {"Sent", ""}},
			"/", "",
			folders{{"Sent", `\sent`}},
			nil, nil,
			map[string]string{"&AMk-l&AOk-ments envoy&AOk-s": "Sent", "Sent": "Sent (2)"},
		},
		"children follow their parent": {
			"/", "",
			folders{{"Gesendet", `\sent`}, {"Gesendet/2019", ""}},
			"/", "",
			folders{{"Sent", `\sent`}},
			nil, nil,
			map[string]string{"Gesendet": "Sent", "Gesendet/2019": "Sent/2019"},
		},
		"special use of neither": {
			"/", "",
			folders{{"Sent", ""}},
			"/", "",
			folders{{"Sent", `\sent`}},
			nil, nil,
			map[string]string{"Sent": "Sent"},
		},
		"renamed by the plan": {
			"/", "",
			folders{{"Old", ""}, {"Old/x", ""}, {"New", ""}},
			"/", "", nil, nil,
			map[string]string{"Old": "New"},
			map[string]string{"Old": "New", "Old/x": "New/x", "New": "New (2)"},
		},
		"decided before": {
			"/", "",
			folders{{"A", ""}, {"B", ""}},
			"/", "", nil,
			map[string]string{"B": "A"},
			nil,
			map[string]string{"B": "A", "A": "A (2)"},
		},
		"INBOX in the prefix collides": {
			"/", "",
			folders{{"INBOX/C", ""}, {"C", ""}},
			".", "INBOX.", nil, nil, nil,
			map[string]string{"C": "INBOX.C", "INBOX/C": "INBOX.C (2)"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := mailbox.Map(tt.delim, tt.prefix, tt.source, tt.tdelim, tt.tprefix, tt.existing, tt.kept, tt.rename)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			slices.Reverse(tt.source)
			again := mailbox.Map(tt.delim, tt.prefix, tt.source, tt.tdelim, tt.tprefix, tt.existing, tt.kept, tt.rename)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("the order of listing matters: %s", diff)
			}
		})
	}
}

func TestNoTwoFoldersShareATarget(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "A", "b", "a.b", "a．b", "a‛．b", "a_b", "INBOX", "inbox", "a (2)", "A (2)", "&AOk-", "%", "x\x01"})
		var source []mailbox.Folder
		seen := map[string]bool{}
		for range rapid.IntRange(1, 12).Draw(rt, "folders") {
			n := strings.Join(rapid.SliceOfN(part, 1, 3).Draw(rt, "path"), "/")
			if !seen[n] {
				seen[n] = true
				source = append(source, mailbox.Folder{Name: n})
			}
		}
		var existing []mailbox.Folder
		for range rapid.IntRange(0, 4).Draw(rt, "existing") {
			existing = append(existing, mailbox.Folder{Name: part.Draw(rt, "name")})
		}
		anyCase := rapid.Bool().Draw(rt, "any case")
		prefix := rapid.SampledFrom([]string{"", "INBOX."}).Draw(rt, "prefix")
		got := mailbox.MapCase(anyCase, "/", "", source, ".", prefix, existing, nil, nil)
		used := map[string]string{}
		for s, target := range got {
			if anyCase {
				target = strings.ToLower(target)
			}
			if other, twice := used[target]; twice {
				rt.Fatalf("%q and %q both go to %q", s, other, target)
			}
			used[target] = s
		}
		shuffled := rapid.Permutation(source).Draw(rt, "order")
		if diff := cmp.Diff(got, mailbox.MapCase(anyCase, "/", "", shuffled, ".", prefix, existing, nil, nil)); diff != "" {
			rt.Fatalf("the order of listing matters: %s", diff)
		}
		// What was decided stays, and what is new finds another place.
		kept := map[string]string{}
		for i, f := range source {
			if i%2 == 0 {
				kept[f.Name] = got[f.Name]
			}
		}
		if diff := cmp.Diff(got, mailbox.MapCase(anyCase, "/", "", source, ".", prefix, existing, got, nil)); diff != "" {
			rt.Fatalf("what was decided changes: %s", diff)
		}
		for name, target := range mailbox.MapCase(anyCase, "/", "", source, ".", prefix, existing, kept, nil) {
			if was, ok := kept[name]; ok && was != target {
				rt.Fatalf("%q was %q and is %q", name, was, target)
			}
		}
	})
}

// wire is a name as servers spell it.
var wire = mailbox.EncodeName

func TestExclude(t *testing.T) {
	tests := map[string]struct {
		patterns []string
		path     []string
		want     bool
	}{
		"by name":             {[]string{"Junk"}, []string{"Junk"}, true},
		"by pattern":          {[]string{"Sync Issues*"}, []string{"Sync Issues (2)"}, true},
		"with what is inside": {[]string{"Sync Issues*"}, []string{"Sync Issues", "Conflicts"}, true},
		"not elsewhere":       {[]string{"Junk"}, []string{"Work", "Junk"}, false},
		"a path":              {[]string{"Work/*"}, []string{"Work", "Junk"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mailbox.IsExcluded(tt.patterns, tt.path...); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestRanges(t *testing.T) {
	if got := mailbox.Sets([]uint32{1, 2, 3, 7, 9, 10}); !slices.Equal(got, []string{"1:3,7,9:10"}) {
		t.Errorf("got %q", got)
	}
	tests := map[string]struct {
		set  string
		want []uint32
	}{
		"one": {"5", []uint32{5}}, "a range": {"5:7", []uint32{5, 6, 7}}, "backwards": {"7:5", []uint32{5, 6, 7}},
		"a list": {"1,3:4", []uint32{1, 3, 4}}, "nonsense": {"x", nil}, "too many": {"1:4000000000", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mailbox.ParseSet(tt.set); !slices.Equal(got, tt.want) {
				t.Errorf("got %v", got)
			}
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfDistinct(rapid.Uint32Range(1, 300), func(u uint32) uint32 { return u }).Draw(rt, "uids")
		slices.Sort(list)
		var back []uint32
		for _, s := range mailbox.Sets(list) {
			back = append(back, mailbox.ParseSet(s)...)
		}
		if !slices.Equal(list, back) {
			rt.Fatalf("%v came back as %v", list, back)
		}
	})
}

func TestMapIsKeptCompactly(t *testing.T) {
	var first []mailbox.Pair
	for i := range uint32(100000) {
		first = append(first, mailbox.Pair{Source: i + 1, Target: i + 500})
	}
	if _, size, err := mailbox.PackedSize(first); err != nil || size > 16 {
		t.Errorf("100,000 neighbours take %d bytes, %v", size, err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var list []mailbox.Pair
		source := uint32(0)
		for range rapid.IntRange(0, 50).Draw(rt, "entries") {
			source += rapid.Uint32Range(1, 5).Draw(rt, "gap")
			list = append(list, mailbox.Pair{Source: source, Target: rapid.Uint32Range(0, 60).Draw(rt, "target")})
		}
		back, _, err := mailbox.PackedSize(list)
		if err != nil || !slices.Equal(list, back) {
			rt.Fatalf("%v came back as %v, %v", list, back, err)
		}
		_ = mailbox.Unpack(rapid.SliceOf(rapid.Byte()).Draw(rt, "anything"))
	})
}

func TestVerdict(t *testing.T) {
	const same, altered, wrong = 0, 1, 2
	tests := map[string]struct {
		sent, back string
		want       int
	}{
		"the same":                     {"a\r\nb", "a\r\nb", same},
		"line ends completed":          {"a\nb\n", "a\r\nb\r\n", altered},
		"a NUL stored as 0x80":         {"a\x00b", "a\x80b", altered},
		"both":                         {"\n\x00\r\n", "\r\n\x80\r\n", altered},
		"another byte":                 {"a\r\nb", "a\r\nc", wrong},
		"cut short":                    {"a\r\nb", "a\r\n", wrong},
		"line ends lost":               {"a\r\nb", "a\nb", wrong},
		"odd line ends, another byte":  {"a\nb", "a\r\nc", wrong},
		"a bare carriage return stays": {"a\rb", "a\rb", same},
		"a return too many":            {"a\r\r\nb\r", "a\r\nb", altered},
		"a return lost":                {"a\rb", "ab", wrong},
		"8-bit header, crossed out":    {"S: \xc3\xa4\r\n\r\nb", "S: XX\r\n\r\nb", altered},
		"that and line ends":           {"S: \xe4\n\nb", "S: X\r\n\r\nb", altered},
		"8-bit header, another letter": {"S: \xe4\r\n\r\nb", "S: \xe5\r\n\r\nb", wrong},
		"8-bit header, and NUL kept":   {"S: \xe4\r\n\r\n\x00b", "S: X\r\n\r\n\x00b", altered},
		"and NUL, and another letter":  {"S: \xe4\r\n\r\n\x00b", "S: \xe5\r\n\r\n\x00b", wrong},
		"8-bit text, crossed out":      {"S: s\r\n\r\n\xe4", "S: s\r\n\r\nX", wrong},
		"8-bit header, line ends lost": {"S: \xe4\r\n\r\nb", "S: \xe4\n\nb", wrong},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mailbox.Verdict(tt.sent, tt.back); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// What a server tells behind a message is read, however that comes.
func TestBehindALiteral(t *testing.T) {
	for _, body := range []string{"{5}\r\n(a\x00\"\n", "~{5}\r\n(a\x00\"\n", `"abc"`, "NIL"} {
		if n := mailbox.ReadMetas("* 1 FETCH (BODY[] " + body + " UID 7)\r\n"); n != 1 {
			t.Errorf("%q: the UID was not read", body)
		}
	}
}

// However a message comes in, its digest is the same, and the same as of what
// servers make of it.
func TestDigestsDoNotDependOnPieces(t *testing.T) {
	octets := rapid.SampledFrom([]string{"a", "\r", "\n", "\r\n", "\x00", "\xe4", ":", "\r\n\r\n"})
	rapid.Check(t, func(rt *rapid.T) {
		parts := rapid.SliceOf(octets).Draw(rt, "parts")
		whole := strings.Join(parts, "")
		if one, many := mailbox.DigestOf([]byte(whole)), mailbox.DigestInPieces(parts); !bytes.Equal(one, many) {
			rt.Fatalf("%q: %x in one, %x in pieces", whole, one, many)
		}
		if stored := mailbox.Settled(whole); mailbox.Verdict(whole, stored) == 2 || mailbox.ContentKey(whole) != mailbox.ContentKey(stored) {
			rt.Fatalf("%q is stored as %q and not recognized", whole, stored)
		}
	})
}

func TestFlagsThatATargetHolds(t *testing.T) {
	tests := map[string]struct {
		flags     string
		permanent []string
		kept      string
		dropped   []string
	}{
		"any keyword":            {`\Seen $Work`, []string{`\Seen`, `\*`}, `\Seen $Work`, nil},
		"nothing is told":        {`\Seen $Work`, nil, `\Seen $Work`, nil},
		"known keywords only":    {`\Seen $Work other`, []string{`\Seen`, `$work`}, `\Seen $Work`, []string{"other"}},
		"what no atom holds":     {`\Seen a"b [x]`, []string{`\*`}, `\Seen`, []string{`a"b`, "[x]"}},
		"an unknown system flag": {`\Strange \Seen`, []string{`\*`}, `\Seen`, []string{`\Strange`}},
		"a list of nothing":      {`\Flagged k`, []string{""}, `\Flagged`, []string{"k"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kept, dropped := mailbox.KeepFlags(tt.flags, tt.permanent)
			if kept != tt.kept || !slices.Equal(dropped, tt.dropped) {
				t.Errorf("got %q, %q", kept, dropped)
			}
		})
	}
	add, remove := mailbox.Difference(`\Seen a`, `\Flagged a`)
	if !slices.Equal(add, []string{`\Flagged`}) || !slices.Equal(remove, []string{`\Seen`}) {
		t.Errorf("got %v, %v", add, remove)
	}
}

func TestTooMany(t *testing.T) {
	tests := map[string]struct {
		gone, of int
		fraction float64
		want     bool
	}{
		"a tenth":           {10, 100, 0.1, false},
		"more than a tenth": {11, 100, 0.1, true},
		"a few of few":      {4, 4, 0.1, false},
		"five of five":      {5, 5, 0.1, true},
		"all, allowed":      {100, 100, 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := mailbox.TooMany(tt.gone, tt.of, tt.fraction); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestSafe(t *testing.T) {
	got := mailbox.Safe("a\x1b[31m\r\n\u202e\u200b\x80\xff" + strings.Repeat("é", 500))
	if n := len([]rune(got)); n != 201 || strings.ContainsAny(got, "\x1b\r\n\u202e\u200b") {
		t.Errorf("got %d runes: %q", n, got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`* LIST () "/" "a"`, `* 1 FETCH (UID 1 BODY[HEADER.FIELDS (A)] "x")`, `T1 OK [APPENDUID 1 2:3] x`, `* STATUS a (MESSAGES 1)`, "", "* ", `* 9 FETCH ((((`, `* OK [`, "+", `* LIST "`} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, line string) { mailbox.Parse(line) })
}

func TestStartTLSInjection(t *testing.T) {
	tests := map[string]struct {
		says []string
		ok   bool
	}{
		"clean":                     {[]string{"* OK hi\r\n", "S1 OK go\r\n"}, true},
		"bytes behind the OK":       {[]string{"* OK hi\r\n", "S1 OK go\r\n* BYE injected\r\n"}, false},
		"bytes behind the greeting": {[]string{"* OK hi\r\nS1 OK go\r\n"}, false},
		"refused":                   {[]string{"* OK hi\r\n", "S1 NO not here\r\n"}, false},
		"signed in before the talk": {[]string{"* PREAUTH hi\r\n"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer there.Close()
				buf := make([]byte, 100)
				for i, s := range tt.says {
					if i > 0 {
						if _, err := there.Read(buf); err != nil {
							return
						}
					}
					if _, err := there.Write([]byte(s)); err != nil {
						return
					}
				}
				_, _ = there.Read(buf)
			}()
			err := mailbox.StartTLS(here)
			_ = here.Close()
			<-done
			if (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}
