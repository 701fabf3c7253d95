package pipeline_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/plans"
)

// Two weeks round each change of the clocks, a batch a night, a start every
// quarter of an hour: no night, notice or freeze is skipped or doubled.
func TestClockChanges(t *testing.T) {
	for _, name := range []string{"Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range changes(zone) {
			t.Run(name+"/"+change.In(zone).Format("2006-01-02"), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { acrossChange(t, zone, change) })
			})
		}
	}
}

// changes are those of 2026; a zone without any has two usual nights instead.
func changes(zone *time.Location) []time.Time {
	var list []time.Time
	at := time.Date(2026, 1, 20, 0, 0, 0, 0, zone)
	for len(list) < 2 {
		_, end := at.ZoneBounds()
		if end.IsZero() {
			return []time.Time{time.Date(2026, 3, 29, 2, 0, 0, 0, zone), time.Date(2026, 10, 25, 3, 0, 0, 0, zone)}
		}
		list = append(list, end)
		at = end.Add(time.Hour)
	}
	return list
}

// windows are wall clock, as people write them.
var windows = [][2]string{{"22:00", "05:00"}, {"02:15", "02:45"}, {"00:00", "24:00"}, {"01:30", "03:30"}, {"23:45", "23:45"}}

func acrossChange(t *testing.T, zone *time.Location, change time.Time) {
	y, m, d := change.In(zone).Date()
	first := time.Date(y, m, d-7, 0, 0, 0, 0, zone)
	time.Sleep(time.Until(first.AddDate(0, 0, -9)))
	p := &programme{zone: zone.String(), days: ""}
	for i := range 15 {
		day := time.Date(y, m, d-7+i, 0, 0, 0, 0, zone)
		n := &night{name: fmt.Sprintf("n%02d", i), date: day.Format("2006-01-02")}
		for j := range windows { // the first that exists in that night: the plan refuses others
			w := windows[(i+j)%len(windows)]
			if n.from, n.until = w[0], w[1]; exists(day, w) {
				break
			}
		}
		name := fmt.Sprintf("c%02d.example", i)
		n.services = []*customer{{name: name, contact: "it@" + name + ".contact.example", rows: []*row{
			{account: "a@" + name, action: "migrate", passwords: "keep"}, {account: "b@" + name, action: "migrate", passwords: "temporary"},
		}}}
		p.batches = append(p.batches, n)
	}
	s := newSim(t, 1, 0, p)
	for at := first.AddDate(0, 0, -9); at.Before(first.AddDate(0, 0, 20)); at = at.Add(15 * time.Minute) {
		s.until(at)
		s.start(0, false)
		if at.Hour() == 12 && at.Minute() == 0 {
			s.restsAreQuiet()
		}
	}
	for _, w := range s.check() {
		t.Error(w)
	}
	s.nightsByTheWall(zone)
}

// restsAreQuiet fails if something falls due while a batch is said to rest.
func (s *sim) restsAreQuiet() {
	states := map[string][]ledger.State{}
	for key, state := range s.rows() {
		states[key.Batch] = append(states[key.Batch], state)
	}
	for subject := range pipeline.Subjects(s.plan, states) {
		since, until := s.rests(subject.Batch.Name)
		for i := range time.Duration(20) {
			at := since.Add(until.Sub(since) * i / 20)
			if due := pipeline.Due(subject, at); len(due) > 0 {
				s.t.Errorf("batch %s rests from %s until %s, and at %s is due: %v", subject.Batch.Name, since, until, at, due)
			}
		}
	}
}

// exists says that a clock on the wall shows both times in the night of a day.
func exists(day time.Time, w [2]string) bool {
	for _, clock := range w {
		at, err := time.ParseInLocation("2006-01-02 15:04", day.Format("2006-01-02 ")+strings.Replace(clock, "24:00", "00:00", 1), day.Location())
		if err != nil || at.Format("15:04") != strings.Replace(clock, "24:00", "00:00", 1) {
			return false
		}
		next := at.AddDate(0, 0, 1)
		if w[1] <= w[0] && next.Format("15:04") != at.Format("15:04") {
			return false
		}
	}
	return true
}

