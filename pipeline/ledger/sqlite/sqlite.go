// Package sqlite keeps the ledger in one file: for one machine, which is what
// most programmes need.
//
// The file is in WAL mode with synchronous=FULL, so that Write survives a power
// cut, and must not lie on a network file system. A lock file beside it, held by
// flock, says that a run is at work: the system gives it up when the process
// ends, however it ends.
package sqlite

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver

	"godwit/pipeline/ledger"
)

//go:embed schema.sql
var schema string

// version is the schema's; a ledger with a higher one is refused.
const version = 1

// Store is a ledger in a SQLite file.
type Store struct {
	db   *sql.DB
	lock *os.File

	writing sync.Mutex // held by who commits for all that wait
	mu      sync.Mutex
	waiting []*writing
	known   *statements // nil until one is needed
}

// Open opens the ledger in file for a run and takes its lock; the file is made
// if it does not exist. A rehearsal is a ledger begun with a set clock: it
// accepts nothing else, and a real one accepts no rehearsal.
// Errors: ledger.ErrBusy, ledger.ErrRehearsal, ledger.ErrNewer.
func Open(ctx context.Context, file string, rehearsal bool) (*Store, error) {
	if err := refuseNetwork(file); err != nil {
		return nil, err
	}
	lock, err := hold(file + ".lock")
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, file, "rwc")
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	if err := s.prepare(ctx, rehearsal); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", file, err), s.Close())
	}
	return s, nil
}

// Read opens the ledger in file to look at it, beside a run if there is one.
// The error wraps os.ErrNotExist if nothing has run yet, also where a first run
// is just making the file.
func Read(ctx context.Context, file string) (*Store, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, err
	}
	s, err := open(ctx, file, "rw")
	if err != nil {
		return nil, err
	}
	have, err := s.compatible(ctx)
	if err == nil && have == 0 {
		err = fmt.Errorf("%s: the first run is just making it: %w", file, os.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if _, err := s.db.ExecContext(ctx, "pragma query_only = on"); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func hold(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(ledger.ErrBusy, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file, err), f.Close())
	}
	return f, nil
}

func open(ctx context.Context, file, mode string) (*Store, error) {
	if mode == "rwc" { // before SQLite makes it with the umask's rights
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: url.Values{
		"mode":    {mode},
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(10000)", "journal_mode(wal)", "synchronous(full)"},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("ledger %s: %w", file, err), db.Close())
	}
	return &Store{db: db}, nil
}

func (s *Store) prepare(ctx context.Context, rehearsal bool) error {
	kind := map[bool]string{true: "rehearsal", false: "real"}[rehearsal]
	have, err := s.compatible(ctx)
	if err != nil {
		return err
	}
	if have == 0 {
		return s.create(ctx, kind)
	}
	var was string
	if err := s.db.QueryRowContext(ctx, "select value from meta where name = 'kind'").Scan(&was); err != nil {
		return err
	}
	if was != kind {
		return fmt.Errorf("%w: this ledger is a %s one", ledger.ErrRehearsal, was)
	}
	return s.sound(ctx)
}

// look is how long the ledger is looked through for damage. A large one takes
// longer, and somebody frozen may be waiting: then what is damaged is found when
// it is read.
const look = 2 * time.Second

func (s *Store) sound(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, look)
	defer cancel()
	var sound string
	err := s.db.QueryRowContext(short, "pragma quick_check(1)").Scan(&sound)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if sound != "ok" {
		return fmt.Errorf("the ledger is damaged (%s): restore it from a copy, or move it away: what the targets hold is then matched by content", sound)
	}
	return nil
}

// create makes tables, kind and version in one transaction: a crash in between
// leaves an empty file, which the next run fills.
func (s *Store) create(ctx context.Context, kind string) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, schema); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "insert into meta values ('kind', ?)", kind); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf("pragma user_version = %d", version))
		return err
	})
}

// compatible returns the schema's version; 0: the file is still empty.
func (s *Store) compatible(ctx context.Context) (have int, err error) {
	if err := s.db.QueryRowContext(ctx, "pragma user_version").Scan(&have); err != nil {
		return 0, err
	}
	if have > version {
		return have, fmt.Errorf("%w: its version is %d, this one knows %d", ledger.ErrNewer, have, version)
	}
	return have, nil
}

