package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
)

// A year: forty nights, two thousand accounts, one fault in a hundred of every
// kind, a program that is killed now and then, a machine that is off at times,
// with a clock that is wrong at times, and people who edit the plan. All promises
// hold.
func TestAYear(t *testing.T) {
	for _, seed := range seeds() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newYear(t, seed, 50*nights(), nights()).run() })
		})
	}
}

// seeds are one, always the same; where GODWIT_LONG is set (make soak) another each
// time the test is run. GODWIT_SEEDS says how many, GODWIT_SEED repeats one.
func seeds() []uint64 {
	if one, err := strconv.ParseUint(os.Getenv("GODWIT_SEED"), 10, 64); err == nil {
		return []uint64{one}
	}
	n, err := strconv.Atoi(os.Getenv("GODWIT_SEEDS"))
	switch {
	case err == nil:
	case os.Getenv("GODWIT_LONG") != "":
		n = 1
	default:
		return []uint64{1}
	}
	var list []uint64
	for range n {
		list = append(list, rand.Uint64N(1e6))
	}
	return list
}

// nights are forty, or as many as GODWIT_NIGHTS says: fewer to look into a fault.
// With the race detector a few show what it can show; `make test` goes through
// the whole year without it.
func nights() int {
	if n, err := strconv.Atoi(os.Getenv("GODWIT_NIGHTS")); err == nil {
		return n
	}
	if testing.Short() || raced {
		return 6
	}
	return 40
}

// year is a sim with people in it.
type year struct {
	*sim
	begin, end time.Time
	later      map[string][]func() // by date: what is put right then
	added      int
}

func newYear(t *testing.T, seed uint64, accounts, nights int) *year {
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	p := &programme{zone: "Europe/Paris", days: ", days: [mon, tue, wed, thu]"}
	y := &year{begin: time.Date(2026, 1, 5, 0, 0, 0, 0, zone), later: map[string][]func(){}}
	time.Sleep(time.Until(y.begin))
	roll := rand.New(rand.NewPCG(seed, 1))
	made, day := 0, y.begin.AddDate(0, 0, 9)
	for i := range nights {
		n := &night{name: fmt.Sprintf("n%02d", i), date: workday(day).Format("2006-01-02"), from: "22:00", until: "05:00"}
		for j := 0; made < accounts*(i+1)/nights; j++ {
			c := &customer{name: fmt.Sprintf("c%d-%d.example", i, j), contact: fmt.Sprintf("it@c%d-%d.contact.example", i, j)}
			for range min(1+int(roll.ExpFloat64()*6), accounts*(i+1)/nights-made) {
				r := &row{account: fmt.Sprintf("u%d@%s", made, c.name), action: "migrate", passwords: "keep"}
				if roll.IntN(5) < 2 {
					r.passwords = "temporary"
				}
				c.rows = append(c.rows, r)
				made++
			}
			n.services = append(n.services, c)
		}
		p.batches = append(p.batches, n)
		y.end = workday(day).AddDate(0, 0, 40)
		day = day.AddDate(0, 0, 8)
	}
	y.sim = newSim(t, seed, 0.01, p)
	return y
}

// workday is the first of Monday to Thursday from day on.
func workday(day time.Time) time.Time {
	for day.Weekday() == time.Friday || day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, 1)
	}
	return day
}

// chance is one in so many, by the day.
func (y *year) chance(in float64, words ...string) bool {
	return y.dice(append(words, time.Now().In(y.plan.Timezone).Format("2006-01-02"))...) < 1/in
}

