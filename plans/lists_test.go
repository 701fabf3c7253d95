package plans_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"godwit/plans"
)

// loaded loads small with the list and returns all accounts, as Services
// yields them.
func loaded(t *testing.T, list string) []plans.Account {
	t.Helper()
	plan := good(t, map[string]string{"plan.yaml": small, "accounts.csv": list})
	var all []plans.Account
	for s := range plan.Batches[0].Services() {
		all = append(all, s.Accounts...)
	}
	return all
}

// good loads a plan that must be without a problem.
func good(t *testing.T, files map[string]string) *plans.Plan {
	t.Helper()
	plan, err := plans.Load(filepath.Join(write(t, files), "plan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plan.Close() })
	return plan
}

// What a list may name without a word in the plan, and with one.
func TestListsNameWhatIsTheirs(t *testing.T) {
	said := func(text string) string {
		return strings.Replace(master, "batches:", "domains: "+text+"\nbatches:", 1)
	}
	const secrets = ",source_secret,target_secret\n"
	tests := map[string]struct{ plan, list string }{
		"nothing but a password opens it":      {small, "service,account,source_login,target_account" + secrets + "acme,anna@a.example,anna,anna@b.example,x,y\n"},
		"the account's own domain":             {master, "service,account,source_login,target_account\nacme,anna@a.example,a.meyer@A.EXAMPLE,annie@a.example\n"},
		"a domain of another of its accounts":  {master, "service,account,source_login,target_account\nacme,anna@a.example,anna@b.example,anna@b.example\nacme,ben@b.example,,\n"},
		"what is skipped may name anything":    {master, "service,account,action,source_login,target_account\nacme,anna@a.example,skip,dora@b.example,dora@b.example\n"},
		"what the plan says":                   {said("{acme: [a.example, b.example]}"), "service,account,source_login,target_account\nacme,anna@a.example,anna@b.example,anna@b.example\n"},
		"anything, if the plan says so":        {said(`{acme: ["*"]}`), "service,account,source_login,target_account\nacme,anna@a.example,anna,anna@b.example\n"},
		"anything, said of services not named": {said(`{"*": ["*"]}`), "service,account,source_login,target_account\nacme,anna@a.example,anna,anna@b.example\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plan := good(t, map[string]string{"plan.yaml": tt.plan, "accounts.csv": tt.list})
			if plan.Batches[0].Len() == 0 {
				t.Error("the list is empty")
			}
		})
	}
}

func TestListsAsSpreadsheetsWriteThem(t *testing.T) {
	tests := map[string]string{
		"commas":                "service,account,name,source_secret,target_secret\na.example,anna@a.example,Anna,x,y\n",
		"semicolons":            "service;account;name;source_secret;target_secret\na.example;anna@a.example;Anna;x;y\n",
		"tabs":                  "service\taccount\tname\tsource_secret\ttarget_secret\na.example\tanna@a.example\tAnna\tx\ty\n",
		"a byte order mark":     "\ufeffservice,account,name,source_secret,target_secret\na.example,anna@a.example,Anna,x,y\n",
		"CRLF":                  "service,account,name,source_secret,target_secret\r\na.example,anna@a.example,Anna,x,y\r\n",
		"no line end":           "service,account,name,source_secret,target_secret\na.example,anna@a.example,Anna,x,y",
		"quotes":                "\"service\",\"account\",\"name\",source_secret,target_secret\n\"a.example\",\"anna@a.example\",\"Anna\",\"x\",\"y\"\n",
		"another order":         "name,target_secret,source_secret,account,service\nAnna,y,x,anna@a.example,a.example\n",
		"capitals and blanks":   "Service, Account ,NAME,source_secret,target_secret\na.example, anna@a.example ,Anna,x,y\n",
		"blank lines at an end": "service,account,name,source_secret,target_secret\na.example,anna@a.example,Anna,x,y\n\n\n",
	}
	for name, list := range tests {
		t.Run(name, func(t *testing.T) {
			all := loaded(t, list)
			if len(all) != 1 {
				t.Fatalf("%d accounts; want 1", len(all))
			}
			a := all[0]
			source, _ := a.SourceSecret.Open(t.Context())
			target, _ := a.TargetSecret.Open(t.Context())
			got := []string{a.Service, a.Address, a.Name, source, target, a.Action, a.Passwords, a.Target, a.TargetAccount, a.SourceLogin, a.Locale}
			want := []string{"a.example", "anna@a.example", "Anna", "x", "y", "migrate", "keep", "new", "anna@a.example", "anna@a.example", "en"}
			if diff := cmp.Diff(want, got); diff != "" || a.Line != 2 {
				t.Errorf("line %d: %s", a.Line, diff)
			}
		})
	}
}

func TestFormulasAreData(t *testing.T) {
	all := loaded(t, "service,account,name,source_secret,target_secret,x_Ref,x_b\na.example,anna@a.example,=1+1,x,y,@SUM(A1),\"a \"\"b\"\", c\"\n")
	want := []plans.Field{{Name: "x_Ref", Value: "@SUM(A1)"}, {Name: "x_b", Value: `a "b", c`}}
	if all[0].Name != "=1+1" || !slices.Equal(all[0].Extra, want) {
		t.Errorf("name %q, extra %q; want them as written", all[0].Name, all[0].Extra)
	}
}

func TestAddressesOfAllScripts(t *testing.T) {
	for _, address := range []string{"zoé@a.example", "anna@münchen.example", "анна@почта.example", "用户@例え.example", "o'brien+x@a.example", "a_b-c.d@a-b.example", "имя@xn--e1afmkfd.example"} {
		t.Run(address, func(t *testing.T) {
			loaded(t, "service,account,source_secret,target_secret\na.example,"+address+",x,y\n")
		})
	}
}

func TestServicesAreSortedAndKeepTheListsOrder(t *testing.T) {
	plan := good(t, map[string]string{"plan.yaml": small, "accounts.csv": `service,account,contact,locale,action,source_secret,target_secret
b.example,b1@b.example,,,,x,y
a.example,a2@a.example,,,,x,y
b.example,b0@b.example,boss@c.example,fr,,x,y
a.example,a1@a.example,,,skip,,
`})
	var got []string
	for s := range plan.Batches[0].Services() {
		line := s.Name + " " + s.Contact + " " + s.Locale + ":"
		for _, a := range s.Accounts {
			line += fmt.Sprintf(" %s/%s/%s", a.Address, a.Contact, a.Action)
		}
		got = append(got, line)
	}
	want := []string{
		"a.example  en: a2@a.example//migrate a1@a.example//skip",
		"b.example boss@c.example fr: b1@b.example/boss@c.example/migrate b0@b.example/boss@c.example/migrate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for s := range plan.Batches[0].Services() {
		if s.Name != "a.example" {
			t.Errorf("a second look begins with %s", s.Name)
		}
		break
	}
}

func TestEncryptedList(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, accounts)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"plan.yaml":        strings.Replace(small, "accounts.csv", "accounts.csv.age", 1),
		"accounts.csv.age": sealed.String(),
		"identity":         identity.String() + "\n",
		"other":            "AGE-SECRET-KEY-CANARY\n",
	}
	dir := write(t, files)
	file := filepath.Join(dir, "plan.yaml")
	t.Setenv("GODWIT_IDENTITY", filepath.Join(dir, "identity"))
	plan, err := plans.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := plan.Batches[0].Len(); n != 3 {
		t.Errorf("%d accounts; want 3", n)
	}
	t.Setenv("GODWIT_IDENTITY", filepath.Join(dir, "other"))
	if _, err = plans.Load(file); err == nil || strings.Contains(err.Error(), "CANARY") || !strings.Contains(err.Error(), "holds no age identity") {
		t.Errorf("with a wrong identity file: %v", err)
	}
}

