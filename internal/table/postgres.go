package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgres keeps tables in the schema berth of a database of PostgreSQL. A row's data is a JSON object,
// for others to read with SQL: the view berth.readings has table, thing, time and measures.
//
// Who writes holds an advisory lock, so that two servers do not share tables: the catalogue in memory
// counts on knowing every row.
type postgres struct {
	log    *slog.Logger
	config *pgx.ConnConfig
	pool   *pgxpool.Pool
	quotes quotes

	conn *pgx.Conn // the writer's; nil while there is none

	sized sync.Mutex
	bytes int64
	at    time.Time
}

// Times are of timestamptz, whose microseconds hold milliseconds exactly. The type json keeps what it is
// given: jsonb knows neither -0 nor U+0000.
var postgresSchema = []string{`
	CREATE TABLE berth.series (id bigint PRIMARY KEY, name text NOT NULL, created_at bigint NOT NULL,
		retention bigint NOT NULL, max_bytes bigint NOT NULL, dropped boolean NOT NULL);
	CREATE TABLE berth.measure (series bigint NOT NULL, number int NOT NULL, name text NOT NULL, PRIMARY KEY (series, number));
	CREATE TABLE berth.thing (id bigint PRIMARY KEY, series bigint NOT NULL, name text NOT NULL, state bytea NOT NULL) WITH (fillfactor = 50);
	CREATE TABLE berth.reading (thing bigint NOT NULL, time timestamptz NOT NULL, seq bigint NOT NULL, measures json NOT NULL,
		PRIMARY KEY (thing, time, seq));
	CREATE INDEX reading_time ON berth.reading (time, thing, seq);
	CREATE VIEW berth.readings AS SELECT s.name AS "table", t.name AS thing, r.time, r.measures
		FROM berth.reading r JOIN berth.thing t ON t.id = r.thing JOIN berth.series s ON s.id = t.series WHERE NOT s.dropped`}

const (
	lockKey      = 0x6265727468 // "berth"
	lockWait     = 10 * time.Second
	writeTimeout = time.Minute // of a transaction, and of reading the catalogue
	dialTimeout  = 5 * time.Second
	sizeInterval = 30 * time.Second
	readers      = 8 // connections
)

func openPostgres(ctx context.Context, url string, log *slog.Logger) (_ database, err error) {
	pool, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the URL is not one of PostgreSQL, like postgres://user:password@host/database") // the error would show the password
	}
	pool.MaxConns = max(pool.MaxConns, readers)
	// Rows are wanted in the order of an index and a chunk at a time, whatever the statistics say.
	for name, value := range map[string]string{"enable_seqscan": "off", "enable_bitmapscan": "off", "plan_cache_mode": "force_custom_plan", "timezone": "UTC"} {
		pool.ConnConfig.RuntimeParams[name] = value
	}
	if pool.ConnConfig.ConnectTimeout == 0 {
		pool.ConnConfig.ConnectTimeout = dialTimeout
	}
	d := &postgres{log: log, config: pool.ConnConfig.Copy()}
	if err := d.connect(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := d.migrate(ctx); err != nil {
		return nil, err
	}
	d.hypertable(ctx)
	d.pool, err = pgxpool.NewWithConfig(ctx, pool)
	return d, err
}

