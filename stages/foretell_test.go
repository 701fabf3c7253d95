package stages_test

import (
	"strings"
	"testing"

	"godwit/templates"
)

func TestLossesAreToldBeforeTheMove(t *testing.T) {
	h := newHoster(t, "passwords: {mode", "copy: {max_message: 0.001MB, folders: {exclude: [Junk*]}}\npasswords: {mode")
	h.letter(anna, "Junk", "spam")
	big := letter("INBOX", "big")
	big.Body = append(big.Body, strings.Repeat("0123456789\r\n", 200)...)
	must(t, h.Put("source", anna, big))
	h.outcome("done", h.validate(), "", acme) // the target has no mailbox yet
	h.reports()

	counts := map[string]int{}
	for _, row := range h.sheet("one/" + acme + "/losses.csv") {
		counts[row["outcome"]+" "+row["kind"]]++
		if row["reason"] == "" || row["reason"] == templates.Sentence("en", "needs-person") {
			t.Errorf("a row without its reason: %v", row)
		}
		if row["account"] == anna && row["kind"] == "message" && row["folder"] != "INBOX" {
			t.Errorf("the message too large: %v", row)
		}
	}
	for _, want := range []string{"kept messages", "lost message", "lost folder", "lost rules"} {
		if counts[want] == 0 {
			t.Errorf("losses.csv has no row %q: %v", want, counts)
		}
	}

	task := h.notice("announce", acme)
	if result := h.send(task); result.Outcome != "done" {
		t.Fatalf("%+v", result)
	}
	if mail := string(h.mailTo("it@contact.example")); !strings.Contains(mail, "Not carried (") {
		t.Errorf("the announcement does not say what is lost:\n%s", mail)
	}
}
