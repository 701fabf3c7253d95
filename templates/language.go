package templates

import (
	"fmt"
	"strings"
	"text/template"
	"time"

	xlanguage "golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

// language is how dates, times and lengths are written.
type language struct {
	regions display.Namer
	days    string // Sunday first
	months  string
	date    func(day string, number int, month string, year int) string
	clock   func(hour, minute int) string
	unit    [3][2]string // day, hour, minute: one, many
	and     string       // between the last two units
}

var languages = map[string]language{
	"en": {
		days:   "Sunday Monday Tuesday Wednesday Thursday Friday Saturday",
		months: "January February March April May June July August September October November December",
		date: func(day string, number int, month string, year int) string {
			return fmt.Sprintf("%s %d\u00a0%s %d", day, number, month, year)
		},
		clock: func(hour, minute int) string { return fmt.Sprintf("%02d:%02d", hour, minute) },
		unit:  [3][2]string{{"day", "days"}, {"hour", "hours"}, {"minute", "minutes"}},
		and:   " and ",
	},
	"fr": {
		days:   "dimanche lundi mardi mercredi jeudi vendredi samedi",
		months: "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
		date: func(day string, number int, month string, year int) string {
			if number == 1 {
				return fmt.Sprintf("%s 1er\u00a0%s %d", day, month, year)
			}
			return fmt.Sprintf("%s %d\u00a0%s %d", day, number, month, year)
		},
		clock: func(hour, minute int) string {
			if minute == 0 {
				return fmt.Sprintf("%d\u00a0h", hour)
			}
			return fmt.Sprintf("%d\u00a0h\u00a0%02d", hour, minute)
		},
		unit: [3][2]string{{"jour", "jours"}, {"heure", "heures"}, {"minute", "minutes"}},
		and:  " et ",
	},
	"de": {
		days:   "Sonntag Montag Dienstag Mittwoch Donnerstag Freitag Samstag",
		months: "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
		date: func(day string, number int, month string, year int) string {
			return fmt.Sprintf("%s, %d.\u00a0%s %d", day, number, month, year)
		},
		clock: func(hour, minute int) string { return fmt.Sprintf("%d:%02d\u00a0Uhr", hour, minute) },
		// In the dative, which all our sentences need ("nach 2 Tagen").
		unit: [3][2]string{{"Tag", "Tagen"}, {"Stunde", "Stunden"}, {"Minute", "Minuten"}},
		and:  " und ",
	},
	"es": {
		days:   "domingo lunes martes miércoles jueves viernes sábado",
		months: "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
		date:   iberian("%s %d de\u00a0%s de %d"),
		clock:  shortClock,
		unit:   [3][2]string{{"día", "días"}, {"hora", "horas"}, {"minuto", "minutos"}},
		and:    " y ",
	},
	"it": {
		days:   "domenica lunedì martedì mercoledì giovedì venerdì sabato",
		months: "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
		date: func(day string, number int, month string, year int) string {
			if number == 1 {
				return fmt.Sprintf("%s 1º\u00a0%s %d", day, month, year)
			}
			return fmt.Sprintf("%s %d\u00a0%s %d", day, number, month, year)
		},
		clock: shortClock,
		unit:  [3][2]string{{"giorno", "giorni"}, {"ora", "ore"}, {"minuto", "minuti"}},
		and:   " e ",
	},
	"pt": {
		days:   "domingo segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado",
		months: "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
		date:   iberian("%s, %d de\u00a0%s de %d"),
		clock:  shortClock,
		unit:   [3][2]string{{"dia", "dias"}, {"hora", "horas"}, {"minuto", "minutos"}},
		and:    " e ",
	},
	"nl": {
		days:   "zondag maandag dinsdag woensdag donderdag vrijdag zaterdag",
		months: "januari februari maart april mei juni juli augustus september oktober november december",
		date: func(day string, number int, month string, year int) string {
			return fmt.Sprintf("%s %d\u00a0%s %d", day, number, month, year)
		},
		clock: func(hour, minute int) string { return fmt.Sprintf("%d:%02d\u00a0uur", hour, minute) },
		unit:  [3][2]string{{"dag", "dagen"}, {"uur", "uur"}, {"minuut", "minuten"}},
		and:   " en ",
	},
	"pl": {
		days:   "niedziela poniedziałek wtorek środa czwartek piątek sobota",
		months: "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia", // in the genitive, as after a number
		date: func(day string, number int, month string, year int) string {
			return fmt.Sprintf("%s, %d\u00a0%s %d", day, number, month, year)
		},
		clock: shortClock,
		// Abbreviated: Polish has a third form for some numbers.
		unit: [3][2]string{{"dzień", "dni"}, {"godz.", "godz."}, {"min", "min"}},
		and:  " i ",
	},
}

func shortClock(hour, minute int) string { return fmt.Sprintf("%d:%02d", hour, minute) }

func iberian(format string) func(string, int, string, int) string {
	return func(day string, number int, month string, year int) string {
		return fmt.Sprintf(format, day, number, month, year)
	}
}

// languageOf finds the nearest language that dates can be written in. A
// hoster's own language gets numbers, which are right everywhere.
func languageOf(locale string) language {
	l := language{
		clock: languages["en"].clock,
		unit:  [3][2]string{{"d", "d"}, {"h", "h"}, {"min", "min"}},
		and:   " ",
	}
	for _, candidate := range nearest(locale) {
		if known, ok := languages[candidate]; ok && (candidate != "en" || strings.HasPrefix(locale, "en")) {
			l = known
			break
		}
	}
	l.regions = display.Regions(xlanguage.Make(locale))
	return l
}

// functions are those that every template of the language may use.
func (l language) functions() template.FuncMap {
	return template.FuncMap{
		"date": l.writeDate, "clock": l.writeClock, "sameday": sameDay,
		"duration": l.writeDuration, "countries": l.countries, "value": l.value,
	}
}

// value writes one side of a Change: dates, lengths and countries as the
// language has them, the rest as it is.
func (l language) value(what, text string) string {
	switch what {
	case "date":
		if day, err := time.Parse(time.DateOnly, text); err == nil {
			return l.writeDate(day)
		}
	case "interruption":
		if d, err := time.ParseDuration(text); err == nil {
			return l.writeDuration(d)
		}
	case "residency":
		return l.countries(strings.Fields(text))
	}
	return text
}

func (l language) writeDate(t time.Time) string {
	if l.date == nil {
		return t.Format(time.DateOnly)
	}
	return l.date(strings.Fields(l.days)[t.Weekday()], t.Day(), strings.Fields(l.months)[t.Month()-1], t.Year())
}

func (l language) writeClock(t time.Time) string { return l.clock(t.Hour(), t.Minute()) }

func sameDay(a, b time.Time) bool { return a.Format(time.DateOnly) == b.Format(time.DateOnly) }

// writeDuration rounds up to whole minutes: what is promised is a maximum.
func (l language) writeDuration(d time.Duration) string {
	minutes := int((d + time.Minute - 1) / time.Minute)
	var said []string
	for i, size := range []int{24 * 60, 60, 1} {
		n := minutes / size
		minutes %= size
		switch {
		case n == 1:
			said = append(said, "1\u00a0"+l.unit[i][0])
		case n > 1 || i == 2 && len(said) == 0:
			said = append(said, fmt.Sprintf("%d\u00a0%s", n, l.unit[i][1]))
		}
	}
	if last := len(said) - 1; last > 0 {
		return strings.Join(said[:last], ", ") + l.and + said[last]
	}
	return said[0]
}

// countries names regions in the language; a code that is none stays as it is.
func (l language) countries(codes []string) string {
	var names []string
	for _, code := range codes {
		region, err := xlanguage.ParseRegion(code)
		if err != nil || l.regions == nil || l.regions.Name(region) == "" {
			names = append(names, code)
			continue
		}
		names = append(names, l.regions.Name(region))
	}
	return strings.Join(names, ", ")
}
