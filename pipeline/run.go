package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

const (
	// grace is how long cutovers may go on after the first Ctrl-C.
	grace = 30 * time.Second
	// rescan is how often a run looks for services that have fallen due while
	// others are worked on.
	rescan = 30 * time.Second
	// near is a night before which a first copy may not have ended.
	near = 24 * time.Hour
)

// Runner runs what is due.
type Runner struct {
	Plan   *plans.Plan
	Ledger ledger.Ledger
	Stages []Stage
	Clock  Clock
	Log    *slog.Logger
	Guard  *Guard          // thaws what this run would leave frozen; nil: nobody does
	Batch  string          // only this one; "" for all
	Hurry  <-chan struct{} // closed: undo at once (second Ctrl-C); may be nil

	// Patience is how long a run waits for a retry that falls due in its window,
	// before it leaves the rest to the next run.
	Patience time.Duration

	taking sync.RWMutex // by who takes a cutover back, and by the run's end
	over   bool

	slots   *slots
	work    context.Context // of cutovers: outlives the first Ctrl-C by the grace time
	books   map[string]*book
	resting []*rest // batches that are passed over
	wakeAll bool    // none is: a person asks
	strays  []error // services that stay where they were, and are left alone
}

// Tally is how a run ended.
type Tally struct {
	Tasks   int               // carried out
	Trouble *multierror.Error // one error per account or service that waits
	Frozen  []ledger.State    // may still be frozen: the loudest lines
}

// Run does whatever is due and whatever falls due while it works. It begins by
// releasing what an earlier run left frozen. The error is about Godwit itself;
// what accounts ran into stands in the Tally.
func (r *Runner) Run(ctx context.Context) (Tally, error) {
	hurried(r.Plan)
	r.slots = newSlots(accountsAtOnce(r.Plan))
	stop := r.grace(ctx)
	defer stop()
	_, err := Release(ctx, r.Ledger, r.Stages, r.Clock, r.Log, nil)
	if err != nil {
		return r.end(nil, Tally{}, err)
	}
	jobs, err := r.jobs(ctx)
	if err != nil {
		return r.end(nil, Tally{}, err)
	}
	var tally Tally
	tally.Tasks = r.schedule(ctx, jobs)
	r.finish()
	for _, j := range jobs {
		err = errors.Join(err, j.err)
	}
	for _, batch := range r.Plan.Batches {
		if b := r.books[batch.Name]; b != nil && len(b.rows) > 0 && !b.fresh {
			err = errors.Join(err, r.report(context.WithoutCancel(ctx), b, batch))
		}
	}
	if err == nil && ctx.Err() == nil && len(r.strays) == 0 {
		err = r.toRest(ctx, jobs)
	}
	return r.end(jobs, tally, err)
}

// grace makes the context of cutovers.
func (r *Runner) grace(ctx context.Context) func() {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.work = work
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(grace):
		case <-r.Hurry:
		case <-work.Done():
		}
		cancel()
	})
	return func() { stop(); cancel() }
}

// schedule works on every service that has something due, side by side, until
// nothing is left. While some are worked on, others fall due and are begun.
func (r *Runner) schedule(ctx context.Context, jobs []*job) (tasks int) {
	type end struct {
		job   *job
		tasks int
		err   error
	}
	ended := make(chan end)
	running := 0
	begin := func() {
		now := r.Clock.Now()
		r.slots.reserve(r.nightNear(now))
		for rank, j := range jobs {
			if j.running || j.err != nil || ctx.Err() != nil || now.Before(j.until) || !r.wanted(j, now) {
				continue
			}
			j.running = true
			running++
			queued := make(chan struct{})
			go func() {
				n, err := r.service(ctx, j.book, j.subject, rank, sync.OnceFunc(func() { close(queued) }))
				ended <- end{j, n, err}
			}()
			<-queued // whole services together, in their order
		}
	}
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	for {
		begin()
		if running == 0 {
			if ctx.Err() != nil || !r.sleep(ctx, r.soonest(jobs)) {
				return tasks
			}
			continue
		}
		for again := false; !again && running > 0; {
			select {
			case e := <-ended:
				e.job.running, e.job.err, e.job.until = false, e.err, time.Time{}
				tasks += e.tasks
				running--
			case <-tick.C:
				again = true
			}
		}
	}
}

// nightNear says that a night may begin before a pre-copy ends that begins now.
func (r *Runner) nightNear(now time.Time) bool {
	return slices.ContainsFunc(r.Plan.Batches, func(batch *plans.Batch) bool {
		return r.books[batch.Name] != nil && NightOf(batch, batch.Date).Start.Before(now.Add(near))
	})
}

