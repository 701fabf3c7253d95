package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
	"godwit/pipeline/ledger/ledgertest"
	"godwit/plans"
)

// sim is a hoster in simulated time (testing/synctest): the engine is the real
// one, with its own timers; its stages are fakes that do what the real ones write
// into the ledger, and each of their effects on the world can go wrong. What
// happened in the world is recorded for the checker, which asks nobody else.
//
// Whether a fault strikes depends on the seed, the account and how often it was
// tried, not on the order in which goroutines run.
type sim struct {
	t         *testing.T
	seed      uint64
	odds      float64 // of each fault at each try
	disk      ledgertest.Memory
	dir       string
	programme *programme
	plan      *plans.Plan

	mu     sync.Mutex
	boxes  map[string]*box // by address
	events []event
	tries  map[string]int
	lives  int // processes begun
	busy   int // starts that found another at work
	dead   int // processes that were killed
	skew   time.Duration
	worked int // runs that carried out a task
}

// box is a mailbox as it really is.
type box struct {
	frozen, switched bool
	stubborn         int // thaws that will fail
}

// event is something that happened in the world.
type event struct {
	at      time.Time // as the machine's clock showed it
	truly   time.Time
	process int
	what    string // frozen thawed verified password switched mail begin end killed retry edit fault
	account string
	service string
	text    string
	mail    *mail
}

// mail is a notice that the relay saw.
type mail struct {
	id, when, to, user string // user: the account, "" for the contact
	contact            string
	night              string
	start, end         time.Time
	only               []string
	sequence           int
	verdict            string
	again              bool // after a process died between sending and writing it down
	onlyContact        bool
}

func (s *sim) happened(p *process, e event) {
	e.truly = time.Now()
	e.at = e.truly.Add(s.skew).In(s.plan.Timezone)
	if p != nil {
		e.process = p.id
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// strikes says whether a fault happens to who this time.
func (s *sim) strikes(fault, who string) bool {
	s.mu.Lock()
	s.tries[fault+who]++
	n := s.tries[fault+who]
	s.mu.Unlock()
	hit := s.dice(fault, who, fmt.Sprint(n)) < s.odds
	if hit {
		s.happened(nil, event{what: "fault", account: who, text: fault})
	}
	return hit
}

// dice is a number in [0, 1).
func (s *sim) dice(words ...string) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, s.seed, words)
	x := h.Sum64() // fnv's high bits are poor for short texts
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return float64(x>>11) / (1 << 53)
}

func (s *sim) box(address string) *box {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boxes[address] == nil {
		s.boxes[address] = &box{}
	}
	return s.boxes[address]
}

// change changes a mailbox, and says what was so before.
func (s *sim) change(address string, do func(*box)) (was box) {
	b := s.box(address)
	s.mu.Lock()
	defer s.mu.Unlock()
	was = *b
	do(b)
	return was
}

// bulk is the mailbox's size: a few large ones among many small.
func (s *sim) bulk(address string) int64 { return int64(1e6 * math.Exp(6*s.dice("size", address))) }

// process is one start of the program.
type process struct {
	id     int
	dieAt  int64 // number of the write at which it is killed; 0: it lives
	after  bool  // the write reaches the disk
	writes atomic.Int64
	gone   atomic.Bool
	cancel context.CancelFunc
	hurry  chan struct{}
}

var errDead = errors.New("this process is dead")

func (p *process) die() {
	if p.gone.CompareAndSwap(false, true) {
		p.cancel()
		close(p.hurry)
	}
}

// mortal is the ledger as a process sees it that may be killed at a write.
type mortal struct {
	ledger.Ledger
	process *process
}

func (m mortal) Write(ctx context.Context, changes ...ledger.Change) error {
	p := m.process
	if p.gone.Load() {
		return errDead
	}
	dies := p.writes.Add(1) == p.dieAt
	if dies && !p.after {
		p.die()
		return errDead
	}
	err := m.Ledger.Write(ctx, changes...)
	if dies {
		p.die()
		return errDead
	}
	return err
}

