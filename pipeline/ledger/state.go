package ledger

import (
	"encoding/json"
	"time"
)

// Phase is how far an account has come. Phases only move forward, except that
// an undone cutover goes from Frozen or Verified back to Copied.
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

// State is what has been reached for a service or an account. The engine reads
// the named columns; everything else travels as one JSON document.
type State struct {
	Key     Key       `json:"-"`
	Phase   Phase     `json:"phase,omitempty"`
	Trouble Trouble   `json:"trouble,omitempty"`
	Origin  string    `json:"origin,omitempty"` // the stage that put it into trouble
	Reason  string    `json:"reason,omitempty"` // code of a plain sentence, for customers
	Detail  string    `json:"detail,omitempty"` // for the operator
	Next    time.Time `json:"next,omitzero"`    // not before
	Tries   int       `json:"tries,omitempty"`  // failures in a row

	Waved []string `json:"waved,omitempty"` // reasons that a person let pass once

	// An account's cutover.
	Night       string    `json:"night,omitempty"` // 2006-01-02; "" is the batch's date
	Deferrals   int       `json:"deferrals,omitempty"`
	Told        bool      `json:"told,omitempty"` // the deferral to Night was announced
	FrozenAt    time.Time `json:"frozen_at,omitzero"`
	Deadline    time.Time `json:"deadline,omitzero"`
	ReleasedAt  time.Time `json:"released_at,omitzero"`
	SwitchedAt  time.Time `json:"switched_at,omitzero"`
	VerifiedAt  time.Time `json:"verified_at,omitzero"`
	Thaw        *Thaw     `json:"thaw,omitempty"` // how to undo the freeze without the plan
	NotFrozen   bool      `json:"not_frozen,omitempty"`
	Revision    string    `json:"revision,omitempty"` // plan_revision and
	Extra       []Field   `json:"extra,omitempty"`    // x_ columns at the cutover
	ValidUntil  time.Time `json:"valid_until,omitzero"`
	PasswordAt  time.Time `json:"password_at,omitzero"` // sealed
	PasswordSet time.Time `json:"password_set,omitzero"`

	// An account's copy.
	Passes   int           `json:"passes,omitempty"`
	PassedAt time.Time     `json:"passed_at,omitzero"` // end of the last complete pass
	PassTook time.Duration `json:"pass_took,omitempty"`
	CaughtUp bool          `json:"caught_up,omitempty"` // catch-up has ended
	Folders  int           `json:"folders,omitempty"`
	Messages int           `json:"messages,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`
	Copied   int           `json:"copied,omitempty"`
	Already  int           `json:"already,omitempty"`
	Skipped  int           `json:"skipped,omitempty"`

	// A service.
	ValidatedAt time.Time          `json:"validated_at,omitzero"`
	Promise     *Promise           `json:"promise,omitempty"`
	Notices     map[string]*Notice `json:"notices,omitempty"` // by Notice.ID
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
}

// Promise is what a customer was told last.
type Promise struct {
	Date      string        `json:"date"` // 2006-01-02, the night
	From      time.Duration `json:"from"`
	Until     time.Duration `json:"until"`
	Temporary bool          `json:"temporary"`
	Target    string        `json:"target"`
	Accounts  []string      `json:"accounts"`
	At        time.Time     `json:"at"`
	Sequence  int           `json:"sequence"` // of the invite
	Kept      map[int]bool  `json:"kept"`     // N of the "Nd before" notices this promise has been told by
}

// Notice is what became of one notice, per recipient.
type Notice struct {
	ID         string               `json:"id"` // 7d@2026-12-02, changed@1, done
	Recipients map[string]*Delivery `json:"recipients"`
}

// Delivery is one recipient's copy.
type Delivery struct {
	Account   string    `json:"account,omitempty"` // "" for the contact
	Verdict   string    `json:"verdict"`           // accepted refused later unknown
	Text      string    `json:"text,omitempty"`
	At        time.Time `json:"at"`
	MessageID string    `json:"message_id"`
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

// Out says that the source account is frozen and still has to be released.
func (s State) Out() bool { return !s.FrozenAt.IsZero() && s.ReleasedAt.IsZero() }

// InCutover says that a cutover has begun and has not ended.
func (s State) InCutover() bool {
	switch s.Phase {
	case Frozen, Verified, Ready, Switching:
		return true
	default:
		return false
	}
}
