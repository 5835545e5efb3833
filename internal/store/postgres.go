package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// postgres is a schema of a PostgreSQL database. One connection writes; it holds an advisory lock, so
// that no other server uses the schema at the same time. The table store_instance has the server that
// was the last to take the schema, and the number of its last commit: from the one it knows, after its
// connection broke, whether another has been there meanwhile, and from the other, whether a commit was
// carried out whose answer did not come.
type postgres struct {
	log    *slog.Logger
	config *pgx.ConnConfig
	schema string
	pool   *pgxpool.Pool // for reading
	reads  rebound

	instance string
	empty    bool      // the schema has to be, for a copy
	created  bool      // it was not there
	conn     *pgx.Conn // the committer's; nil while there is none
	pid      uint32    // of its process in the server
	tx       postgresTx
	number   int64       // of the last commit that was tried
	doubt    bool        // whether its answer is missing
	done     int64       // number of the last commit, as found by connect
	member   *membership // nil for a server that has the schema for itself
}

const (
	schemaName    = "berth_state"
	readers       = 8 // connections
	dialTimeout   = 5 * time.Second
	startWait     = 30 * time.Second // for a database that is starting too
	lockWait      = 10 * time.Second // for the connection of a server that was killed to end
	commitTimeout = time.Minute
	maxSilence    = 15 * time.Second
	lockClass     = 0x62657274 // "bert"
	unfinished    = "unfinished copy"
)

// instanceTable has one row. Room is left in its page: the row changes with every commit.
const instanceTable = `CREATE TABLE store_instance (id BIGINT PRIMARY KEY, instance TEXT NOT NULL, number BIGINT NOT NULL) WITH (fillfactor = 20)`

func openPostgres(ctx context.Context, url string, log *slog.Logger) (*postgres, error) {
	p, config, err := parsePostgres(url, log)
	if err != nil {
		return nil, err
	}
	return p, p.open(ctx, config)
}

// open waits for a database that is starting.
func (p *postgres) open(ctx context.Context, config *pgxpool.Config) (err error) {
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for end := time.Now().Add(startWait); ; {
		err = p.connect(ctx)
		said := (*pgconn.PgError)(nil)
		if err == nil {
			break
		}
		if !errors.Is(err, errConnect) || ctx.Err() != nil || time.Now().After(end) ||
			errors.As(err, &said) && said.Code != "57P03" && said.Code != "53300" { // starting, too many connections
			return err
		}
		p.log.Warn("the database cannot be reached yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	p.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	return err
}

// errConnect marks that no connection came about.
var errConnect = errors.New("connect")

// ParseURL checks a URL of PostgreSQL and returns it without its password, for people to see.
func ParseURL(text string) (shown string, err error) {
	if _, _, err := parsePostgres(text, nil); err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", errURL
	}
	return u.Redacted(), nil
}

// errURL does not show the URL, which may have a password.
var errURL = errors.New("not the URL of a PostgreSQL database, like postgres://user:password@host/name")

func parsePostgres(url string, log *slog.Logger) (*postgres, *pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil || !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, nil, errURL
	}
	if !strings.Contains(url, "pool_max_conns=") {
		config.MaxConns = readers
	}
	config.MaxConns = max(config.MaxConns, 2) // of things and their groups, each has one
	config.HealthCheckPeriod = 5 * time.Minute
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = dialTimeout
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	schema := cmp.Or(c.RuntimeParams["search_path"], schemaName)
	c.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	c.RuntimeParams["application_name"] = cmp.Or(c.RuntimeParams["application_name"], "berth")
	// Compiling a plan takes longer than anything here; tables are read through their keys, whatever
	// the statistics of a young database say.
	c.RuntimeParams["jit"], c.RuntimeParams["enable_seqscan"] = "off", "off"
	p := &postgres{log: log, schema: schema, config: c.Copy(), instance: uuid.NewString()}
	p.config.RuntimeParams["enable_hashjoin"], p.config.RuntimeParams["enable_mergejoin"] = "off", "off"
	return p, config, nil
}