// A list would have the key of all lists sent to the source as a password.
func TestListsDoNotNameTheIdentity(t *testing.T) {
	dir := write(t, map[string]string{
		"plan.yaml": small, "keys/identity": "AGE-SECRET-KEY-CANARY\n",
		"accounts.csv": "service,account,source_secret,target_secret\na.example,anna@a.example,file:keys/identity,x\n",
	})
	t.Setenv("GODWIT_IDENTITY", filepath.Join(dir, "keys", "identity"))
	_, err := plans.Load(filepath.Join(dir, "plan.yaml"))
	if err == nil || !strings.Contains(err.Error(), "names a file that is the plan's own") {
		t.Errorf("got %v", err)
	}
}

func TestHugeFilesAreRefused(t *testing.T) {
	row := "a.example,anna@a.example,x,y\n"
	head := "service,account,source_secret,target_secret\n"
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"a plan over 1 MiB":   {map[string]string{"plan.yaml": small + strings.Repeat("# long\n", 200_000)}, "plan.yaml: is larger than 1 MiB"},
		"a plan of brackets":  {map[string]string{"plan.yaml": "a: " + strings.Repeat("[", 500_000)}, "deeper than 20 levels"},
		"a plan of keys":      {map[string]string{"plan.yaml": strings.Repeat("a: 1\n", 100_000)}, "and 99955 more"},
		"a list over 64 MiB":  {map[string]string{"plan.yaml": small, "accounts.csv": head + strings.Repeat(row, 64<<20/len(row)+1)}, "larger than 64 MiB"},
		"a line over 64 KiB":  {map[string]string{"plan.yaml": small, "accounts.csv": head + "a.example,anna@a.example,x," + strings.Repeat("y", 70_000)}, "accounts.csv:2: the line is longer than 64 KiB"},
		"a cell over 4 KiB":   {map[string]string{"plan.yaml": small, "accounts.csv": head + "a.example,anna@a.example,x," + strings.Repeat("y", 5_000)}, "accounts.csv:2: column target_secret is longer than 4 KiB"},
		"a header over 64KiB": {map[string]string{"plan.yaml": small, "accounts.csv": strings.Repeat("x", 70_000) + "\n"}, "accounts.csv:1: the line is longer than 64 KiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(write(t, tt.files))
			_, err := plans.Load("plan.yaml")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.300v; want …%s…", err, tt.want)
			}
			if err != nil && len(err.Error()) > 20_000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

// million is a list of a million rows, ten to a service.
func million(rows int) string {
	var b strings.Builder
	b.WriteString("service,account,contact,name\n")
	for i := range rows {
		fmt.Fprintf(&b, "s%06d.example,user%07d@s%06d.example,,\n", i/10, i, i/10)
	}
	return b.String()
}

func BenchmarkMillionRows(b *testing.B) {
	dir := write(b, map[string]string{"plan.yaml": master, "accounts.csv": million(1_000_000)})
	info, err := os.Stat(filepath.Join(dir, "accounts.csv"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "file-B/row")
	for b.Loop() {
		before := heap()
		plan, err := plans.Load(filepath.Join(dir, "plan.yaml"))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric((heap()-before)/1e6, "kept-B/row")
		n := 0
		for s := range plan.Batches[0].Services() {
			n += len(s.Accounts)
		}
		if n != 1_000_000 {
			b.Fatalf("%d accounts", n)
		}
		plan.Close()
	}
}

func TestPipesAreNotWaitedFor(t *testing.T) {
	for _, name := range []string{"plan.yaml", "accounts.csv"} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(write(t, map[string]string{"plan.yaml": small, "accounts.csv": accounts}))
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(name, 0o600); err != nil {
				t.Skip(err)
			}
			if _, err := plans.Load("plan.yaml"); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
				t.Errorf("a pipe: %v", err)
			}
		})
	}
}
