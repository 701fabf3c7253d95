package templates_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"godwit/templates"
)

func TestWrittenInTheLanguage(t *testing.T) {
	at := func(month time.Month, day, hour, minute int) time.Time {
		return time.Date(2026, month, day, hour, minute, 0, 0, time.UTC)
	}
	tests := map[string]struct {
		locale string
		when   time.Time
		length time.Duration
		region string
		want   string
	}{
		"English":                {"en", at(1, 1, 0, 5), 90 * time.Minute, "DE", "Thursday 1 January 2026|00:05|1 hour and 30 minutes|Germany"},
		"French, the first":      {"fr", at(8, 1, 9, 5), 61 * time.Minute, "DE", "samedi 1er août 2026|9 h 05|1 heure et 1 minute|Allemagne"},
		"French, a full hour":    {"fr", at(2, 28, 22, 0), time.Minute, "CH", "samedi 28 février 2026|22 h|1 minute|Suisse"},
		"German":                 {"de", at(3, 31, 7, 30), 49 * time.Hour, "FR", "Dienstag, 31. März 2026|7:30 Uhr|2 Tagen und 1 Stunde|Frankreich"},
		"Spanish":                {"es", at(5, 1, 7, 30), 49 * time.Hour, "FR", "viernes 1 de mayo de 2026|7:30|2 días y 1 hora|Francia"},
		"Italian, the first":     {"it", at(5, 1, 0, 0), 2 * time.Minute, "DE", "venerdì 1º maggio 2026|0:00|2 minuti|Germania"},
		"Portuguese":             {"pt", at(12, 2, 22, 0), 61 * time.Minute, "DE", "quarta-feira, 2 de dezembro de 2026|22:00|1 hora e 1 minuto|Alemanha"},
		"Dutch":                  {"nl", at(12, 2, 22, 0), 15 * time.Minute, "FR", "woensdag 2 december 2026|22:00 uur|15 minuten|Frankrijk"},
		"Polish":                 {"pl", at(12, 2, 22, 0), 26 * time.Hour, "FR", "środa, 2 grudnia 2026|22:00|1 dzień i 2 godz.|Francja"},
		"seconds are rounded up": {"en", at(7, 4, 23, 59), 61 * time.Second, "Mars", "Saturday 4 July 2026|23:59|2 minutes|Mars"},
		"none at all":            {"en", at(7, 4, 23, 59), 0, "FR", "Saturday 4 July 2026|23:59|0 minutes|France"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set := load(t, fstest.MapFS{"done." + tt.locale + ".txt": {Data: []byte("Subject: a{{with .From}}\n{{date .}}|{{clock .}}{{end}}|{{duration .Interruption}}|{{countries .Residency}}")}})
			got, err := set.Render("done", tt.locale, templates.Notice{From: tt.when, Interruption: tt.length, Residency: []string{tt.region}})
			if err != nil || flat(got.Text) != tt.want {
				t.Errorf("got %q, %v; want %q", flat(got.Text), err, tt.want)
			}
		})
	}
}

func TestSentences(t *testing.T) {
	named := strings.Fields(`source-unreachable target-unreachable login-source login-target busy over-quota interrupted too-long not-frozen
		verify-failed notice-failed notice-late other-offer cancelled-by-customer held-by-operator needs-person deletions too-large refused
		unreadable excluded not-mail folder-refused folder-renamed keyword-dropped altered removed ambiguous internal`)
	neutral := templates.Sentence("en", "needs-person")
	for _, code := range named {
		seen := map[string]string{}
		for _, locale := range templates.Locales {
			said := templates.Sentence(locale, code)
			if !strings.HasSuffix(said, ".") || strings.ContainsAny(said, "\r\n\t") || strings.ContainsAny(said[:1], "=+-@") {
				t.Errorf("%s in %s is no plain sentence: %q", code, locale, said)
			}
			if other, ok := seen[said]; ok {
				t.Errorf("%s: %s and %s say the same", code, locale, other)
			}
			seen[said] = locale
		}
		if code != "needs-person" && templates.Sentence("en", code) == neutral {
			t.Errorf("%s has no sentence", code)
		}
	}
	if got := templates.Codes(); len(got) < len(named) {
		t.Errorf("%d codes, want %d", len(got), len(named))
	}
	if templates.Sentence("en", "constructor") != neutral || templates.Sentence("xx", "busy") != templates.Sentence("en", "busy") || templates.Sentence("fr-CA", "busy") != templates.Sentence("fr", "busy") {
		t.Error("an unknown code is neutral, an unknown language English, a region its language")
	}
}
