package plans

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/go-multierror"
)

// Pos is a place in a file. Column 0 means the whole line, line 0 the whole
// file.
type Pos struct {
	File         string
	Line, Column int
}

func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing wrong with a plan or a list, at the place to put it
// right.
type Problem struct {
	Pos  Pos
	Text string
}

func (p Problem) Error() string { return p.Pos.String() + ": " + p.Text }

const (
	shownPerFile = 50   // more are only counted
	keptPerFile  = 2000 // a list of a million wrong rows must not fill memory
)

// problems collects what is wrong, file by file in the order the files were
// opened.
type problems struct {
	files []string
	found map[string][]Problem
	lost  map[string]int // beyond keptPerFile
}

func (ps *problems) add(pos Pos, format string, args ...any) {
	if ps.found == nil {
		ps.found, ps.lost = map[string][]Problem{}, map[string]int{}
	}
	if _, ok := ps.found[pos.File]; !ok {
		ps.files = append(ps.files, pos.File)
	}
	if len(ps.found[pos.File]) >= keptPerFile {
		ps.lost[pos.File]++
		return
	}
	ps.found[pos.File] = append(ps.found[pos.File], Problem{pos, fmt.Sprintf(format, args...)})
}

// err is all problems in file order, or nil. Problems said twice in the same
// words at the same place are said once.
func (ps *problems) err() error {
	var all *multierror.Error
	for _, file := range ps.files {
		found := ps.found[file]
		slices.SortStableFunc(found, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
		})
		found = slices.Compact(found)
		more := ps.lost[file]
		if len(found) > shownPerFile {
			more += len(found) - shownPerFile
			found = found[:shownPerFile]
		}
		for _, p := range found {
			all = multierror.Append(all, p)
		}
		if more > 0 {
			all = multierror.Append(all, Problem{Pos{File: file}, fmt.Sprintf("and %d more", more)})
		}
	}
	if all == nil {
		return nil
	}
	all.ErrorFormat = lines
	return all
}

// lines prints one problem a line, as compilers do.
func lines(errs []error) string {
	var b strings.Builder
	for i, err := range errs {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// shown quotes what a hoster wrote, cut and made printable. What may hold a
// secret is not shown.
func shown(value string) string {
	if mayHoldSecret(value) {
		return "[secret]"
	}
	if utf8.RuneCountInString(value) > 60 {
		value = string([]rune(value)[:60]) + "…"
	}
	return strconv.QuoteToGraphic(value)
}

// mayHoldSecret recognises what people paste in the wrong place: addresses
// with a password in them, private keys.
func mayHoldSecret(value string) bool {
	if strings.Contains(strings.ToUpper(value), "AGE-SECRET-KEY") || strings.Contains(value, "PRIVATE KEY") {
		return true
	}
	if _, rest, ok := strings.Cut(value, "://"); ok && strings.Contains(rest, "@") {
		return true
	}
	user, _, ok := strings.Cut(value, "@")
	return ok && strings.Contains(user, ":")
}

// didYouMean is `; did you mean "freeze"?` for the word nearest to what was
// written, or nothing where none is near.
func didYouMean(written string, words []string) string {
	best, distance := "", 1+len(written)/3
	for _, word := range words {
		if len(written) > 2 && strings.HasPrefix(word, strings.ToLower(written)) {
			return "; did you mean " + strconv.Quote(word) + "?"
		}
	}
	for _, word := range words {
		if d := editDistance(strings.ToLower(written), word); d <= distance && (best == "" || d < distance) {
			best, distance = word, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + strconv.Quote(best) + "?"
}

// editDistance counts letters added, left out, changed or swapped.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
