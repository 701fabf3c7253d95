package receipt

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// Writer writes a receipt as its parts come: Folder, its Messages and Nameds by
// UID, EndFolder; then Exceptions, then Close. The first error ends it, and
// every call returns it.
type Writer struct {
	out    *bufio.Writer
	fold   hash.Hash // of the lines outside of folders
	folder hash.Hash // of the present one; nil: outside
	part   part
	rows   int // in the present list
	count  int // folders
	err    error
}

// part is where a Writer stands.
type part int

const (
	inFolders part = iota
	inMessages
	inNamed
	inExceptions
)

// NewWriter begins a receipt.
func NewWriter(out io.Writer, head Head) *Writer {
	w := &Writer{out: bufio.NewWriterSize(out, 64<<10), fold: sha256.New()}
	w.line(fmt.Sprintf(`{"godwit_receipt":%d,`, Version))
	for _, f := range head.fields() {
		value := ""
		if f.time != nil {
			value = stamp(*f.time)
		} else {
			value = *f.value
		}
		w.line(text(f.key) + ":" + text(value) + ",")
	}
	w.put(`"folders":[`)
	return w
}

// Folder begins a folder.
func (w *Writer) Folder(f Folder) {
	if w.count++; w.count > 1 {
		w.put(",")
	}
	w.end()
	w.part, w.rows, w.folder = inMessages, 0, sha256.New()
	w.put(f.line())
}

func (f Folder) line() string {
	return fmt.Sprintf(`{"folder":%s,"target":%s,"target_name":%s,"source_uidvalidity":%d,"target_uidvalidity":%d,"messages":[`,
		text(f.Name), text(f.Target), text(f.TargetName), f.SourceValidity, f.TargetValidity)
}

// Message adds a message to the folder.
func (w *Writer) Message(m Message) { w.row(m.line()) }

func (m Message) line() string {
	return fmt.Sprintf(`[%d,%d,%s,%d,%s,%s,%s,%s`, m.UID, m.TargetUID, text(stamp(m.Date)), m.Size, text(m.Flags), text(m.Found), text(m.Digest), text(m.Stored))
}

// Named adds a message that was not carried, after the folder's Messages.
func (w *Writer) Named(n Named) {
	w.to(inNamed)
	w.row(fmt.Sprintf(`[%d,%s,%s,%d,%s`, n.UID, text(n.Reason), text(stamp(n.Date)), n.Bytes, text(n.MessageID)))
}

// EndFolder ends the folder.
func (w *Writer) EndFolder(s Sums) {
	w.to(inNamed)
	w.end()
	w.line(fmt.Sprintf(`],"at_freeze":%d,"exact":%d,"altered":%d,"removed":%d,"not_carried":%d,"late":%d,`, s.AtFreeze, s.Exact, s.Altered, s.Removed, s.NotCarried, s.Late))
	sum := hex.EncodeToString(w.folder.Sum(nil))
	w.part, w.folder = inFolders, nil
	w.put(`"sha256":` + text(sum) + `}`)
}

// Exception names a folder that was not carried.
func (w *Writer) Exception(folder, reason string) {
	w.to(inExceptions)
	w.row(fmt.Sprintf(`[%s,%s`, text(folder), text(reason)))
}

// Close ends the receipt and returns its hash.
func (w *Writer) Close() (sum string, err error) {
	w.to(inExceptions)
	w.end()
	w.line(`],`)
	sum = hex.EncodeToString(w.fold.Sum(nil))
	if w.err == nil {
		_, w.err = w.out.WriteString(`"sha256":` + text(sum) + "}\n")
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return sum, w.err
}

// to goes on to a later list.
func (w *Writer) to(p part) {
	if w.part == p {
		return
	}
	w.end()
	if p == inNamed {
		w.put(`],"named":[`)
	} else {
		w.line(`],`)
		w.put(`"exceptions":[`)
	}
	w.part, w.rows = p, 0
}

func (w *Writer) row(s string) {
	if w.rows++; w.rows > 1 {
		w.put(",")
	}
	w.end()
	w.put(s + "," + text(check(s)) + "]")
}

func (w *Writer) line(s string) {
	w.put(s)
	w.end()
}

// end ends a line; before that a comma may still follow.
func (w *Writer) end() { w.put("\n") }

func (w *Writer) put(s string) {
	if w.err != nil {
		return
	}
	if w.folder != nil {
		_, _ = io.WriteString(w.folder, s)
	} else {
		_, _ = io.WriteString(w.fold, s)
	}
	_, w.err = w.out.WriteString(s)
}
