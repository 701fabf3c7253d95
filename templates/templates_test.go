package templates_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"godwit/templates"
)

var update = flag.Bool("update", false, "write the golden files")

func load(t *testing.T, overrides fs.FS) *templates.Set {
	t.Helper()
	set, err := templates.Load(overrides)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func notice() templates.Notice {
	paris := time.FixedZone("CET", 3600)
	return templates.Notice{
		Plan: "mxplan", Name: "Anna Weiß", Account: "anna@one.example",
		Services:     []templates.Service{{Name: "one.example", Accounts: 12, Target: "zimbra", Skipped: 2}},
		Night:        time.Date(2026, 12, 2, 0, 0, 0, 0, paris),
		From:         time.Date(2026, 12, 2, 22, 0, 0, 0, paris),
		Until:        time.Date(2026, 12, 3, 5, 0, 0, 0, paris),
		Interruption: 15 * time.Minute, Zone: "Europe/Paris",
		Temporary: true, Deliver: "before", Webmail: "https://webmail.new.example/", WebmailFirst: true,
		Residency: []string{"FR"}, Offers: true, Contact: "migration@host.example",
		Losses: &templates.Losses{Kept: 48210, Converted: 3, Person: 1, Lost: 2},
		Links: map[string]string{
			"guide": "https://host.example/guide", "faq": "https://host.example/faq",
			"offers": "https://host.example/offers", "cancel": "https://host.example/cancel",
		},
	}
}

// shapes are notices with each condition met and not met, one at a time.
func shapes() map[string]templates.Notice {
	all := map[string]templates.Notice{"full": notice(), "bare": {
		Plan: "p", Services: []templates.Service{{Name: "one.example", Accounts: 1}}, Night: notice().Night,
	}}
	vary := map[string]func(*templates.Notice){
		"user":              func(n *templates.Notice) { n.ToUser, n.Services = true, nil },
		"user keeping":      func(n *templates.Notice) { n.ToUser, n.Temporary = true, false },
		"passwords kept":    func(n *templates.Notice) { n.Temporary = false },
		"list after":        func(n *templates.Notice) { n.Deliver = "after" },
		"clients any time":  func(n *templates.Notice) { n.WebmailFirst = false },
		"no residency":      func(n *templates.Notice) { n.Residency = nil },
		"two countries":     func(n *templates.Notice) { n.Residency = []string{"FR", "DE"} },
		"no links":          func(n *templates.Notice) { n.Links = nil },
		"not frozen":        func(n *templates.Notice) { n.NotFrozen = true },
		"a single day":      func(n *templates.Notice) { n.Until = n.From.Add(time.Hour) },
		"no new date":       func(n *templates.Notice) { n.Night, n.From, n.Until = time.Time{}, time.Time{}, time.Time{} },
		"reason and change": func(n *templates.Notice) { n.Reason = "Because."; n.Changes = []templates.Change{{"Date", "1", "2"}} },
		"many services": func(n *templates.Notice) {
			n.Services = append(n.Services, templates.Service{Name: "two.example", Accounts: 1, Skipped: 1})
		},
	}
	for name, change := range vary {
		n := notice()
		change(&n)
		all[name] = n
	}
	return all
}

func TestEveryNoticeRendersInEveryLanguageAndShape(t *testing.T) {
	set := load(t, nil)
	for _, name := range templates.Names {
		for _, locale := range templates.Locales {
			for shape, data := range shapes() {
				t.Run(name+"/"+locale+"/"+shape, func(t *testing.T) {
					got, err := set.Render(name, locale, data)
					if data.Night.IsZero() && (name == "announce" || name == "remind" || name == "changed") {
						if err == nil {
							t.Error("a notice without its date must not go out")
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					if got.Locale != locale || got.Subject == "" || strings.ContainsAny(got.Subject, "\r\n") {
						t.Errorf("locale %q, subject %q", got.Locale, got.Subject)
					}
					for _, bad := range []string{"<no value>", "%!", "{{", "ZgotmplZ", "January 1 ", "janvier 1 ", "Januar 1 ", "Subject:"} {
						if strings.Contains(got.Text, bad) || strings.Contains(got.HTML, bad) {
							t.Errorf("has %q:\n%s", bad, got.Text)
						}
					}
					if strings.Contains(got.Text, "\n\n\n") || strings.Contains(got.Text, " \n") || strings.HasPrefix(got.Text, "\n") {
						t.Errorf("is untidy:\n%q", got.Text)
					}
					for line := range strings.SplitSeq(got.Text, "\n") {
						if utf8.RuneCountInString(line) > 78 && strings.Contains(strings.TrimLeft(line, " -"), " ") {
							t.Errorf("a line of %d columns: %q", utf8.RuneCountInString(line), line)
						}
					}
					balanced(t, got.HTML)
				})
			}
		}
	}
}

// balanced fails unless every tag that opens is closed, in order.
func balanced(t *testing.T, page string) {
	t.Helper()
	void := map[string]bool{"meta": true, "br": true, "hr": true}
	var open []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
			return
		case html.StartTagToken:
			name, _ := z.TagName()
			switch tag := string(name); {
			case tag == "img" || tag == "script" || tag == "link" || tag == "iframe":
				t.Errorf("a notice loads nothing, but has <%s>", tag)
			case !void[tag]:
				open = append(open, tag)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Fatalf("</%s> closes %v", name, open)
			}
			open = open[:len(open)-1]
		}
	}
}

func TestWhatANoticeMustSay(t *testing.T) {
	set := load(t, nil)
	kept := notice()
	kept.Temporary = false
	after := notice()
	after.Deliver = "after"
	bare := notice()
	bare.Links, bare.Offers, bare.Residency = nil, false, nil
	user := notice()
	user.ToUser = true
	tests := map[string]struct {
		notice, locale string
		data           templates.Notice
		want, not      []string
	}{
		"announce names night, length, offers and country": {
			"announce", "en", notice(),
			[]string{
				"Wednesday 2 December 2026, 22:00", "Thursday 3 December 2026, 05:00", "15 minutes", "Before the move, nothing:", "webmail first", "never by e-mail",
				"contract, the price and the service level", "France", "cannot be refused", "https://host.example/offers", "https://host.example/cancel", "minor functions", "never ask for your password",
			},
			nil,
		},
		"announce in French": {
			"announce", "fr", notice(),
			[]string{"mercredi 2 décembre 2026 à 22 h", "15 minutes", "d’abord le webmail", "jamais par e-mail", "France", "ne peut pas être refusé", "Avant le transfert, rien :"},
			nil,
		},
		"announce in German": {
			"announce", "de", notice(),
			[]string{"Mittwoch, 2. Dezember 2026, 22:00 Uhr", "15 Minuten", "erst das Webmail", "Frankreich", "kann nicht abgelehnt werden", "niemals per E-Mail"},
			nil,
		},
		"kept passwords are said to be kept":          {"announce", "en", kept, []string{"All passwords stay the same.", "Nothing: we copy"}, []string{"temporary", "webmail first"}},
		"the list comes after, where so promised":     {"announce", "en", after, []string{"list of temporary passwords to you after the move"}, []string{"last notice before"}},
		"no offer, way out or country is invented":    {"announce", "en", bare, []string{"cannot be refused."}, []string{"cancel", "offers", "country"}},
		"a user is not told about the contract":       {"announce", "en", user, []string{"Your mailbox anna@one.example", "one login only"}, []string{"contract", "refused", "one.example:", "hand over"}},
		"done asks for the first login":               {"done", "de", notice(), []string{"Ab sofort gelten die vorläufigen Passwörter"}, nil},
		"after a rollback the old passwords are back": {"rolled-back", "fr", notice(), []string{"sont de nouveau valables"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := set.Render(tt.notice, tt.locale, tt.data)
			if err != nil {
				t.Fatal(err)
			}
			text, page := flat(got.Text), flat(textOf(t, got.HTML))
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("the text lacks %q:\n%s", want, got.Text)
				}
				if !strings.Contains(page, want) && !strings.Contains(got.HTML, want) {
					t.Errorf("the HTML lacks %q", want)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(text, not) || strings.Contains(page, not) {
					t.Errorf("says %q:\n%s", not, got.Text)
				}
			}
		})
	}
}

