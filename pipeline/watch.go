package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"godwit/pipeline/ledger"
)

// Watcher is the guard's own side: a process that outlives the run.
//
//	the run lives: messages ─► wards ─► who is past the deadline is thawed, by the driver alone
//	the run ended: wards and ledger ─► Release: thawed, or switched to the end
//
// It holds no lock and writes nothing while the run lives. It thaws an account
// as soon as it is past its deadline, and from the deadline on grants it no
// switch; so the two cannot meet, however slowly either of them goes.
type Watcher struct {
	Stages []Stage // as Release wants them
	Log    *slog.Logger

	// Thaw and Switch call the driver and look at what came of it; both leave
	// the ledger alone. Switch finishes one that was granted.
	Thaw, Switch func(ctx context.Context, s ledger.State) error

	// Open takes the plan's lock (ledger.ErrBusy: somebody else has it), Look
	// reads beside whoever has it. Both say ErrGone where there is no ledger any
	// more.
	Open func(ctx context.Context) (ledger.Ledger, Clock, error)
	Look func(ctx context.Context) ([]ledger.State, error)

	Pace Pace

	mu    sync.Mutex
	wards map[ledger.Key]*watched
	tries sync.WaitGroup
}

// Pace says how patient a guard is; the zero Pace is what suits people.
type Pace struct {
	Spare time.Duration // past the deadline: for the run, which thaws by itself if it can
	Again time.Duration // between two tries
}

// watched is an account that is or may be frozen.
type watched struct {
	ward
	thawed bool // by us, behind the run's back: it must not switch
	ended  bool // nothing is left to do
	busy   bool
	next   time.Time // no try before
}

var (
	// ErrGone says that there is no ledger any more, so nothing to guard.
	ErrGone = errors.New("the ledger is gone")
	// ErrFrozen says that a guard gave up while accounts may still be frozen.
	ErrFrozen = errors.New("accounts may still be frozen")
)

// Watch guards the run that writes messages to in and reads answers from out.
// It returns when nobody is frozen any more. Accounts it cannot thaw are tried
// again for as long as their ledger exists.
func (w *Watcher) Watch(ctx context.Context, in io.Reader, out io.Writer) error {
	w.wards = map[ledger.Key]*watched{}
	if w.Pace == (Pace{}) {
		w.Pace = Pace{Spare: 10 * time.Second, Again: 15 * time.Second}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.listen(in, out)
	}()
	tick := time.NewTicker(min(w.Pace.Spare, time.Second))
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-tick.C:
			w.overdue(ctx)
		case <-ended:
			running = false
		}
	}
	w.tries.Wait()
	return w.orphans(ctx)
}

// listen answers the run until it ends.
func (w *Watcher) listen(in io.Reader, out io.Writer) {
	messages, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var m message
		if err := messages.Decode(&m); err != nil {
			return
		}
		if err := answers.Encode(w.answer(m)); err != nil {
			return // the run died between its question and our answer
		}
	}
}

func (w *Watcher) answer(m message) answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, hold := range m.Hold {
		hold.State.Key = hold.Key
		w.wards[hold.Key] = &watched{ward: hold}
	}
	for _, key := range m.Free {
		delete(w.wards, key)
	}
	for _, key := range m.Grant {
		if ward := w.wards[key]; ward == nil || ward.thawed || late(ward.State) > 0 {
			return answer{Refused: key.Account + " is past its deadline, and is thawed"}
		}
	}
	for _, key := range m.Grant {
		w.wards[key].Granted = true
	}
	return answer{}
}

// late is for how long an account should have been open.
func late(s ledger.State) time.Duration {
	boot, up := Uptime()
	if s.Boot == "" || boot != s.Boot { // no such clock: never of another boot, which would have ended us
		return time.Since(s.Deadline)
	}
	return up - s.DeadlineUp
}

