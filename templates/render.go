package templates

import (
	"bytes"
	"errors"
	"fmt"
	html "html/template"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	text "text/template"
	"unicode"
)

const largestOutput = 256 << 10

var errTooLong = fmt.Errorf("the notice grows beyond %d kB; is there an endless range?", largestOutput>>10)

// parts are the sentences of one language that notices share.
type parts struct {
	set      *text.Template
	language language
}

func newParts(s source, locale string) (*parts, error) {
	p := &parts{language: languageOf(locale)}
	// Without say: a part that says itself would never end.
	p.set = text.New("built-in").Option("missingkey=error").Funcs(p.language.functions())
	if _, err := p.set.Parse(s.builtin); err != nil {
		return p, explain(err)
	}
	_, err := p.set.New(s.file).Parse(s.text)
	return p, explain(err)
}

// say fills one sentence with a Notice, or with one of its services or changes.
func (p *parts) say(name string, data any) (string, error) {
	if p.set.Lookup(name) == nil {
		return "", fmt.Errorf("there is no sentence %q in the language's parts file", name)
	}
	var out limited
	if err := p.set.ExecuteTemplate(&out, name, data); err != nil {
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

// letter is one notice in one language.
type letter struct {
	locale  string
	own     bool // the hoster had a hand in it
	text    *text.Template
	page    *html.Template // nil: made from the text
	phrases *parts
}

func newLetter(s, page source, paired bool, phrases *parts) (*letter, error) {
	_, locale, _ := s.name()
	l := &letter{locale: locale, phrases: phrases}
	functions := phrases.language.functions()
	functions["say"] = phrases.say
	var err, pageErr error
	l.text, err = text.New(s.file).Option("missingkey=error").Funcs(functions).Parse(s.text)
	if paired {
		functions := phrases.language.functions()
		functions["say"] = func(name string, data any) (html.HTML, error) {
			sentence, err := phrases.say(name, data)
			whole, _ := data.(Notice)
			return linked(sentence, whole), err
		}
		l.page, pageErr = html.New(page.file).Option("missingkey=error").Funcs(functions).Parse(page.text)
	}
	return l, errors.Join(explain(err), explain(pageErr))
}

// frame is what layout.html may use.
type frame struct {
	Subject, Locale string
	Body            html.HTML
}

func (l *letter) render(layout *html.Template, data Notice) (Rendered, error) {
	data = clean(data)
	var raw limited
	if err := l.text.Execute(&raw, data); err != nil {
		return Rendered{}, explain(err)
	}
	subject, body, _ := strings.Cut(raw.String(), "\n")
	subject = strings.TrimSpace(strings.TrimPrefix(subject, "Subject:"))
	if subject == "" {
		return Rendered{}, fmt.Errorf("%s:1: the subject is empty", l.text.Name())
	}
	body = tidy(body)

	var inner, page limited
	if l.page == nil {
		fmt.Fprintf(&inner, `<div style="white-space: pre-line">%s</div>`, linked(body, data))
	} else if err := l.page.Execute(&inner, data); err != nil {
		return Rendered{}, explain(err)
	}
	whole := html.HTML(inner.String()) //nolint:gosec // a template or linked made it, and escaped what is data
	if err := layout.Execute(&page, frame{subject, l.locale, whole}); err != nil {
		return Rendered{}, explain(err)
	}
	return Rendered{Subject: subject, Text: wrap(body), HTML: page.String(), Locale: l.locale}, nil
}

// linked escapes text and makes links of the plan's own addresses in it, and of
// no others: names come from customers.
func linked(sentence string, data Notice) html.HTML {
	escaped := html.HTMLEscapeString(sentence)
	known := slices.Compact(slices.Sorted(maps.Values(data.Links)))
	for _, address := range append(known, data.Webmail) {
		if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
			continue
		}
		address = html.HTMLEscapeString(address)
		if !strings.Contains(escaped, address) {
			continue
		}
		whole := regexp.MustCompile(regexp.QuoteMeta(address) + `([\s,.;)]|$)`)
		escaped = whole.ReplaceAllString(escaped, `<a href="`+strings.ReplaceAll(address, "$", "$$")+`">`+strings.ReplaceAll(address, "$", "$$")+`</a>$1`)
	}
	return html.HTML(escaped) //nolint:gosec // escaped above
}

// clean takes line breaks and other controls out of the data, so that no name
// can begin a line of its own, and gives the map its usual keys.
func clean(n Notice) Notice {
	for _, s := range []*string{&n.Plan, &n.Account, &n.Name, &n.Zone, &n.Deliver, &n.Webmail, &n.Contact, &n.Reason} {
		*s = oneLine(*s)
	}
	n.Services = slices.Clone(n.Services)
	for i, s := range n.Services {
		n.Services[i].Name, n.Services[i].Target = oneLine(s.Name), oneLine(s.Target)
	}
	n.Changes = slices.Clone(n.Changes)
	for i, c := range n.Changes {
		n.Changes[i] = Change{oneLine(c.What), oneLine(c.Was), oneLine(c.Is)}
	}
	links := map[string]string{"guide": "", "faq": "", "offers": "", "cancel": ""}
	for key, value := range n.Links {
		links[key] = oneLine(value)
	}
	n.Links = links
	return n
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return ' '
		case unicode.Is(unicode.Cf, r): // bidi and zero-width
			return -1
		}
		return r
	}, s)
}

// limited is a writer that stops a template which would go on for ever.
type limited struct{ bytes.Buffer }

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > largestOutput {
		return 0, errTooLong
	}
	return l.Buffer.Write(b)
}
