package main_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/pipeline/ledger/sqlite"
)

// batchesAhead is how many batches are moved, each forecast by what those before
// have taken. The first is a guess.
const batchesAhead = 11

// A batch's real duration lies inside the spread that preview printed, in at
// least nine of ten. Every other batch still has all its mail to copy.
func TestForecastOnRealServers(t *testing.T) {
	var users []user
	for b := range batchesAhead {
		for i := range 1 + b/2%2 {
			users = append(users, user{fmt.Sprintf("s%d.example", b), fmt.Sprintf("u%d@s%d.example", i, b), "own-Password-1", "keep"})
		}
	}
	l := newLaboratory(t, 80*len(users), "1s", users)
	plan := func(held bool) {
		text, _, _ := strings.Cut(fmt.Sprintf(labPlan, l.up.Source.Address, l.up.Target.Address, l.up.CA,
			l.up.Master.Login, l.up.Master.SecretFile, l.bin.lab, l.home, l.up.SMTP.Address, l.up.SMTP.Login, l.up.SMTP.SecretFile, "1s"), "notices:")
		text += "window: {from: \"22:00\", until: \"05:00\"}\ncopy: {precopy: 30d}\nbatches:\n"
		for b := range batchesAhead {
			text += fmt.Sprintf("  - {name: b%d, date: 2026-12-%02d, accounts: list-b%d.csv, hold: %v}\n", b, b+1, b, held && b%2 == 1)
		}
		l.write(filepath.Join(l.dir, "plan.yaml"), text)
	}
	lists := map[string]string{}
	for _, u := range users {
		b := "b" + strings.TrimSuffix(u.service[1:], ".example")
		lists[b] += fmt.Sprintf("%s,%s,%s\n", u.service, u.address, u.password)
	}
	for b, rows := range lists {
		l.write(filepath.Join(l.dir, "list-"+b+".csv"), "service,account,source_secret\n"+rows)
	}
	plan(true)
	l.run("2026-11-30T23:00") // copies what is not held, and measures
	plan(false)

	inside := 0
	for b := range batchesAhead {
		night := fmt.Sprintf("2026-12-%02dT22:00", b+1)
		ahead := l.forecast(night, b)
		l.godwit("run", "plan.yaml", "--now", night, "--batch", fmt.Sprintf("b%d", b))
		took := l.took(fmt.Sprintf("b%d", b), night)
		fits := ahead.Low <= took && took <= ahead.High
		t.Logf("batch %d, %d accounts, %d bytes to copy: %.1f s; forecast %.1f s (%.1f to %.1f), a guess: %v", b, ahead.Accounts, ahead.Bytes, took, ahead.Expected, ahead.Low, ahead.High, ahead.Guess)
		if ahead.Guess != (b == 0) || (ahead.Bytes > 0) != (b%2 == 1) || ahead.Accounts != 1+b/2%2 {
			t.Errorf("batch %d: forecast %+v", b, ahead)
		}
		if b > 0 && fits {
			inside++
		}
		if b > 0 && ahead.High > 12*ahead.Low {
			t.Errorf("batch %d: the spread %.1f to %.1f says nothing", b, ahead.Low, ahead.High)
		}
	}
	if inside < 9 {
		t.Errorf("%d of %d batches took as long as forecast, want 9", inside, batchesAhead-1)
	}
}

type outlook struct {
	Accounts int
	Bytes    int64 `json:"bytes_left"`
	Guess    bool
	Low      float64 `json:"seconds_low"`
	Expected float64 `json:"seconds_expected"`
	High     float64 `json:"seconds_high"`
}

// forecast is what preview prints of a batch.
func (l *laboratory) forecast(at string, batch int) outlook {
	l.t.Helper()
	out, code := l.godwit("preview", "plan.yaml", "--now", at, "--batch", fmt.Sprintf("b%d", batch), "--json")
	if code != 0 {
		l.t.Fatalf("preview ended with %d:\n%s", code, out)
	}
	for line := range strings.Lines(out) {
		var one struct{ Forecast *outlook }
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			l.t.Fatalf("%v: %s", err, line)
		}
		if one.Forecast != nil {
			return *one.Forecast
		}
	}
	l.t.Fatalf("no forecast in\n%s", out)
	return outlook{}
}

// took is how long a batch's night was, in seconds: from its begin until the
// last account was open again.
func (l *laboratory) took(batch, night string) float64 {
	l.t.Helper()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		l.t.Fatal(err)
	}
	begin, err := time.ParseInLocation("2006-01-02T15:04", night, paris)
	if err != nil {
		l.t.Fatal(err)
	}
	ledger, err := sqlite.Read(l.t.Context(), filepath.Join(l.dir, "out", "lab.ledger"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer ledger.Close()
	states, err := ledger.States(l.t.Context(), batch)
	if err != nil {
		l.t.Fatal(err)
	}
	var last time.Time
	for _, s := range states {
		if s.Key.Account == "" {
			continue
		}
		if s.SwitchedAt.IsZero() {
			l.t.Errorf("%s has not moved: %s %s", s.Key.Account, s.Phase, s.Detail)
		}
		if s.ReleasedAt.After(last) {
			last = s.ReleasedAt
		}
	}
	return last.Sub(begin).Seconds()
}
