package main_test

import (
	"bytes"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"godwit/stages/demohost"
)

// offers is a list with all that a service may do instead of moving along.
const offers = `service,account,contact,action,reason,target,passwords,x_ref
acme,anna@acme.example,it@contact.example,,,,temporary,1
acme,ben@acme.example,,,,pro,keep,2
acme,carl@acme.example,,skip,other offer,,,3
acme,dora@acme.example,,skip,cancelled,,,4
acme,emil@acme.example,,hold,,,keep,5
acme,fred@acme.example,,,,,keep,6
gone,gina@gone.example,gina@contact.example,skip,cancelled,,,7
wait,wil@wait.example,wil@contact.example,hold,,,keep,8
zeta,zoe@zeta.example,zoe@contact.example,,,pro,keep,9
`

// Rows with another target, that are skipped, that are on hold, and one that is
// skipped when it was announced already: right in letters, reports and losses.
func TestAnotherOfferOrNone(t *testing.T) {
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	w := newCrashWorld(t, bin.godwit)
	defer w.close()
	for _, line := range strings.Split(strings.TrimSpace(offers), "\n")[1:] {
		address := strings.Split(line, ",")[1]
		w.host.AddAccount(demohost.Source, address, "own-password")
		if !slices.Contains(crashUsers, address) { // those have mail already
			for n := range 6 {
				w.put(address, "INBOX", n)
			}
		}
	}
	for _, address := range []string{"ben@acme.example", "zoe@zeta.example"} { // the other offer's accounts are made by hand
		w.host.AddAccount(demohost.Target, address, "own-password")
	}
	w.write("list.csv", offers)
	plan := w.read("plan.yaml")
	server := regexp.MustCompile(`(?s)targets:\n  new:\n    (imap: \{[^\n]*)`).FindStringSubmatch(plan)[1]
	w.write("plan.yaml", strings.Replace(plan, "notices:\n", `    webmail: "https://webmail.new.example"
  pro:
    `+server+`
    webmail: "https://pro.example"
default_target: new
notices:
`, 1))

	w.run(nights[0], 0)
	losses := w.rows("acme/losses.csv")
	w.write("list.csv", strings.Replace(offers, "fred@acme.example,,,,", "fred@acme.example,,skip,other offer,", 1))
	w.run(nights[1], 0)
	w.run(nights[2], 0)

	w.lettersOfOffers(losses)
	w.filesOfOffers()
	for address, want := range map[string]int{"anna@acme.example": 7, "ben@acme.example": 6, "zoe@zeta.example": 6, "carl@acme.example": 0, "dora@acme.example": 0, "emil@acme.example": 0, "fred@acme.example": 0, "gina@gone.example": 0, "wil@wait.example": 0} {
		if mails, _ := w.host.Mailbox(demohost.Target, address); len(mails) != want {
			t.Errorf("%s has %d messages at the target, want %d", address, len(mails), want)
		}
	}
}

// lettersOfOffers checks who was told what.
func (w *crashWorld) lettersOfOffers(losses [][]string) {
	t := w.t
	t.Helper()
	letters := map[string][]string{} // by reader
	for _, m := range w.host.Mails() {
		parsed, err := mail.ReadMessage(bytes.NewReader(m.Data))
		if err != nil {
			t.Fatal(err)
		}
		text := plainText(t, parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"), parsed.Body)
		letters[m.To] = append(letters[m.To], strings.Join(strings.Fields(text), " "))
	}
	for to, want := range map[string]int{
		"it@contact.example": 3, "zoe@contact.example": 3, // announced, called off for fred, reminded; done waits for emil
		"anna@acme.example": 1, "ben@acme.example": 1, "zoe@zeta.example": 1,
		"carl@acme.example": 0, "dora@acme.example": 0, "emil@acme.example": 0, "fred@acme.example": 0,
		"gina@contact.example": 0, "wil@contact.example": 0, "gina@gone.example": 0, "wil@wait.example": 0,
	} {
		if len(letters[to]) != want {
			t.Errorf("%s got %d letters, want %d", to, len(letters[to]), want)
		}
	}
	kept := 0
	for _, row := range losses[1:] {
		if row[3] == "messages" {
			n, err := strconv.Atoi(row[8])
			if err != nil {
				t.Error(err)
			}
			kept += n
		}
	}
	says := func(to string, n int, want bool, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if strings.Contains(letters[to][n], part) != want {
				t.Errorf("letter %d to %s: that it says %q is not %v:\n%s", n, to, part, want, letters[to][n])
			}
		}
	}
	says("it@contact.example", 0, true, "acme: 4 mailboxes (2 mailboxes do not move)", fmt.Sprintf("Messages that we carry: %d.", kept),
		"Mailboxes whose password stays the same: 3.", "https://webmail.new.example")
	says("it@contact.example", 1, true, "fred@acme.example", "called off", "Another offer has been chosen instead.")
	says("it@contact.example", 2, true, "acme: 3 mailboxes (3 mailboxes do not move)", "Mailboxes whose password stays the same: 2.")
	says("anna@acme.example", 0, true, "Your password changes with the move", "https://webmail.new.example")
	says("ben@acme.example", 0, true, "Your password stays the same")
	says("zoe@contact.example", 0, true, "All passwords stay the same")
	for to, n := range map[string]int{"ben@acme.example": 0, "zoe@contact.example": 0} {
		says(to, n, false, "https://webmail.new.example", "Mailboxes whose password stays the same")
	}
}

// filesOfOffers checks what the reports say.
func (w *crashWorld) filesOfOffers() {
	t := w.t
	t.Helper()
	want := map[string]string{
		"anna@acme.example": "new done  temporary 1", "ben@acme.example": "pro done  keep 2", "carl@acme.example": "new skipped other offer keep 3",
		"dora@acme.example": "new skipped cancelled keep 4", "emil@acme.example": "new held We have put the move on hold. keep 5",
		"fred@acme.example": "new skipped other offer keep 6", "gina@gone.example": "new skipped cancelled keep 7",
		"wil@wait.example": "new held We have put the move on hold. keep 8", "zoe@zeta.example": "pro done  keep 9",
	}
	for _, name := range []string{"report.csv", "acme/report.csv", "gone/report.csv", "wait/report.csv", "zeta/report.csv"} {
		for _, row := range w.rows(name)[1:] {
			if got := strings.Join([]string{row[2], row[4], row[5], row[6], row[len(row)-1]}, " "); got != want[row[1]] {
				t.Errorf("%s, %s: %q, want %q", name, row[1], got, want[row[1]])
			}
		}
	}
	if n := len(w.rows("report.csv")); n != len(want)+1 {
		t.Errorf("report.csv has %d rows, want %d", n, len(want)+1)
	}
	lossesOf := map[string]int{}
	for _, row := range w.rows("acme/losses.csv")[1:] {
		lossesOf[row[1]]++
	}
	if len(lossesOf) != 4 || lossesOf["anna@acme.example"] == 0 || lossesOf["ben@acme.example"] == 0 || lossesOf["emil@acme.example"] == 0 || lossesOf[""] != 3 {
		t.Errorf("losses.csv is of %v; want anna, ben, emil and what no copy carries", lossesOf)
	}
	if rows := w.rows("acme/passwords.csv"); len(rows) != 2 || rows[1][1] != "anna@acme.example" {
		t.Errorf("the list of passwords: %d rows", len(rows))
	}
}
