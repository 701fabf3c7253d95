package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// errLater ends the program with 75: try again later.
var errLater = errors.New("try again later")

// request is what Godwit's exec drivers write to stdin (DESIGN.md, 5.3).
type request struct {
	Action        string    `json:"action"`
	Rollback      bool      `json:"rollback"` // a person has a switched account thawed
	Plan          string    `json:"plan"`
	Batch         string    `json:"batch"`
	Service       string    `json:"service"`
	Account       string    `json:"account"`
	Login         string    `json:"login"`
	Target        string    `json:"target"`
	TargetAccount string    `json:"target_account"`
	Deadline      time.Time `json:"deadline"`
	Password      string    `json:"password"`
	Secret        string    `json:"secret"` // the same, as some write it
}

// hook is the hoster's own program of an exec driver. Each action may be
// asked for any number of times.
func hook(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	set := flags("hook", "hook -dir D <REQUEST.json (freeze, thaw, switch, check; ensure, set_password, activate)")
	dir := set.String("dir", "", "the lab's `folder`")
	if err := set.Parse(args); err != nil {
		return err
	}
	l, err := openLab(*dir)
	if err != nil {
		return err
	}
	var r request
	decoder := json.NewDecoder(stdin)
	if err := decoder.Decode(&r); err != nil {
		return fmt.Errorf("stdin is no request: %w", err)
	}
	switch r.Action {
	case "freeze", "thaw", "switch", "check":
		s, err := l.side("source")
		if err != nil {
			return err
		}
		return s.route(ctx, r, stdout)
	case "ensure", "set_password", "activate":
		s, err := l.side("target")
		if err != nil {
			return err
		}
		// A secret may also follow the request on stdin.
		rest, err := io.ReadAll(io.LimitReader(io.MultiReader(decoder.Buffered(), stdin), 1<<16))
		if err != nil {
			return err
		}
		return s.admin(r, string(rest))
	}
	return fmt.Errorf("action is %q; known are freeze, thaw, switch, check, ensure, set_password, activate", r.Action)
}

// route does the source's part.
func (s side) route(ctx context.Context, r request, stdout io.Writer) error {
	name := r.Login
	if name == "" {
		name = r.Account
	}
	if !s.has("userdb", name) {
		return fmt.Errorf("the source has no account %q", name)
	}
	switch r.Action {
	case "freeze":
		if err := s.put("denied", name, struct{}{}); err != nil {
			return err
		}
		return s.kick(ctx, name)
	case "thaw":
		if r.Rollback {
			if err := s.drop("routed", name); err != nil {
				return err
			}
		}
		if s.has("routed", name) {
			return fmt.Errorf("%s is switched to the target: thawing it would split its mail", name)
		}
		return s.drop("denied", name)
	case "switch":
		return s.put("routed", name, r.TargetAccount)
	}
	state := "open"
	if s.has("denied", name) {
		state = "frozen"
	}
	if s.has("routed", name) {
		state = "switched"
	}
	return json.NewEncoder(stdout).Encode(map[string]string{"state": state})
}

// kick ends the sessions that began before the freeze.
func (s side) kick(ctx context.Context, name string) error {
	out, err := exec.CommandContext(ctx, "doveadm", "-c", s.Config, "kick", name).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 68 {
		return nil // EX_NOHOST: there was nobody to kick
	}
	if err != nil {
		return fmt.Errorf("%w: doveadm kick: %w: %s", errLater, err, out)
	}
	return nil
}

// admin does the target's part.
func (s side) admin(r request, rest string) error {
	name := r.TargetAccount
	if name == "" {
		name = r.Account
	}
	switch r.Action {
	case "ensure":
		if s.has("userdb", name) {
			return nil
		}
		return s.ensure(name, "")
	case "activate":
		if !s.has("userdb", name) {
			return fmt.Errorf("the target has no account %q", name)
		}
		return s.put("activated", name, struct{}{})
	}
	password := r.Password
	for _, other := range []string{r.Secret, strings.Trim(rest, "\r\n")} {
		if password == "" {
			password = other
		}
	}
	if password == "" {
		return errors.New("set_password: stdin holds no password")
	}
	return s.setPassword(name, password)
}
