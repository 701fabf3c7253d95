package mailbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
)

// What is kept per account. A folder's state is written once a pass is through
// with it; while it copies, each group is one short record beside it, so that
// what is written does not grow with the folder:
//
//	folders               names of the folders that have a state
//	folder/NAME           folderState, with all records below Folded in it
//	copied/NAME/SEQ       record: one group, kept until it is verified
//	intent/NAME           intent: the group that may be on its way
//	moving                moveIntent: a move on the target that may be half done
//
// NAME is the source's spelling, percent-encoded.

// entry maps one message; target 0 stands for one that was carried and that
// the user of the target has since removed: it is not brought back.
type entry struct {
	source, target uint32
	flags          uint32 // index into FlagSets: as the source told them last
}

// folderState is the UID map of one folder and what an unchanged folder is
// known by.
type folderState struct {
	Target         string `json:"-"` // on the target's wire
	Place          string // Target, escaped: names may hold any byte
	Created        bool   // by Godwit
	Subscribed     bool   // carried once; what the user does later stays
	SourceValidity uint32
	TargetValidity uint32
	Next           uint32 // source's UIDNEXT as of the last complete pass
	Messages       uint32
	ModSeq         uint64
	Complete       bool // the last pass came to its end
	Tries          int  // passes in which messages could not be read
	Bytes          int64
	FlagSets       []string
	Runs           []byte   // entries, packed
	Orphans        []uint32 // targets carried under a UIDVALIDITY the source has left
	Skipped, Notes []Skipped
	Folded         int // records below are in Runs
	Verified       int // records below are verified and gone

	entries []entry // unpacked Runs, by source
	sets    map[string]uint32
	next    int // number of the next record
}

// record is one group that was carried.
type record struct {
	Sources, Targets []uint32
	Flags            []string
	Digests          [][]byte // nil: taken over by content or moved, not copied by us
	Skipped          []Skipped
	Notes            []Skipped
	Bytes            int64 // of these messages
}

// intent says which messages may stand at the target's end without a record.
type intent struct {
	Validity uint32 // of the target
	Next     uint32 // its UIDNEXT before the group
	Sources  []uint32
	Sizes    []int64
	Dates    []int64
	Flags    []string
}

func folderKey(name string) string { return "folder/" + url.PathEscape(name) }
func intentKey(name string) string { return "intent/" + url.PathEscape(name) }
func recordKey(name string, n int) string {
	return "copied/" + url.PathEscape(name) + "/" + strconv.Itoa(n)
}

// saveNames and loadNames keep wire names, which may hold any byte, in JSON.
func saveNames(names []string) []byte {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = url.PathEscape(n)
	}
	return mustJSON(out)
}

func loadNames(ctx context.Context, store Store) (names []string, err error) {
	if _, err := getJSON(ctx, store, "folders", &names); err != nil {
		return nil, err
	}
	for i, n := range names {
		if names[i], err = url.PathUnescape(n); err != nil {
			return nil, fmt.Errorf("ledger: the list of folders: %w", err)
		}
	}
	return names, nil
}

func getJSON(ctx context.Context, store Store, key string, v any) (found bool, err error) {
	data, err := store.Get(ctx, key)
	if err != nil {
		return false, fmt.Errorf("ledger: %w", err)
	}
	if data == nil {
		return false, nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("ledger: key %q: %w", key, err)
	}
	return true, nil
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types always marshal
	}
	return data
}

