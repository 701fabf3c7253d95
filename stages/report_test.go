package stages_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/stages/mailbox"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with a file named after the test.
func golden(t *testing.T, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "_")+".golden")
	if *update {
		must(t, os.WriteFile(file, got, 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

const reportList = `service,account,contact,name,locale,action,reason,passwords,x_ref,x_note
acme.example,anna@acme.example,it@contact.example,Anna,en,,,,A-1,"=HYPERLINK(""http://evil.example"")"
acme.example,ben@acme.example,it@contact.example,Ben,en,,,,A-2,plain
acme.example,carl@acme.example,it@contact.example,Carl,en,skip,takes another offer,,A-3,
zeta.example,zoe@zeta.example,zoe@contact.example,Zoé,fr,,,,Z-1,@SUM(A1)
`

const (
	annasPassword = "Kx7#mRtu4pQw"
	zoesPassword  = "Hj5%nVbc8sTd"
	innerText     = "db-17.internal: NO [SERVERBUG] segment 0x7f"
)

// told is a hoster in the middle of its programme, with set times: anna has
// moved, ben is held, carl is skipped, zoe is deferred.
func told(t *testing.T, edits ...string) *hoster {
	t.Helper()
	h := newHoster(t)
	h.put("list.csv", reportList)
	h.edit(edits...)
	h.plan.Revision = "sha256:0123456789ab"
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		must(t, err)
		return when
	}
	notices := map[string]*ledger.Delivery{"7d@2026-12-02": {To: "it@contact.example", Verdict: "accepted", At: at("2026-11-25T02:00:01Z")}}
	h.set(acme, func(s *ledger.State) {
		s.Notices = notices
	})
	h.set(anna, func(s *ledger.State) {
		*s = ledger.State{
			Key: s.Key, Phase: ledger.Switched, Folders: 3, Messages: 12, Bytes: 34567, Copied: 9, Already: 1, Skipped: 2, Passes: 4,
			FrozenAt: at("2026-12-02T21:05:00Z"), ReleasedAt: at("2026-12-02T21:05:42.5Z"), SwitchedAt: at("2026-12-02T21:05:42.5Z"),
			VerifiedAt: at("2026-12-02T21:05:30Z"), PasswordAt: at("2026-12-01T02:00:00Z"), PasswordSet: at("2026-12-02T21:05:35Z"),
			Interrupted: 42500 * time.Millisecond, Revision: "1111111+dirty",
			Extra: []ledger.Field{{Name: "x_ref", Value: "A-1 at the cutover"}, {Name: "x_note", Value: `=HYPERLINK("http://evil.example")`}},
		}
	})
	h.set(ben, func(s *ledger.State) {
		s.Phase, s.Trouble, s.Origin, s.Reason, s.Detail = ledger.Copied, ledger.Held, pipeline.Copy, "deletions", innerText
	})
	h.set(zoe, func(s *ledger.State) {
		s.Phase, s.Trouble, s.Origin, s.Reason, s.Detail = ledger.Copied, ledger.Deferred, pipeline.Copy, "busy", innerText
		s.PasswordAt = at("2026-12-01T02:00:00Z")
	})
	h.seal(anna, annasPassword)
	h.seal(zoe, zoesPassword)
	h.skip(anna,
		mailbox.Skipped{Folder: "=cmd|' /C calc'!A0", Reason: mailbox.FolderRefused, Detail: innerText},
		mailbox.Skipped{Folder: "Clients/Été", UID: 7, MessageID: "<big@elsewhere.example>", Date: at("2026-11-30T10:00:00Z"), Bytes: 60 << 20, Reason: mailbox.TooLarge},
		mailbox.Skipped{Folder: "INBOX", UID: 9, MessageID: "+1@elsewhere.example", Reason: mailbox.Refused, Detail: innerText})
	h.skip(zoe, mailbox.Skipped{Folder: "Junk", Reason: mailbox.Excluded}, mailbox.Skipped{Folder: "50%", Reason: mailbox.FolderRenamed, Detail: "50％"})
	return h
}

func (h *hoster) seal(address, password string) {
	h.t.Helper()
	sealed, err := h.vault.Seal("one", address, password)
	must(h.t, err)
	must(h.t, h.ledger.Write(h.t.Context(), ledger.Change{Key: h.key(address), Keep: map[string][]byte{"password": sealed}}))
}

func (h *hoster) skip(address string, list ...mailbox.Skipped) {
	h.t.Helper()
	data, err := json.Marshal(list)
	must(h.t, err)
	must(h.t, h.ledger.Write(h.t.Context(), ledger.Change{Key: h.key(address), Keep: map[string][]byte{"skipped": data}}))
	h.set(address, func(s *ledger.State) { s.Noted = len(list) })
}

// reports runs the stage for the batch.
func (h *hoster) reports() {
	h.t.Helper()
	task := pipeline.Task{Stage: pipeline.Report, Batch: h.plan.Batches[0]}
	result, err := h.report().Run(h.t.Context(), task, h.journal(task.Key()))
	if err != nil || result.Outcome != "done" {
		h.t.Fatalf("got %+v, %v", result, err)
	}
}

// written is every file for people, by name below the batch's folder.
func (h *hoster) written() map[string][]byte {
	h.t.Helper()
	files := map[string][]byte{}
	dir := filepath.Join(h.dir, "out", "one")
	must(h.t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		must(h.t, err)
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	}))
	return files
}

