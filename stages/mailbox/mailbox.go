// Package mailbox copies one mailbox to another over IMAP: it connects, maps
// folders, transfers what the target lacks, and verifies what it gives back.
// It knows no plan and no stage.
//
//	Pass.Run    list -> settle -> scan -> moves -> check -> create -> apply
//	            (jobs.go)  (settle.go) (scan.go) (moves.go)  (create.go) (apply.go)
//
// A pass (pass.go) has lanes (lane.go), each a connection to either side, and a
// job for each folder. Whoever changes one of its steps finds beside it:
//
//	list        list.go, space.go and utf7.go read the folders; special.go,
//	            folders.go and spelling.go tell where each goes; renamed.go knows
//	            it again under another name, void.go looks twice at a target
//	            that shows nothing
//	settle      tail.go pairs what stands at a folder's end; settlemove.go does so
//	            for moves
//	scan        diff.go holds a listing against the map, compare.go its flags;
//	            match.go where there is no map; rewound.go and former.go where a
//	            folder is not the one of before; catchup.go after the switch
//	moves       applymoves.go moves the copies; absent.go, where there are none
//	apply       transfer.go and fetch.go fetch groups, copier.go and flight.go send
//	            them, prime.go begins the next folder meanwhile, append.go is how
//	            they go over the wire: the place to make it faster; stream.go for
//	            large ones, literal8.go for odd ones, arrived.go and late.go for
//	            lost answers; spare.go knows how many lanes are worth it
//	beside it   readers.go reads the target back: readback.go fetches what
//	            askback.go asked for, judge.go compares, proof.go keeps, prove.go
//	            looks again at what is in doubt; verify.go ends a folder,
//	            present.go counts; receipt.go writes it all down for people, and
//	            audit.go holds a mailbox against it later
//	before it   survey.go and sight.go look and change nothing
//	and home    back.go is a pass the other way, of a rollback; backtwin.go
//	            tells what is no arrival, backstore.go keeps it apart, side.go
//	            names the sides
//	the ledger  state.go: what is kept, and under which keys; uidmap.go, spans.go
//	            and mapcode.go keep it small; digest.go: what stands for content
//	the wire    connect.go signs in with the library, tls.go below it; wire.go
//	            stands under both, with exchange.go, bodies.go and parse.go;
//	            session.go is an open connection, alive.go keeps it open,
//	            slots.go bounds how many there are; errors.go reads refusals
//
// The library (go-imap) greets, signs in and keeps the capabilities. The
// commands that carry data are sent and read here, through wire.do, because the
// library ends the connection at the first value it does not know, writes every
// APPEND with a wait and lacks MULTIAPPEND; parse.go refuses nothing, and what
// it cannot read is missing, asked for again and then named.
//
// Nothing is believed unchecked: a body counts once its FETCH has ended with OK,
// a message is written down as copied once the target has told its UID or shows
// it, and before each group the ledger holds what may stand at the target's
// end. A crash at any point is resolved there, by content.
package mailbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Errors a caller decides by; they are wrapped with what the server said.
var (
	// ErrLogin means that the server refused the credentials.
	ErrLogin = errors.New("login refused")
	// ErrSecret means that there is nothing to sign in with: no server is to blame.
	ErrSecret = errors.New("the secret cannot be read")
	// ErrDropped means that the server ended the connection instead of answering
	// a sign-in. Dovecot does so for a master user and an account it lacks.
	ErrDropped = errors.New("no answer to the sign-in (is there such a mailbox?)")
	// ErrResidency means that the server stands outside of the promised regions.
	ErrResidency = errors.New("customers were promised that their data stays elsewhere")
	// ErrBusy means that the server asks to come back later ([INUSE], [LIMIT],
	// [UNAVAILABLE], throttling, too many connections).
	ErrBusy = errors.New("the server asks to come back later")
	// ErrOverQuota means that the target mailbox is full.
	ErrOverQuota = errors.New("the target mailbox is full")
	// ErrTooManyDeletions means that more messages of a folder vanished at the
	// source than MaxDelete allows; a person has to look.
	ErrTooManyDeletions = errors.New("more deletions than max_delete allows")
)