// overdue begins what is to be done beside a run that does not do it.
func (w *Watcher) overdue(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ward := range w.wards {
		spare := w.Pace.Spare
		if ward.Granted { // the run's own tries are to have ended
			spare += switchWithin
		}
		if ward.busy || ward.ended || time.Now().Before(ward.next) || late(ward.State) < spare {
			continue
		}
		ward.busy = true
		ward.thawed = !ward.Granted // from now on: it may be open before we know
		w.tries.Go(func() { w.act(ctx, ward) })
	}
}

// act thaws an account, or finishes its switch.
func (w *Watcher) act(ctx context.Context, ward *watched) {
	do, text := w.Thaw, "thawed beside a run that does not"
	if ward.Granted {
		do, text = w.Switch, "switched beside a run that does not"
	}
	err := do(ctx, ward.State)
	w.mu.Lock()
	defer w.mu.Unlock()
	ward.busy = false
	if err == nil {
		w.Log.Warn(text, "account", ward.Key.Account, "late", late(ward.State).Round(time.Second))
		ward.ended = true
		return
	}
	ward.next = time.Now().Add(w.Pace.Again)
	w.Log.Error("NOT THAWED", "account", ward.Key.Account, "error", err)
}

// orphans ends what the run left.
func (w *Watcher) orphans(ctx context.Context) error {
	// Short at first: the run's lock ends a moment after its pipe.
	for pause := 100 * time.Millisecond; len(w.wards) > 0; pause = min(2*pause, w.Pace.Again) {
		left, err := w.release(ctx)
		switch {
		case errors.Is(err, ErrGone):
			return fmt.Errorf("%w: %w", ErrFrozen, err)
		case errors.Is(err, ledger.ErrBusy):
			err = w.beside(ctx)
		case err == nil && len(left) == 0:
			return nil
		}
		if err != nil || len(left) > 0 {
			w.Log.Error("*** ACCOUNTS MAY STILL BE FROZEN ***", "accounts", len(left), "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(ErrFrozen, ctx.Err())
		}
	}
	return nil
}

// release takes the ledger and ends every cutover in it.
func (w *Watcher) release(ctx context.Context) ([]ledger.State, error) {
	l, clock, err := w.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := w.unswitch(ctx, l, clock); err != nil {
		return nil, err
	}
	return Release(ctx, l, w.Stages, clock, w.Log, nil)
}

// unswitch takes back an intent to switch which the run wrote down and which was
// refused, if it died before it could do so itself.
func (w *Watcher) unswitch(ctx context.Context, l ledger.Ledger, clock Clock) error {
	states, err := l.Underway(ctx)
	if err != nil {
		return err
	}
	for _, s := range states {
		ward := w.wards[s.Key]
		if ward == nil || !ward.thawed || s.Phase != ledger.Switching || !s.FrozenAt.Equal(ward.State.FrozenAt) {
			continue
		}
		b, err := openBook(ctx, l, clock, s.Key.Batch)
		if err != nil {
			return err
		}
		if err := b.write(ctx, s.Key, refused(s), func(s *ledger.State) { s.Phase = ledger.Ready }); err != nil {
			return err
		}
		ward.thawed = false
	}
	return nil
}

// refused is the history's line of a switch that was not begun.
func refused(s ledger.State) *ledger.Entry {
	return &ledger.Entry{Key: s.Key, Stage: Credentials, Effect: "switch", Mark: ledger.Failed, Text: "not begun: the account is past its deadline, and is thawed"}
}

// beside looks after what the run left while another one has the ledger. That
// one releases it first of all; if it hangs, what is past its deadline is thawed
// all the same.
func (w *Watcher) beside(ctx context.Context) error {
	states, err := w.Look(ctx)
	if err != nil {
		return err
	}
	now := map[ledger.Key]ledger.State{}
	for _, s := range states {
		now[s.Key] = s
	}
	w.mu.Lock()
	for key, ward := range w.wards {
		s, underway := now[key]
		if !underway || !s.FrozenAt.Equal(ward.State.FrozenAt) {
			delete(w.wards, key) // released, or in another one's care by now
		}
		ward.Granted = s.Phase == ledger.Switching && !ward.thawed
	}
	w.mu.Unlock()
	w.overdue(ctx)
	w.tries.Wait()
	return nil
}