func TestReport(t *testing.T) {
	h := told(t)
	h.reports()
	files := h.written()
	for _, name := range []string{
		"report.csv", "skipped.csv", "interruptions.csv",
		"acme.example/report.csv", "acme.example/skipped.csv", "acme.example/passwords.csv",
		"zeta.example/report.csv", "zeta.example/skipped.csv", "zeta.example/passwords.csv",
	} {
		t.Run(name, func(t *testing.T) { golden(t, files[name]) })
	}
}

func TestReportAsTheirSpreadsheetsWantIt(t *testing.T) {
	h := told(t, "output: {dir: out}", `output: {dir: out, csv: {delimiter: ";", bom: true}}`)
	h.reports()
	for name, data := range h.written() {
		first := "service;account;"
		if name == "interruptions.csv" {
			first = "accounts;"
		}
		if !bytes.HasPrefix(data, []byte("\ufeff"+first)) || !bytes.HasSuffix(data, []byte("\r\n")) {
			t.Errorf("%s: %q", name, data)
		}
	}
}

func TestReportOfACustomerHoldsNobodyElse(t *testing.T) {
	h := told(t)
	h.reports()
	others := map[string]string{acme: "zeta.example", zeta: "acme.example"}
	for name, data := range h.written() {
		for own, other := range others {
			if !strings.HasPrefix(name, own+"/") {
				continue
			}
			if strings.Contains(string(data), other) {
				t.Errorf("%s names %s:\n%s", name, other, data)
			}
			for _, inner := range []string{innerText, "SERVERBUG", "internal"} {
				if strings.Contains(string(data), inner) {
					t.Errorf("%s has the operator's %q:\n%s", name, inner, data)
				}
			}
		}
		if strings.HasSuffix(name, "passwords.csv") {
			continue
		}
		if strings.Contains(string(data), annasPassword) || strings.Contains(string(data), zoesPassword) {
			t.Errorf("%s has a password", name)
		}
	}
	for _, name := range []string{"report.csv", "skipped.csv"} {
		if !strings.Contains(string(h.written()[name]), innerText) {
			t.Errorf("the operator's %s has no detail", name)
		}
	}
}

func TestReportOfOneCustomerKeepsNobodysFromBeingWritten(t *testing.T) {
	h := newHoster(t)
	h.put("out/one/acme.example/report.csv/in the way", "")
	task := pipeline.Task{Stage: pipeline.Report, Batch: h.plan.Batches[0]}
	if _, err := h.report().Run(t.Context(), task, h.journal(task.Key())); err == nil || !strings.Contains(err.Error(), "acme.example/report.csv") {
		t.Errorf("got %v", err)
	}
	if all, own := h.sheet("one/report.csv"), h.sheet("one/zeta.example/report.csv"); len(all) != 3 || len(own) != 1 {
		t.Errorf("%d rows for the operator, %d for the other customer", len(all), len(own))
	}
}

func TestReportCellsAreNoFormulas(t *testing.T) {
	h := told(t)
	h.reports()
	for name := range h.written() {
		for _, row := range h.sheet("one/" + name) {
			for column, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					t.Errorf("%s, %s: %q", name, column, cell)
				}
			}
		}
	}
}

