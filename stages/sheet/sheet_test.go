package sheet_test

import (
	"encoding/csv"
	"os"
	"regexp"
	"strings"
	"testing"

	"godwit/stages/sheet"
)

func TestNoCellIsAFormula(t *testing.T) {
	formula := regexp.MustCompile(`(^|[;,\t])["' ]*[=+\-@\t\r＝＋－＠]`)
	for _, cell := range []string{
		"=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", `"=1`, `'=1`, "＝1", "a;=1", "a,=1", "a\t=1",
		"\ufeff=1", "x\x1b[31m", "a\u202eb", "bad\xff", "line\nbreak",
	} {
		safe := sheet.Safe(cell)
		guarded := strings.HasPrefix(safe, "'")
		if formula.MatchString(safe) && !guarded {
			t.Errorf("%q became %q", cell, safe)
		}
		if strings.ContainsFunc(safe, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' || r == '\ufeff' }) {
			t.Errorf("%q became %q: control characters are left", cell, safe)
		}
	}
	for _, cell := range []string{"", "anna@old.example", "Entwürfe/2024", "3.5", "x-y", "日本語"} {
		if got := sheet.Safe(cell); got != cell {
			t.Errorf("%q was changed to %q", cell, got)
		}
	}
}

func TestEncode(t *testing.T) {
	data, err := sheet.Style{Delimiter: ';', BOM: true}.Encode([][]string{{"a", "b"}, {"x;y", "=1"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "\ufeffa;b\r\n\"x;y\";'=1\r\n"; string(data) != want {
		t.Errorf("got %q, want %q", data, want)
	}
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(data), "\ufeff")))
	r.Comma = ';'
	if rows, err := r.ReadAll(); err != nil || rows[1][0] != "x;y" {
		t.Errorf("got %q, %v", rows, err)
	}
}

func TestAPasswordIsNeverChanged(t *testing.T) {
	if _, err := (sheet.Style{}).EncodeSecrets([][]string{{"a", "=secret"}}, 1); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

func TestWriteIsWholeAndPrivate(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, text := range []string{"one", "two"} {
		if err := sheet.Write(root, "b/s/report.csv", []byte(text)); err != nil {
			t.Fatal(err)
		}
		data, err := root.ReadFile("b/s/report.csv")
		if err != nil || string(data) != text {
			t.Errorf("got %q, %v", data, err)
		}
	}
	info, err := root.Stat("b/s/report.csv")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if err := sheet.Write(root, "../out.csv", nil); err == nil {
		t.Error("a name climbed out of the folder")
	}
	dir, err := root.Open("b/s")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if names, _ := dir.Readdirnames(-1); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}