// nightsByTheWall holds what happened against a clock on the wall: each notice
// once and on its day, each account once and in its window.
func (s *sim) nightsByTheWall(zone *time.Location) {
	mails, moved := map[string]int{}, map[string]int{}
	for _, e := range s.events {
		wall := e.at.In(zone)
		switch {
		case e.mail != nil && e.mail.when != "done":
			mails[e.service+" "+e.mail.when+" "+e.mail.to]++
			var days int
			if _, err := fmt.Sscanf(e.mail.when, "%dd before", &days); err != nil {
				s.t.Errorf("%s got %s at %s", e.mail.to, e.mail.when, wall)
				continue
			}
			date, err := time.ParseInLocation("2006-01-02", e.mail.night, time.UTC)
			if want := date.AddDate(0, 0, -days).Format("2006-01-02"); err != nil || wall.Format("2006-01-02") != want || wall.Hour() > 1 {
				s.t.Errorf("%s got %s for %s at %s", e.mail.to, e.mail.when, e.mail.night, wall)
			}
		case e.what == "frozen":
			moved[e.account]++
			for _, n := range s.programme.batches {
				if n.services[0].name == e.service && !inWindow(wall, n) {
					s.t.Errorf("%s was frozen at %s; its night is %s from %s to %s", e.account, wall, n.date, n.from, n.until)
				}
			}
		}
	}
	for _, n := range s.programme.batches {
		c := n.services[0]
		for _, r := range c.rows {
			if moved[r.account] != 1 || !s.box(r.account).switched || mails[c.name+" 1d before "+r.account] != 1 {
				s.t.Errorf("%s: frozen %d times, reminded %d times", r.account, moved[r.account], mails[c.name+" 1d before "+r.account])
			}
		}
		if mails[c.name+" 7d before "+c.contact] != 1 || mails[c.name+" 1d before "+c.contact] != 1 {
			s.t.Errorf("%s was told %d and %d times", c.contact, mails[c.name+" 7d before "+c.contact], mails[c.name+" 1d before "+c.contact])
		}
	}
}

func inWindow(wall time.Time, n *night) bool {
	date, clock := wall.Format("2006-01-02"), wall.Format("15:04")
	if n.from < n.until {
		return date == n.date && clock >= n.from && clock < n.until
	}
	next := wall.AddDate(0, 0, -1).Format("2006-01-02")
	return date == n.date && clock >= n.from || next == n.date && clock < n.until
}

