package plans

import (
	"encoding/csv"
	"errors"
	"strings"

	"github.com/jszwec/csvutil"
)

// rowReader turns rows of a list into columns. A row is one line: line breaks
// in cells are refused, so any row can be read without those before it.
type rowReader struct {
	list    *list
	decoder *csvutil.Decoder
	record  []string
	unused  []int // positions of the x_ columns
}

func (l *list) reader() *rowReader {
	r := &rowReader{list: l}
	decoder, err := csvutil.NewDecoder(r, l.header...)
	if err != nil {
		panic(err) // the header was checked: no empty, no doubled column
	}
	r.decoder = decoder
	for i, name := range l.header {
		if strings.HasPrefix(name, "x_") {
			r.unused = append(r.unused, i)
		}
	}
	return r
}

// Read hands the current record to the decoder.
func (r *rowReader) Read() ([]string, error) { return r.record, nil }

var (
	errQuote   = errors.New("a quote is not closed in this line; a cell cannot hold a line break")
	errStray   = errors.New(`a quote stands inside a cell; put the whole cell in quotes and double those inside: "a ""b"" c"`)
	errColumns = errors.New("wrong number of columns")
)

// at reads the row that begins at where.
func (r *rowReader) at(where row) (columns, []Field, error) {
	return r.line(lineAt(r.list.text, int(where.offset)))
}

// lineAt is the line that begins at offset, without its end.
func lineAt(text string, offset int) string {
	text = text[offset:]
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return strings.TrimSuffix(text, "\r")
}

func (r *rowReader) line(text string) (c columns, extra []Field, err error) {
	if r.record, err = cells(r.record[:0], text, r.list.comma); err != nil {
		return c, nil, err
	}
	if len(r.record) != len(r.list.header) {
		return c, nil, errColumns
	}
	if err := r.decoder.Decode(&c); err != nil {
		return c, nil, err
	}
	c.trim()
	for _, i := range r.unused {
		extra = append(extra, Field{r.list.header[i], r.record[i]})
	}
	return c, extra, nil
}

// cells splits a line. Most lines have no quotes and are cut without copying;
// quotes are the library's business.
func cells(into []string, text string, comma byte) ([]string, error) {
	if strings.IndexByte(text, '"') < 0 {
		for {
			i := strings.IndexByte(text, comma)
			if i < 0 {
				return append(into, text), nil
			}
			into, text = append(into, text[:i]), text[i+1:]
		}
	}
	reader := csv.NewReader(strings.NewReader(text))
	reader.Comma, reader.FieldsPerRecord = rune(comma), -1
	record, err := reader.Read()
	switch {
	case errors.Is(err, csv.ErrQuote):
		if strings.Count(text, `"`)%2 == 1 {
			return nil, errQuote
		}
		return nil, errStray
	case err != nil:
		return nil, errStray
	}
	return append(into, record...), nil
}
