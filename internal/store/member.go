package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Member is a server that shares a schema of PostgreSQL with the other nodes of a cluster.
//
// Every commit of a member proves that it still is one: it renews the member's lease in the table
// cluster_node and fails if that row is gone. Whoever finds a lease that has ended deletes the row, in
// the transaction in which it takes over what the node had. Whatever a node that was stopped or cut off
// still wants to write after that is refused as a whole, and it has to end ([DB.Lost]).
type Member struct {
	// Name is the node's own, the same after a restart: its predecessor of that name is ended at once.
	Name string
	// Lease is how long the node counts as alive after its last commit.
	Lease time.Duration
	// Changed is called after commits that others have to hear of, on the committing goroutine; it must
	// not block. May be nil.
	Changed func()
}

// membership is the state of a member.
type membership struct {
	Member
	until atomic.Int64 // nanoseconds of clock: when the lease ends by this machine's clock
	name  string       // of the cluster
	// joined is the number of the node, larger than those of all before it.
	joined int64
}

// began is where clock counts from: a monotonic clock, which goes on while a process is stopped.
var began = time.Now()

func clock() int64 { return int64(time.Since(began)) }

// clusterTables are the tables of this package that nodes share. Times are milliseconds since 1970 by the
// clock of the database, so that clocks of nodes may be apart.
var clusterTables = []string{
	`CREATE TABLE IF NOT EXISTS cluster_node (instance TEXT PRIMARY KEY, name TEXT NOT NULL, number BIGINT NOT NULL,
		lease_until BIGINT NOT NULL, joined BIGINT GENERATED ALWAYS AS IDENTITY, applied BIGINT NOT NULL) WITH (fillfactor = 20)`,
	`CREATE TABLE IF NOT EXISTS cluster_clock (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, cluster TEXT NOT NULL) WITH (fillfactor = 20)`,
	`CREATE TABLE IF NOT EXISTS cluster_change (version BIGINT NOT NULL, number BIGINT NOT NULL, instance TEXT NOT NULL, kind TEXT NOT NULL,
		key TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (version, number))`,
}

// Now is the time of the database in SQL, in milliseconds since 1970.
const Now = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// fence renews the lease of a node; it fails if the node was declared dead.
const fence = `WITH renewed AS (UPDATE cluster_node SET number = $1, lease_until = ` + Now + ` + $2
	WHERE instance = $3 RETURNING 1) SELECT 1 / count(*) FROM renewed`

// lockDefinitions keeps nodes from making or changing tables at the same time; the lock of a transaction
// ends with it. lockFunctions makes the functions of all nodes run one after another.
const (
	lockDefinitions            = `SELECT pg_advisory_lock(1650815604, 0)`
	lockFunctions              = `SELECT pg_advisory_xact_lock(1650815604, 1)`
	lockTransactionDefinitions = `SELECT pg_advisory_xact_lock(1650815604, 0)`
)

// fenced is the code of the error that fence fails with: division by zero.
const fenced = "22012"

// bump numbers a change and keeps it. The row of cluster_clock is locked until the commit, so that
// changes become visible in the order of their numbers.
const bump = `WITH clock AS (UPDATE cluster_clock SET version = version + 1 RETURNING version)
	INSERT INTO cluster_change (version, number, instance, kind, key, at)
	SELECT clock.version, c.number, $1, c.kind, c.key, ` + Now + `
	FROM clock, unnest($2::text[], $3::text[]) WITH ORDINALITY AS c (kind, key, number)`

// OpenMember is OpenPostgres for a node of a cluster. A server that has the schema for itself keeps nodes
// out, and nodes keep it out: ErrTaken.
func OpenMember(ctx context.Context, url string, m Member, log *slog.Logger) (*DB, error) {
	p, config, err := parsePostgres(url, log)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	p.member = &membership{Member: m}
	// A node that stops in the middle of a transaction must not hold the others up for longer than they
	// can wait.
	p.config.RuntimeParams["idle_in_transaction_session_timeout"] = fmt.Sprint(max(500, m.Lease.Milliseconds()/5))
	if err := p.open(ctx, config); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return start(p, log), nil
}

