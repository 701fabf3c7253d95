// Package receipt is the proof that a mailbox was moved: a file that names every
// message, and the hash that all of it folds into.
//
// The file is JSON, and at the same time lines, so that a difference has a line
// number and anybody can recompute the hash:
//
//	{"godwit_receipt":1,
//	"account":"anna@acme.example",
//	…
//	"folders":[
//	{"folder":"INBOX","target":"INBOX","target_name":"INBOX","source_uidvalidity":7,"target_uidvalidity":9,"messages":[
//	[17,23,"2021-03-04T03:06:07Z",812,"\\Seen","exact","9f86…","","5b8a2c0e"],
//	[18,24,"2021-03-04T03:09:12Z",640,"","altered","60303a…","fcde2b…","91c3d07f"]
//	],"named":[
//	[19,"too-large","2021-03-05T08:00:00Z",73400320,"<a@b>","0d1f6ab2"]
//	],"at_freeze":3,"exact":1,"altered":1,"removed":0,"not_carried":1,"late":0,
//	"sha256":"hash of the folder"}
//	],
//	"exceptions":[
//	["Sync Issues","excluded","77a0e1b4"]
//	],
//	"sha256":"hash of the receipt"}
//
// A message is its UID at the source and at the target, its date in UTC ("" where
// neither side tells one), the length of the bytes that were appended, its flags
// as the source told them last, what was found when it was read back (exact;
// altered: stored in another form, in a known way; date: at another date; both;
// header: only the header was compared), the SHA-256 of the bytes appended and,
// where the target gives back others, the SHA-256 of those. The last value of
// each row is its check: the first eight digits of the SHA-256 of the row before
// it, that is, of the line up to the last comma.
//
// The hash of a folder is the SHA-256 of its lines, from {"folder" to the line
// of the sums, each with its line feed. The hash of the receipt is the SHA-256 of
// the lines that belong to no folder, again with their line feeds: all before
// the first folder, the "sha256" line of each folder, and all behind them but
// the last line. With the receipt on standard input:
//
//	awk '/^{"folder":/{f=1} /^"sha256":/{f=0} !f' | sed '$d' | sha256sum
//
// A receipt is no signature: who can write the file can fold it anew. The ledger
// keeps its hash.
package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Version is that of the form of the file.
const Version = 1

// Head says whose mailbox it is, and when and from where to where it was moved.
type Head struct {
	Account       string
	Service       string
	Batch         string
	Plan          string // its name
	PlanRevision  string
	Source        string // host:port
	SourceLogin   string
	Target        string // its name in the plan
	TargetServer  string // host:port
	TargetAccount string
	Verify        string    // content | headers
	VerifiedAt    time.Time // under the freeze
	SwitchedAt    time.Time
}

// field is a line of the head, in their order.
type field struct {
	key   string
	value *string
	time  *time.Time
}

func (h *Head) fields() []field {
	return []field{
		{"account", &h.Account, nil},
		{"service", &h.Service, nil},
		{"batch", &h.Batch, nil},
		{"plan", &h.Plan, nil},
		{"plan_revision", &h.PlanRevision, nil},
		{"source", &h.Source, nil},
		{"source_login", &h.SourceLogin, nil},
		{"target", &h.Target, nil},
		{"target_server", &h.TargetServer, nil},
		{"target_account", &h.TargetAccount, nil},
		{"verify", &h.Verify, nil},
		{"verified_at", nil, &h.VerifiedAt},
		{"switched_at", nil, &h.SwitchedAt},
	}
}

// Folder is a folder of the source and the one it has become.
type Folder struct {
	Name           string // UTF-8, / as separator
	Target         string // UTF-8, the target's separator
	TargetName     string // as the target spells it, percent-encoded
	SourceValidity uint32
	TargetValidity uint32
}

// Message is one that was carried and read back.
type Message struct {
	UID, TargetUID uint32
	Date           time.Time // zero: not told
	Size           int64     // bytes appended
	Flags          string
	Found          string // exact, altered, date, altered date, header, …
	Digest         string // SHA-256 of the bytes appended, hexadecimal
	Stored         string // of what the target gives back, where it differs
}

// Named is a message that was not carried.
type Named struct {
	UID       uint32
	Reason    string // a code: templates have a sentence for each
	Date      time.Time
	Bytes     int64
	MessageID string
}

// Sums add up: AtFreeze = Exact + Altered + Removed + NotCarried.
type Sums struct {
	AtFreeze   int `json:"at_freeze"` // messages that the source had under the freeze
	Exact      int `json:"exact"`
	Altered    int `json:"altered"`     // in a known way
	Removed    int `json:"removed"`     // verified, and removed at the target before the switch
	NotCarried int `json:"not_carried"` // named
	Late       int `json:"late"`        // beside them: carried after the switch
}

// Equal says that nothing is left over.
func (s Sums) Equal() bool { return s.AtFreeze == s.Exact+s.Altered+s.Removed+s.NotCarried }

// Add adds up folders.
func (s *Sums) Add(o Sums) {
	s.AtFreeze += o.AtFreeze
	s.Exact += o.Exact
	s.Altered += o.Altered
	s.Removed += o.Removed
	s.NotCarried += o.NotCarried
	s.Late += o.Late
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// text is a JSON string, with nothing escaped that need not be.
func text(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// check is the last value of a row.
func check(row string) string {
	sum := sha256.Sum256([]byte(row))
	return hex.EncodeToString(sum[:4])
}
