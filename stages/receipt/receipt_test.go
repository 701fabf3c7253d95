package receipt_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"godwit/stages/receipt"
)

var at = time.Date(2026, 12, 2, 22, 4, 5, 0, time.UTC)

// written is a small receipt with everything in it, and its hash.
func written(t *testing.T) (file []byte, sum string) {
	t.Helper()
	var b bytes.Buffer
	w := receipt.NewWriter(&b, receipt.Head{
		Account: "anna@acme.example", Service: "acme.example", Batch: "w49-a", Plan: "spring", PlanRevision: "0123abc",
		Source: "old.example:993", SourceLogin: "anna@acme.example", Target: "new", TargetServer: "new.example:993", TargetAccount: "anna@acme.example",
		Verify: "content", VerifiedAt: at, SwitchedAt: at.Add(time.Minute),
	})
	w.Folder(receipt.Folder{Name: `Été & "more" <x>`, Target: "Été", TargetName: "%26AMk-t%26AOk-", SourceValidity: 7, TargetValidity: 9})
	for uid := range uint32(4) {
		digest := sha256.Sum256([]byte{byte(uid)})
		w.Message(receipt.Message{UID: uid + 1, TargetUID: uid + 11, Date: at, Size: 812, Flags: `$Label1 \Seen`, Found: "exact", Digest: hex.EncodeToString(digest[:])})
	}
	w.Message(receipt.Message{UID: 7, TargetUID: 17, Size: 9, Found: "altered", Digest: strings.Repeat("a", 64), Stored: strings.Repeat("b", 64)})
	w.Named(receipt.Named{UID: 5, Reason: "too-large", Date: at, Bytes: 70 << 20, MessageID: "<a@b>"})
	w.Named(receipt.Named{UID: 6, Reason: "refused"})
	w.EndFolder(receipt.Sums{AtFreeze: 7, Exact: 4, Altered: 1, NotCarried: 2})
	w.Folder(receipt.Folder{Name: "empty", Target: "empty", TargetName: "empty", SourceValidity: 8, TargetValidity: 10})
	w.EndFolder(receipt.Sums{})
	w.Exception("Sync Issues", "excluded")
	sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), sum
}

func TestReadFindsWhatWasWritten(t *testing.T) {
	file, sum := written(t)
	var folders []string
	var uids []uint32
	got, err := receipt.Read(bytes.NewReader(file), receipt.Visitor{
		Folder:  func(f receipt.Folder) error { folders = append(folders, f.Name); return nil },
		Message: func(m receipt.Message) error { uids = append(uids, m.UID); return nil },
	})
	if err != nil || len(got.Damage) > 0 {
		t.Fatalf("%v %v\n%s", err, got.Damage, file)
	}
	if got.Hash != sum || got.Head.Account != "anna@acme.example" || !got.Head.SwitchedAt.Equal(at.Add(time.Minute)) {
		t.Errorf("got %+v", got)
	}
	if fmt.Sprint(folders, uids) != `[Été & "more" <x> empty] [1 2 3 4 7]` || got.Sums != (receipt.Sums{AtFreeze: 7, Exact: 4, Altered: 1, NotCarried: 2}) {
		t.Errorf("got %v %v %+v", folders, uids, got.Sums)
	}
}

// The way that the package doc gives to a stranger.
func TestAStrangerCanFoldIt(t *testing.T) {
	file, sum := written(t)
	c := exec.CommandContext(t.Context(), "sh", "-c", `awk '/^{"folder":/{f=1} /^"sha256":/{f=0} !f' | sed '$d' | sha256sum`)
	c.Stdin = bytes.NewReader(file)
	out, err := c.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), sum+" ") {
		t.Errorf("got %s, %v; want %s", out, err, sum)
	}
}