// wanted says that a service has something to be done, undone or written down; if
// not, it notes when to ask again.
func (r *Runner) wanted(j *job, now time.Time) bool {
	s := j.book.subject(j.subject)
	if len(Due(s, now)) > 0 || len(s.toUndo(now)) > 0 || len(s.verdicts(now)) > 0 {
		return true
	}
	if !anyInCutover(s) {
		j.until = s.restUntil(now)
	}
	return false
}

// sleep waits for what falls due soon; false means there is nothing to wait for.
func (r *Runner) sleep(ctx context.Context, until time.Time) bool {
	if until.IsZero() {
		return false
	}
	r.Log.Info("waiting", "until", until.In(r.Plan.Timezone).Format(time.RFC3339))
	select {
	case <-time.After(until.Sub(r.Clock.Now())):
		return true
	case <-ctx.Done():
		return false
	}
}

// soonest is when the next retry falls due that a run should wait for.
func (r *Runner) soonest(jobs []*job) time.Time {
	var soon time.Time
	now := r.Clock.Now()
	consider := func(state ledger.State) {
		near := state.Next.After(now) && state.Next.Before(now.Add(r.Patience))
		if near && (soon.IsZero() || state.Next.Before(soon)) {
			soon = state.Next
		}
	}
	for _, j := range jobs {
		if j.err != nil {
			continue
		}
		s := j.book.subject(j.subject)
		if !waitsForPerson(s.State) {
			consider(s.State)
		}
		for _, a := range s.moving() {
			state := s.Accounts[a.Address]
			night := nightFor(s.Batch, state)
			fits := !waitsForPerson(state) && night.Contains(state.Next) && s.Fits(state, night, state.Next)
			if state.InCutover() || fits {
				consider(state)
			}
		}
	}
	return soon
}

// forgotten names accounts of a book that were announced and stand in no list
// any more: a customer waits for a move that will not come.
func (b *book) forgotten(jobs []*job) []string {
	listed := map[ledger.Key]bool{}
	for _, j := range jobs {
		if j.book != b {
			continue
		}
		for _, a := range j.subject.Service.Accounts {
			listed[ledger.Key{Batch: j.subject.Batch.Name, Service: j.subject.Service.Name, Account: a.Address}] = true
		}
	}
	var list []string
	for _, key := range sorted(b.rows) {
		if s := b.state(key); s.Promise != nil && !s.Moved() && !listed[key] {
			list = append(list, fmt.Sprintf("%s: announced for %s, and no longer in any list: put it back, with action: skip if it is not to move (that sends the notice \"cancelled\")", key.Account, s.Promise.Date))
		}
	}
	return list
}

// troubles names what waits for somebody in a batch.
func (r *Runner) troubles(jobs []*job, b *book) []string {
	var list []string
	add := func(who string, state ledger.State) {
		if state.Trouble != ledger.None {
			list = append(list, fmt.Sprintf("%s: %s: %s", who, state.Trouble, state.Detail))
		}
	}
	for _, j := range jobs {
		if j.book != b {
			continue
		}
		s := b.subject(j.subject)
		for _, a := range s.Service.Accounts {
			if s.Accounts[a.Address].Phase == ledger.RollingBack {
				list = append(list, fmt.Sprintf("%s: its rollback is not finished: repeat godwit rollback --service %s", a.Address, s.Service.Name))
			}
		}
		moving := s.moving()
		if len(moving) > 0 {
			add(s.Service.Name, s.State)
		}
		for _, a := range moving {
			add(a.Address, s.Accounts[a.Address])
		}
	}
	return append(list, b.forgotten(jobs)...)
}

// finish waits for whoever is taking a cutover back at its deadline; from then on
// nobody does.
func (r *Runner) finish() {
	r.taking.Lock()
	defer r.taking.Unlock()
	r.over = true
}

// end names what waits for somebody, and who may still be frozen.
func (r *Runner) end(jobs []*job, tally Tally, err error) (Tally, error) {
	r.finish()
	var names []string
	for _, batch := range r.Plan.Batches {
		if b := r.books[batch.Name]; b != nil {
			names = append(names, r.troubles(jobs, b)...)
		}
	}
	for _, rest := range r.resting {
		names = append(names, rest.Trouble...)
	}
	for _, name := range names {
		tally.Trouble = multierror.Append(tally.Trouble, errors.New(name))
	}
	if len(r.strays) > 0 {
		tally.Trouble = multierror.Append(tally.Trouble, r.strays...)
	}
	underway, unread := r.Ledger.Underway(context.Background())
	tally.Frozen = underway
	if unread != nil { // what is in memory is what was written last
		for _, j := range jobs {
			for _, state := range j.book.subject(j.subject).Accounts {
				if state.InCutover() {
					tally.Frozen = append(tally.Frozen, state)
				}
			}
		}
	}
	return tally, errors.Join(err, unread)
}
