package main_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// A mailbox that is at the target already may be somebody else's: nothing is
// copied into it and its password is not set, until a person says whose it is.
func TestAnAccountThatWasThereIsHeld(t *testing.T) {
	w := newLaboratory(t, 0, "0s", nil).zimbraAt(t, 1, "anna", "ben", "zoe")
	defer w.close()
	ben, zoe := w.users[1], w.users[2]
	w.server.Add(ben.address, "somebody-elses", nil)
	// What is settled late moves all the same.
	plan := strings.Replace(w.read("plan.yaml"), "accounts: list.csv", "accounts: list.csv, short_notice: true", 1)
	theirs := `domains: {"*": [` + w.domain + "]}\n"
	says := func(domains string) {
		w.write(filepath.Join(w.dir, "plan.yaml"), strings.Replace(plan, theirs, domains, 1))
	}
	told := func(when string, want int) {
		t.Helper()
		out, code := w.godwit("validate", "plan.yaml")
		if n := strings.Count(out, "exists already at target"); n != want || want > 0 && code == 0 {
			t.Errorf("%s: validate tells of %d accounts, want %d, and ends with %d\n%s", when, n, want, code, out)
		}
	}
	says("")
	told("before the first run", 2)
	for _, at := range nights {
		w.try(at)
	}
	for _, u := range []user{ben, zoe} {
		a, _ := w.server.Get(u.address)
		if len(a.Attrs) > 0 || a.Password != map[string]string{ben.address: "somebody-elses", zoe.address: zoe.password}[u.address] {
			t.Errorf("%s was changed: %v", u.address, a.Attrs)
		}
		if mails, _ := filepath.Glob(filepath.Join(w.home, "target", "mail", u.address, "Maildir", "*", "*")); len(mails) > 0 {
			t.Errorf("%s has mail: %q", u.address, mails)
		}
		rows := w.csv("one/" + u.service + "/report.csv") // as the customer reads it
		row := rows[len(rows)-1]
		if row["account"] != u.address || row["status"] != "held" || !strings.HasPrefix(row["reason"], "The new mailbox was there before the move") {
			t.Errorf("the report says %v", row)
		}
	}
	told("while they are held", 2)

	// The plan names the domain of one, a person speaks for the other.
	says("domains: {acme: [" + w.domain + "]}\n")
	told("when the plan names the domain of one", 1)
	for _, u := range []user{ben, zoe} {
		if out, code := w.godwit("retry", "plan.yaml", "--account", u.address); code != 0 {
			t.Errorf("retry ended with %d:\n%s", code, out)
		}
	}
	for _, at := range []string{"2026-12-02T23:00", "2026-12-02T23:30", "2026-12-02T23:55"} {
		w.try(at)
	}
	w.settled("when a person has spoken")
	told("when all have moved", 0)
}
