package templates

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// check renders every letter that the hoster had a hand in against data of
// every shape: an unknown field is found only where it is reached. The built-in
// ones are proved by this package's tests.
func (s *Set) check() error {
	var keys []string
	for key, l := range s.letters {
		if l.own {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var problems []error
	said := map[string]bool{}
	for _, key := range keys {
		for _, shape := range shapes() {
			_, err := s.letters[key].render(s.layout, shape)
			if err == nil {
				continue
			}
			if !said[err.Error()] {
				said[err.Error()] = true
				problems = append(problems, err)
			}
			break
		}
	}
	return errors.Join(problems...)
}

// shapes are notices in which every condition a template can ask for is met
// and not met, in every combination.
func shapes() []Notice {
	full := sample()
	bare := Notice{Plan: full.Plan, Services: full.Services[:1], Account: full.Account, Deliver: "before", Zone: "UTC"}
	var all []Notice
	for _, base := range []Notice{full, bare} {
		for bits := range 1 << 6 {
			n := base
			n.ToUser = bits&1 != 0
			n.Temporary = bits&2 != 0
			n.WebmailFirst = bits&4 != 0
			n.Offers = bits&8 != 0
			n.NotFrozen = bits&16 != 0
			if bits&32 != 0 {
				n.Deliver = "after"
			}
			if n.ToUser {
				n.Services = nil
			}
			all = append(all, n)
		}
	}
	return all
}

func sample() Notice {
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil { // a machine without zone data
		zone = time.UTC
	}
	return Notice{
		Plan: "sample", Name: "Anna Example", Account: "anna@one.example",
		Services: []Service{{"one.example", 12, "zimbra", 2}, {"two.example", 1, "zimbra", 0}},
		Night:    time.Date(2026, 12, 2, 0, 0, 0, 0, zone),
		From:     time.Date(2026, 12, 2, 22, 0, 0, 0, zone), Until: time.Date(2026, 12, 3, 5, 0, 0, 0, zone),
		Interruption: 15 * time.Minute, Zone: "Europe/Paris", Temporary: true, Keeping: 2, Deliver: "before",
		Webmail: "https://webmail.example/", Residency: []string{"FR", "DE"},
		Links: map[string]string{
			"guide": "https://host.example/guide", "faq": "https://host.example/faq",
			"offers": "https://host.example/offers", "cancel": "https://host.example/cancel",
		},
		Contact: "migration@host.example",
		Changes: []Change{{"date", "2026-12-01", "2026-12-02"}, {"passwords", "keep", "temporary, list before"}, {"contact", "it@one.example", "office@one.example"}},
		Reason:  Sentence("en", "busy"),
		Losses:  &Losses{Kept: 48210, Converted: 3, Person: 1, Lost: 2},
	}
}

var (
	where   = regexp.MustCompile(`^(?:html/)?template: ?([^ :]+:\d+(?::\d+)?): (.*)$`)
	at      = regexp.MustCompile(`^executing "[^"]*" at (<.*?>): (.*)$`)
	inner   = regexp.MustCompile(`^error calling say: (template: ?[^ :]+:\d+.*)$`)
	noField = regexp.MustCompile(`can't evaluate field (\w+) in type \*?templates\.(\w+)`)
)

// explain turns an error of the template packages into file:line:column: text.
func explain(err error) error {
	if err == nil {
		return nil
	}
	place := where.FindStringSubmatch(err.Error())
	if place == nil {
		return err
	}
	text := place[2]
	if m := at.FindStringSubmatch(text); m != nil {
		// A sentence that fails is at fault itself, not the letter that says it.
		if deeper := inner.FindStringSubmatch(m[2]); deeper != nil {
			return explain(errors.New(deeper[1]))
		}
		text = m[1] + ": " + m[2]
	}
	if m := noField.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("there is no field %s; %s has %s", m[1], m[2], fields(m[2]))
	}
	return fmt.Errorf("%s: %s", place[1], text)
}

func fields(typeName string) string {
	types := map[string]any{"Notice": Notice{}, "Service": Service{}, "Change": Change{}, "Losses": Losses{}, "frame": frame{}}
	value, ok := types[typeName]
	if !ok {
		return "others"
	}
	var names []string
	for field := range reflect.TypeOf(value).Fields() {
		names = append(names, "."+field.Name)
	}
	return strings.Join(names, " ")
}
