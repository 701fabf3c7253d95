package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"godwit/pipeline/ledger"
)

// Guard is a run's side of its guard, the process that thaws what the run
// leaves frozen too long or behind (watch.go is the process's side).
//
// The book tells it of every account at three moments, each after the ledger
// has it: nobody is frozen before the guard knows how to thaw them; no switch
// is begun unless the guard, who may have thawed the account at its deadline,
// says yes; and who is open or switched is let go. A run that hung and wakes up
// again so cannot switch what was thawed behind its back.
//
// A guard that died is replaced, and told again of all that is frozen. The nil
// Guard guards nothing.
type Guard struct {
	Start func() (*GuardProcess, error)
	Log   *slog.Logger

	mu      sync.Mutex
	process *GuardProcess
	answers *json.Decoder
	held    map[ledger.Key]ward
	closed  bool
}

// GuardProcess is a guard that runs. It takes the closing of In for the end of
// the run.
type GuardProcess struct {
	In   *os.File     // messages
	Out  *os.File     // answers
	Kill func()       // returns when it is dead
	Wait func() error // returns when it has ended by itself
}

// ward is an account that a guard looks after.
type ward struct {
	Key     ledger.Key   `json:"key"`
	State   ledger.State `json:"state"`
	Granted bool         `json:"granted,omitempty"` // its switch may have begun
}

// message is what a run says to its guard, and answer what that says.
type message struct {
	Hold  []ward       `json:"hold,omitempty"`  // about to be frozen
	Grant []ledger.Key `json:"grant,omitempty"` // all or none: about to be switched
	Free  []ledger.Key `json:"free,omitempty"`  // open or switched
}

type answer struct {
	Refused string `json:"refused,omitempty"` // why; "" is yes
}

// answersWithin bounds one exchange with the guard, which only looks into its
// own memory.
const answersWithin = 10 * time.Second

// errThawed refuses a switch: the account is open again.
var errThawed = errors.New("the switch is not begun")

// hold hands an account over before it is frozen.
func (g *Guard) hold(key ledger.Key, s ledger.State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		g.held = map[ledger.Key]ward{}
	}
	w := ward{Key: key, State: s}
	if _, err := g.ask(message{Hold: []ward{w}}); err != nil {
		return fmt.Errorf("nobody is frozen without a guard: %w", err)
	}
	g.held[key] = w
	return nil
}

// grant asks whether the switch of all keys may begin.
func (g *Guard) grant(keys []ledger.Key) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, err := g.ask(message{Grant: keys})
	if err != nil {
		return fmt.Errorf("%w: the guard does not answer: %w", errThawed, err)
	}
	if a.Refused != "" {
		return fmt.Errorf("%w: %s", errThawed, a.Refused)
	}
	for _, key := range keys {
		if w, ok := g.held[key]; ok {
			w.Granted = true
			g.held[key] = w
		}
	}
	return nil
}

// free lets an account go. A guard that does not hear it looks into the ledger
// before it acts.
func (g *Guard) free(key ledger.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.held[key]; !ok {
		return
	}
	delete(g.held, key)
	if _, err := g.ask(message{Free: []ledger.Key{key}}); err != nil {
		g.Log.Warn("guard", "error", err)
	}
}

// ask makes one exchange; where the guard is gone or deaf, with a new one.
func (g *Guard) ask(m message) (answer, error) {
	if g.closed {
		return answer{}, errors.New("the run has ended")
	}
	if g.process != nil {
		a, err := g.exchange(m)
		if err == nil {
			return a, nil
		}
		g.Log.Warn("the guard is gone; another one is started", "error", err)
		g.process.Kill()
		g.process = nil
	}
	var err error
	if g.process, err = g.Start(); err != nil {
		g.process = nil
		return answer{}, fmt.Errorf("the guard cannot be started: %w", err)
	}
	g.answers = json.NewDecoder(g.process.Out)
	if len(g.held) > 0 {
		if _, err := g.exchange(message{Hold: slices.Collect(maps.Values(g.held))}); err != nil {
			return answer{}, err
		}
	}
	return g.exchange(m)
}

func (g *Guard) exchange(m message) (a answer, err error) {
	data, err := json.Marshal(m)
	if err != nil {
		return a, err
	}
	by := time.Now().Add(answersWithin)
	if err := errors.Join(g.process.In.SetWriteDeadline(by), g.process.Out.SetReadDeadline(by)); err != nil {
		return a, err
	}
	if _, err := g.process.In.Write(data); err != nil {
		return a, err
	}
	return a, g.answers.Decode(&a)
}

// Close is the end of the run. The guard ends at once where nobody is frozen;
// else it goes on by itself.
func (g *Guard) Close() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.process == nil {
		return nil
	}
	p := g.process
	g.process = nil
	err := errors.Join(p.In.Close(), p.Out.Close())
	if len(g.held) > 0 {
		return err
	}
	// One that hangs has nobody left to guard.
	defer time.AfterFunc(answersWithin, p.Kill).Stop()
	return errors.Join(err, p.Wait())
}

// follow tells the guard what became of an account. An error means that the
// step which was written down must not be taken.
func (g *Guard) follow(changes []passage) error {
	if g == nil {
		return nil
	}
	var switching []ledger.Key
	for _, c := range changes {
		guarded := c.now.InCutover() && !c.now.NotFrozen
		switch {
		case !guarded:
			g.free(c.key)
		case c.now.Phase == ledger.Switching && c.was.Phase != ledger.Switching:
			switching = append(switching, c.key)
		case c.now.Phase == ledger.Frozen && !c.now.FrozenAt.Equal(c.was.FrozenAt):
			if err := g.hold(c.key, c.now); err != nil {
				return err
			}
		}
	}
	if len(switching) == 0 {
		return nil
	}
	return g.grant(switching)
}

// passage is a row before and after a write.
type passage struct {
	key      ledger.Key
	was, now ledger.State
}

// Overdue says that an account should be open by now. Within a boot of the
// machine the time goes by its uptime, which nobody sets; else by the wall
// clock, and one that shows a time before the freeze is not believed.
func Overdue(s ledger.State, clock Clock) bool {
	if boot, up := Uptime(); s.Boot != "" && s.Boot == boot {
		return up >= s.DeadlineUp
	}
	now := clock.Now()
	return !now.Before(s.Deadline) || now.Before(s.FrozenAt)
}

// SetDeadline begins a freeze: from now on, and no longer than allowed.
func SetDeadline(s *ledger.State, now time.Time, allowed time.Duration) {
	s.FrozenAt, s.ReleasedAt = now, time.Time{}
	s.Deadline = now.Add(allowed)
	boot, up := Uptime()
	s.Boot, s.DeadlineUp = boot, up+allowed
}
