package ledger

import (
	"encoding/json"
	"time"
)

// Phase is how far an account has come. Phases only move forward, except that
// an undone cutover goes from Frozen, Verified or Ready back to Copied, and so
// does an account that was rolled back when a person lets it move again.
type Phase string

// The phases in their order.
const (
	New       Phase = ""          // nothing was copied yet
	Copying   Phase = "copying"   // a pass has begun
	Copied    Phase = "copied"    // at least one pass is complete
	Frozen    Phase = "frozen"    // the source is frozen, or about to be
	Verified  Phase = "verified"  // the final pass is in the target and was read back
	Ready     Phase = "ready"     // credentials are set: nothing is missing but the switch
	Switching Phase = "switching" // the point of no return: completed, never undone
	Switched  Phase = "switched"  // routing points to the target

	// A person's rollback, from Switched.
	RollingBack Phase = "rolling-back" // begun: finished by repeating it, never undone
	RolledBack  Phase = "rolled-back"  // routing points to the source again
)

// Trouble is why an account does not move on.
type Trouble string

// The troubles. Deferred goes away by itself, the others need a person.
const (
	None     Trouble = ""
	Deferred Trouble = "deferred"
	Broken   Trouble = "failed"
	Held     Trouble = "held"
)

// State is what has been reached for a service or an account. It is stored as
// one JSON document.
type State struct {
	Key     Key       `json:"-"`
	Phase   Phase     `json:"phase,omitempty"`
	Trouble Trouble   `json:"trouble,omitempty"`
	Origin  string    `json:"origin,omitempty"` // the stage that put it into trouble, or "plan"
	Reason  string    `json:"reason,omitempty"` // code of a plain sentence, for customers
	Detail  string    `json:"detail,omitempty"` // for the operator
	Next    time.Time `json:"next,omitzero"`    // not before
	Tries   int       `json:"tries,omitempty"`  // failures in a row

	Waved []string `json:"waved,omitempty"` // reasons that a person let pass once

	// An account's promise and cutover.
	Promise     *Promise      `json:"promise,omitempty"` // what was announced for it last
	Night       string        `json:"night,omitempty"`   // 2006-01-02, deferred to; "" is the batch's date
	Deferrals   int           `json:"deferrals,omitempty"`
	FrozenAt    time.Time     `json:"frozen_at,omitzero"`
	Deadline    time.Time     `json:"deadline,omitzero"`
	Boot        string        `json:"boot,omitempty"`        // of the machine that froze it
	DeadlineUp  time.Duration `json:"deadline_up,omitempty"` // the deadline by that boot's uptime, which nobody sets
	ReleasedAt  time.Time     `json:"released_at,omitzero"`
	Interrupted time.Duration `json:"interrupted,omitempty"` // all its freezes together
	SwitchedAt  time.Time     `json:"switched_at,omitzero"`
	ToldDone    bool          `json:"told_done,omitempty"`    // by the notice "done"
	RolledAt    time.Time     `json:"rolled_at,omitzero"`     // the rollback's end
	CarriedBack int           `json:"carried_back,omitempty"` // messages
	ToldBack    bool          `json:"told_back,omitempty"`    // by the notice "rolled-back"
	VerifiedAt  time.Time     `json:"verified_at,omitzero"`
	Thaw        *Thaw         `json:"thaw,omitempty"`        // how to thaw or switch it without the plan
	NotFrozen   bool          `json:"not_frozen,omitempty"`  // driver none: nothing was frozen
	Revision    string        `json:"revision,omitempty"`    // plan_revision and
	Extra       []Field       `json:"extra,omitempty"`       // x_ columns at the cutover
	PasswordAt  time.Time     `json:"password_at,omitzero"`  // made and sealed
	PasswordSet time.Time     `json:"password_set,omitzero"` // on the target

	// Of the last look after the switch.
	Clients string    `json:"clients,omitempty"` // what does not fit where users' clients connect, for the operator
	Awaited time.Time `json:"awaited,omitzero"`  // as of then, the user had not signed in at the target

	Foretold bool `json:"foretold,omitempty"` // its loss ledger is kept

	// An account's copy.
	Passes   int           `json:"passes,omitempty"`
	PassedAt time.Time     `json:"passed_at,omitzero"` // end of the last complete pass
	PassTook time.Duration `json:"pass_took,omitempty"`
	Pace     Pace          `json:"pace,omitzero"`
	CaughtUp bool          `json:"caught_up,omitempty"` // catch-up has ended
	Folders  int           `json:"folders,omitempty"`
	Messages int           `json:"messages,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`
	Copied   int           `json:"copied,omitempty"`
	Already  int           `json:"already,omitempty"`
	Skipped  int           `json:"skipped,omitempty"`
	Noted    int           `json:"noted,omitempty"` // rows of skipped.csv

	// A service.
	ValidatedAt time.Time    `json:"validated_at,omitzero"`
	Kept        map[int]bool `json:"kept,omitempty"`     // N of the "Nd before" notices that the promise in force was told by
	Sequence    int          `json:"sequence,omitempty"` // of its invites

	// The contact's copies in the service's row, a user's in the account's.
	Notices map[string]*Delivery `json:"notices,omitempty"` // by the notice's ID
}

