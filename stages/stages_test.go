package stages_test

import (
	"slices"
	"testing"

	"godwit/pipeline"
	"godwit/stages"
)

func TestAllIsTheWayOfAMailbox(t *testing.T) {
	var got []string
	for _, s := range stages.All(stages.Validate{}, stages.Notify{}, stages.Freeze{}, stages.Copy{}, stages.Credentials{}, stages.Report{}) {
		got = append(got, s.Name())
	}
	want := []string{pipeline.Validate, pipeline.Notify, pipeline.Freeze, pipeline.Copy, pipeline.Credentials, pipeline.Report}
	if !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

// What was done must be undone, and by whom it is known.
func TestOnlyFreezeIsUndone(t *testing.T) {
	for _, s := range stages.All(stages.Validate{}, stages.Notify{}, stages.Freeze{}, stages.Copy{}, stages.Credentials{}, stages.Report{}) {
		if _, undoes := s.(pipeline.Undoer); undoes != (s.Name() == pipeline.Freeze) {
			t.Errorf("%s: has an Undo: %v", s.Name(), undoes)
		}
	}
}

func TestAWholeProgramme(t *testing.T) {
	h := newHoster(t)
	h.letter(anna, "INBOX", "one")
	h.letter(zoe, "Été", "deux")
	for _, at := range []string{"2026-11-25 03:00", "2026-11-30 03:00", "2026-12-01 03:00", "2026-12-02 22:05", "2026-12-03 12:00"} {
		if tally := h.run(at); tally.Trouble != nil || len(tally.Frozen) > 0 {
			t.Fatalf("%s: %v, frozen %v", at, tally.Trouble, tally.Frozen)
		}
	}
	for _, address := range []string{anna, ben, zoe} {
		if got := h.State(address); got != "switched" {
			t.Errorf("%s is %s", address, got)
		}
		if got, want := h.mailbox("target", address), h.mailbox("source", address); got != want {
			t.Errorf("%s:\n got %s\nwant %s", address, got, want)
		}
	}
	if n := h.MutationCount(); n != 0 {
		t.Errorf("%d commands would have changed the source", n)
	}
	mails := len(h.Mails())
	if tally := h.run("2026-12-03 12:10"); tally.Tasks != 0 || len(h.Mails()) != mails {
		t.Errorf("a second run did %d tasks and sent %d mails", tally.Tasks, len(h.Mails())-mails)
	}
}
