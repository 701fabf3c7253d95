package demohost

import (
	"crypto/subtle"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"

	"godwit/stages/platform"
)

// session is one IMAP connection: who it is, and the folder it has open.
type session struct {
	host *Host
	side Side
	conn *imapserver.Conn

	account  *account // nil before the login
	migrator bool

	folder   *folder // nil unless selected
	tracker  *imapserver.SessionTracker
	readOnly bool
	saved    imap.UIDSet // SEARCHRES
}

var (
	_ imapserver.SessionIMAP4rev2 = (*session)(nil)
	_ imapserver.SessionSASL      = (*session)(nil)
)

var (
	errFrozen   = refusal("UNAVAILABLE", "This mailbox is being moved, try again soon")
	errReadOnly = refusal("READ-ONLY", "The folder was opened with EXAMINE")
	errNoFolder = refusal(imap.ResponseCodeNonExistent, "No such folder")
)

func refusal(code imap.ResponseCode, text string) *imap.Error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

func (s *session) Close() error {
	s.host.mu.Lock()
	delete(s.host.sessions, s)
	s.host.mu.Unlock()
	if s.folder != nil {
		return s.Unselect()
	}
	return nil
}

// Login takes the user's own name, or "account*migrator".
func (s *session) Login(username, password string) error {
	if i := strings.LastIndexByte(username, '*'); i >= 0 {
		return s.signIn(username[:i], username[i+1:], password)
	}
	return s.signIn("", username, password)
}

func (s *session) AuthenticateMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Authenticate(mechanism string) (sasl.Server, error) {
	if mechanism != sasl.Plain {
		return nil, refusal(imap.ResponseCodeCannot, "Unknown mechanism")
	}
	return sasl.NewPlainServer(func(identity, username, password string) error {
		if identity == "" {
			return s.Login(username, password)
		}
		return s.signIn(identity, username, password)
	}), nil
}

// signIn opens the mailbox of identity for username; no identity is the user's
// own. Users are kept out of a mailbox that is frozen or has moved away, the
// migrator never is.
func (s *session) signIn(identity, username, password string) error {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	want, a := "", (*account)(nil)
	if identity == "" || identity == username {
		if a = h.accounts[s.side][username]; a != nil {
			want = a.password
		}
	} else if username == h.migrator.Login {
		want, a = h.migrator.Secret, h.accounts[s.side][identity]
		s.migrator = true
	}
	if a == nil || want == "" || subtle.ConstantTimeCompare([]byte(password), []byte(want)) != 1 {
		s.migrator = false
		return imapserver.ErrAuthFailed
	}
	if !s.migrator {
		if h.lockedOut(s.side, a.address) {
			return errFrozen
		}
		a.logins++
	}
	s.account = a
	h.sessions[s] = struct{}{}
	return nil
}

// lockedOut says whether the user may not come in; h.mu is held.
func (h *Host) lockedOut(side Side, address string) bool {
	return side == Source && h.state(address) != platform.Open
}

// change runs do, which changes the mailbox, and counts it. A user who was
// locked out meanwhile can change nothing more.
func (s *session) change(do func() error) error {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.side == Source {
		h.mutations++
	}
	if !s.migrator && h.lockedOut(s.side, s.account.address) {
		return errFrozen
	}
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	return do()
}

// changeOpen is change for the folder that is selected.
func (s *session) changeOpen(do func() error) error {
	return s.change(func() error {
		if s.readOnly {
			return errReadOnly
		}
		return do()
	})
}

// kickOut ends the user's own connections to the source; h.mu is held.
func (h *Host) kickOut(address string) {
	for s := range h.sessions {
		if s.side == Source && !s.migrator && s.account.address == address {
			_ = s.conn.NetConn().Close()
		}
	}
}
