package plans

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
)

// Limits of lists. More is never a list but a mistake or an attack.
const (
	listLimit   = 64 << 20
	lineLimit   = 64 << 10
	columnLimit = 64
	cellLimit   = 4 << 10
)

// loadLists reads every batch's list and then looks across them.
func (d *decoder) loadLists(digest hash.Hash) {
	cross := newAcross(d)
	read := map[string]bool{}
	for i, b := range d.plan.Batches {
		path := fmt.Sprintf("batches[%d].accounts", i)
		if !d.good(path) || read[b.Accounts] {
			continue
		}
		read[b.Accounts] = true
		l := &list{batch: b, plan: d.plan, file: filepath.Join(filepath.Dir(d.file), b.Accounts)}
		info, ok := d.readList(path, l, digest)
		if !ok {
			continue
		}
		l.literals = strings.HasSuffix(b.Accounts, ".age") || info.Mode().Perm()&0o077 == 0
		b.list = l
		checker := &rowChecker{decoder: d, list: l, mode: info.Mode().Perm(), across: cross, batch: uint32(i)}
		checker.check()
	}
	cross.doubles()
	d.namedServices(cross.services)
}

// readList takes a list's text, if it can be a list at all.
func (d *decoder) readList(path string, l *list, digest hash.Hash) (fs.FileInfo, bool) {
	name := l.batch.Accounts
	refuse := func(format string, args ...any) (fs.FileInfo, bool) {
		d.wrong(path, "accounts: %s: %s", shown(name), fmt.Sprintf(format, args...))
		return nil, false
	}
	info, err := d.plan.Root.Stat(name)
	switch {
	case err != nil:
		return refuse("%s", pathFault(err))
	case info.IsDir():
		return refuse("it is a folder; name the CSV file in it")
	case !info.Mode().IsRegular():
		return refuse("it is not a regular file")
	case info.Size() > listLimit:
		return refuse("it is larger than 64 MiB; split the batch")
	}
	f, err := d.plan.Root.Open(name)
	if err != nil {
		return refuse("%s", pathFault(err))
	}
	defer f.Close()
	fmt.Fprintf(digest, "list %s %d\n", name, info.Size())
	raw := io.TeeReader(io.LimitReader(f, listLimit+1), digest)
	if strings.HasSuffix(name, ".age") {
		if raw, err = decrypt(raw); err != nil {
			return refuse("%s", err)
		}
	}
	var text strings.Builder
	text.Grow(int(info.Size()))
	if _, err := io.Copy(&text, io.LimitReader(raw, listLimit+1)); err != nil {
		return refuse("%s", cause(err))
	}
	if text.Len() > listLimit {
		return refuse("it is larger than 64 MiB; split the batch")
	}
	l.text = text.String()
	if line, why := badBytes(l.text); why != "" {
		d.add(Pos{File: l.file, Line: line}, "%s", why)
		return nil, false
	}
	return info, true
}

// decrypt opens an age file with the identity that GODWIT_IDENTITY names.
func decrypt(from io.Reader) (io.Reader, error) {
	file := os.Getenv("GODWIT_IDENTITY")
	if file == "" {
		return nil, errors.New("it is an age file; set GODWIT_IDENTITY to the identity file that opens it")
	}
	data, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the identity file that GODWIT_IDENTITY names cannot be read: %s", cause(err))
	}
	defer data.Close()
	identities, err := age.ParseIdentities(io.LimitReader(data, 1<<20))
	if err != nil {
		// The library's words may quote the file.
		return nil, errors.New("the file that GODWIT_IDENTITY names holds no age identity")
	}
	plain, err := age.Decrypt(from, identities...)
	var none *age.NoIdentityMatchError
	switch {
	case errors.As(err, &none):
		return nil, errors.New("no identity in the file that GODWIT_IDENTITY names opens it")
	case err != nil:
		return nil, errors.New("it is not an age file")
	}
	return plain, nil
}

// header reads the first line: delimiter, columns, and where the rows begin.
func (c *rowChecker) header() (rest int, line uint32, ok bool) {
	l := c.list
	offset := 0
	if strings.HasPrefix(l.text, "\ufeff") {
		offset = len("\ufeff")
	}
	line = 1
	for offset < len(l.text) && strings.Trim(lineAt(l.text, offset), " ") == "" {
		offset, line = nextLine(l.text, offset), line+1
	}
	if offset >= len(l.text) {
		c.at(1, "the list is empty; its first line names the columns: service,account")
		return 0, 0, false
	}
	head := lineAt(l.text, offset)
	if len(head) > lineLimit {
		c.at(line, "the line is longer than 64 KiB")
		return 0, 0, false
	}
	l.comma = sniff(head)
	names, err := cells(nil, head, l.comma)
	if err != nil {
		c.at(line, "%s", err)
		return 0, 0, false
	}
	l.header = names
	return nextLine(l.text, offset), line, c.columns(line)
}

func nextLine(text string, offset int) int {
	if i := strings.IndexByte(text[offset:], '\n'); i >= 0 {
		return offset + i + 1
	}
	return len(text)
}

// sniff takes the delimiter that stands most often in the header.
func sniff(header string) byte {
	best := byte(',')
	for _, comma := range []byte{';', '\t'} {
		if strings.Count(header, string(comma)) > strings.Count(header, string(best)) {
			best = comma
		}
	}
	return best
}

// columns checks the header's names.
func (c *rowChecker) columns(line uint32) bool {
	l := c.list
	if len(l.header) > columnLimit {
		c.at(line, "the header has %d columns; at most %d are read", len(l.header), columnLimit)
		return false
	}
	ok := true
	refuse := func(format string, args ...any) {
		ok = false
		c.at(line, format, args...)
	}
	seen := map[string]int{}
	for i, name := range l.header {
		name = strings.Trim(name, " ")
		low := strings.ToLower(name)
		if bad, is := control(name); is {
			refuse("the name of column %d holds the control character %U", i+1, bad)
			continue
		}
		switch {
		case strings.HasPrefix(low, "x_"):
			name = "x_" + name[2:]
		case slices.Contains(columnNames, low):
			name = low
		case name == "":
			refuse("column %d has no name; name it, or take it out", i+1)
		default:
			suggestion := didYouMean(low, columnNames)
			if suggestion == "" {
				suggestion = "; columns of your own begin with x_"
			}
			refuse("unknown column %s%s", shown(name), suggestion)
		}
		if other, double := seen[low]; double && low != "" {
			refuse("column %s is there twice, as column %d and %d", shown(name), other, i+1)
		} else {
			seen[low] = i + 1
		}
		l.header[i] = name
	}
	for _, needed := range []string{"service", "account"} {
		if seen[needed] == 0 {
			refuse("there is no column %q; the first line names the columns, such as service,account", needed)
		}
	}
	return ok
}
