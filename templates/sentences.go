package templates

import (
	"embed"
	"fmt"
	"strings"
	"sync"
)

// sentenceFiles hold one language each, a line `code: sentence` for every code;
// a line that begins with # is a heading.
//
//go:embed sentences/*.txt
var sentenceFiles embed.FS

// Sentence is why something did not happen, in the reader's language: the same
// words in notices and in customers' reports. What servers and drivers said is
// never among them. An unknown code is the neutral "needs-person".
func Sentence(locale, code string) string {
	if sentences()["en"][code] == "" {
		code = "needs-person"
	}
	for _, candidate := range nearest(locale) {
		if said := sentences()[candidate][code]; said != "" {
			return said
		}
	}
	return sentences()["en"][code]
}

// Codes lists the codes that Sentence knows, in alphabetical order.
func Codes() []string {
	return sortedKeys(sentences()["en"])
}

// sentences are those of each language, by code. A file that cannot be read is
// our own mistake.
var sentences = sync.OnceValue(func() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, locale := range Locales {
		text, err := sentenceFiles.ReadFile("sentences/" + locale + ".txt")
		if err != nil {
			panic(err)
		}
		all[locale] = map[string]string{}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			code, said, ok := strings.Cut(line, ": ")
			if !ok {
				panic(fmt.Sprintf("sentences/%s.txt: no code: %s", locale, line))
			}
			all[locale][code] = said
		}
	}
	return all
})