// join makes this server a node, or finds out how it left the cluster_node row.
func (p *postgres) join(ctx context.Context) error {
	if p.pid != 0 {
		err := p.conn.QueryRow(ctx, `SELECT number FROM cluster_node WHERE instance = $1`, p.instance).Scan(&p.done)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%w: the other nodes declared this one dead", ErrTaken)
		}
		return err
	}
	for _, table := range clusterTables {
		if _, err := p.conn.Exec(ctx, definition(table)); err != nil {
			return err
		}
	}
	if _, err := p.conn.Exec(ctx, `INSERT INTO cluster_clock (id, version, cluster) VALUES (1, 0, $1) ON CONFLICT DO NOTHING`, p.instance); err != nil {
		return err
	}
	if err := p.conn.QueryRow(ctx, `SELECT cluster FROM cluster_clock`).Scan(&p.member.name); err != nil {
		return err
	}
	sent := clock()
	if err := p.conn.QueryRow(ctx, `INSERT INTO cluster_node (instance, name, number, lease_until, applied) VALUES ($1, $2, 0, `+Now+` + $3, 0) RETURNING joined`,
		p.instance, p.member.Name, p.member.Lease.Milliseconds()).Scan(&p.member.joined); err != nil {
		return err
	}
	p.member.until.Store(sent + int64(p.member.Lease))
	return nil
}

// Membership returns what the store knows of this node: nil unless the database was opened by OpenMember.
func (db *DB) Membership() *Membership {
	if p, ok := db.backend.(*postgres); ok && p.member != nil {
		return &Membership{p}
	}
	return nil
}

// Membership is this server as a node of a cluster.
type Membership struct{ p *postgres }

// Instance is the identifier of this run of the node.
func (m *Membership) Instance() string { return m.p.instance }

// Number is that of this run of the node: larger than those of all that joined before.
func (m *Membership) Number() int64 { return m.p.member.joined }

// RangeSize is the number of identifiers that each run of a node has for itself.
const RangeSize = int64(1) << 40

// Range are the identifiers that this run of the node may give, from first to below end.
func (m *Membership) Range() (first, end int64) {
	return m.Number() * RangeSize, (m.Number() + 1) * RangeSize
}

// Name is the node's name.
func (m *Membership) Name() string { return m.p.member.Name }

// Cluster is the identifier of the cluster: of the schema that its nodes share.
func (m *Membership) Cluster() string { return m.p.member.name }

// Lease is the length of the lease.
func (m *Membership) Lease() time.Duration { return m.p.member.Lease }

// Exists reports whether a table of a cluster is there; in SQLite none is.
func (db *DB) Exists(ctx context.Context, table string) (there bool, err error) {
	if _, ok := db.backend.(*postgres); !ok {
		return false, nil
	}
	err = db.QueryRow(ctx, `SELECT to_regclass(?) IS NOT NULL`, []any{table}, &there)
	return there, err
}

// Create makes tables that only nodes use. They are in PostgreSQL's dialect, must say IF NOT EXISTS, and have
// names that begin with cluster_: copies of the database leave them out.
func (db *DB) Create(ctx context.Context, statements ...string) error {
	return db.WriteLoose(ctx, func(tx *Tx) error {
		for _, s := range append([]string{lockTransactionDefinitions}, statements...) {
			if err := tx.run.define(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// Remaining is how long nobody may declare this node dead; negative when somebody may have.
func (m *Membership) Remaining() time.Duration {
	return time.Duration(m.p.member.until.Load() - clock())
}

// Note tells the other nodes of a cluster, once the transaction is committed, that they have to look at
// something again. Alone, a server keeps no notes.
func (tx *Tx) Note(kind, key string) {
	if t, ok := tx.run.(*postgresTx); ok && t.member != nil {
		t.changed = true
		t.notes.add(kind, key)
	}
}

// notes are the changes of a commit that others have to hear of.
type notes struct {
	kinds, keys []string
	known       map[[2]string]bool
}

func (n *notes) add(kind, key string) {
	if n.known[[2]string{kind, key}] {
		return
	}
	if n.known == nil {
		n.known = make(map[[2]string]bool)
	}
	n.known[[2]string{kind, key}] = true
	n.kinds, n.keys = append(n.kinds, kind), append(n.keys, key)
}

func (n *notes) reset() {
	n.kinds, n.keys = n.kinds[:0], n.keys[:0]
	clear(n.known)
}