// Server is an IMAP server and how Godwit signs in there. One Server is shared
// by all accounts, so that its limits hold over all of them.
type Server struct {
	Address      string // host:port
	TLS          string // implicit | starttls | none
	Platform     string // what the plan calls it; a server that tells what it is goes before
	CAFile       string // PEM, "" for the system's roots
	Auth         string // password | master | authzid | xoauth2
	Login        string // for master and authzid
	Secret       func(context.Context) (string, error)
	MasterFormat string        // with {account} and {login}
	Connections  int           // at once, all accounts together; 0: no limit
	Stall        time.Duration // longest wait for the next byte; 0: 60 s
	Idle         time.Duration // of silence until a NOOP is sent; 0: 2 min
	Calm         time.Duration // without complaint until one more connection is tried; 0: 1 min
	Linger       time.Duration // it may take over what a lost connection had sent; 0: a twentieth of Stall, at most 1 s
	Rate         *rate.Limiter // bytes read, nil: no cap

	Region    string   // where it stands
	Residency []string // the regions that were promised; nil: any. No connection is made to others

	once sync.Once
	room *room
}

// Login names an account on a Server.
type Login struct {
	User   string
	Secret func(context.Context) (string, error) // of the user, for password and xoauth2
}

// Endpoint is one account on one server.
type Endpoint struct {
	Server *Server
	Login  Login
}

// Options bound a pass.
type Options struct {
	Exclude     []string                // folder patterns (path.Match, on the UTF-8 name with / as separator)
	Rename      map[string]string       // source folder -> target folder, UTF-8, / as separator
	MaxMessage  int64                   // bytes; 0: what the target takes
	MaxDelete   float64                 // 0.10: more deletions than a tenth of a folder stop the pass
	Connections int                     // per side; folders side by side
	CatchUp     bool                    // copy only what is new account-wide, never delete, change or move
	Verify      string                  // content | headers: what is copied is read back in the same pass; "": it is not
	Final       bool                    // with Verify: the mailbox as a whole is looked at, too
	Progress    func(done, total int64) // bytes, rising, one call at a time; may be nil
}

// Kept is what was kept for an account.
type Kept interface {
	// Get returns the value of key, nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
}

// Store keeps the UID map and what is needed to resume, per account.
type Store interface {
	Kept
	// Put changes several keys at once; nil deletes. It returns once the
	// changes survive a crash.
	Put(ctx context.Context, changes map[string][]byte) error
}

// Result counts what a pass found and did.
type Result struct {
	Folders      int   // at the source, not excluded
	Messages     int   // at the source now, in those folders
	Bytes        int64 // of the messages known so far
	Copied       int   // appended in this pass
	AlreadyThere int   // found at the target by content (pre-filled target, lost ledger)
	Updated      int   // flag changes carried
	Moved        int
	Renamed      int // folders, with those below them
	Deleted      int
	Skipped      []Skipped // everything not carried, as of this pass: complete, not only what is new
	Slowed       []string  // servers that bear fewer connections than the plan allows, in their words: for the operator
	Notes        []Skipped // carried, but changed in a known way (a folder renamed, a keyword dropped)
	Frozen       int       // with Final: messages that the source had in folders that the target has
	Differs      []Skipped // what was read back and is not as it should be; with Verify, nothing means verified
}

// Skipped is one message or folder that was not carried, or not as it was.
type Skipped struct {
	Folder    string // UTF-8 name at the source, / as separator
	UID       uint32 // 0: the folder itself
	MessageID string
	Date      time.Time
	Bytes     int64
	Reason    Reason
	Detail    string // the server's words: for the operator, never for a customer
}

// Reason is why; reports have a plain sentence for each.
type Reason string

const (
	TooLarge       Reason = "too-large"       // over MaxMessage or the target's limit
	Refused        Reason = "refused"         // the target refuses this message
	Unreadable     Reason = "unreadable"      // the source does not give it
	Excluded       Reason = "excluded"        // folder excluded by the plan
	Shared         Reason = "shared"          // folder of another user's, or shared
	FolderRefused  Reason = "folder-refused"  // the target cannot hold the folder
	FolderRenamed  Reason = "folder-renamed"  // note: another name at the target
	KeywordDropped Reason = "keyword-dropped" // note: the target cannot hold a keyword
	Altered        Reason = "altered"         // note: the target changed it in a known way
	Ambiguous      Reason = "ambiguous"       // cannot be told apart from one already there
)

// Pass brings the target up to the source once. Run it as often as you like:
// what is done is not done again.
type Pass struct {
	Source, Target Endpoint
	Store          Store
	Options        Options

	home bool // of a Back: from the target to the source
}

// Survey is what validate wants to know of an account before anything moves.
type Survey struct {
	Folders, Messages int
	Bytes             int64     // by RFC822.SIZE: an estimate on some servers
	Quota             int64     // bytes the target may hold, 0: not told or no limit
	Used              int64     // bytes it holds already
	Findings          []Skipped // what will be skipped or changed
	SourceCaps        []string
	TargetCaps        []string
	SourceKind        string // exchange, zimbra, gmail where the server tells or the plan says so
	TargetLimit       int64  // APPENDLIMIT, 0: not told
}
