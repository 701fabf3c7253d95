package demohost_test

import (
	"bytes"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"godwit/stages/demohost"
	"godwit/stages/platform/program"
)

func filled(t *testing.T) (*demohost.Host, string) {
	t.Helper()
	dir := t.TempDir()
	h, err := demohost.Start(dir)
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	must(t, h.Fill())
	return h, dir
}

func TestFillHoldsWhatBreaksOthers(t *testing.T) {
	h, _ := filled(t)
	addresses := h.Addresses(demohost.Source)
	if len(addresses) != 14 {
		t.Fatalf("%d accounts; want 14", len(addresses))
	}
	var all []demohost.Message
	seen := map[string]int{}
	for _, address := range addresses {
		mails, err := h.Mailbox(demohost.Source, address)
		must(t, err)
		all = append(all, mails...)
		for _, m := range mails {
			seen[address+"\x00"+m.Folder+"\x00"+string(m.Body)]++
			if bytes.IndexByte(m.Body, 0) >= 0 {
				t.Errorf("%s %s %d holds a NUL", address, m.Folder, m.UID)
			}
		}
		if h.Password(demohost.Source, address) == "" {
			t.Errorf("%s has no password", address)
		}
	}
	if len(all) < 380 || len(all) > 460 {
		t.Errorf("%d mails; want about 400", len(all))
	}
	has := func(what string, is func(m demohost.Message) bool) {
		t.Helper()
		if !slices.ContainsFunc(all, is) {
			t.Errorf("no mail with %s", what)
		}
	}
	has("5 MB", func(m demohost.Message) bool { return len(m.Body) > 5_000_000 && len(m.Body) < 6_000_000 })
	has("a line of 200,000 characters", func(m demohost.Message) bool {
		return slices.ContainsFunc(bytes.Split(m.Body, []byte("\r\n")), func(l []byte) bool { return len(l) == 200_000 })
	})
	has("a date of 2001", func(m demohost.Message) bool { return m.Date.Year() == 2001 })
	has("a date of 2040", func(m demohost.Message) bool { return m.Date.Year() == 2040 })
	has("30 flags", func(m demohost.Message) bool { return len(m.Flags) > 30 })
	has("no header", func(m demohost.Message) bool { return bytes.HasPrefix(m.Body, []byte("\r\n")) })
	has("no body", func(m demohost.Message) bool { return !bytes.Contains(m.Body, []byte("\r\n\r\n")) })
	has("Latin-1 in its header", func(m demohost.Message) bool { return bytes.Contains(m.Body, []byte("R\xe9sum\xe9")) })
	has(`\Deleted`, func(m demohost.Message) bool { return slices.Contains(m.Flags, `\Deleted`) })
	has("a folder with leading blanks", func(m demohost.Message) bool { return strings.HasPrefix(m.Folder, "  ") })
	twins := 0
	for _, n := range seen {
		if n == 2 {
			twins++
		}
	}
	if twins != 3 {
		t.Errorf("%d pairs of twins in one folder; want 3", twins)
	}
}

func TestFilledMailboxesReadTheSameOverIMAP(t *testing.T) {
	h, _ := filled(t)
	for _, address := range h.Addresses(demohost.Source) {
		want, err := h.Mailbox(demohost.Source, address)
		must(t, err)
		if diff := differ(want, read(t, migrate(t, h, demohost.Source, address))); diff != "" {
			t.Errorf("%s differs: %.500s", address, diff)
		}
	}
	if n := h.MutationCount(); n != 0 {
		t.Errorf("%d changes of the source", n)
	}
}

func TestWritePlan(t *testing.T) {
	h, dir := filled(t)
	hook := []string{self, "demo-hook", h.AdminSocket}
	must(t, demohost.WritePlan(dir, h, hook))
	must(t, demohost.WritePlan(dir, h, hook)) // again, over the first
	private := []string{"plan.yaml", "secrets/imap", "secrets/smtp", "lists/w49-a.csv", "lists/w49-b.csv"}
	for _, name := range private {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", name, info.Mode().Perm())
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "plan.yaml"))
	must(t, err)
	var plan struct {
		Source struct {
			IMAP   map[string]string `yaml:"imap"`
			Freeze struct{ Command []string }
		}
		Targets map[string]struct {
			Admin struct{ Command []string }
		}
		Batches []struct{ Name, Date, Accounts string }
	}
	must(t, yaml.Unmarshal(text, &plan))
	if diff := cmp.Diff(hook, plan.Source.Freeze.Command); diff != "" {
		t.Error(diff)
	}
	must(t, program.Check(plan.Targets["new"].Admin.Command, dir))
	if got := plan.Source.IMAP; got["address"] != h.SourceAddress || got["ca_file"] != "ca.pem" {
		t.Errorf("source.imap is %v", got)
	}
	for _, secret := range []string{h.Migrator().Secret, h.Migrator().SMTPSecret} {
		if bytes.Contains(text, []byte(secret)) {
			t.Error("plan.yaml holds a secret")
		}
	}
	var accounts, reasons []string
	for _, b := range plan.Batches {
		data, err := os.ReadFile(filepath.Join(dir, b.Accounts))
		must(t, err)
		rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		must(t, err)
		for _, row := range rows[1:] {
			accounts = append(accounts, row[1])
			if row[5] == "skip" {
				reasons = append(reasons, row[6])
			}
			if strings.HasSuffix(row[2], "@"+row[0]) {
				t.Errorf("%s is told at a mailbox that moves", row[0])
			}
			if want := map[bool]string{true: "keep"}[b.Name == "w49-b"]; row[7] != want {
				t.Errorf("%s: passwords is %q; want %q", row[1], row[7], want)
			}
		}
	}
	slices.Sort(accounts)
	if diff := cmp.Diff(h.Addresses(demohost.Source), accounts); diff != "" {
		t.Errorf("hoster and lists differ: %s", diff)
	}
	if diff := cmp.Diff([]string{"cancelled", "takes another offer (E-mail Pro)"}, reasons); diff != "" {
		t.Error(diff)
	}
}
