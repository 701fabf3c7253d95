package demohost

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// section cuts what BODY[…] asks for out of a message. What concerns the whole
// message is cut from its very bytes, however broken its header is.
func section(body []byte, item *imap.FetchItemBodySection) []byte {
	if len(item.Part) > 0 {
		return imapserver.ExtractBodySection(bytes.NewReader(body), item)
	}
	header, text := split(body)
	data := body
	switch {
	case len(item.HeaderFields) > 0:
		data = fields(header, item.HeaderFields, true)
	case len(item.HeaderFieldsNot) > 0:
		data = fields(header, item.HeaderFieldsNot, false)
	case item.Specifier == imap.PartSpecifierHeader:
		data = header
	case item.Specifier == imap.PartSpecifierText:
		data = text
	}
	if p := item.Partial; p != nil {
		from := min(p.Offset, int64(len(data)))
		data = data[from:min(from+p.Size, int64(len(data)))]
	}
	return data
}

// split cuts after the blank line that ends the header.
func split(body []byte) (header, text []byte) {
	if bytes.HasPrefix(body, []byte("\r\n")) {
		return body[:2], body[2:]
	}
	if i := bytes.Index(body, []byte("\r\n\r\n")); i >= 0 {
		return body[:i+4], body[i+4:]
	}
	return body, nil
}

// fields keeps the header's lines of the named fields, or those of all others.
func fields(header []byte, names []string, wanted bool) []byte {
	var out []byte
	keep := false
	for line := range bytes.Lines(header) {
		if folded := line[0] == ' ' || line[0] == '\t'; !folded {
			name, _, _ := strings.Cut(string(line), ":")
			known := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, strings.TrimSpace(name)) })
			keep = known == wanted && len(bytes.TrimSpace(line)) > 0
		}
		if keep {
			out = append(out, line...)
		}
	}
	return append(out, "\r\n"...)
}

func fill(w io.WriteCloser, data []byte) error {
	if _, err := w.Write(data); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}
