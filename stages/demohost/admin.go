package demohost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"godwit/stages/platform"
)

// Failure is how an action of the admin side goes wrong, see FailNext.
type Failure string

const (
	Later  Failure = "later"  // nothing is done; the platform asks to try again
	Broken Failure = "broken" // nothing is done; an error
	Lost   Failure = "lost"   // it is done, but the answer never comes
)

// Exit codes of Hook (DESIGN 5.3).
const (
	exitDone   = 0
	exitFailed = 1
	exitLater  = 75
)

// request is what the exec driver writes to a hook's stdin.
type request struct {
	Action        string `json:"action"`
	Rollback      bool   `json:"rollback"`
	Account       string `json:"account"`
	TargetAccount string `json:"target_account"`
	Password      string `json:"password"`
}

// answer is what the admin socket says to it.
type answer struct {
	Exit  int            `json:"exit"`
	State platform.State `json:"state,omitempty"`
	Error string         `json:"error,omitempty"`
}

// FailNext lets the next times calls of an action (freeze, thaw, switch, check,
// ensure, set_password, activate) go wrong, after those already told to.
func (h *Host) FailNext(action string, times int, how Failure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for range times {
		h.failures[action] = append(h.failures[action], how)
	}
}

// act does one action. Lost is returned with what was done.
func (h *Host) act(q request) (platform.State, Failure, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var how Failure
	if list := h.failures[q.Action]; len(list) > 0 {
		how, h.failures[q.Action] = list[0], list[1:]
	}
	switch how {
	case Later:
		return "", how, errors.New("maintenance, try later")
	case Broken:
		return "", how, errors.New("internal error of the demo host")
	}
	state, err := h.do(q)
	return state, how, err
}

func (h *Host) do(q request) (platform.State, error) {
	if h.accounts[Source][q.Account] == nil {
		return "", fmt.Errorf("the source has no account %q", q.Account)
	}
	switch q.Action {
	case "freeze", "thaw", "switch", "check":
		return h.doSource(q)
	case "ensure", "set_password", "activate":
		return "", h.doTarget(q)
	}
	return "", fmt.Errorf("unknown action %q", q.Action)
}

func (h *Host) doSource(q request) (platform.State, error) {
	switch q.Action {
	case "freeze":
		if h.state(q.Account) == platform.Switched {
			return "", fmt.Errorf("%q has moved already", q.Account)
		}
		h.states[q.Account] = platform.Frozen
		h.kickOut(q.Account)
	case "thaw":
		if h.state(q.Account) == platform.Switched && !q.Rollback {
			return "", fmt.Errorf("%q is switched: thawing it would split its mail", q.Account)
		}
		delete(h.states, q.Account)
		delete(h.route, q.Account)
		h.flush(q.Account)
	case "switch":
		to := targetOf(q)
		if h.accounts[Target][to] == nil {
			return "", fmt.Errorf("the target has no account %q", to)
		}
		h.states[q.Account], h.route[q.Account] = platform.Switched, to
		h.kickOut(q.Account)
		h.flush(q.Account)
	}
	return h.state(q.Account), nil
}

func (h *Host) doTarget(q request) error {
	to := targetOf(q)
	a := h.accounts[Target][to]
	switch {
	case q.Action == "ensure" && a == nil:
		// Hosters carry their password hashes over; so users with `keep` can sign in.
		h.accounts[Target][to] = newAccount(to, h.accounts[Source][q.Account].password, Target)
	case q.Action == "ensure":
	case a == nil:
		return fmt.Errorf("the target has no account %q", to)
	case q.Action == "set_password" && q.Password == "":
		return errors.New("the password is empty")
	case q.Action == "set_password":
		a.password = q.Password
	case q.Action == "activate":
		a.mustChange = true
	}
	return nil
}

func targetOf(q request) string {
	if q.TargetAccount != "" {
		return q.TargetAccount
	}
	return q.Account
}

// state of a source account; h.mu is held.
func (h *Host) state(address string) platform.State {
	if state, ok := h.states[address]; ok {
		return state
	}
	return platform.Open
}

// maxSocketName is what fits into a socket's address on every system.
const maxSocketName = 100

func (h *Host) serveAdmin(dir string) error {
	h.AdminSocket = filepath.Join(dir, "admin.sock")
	if len(h.AdminSocket) > maxSocketName {
		short, err := os.MkdirTemp("", "godwit")
		if err != nil {
			return err
		}
		h.closers = append(h.closers, func() error { return os.RemoveAll(short) })
		h.AdminSocket = filepath.Join(short, "admin.sock")
	}
	if err := os.Remove(h.AdminSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // of a demo that was killed
	}
	unix, err := net.Listen("unix", h.AdminSocket)
	if err != nil {
		return err
	}
	conns := &connections{Listener: unix}
	h.closers = append(h.closers, func() error { conns.drop(); return nil })
	h.serving.Go(func() {
		for {
			conn, err := conns.Accept()
			if err != nil {
				return
			}
			h.serving.Go(func() { h.serveRequest(conn) })
		}
	})
	return os.Chmod(h.AdminSocket, 0o600)
}

func (h *Host) serveRequest(conn net.Conn) {
	defer conn.Close()
	var q request
	if err := json.NewDecoder(io.LimitReader(conn, 64<<10)).Decode(&q); err != nil {
		_ = json.NewEncoder(conn).Encode(answer{Exit: exitFailed, Error: "the request is not JSON"})
		return
	}
	state, how, err := h.act(q)
	if how == Lost {
		_, _ = io.Copy(io.Discard, conn) // until the hook gives up
		return
	}
	a := answer{State: state}
	if err != nil {
		a.Exit, a.Error = exitFailed, err.Error()
	}
	if how == Later {
		a.Exit = exitLater
	}
	_ = json.NewEncoder(conn).Encode(a)
}