// Rehearsal says whether the ledger was begun with a set clock.
func (s *Store) Rehearsal(ctx context.Context) (bool, error) {
	var kind string
	err := s.db.QueryRowContext(ctx, "select value from meta where name = 'kind'").Scan(&kind)
	return kind == "rehearsal", err
}

func (s *Store) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit; after a panic it frees the connection
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// States returns the batch's rows.
func (s *Store) States(ctx context.Context, batch string) ([]ledger.State, error) {
	return s.states(ctx, "select batch, service, account, data from state where batch = ? order by service, account", batch)
}

// Underway returns the accounts whose cutover has begun and has not ended.
func (s *Store) Underway(ctx context.Context) ([]ledger.State, error) {
	return s.states(ctx, "select batch, service, account, data from state where underway = 1 order by batch, service, account")
}

// Homes returns the batches that hold rows of each service.
func (s *Store) Homes(ctx context.Context) (map[string][]string, error) {
	rows, err := s.db.QueryContext(ctx, "select distinct service, batch from state where service <> '' order by service, batch")
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer rows.Close()
	homes := map[string][]string{}
	for rows.Next() {
		var service, batch string
		if err := rows.Scan(&service, &batch); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		homes[service] = append(homes[service], batch)
	}
	return homes, rows.Err()
}

// Move carries the rows and kept values of a service over to another batch.
func (s *Store) Move(ctx context.Context, service, from, to string) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		for _, table := range []string{"update state", "update kept"} {
			if _, err := tx.ExecContext(ctx, table+" set batch = ? where service = ? and batch = ?", to, service, from); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

func (s *Store) states(ctx context.Context, query string, args ...any) ([]ledger.State, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer rows.Close()
	var all []ledger.State
	for rows.Next() {
		var state ledger.State
		var data string
		if err := rows.Scan(&state.Key.Batch, &state.Key.Service, &state.Key.Account, &data); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		if err := state.Unmarshal([]byte(data)); err != nil {
			return nil, fmt.Errorf("ledger: state of %s %s: %w", state.Key.Service, state.Key.Account, err)
		}
		all = append(all, state)
	}
	return all, rows.Err()
}

// Entries yields the history of key, oldest first, a thousand at a time so that
// a slow reader holds up no run.
func (s *Store) Entries(ctx context.Context, key ledger.Key) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		after := int64(0)
		for {
			page, err := s.page(ctx, key, after)
			if err != nil {
				yield(ledger.Entry{}, fmt.Errorf("ledger: %w", err))
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.ID
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func (s *Store) page(ctx context.Context, key ledger.Key, after int64) ([]ledger.Entry, error) {
	rows, err := s.db.QueryContext(ctx, `select id, at, batch, service, account, stage, effect, mark, text from history
		where id > ?1 and (?2 = '' or batch = ?2) and (?3 = '' or service = ?3) and (?4 = '' or account = ?4)
		order by id limit 1000`, after, key.Batch, key.Service, key.Account)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []ledger.Entry
	for rows.Next() {
		var e ledger.Entry
		var at int64
		if err := rows.Scan(&e.ID, &at, &e.Key.Batch, &e.Key.Service, &e.Key.Account, &e.Stage, &e.Effect, &e.Mark, &e.Text); err != nil {
			return nil, err
		}
		e.At = time.UnixMicro(at).UTC()
		page = append(page, e)
	}
	return page, rows.Err()
}

// Marks returns the last mark of every effect of key itself.
func (s *Store) Marks(ctx context.Context, key ledger.Key) (map[string]ledger.Mark, error) {
	rows, err := s.db.QueryContext(ctx, `select effect, mark from history where batch = ? and service = ? and account = ?
		and mark <> 'note' order by id`, key.Batch, key.Service, key.Account)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	defer rows.Close()
	marks := map[string]ledger.Mark{}
	for rows.Next() {
		var effect string
		var mark ledger.Mark
		if err := rows.Scan(&effect, &mark); err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		marks[effect] = mark
	}
	return marks, rows.Err()
}

// Kept returns a value kept for key, nil if there is none.
func (s *Store) Kept(ctx context.Context, key ledger.Key, name string) ([]byte, error) {
	var value []byte
	known, err := s.parsed(ctx)
	if err == nil {
		err = known.kept.QueryRowContext(ctx, key.Batch, key.Service, key.Account, name).Scan(&value)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return value, nil
}

// Close ends the ledger and gives up the lock.
func (s *Store) Close() error {
	err := s.db.Close()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}
