// Package sheet writes the CSV files that people get: safe to open in a
// spreadsheet, in the delimiter theirs wants, and whole or not at all.
package sheet

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Style is how the customers' spreadsheets want CSV.
type Style struct {
	Delimiter rune // 0: a comma
	BOM       bool
}

// Encode returns rows as CSV (RFC 4180, UTF-8, CRLF), every cell made harmless.
func (s Style) Encode(rows [][]string) ([]byte, error) {
	var b bytes.Buffer
	if s.BOM {
		b.WriteString("\ufeff")
	}
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	if s.Delimiter != 0 {
		w.Comma = s.Delimiter
	}
	for _, row := range rows {
		cleaned := make([]string, len(row))
		for i, cell := range row {
			cleaned[i] = Safe(cell)
		}
		if err := w.Write(cleaned); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// EncodeSecrets is Encode with one column that must stay as it is, passwords:
// it refuses a cell there that would have to be changed.
func (s Style) EncodeSecrets(rows [][]string, column int) ([]byte, error) {
	for _, row := range rows {
		if Safe(row[column]) != row[column] {
			return nil, errors.New("a password would be taken for a formula")
		}
	}
	return s.Encode(rows)
}

// Safe makes a cell harmless (CWE-1236): control and direction characters are
// shown as escapes, and what a spreadsheet would take for a formula, also after
// quotes or behind a separator at which it splits again, gets a leading
// apostrophe.
func Safe(cell string) string {
	var b strings.Builder
	for i, r := range cell {
		_, width := utf8.DecodeRuneInString(cell[i:])
		switch {
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, `\x%02x`, cell[i])
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != '\u200d' || r == '\u2028' || r == '\u2029':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	cell = b.String()
	if formula(cell) {
		return "'" + cell
	}
	return cell
}

func formula(cell string) bool {
	for part := range strings.FieldsFuncSeq(cell, func(r rune) bool { return r == ';' || r == ',' || r == '\t' }) {
		part = strings.TrimLeftFunc(part, func(r rune) bool { return unicode.IsSpace(r) || r == '"' || r == '\'' })
		if r, _ := utf8.DecodeRuneInString(part); strings.ContainsRune("=+-@＝＋－＠", r) && part != "" {
			return true
		}
	}
	return false
}

// Write puts data into name below root, mode 0600: the old file stays until the
// new one is on disk. A file that is the same already is not touched.
func Write(root *os.Root, name string, data []byte) error {
	if have, err := read(root, name, len(data)); err == nil && bytes.Equal(have, data) {
		return nil
	}
	return Stream(root, name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Stream is Write for a file that is not held in memory. Where write fails, the
// old file stays.
func Stream(root *os.Root, name string, write func(io.Writer) error) error {
	dir := path.Dir(name)
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp := path.Join(dir, ".godwit-"+path.Base(name)+".tmp")
	if err := root.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	folder, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func read(root *os.Root, name string, size int) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(size)+1))
}
