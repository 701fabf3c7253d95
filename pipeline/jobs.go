package pipeline

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"godwit/pipeline/ledger"
	"godwit/plans"
)

// job is a service that a run may work on.
type job struct {
	book    *book
	subject Subject
	running bool
	until   time.Time // nothing falls due before; only its own work changes that
	err     error     // of the ledger; the service is left alone
}

// accountsAtOnce is the plan's number, and no more than there are connections
// for: a frozen account must not wait for one.
func accountsAtOnce(plan *plans.Plan) int {
	n := plan.Copy.Accounts
	if most := plan.Source.IMAP.MaxConnections; most > 0 {
		n = min(n, most)
	}
	for _, t := range plan.Targets {
		if most := t.IMAP.MaxConnections; most > 0 {
			n = min(n, most)
		}
	}
	return n
}

// jobs are the services of all batches, those whose night is near first, small
// before large.
func (r *Runner) jobs(ctx context.Context) ([]*job, error) {
	r.books = map[string]*book{}
	awake, err := r.awake(ctx)
	if err != nil || len(awake) == 0 {
		return nil, err
	}
	strays, err := r.carryOver(ctx)
	if err != nil {
		return nil, err
	}
	var list []*job
	for _, batch := range awake {
		b, err := openBook(ctx, r.Ledger, r.Clock, batch.Name)
		if err != nil {
			return nil, err
		}
		b.guard = r.Guard
		r.books[batch.Name] = b
		for service := range batch.Services() {
			if !strays[service.Name] {
				list = append(list, &job{book: b, subject: subject(r.Plan, batch, service, b.rows)})
			}
		}
	}
	states := map[string][]ledger.State{}
	for name, b := range r.books {
		states[name] = slices.Collect(maps.Values(b.rows))
	}
	pace := Measure(r.Plan, states)
	for _, j := range list {
		j.subject.Pace = pace
	}
	slices.SortStableFunc(list, func(x, y *job) int {
		if c := x.subject.Batch.Date.Compare(y.subject.Batch.Date); c != 0 {
			return c
		}
		return size(x.subject, x.subject.Service.Accounts...).compare(size(y.subject, y.subject.Service.Accounts...))
	})
	return list, nil
}

// awake are the batches of which something may be due.
func (r *Runner) awake(ctx context.Context) ([]*plans.Batch, error) {
	var list []*plans.Batch
	now := r.Clock.Now()
	for _, batch := range r.Plan.Batches {
		if r.Batch != "" && batch.Name != r.Batch {
			continue
		}
		rest, err := restOf(ctx, r.Ledger, batch.Name)
		if err != nil {
			return nil, err
		}
		if !r.wakeAll && rest.lasts(r.Plan, now) {
			r.resting = append(r.resting, rest)
			continue
		}
		list = append(list, batch)
	}
	return list, nil
}

// bulk is how much of a service or an account is left, and how much it has.
type bulk struct{ left, has int64 }

func (x bulk) compare(y bulk) int {
	return cmp.Or(cmp.Compare(x.left, y.left), cmp.Compare(x.has, y.has))
}

func size(s Subject, accounts ...plans.Account) (sum bulk) {
	for _, a := range accounts {
		state := s.Accounts[a.Address]
		sum.has += state.Bytes
		if state.Phase == ledger.New || state.Phase == ledger.Copying {
			sum.left += state.Bytes
		}
	}
	return sum
}

// smallFirst are a service's accounts in the order in which they move, so that
// most users are done early.
func smallFirst(s Subject) []plans.Account {
	return slices.SortedStableFunc(slices.Values(s.Service.Accounts), func(x, y plans.Account) int { return size(s, x).compare(size(s, y)) })
}
