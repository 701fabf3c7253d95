package mailbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

// What is kept per account. A folder's state is written once a pass is through
// with it; while it copies, each group is one short record beside it, so that
// what is written does not grow with the folder:
//
//	folders               keys of the folders that have a state
//	folder/KEY            folderState: all that an unchanged folder is known by
//	map/KEY               its UID map (mapcode.go), with all records below Folded
//	copied/KEY/SEQ        record: one group, kept until it is verified
//	proved/KEY…           what was read back (proof.go)
//	intent/KEY            intent: the group that may be on its way
//	moving                moveIntent: a move on the target that may be half done
//	renaming              a RENAME on the target that may be done
//
// KEY is the source's spelling of the folder's first name, percent-encoded, with
// a number behind it where another has that name (former.go).

// folderState is what is known of one folder.
type folderState struct {
	Name           string `json:",omitempty"` // escaped: the source's, where it is no longer the key
	Target         string `json:"-"`          // on the target's wire
	Place          string // Target, escaped: names may hold any byte
	Theirs         bool   `json:",omitempty"` // the target's user has given it that name
	Nameless       bool   `json:",omitempty"` // gone at the source, and another folder has its name
	Renamed        bool   `json:",omitempty"` // at the source; the target's folder has yet to follow
	Gone           bool   `json:",omitempty"` // the target's user has removed it; it comes back for new mail only
	Created        bool   // by Godwit
	Subscribed     bool   // carried once; what the user does later stays
	SourceValidity uint32
	TargetValidity uint32
	TargetNext     uint32 `json:",omitempty"` // above all UIDs that the target says to have given us
	Next           uint32 // source's UIDNEXT as of the last complete pass
	Messages       uint32
	ModSeq         uint64
	Complete       bool // the last pass came to its end
	Matching       bool `json:",omitempty"` // what the target holds already is not yet all noted
	Tries          int  // passes in which messages could not be read
	Bytes          int64
	FlagSets       []string
	Resent         *resent   `json:",omitempty"` // see late.go
	Orphans        []uint32  `json:",omitempty"` // targets that are to be removed, and in no map any more
	Skipped, Notes []Skipped `json:",omitempty"`
	Folded         int       // records below are in the map

	uids    uidMap // once loaded
	loaded  bool
	renamed bool // since the last pass, at either side
	rewound bool // at the target; see rewound.go
	sets    map[string]uint32
	next    int // number of the next record
}

// record is one group that was carried.
type record struct {
	Sources, Targets []uint32
	Flags            []string
	Digests          [][]byte // of what was appended; nil: not known
	Dates            []int64  // as the source told them
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

func folderKey(key string) string { return "folder/" + url.PathEscape(key) }
func mapKey(key string) string    { return "map/" + url.PathEscape(key) }
func intentKey(key string) string { return "intent/" + url.PathEscape(key) }
func recordKey(key string, n int) string {
	return "copied/" + url.PathEscape(key) + "/" + strconv.Itoa(n)
}

// saveNames and loadNames keep keys, which may hold any byte, in JSON.
func saveNames(names []string) []byte {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = url.PathEscape(n)
	}
	return mustJSON(out)
}

func loadNames(ctx context.Context, store Kept) (names []string, err error) {
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

// Begun says that a pass may have copied something: what is kept is of the
// target that it had.
func Begun(ctx context.Context, kept Kept) (bool, error) {
	names, err := loadNames(ctx, kept)
	return len(names) > 0, err
}

func getJSON(ctx context.Context, store Kept, key string, v any) (found bool, err error) {
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
	pulseOf(ctx).beat()
	return nil
}

// loadFolder reads what an unchanged folder is known by.
func loadFolder(ctx context.Context, store Kept, key string) (*folderState, error) {
	st := &folderState{}
	if _, err := getJSON(ctx, store, folderKey(key), st); err != nil {
		return nil, err
	}
	for _, name := range []struct {
		escaped string
		to      *string
	}{{st.Place, &st.Target}, {st.Name, &st.Name}} {
		var err error
		if *name.to, err = url.PathUnescape(name.escaped); err != nil {
			return nil, fmt.Errorf("ledger: the names of %q: %w", safe(key), err)
		}
	}
	st.next = st.Folded
	return st, nil
}

// load reads the UID map, with the records not yet folded into it.
func (st *folderState) load(ctx context.Context, store Kept, key string) error {
	if st.loaded {
		return nil
	}
	data, err := store.Get(ctx, mapKey(key))
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if st.uids, err = unpack(data, len(st.FlagSets)); err != nil {
		return fmt.Errorf("ledger: the UID map of %q: %w", safe(key), err)
	}
	st.loaded = true
	for st.next = st.Folded; ; st.next++ {
		var r record
		found, err := getJSON(ctx, store, recordKey(key, st.next), &r)
		if err != nil || !found {
			return err
		}
		st.fold(r)
	}
}

// save adds the state, with all records so far, to what is about to be written.
func (st *folderState) save(changes map[string][]byte, key string) {
	out := *st
	out.Place, out.Name = url.PathEscape(st.Target), url.PathEscape(st.Name)
	if st.loaded {
		st.Folded, st.TargetNext = st.next, max(st.TargetNext, st.uids.end())
		out.TargetNext = st.TargetNext
		out.Folded, out.FlagSets = st.next, nil
		numbers := map[uint32]uint32{} // sets that are no longer in use go
		changes[mapKey(key)] = st.uids.pack(func(flags uint32) uint32 {
			n, ok := numbers[flags]
			if !ok {
				n = uint32(len(out.FlagSets))
				numbers[flags] = n
				out.FlagSets = append(out.FlagSets, st.FlagSets[flags])
			}
			return n
		})
	}
	changes[folderKey(key)] = mustJSON(out)
}

// nameAt is the source's name of a state's folder.
func (st *folderState) nameAt(key string) string {
	if st.Name != "" {
		return st.Name
	}
	return key
}

// flagIndex interns a flag set.
func (st *folderState) flagIndex(flags string) uint32 {
	if st.sets == nil {
		st.sets = make(map[string]uint32, len(st.FlagSets))
		for i, s := range st.FlagSets {
			st.sets[s] = uint32(i)
		}
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
	list := make([]entry, len(r.Sources))
	for i, source := range r.Sources {
		list[i] = entry{source: source, target: r.Targets[i], flags: st.flagIndex(r.Flags[i])}
	}
	st.uids.add(list)
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