// start is one start of the program by cron. dieAt is the write at which it is
// killed.
func (s *sim) start(dieAt int64, after bool) {
	l, err := s.disk.Open(false)
	if errors.Is(err, ledger.ErrBusy) {
		s.mu.Lock()
		s.busy++
		s.mu.Unlock()
		return
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.lives++
	p := &process{id: s.lives, dieAt: dieAt, after: after, cancel: cancel, hurry: make(chan struct{})}
	s.happened(p, event{what: "begin"})
	r := pipeline.Runner{
		Plan: s.plan, Ledger: mortal{l, p}, Stages: s.stages(p), Clock: pipeline.Starting(time.Now().Add(s.skew)),
		Log: slog.New(slog.DiscardHandler), Hurry: p.hurry, Patience: 3 * time.Minute,
	}
	tally, err := r.Run(ctx)
	switch {
	case p.gone.Load():
		s.dead++
		s.happened(p, event{what: "killed"})
	case err != nil:
		s.t.Errorf("%s: a run ended with %v", time.Now(), err)
	default:
		s.happened(p, event{what: "end"})
	}
	if tally.Tasks > 0 {
		s.worked++
	}
	p.die() // whatever it left ticking
	if err := l.Close(); err != nil {
		s.t.Error(err)
	}
}

// stages are those of one process.
func (s *sim) stages(p *process) []pipeline.Stage {
	var list []pipeline.Stage
	for _, name := range []string{pipeline.Validate, pipeline.Notify, pipeline.Freeze, pipeline.Copy, pipeline.Credentials} {
		stage := actor{s, p, name}
		if name == pipeline.Freeze {
			list = append(list, thawer{stage})
			continue
		}
		list = append(list, stage)
	}
	return list
}

// actor is a stage of one process.
type actor struct {
	*sim
	process *process
	name    string
}

func (a actor) Name() string { return a.name }

func (a actor) Run(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	if a.process.gone.Load() {
		return pipeline.Result{}, errDead
	}
	if a.strikes("panic", t.Account.Address+t.Stage) {
		panic("on purpose")
	}
	switch {
	case t.Stage == pipeline.Validate:
		return a.validate(ctx, t, j)
	case t.Stage == pipeline.Notify:
		return a.notify(ctx, t, j)
	case t.Stage == pipeline.Freeze:
		return a.freeze(ctx, t, j)
	case t.Stage == pipeline.Copy:
		return a.copy(ctx, t, j)
	case t.Step == pipeline.Prepare:
		return pipeline.Done(""), j.End(ctx, "temporary password", ledger.Done, "", func(s *ledger.State) { s.PasswordAt = a.now() })
	case t.Step == pipeline.Apply:
		return a.apply(ctx, t, j)
	}
	return a.reroute(ctx, t, j)
}

// now is the machine's time.
func (a actor) now() time.Time { return time.Now().Add(a.skew) }

// takes lets time pass.
func (a actor) takes(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	if a.process.gone.Load() {
		return errDead
	}
	return ctx.Err()
}

func (a actor) validate(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	if err := a.takes(ctx, 2*time.Second); err != nil {
		return pipeline.Result{}, err
	}
	if a.strikes("source away", t.Service.Name) {
		return pipeline.Later("source-unreachable", "no route"), nil
	}
	return pipeline.Done(""), j.End(ctx, "checks", ledger.Done, "", func(s *ledger.State) { s.ValidatedAt = a.now() })
}

func (a actor) notify(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	later := false
	for _, to := range t.Notice.To {
		of := j
		if to.Account != "" {
			of = j.Account(to.Account)
		}
		verdict, err := a.send(ctx, t, of, to)
		if err != nil {
			return pipeline.Result{}, err
		}
		later = later || verdict == "later"
	}
	if later {
		return pipeline.Later("notice-failed", "the relay asks for patience"), nil
	}
	return pipeline.Done(""), pipeline.Conclude(ctx, t, j, a.now())
}

func (a actor) send(ctx context.Context, t pipeline.Task, j pipeline.Journal, to pipeline.Recipient) (string, error) {
	effect := "notice " + t.Notice.ID + " to " + to.Address
	m := &mail{
		id: t.Notice.ID, when: t.Notice.Plan.When, to: to.Address, user: to.Account, contact: t.Service.Contact, night: t.Night.Date,
		start: t.Night.Start, end: t.Night.End, only: t.Notice.Only, sequence: t.Notice.Sequence, verdict: "accepted", again: j.Last(effect) == ledger.Intent,
		onlyContact: len(t.Notice.Changes) == 1 && t.Notice.Changes[0].What == "contact",
	}
	if err := j.Begin(ctx, effect, nil); err != nil {
		return "", err
	}
	if err := a.takes(ctx, time.Second); err != nil {
		return "", err
	}
	for _, fault := range [][2]string{{"answer lost", "unknown"}, {"mail refused", "refused"}, {"relay busy", "later"}} {
		if m.verdict == "accepted" && a.strikes(fault[0], to.Address+t.Service.Name) {
			m.verdict = fault[1]
		}
	}
	a.happened(a.process, event{what: "mail", service: t.Service.Name, account: to.Account, mail: m})
	mark := map[string]ledger.Mark{"accepted": ledger.Done, "unknown": ledger.Unknown}[m.verdict]
	if mark == "" {
		mark = ledger.Failed
	}
	d := &ledger.Delivery{To: to.Address, Verdict: m.verdict, At: a.now(), Night: t.Night.Date, Only: t.Notice.Only}
	return m.verdict, j.End(ctx, effect, mark, "", func(s *ledger.State) {
		if s.Notices == nil {
			s.Notices = map[string]*ledger.Delivery{}
		}
		s.Notices[t.Notice.ID] = d
	})
}

func (a actor) freeze(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	who := t.Account.Address
	err := j.Begin(ctx, "freeze", func(s *ledger.State) {
		now := a.now()
		s.Phase, s.Night, s.FrozenAt, s.ReleasedAt = ledger.Frozen, t.Night.Date, now, time.Time{}
		s.Deadline = now.Add(t.Batch.Window.MaxInterruption)
		s.Thaw = &ledger.Thaw{Driver: "exec"}
	})
	if err != nil {
		return pipeline.Result{}, err
	}
	fail := func(err error) (pipeline.Result, error) {
		return pipeline.Result{}, errors.Join(err, j.End(ctx, "freeze", ledger.Failed, err.Error(), nil))
	}
	switch {
	case a.strikes("freeze refused", who):
		return fail(errors.New("no"))
	case a.strikes("freeze says later", who):
		return pipeline.Later("busy", "75"), j.End(ctx, "freeze", ledger.Failed, "75", nil)
	case a.strikes("freeze lies", who):
		return pipeline.Later("not-frozen", "its check says open"), j.End(ctx, "freeze", ledger.Failed, "open", nil)
	}
	a.change(who, func(b *box) { b.frozen = true })
	a.happened(a.process, event{what: "frozen", account: who, service: t.Service.Name, text: t.Night.Date})
	took := 2 * time.Second
	if a.strikes("freeze late", who) {
		took = time.Duration(a.dice("late", who) * float64(2*t.Batch.Window.MaxInterruption))
	}
	if err := a.takes(ctx, took); err != nil {
		return fail(err)
	}
	if a.strikes("freeze failed but froze", who) {
		return fail(errors.New("connection reset"))
	}
	return pipeline.Done("frozen"), j.End(ctx, "freeze", ledger.Done, "", nil)
}

// thawer is the freeze stage with its Undo.
type thawer struct{ actor }

func (a thawer) Undo(ctx context.Context, t pipeline.Task, j pipeline.Journal) error {
	state := j.State()
	if a.process.gone.Load() {
		return errDead
	}
	if !state.InCutover() || state.Phase == ledger.Switching {
		return nil
	}
	who := state.Key.Account
	unwritten := j.Begin(ctx, "thaw", nil)
	if a.strikes("thaw fails", who) {
		a.change(who, func(b *box) { b.stubborn = 1 + int(5*a.dice("stubborn", who)) })
	}
	if was := a.change(who, func(b *box) { b.stubborn = max(0, b.stubborn-1) }); was.stubborn > 0 {
		return errors.Join(errors.New("the driver is away"), unwritten, j.End(ctx, "thaw", ledger.Failed, "away", nil))
	}
	if was := a.change(who, func(b *box) { b.frozen = false }); was.frozen {
		a.happened(a.process, event{what: "thawed", account: who, service: state.Key.Service})
	}
	return errors.Join(unwritten, j.End(ctx, "thaw", ledger.Done, "", func(s *ledger.State) {
		s.Phase = ledger.Copied
		s.Release(a.now())
	}))
}

func (a actor) copy(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	who := t.Account.Address
	whole := time.Duration(float64(a.bulk(who)) / 1e6 * float64(time.Second)) // at 1 MB/s
	state := j.State()
	took := whole
	if state.Passes > 0 {
		took = whole/20 + time.Second
	}
	if t.Step == pipeline.Precopy {
		if err := j.Begin(ctx, "pass", func(s *ledger.State) {
			if s.Phase == ledger.New {
				s.Phase = ledger.Copying
			}
		}); err != nil {
			return pipeline.Result{}, err
		}
	}
	if a.strikes("copy slow", who) {
		took = 20 * took
	}
	if a.strikes("source hangs", who) {
		took = 10 * time.Hour
		if t.Step != pipeline.Final { // the stage's own stall timer
			took = time.Minute
		}
	}
	begun := time.Now()
	if err := a.takes(ctx, took); err != nil {
		return pipeline.Result{}, err
	}
	switch {
	case a.strikes("copy fails", who):
		return pipeline.Result{}, errors.New("connection reset")
	case a.strikes("over quota", who):
		return pipeline.Failed("over-quota", "the target is full"), nil
	case t.Step == pipeline.Final && a.strikes("verify wrong", who):
		return pipeline.Failed("not-verified", "3 messages differ"), nil
	}
	if t.Step == pipeline.Final {
		a.happened(a.process, event{what: "verified", account: who})
	}
	return pipeline.Done(""), j.End(ctx, "pass", ledger.Done, "", func(s *ledger.State) {
		s.PassedAt, s.PassTook, s.Bytes = a.now(), time.Since(begun), a.bulk(who)
		s.Passes++
		switch t.Step {
		case pipeline.Precopy:
			s.Phase = ledger.Copied
		case pipeline.Final:
			s.Phase, s.VerifiedAt = ledger.Verified, s.PassedAt
		}
	})
}

func (a actor) apply(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	who := t.Account.Address
	if err := a.takes(ctx, time.Second); err != nil {
		return pipeline.Result{}, err
	}
	if t.Account.Passwords == "temporary" && j.Last("set password") != ledger.Done {
		if err := j.Begin(ctx, "set password", nil); err != nil {
			return pipeline.Result{}, err
		}
		a.happened(a.process, event{what: "password", account: who})
		if a.strikes("password answer lost", who) {
			return pipeline.Later("busy", "timeout"), j.End(ctx, "set password", ledger.Unknown, "", nil)
		}
		if err := j.End(ctx, "set password", ledger.Done, "", nil); err != nil {
			return pipeline.Result{}, err
		}
	}
	return pipeline.Done(""), j.End(ctx, "credentials", ledger.Done, "", func(s *ledger.State) { s.Phase, s.PasswordSet = ledger.Ready, a.now() })
}

func (a actor) reroute(ctx context.Context, t pipeline.Task, j pipeline.Journal) (pipeline.Result, error) {
	who := t.Account.Address
	finish := func() (pipeline.Result, error) {
		return pipeline.Done(""), j.End(ctx, "switch", ledger.Done, "", func(s *ledger.State) {
			s.Phase, s.SwitchedAt, s.Deferrals = ledger.Switched, a.now(), 0
			s.Release(s.SwitchedAt)
		})
	}
	resumed := j.State().Phase == ledger.Switching
	if !resumed && ctx.Err() != nil {
		return pipeline.Result{}, ctx.Err()
	}
	if err := j.Begin(ctx, "switch", func(s *ledger.State) { s.Phase = ledger.Switching }); err != nil {
		return pipeline.Result{}, err
	}
	if resumed && a.change(who, func(*box) {}).switched {
		return finish()
	}
	if a.strikes("switch refused", who) {
		return pipeline.Later("internal", "again"), j.End(ctx, "switch", ledger.Unknown, "", nil)
	}
	if err := a.takes(ctx, time.Second); err != nil {
		return pipeline.Result{}, err
	}
	a.change(who, func(b *box) { b.switched, b.frozen = true, false })
	a.happened(a.process, event{what: "switched", account: who, service: t.Service.Name})
	if a.strikes("switch cut off", who) {
		return pipeline.Result{}, errors.New("answer lost")
	}
	return finish()
}

// programme is what the hoster writes, in a form that can be edited.
type programme struct {
	zone    string
	days    string
	batches []*night
}

type night struct {
	name, date, from, until string
	hold                    bool
	services                []*customer
}

type customer struct {
	name, contact string
	rows          []*row
}

type row struct {
	account, action, passwords string
	gone                       bool
}

// text is the plan.
func (p *programme) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: 1
name: year
timezone: %s
source: {imap: {address: "imap.old.example:993", auth: master, login: m, secret: env:X}, freeze: {driver: exec, command: ["/bin/true"]}}
targets:
  new: {imap: {address: "imap.new.example:993", auth: master, login: m, secret: env:X}, admin: {driver: exec, command: ["/bin/true"]}}
notices:
  from: "M <m@host.example>"
  smtp: {address: "smtp.host.example:587", tls: starttls}
  send:
    - {when: 7d before, to: [contact], template: announce}
    - {when: 1d before, to: [contact, user], template: remind}
    - {when: done, to: [contact], template: done}
window: {from: "22:00", until: "05:00", max_interruption: 15m%s}
copy: {accounts: 8}
batches:
`, p.zone, p.days)
	for _, n := range p.batches {
		fmt.Fprintf(&b, "  - {name: %s, date: %s, accounts: %s.csv, hold: %v, window: {from: %q, until: %q}}\n", n.name, n.date, n.name, n.hold, n.from, n.until)
	}
	return b.String()
}

// list is a batch's account list.
func (n *night) list() string {
	var b strings.Builder
	b.WriteString("service,account,contact,action,passwords\n")
	for _, c := range n.services {
		for _, r := range c.rows {
			if !r.gone {
				fmt.Fprintf(&b, "%s,%s,%s,%s,%s\n", c.name, r.account, c.contact, r.action, r.passwords)
			}
		}
	}
	return b.String()
}

// write writes plan and lists, and loads them as the program does.
func (s *sim) write() {
	s.t.Helper()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	put("plan.yaml", s.programme.text())
	for _, n := range s.programme.batches {
		put(n.name+".csv", n.list())
	}
	p, err := plans.Load(filepath.Join(s.dir, "plan.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.plan != nil {
		s.plan.Close()
	}
	s.plan = p
}

func newSim(t *testing.T, seed uint64, odds float64, p *programme) *sim {
	s := &sim{t: t, seed: seed, odds: odds, dir: t.TempDir(), programme: p, boxes: map[string]*box{}, tries: map[string]int{}}
	s.write()
	return s
}

// until lets time pass.
func (s *sim) until(at time.Time) { time.Sleep(time.Until(at)) }

// rows are the ledger's states of all batches.
func (s *sim) rows() map[ledger.Key]ledger.State {
	all := map[ledger.Key]ledger.State{}
	homes, err := s.disk.Homes(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	batches := map[string]bool{}
	for _, list := range homes {
		for _, b := range list {
			batches[b] = true
		}
	}
	for b := range batches {
		list, err := s.disk.States(context.Background(), b)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, state := range list {
			all[state.Key] = state
		}
	}
	return all
}

// rests reads until when a batch rests, as the ledger keeps it.
func (s *sim) rests(batch string) (since, until time.Time) {
	var r struct{ Since, Until time.Time }
	data, err := s.disk.Kept(context.Background(), ledger.Key{Batch: batch}, "rest")
	if err != nil || data == nil {
		return since, until
	}
	if err := json.Unmarshal(data, &r); err != nil {
		s.t.Fatal(err)
	}
	return r.Since, r.Until
}
