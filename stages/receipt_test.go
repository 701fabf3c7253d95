package stages_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages"
	"godwit/stages/receipt"
	"godwit/stages/sheet"
)

// moved takes anna through freeze, final pass and switch.
func (h *hoster) moved() {
	h.t.Helper()
	h.copied(pipeline.Precopy)
	must(h.t, h.Deliver(anna, letter("INBOX", "the last")))
	h.outcome("done", h.freeze(), "", anna)
	h.copied(pipeline.Final)
	h.set(anna, func(s *ledger.State) { s.Phase, s.SwitchedAt = ledger.Switched, s.VerifiedAt })
}

// receipt reads anna's; UIDs by folder.
func (h *hoster) receipt() (file []byte, got receipt.Result, uids map[string][]uint32) {
	h.t.Helper()
	file, err := os.ReadFile(filepath.Join(h.dir, "out", stages.ReceiptName(h.key(anna))))
	must(h.t, err)
	folder := ""
	uids = map[string][]uint32{}
	got, err = receipt.Read(bytes.NewReader(file), receipt.Visitor{
		Folder:  func(f receipt.Folder) error { folder = f.Name; return nil },
		Message: func(m receipt.Message) error { uids[folder] = append(uids[folder], m.UID); return nil },
	})
	if err != nil || len(got.Damage) > 0 {
		h.t.Fatalf("%v, %v\n%s", err, got.Damage, file)
	}
	return file, got, uids
}

func TestReceiptNamesEveryMessage(t *testing.T) {
	h := newHoster(t, "passwords: {mode", "copy: {max_message: 4KiB, folders: {exclude: [Junk]}}\npasswords: {mode")
	h.ten()
	h.letter(anna, "Junk", "spam")
	must(t, h.Deliver(anna, letter("INBOX", strings.Repeat("long ", 2000))))
	h.reports()
	if _, err := os.Stat(filepath.Join(h.dir, "out", stages.ReceiptName(h.key(anna)))); err == nil {
		t.Error("there is a receipt of a mailbox that has not moved")
	}
	h.moved()
	h.reports()
	file, got, uids := h.receipt()
	if got.Sums != (receipt.Sums{AtFreeze: 13, Exact: 12, NotCarried: 1}) || len(uids["INBOX"]) != 11 || len(uids["Clients/Été"]) != 1 {
		t.Errorf("got %+v %v\n%s", got.Sums, uids, file)
	}
	if got.Head.Source != h.SourceAddress || got.Head.TargetServer != h.TargetAddress || got.Head.Account != anna || got.Head.VerifiedAt.IsZero() {
		t.Errorf("got %+v", got.Head)
	}
	for _, want := range []string{`"too-large"`, `["Junk","excluded"`, `"named":[`} {
		if !bytes.Contains(file, []byte(want)) {
			t.Errorf("%s is not in\n%s", want, file)
		}
	}
	for _, secret := range []string{h.Migrator().Secret, "old-anna"} {
		if bytes.Contains(file, []byte(secret)) {
			t.Errorf("a secret stands in\n%s", file)
		}
	}
}

func TestReceiptIsWrittenOnceAndFollowsCatchUp(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.moved()
	h.reports()
	path := filepath.Join(h.dir, "out", stages.ReceiptName(h.key(anna)))
	file, first, _ := h.receipt()
	before, err := os.Stat(path)
	must(t, err)
	h.copied(pipeline.CatchUp)
	h.reports()
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Error("a receipt that is the same was written again")
	}
	must(t, os.Remove(path))
	h.reports()
	if again, _, _ := h.receipt(); !bytes.Equal(again, file) {
		t.Errorf("the same ledger gives\n%s\nand\n%s", file, again)
	}
	must(t, h.Put("source", anna, letter("INBOX", "too late"))) // the freeze would hold it back
	h.copied(pipeline.CatchUp)
	h.reports()
	_, late, _ := h.receipt()
	if want := (receipt.Sums{AtFreeze: 12, Exact: 12, Late: 1}); late.Sums != want || late.Hash == first.Hash {
		t.Errorf("got %+v, want %+v", late.Sums, want)
	}
}

// After the cutover the plan may say what it likes.
func TestReceiptSaysWhatWasTrueAtTheCutover(t *testing.T) {
	h := newHoster(t)
	h.ten()
	h.moved()
	h.reports()
	file, _, _ := h.receipt()
	h.plan.Source.IMAP.Address, h.plan.Targets["new"].IMAP.Address = "elsewhere.example:993", "nowhere.example:993"
	h.plan.Revision = "another"
	must(t, os.Remove(filepath.Join(h.dir, "out", stages.ReceiptName(h.key(anna)))))
	h.reports()
	if again, _, _ := h.receipt(); !bytes.Equal(again, file) {
		t.Errorf("was\n%s\nis\n%s", file, again)
	}
}

// What was deleted, moved and flagged between the passes stands in the receipt
// as it is at the end.
func TestReceiptFollowsWhatTheUserDid(t *testing.T) {
	h := newHoster(t, "passwords: {mode", "copy: {max_delete: 50%}\npasswords: {mode")
	h.ten()
	h.copied(pipeline.Precopy)
	must(t, h.Delete(anna, "INBOX", h.uid(anna, "INBOX", "letter 2")))
	must(t, h.Move(anna, "INBOX", h.uid(anna, "INBOX", "letter 3"), "Clients/Été"))
	must(t, h.SetFlags(anna, "INBOX", h.uid(anna, "INBOX", "letter 1"), `\Flagged`))
	h.moved()
	h.reports()
	file, got, uids := h.receipt()
	if len(uids["INBOX"]) != 9 || len(uids["Clients/Été"]) != 2 || got.Sums.Exact != 11 {
		t.Errorf("got %v %+v\n%s", uids, got.Sums, file)
	}
	if n := bytes.Count(file, []byte(`"\\Flagged"`)); n != 1 {
		t.Errorf("%d messages are flagged:\n%s", n, fmt.Sprint(string(file)))
	}
}

func TestReceiptNamesFitAnyFileSystem(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	must(t, err)
	defer root.Close()
	seen := map[string]bool{}
	for _, account := range []string{
		"a/../b@acme.example", "50%@acme.example",
		strings.Repeat("é", 32) + "@" + strings.Repeat("é", 20) + ".example",
		"a@" + strings.Repeat("long.", 48) + "example", "b@" + strings.Repeat("long.", 48) + "example",
		"a@" + strings.Repeat("long.", 48) + "example.", // differs at the end alone
	} {
		name := stages.ReceiptName(ledger.Key{Batch: "one", Service: acme, Account: account})
		must(t, sheet.Write(root, name, []byte(account)))
		if dir := filepath.Dir(name); dir != "one/acme.example/receipts" || seen[name] {
			t.Errorf("%q: %s", account, name)
		}
		seen[name] = true
	}
}