// flat puts text on one line, with plain spaces.
func flat(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "\u00a0", " ")), " ")
}

func textOf(t *testing.T, page string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			out.WriteString(n.Data)
		}
	}
	return out.String()
}

func TestNamesCannotBecomeMarkupOrLines(t *testing.T) {
	data := notice()
	data.Name = "<script>alert(1)</script>\r\nBcc: eve@evil.example"
	data.Services = []templates.Service{{Name: "<b>one</b>\nSubject: two\u202e", Accounts: 1}}
	data.Webmail = "javascript:alert(1)"
	data.Links = map[string]string{"guide": "javascript:alert(1)", "offers": `https://x.example/"><img src=y>`}
	set := load(t, nil)
	for _, name := range templates.Names {
		for _, locale := range templates.Locales {
			got, err := set.Render(name, locale, data)
			if err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(got.Subject, "\r\n\u202e") || strings.Contains(got.Text, "\nBcc:") || strings.Contains(got.Text, "\nSubject:") {
				t.Errorf("%s.%s: a name broke the line: %q\n%s", name, locale, got.Subject, got.Text)
			}
			balanced(t, got.HTML)
			for _, bad := range []string{"<script", "<b>", `href="javascript`, "<img"} {
				if strings.Contains(got.HTML, bad) {
					t.Errorf("%s.%s: HTML has %s", name, locale, bad)
				}
			}
		}
	}
}

