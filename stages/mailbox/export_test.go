package mailbox

import "net"

// Pure functions, for the tables.
var (
	EncodeName = encodeName
	DecodeName = decodeName
	ParseSet   = parseSet
	Sets       = sets
	Safe       = safe
	TooMany    = tooMany
	StartTLS   = func(c net.Conn) error { return startTLS(c) }
	DigestOf   = digestOf
)

// Pair is one message of a UID map.
type Pair struct{ Source, Target uint32 }

// PackedSize packs a map, unpacks it again and returns its size.
func PackedSize(pairs []Pair) (back []Pair, size int, err error) {
	var list []entry
	for _, p := range pairs {
		list = append(list, entry{source: p.Source, target: p.Target})
	}
	data := packEntries(list)
	list, err = unpack(data)
	for _, e := range list {
		back = append(back, Pair{e.source, e.target})
	}
	return back, len(data), err
}

// Unpack must survive any bytes.
func Unpack(data []byte) error { _, err := unpack(data); return err }

// Verdict compares a message with what a target gives back.
func Verdict(sent, back string) int {
	return int(compareDigests(digestOf([]byte(sent)), digestOf([]byte(back))))
}

// Folder is a source or target folder of a table.
type Folder struct {
	Name, Special string
}

// Map maps source folders to a target with the given delimiter and prefix, and
// returns source -> target as the wire has it.
func Map(sourceDelim, sourcePrefix string, source []Folder, targetDelim, targetPrefix string, existing []Folder, kept, rename map[string]string) map[string]string {
	from := space{delim: sourceDelim, prefix: sourcePrefix}
	to := place{space: space{delim: targetDelim, prefix: targetPrefix}}
	var list []listed
	for _, f := range source {
		l := listed{wire: f.Name, special: f.Special}
		from.place(&l)
		list = append(list, l)
	}
	for _, f := range existing {
		l := listed{wire: f.Name, special: f.Special}
		to.space.place(&l)
		to.existing = append(to.existing, l)
	}
	out := map[string]string{}
	for _, m := range mapFolders(list, to, kept, rename) {
		out[m.source.wire] = m.target
	}
	return out
}

// IsExcluded tells whether patterns match a folder.
func IsExcluded(patterns []string, path ...string) bool {
	return excluded(patterns, listed{path: path})
}

// Difference is what carries flags.
var Difference = difference

// KeepFlags is what a target can hold of flags.
var KeepFlags = keepFlags

// Parse reads one response line as the wire would and counts its values.
func Parse(line string) int {
	r := &response{lines: [][]byte{[]byte(line)}}
	r.head()
	r.reply()
	_, _ = metaOf(r)
	_, _ = statusOf(r)
	_, _, _ = listOf(r, r.word)
	_ = forLibrary(r)
	return len(r.tokens())
}
