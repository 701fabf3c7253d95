package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"

	"godwit/pipeline/ledger"
)

// book holds the state rows of one batch while a run works on it, and is the
// only writer of rows and history: what is in memory is what was written. Kept
// values go past it.
type book struct {
	ledger ledger.Ledger
	clock  Clock
	guard  *Guard // told of who is frozen, and asked before a switch
	batch  string
	mu     sync.Mutex
	rows   map[ledger.Key]ledger.State
	rested bool // the ledger says that the batch rests
	fresh  bool // nothing was written since its files were
}

func openBook(ctx context.Context, l ledger.Ledger, clock Clock, batch string) (*book, error) {
	states, err := l.States(context.WithoutCancel(ctx), batch)
	if err != nil {
		return nil, err
	}
	r, err := restOf(ctx, l, batch)
	if err != nil {
		return nil, err
	}
	b := &book{ledger: l, clock: clock, batch: batch, rows: map[ledger.Key]ledger.State{}, rested: r != nil, fresh: r != nil}
	for _, s := range states {
		b.rows[s.Key] = s
	}
	return b, nil
}

func (b *book) state(key ledger.Key) ledger.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.row(key)
}

// row is a copy of the row. The caller holds the lock.
func (b *book) row(key ledger.Key) ledger.State {
	s := b.rows[key]
	s.Key = key
	return s
}

func (b *book) subject(s Subject) Subject {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := subject(s.Plan, s.Batch, s.Service, b.rows)
	now.Pace = s.Pace
	return now
}

// write makes an entry, a change of the row, or both durable. It goes through
// when the run is being stopped: what happened must be known. The lock is held
// over reading, changing and writing, so that no change is lost.
func (b *book) write(ctx context.Context, key ledger.Key, entry *ledger.Entry, change func(*ledger.State)) error {
	return b.writeAll(ctx, []ledger.Key{key}, entry, change)
}

// writeAll changes several rows, all or none. Its error may also be the guard's,
// who forbids the step that was written down: a switch is then taken back.
func (b *book) writeAll(ctx context.Context, keys []ledger.Key, entry *ledger.Entry, change func(*ledger.State)) error {
	passed, err := b.commit(ctx, keys, entry, change)
	if err != nil {
		return err
	}
	err = b.guard.follow(passed)
	if !errors.Is(err, errThawed) {
		return err
	}
	for _, p := range passed {
		_, unwritten := b.commit(ctx, []ledger.Key{p.key}, refused(p.now), func(s *ledger.State) {
			if s.Phase == ledger.Switching {
				s.Phase = p.was.Phase
			}
		})
		if unwritten != nil { // it is to be thawed all the same
			b.mu.Lock()
			b.rows[p.key] = p.was
			b.mu.Unlock()
		}
		err = errors.Join(err, unwritten)
	}
	return err
}

func (b *book) commit(ctx context.Context, keys []ledger.Key, entry *ledger.Entry, change func(*ledger.State)) ([]passage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var changes []ledger.Change
	var passed []passage
	for _, key := range keys {
		c := ledger.Change{Key: key}
		if entry != nil {
			e := *entry
			e.Key, e.At = key, b.clock.Now()
			c.Entry = &e
		}
		if change != nil {
			s := b.row(key)
			s.Notices, s.Kept = maps.Clone(s.Notices), maps.Clone(s.Kept)
			change(&s)
			c.State = &s
			passed = append(passed, passage{key, b.row(key), s})
		}
		changes = append(changes, c)
	}
	if b.rested { // whatever it is, somebody has to look
		changes = append(changes, ledger.Change{Key: restKey(keys[0].Batch), Keep: map[string][]byte{keptRest: nil}})
	}
	point := keys[0].Account + " " + label(entry)
	CrashPoint("before " + point)
	if err := b.ledger.Write(context.WithoutCancel(ctx), changes...); err != nil {
		return nil, err
	}
	CrashPoint("after " + point)
	b.rested, b.fresh = false, false
	for _, p := range passed {
		b.rows[p.key] = p.now
	}
	return passed, nil
}

// rest writes down that the batch rests.
func (b *book) rest(ctx context.Context, r rest) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	CrashPoint("before rest")
	if err := b.ledger.Write(context.WithoutCancel(ctx), ledger.Change{Key: restKey(b.batch), Keep: map[string][]byte{keptRest: data}}); err != nil {
		return err
	}
	CrashPoint("after rest")
	b.rested = true
	return nil
}

func label(e *ledger.Entry) string {
	if e == nil {
		return "state"
	}
	return e.Effect + " " + string(e.Mark)
}

// journal is the Journal of one task.
type journal struct {
	book  *book
	key   ledger.Key
	stage string
	mu    sync.Mutex
	marks map[string]ledger.Mark
}

func (b *book) journal(ctx context.Context, key ledger.Key, stage string) (*journal, error) {
	marks, err := b.ledger.Marks(context.WithoutCancel(ctx), key)
	if err != nil {
		return nil, err
	}
	return &journal{book: b, key: key, stage: stage, marks: marks}, nil
}

// blank is a journal that knows no marks.
func (b *book) blank(key ledger.Key, stage string) *journal {
	return &journal{book: b, key: key, stage: stage, marks: map[string]ledger.Mark{}}
}

func (j *journal) Begin(ctx context.Context, effect string, change func(*ledger.State)) error {
	return j.End(ctx, effect, ledger.Intent, "", change)
}

func (j *journal) End(ctx context.Context, effect string, mark ledger.Mark, text string, change func(*ledger.State)) error {
	entry := &ledger.Entry{Key: j.key, Stage: j.stage, Effect: effect, Mark: mark, Text: text}
	if err := j.book.write(ctx, j.key, entry, change); err != nil {
		return err
	}
	if mark != ledger.Note {
		j.mu.Lock()
		j.marks[effect] = mark
		j.mu.Unlock()
	}
	return nil
}

func (j *journal) Last(effect string) ledger.Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.marks[effect]
}

func (j *journal) State() ledger.State { return j.book.state(j.key) }

func (j *journal) Get(ctx context.Context, name string) ([]byte, error) {
	return j.book.ledger.Kept(ctx, j.key, name)
}

func (j *journal) Put(ctx context.Context, changes map[string][]byte) error {
	CrashPoint("before " + j.key.Account + " put")
	if err := j.book.ledger.Write(context.WithoutCancel(ctx), ledger.Change{Key: j.key, Keep: changes}); err != nil {
		return err
	}
	CrashPoint("after " + j.key.Account + " put")
	return nil
}

// Account is the journal of one account, with its own marks; where they cannot
// be read it knows none.
func (j *journal) Account(address string) Journal {
	key := j.key
	key.Account = address
	of, err := j.book.journal(context.Background(), key, j.stage)
	if err != nil {
		return j.book.blank(key, j.stage)
	}
	return of
}