// connect opens the writer's connection and makes its owner the only one.
func (d *postgres) connect(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, d.config)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	// The connection of a server that was killed may last for a moment.
	for end := time.Now().Add(lockWait); ; {
		var locked bool
		if err = conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockKey)).Scan(&locked); err != nil || locked {
			break
		}
		if time.Now().After(end) {
			err = errors.New("another server has the tables of this database open")
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err != nil {
		conn.Close(context.Background())
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	d.conn = conn
	return nil
}

func (d *postgres) migrate(ctx context.Context) error {
	return d.write(ctx, func(tx transaction) error {
		t := tx.(*postgresTx)
		done := 0
		if _, err := t.tx.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS berth; CREATE TABLE IF NOT EXISTS berth.version (number int NOT NULL)`); err != nil {
			return err
		}
		if err := t.tx.QueryRow(ctx, `SELECT coalesce(max(number), 0) FROM berth.version`).Scan(&done); err != nil {
			return err
		}
		if done > len(postgresSchema) {
			return fmt.Errorf("the tables are of a newer version (%d) than this server's (%d)", done, len(postgresSchema))
		}
		for i := done; i < len(postgresSchema); i++ {
			if _, err := t.tx.Exec(ctx, postgresSchema[i]); err != nil {
				return err
			}
			if _, err := t.tx.Exec(ctx, `INSERT INTO berth.version VALUES ($1)`, i+1); err != nil {
				return err
			}
		}
		return nil
	})
}

// hypertable hands the readings to TimescaleDB, where it is installed or can be.
func (d *postgres) hypertable(ctx context.Context) {
	var installed, available bool
	err := d.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb'),
		EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')`).Scan(&installed, &available)
	if err == nil && !installed && available {
		_, err = d.conn.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS timescaledb`)
		installed = err == nil
	}
	if err == nil && installed {
		_, err = d.conn.Exec(ctx, `SELECT create_hypertable('berth.reading', 'time', chunk_time_interval => INTERVAL '7 days',
			create_default_indexes => false, if_not_exists => true, migrate_data => true)`)
	}
	if err != nil {
		d.log.Warn("tables do without TimescaleDB", "error", err)
	}
}

func (d *postgres) close() error {
	if d.pool != nil {
		d.pool.Close()
	}
	if d.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	return d.conn.Close(ctx)
}

// overhead was measured: a tuple's header, three columns, and an entry in two indexes.
func (d *postgres) overhead() int64 { return 190 }

func (d *postgres) size() int64 {
	d.sized.Lock()
	defer d.sized.Unlock()
	if time.Since(d.at) > sizeInterval {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		d.at = time.Now()
		// Chunks of TimescaleDB inherit from the table.
		d.pool.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE oid = 'berth.reading'::regclass
			OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'berth.reading'::regclass)`).Scan(&d.bytes)
	}
	return d.bytes
}

// failure says what an error of PostgreSQL means: values it refuses are invalid, and anything that is
// no answer to a statement means that it is away.
func failure(err error) error {
	var said *pgconn.PgError
	switch {
	case err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrClosed) ||
		errors.Is(err, errEncoding):
		return err
	case !errors.As(err, &said):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case strings.HasPrefix(said.Code, "22"), strings.HasPrefix(said.Code, "54"):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case strings.HasPrefix(said.Code, "08"), strings.HasPrefix(said.Code, "53"), strings.HasPrefix(said.Code, "57"), strings.HasPrefix(said.Code, "25"):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

const (
	postgresForward  = `SELECT thing, time, seq, measures FROM berth.reading WHERE thing = $1 AND (time, seq) > ($2, $3) AND time < $4 ORDER BY time, seq LIMIT $5`
	postgresBackward = `SELECT thing, time, seq, measures FROM berth.reading WHERE thing = $1 AND (time, seq) < ($2, $3) AND time >= $4 ORDER BY time DESC, seq DESC LIMIT $5`
	postgresAll      = `SELECT thing, time, seq, measures FROM berth.reading
		WHERE (time, thing, seq) > ($1, $2, $3) AND time < $4 ORDER BY time, thing, seq LIMIT $5`
	postgresAllBackward = `SELECT thing, time, seq, measures FROM berth.reading
		WHERE (time, thing, seq) < ($1, $2, $3) AND time >= $4 ORDER BY time DESC, thing DESC, seq DESC LIMIT $5`
)

// rows runs the statement of a span.
func (s *span) rows(ctx context.Context, q interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}, yield func(int64, stored) error) error {
	query, args := s.statement()
	at := 1 // of the first time in args
	switch query {
	case readForward:
		query = postgresForward
	case readBackward:
		query = postgresBackward
	case timeForward:
		query, at = postgresAll, 0
	default:
		query, at = postgresAllBackward, 0
	}
	for _, i := range []int{at, 3} {
		args[i] = time.UnixMilli(args[i].(int64)).UTC()
	}
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return cmp.Or(ctx.Err(), failure(err))
	}
	defer rows.Close()
	var thing int64
	var when time.Time
	var r stored
	for rows.Next() {
		if err := rows.Scan(&thing, &when, &r.seq, (*jsonBytes)(&r.data)); err != nil {
			return failure(err)
		}
		r.time = when.UnixMilli()
		if err := yield(thing, r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return cmp.Or(ctx.Err(), failure(err))
	}
	return nil
}

// jsonBytes borrows the bytes of a row.
type jsonBytes []byte

// ScanBytes implements pgtype.BytesScanner.
func (b *jsonBytes) ScanBytes(src []byte) error {
	*b = src
	return nil
}

func (d *postgres) read(ctx context.Context, s span, yield func(int64, stored) error) error {
	return s.rows(ctx, d.pool, yield)
}

// load also connects the writer if it is not.
func (d *postgres) load(ctx context.Context, table func(tableRow), measure func(int64, string), thing func(thingRow) error) error {
	if d.conn == nil {
		if err := d.connect(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := d.each(ctx, `SELECT id, name, created_at, retention, max_bytes, dropped FROM berth.series ORDER BY id`, func(rows pgx.Rows) error {
		var r tableRow
		err := rows.Scan(&r.id, &r.name, &r.created, &r.retention, &r.maxBytes, &r.dropped)
		table(r)
		return err
	})
	if err == nil {
		err = d.each(ctx, `SELECT series, name FROM berth.measure ORDER BY series, number`, func(rows pgx.Rows) error {
			var id int64
			var name string
			err := rows.Scan(&id, &name)
			measure(id, name)
			return err
		})
	}
	if err == nil {
		err = d.each(ctx, `SELECT id, series, name, state FROM berth.thing`, func(rows pgx.Rows) error {
			var r thingRow
			if err := rows.Scan(&r.id, &r.table, &r.name, &r.state); err != nil {
				return err
			}
			return thing(r)
		})
	}
	return err
}

// each reads with the writer's connection.
func (d *postgres) each(ctx context.Context, query string, scan func(pgx.Rows) error) error {
	rows, err := d.conn.Query(ctx, query)
	if err == nil {
		defer rows.Close()
		for err == nil && rows.Next() {
			err = scan(rows)
		}
		if err == nil {
			err = rows.Err()
		}
	}
	if err = failure(err); errors.Is(err, ErrUnavailable) {
		d.disconnect()
	}
	return err
}

func (d *postgres) disconnect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d.conn.Close(ctx)
	d.conn = nil
}