func TestLocaleFallsBack(t *testing.T) {
	swedish := fstest.MapFS{"announce.sv.txt": {Data: []byte("Subject: Flytt {{date .Night}}\nHej {{.Name}}, {{duration .Interruption}}, {{countries .Residency}}\n")}}
	tests := map[string]struct {
		overrides fs.FS
		notice    string
		locale    string
		want      string
	}{
		"exact":                             {nil, "announce", "de", "de"},
		"a region falls back":               {nil, "announce", "fr-CA", "fr"},
		"case and underscore do not matter": {nil, "announce", "DE_at", "de"},
		"an unknown language is English":    {nil, "announce", "xx", "en"},
		"none is English":                   {nil, "announce", "", "en"},
		"the hoster's own language":         {swedish, "announce", "sv-SE", "sv"},
		"its missing notices are English":   {swedish, "done", "sv", "en"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := load(t, tt.overrides).Render(tt.notice, tt.locale, notice())
			if err != nil || got.Locale != tt.want {
				t.Errorf("got %q, %v; want %q", got.Locale, err, tt.want)
			}
			if tt.want == "sv" && (got.Subject != "Flytt 2026-12-02" || !strings.Contains(flat(got.Text), "15 min, Frankrike")) {
				t.Errorf("got %q\n%s", got.Subject, got.Text)
			}
		})
	}
	if _, err := load(t, nil).Render("anounce", "en", notice()); err == nil || !strings.Contains(err.Error(), `"anounce" is not a notice; there are announce,`) {
		t.Errorf("got %v", err)
	}
}