func (y *year) run() {
	started := false
	done := make(chan struct{})
	for at := y.begin; at.Before(y.end); at = at.Add(15 * time.Minute) {
		y.until(at)
		local := at.In(y.plan.Timezone)
		if y.off(local) || local.Hour() >= 8 && local.Hour() < 20 && local.Minute() != 0 {
			continue // by day cron calls every hour
		}
		if started {
			select {
			case <-done:
			default:
				y.start(0, false) // finds the other at work
				continue
			}
		}
		switch local.Format("15:04") {
		case "09:00":
			y.morning()
		case "10:00":
			y.edits(local)
		case "12:00":
			y.skew = 0
			if y.chance(40, "clock") {
				y.skew = []time.Duration{-time.Hour, time.Hour, 5 * time.Minute}[int(3*y.dice("skew", at.String()))]
			}
		}
		dieAt := int64(0)
		if y.dice("kill", at.String()) < 0.01 {
			dieAt = 1 + int64(40*y.dice("write", at.String()))
		}
		started, done = true, make(chan struct{})
		go func() {
			defer close(done)
			y.start(dieAt, y.dice("after", at.String()) < 0.5)
		}()
		if y.dice("twice", at.String()) < 0.01 {
			y.start(0, false)
		}
		synctest.Wait()
	}
	if started {
		<-done
	}
	wrong := y.check()
	for i, w := range wrong {
		if i == 20 {
			y.t.Errorf("and %d more", len(wrong)-i)
			break
		}
		y.t.Error(w)
	}
	for _, who := range strings.Fields(os.Getenv("GODWIT_TRACE")) {
		y.trace(who)
	}
	counts := map[string]int{}
	for _, e := range y.events {
		counts[e.what]++
	}
	y.t.Logf("seed %d: %d starts, %d found another at work, %d did something, %d were killed; %v", y.seed, y.lives+y.busy, y.busy, y.worked, y.dead, counts)
	if nights() == 40 && (y.dead < 3 || y.busy < 10 || counts["fault"] < 100 || counts["edit"] < 20 || counts["thawed"] < 10) {
		y.t.Error("the year was too quiet to prove anything")
	}
}

// trace tells all that happened to an account and its service.
func (y *year) trace(who string) {
	service := who[strings.IndexByte(who, '@')+1:]
	for _, e := range y.events {
		if e.account == who || e.account == "" && e.service == service || strings.Contains(e.account, service) && e.account == service {
			y.t.Log(e.at.Format("01-02 15:04:05"), e.process, e.what, e.account, e.text)
			if m := e.mail; m != nil {
				y.t.Logf("    %s to %s, night %s from %s to %s, %d accounts, SEQUENCE %d: %s, again %v", m.id, m.to, m.night, m.start.Format("01-02 15:04"), m.end.Format("01-02 15:04"), len(m.only), m.sequence, m.verdict, m.again)
			}
		}
	}
	for e, err := range y.disk.Entries(context.Background(), ledger.Key{Service: service}) {
		if err != nil {
			y.t.Fatal(err)
		}
		if e.Key.Account == who || e.Key.Account == "" {
			y.t.Log(e.At.In(y.plan.Timezone).Format("01-02 15:04:05"), e.Key.Account, e.Stage, e.Effect, e.Mark, e.Text)
		}
	}
	for key, state := range y.rows() {
		if key.Account == who || key.Service == service && key.Account == "" {
			y.t.Logf("%v: %+v", key, state)
		}
	}
}

// off says that the machine is off: some nights, and for a week in June.
func (y *year) off(local time.Time) bool {
	evening := local.Add(-12 * time.Hour)
	if evening.Month() == time.June && evening.Day() >= 8 && evening.Day() < 15 {
		return true
	}
	dark := local.Hour() >= 20 || local.Hour() < 8
	return dark && y.dice("off", evening.Format("2006-01-02")) < 0.03
}

// morning: a person looks at what is held or has failed, and says: go on.
func (y *year) morning() {
	l, err := y.disk.Open(false)
	if err != nil {
		y.t.Error(err)
		return
	}
	defer l.Close()
	for _, n := range y.programme.batches {
		if at := y.date(n); time.Since(at).Abs() < 15*24*time.Hour {
			y.remedy(l, n)
		}
	}
}