// No byte can be another without being found, and where it stands in a row, the
// row is named.
func TestEveryChangedByteIsFound(t *testing.T) {
	file, _ := written(t)
	for i := range file {
		for _, b := range []byte{file[i] ^ 1, '0', ' ', '"', '\n', 0xff} {
			if b == file[i] || i == len(file)-1 && (b == ' ' || b == '\n') {
				continue
			}
			changed := bytes.Clone(file)
			changed[i] = b
			line := 1 + bytes.Count(file[:i], []byte("\n"))
			got, err := receipt.Read(bytes.NewReader(changed), receipt.Visitor{})
			if err != nil && (errors.Is(err, receipt.ErrNoReceipt) || errors.Is(err, receipt.ErrNewer)) && line <= 15 {
				continue
			}
			if err != nil || len(got.Damage) == 0 {
				t.Fatalf("byte %d, line %d, %q for %q: %v, %v", i, line, b, file[i], got.Damage, err)
			}
			if row := bytes.Split(file, []byte("\n"))[line-1]; row[0] == '[' && file[i] != '\n' && b != '\n' && !named(got.Damage, line) {
				t.Fatalf("byte %d, %q for %q: line %d is not among %v", i, b, file[i], line, got.Damage)
			}
		}
	}
}

func named(list []receipt.Damage, line int) bool {
	for _, d := range list {
		if d.Line == line {
			return true
		}
	}
	return false
}

func TestDamageIsNamed(t *testing.T) {
	file, _ := written(t)
	lines := strings.SplitAfter(string(file), "\n")
	row, sums := 0, 0
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "[3,"):
			row = i
		case strings.Contains(l, `"exact":4`):
			sums = i
		}
	}
	tests := map[string]struct {
		change func() []string
		want   string
	}{
		"a digest":          {func() []string { return replaced(lines, row, "812", "813") }, fmt.Sprintf(`line %d: folder "Été & \"more\" <x>": UID 3: the row does not fit its check`, row+1)},
		"a row less":        {func() []string { return append(append([]string{}, lines[:row]...), lines[row+1:]...) }, "has 4 messages carried and 2 named, its sums say 5 and 2"},
		"a row twice":       {func() []string { return append(append([]string{}, lines[:row]...), lines[row-1:]...) }, "UID 2: the row stands twice"},
		"cut short":         {func() []string { return lines[:row] }, "the file ends here"},
		"something behind":  {func() []string { return append(append([]string{}, lines...), "more\n") }, "has ended before this line"},
		"another account":   {func() []string { return replaced(lines, 1, "anna", "anne") }, "one of the lines outside the folders was changed"},
		"another validity":  {func() []string { return replaced(lines, row-3, `"source_uidvalidity":7`, `"source_uidvalidity":8`) }, "the folder's lines fold into"},
		"sums that lie":     {func() []string { return replaced(lines, sums, `"exact":4`, `"exact":5`) }, "its sums say 6 and 2"},
		"an exception less": {func() []string { return append(append([]string{}, lines[:len(lines)-4]...), lines[len(lines)-3:]...) }, "outside the folders"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := receipt.Read(strings.NewReader(strings.Join(tt.change(), "")), receipt.Visitor{})
			if err != nil || len(got.Damage) == 0 || !strings.Contains(fmt.Sprint(got.Damage), tt.want) {
				t.Errorf("got %v, %v; want %s", got.Damage, err, tt.want)
			}
		})
	}
}

func replaced(lines []string, i int, from, to string) []string {
	out := append([]string{}, lines...)
	out[i] = strings.Replace(out[i], from, to, 1)
	return out
}

func TestWhatIsNoReceipt(t *testing.T) {
	for text, want := range map[string]error{
		"": receipt.ErrNoReceipt, "{}\n": receipt.ErrNoReceipt, "version: 1\n": receipt.ErrNoReceipt, "{\"godwit_receipt\":1,\n": receipt.ErrNoReceipt,
		"{\"godwit_receipt\":2,\n": receipt.ErrNewer,
	} {
		if _, err := receipt.Read(strings.NewReader(text), receipt.Visitor{}); !errors.Is(err, want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{\"godwit_receipt\":1,\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = receipt.Read(bytes.NewReader(data), receipt.Visitor{})
	})
}