func TestOverridesReplaceByName(t *testing.T) {
	own := fstest.MapFS{
		"announce.en.txt": {Data: []byte("\ufeffSubject: Hi {{.Name}}\r\n\r\nWe move <you> to {{.Webmail}}.\r\n{{say \"safe\" .}}\r\n")},
		"done.fr.html":    {Data: []byte("<p>Fini, {{.Name}}</p>")},
		"layout.html":     {Data: []byte("<html lang=\"{{.Locale}}\"><title>{{.Subject}}</title><body>OURS {{.Body}}</body></html>")},
		"parts.de.txt":    {Data: []byte("{{define \"bye\"}}Ihr Beispielhoster{{end}}")},
		"README.md":       {Data: []byte("not a template")},
	}
	set := load(t, own)
	got, err := set.Render("announce", "en", notice())
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "Hi Anna Weiß" || !strings.HasPrefix(got.Text, "We move <you> to https://webmail.new.example/.\nWe never ask") {
		t.Errorf("got %q\n%s", got.Subject, got.Text)
	}
	if !strings.Contains(got.HTML, `We move &lt;you&gt; to <a href="https://webmail.new.example/">`) || strings.Contains(got.HTML, "contract") {
		t.Errorf("the HTML must be made from the hoster's text:\n%s", got.HTML)
	}
	german, err := set.Render("remind", "de", notice())
	if err != nil || !strings.HasSuffix(german.Text, "Ihr Beispielhoster\n") || !strings.HasPrefix(german.Text, "Guten Tag") {
		t.Errorf("one sentence is replaced, the others stay: %v\n%s", err, german.Text)
	}
	done, err := set.Render("done", "fr", notice())
	if err != nil || !strings.Contains(done.HTML, "OURS <p>Fini, Anna Weiß</p>") || !strings.Contains(done.Text, "Bonjour") {
		t.Errorf("%v\n%s", err, done.HTML)
	}
}

