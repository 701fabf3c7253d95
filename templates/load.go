package templates

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	html "html/template"
	"io/fs"
	"maps"
	"slices"
	"strings"
	text "text/template"
	"unicode/utf8"
)

//go:embed notices/*.txt notices/*.html
var builtin embed.FS

const largestFile = 256 << 10

// source is one file, built in or the hoster's.
type source struct {
	file string
	text string
	own  bool // the hoster's

	// A hoster's parts file replaces single sentences: these are below it.
	builtin string
}

// name splits NOTICE.LOCALE.txt; layout.html has no locale.
func (s source) name() (notice, locale, kind string) {
	rest, kind := cutLast(s.file)
	notice, locale = cutLast(rest)
	return notice, strings.ToLower(locale), kind
}

func cutLast(s string) (before, after string) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// read collects all files by name; the hoster's replace the built-in ones.
func read(overrides fs.FS) (map[string]source, error) {
	sources := map[string]source{}
	notices, err := fs.Sub(builtin, "notices")
	if err != nil {
		return nil, err
	}
	if err := collect(notices, false, sources); err != nil || overrides == nil {
		return sources, err
	}
	return sources, collect(overrides, true, sources)
}

func collect(folder fs.FS, own bool, into map[string]source) error {
	files, err := fs.ReadDir(folder, ".")
	if err != nil {
		return fmt.Errorf("templates: %w", err)
	}
	var problems []error
	for _, file := range files {
		s := source{file: file.Name(), own: own}
		notice, locale, kind := s.name()
		if file.IsDir() || strings.HasPrefix(s.file, ".") || kind != "txt" && kind != "html" {
			continue // a README, an editor's copy
		}
		if s.text, err = content(folder, s.file); err == nil {
			err = s.known()
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		// Once the text is the hoster's, the built-in HTML would say something else.
		if own && kind == "txt" && notice != "parts" && !into[notice+"."+locale+".html"].own {
			delete(into, notice+"."+locale+".html")
		}
		if notice == "parts" {
			s.builtin = into[strings.ToLower(s.file)].text
		}
		into[strings.ToLower(s.file)] = s
	}
	return errors.Join(problems...)
}

func content(folder fs.FS, file string) (string, error) {
	raw, err := fs.ReadFile(folder, file)
	if err != nil {
		return "", err
	}
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if len(raw) > largestFile {
		return "", fmt.Errorf("%s: larger than %d kB", file, largestFile>>10)
	}
	for i, line := range bytes.Split(raw, []byte("\n")) {
		if !utf8.Valid(line) {
			return "", fmt.Errorf("%s:%d: not UTF-8; save the file as UTF-8", file, i+1)
		}
	}
	return strings.ReplaceAll(string(raw), "\r\n", "\n"), nil
}

// known refuses a file whose name would never be looked for.
func (s source) known() error {
	notice, locale, kind := s.name()
	switch {
	case s.file == "layout.html", notice == "parts" && kind == "txt" && locale != "":
		return nil
	case locale == "":
		return fmt.Errorf("%s: no language in the name; right would be announce.fr.%s", s.file, kind)
	case !slices.Contains(Names, notice):
		return fmt.Errorf("%s: %w", s.file, unknownNotice(notice))
	case kind == "txt" && !strings.HasPrefix(s.text, "Subject: "):
		return fmt.Errorf("%s:1: does not begin with \"Subject: \", which the first line of a notice must", s.file)
	}
	return nil
}

func unknownNotice(name string) error {
	return fmt.Errorf("%q is not a notice; there are %s", name, strings.Join(Names, ", "))
}

// parse turns sources into a Set.
func parse(sources map[string]source) (*Set, error) {
	var problems []error
	layout, err := html.New("layout.html").Option("missingkey=error").Parse(sources["layout.html"].text)
	if err != nil {
		problems = append(problems, explain(err))
	}
	set := &Set{letters: map[string]*letter{}, layout: layout}
	phrases := map[string]*parts{}
	for _, key := range sortedKeys(sources) {
		s := sources[key]
		if notice, locale, _ := s.name(); notice == "parts" {
			p, err := newParts(s, locale)
			if err != nil {
				problems = append(problems, err)
			}
			phrases[locale] = p
		}
	}
	for _, key := range sortedKeys(sources) {
		s := sources[key]
		notice, locale, kind := s.name()
		if kind != "txt" || notice == "parts" {
			continue
		}
		page, paired := sources[notice+"."+locale+".html"]
		l, err := newLetter(s, page, paired, phrasesFor(phrases, locale))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		l.own = s.own || page.own || sources["parts."+locale+".txt"].own || sources["layout.html"].own
		set.letters[notice+"."+locale] = l
	}
	for _, key := range sortedKeys(sources) {
		notice, locale, kind := sources[key].name()
		if _, ok := sources[notice+"."+locale+".txt"]; kind == "html" && locale != "" && !ok {
			problems = append(problems, fmt.Errorf("%s: has no %s.%s.txt beside it, where the subject stands", sources[key].file, notice, locale))
		}
	}
	return set, errors.Join(problems...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// phrasesFor returns the parts for locale or the nearest language that has any.
func phrasesFor(all map[string]*parts, locale string) *parts {
	for _, candidate := range nearest(locale) {
		if p := all[candidate]; p != nil {
			if candidate == locale {
				return p
			}
			return &parts{set: p.set, language: languageOf(locale)}
		}
	}
	return &parts{set: text.New("parts"), language: languageOf(locale)}
}