func put(ctx context.Context, store Store, changes map[string][]byte) error {
	if err := store.Put(ctx, changes); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// loadFolder reads a folder's state with the records not yet folded into it.
func loadFolder(ctx context.Context, store Store, name string) (*folderState, error) {
	st := &folderState{}
	if _, err := getJSON(ctx, store, folderKey(name), st); err != nil {
		return nil, err
	}
	var err error
	if st.Target, err = url.PathUnescape(st.Place); err != nil {
		return nil, fmt.Errorf("ledger: the target of %q: %w", safe(name), err)
	}
	if st.entries, err = unpack(st.Runs); err != nil {
		return nil, fmt.Errorf("ledger: the UID map of %q: %w", safe(name), err)
	}
	st.index()
	for st.next = st.Folded; ; st.next++ {
		var r record
		found, err := getJSON(ctx, store, recordKey(name, st.next), &r)
		if err != nil {
			return nil, err
		}
		if !found {
			return st, nil
		}
		st.fold(r)
	}
}

func (st *folderState) index() {
	st.sets = make(map[string]uint32, len(st.FlagSets))
	for i, s := range st.FlagSets {
		st.sets[s] = uint32(i)
	}
}

// flagIndex interns a flag set.
func (st *folderState) flagIndex(flags string) uint32 {
	if st.sets == nil {
		st.index()
	}
	i, ok := st.sets[flags]
	if !ok {
		i = uint32(len(st.FlagSets))
		st.FlagSets = append(st.FlagSets, flags)
		st.sets[flags] = i
	}
	return i
}

// fold takes a record into the state.
func (st *folderState) fold(r record) {
	sorted := true
	for i, source := range r.Sources {
		e := entry{source: source, target: r.Targets[i], flags: st.flagIndex(r.Flags[i])}
		sorted = sorted && (len(st.entries) == 0 || st.entries[len(st.entries)-1].source < source)
		st.entries = append(st.entries, e)
	}
	if !sorted {
		sort.SliceStable(st.entries, func(i, j int) bool { return st.entries[i].source < st.entries[j].source })
		st.entries = slices.CompactFunc(st.entries, func(a, b entry) bool { return a.source == b.source })
	}
	st.Bytes += r.Bytes
	for _, s := range r.Skipped {
		st.skip(s)
	}
	for _, n := range r.Notes {
		st.note(n)
	}
}

// skip names a message or folder that was not carried, once.
func (st *folderState) skip(s Skipped) { st.Skipped = name(st.Skipped, s) }

// note names what was carried changed, once.
func (st *folderState) note(s Skipped) { st.Notes = name(st.Notes, s) }

func name(list []Skipped, s Skipped) []Skipped {
	for i, old := range list {
		if old.UID == s.UID && old.Reason == s.Reason && (s.UID != 0 || old.Detail == s.Detail) {
			list[i] = s
			return list
		}
	}
	return append(list, s)
}

// find returns the index of a source UID's entry, -1 where it has none.
func (st *folderState) find(source uint32) int {
	i := sort.Search(len(st.entries), func(i int) bool { return st.entries[i].source >= source })
	if i < len(st.entries) && st.entries[i].source == source {
		return i
	}
	return -1
}

// pack writes the state as one value, with all records in it.
func (st *folderState) pack() []byte {
	st.dropUnusedFlags()
	st.Folded, st.Place = st.next, url.PathEscape(st.Target)
	st.Runs = packEntries(st.entries)
	return mustJSON(st)
}

// dropUnusedFlags keeps FlagSets from growing for ever.
func (st *folderState) dropUnusedFlags() {
	renumber := map[uint32]uint32{}
	var sets []string
	for i, e := range st.entries {
		n, ok := renumber[e.flags]
		if !ok {
			n = uint32(len(sets))
			sets = append(sets, st.FlagSets[e.flags])
			renumber[e.flags] = n
		}
		st.entries[i].flags = n
	}
	st.FlagSets = sets
	st.index()
}

// packEntries writes runs of neighbours: gap of the source, difference of the
// target, length, flags; as varints.
func packEntries(list []entry) []byte {
	var out []byte
	var source, target uint32
	for i := 0; i < len(list); {
		e := list[i]
		n := 1
		for i+n < len(list) {
			f := list[i+n]
			step := uint32(n)
			if e.target == 0 {
				step = 0
			}
			if f.source != e.source+uint32(n) || f.target != e.target+step || f.flags != e.flags {
				break
			}
			n++
		}
		out = binary.AppendUvarint(out, uint64(e.source-source))
		out = binary.AppendVarint(out, int64(e.target)-int64(target))
		out = binary.AppendUvarint(out, uint64(n))
		out = binary.AppendUvarint(out, uint64(e.flags))
		source, target = e.source, e.target
		i += n
	}
	return out
}

var errPacked = errors.New("it is damaged")

func unpack(data []byte) (list []entry, err error) {
	var source, target int64
	for len(data) > 0 {
		var v [4]int64
		for i := range v {
			var n int
			if i == 1 {
				v[i], n = binary.Varint(data)
			} else {
				var u uint64
				u, n = binary.Uvarint(data)
				v[i] = int64(u)
			}
			if n <= 0 {
				return nil, errPacked
			}
			data = data[n:]
		}
		source, target = source+v[0], target+v[1]
		if source < 0 || target < 0 || source+v[2] > 1<<32 || target+v[2] > 1<<32 || v[2] < 0 {
			return nil, errPacked
		}
		for i := range v[2] {
			e := entry{source: uint32(source + i), target: uint32(target + i), flags: uint32(v[3])}
			if target == 0 {
				e.target = 0
			}
			list = append(list, e)
		}
	}
	return list, nil
}