func TestABadOverrideIsNamedWithItsLine(t *testing.T) {
	tests := map[string]struct{ file, text, want string }{
		"an unknown field":            {"announce.fr.txt", "Subject: a\n\n{{.Pasword}}\n", "announce.fr.txt:3:2: there is no field Pasword; Notice has .Plan"},
		"one in a rare condition":     {"remind.en.txt", "Subject: a\n{{if and .ToUser .Temporary (not .WebmailFirst) (eq .Deliver \"after\")}}{{.Nope}}{{end}}", "remind.en.txt:2:"},
		"one in a service":            {"done.de.html", "<ul>\n{{range .Services}}<li>{{.Title}}</li>{{end}}</ul>", "done.de.html:2:"},
		"a field of the layout":       {"layout.html", "<p>\n{{.Title}}</p>", "layout.html:2:2: there is no field Title; frame has .Subject .Locale .Body"},
		"in a shared sentence":        {"parts.en.txt", "{{define \"hello\"}}\n{{.Nom}}{{end}}", "parts.en.txt:2:2: there is no field Nom"},
		"an unknown function":         {"announce.en.txt", "Subject: a\n{{exec \"rm\"}}", `announce.en.txt:2: function "exec" not defined`},
		"a sentence saying itself":    {"parts.en.txt", "{{define \"a\"}}\n{{say \"a\" .}}{{end}}", `parts.en.txt:2: function "say" not defined`},
		"an unknown sentence":         {"announce.en.txt", "Subject: a\n{{say \"helo\" .}}", `there is no sentence "helo"`},
		"a missing link":              {"announce.en.txt", "Subject: a\n{{.Links.shop}}", `announce.en.txt:2:8: <.Links.shop>: map has no entry for key "shop"`},
		"an unclosed condition":       {"announce.en.txt", "Subject: a\n{{if .ToUser}}", "announce.en.txt:2: unexpected EOF"},
		"no subject":                  {"announce.en.txt", "Hello\n", `announce.en.txt:1: does not begin with "Subject: "`},
		"an empty subject":            {"announce.en.txt", "Subject: {{if .ToUser}}x{{end}}\nHello\n", "announce.en.txt:1: the subject is empty"},
		"a misspelt notice":           {"anounce.en.txt", "Subject: a\n", `anounce.en.txt: "anounce" is not a notice; there are announce,`},
		"no language":                 {"announce.txt", "Subject: a\n", "announce.txt: no language in the name; right would be announce.fr.txt"},
		"Latin-1":                     {"announce.fr.txt", "Subject: a\nd\xe9j\xe0\n", "announce.fr.txt:2: not UTF-8"},
		"an endless range":            {"announce.en.txt", "Subject: a\n{{range 2000000000}}xxxxxxxxxxxxxxxx{{end}}", "grows beyond 256 kB"},
		"HTML that cannot be escaped": {"announce.en.html", "<p>\n<a href='{{if .ToUser}}\">{{end}}", "announce.en.html:"},
		"HTML without its text":       {"announce.sv.html", "<p>a</p>", "announce.sv.html: has no announce.sv.txt beside it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := templates.Load(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	both := fstest.MapFS{"announce.fr.txt": {Data: []byte("Subject: {{.A}}")}, "done.de.txt": {Data: []byte("Subject: {{.B}}")}}
	if _, err := templates.Load(both); err == nil || !strings.Contains(err.Error(), "announce.fr.txt:1:") || !strings.Contains(err.Error(), "done.de.txt:1:") {
		t.Errorf("all problems are reported in one go; got %v", err)
	}
}

// Every command that runs a plan loads the templates: 8 ms measured.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := templates.Load(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	set := load(t, nil)
	t.Run("group", func(t *testing.T) {
		for i := range 8 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for _, name := range templates.Names {
					if _, err := set.Render(name, templates.Locales[i%3], notice()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	})
}

func TestGolden(t *testing.T) {
	set := load(t, nil)
	user := notice()
	user.ToUser, user.Services = true, nil
	for _, locale := range templates.Locales {
		for file, data := range map[string]templates.Notice{"announce." + locale: notice(), "announce-user." + locale: user} {
			got, err := set.Render("announce", locale, data)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+".txt", "Subject: "+got.Subject+"\n\n"+got.Text)
			golden(t, file+".html", got.HTML)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, []byte(got)) {
		t.Errorf("%s (-want +got, rewrite with -update):\n%s", path, cmp.Diff(string(want), got))
	}
}

func TestChangesAreSaidInTheReadersLanguage(t *testing.T) {
	changes := []templates.Change{
		{What: "date", Was: "2026-12-02", Is: "2026-12-09"},
		{What: "window", Was: "22:00-05:00", Is: "21:00-05:00"},
		{What: "interruption", Was: "15m0s", Is: "30m0s"},
		{What: "passwords", Was: "keep", Is: "temporary, list before"},
		{What: "contact", Was: "-", Is: "it@one.example"},
		{What: "residency", Was: "FR", Is: "FR DE"},
	}
	want := map[string][]string{
		"en": {"New night: Wednesday 9\u00a0December 2026 (before: Wednesday 2\u00a0December 2026).", "Time of night: 21:00-05:00 (before: 22:00-05:00).", "30\u00a0minutes", "given a temporary one", "it@one.example.", "France, Germany"},
		"fr": {"Nouvelle nuit : mercredi 9\u00a0décembre 2026 (auparavant : mercredi 2\u00a0décembre 2026).", "30\u00a0minutes", "un provisoire", "France, Allemagne"},
		"de": {"Neue Nacht: Mittwoch, 9.\u00a0Dezember 2026 (bisher: Mittwoch, 2.\u00a0Dezember 2026).", "30\u00a0Minuten", "ein vorläufiges", "Frankreich, Deutschland"},
	}
	set := load(t, nil)
	for locale, sentences := range want {
		data := notice()
		data.Changes = changes
		got, err := set.Render("changed", locale, data)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(strings.ReplaceAll(got.Text, "\u00a0", "_")), " ")
		for _, s := range sentences {
			if !strings.Contains(text, strings.ReplaceAll(s, "\u00a0", "_")) {
				t.Errorf("%s does not say %q:\n%s", locale, s, got.Text)
			}
		}
	}
}
