package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
)

func has(list []string, prefix string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, prefix) })
}

func TestAnEditAfterADeferralIsABreachToo(t *testing.T) {
	tests := map[string]struct{ old, with string }{
		"another date":   {"date: 2026-12-02", "date: 2026-12-05"},
		"another window": {`from: "22:00"`, `from: "12:00"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := announced(t)
			w.run("2026-12-03 12:00") // deferred to the 4th
			w.edit("plan.yaml", tt.old, tt.with)
			got, tally := w.run("2026-12-04 22:30")
			if has(got, "freeze") {
				t.Errorf("moved all the same: %v", got)
			}
			if tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), "announced for") {
				t.Errorf("nobody is told: %v", tally.Trouble)
			}
		})
	}
}

func TestAnAccountAddedAfterTheAnnouncement(t *testing.T) {
	late := "acme,late@acme.example,it@contact.example,env:GODWIT_X,env:GODWIT_X\n"
	t.Run("is announced where there is time", func(t *testing.T) {
		w := newWorld(t)
		w.run("2026-11-25 03:00")
		w.put("list.csv", list+late)
		got, _ := w.run("2026-11-26 03:00")
		if !has(got, "notify changed acme") || w.states()["acme/late@acme.example"].Promise == nil {
			t.Errorf("got %v, promise %v", got, w.states()["acme/late@acme.example"].Promise)
		}
	})
	t.Run("waits where there is none, and the others move", func(t *testing.T) {
		w := announced(t)
		w.put("list.csv", list+late)
		got, tally := w.run("2026-12-02 22:30")
		if slices.Contains(got, "freeze late@acme.example") || !slices.Contains(got, "credentials switch "+annaA) {
			t.Errorf("got %v", got)
		}
		if tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), "late@acme.example was not announced") {
			t.Errorf("got %v", tally.Trouble)
		}
	})
}

func TestAUserWhoseReminderIsRefusedIsHeldAndNamed(t *testing.T) {
	w := newWorld(t)
	w.refuse[annaA] = true
	w.run("2026-11-25 03:00")
	_, tally := w.run("2026-12-01 03:00")
	if tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), "retry PLAN --account "+annaA) {
		t.Errorf("got %v", tally.Trouble)
	}
	w.run("2026-12-02 18:00")
	got, _ := w.run("2026-12-02 22:30")
	if slices.Contains(got, "freeze "+annaA) || !slices.Contains(got, "credentials switch "+ben) {
		t.Errorf("got %v", got)
	}
}

func TestADeferralThatTheContactDidNotGetIsToldAgainAfterRetry(t *testing.T) {
	w := announced(t)
	w.refuse["it@contact.example"] = true
	_, tally := w.run("2026-12-03 12:00")
	if tally.Trouble == nil || w.states()["acme/"+annaA].Trouble != ledger.Held {
		t.Fatalf("got %v", tally.Trouble)
	}
	w.refuse = map[string]bool{}
	w.retry("acme")
	w.run("2026-12-03 13:00")
	if s := w.states()["acme/"+annaA]; s.Night != "2026-12-04" {
		t.Fatalf("night %q; mails %v", s.Night, w.mails)
	}
	if got, _ := w.run("2026-12-04 22:30"); !slices.Contains(got, "credentials switch "+annaA) {
		t.Errorf("got %v", got)
	}
}

func TestInvitesAreNumberedUp(t *testing.T) {
	w := announced(t)
	w.run("2026-12-03 12:00")
	first := slices.Clone(w.mails)
	w.run("2026-12-05 12:00")
	if !slices.Contains(first, "mail deferred #1 it@contact.example") || !slices.Contains(w.mails, "mail deferred #2 it@contact.example") {
		t.Errorf("got %v, then %v", first, w.mails)
	}
}

func TestTwelveCancelledAccountsAreOneNotice(t *testing.T) {
	w := newWorld(t)
	rows := "service,account,action,contact,source_secret,target_secret\n"
	for _, c := range "abcdefghijkl" {
		rows += "acme," + string(c) + "@acme.example,migrate,it@contact.example,env:GODWIT_X,env:GODWIT_X\n"
	}
	w.put("list.csv", rows)
	w.run("2026-11-25 03:00")
	w.put("list.csv", strings.ReplaceAll(rows, "migrate", "skip"))
	w.run("2026-11-26 03:00")
	if len(w.mails) != 1 {
		t.Errorf("%d mails: %v", len(w.mails), w.mails)
	}
	w.run("2026-11-27 03:00")
	if len(w.mails) != 0 {
		t.Errorf("told again: %v", w.mails)
	}
}

func TestDoneIsSaidWhenEverybodyHasMoved(t *testing.T) {
	w := announced(t)
	w.edit("list.csv", "service,account,contact,", "service,account,action,contact,")
	w.edit("list.csv", "acme,anna@acme.example,", "acme,anna@acme.example,,")
	w.edit("list.csv", "acme,ben@acme.example,", "acme,ben@acme.example,hold,")
	w.edit("list.csv", "zeta,zoe@zeta.example,", "zeta,zoe@zeta.example,,")
	got, _ := w.run("2026-12-02 22:30")
	if !slices.Contains(got, "credentials switch "+annaA) || slices.Contains(got, "notify done acme") || !slices.Contains(got, "notify done zeta") {
		t.Errorf("got %v", got)
	}
}

func TestAServiceMayMoveToAnotherBatch(t *testing.T) {
	w := newWorld(t)
	w.run("2026-11-25 03:00")
	rows := strings.SplitAfter(list, "\n")
	w.put("list.csv", rows[0]+rows[1]+rows[2])
	w.put("later.csv", rows[0]+rows[3])
	w.edit("plan.yaml", "batches:\n", "batches:\n  - {name: two, date: 2026-12-09, accounts: later.csv}\n")
	got, tally := w.run("2026-11-26 03:00")
	if !slices.Contains(got, "notify changed zeta") || slices.Contains(got, "notify announce zeta") || tally.Trouble != nil {
		t.Errorf("got %v, %v", got, tally.Trouble)
	}
}

func TestANoticeOfAnEventMayHaveAnotherTemplate(t *testing.T) {
	w := newWorld(t)
	w.edit("plan.yaml", "    - {when: done,", "    - {when: deferred, to: [contact], template: changed}\n    - {when: done,")
	for _, at := range []string{"2026-11-25 03:00", "2026-12-01 03:00", "2026-12-03 12:00"} {
		if _, tally := w.run(at); tally.Tasks > 40 {
			t.Errorf("%s: %d tasks", at, tally.Tasks)
		}
	}
	if s := w.states()["acme/"+annaA]; s.Night != "2026-12-04" {
		t.Errorf("night %q", s.Night)
	}
}

func TestNothingIsAnnouncedThatTheChecksHold(t *testing.T) {
	w := newWorld(t)
	w.fails["validate"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Service.Name == "acme" {
			return pipeline.Held("login-source", "wrong secret"), nil
		}
		return pipeline.Result{}, nil
	}
	got, _ := w.run("2026-11-25 03:00")
	if slices.Contains(got, "notify announce acme") || !slices.Contains(got, "notify announce zeta") {
		t.Errorf("got %v", got)
	}
}

func TestCatchUpGoesOnWhateverTheOthersWaitFor(t *testing.T) {
	w := announced(t)
	w.fails["freeze"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == ben {
			return pipeline.Held("needs-person", "on purpose"), nil
		}
		return pipeline.Result{}, nil
	}
	w.run("2026-12-02 22:30")
	w.put("list.csv", list+"acme,late@acme.example,it@contact.example,env:GODWIT_X,env:GODWIT_X\n")
	if got, _ := w.run("2026-12-03 12:00"); !slices.Contains(got, "copy catch-up "+annaA) {
		t.Errorf("got %v", got)
	}
}

func TestARowThatDisappearsAfterTheAnnouncementIsNamed(t *testing.T) {
	w := announced(t)
	w.edit("list.csv", "acme,anna@acme.example,it@contact.example,env:GODWIT_X,env:GODWIT_X\n", "")
	_, tally := w.run("2026-12-02 22:30")
	if tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), annaA+": announced for 2026-12-02, and no longer in any list") {
		t.Errorf("got %v", tally.Trouble)
	}
}

func TestALaterDateAfterADeferralHasItsReminders(t *testing.T) {
	w := announced(t)
	w.run("2026-12-03 12:00")
	w.edit("plan.yaml", "date: 2026-12-02", "date: 2026-12-16")
	if got, _ := w.run("2026-12-04 03:00"); !slices.Contains(got, "notify changed acme") {
		t.Fatalf("got %v", got)
	}
	w.run("2026-12-09 03:00")
	w.run("2026-12-15 03:00")
	for _, who := range []string{"it@contact.example", annaA, ben} {
		if !has(w.mails, "mail 1d before") || !slices.ContainsFunc(w.mails, func(m string) bool { return strings.HasSuffix(m, " "+who) }) {
			t.Errorf("%s was not reminded: %v", who, w.mails)
		}
	}
}

func TestWhoHasMovedIsNotRemindedAndWhoMovesLaterIsTold(t *testing.T) {
	w := announced(t)
	w.fails["freeze"] = func(task pipeline.Task) (pipeline.Result, error) {
		if task.Account.Address == ben {
			return pipeline.Later("busy", "on purpose"), nil
		}
		return pipeline.Result{}, nil
	}
	w.run("2026-12-02 22:30")
	w.fails = nil
	w.edit("plan.yaml", "date: 2026-12-02", "date: 2026-12-16")
	w.run("2026-12-04 03:00")
	w.run("2026-12-09 03:00")
	w.run("2026-12-15 03:00")
	if has(w.mails, "mail 1d before #1 "+annaA) || !has(w.mails, "mail 1d before #1 "+ben) {
		t.Errorf("mails %v", w.mails)
	}
	w.run("2026-12-16 18:00")
	got, _ := w.run("2026-12-16 22:30")
	if !slices.Contains(got, "credentials switch "+ben) || !slices.Contains(got, "notify done acme") {
		t.Errorf("got %v", got)
	}
}

// A sample of the table of edits (edits_test.go) from end to end.
func TestEditsThroughTheRunner(t *testing.T) {
	tests := map[string]struct {
		file, old, with string
		at              string
		mails           []string // "": none
		moves           bool
	}{
		"a new contact, the day before": {
			"list.csv", "", "", "2026-12-01 04:00", []string{"mail changed #1 new@contact.example"}, true,
		},
		"another window, too late": {"plan.yaml", `until: "05:00"`, `until: "06:00"`, "2026-12-01 04:00", nil, false},
		"a longer interruption, with short notice": {
			"plan.yaml", "date: 2026-12-02,", "date: 2026-12-02, short_notice: true, window: {max_interruption: 45m},", "2026-12-01 04:00",
			[]string{"mail changed #1 anna@acme.example", "mail changed #1 ben@acme.example", "mail changed #1 it@contact.example", "mail changed #1 zoe@contact.example", "mail changed #1 zoe@zeta.example"},
			true,
		},
		"a shorter interruption": {"plan.yaml", `until: "05:00"`, `until: "05:00", max_interruption: 10m`, "2026-12-01 04:00", nil, true},
		"a held batch":           {"plan.yaml", "accounts: list.csv", "accounts: list.csv, hold: true", "2026-12-01 04:00", nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.run("2026-11-25 03:00")
			w.run("2026-12-01 03:00")
			if tt.file == "list.csv" {
				w.put("list.csv", strings.ReplaceAll(list, "it@contact.example", "new@contact.example"))
			} else {
				w.edit(tt.file, tt.old, tt.with)
			}
			w.run(tt.at)
			if !slices.Equal(w.mails, tt.mails) {
				t.Errorf("mails %v, want %v", w.mails, tt.mails)
			}
			w.run("2026-12-02 18:00")
			got, _ := w.run("2026-12-02 22:30")
			if slices.Contains(got, "credentials switch "+annaA) != tt.moves {
				t.Errorf("moved: %v", got)
			}
		})
	}
}

// A machine that was off: what is still useful goes out, what is not holds.
func TestLateNotices(t *testing.T) {
	tests := map[string]struct {
		on    string // the first run since long before
		mails int
		held  string
		moves bool
	}{
		"off until six days before":            {"2026-11-26 12:00", 2, "", true},
		"off until five days before, in time":  {"2026-11-27 21:59", 2, "", true},
		"off until five days before, too late": {"2026-11-27 22:01", 0, `the notice "7d before" was not sent in time for 2026-12-02; announced today it could move on 2026-12-03 at the earliest`, false},
		"off until the week after":             {"2026-12-10 03:00", 0, `the notice "7d before" was not sent in time for 2026-12-02`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, tally := w.run(tt.on)
			if len(w.mails) != tt.mails || (tally.Trouble != nil) != (tt.held != "") || tt.held != "" && !strings.Contains(tally.Trouble.Error(), tt.held) {
				t.Errorf("mails %v, trouble %v", w.mails, tally.Trouble)
			}
			for _, at := range []string{"2026-12-01 03:00", "2026-12-02 18:00"} {
				w.run(at)
			}
			if got, _ := w.run("2026-12-02 22:30"); slices.Contains(got, "credentials switch "+annaA) != tt.moves {
				t.Errorf("moved: %v", got)
			}
		})
	}
	t.Run("off on the day of the reminder", func(t *testing.T) {
		w := newWorld(t)
		w.run("2026-11-25 03:00")
		w.run("2026-12-02 09:00") // 13 hours before
		if !has(w.mails, "mail 1d before #0 it@contact.example") {
			t.Errorf("mails %v", w.mails)
		}
		if got, _ := w.run("2026-12-02 22:30"); !slices.Contains(got, "credentials switch "+annaA) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("off until the reminder is no use", func(t *testing.T) {
		w := newWorld(t)
		w.run("2026-11-25 03:00")
		_, tally := w.run("2026-12-02 10:01")
		if len(w.mails) > 0 || tally.Trouble == nil || !strings.Contains(tally.Trouble.Error(), `the notice "1d before" was not sent in time`) {
			t.Errorf("mails %v, trouble %v", w.mails, tally.Trouble)
		}
		if got, _ := w.run("2026-12-02 22:30"); has(got, "freeze") {
			t.Errorf("got %v", got)
		}
	})
}
