package plans

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on the machine
)

var durationMatch = regexp.MustCompile(`^(0|[1-9][0-9]{0,5})([smhd])$`)

func parseDuration(s string) (any, error) {
	m := durationMatch.FindStringSubmatch(s)
	if m == nil {
		return nil, wrong("%s is not a duration; write one such as 30s, 15m, 12h or 3d", shown(s))
	}
	n, _ := strconv.Atoi(m[1])
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]]
	if d := time.Duration(n) * unit; d <= 10*365*24*time.Hour {
		return d, nil
	}
	return nil, wrong("%s is longer than ten years", shown(s))
}

var clockMatch = regexp.MustCompile(`^([01][0-9]|2[0-4]):([0-5][0-9])$`)

func parseClock(s string) (any, error) {
	m := clockMatch.FindStringSubmatch(s)
	if m == nil || m[1] == "24" && m[2] != "00" {
		return nil, wrong(`%s is not a time of day; write one from "00:00" to "24:00"`, shown(s))
	}
	h, _ := strconv.Atoi(m[1])
	min, _ := strconv.Atoi(m[2])
	return time.Duration(h)*time.Hour + time.Duration(min)*time.Minute, nil
}

func parseDate(s string) (any, error) {
	var y, m, d int
	if n, err := fmt.Sscanf(s, "%4d-%2d-%2d", &y, &m, &d); n != 3 || err != nil || len(s) != 10 || strings.ContainsAny(s, "+ ") {
		return nil, wrong("%s is not a date; write one such as 2026-12-05", shown(s))
	}
	if m < 1 || m > 12 {
		return nil, wrong("%s does not exist: there is no month %d", s, m)
	}
	last := time.Date(y, time.Month(m)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	if d < 1 || d > last {
		return nil, wrong("%s does not exist: %s %d has %d days", s, time.Month(m), y, last)
	}
	if y < 2020 || y > 2099 {
		return nil, wrong("%s: the year is not between 2020 and 2099", s)
	}
	return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC), nil
}

// At is the moment at which a clock on the wall in zone shows clock on day's
// date. Where the change to winter time shows it twice it is the first time
// (RFC 5545, 3.3.5); where the change to summer time leaves it out, the first
// moment after.
func At(day time.Time, clock time.Duration, zone *time.Location) time.Time {
	y, m, d := day.Date()
	t := time.Date(y, m, d, 0, int(clock.Minutes()), 0, 0, zone)
	// time.Date leaves open which side of a change it takes, so both are looked at.
	wall := time.Date(y, m, d, 0, int(clock.Minutes()), 0, 0, time.UTC)
	begin, end := t.ZoneBounds()
	for _, change := range []time.Time{begin, end} {
		if change.IsZero() || t.Sub(change).Abs() > 25*time.Hour {
			continue
		}
		_, before := change.Add(-time.Second).Zone()
		_, after := change.Zone()
		early, late := wall.Add(-time.Duration(before)*time.Second), wall.Add(-time.Duration(after)*time.Second)
		switch {
		case early.Before(change) && !late.Before(change): // twice
			return early.In(zone)
		case !early.Before(change) && late.Before(change): // left out
			return change.In(zone)
		}
	}
	return t
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func parseWeekday(s string) (any, error) {
	for i, day := range weekdays {
		if s == day {
			return time.Weekday(i), nil
		}
	}
	suggestion := didYouMean(s, weekdays)
	if low := strings.ToLower(s); len(low) > 3 {
		suggestion = didYouMean(low[:3], weekdays)
	}
	if suggestion == "" {
		suggestion = "; write one of: mon, tue, wed, thu, fri, sat, sun"
	}
	return nil, wrong("%s is not a day of the week%s", shown(s), suggestion)
}

var zoneMatch = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$`)

func parseZone(s string) (any, error) {
	if zoneMatch.MatchString(s) && !strings.EqualFold(s, "local") && s != "posixrules" && s != "localtime" {
		if zone, err := time.LoadLocation(s); err == nil {
			return zone, nil
		}
	}
	return nil, wrong("%s is not a time zone; write a name of the IANA list, such as Europe/Paris or UTC", shown(s))
}

// events are the notices that follow something that happened.
var events = []string{"changed", "deferred", "cancelled", "done", "rolled-back"}

var beforeMatch = regexp.MustCompile(`^(0|[1-9][0-9]{0,2})d before$`)

func parseWhen(s string) (any, error) {
	for _, event := range events {
		if s == event {
			return s, nil
		}
	}
	if beforeMatch.MatchString(s) {
		return s, nil
	}
	suggestion := didYouMean(s, events)
	if suggestion == "" {
		suggestion = "; write 7d before, or one of: " + strings.Join(events, ", ")
	}
	return nil, wrong("%s is not a time of a notice%s", shown(s), suggestion)
}
