package ledgertest

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"godwit/pipeline/ledger"
)

// Memory is where ledgers lie that are kept in memory: for tests that go through
// years. What is read was marshalled when it was written, as in a real one.
type Memory struct {
	mu        sync.Mutex
	held      bool
	begun     bool
	rehearsal bool
	states    map[string]map[ledger.Key][]byte // by batch
	underway  map[ledger.Key]bool
	marks     map[ledger.Key]map[string]ledger.Mark
	kept      map[ledger.Key]map[string][]byte
	history   []ledger.Entry
}

// Open opens the ledger and takes its lock.
// Errors: ledger.ErrBusy, ledger.ErrRehearsal.
func (m *Memory) Open(rehearsal bool) (ledger.Ledger, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.held:
		return nil, ledger.ErrBusy
	case m.begun && m.rehearsal != rehearsal:
		return nil, ledger.ErrRehearsal
	case !m.begun:
		m.begun, m.rehearsal = true, rehearsal
		m.states, m.underway = map[string]map[ledger.Key][]byte{}, map[ledger.Key]bool{}
		m.marks, m.kept = map[ledger.Key]map[string]ledger.Mark{}, map[ledger.Key]map[string][]byte{}
	}
	m.held = true
	return opened{m}, nil
}

// opened is a Memory that a run holds.
type opened struct{ *Memory }

func (m opened) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = false
	return nil
}

// Write makes changes durable, all of them or none.
func (m *Memory) Write(_ context.Context, changes ...ledger.Change) error {
	rows := make([][]byte, len(changes))
	for i, c := range changes {
		if c.State == nil {
			continue
		}
		data, err := c.State.Marshal()
		if err != nil {
			return err
		}
		rows[i] = data
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, c := range changes {
		if c.Entry != nil {
			m.add(c.Key, *c.Entry)
		}
		if c.State != nil {
			if m.states[c.Key.Batch] == nil {
				m.states[c.Key.Batch] = map[ledger.Key][]byte{}
			}
			m.states[c.Key.Batch][c.Key] = rows[i]
			delete(m.underway, c.Key)
			if c.State.InCutover() {
				m.underway[c.Key] = true
			}
		}
		for name, value := range c.Keep {
			if m.kept[c.Key] == nil {
				m.kept[c.Key] = map[string][]byte{}
			}
			m.kept[c.Key][name] = slices.Clone(value)
			if value == nil {
				delete(m.kept[c.Key], name)
			}
		}
	}
	return nil
}

func (m *Memory) add(key ledger.Key, e ledger.Entry) {
	e.ID, e.Key = int64(len(m.history)+1), key
	m.history = append(m.history, e)
	if e.Mark == ledger.Note {
		return
	}
	if m.marks[key] == nil {
		m.marks[key] = map[string]ledger.Mark{}
	}
	m.marks[key][e.Effect] = e.Mark
}

func (m *Memory) rows(batch string, match func(ledger.Key) bool) ([]ledger.State, error) {
	var list []ledger.State
	for key, data := range m.states[batch] {
		if !match(key) {
			continue
		}
		s := ledger.State{Key: key}
		if err := s.Unmarshal(data); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y ledger.State) int {
		return cmp.Or(cmp.Compare(x.Key.Service, y.Key.Service), cmp.Compare(x.Key.Account, y.Key.Account))
	})
	return list, nil
}

// States returns the rows of a batch.
func (m *Memory) States(_ context.Context, batch string) ([]ledger.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows(batch, func(ledger.Key) bool { return true })
}

// Underway returns the accounts whose cutover has begun and has not ended.
func (m *Memory) Underway(context.Context) ([]ledger.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	batches := map[string]bool{}
	for key := range m.underway {
		batches[key.Batch] = true
	}
	var list []ledger.State
	for _, batch := range slices.Sorted(maps.Keys(batches)) {
		rows, err := m.rows(batch, func(k ledger.Key) bool { return m.underway[k] })
		if err != nil {
			return nil, err
		}
		list = append(list, rows...)
	}
	return list, nil
}

// Homes returns the batches that hold rows of each service.
func (m *Memory) Homes(context.Context) (map[string][]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	homes := map[string][]string{}
	for _, batch := range slices.Sorted(maps.Keys(m.states)) {
		for key := range m.states[batch] {
			if key.Service != "" && !slices.Contains(homes[key.Service], batch) {
				homes[key.Service] = append(homes[key.Service], batch)
			}
		}
	}
	return homes, nil
}

// Move carries the rows and kept values of a service over to another batch.
func (m *Memory) Move(_ context.Context, service, from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.states[to] == nil {
		m.states[to] = map[ledger.Key][]byte{}
	}
	for key, data := range m.states[from] {
		if key.Service != service {
			continue
		}
		moved := key
		moved.Batch = to
		m.states[to][moved] = data
		delete(m.states[from], key)
		if m.underway[key] {
			delete(m.underway, key)
			m.underway[moved] = true
		}
	}
	for key, values := range m.kept {
		if key.Service == service && key.Batch == from {
			moved := key
			moved.Batch = to
			m.kept[moved] = values
			delete(m.kept, key)
		}
	}
	return nil
}

// Entries yields the history of key, oldest first.
func (m *Memory) Entries(_ context.Context, key ledger.Key) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		m.mu.Lock()
		all := m.history[:len(m.history):len(m.history)]
		m.mu.Unlock()
		for _, e := range all {
			k := e.Key
			if (key.Batch == "" || key.Batch == k.Batch) && (key.Service == "" || key.Service == k.Service) && (key.Account == "" || key.Account == k.Account) && !yield(e, nil) {
				return
			}
		}
	}
}

// Marks returns the last mark of every effect of key itself.
func (m *Memory) Marks(_ context.Context, key ledger.Key) (map[string]ledger.Mark, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	marks := map[string]ledger.Mark{}
	maps.Copy(marks, m.marks[key])
	return marks, nil
}

// Kept returns a value kept for key, nil if there is none.
func (m *Memory) Kept(_ context.Context, key ledger.Key, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[key][name], nil
}
