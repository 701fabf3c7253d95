package stages_test

import (
	"slices"
	"strings"
	"testing"
)

// mailsTo counts what an address got.
func (h *hoster) mailsTo(address string) (n int) {
	for _, to := range h.to() {
		if to == address {
			n++
		}
	}
	return n
}

func TestANewContactIsToldWhatTheOldOneWas(t *testing.T) {
	h := newHoster(t)
	h.untilTheNight()
	before := h.mailsTo("it@contact.example")
	users := h.mailsTo(anna)
	h.edit(anna+",it@contact.example", anna+",office@contact.example", ben+",it@contact.example", ben+",office@contact.example")
	h.run("2026-12-01 05:00")
	if got := h.mailsTo("it@contact.example"); got != before {
		t.Errorf("the old contact got %d mails more", got-before)
	}
	if got := h.mailsTo(anna); got != users {
		t.Errorf("a user got %d mails more; nothing has changed for her", got-users)
	}
	text := part(t, h.mailTo("office@contact.example"), "text/plain")
	for _, want := range []string{
		"Contact for these letters: office@contact.example", "2\u00a0December 2026", "The passwords change with the move", "We never ask for your password",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "\r\n", " "), want) {
			t.Errorf("the new contact does not read %q:\n%s", want, text)
		}
	}
	if got := h.calendar("office@contact.example", "METHOD"); got != "REQUEST" {
		t.Errorf("its invite is a %q", got)
	}
	h.run("2026-12-01 06:00")
	if got := h.mailsTo("office@contact.example"); got != 1 {
		t.Errorf("the new contact got %d mails", got)
	}
	h.run("2026-12-02 22:05")
	if got := h.State(anna); got != "switched" {
		t.Errorf("anna is %s: %s", got, h.state(anna).Detail)
	}
	if got := h.mailsTo("office@contact.example"); got != 2 {
		t.Errorf("the new contact got %d mails, with the one that it is done", got)
	}
}

func TestAContactThatRefusedIsReplaced(t *testing.T) {
	h := newHoster(t)
	h.RefuseRecipient("it@contact.example", 550, -1)
	h.run("2026-11-25 03:00")
	if s := h.state(anna); s.Promise != nil {
		t.Fatal("promised all the same")
	}
	h.edit(anna+",it@contact.example", anna+",office@contact.example", ben+",it@contact.example", ben+",office@contact.example")
	h.run("2026-11-25 04:00")
	if got := h.mailsTo("office@contact.example"); got != 1 || h.state(anna).Promise == nil || h.state(acme).Trouble != "" {
		t.Errorf("%d mails, promise %v, %s", got, h.state(anna).Promise, h.state(acme).Detail)
	}
}

func TestASkippedServicesInvitesAreCancelled(t *testing.T) {
	h := newHoster(t)
	h.untilTheNight()
	uids := map[string]string{}
	all := []string{"it@contact.example", anna, ben}
	for _, to := range all {
		uids[to] = h.calendar(to, "UID")
	}
	h.edit("Anna,en,,", "Anna,en,skip,cancelled", "Ben,en,,", "Ben,en,skip,cancelled")
	h.run("2026-12-02 12:00")
	for _, to := range all {
		got := []string{h.calendar(to, "METHOD"), h.calendar(to, "UID"), h.calendar(to, "SEQUENCE"), h.calendar(to, "STATUS")}
		if want := []string{"CANCEL", uids[to], "1", "CANCELLED"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", to, got, want)
		}
	}
	h.run("2026-12-02 22:05")
	if got := h.State(anna); got != "open" {
		t.Errorf("anna is %s", got)
	}
}

func TestAServicesInviteMovesWithItToAnotherBatch(t *testing.T) {
	h := newHoster(t, "mode: temporary", "mode: keep")
	h.run("2026-11-25 03:00")
	uid := h.calendar("it@contact.example", "UID")
	h.edit("{name: one, date: 2026-12-02", "{name: two, date: 2026-12-09")
	h.run("2026-11-26 03:00")
	got := []string{h.calendar("it@contact.example", "UID"), h.calendar("it@contact.example", "SEQUENCE")}
	if want := []string{uid, "1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