// remedy is what a person does about one batch.
func (y *year) remedy(l ledger.Ledger, n *night) {
	states, err := l.States(context.Background(), n.name)
	if err != nil {
		y.t.Error(err)
	}
	late, services := 0, 0
	for _, state := range states {
		key := state.Key
		if key.Account == "" {
			services++
			if state.Trouble == ledger.Held && state.Reason == "notice-late" {
				late++
			}
		}
		if state.Trouble != ledger.Held && state.Trouble != ledger.Broken || state.Reason == "notice-late" || !y.chance(2, "retry", key.Service, key.Account) {
			continue
		}
		y.happened(nil, event{what: "retry", service: key.Service, account: key.Account})
		clock := pipeline.Starting(time.Now().Add(y.skew))
		if _, err := pipeline.Retry(context.Background(), l, clock, []string{key.Batch}, func(k ledger.Key) bool { return k == key }); err != nil {
			y.t.Error(err)
		}
	}
	if late*2 > services { // as the text says: a later date
		y.happened(nil, event{what: "edit", service: n.name, account: n.name, text: "late"})
		n.date = workday(time.Now().In(y.plan.Timezone).AddDate(0, 0, 9)).Format("2006-01-02")
		y.write()
	}
}

// date is the batch's.
func (y *year) date(n *night) time.Time {
	at, err := time.ParseInLocation("2006-01-02", n.date, y.plan.Timezone)
	if err != nil {
		y.t.Fatal(err)
	}
	return at
}

// edits are what people do to plan and lists on a day.
func (y *year) edits(today time.Time) {
	date := today.Format("2006-01-02")
	changed := len(y.later[date]) > 0
	for _, back := range y.later[date] {
		back()
	}
	edit := func(in float64, n *night, service, account, what string, do func() (back func(), days int)) {
		if !y.chance(in, "edit", what, n.name, service, account) {
			return
		}
		y.happened(nil, event{what: "edit", service: service, account: account, text: what})
		changed = true
		if back, days := do(); back != nil {
			day := today.AddDate(0, 0, days).Format("2006-01-02")
			y.later[day] = append(y.later[day], back)
		}
	}
	for _, n := range y.programme.batches {
		at := y.date(n)
		if days := at.Sub(today).Hours() / 24; days < 0 || days > 10 {
			continue
		}
		edit(60, n, n.name, n.name, "later", func() (func(), int) { n.date = workday(at.AddDate(0, 0, 7)).Format("2006-01-02"); return nil, 0 })
		edit(60, n, n.name, n.name, "earlier", func() (func(), int) {
			was := n.date
			if at.Weekday() != time.Monday {
				n.date = at.AddDate(0, 0, -1).Format("2006-01-02")
			}
			return func() { n.date = was }, 1
		})
		edit(60, n, n.name, n.name, "window", func() (func(), int) { n.from = "21:30"; return nil, 0 })
		edit(60, n, n.name, n.name, "hold", func() (func(), int) { n.hold = true; return func() { n.hold = false }, 4 })
		for _, c := range n.services {
			edit(300, n, c.name, "", "contact", func() (func(), int) { c.contact = "new-" + c.contact; return nil, 0 })
			edit(300, n, c.name, "", "one more", func() (func(), int) {
				y.added++
				c.rows = append(c.rows, &row{account: fmt.Sprintf("new%d@%s", y.added, c.name), action: "migrate", passwords: "keep"})
				return nil, 0
			})
			for _, r := range c.rows {
				edit(600, n, c.name, r.account, "skip", func() (func(), int) { r.action = "skip"; return nil, 0 })
				edit(600, n, c.name, r.account, "passwords", func() (func(), int) {
					r.passwords = map[string]string{"keep": "temporary", "temporary": "keep"}[r.passwords]
					return nil, 0
				})
				if len(c.rows) > 1 && r != c.rows[0] {
					edit(600, n, c.name, r.account, "row gone", func() (func(), int) { r.gone = true; return func() { r.gone = false }, 3 })
				}
			}
		}
	}
	if changed {
		y.write()
	}
}
