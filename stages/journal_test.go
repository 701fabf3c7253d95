package stages_test

import (
	"context"
	"errors"
	"sync"

	"godwit/pipeline"
	"godwit/pipeline/ledger"
)

// errKilled is what a stage gets for every write after the process "died".
var errKilled = errors.New("killed")

// journal is a Journal over the real ledger for a single task. It can die:
// instead of its nth write, or right after it.
type journal struct {
	h     *hoster
	key   ledger.Key
	fate  *fate
	marks map[string]ledger.Mark
}

// fate is shared by the journals of one process.
type fate struct {
	mu     sync.Mutex
	writes int
	dieAt  int  // the write that is the last, counted from 1; 0: never
	after  bool // the last write still reaches the disk
}

func (h *hoster) journal(key ledger.Key) *journal { return h.mortal(key, &fate{}) }

func (h *hoster) mortal(key ledger.Key, f *fate) *journal {
	h.t.Helper()
	marks, err := h.ledger.Marks(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	return &journal{h: h, key: key, fate: f, marks: marks}
}

func (j *journal) write(ctx context.Context, c ledger.Change) error {
	f := j.fate
	f.mu.Lock() // folders are copied side by side
	defer f.mu.Unlock()
	f.writes++
	if f.dieAt != 0 && (f.writes > f.dieAt || f.writes == f.dieAt && !f.after) {
		return errKilled
	}
	if err := j.h.ledger.Write(context.WithoutCancel(ctx), c); err != nil {
		return err
	}
	if f.writes == f.dieAt {
		return errKilled
	}
	return nil
}

func (j *journal) Begin(ctx context.Context, effect string, change func(*ledger.State)) error {
	return j.End(ctx, effect, ledger.Intent, "", change)
}

func (j *journal) End(ctx context.Context, effect string, mark ledger.Mark, text string, change func(*ledger.State)) error {
	c := ledger.Change{Key: j.key, Entry: &ledger.Entry{At: j.h.clock.Now(), Key: j.key, Stage: "test", Effect: effect, Mark: mark, Text: text}}
	if change != nil {
		s := j.State()
		change(&s)
		c.State = &s
	}
	if err := j.write(ctx, c); err != nil {
		return err
	}
	if mark != ledger.Note {
		j.marks[effect] = mark
	}
	return nil
}

func (j *journal) Last(effect string) ledger.Mark { return j.marks[effect] }

func (j *journal) State() ledger.State {
	rows, err := j.h.ledger.States(context.Background(), j.key.Batch)
	if err != nil {
		panic(err)
	}
	for _, s := range rows {
		if s.Key == j.key {
			return s
		}
	}
	return ledger.State{Key: j.key}
}

func (j *journal) Get(ctx context.Context, name string) ([]byte, error) {
	return j.h.ledger.Kept(ctx, j.key, name)
}

func (j *journal) Put(ctx context.Context, changes map[string][]byte) error {
	return j.write(ctx, ledger.Change{Key: j.key, Keep: changes})
}

func (j *journal) Account(address string) pipeline.Journal {
	key := j.key
	key.Account = address
	return j.h.mortal(key, j.fate)
}