func (p *postgres) close() error {
	if p.pool != nil {
		p.pool.Close()
	}
	p.disconnect()
	return nil
}

func (p *postgres) disconnect() {
	if p.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p.conn.Close(ctx)
		p.conn = nil
	}
}

// away says that the connection is gone.
func (p *postgres) away(err error) error {
	p.disconnect()
	if p.doubt {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	return fmt.Errorf("%w: %w", errAway, err)
}

func (p *postgres) connect(ctx context.Context) error {
	p.disconnect()
	conn, err := pgx.ConnectConfig(ctx, p.config)
	if err != nil {
		return p.away(fmt.Errorf("%w: %w", errConnect, err))
	}
	p.conn = conn
	if err = p.lock(ctx); err == nil {
		err = p.takeTurn(ctx)
	}
	if err != nil && p.pid == 0 {
		p.disconnect()
		return err
	}
	if err != nil {
		return p.away(err)
	}
	p.pid = conn.PgConn().PID()
	p.tx = postgresTx{conn: conn, member: p.member, instance: p.instance, prepared: make(map[string]*pgconn.StatementDescription), columns: make(map[*Table][]uint32)}
	if p.pool != nil {
		p.pool.Reset()
	}
	return nil
}

// lock waits for the advisory lock. An earlier connection of this server may still have it, unknown to
// PostgreSQL as broken: it is ended, with the transaction that it may be in.
func (p *postgres) lock(ctx context.Context) error {
	if p.member == nil {
		return p.lockAs(ctx, "", p.schema)
	}
	// Nodes share the schema's lock; each has one of its own, which tells that its old connection is gone.
	if err := p.lockAs(ctx, "_shared", p.schema); err != nil {
		return err
	}
	return p.lockAs(ctx, "", p.schema+" "+p.instance)
}

func (p *postgres) lockAs(ctx context.Context, mode, of string) error {
	h := fnv.New32a()
	h.Write([]byte(of))
	class, object := int32(lockClass), int32(h.Sum32())
	var locked bool
	if err := p.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock`+mode+`($1, $2)`, class, object).Scan(&locked); err != nil || locked {
		return err
	}
	wait := lockWait
	if p.pid != 0 {
		wait /= 3
		table := "store_instance"
		if p.member != nil {
			table = "cluster_node"
		}
		if _, err := p.conn.Exec(ctx, `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN `+table+` i ON i.instance = $2
			WHERE a.pid = $1`, int32(p.pid), p.instance); err != nil {
			return err
		}
	}
	if _, err := p.conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", wait.Milliseconds())); err != nil {
		return err
	}
	_, err := p.conn.Exec(ctx, `SELECT pg_advisory_lock`+mode+`($1, $2)`, class, object)
	if said := (*pgconn.PgError)(nil); errors.As(err, &said) && said.Code == "55P03" {
		return fmt.Errorf("%w: it has the lock of schema %s", ErrTaken, p.schema)
	}
	if err == nil {
		_, err = p.conn.Exec(ctx, "RESET lock_timeout")
	}
	return err
}

// takeTurn is take, for nodes that start at the same time one after another.
func (p *postgres) takeTurn(ctx context.Context) error {
	if p.member == nil || p.pid != 0 {
		return p.take(ctx)
	}
	if _, err := p.conn.Exec(ctx, lockDefinitions); err != nil {
		return err
	}
	err := p.take(ctx)
	_, unlock := p.conn.Exec(ctx, `SELECT pg_advisory_unlock(1650815604, 0)`)
	return errors.Join(err, unlock)
}

// take makes this server the schema's, or finds out how it left it.
func (p *postgres) take(ctx context.Context) error {
	var commits, fsync string
	if err := p.conn.QueryRow(ctx, `SELECT current_setting('synchronous_commit'), current_setting('fsync')`).Scan(&commits, &fsync); err != nil {
		return err
	}
	if commits == "off" {
		if _, err := p.conn.Exec(ctx, `SET synchronous_commit = on`); err != nil {
			return err
		}
	}
	if fsync == "off" {
		p.log.Warn("the database has fsync off: acknowledged writes do not survive its machine")
	}
	if p.pid != 0 && p.member != nil {
		return p.join(ctx)
	}
	if p.pid != 0 {
		var instance string
		if err := p.conn.QueryRow(ctx, `SELECT instance, number FROM store_instance`).Scan(&instance, &p.done); err != nil {
			return err
		}
		if instance != p.instance {
			return fmt.Errorf("%w since the connection broke", ErrTaken)
		}
		return nil
	}
	var there, table, tables bool
	if err := p.conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1), to_regclass('store_instance') IS NOT NULL,
		EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)`, p.schema).Scan(&there, &table, &tables); err != nil {
		return err
	}
	if p.empty && tables {
		return fmt.Errorf("%w: schema %s has tables", ErrNotEmpty, p.schema)
	}
	if p.created = !there; p.created {
		if _, err := p.conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+pgx.Identifier{p.schema}.Sanitize()); err != nil {
			return err
		}
	}
	if !table {
		if _, err := p.conn.Exec(ctx, definition(instanceTable)); err != nil {
			return err
		}
	}
	var before string
	err := p.conn.QueryRow(ctx, `SELECT instance FROM store_instance`).Scan(&before)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if before == unfinished {
		return fmt.Errorf("schema %s has the beginning of a copy that did not end: drop it and copy again", p.schema)
	}
	if p.member != nil {
		return p.join(ctx)
	}
	_, err = p.conn.Exec(ctx, `INSERT INTO store_instance (id, instance, number) VALUES (1, $1, 0)
		ON CONFLICT (id) DO UPDATE SET instance = excluded.instance, number = 0`, p.instance)
	return err
}

