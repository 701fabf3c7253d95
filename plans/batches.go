package plans

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// batches checks each batch, its date and its overrides, and that no two
// overlap.
func (d *decoder) batches() {
	p := d.plan
	if d.good("window.days") && len(p.Window.Days) == 0 {
		d.wrong("window.days", "days is empty; name the days, or take it out for every day")
	}
	named, listed := map[string]string{}, map[string]string{}
	for i, b := range p.Batches {
		path := fmt.Sprintf("batches[%d]", i)
		if d.good(path + ".name") {
			b.checkName(d, path)
		}
		if name := strings.ToLower(b.Name); b.Name != "" {
			if other, ok := named[name]; ok {
				d.wrong(path+".name", "name: %s is the name of two batches, the other is on line %d", shown(b.Name), d.near(other).Line)
			} else {
				named[name] = path + ".name"
			}
		}
		if d.good(path + ".accounts") {
			if other, ok := listed[b.Accounts]; ok {
				d.wrong(path+".accounts", "accounts: %s is the list of two batches, the other is on line %d", shown(b.Accounts), d.near(other).Line)
			} else {
				listed[b.Accounts] = path + ".accounts"
			}
		}
		d.notices(path+".notices", &b.Notices)
		d.window(path, b)
		d.temporary(path, b)
	}
}

// checkName keeps batches from names that files of the output folder have.
func (b *Batch) checkName(d *decoder, path string) {
	if reserved(b.Name) {
		d.wrong(path+".name", "name: %s is the name of a file in the output folder; choose another", shown(b.Name))
	}
}

// reserved are names that files of the output folders have.
func reserved(name string) bool {
	return slices.Contains([]string{"index.html", "report.csv", "skipped.csv", "godwit.prom"}, name)
}

// temporary needs an admin side that sets passwords, or a list to set them by.
func (d *decoder) temporary(path string, b *Batch) {
	target := d.plan.Targets[d.plan.DefaultTarget]
	if b.Passwords.Mode != "temporary" || target == nil || target.Admin.Name != "none" || d.bad["targets."+target.Name+".admin.driver"] {
		return
	}
	at := path + ".passwords.mode"
	if !d.has(at) {
		at = "passwords.mode"
	}
	d.wrong(at, "mode: temporary needs an admin driver on target %q: zimbra, exec, or list if you set the passwords yourself", target.Name)
}

// window checks the batch's date and its window on that date.
func (d *decoder) window(path string, b *Batch) {
	if !d.good(path+".date") || d.bad["timezone"] {
		return
	}
	day := b.Date
	b.Date = At(day, 0, d.plan.Timezone)
	at := func(name string) string {
		if d.has(path + ".window." + name) {
			return path + ".window." + name
		}
		return path + ".date"
	}
	if d.good(path+".window.days") && len(b.Window.Days) == 0 {
		d.wrong(path+".window.days", "days is empty; name the days, or take it out for every day")
	}
	if days := b.Window.Days; len(days) > 0 && !slices.Contains(days, day.Weekday()) {
		next := day
		for !slices.Contains(days, next.Weekday()) {
			next = next.AddDate(0, 0, 1)
		}
		d.wrong(path+".date", "date: %s is a %s, which window.days leaves out; the next day it allows is %s, a %s",
			day.Format(time.DateOnly), day.Weekday(), next.Format(time.DateOnly), next.Weekday())
	}
	from, until := b.Window.From, b.Window.Until
	if from == 24*time.Hour {
		d.wrong(at("from"), `from: "24:00" is the end of the day; write "00:00" and the next date`)
		return
	}
	d.exists(at("from"), "from", day, from)
	end := day
	if until <= from {
		end = day.AddDate(0, 0, 1)
	}
	d.exists(at("until"), "until", end, until)
	length := At(end, until, d.plan.Timezone).Sub(At(day, from, d.plan.Timezone))
	if b.Window.MaxInterruption > length {
		d.wrong(at("max_interruption"), "max_interruption: %s is longer than the window of %s", durationText(b.Window.MaxInterruption), durationText(length))
	}
}

// exists finds a time of day that the change to summer time skips. Midnight
// may be skipped as well (Beirut, Cairo); a day that begins at 01:00 is meant
// then.
func (d *decoder) exists(path, name string, day time.Time, clock time.Duration) {
	if clock%(24*time.Hour) == 0 {
		return
	}
	t := At(day, clock, d.plan.Timezone)
	if sinceMidnight(t) == clock {
		return
	}
	d.wrong(path, "%s: %s does not exist on %s in %s, where clocks go forward over it that night; the next time that exists is %q",
		name, clockText(clock), day.Format(time.DateOnly), d.plan.Timezone, t.Format("15:04"))
}

func sinceMidnight(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}

// durationText writes a duration as plans do, in the largest whole unit.
func durationText(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func clockText(clock time.Duration) string {
	return fmt.Sprintf("\"%02d:%02d\"", int(clock.Hours()), int(clock.Minutes())%60)
}