func TestNightOf(t *testing.T) {
	tests := map[string]struct{ zone, date, from, until, start, end string }{
		"over midnight":              {"Europe/Paris", "2026-12-02", "22:00", "05:00", "2026-12-02T21:00Z", "2026-12-03T04:00Z"},
		"a whole day":                {"Europe/Paris", "2026-12-02", "00:00", "24:00", "2026-12-01T23:00Z", "2026-12-02T23:00Z"},
		"a day from evening on":      {"Europe/Paris", "2026-12-02", "22:00", "22:00", "2026-12-02T21:00Z", "2026-12-03T21:00Z"},
		"an hour shorter in spring":  {"Europe/Paris", "2026-03-28", "22:00", "05:00", "2026-03-28T21:00Z", "2026-03-29T03:00Z"},
		"an hour longer in autumn":   {"Europe/Paris", "2026-10-24", "22:00", "05:00", "2026-10-24T20:00Z", "2026-10-25T04:00Z"},
		"inside what is left out":    {"Europe/Paris", "2026-03-29", "02:15", "02:45", "2026-03-29T01:00Z", "2026-03-29T01:30Z"},
		"the same in America":        {"America/New_York", "2026-03-08", "02:15", "02:45", "2026-03-08T07:00Z", "2026-03-08T07:30Z"},
		"begins in what is left out": {"Europe/Paris", "2026-03-29", "02:30", "03:15", "2026-03-29T01:00Z", "2026-03-29T01:15Z"},
		"ends in what is left out":   {"Europe/Paris", "2026-03-28", "22:00", "02:30", "2026-03-28T21:00Z", "2026-03-29T01:00Z"},
		"inside what comes twice":    {"Europe/Paris", "2026-10-25", "02:15", "02:45", "2026-10-25T00:15Z", "2026-10-25T00:45Z"},
		"the same in America, too":   {"America/New_York", "2026-11-01", "01:15", "01:45", "2026-11-01T05:15Z", "2026-11-01T05:45Z"},
		"half an hour on Lord Howe":  {"Australia/Lord_Howe", "2026-10-03", "22:00", "05:00", "2026-10-03T11:30Z", "2026-10-03T18:00Z"},
		"midnight left out":          {"Asia/Beirut", "2026-03-29", "00:00", "04:00", "2026-03-28T22:00Z", "2026-03-29T01:00Z"},
		"Ramadan begins":             {"Africa/Casablanca", "2026-02-14", "22:00", "05:00", "2026-02-14T21:00Z", "2026-02-15T05:00Z"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			zone, err := time.LoadLocation(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			day, err := time.Parse("2006-01-02", tt.date)
			if err != nil {
				t.Fatal(err)
			}
			batch := &plans.Batch{Date: plans.At(day, 0, zone), Window: plans.Window{From: wall(t, tt.from), Until: wall(t, tt.until)}}
			got := pipeline.NightOf(batch, batch.Date)
			if s, e := got.Start.UTC().Format("2006-01-02T15:04Z"), got.End.UTC().Format("2006-01-02T15:04Z"); s != tt.start || e != tt.end || got.Date != tt.date {
				t.Errorf("%s: %s to %s, want %s to %s", got.Date, s, e, tt.start, tt.end)
			}
		})
	}
}

func wall(t *testing.T, clock string) time.Duration {
	t.Helper()
	var h, m int
	if _, err := fmt.Sscanf(clock, "%d:%d", &h, &m); err != nil {
		t.Fatal(err)
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
}

// Whole services together, small before large, with one slot and with several.
func TestServicesMoveTogetherSmallFirst(t *testing.T) {
	for _, slots := range []int{1, 3} {
		t.Run(fmt.Sprint(slots, " at once"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
				time.Sleep(time.Until(begin))
				n := &night{name: "n", date: "2026-12-02", from: "22:00", until: "05:00"}
				for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
					c := &customer{name: name + ".example", contact: "it@contact.example"}
					for i := range 4 {
						c.rows = append(c.rows, &row{account: fmt.Sprintf("u%d@%s", i, c.name), action: "migrate", passwords: "keep"})
					}
					n.services = append(n.services, c)
				}
				s := newSim(t, 5, 0, &programme{zone: "UTC", batches: []*night{n}})
				s.plan.Copy.Accounts = slots
				for at := begin; at.Before(begin.AddDate(0, 0, 14)); at = at.Add(15 * time.Minute) {
					s.until(at)
					s.start(0, false)
				}
				var order []string
				for _, e := range s.events {
					if e.what == "frozen" && (len(order) == 0 || order[len(order)-1] != e.service) {
						order = append(order, e.service)
					}
				}
				sizes := map[string]int64{}
				for _, c := range n.services {
					for _, r := range c.rows {
						sizes[c.name] += s.bulk(r.account)
					}
				}
				if len(order) != 6 || !slices.IsSortedFunc(order, func(a, b string) int { return cmp.Compare(sizes[a], sizes[b]) }) {
					t.Errorf("the order was %v; sizes are %v", order, sizes)
				}
			})
		})
	}
}