func TestReportSameLedgerSameBytes(t *testing.T) {
	h := told(t)
	h.reports()
	first := h.written()
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for name := range first {
		must(t, os.Chtimes(filepath.Join(h.dir, "out", "one", name), old, old))
	}
	h.at("2026-12-24 12:00")
	h.reports()
	for name, data := range h.written() {
		if !bytes.Equal(data, first[name]) {
			t.Errorf("%s differs", name)
		}
		info, err := os.Stat(filepath.Join(h.dir, "out", "one", name))
		must(t, err)
		if !info.ModTime().Equal(old) {
			t.Errorf("%s was written again", name)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

// plan_revision and x_ columns are those of the cutover.
func TestReportKeepsWhatWasTrueAtTheCutover(t *testing.T) {
	h := told(t)
	h.edit("A-1", "A-1 corrected later", "A-2", "A-2 corrected")
	h.plan.Revision = "sha256:ffffffffffff"
	h.reports()
	rows := h.sheet("one/acme.example/report.csv")
	if rows[0]["x_ref"] != "A-1 at the cutover" || rows[0]["plan_revision"] != "1111111+dirty" {
		t.Errorf("anna: %q, %q", rows[0]["x_ref"], rows[0]["plan_revision"])
	}
	if rows[1]["x_ref"] != "A-2 corrected" || rows[1]["plan_revision"] != "sha256:ffffffffffff" {
		t.Errorf("ben: %q, %q", rows[1]["x_ref"], rows[1]["plan_revision"])
	}
}

func TestReportStatus(t *testing.T) {
	h := told(t)
	h.reports()
	got := map[string]string{}
	for _, row := range h.sheet("one/report.csv") {
		got[row["account"]] = row["status"]
	}
	want := map[string]string{anna: "done", ben: "held", "carl@acme.example": "skipped", zoe: "deferred"}
	for account, status := range want {
		if got[account] != status {
			t.Errorf("%s is %q; want %q", account, got[account], status)
		}
	}
}

func TestReportSaysWhereNothingWasFrozen(t *testing.T) {
	h := told(t)
	h.set(anna, func(s *ledger.State) { s.NotFrozen, s.FrozenAt, s.ReleasedAt = true, time.Time{}, time.Time{} })
	h.reports()
	row := h.sheet("one/acme.example/report.csv")[0]
	if row["reason"] == "" || row["frozen_at"] != "" || row["interruption_seconds"] != "" {
		t.Errorf("%q, frozen %q, %q seconds", row["reason"], row["frozen_at"], row["interruption_seconds"])
	}
}

func TestReportEncryptedList(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	h := told(t, "mode: temporary", "mode: temporary, encrypt_to: ["+identity.Recipient().String()+"]")
	h.reports()
	first := h.written()
	for name, data := range first {
		if strings.Contains(name, "passwords.csv") && !strings.HasSuffix(name, ".age") || bytes.Contains(data, []byte(annasPassword)) {
			t.Errorf("%s is in clear", name)
		}
	}
	r, err := age.Decrypt(bytes.NewReader(first["acme.example/passwords.csv.age"]), identity)
	must(t, err)
	var clear bytes.Buffer
	_, err = clear.ReadFrom(r)
	must(t, err)
	if !strings.Contains(clear.String(), annasPassword) || strings.Contains(clear.String(), zoesPassword) {
		t.Errorf("acme's list holds %d bytes of something else", clear.Len())
	}
	h.reports()
	if !bytes.Equal(h.written()["acme.example/passwords.csv.age"], first["acme.example/passwords.csv.age"]) {
		t.Error("the same list was encrypted again")
	}
	h.set(ben, func(s *ledger.State) { s.PasswordAt = s.PasswordAt.AddDate(2026, 0, 0) })
	h.seal(ben, "Pw3?aaaabbbb")
	h.reports()
	if bytes.Equal(h.written()["acme.example/passwords.csv.age"], first["acme.example/passwords.csv.age"]) {
		t.Error("a longer list was not written")
	}
	if !bytes.Equal(h.written()["zeta.example/passwords.csv.age"], first["zeta.example/passwords.csv.age"]) {
		t.Error("the other customer's list was encrypted again")
	}
}

// report --close: the lists that were written are the only ones.
func TestReportOfAClosedBatch(t *testing.T) {
	h := told(t)
	h.reports()
	first := h.written()
	must(t, h.vault.Destroy("one"))
	h.set(ben, func(s *ledger.State) { s.Trouble, s.Reason, s.Detail = ledger.None, "", "" })
	h.reports()
	files := h.written()
	for _, service := range []string{acme, zeta} {
		if name := service + "/passwords.csv"; len(files[name]) == 0 || !bytes.Equal(files[name], first[name]) {
			t.Errorf("%s was touched", name)
		}
	}
	if bytes.Equal(files["acme.example/report.csv"], first["acme.example/report.csv"]) {
		t.Error("the report was not written again")
	}
}

// Whoever moved before the list was closed keeps the list; nobody gets an empty one.
func TestReportWithoutTemporaryPasswordsWritesNoList(t *testing.T) {
	h := newHoster(t, "mode: temporary", "mode: keep")
	h.untilTheNight()
	h.run("2026-12-02 22:05")
	for name := range h.written() {
		if strings.Contains(name, "passwords") {
			t.Errorf("%s was written", name)
		}
	}
	if rows := h.sheet("one/report.csv"); len(rows) != 3 || rows[0]["status"] != "done" || rows[0]["passwords"] != "keep" {
		t.Errorf("got %v", rows)
	}
}

func TestReportListIsThereAfterTheLastNoticeBeforeTheMove(t *testing.T) {
	tests := map[string]struct {
		deliver string
		before  bool
	}{
		"as promised":       {"before", true},
		"or after the move": {"after", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoster(t, "mode: temporary", "mode: temporary, deliver: "+tt.deliver)
			there := func() bool {
				_, err := os.Stat(filepath.Join(h.dir, "out", "one", acme, "passwords.csv"))
				return err == nil
			}
			h.run("2026-11-25 03:00")
			if there() {
				t.Error("the list is there a week before")
			}
			h.run("2026-12-01 03:00")
			if there() != tt.before {
				t.Errorf("after the last notice the list is there: %v", there())
			}
			h.run("2026-12-02 22:05")
			if !there() {
				t.Error("after the move there is no list")
			}
		})
	}
}
