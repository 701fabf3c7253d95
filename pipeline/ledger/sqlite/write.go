package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"godwit/pipeline/ledger"
)

// writing is what one caller of Write has to make durable.
type writing struct {
	changes []ledger.Change
	done    bool
	err     error
}

// Write makes changes durable, all or none. What several callers wait for at the
// same time goes into one transaction: a disk takes as long for many as for one.
func (s *Store) Write(ctx context.Context, changes ...ledger.Change) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	w := &writing{changes: changes}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.mu.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if !w.done {
		s.mu.Lock()
		all := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		s.commit(context.WithoutCancel(ctx), all) // others wait for it as well
	}
	if w.err != nil {
		return fmt.Errorf("ledger: %w", w.err)
	}
	return nil
}

var errUnwritten = errors.New("the write ended in the middle")

// commit writes what all wait for. Where that fails, each is on its own.
func (s *Store) commit(ctx context.Context, all []*writing) {
	for _, w := range all { // a panic is somebody's to catch, and none of them is durable then
		w.done, w.err = true, errUnwritten
	}
	err := s.transactAll(ctx, all)
	for _, w := range all {
		if w.done, w.err = true, err; err != nil && len(all) > 1 {
			w.err = s.transactAll(ctx, []*writing{w})
		}
	}
}

func (s *Store) transactAll(ctx context.Context, all []*writing) error {
	known, err := s.parsed(ctx) // before a transaction has the only connection
	if err != nil {
		return err
	}
	return s.transact(ctx, func(tx *sql.Tx) error {
		for _, w := range all {
			for _, c := range w.changes {
				if err := known.write(ctx, tx, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// statements are those of which a pass needs many; they are parsed once.
type statements struct {
	entry, state, keep, drop, kept *sql.Stmt
}

func (s *Store) parsed(ctx context.Context) (*statements, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known != nil {
		return s.known, nil
	}
	known := &statements{}
	for _, one := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&known.entry, "insert into history (at, batch, service, account, stage, effect, mark, text) values (?, ?, ?, ?, ?, ?, ?, ?)"},
		{&known.state, "insert into state values (?, ?, ?, ?, ?) on conflict do update set underway = excluded.underway, data = excluded.data"},
		{&known.keep, "insert into kept values (?, ?, ?, ?, ?) on conflict do update set value = excluded.value"},
		{&known.drop, "delete from kept where batch = ? and service = ? and account = ? and name = ?"},
		{&known.kept, "select value from kept where batch = ? and service = ? and account = ? and name = ?"},
	} {
		var err error
		if *one.stmt, err = s.db.PrepareContext(ctx, one.text); err != nil {
			return nil, err
		}
	}
	s.known = known
	return known, nil
}

func (known *statements) write(ctx context.Context, tx *sql.Tx, c ledger.Change) error {
	k := c.Key
	if e := c.Entry; e != nil {
		if _, err := tx.StmtContext(ctx, known.entry).ExecContext(ctx, e.At.UnixMicro(), k.Batch, k.Service, k.Account, e.Stage, e.Effect, e.Mark, e.Text); err != nil {
			return err
		}
	}
	if c.State != nil {
		data, err := c.State.Marshal()
		if err != nil {
			return err
		}
		if _, err := tx.StmtContext(ctx, known.state).ExecContext(ctx, k.Batch, k.Service, k.Account, c.State.InCutover(), string(data)); err != nil {
			return err
		}
	}
	for name, value := range c.Keep {
		var err error
		if value == nil {
			_, err = tx.StmtContext(ctx, known.drop).ExecContext(ctx, k.Batch, k.Service, k.Account, name)
		} else {
			_, err = tx.StmtContext(ctx, known.keep).ExecContext(ctx, k.Batch, k.Service, k.Account, name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