// Pace is how an account's passes went, for the forecast.
type Pace struct {
	FillBytes int64         `json:"fill_bytes,omitempty"` // copied by the pass that copied most
	Filled    int           `json:"filled,omitempty"`     // messages, by the same
	Fill      time.Duration `json:"fill,omitempty"`       // it took
	Idle      time.Duration `json:"idle,omitempty"`       // the last live pass that copied nothing took
	Final     time.Duration `json:"final,omitempty"`      // the last final pass took
}

// Field is an x_ column.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Thaw holds all that is needed to thaw an account when the plan cannot be read.
type Thaw struct {
	Driver  string            `json:"driver"`
	Command []string          `json:"command,omitempty"`
	Dir     string            `json:"dir,omitempty"`
	Timeout time.Duration     `json:"timeout,omitempty"`
	Request map[string]string `json:"request"`

	// Of a platform's own driver. Paths are whole.
	URL          string   `json:"url,omitempty"`
	Login        string   `json:"login,omitempty"`
	Secret       string   `json:"secret,omitempty"` // a reference, never the secret
	CAFile       string   `json:"ca_file,omitempty"`
	DenyFile     string   `json:"deny_file,omitempty"`
	TransportMap string   `json:"transport_map,omitempty"`
	Postmap      []string `json:"postmap,omitempty"`
	Route        string   `json:"route,omitempty"`
}

// Promise is what was announced for an account last. What was not recorded is
// empty and binds nobody.
type Promise struct {
	Date         string        `json:"date"` // 2006-01-02, the night
	From         time.Duration `json:"from"` // the window, since midnight
	Until        time.Duration `json:"until"`
	Zone         string        `json:"zone,omitempty"`         // that these are local to
	Interruption time.Duration `json:"interruption,omitempty"` // the longest
	Temporary    bool          `json:"temporary"`
	Deliver      string        `json:"deliver,omitempty"` // of the list of temporary passwords: before, after
	Target       string        `json:"target"`
	Login        string        `json:"login,omitempty"` // address at the target, where it is another
	Contact      string        `json:"contact,omitempty"`
	Residency    []string      `json:"residency,omitempty"`
}

// Delivery is what became of one reader's copy of a notice.
type Delivery struct {
	To        string    `json:"to"`
	Verdict   string    `json:"verdict"` // accepted refused later unknown
	Text      string    `json:"text,omitempty"`
	At        time.Time `json:"at"`
	Night     string    `json:"night,omitempty"` // that it named
	Only      []string  `json:"only,omitempty"`  // accounts it was about; nil: all that moved
	MessageID string    `json:"message_id"`
}

// Accepted says that the relay took the copy.
func (d *Delivery) Accepted() bool { return d != nil && d.Verdict == "accepted" }

// Final says that the copy is not tried again by itself.
func (d *Delivery) Final() bool { return d != nil && d.Verdict != "later" }

// Lost says that the copy may not have arrived, and is not tried again by itself.
func (d *Delivery) Lost() bool {
	return d != nil && (d.Verdict == "refused" || d.Verdict == "unknown")
}

// Marshal and Unmarshal keep the stored form in one place for all stores.
func (s State) Marshal() ([]byte, error) { return json.Marshal(s) }

// Unmarshal reads what Marshal wrote into s, leaving Key as it is.
func (s *State) Unmarshal(data []byte) error {
	key := s.Key
	*s = State{}
	if err := json.Unmarshal(data, s); err != nil {
		return err
	}
	s.Key = key
	return nil
}

// Out says that the user is locked out of the source mailbox.
func (s State) Out() bool { return !s.FrozenAt.IsZero() && s.ReleasedAt.IsZero() }

// Release ends the interruption at now and adds it up; to nothing where the
// clock was set back since the freeze.
func (s *State) Release(now time.Time) {
	if s.Out() {
		s.ReleasedAt = now
		s.Interrupted += max(now.Sub(s.FrozenAt), 0)
	}
}

// Moved says that the account has been switched; a rollback may have followed.
func (s State) Moved() bool { return s.Phase == Switched || s.Back() }

// Back says that the account was rolled back, or is about to be.
func (s State) Back() bool { return s.Phase == RollingBack || s.Phase == RolledBack }

// InCutover says that a cutover has begun and has not ended.
func (s State) InCutover() bool {
	switch s.Phase {
	case Frozen, Verified, Ready, Switching:
		return true
	default:
		return false
	}
}