func (p *postgres) query(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	if p.member != nil && ctx.Done() == nil {
		return p.queryBounded(ctx, query, args, scan)
	}
	query, args = p.reads.get(query), readArgs(args)
	for again := true; ; again = false {
		rows, err := p.pool.Query(ctx, query, args...)
		if err != nil {
			err = p.failure(ctx, err)
		} else {
			any := false
			for rows.Next() {
				any = true
				if err = scan(poolRow{rows}); err != nil {
					rows.Close()
					return err
				}
			}
			if err = p.failure(ctx, rows.Err()); err == nil || any {
				return err
			}
		}
		// A connection that was idle may have ended unnoticed.
		if !again || !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
	}
}

// queryBounded is query for a node whose caller would never give up: a network may swallow the answer, and who reads
// what other nodes have changed must not wait for it with what it knew. It ends when a third of the lease passes without
// a row, or maxSilence.
func (p *postgres) queryBounded(ctx context.Context, query string, args []any, scan func(row Row) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := min(p.member.Lease/3, maxSilence)
	silence := time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
	defer silence.Stop()
	err := p.query(ctx, query, args, func(row Row) error {
		silence.Stop()
		defer silence.Reset(patience)
		return scan(row)
	})
	if errors.Is(err, context.Canceled) && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("query: %w", context.DeadlineExceeded)
	}
	return err
}

func (p *postgres) scan(ctx context.Context, query string, each func(row Row) error) error {
	return p.query(ctx, query, nil, each)
}

func (p *postgres) queryRow(ctx context.Context, query string, args []any, dest ...any) error {
	found := false
	err := p.query(ctx, query, args, func(row Row) error {
		if found {
			return nil
		}
		found = true
		return row.Scan(dest...)
	})
	if err == nil && !found {
		return ErrNoRows
	}
	return err
}

// failure says what an error of a read means.
func (p *postgres) failure(ctx context.Context, err error) error {
	var said *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &said) && !strings.HasPrefix(said.Code, "57P") && said.Code != "53300" && said.Code != readOnly:
		return fmt.Errorf("query: %w", textual(err))
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// textual marks the error of text that PostgreSQL does not take.
func textual(err error) error {
	if said := (*pgconn.PgError)(nil); errors.As(err, &said) && said.Code == "22021" {
		return fmt.Errorf("%w: %w", ErrText, err)
	}
	return err
}

// readOnly is the code of a write to a server that became a standby.
const readOnly = "25006"
