package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// commit runs a transaction, and again while PostgreSQL ends it in favour of another node's.
func (p *postgres) commit(batch []operation) error {
	for tries := 0; ; tries++ {
		err := p.commitOnce(batch)
		var said *pgconn.PgError
		if tries == 5 || !errors.As(err, &said) || said.Code != deadlock {
			return err
		}
	}
}

// deadlock is the code of the error of a transaction that waited for one that waited for it.
const deadlock = "40P01"

func (p *postgres) commitOnce(batch []operation) error {
	if p.conn == nil {
		return p.away(errors.New("not connected"))
	}
	if p.doubt {
		p.doubt = false
		if p.done == p.number {
			return nil
		}
	}
	// A context that can end costs two goroutine switches for each statement.
	ctx, line := context.Background(), p.conn.PgConn().Conn()
	defer time.AfterFunc(commitTimeout, func() { line.SetDeadline(time.Unix(1, 0)) }).Stop()
	p.number++
	t := &p.tx
	sent := clock()
	t.begin(ctx)
	err := t.run(batch)
	if errors.Is(err, errCareful) {
		if err = t.rollback(); err == nil {
			t.begin(ctx)
			t.careful = true
			err = t.run(batch)
		}
	}
	if err == nil {
		p.doubt = true
		if err = t.end(p.number); err == nil {
			p.doubt = false
			p.committed(sent)
			return nil
		}
	}
	var said *pgconn.PgError
	if p.member != nil && errors.As(err, &said) && said.Code == fenced && t.fencing {
		p.doubt = false
		return p.away(fmt.Errorf("%w: the other nodes declared this one dead", ErrTaken))
	}
	if t.conn.IsClosed() || errors.As(err, &said) && said.Code == readOnly {
		return p.away(err)
	}
	p.doubt = false // PostgreSQL has answered: it did not commit
	if rollback := t.rollback(); rollback != nil {
		return p.away(rollback)
	}
	if len(batch) == 1 && batch[0].err != nil && errors.Is(err, errRefused) {
		if said := (*pgconn.PgError)(nil); errors.As(batch[0].err, &said) && said.Code == deadlock {
			return batch[0].err
		}
		return nil
	}
	return err
}

// committed notes a commit that began at a time of clock.
func (p *postgres) committed(sent int64) {
	if p.member == nil {
		return
	}
	p.member.until.Store(sent + int64(p.member.Lease))
	if len(p.tx.notes.kinds) > 0 && p.member.Changed != nil {
		p.member.Changed()
	}
}

// errCareful asks for savepoints: an operation failed that had changed something.
var errCareful = errors.New("an operation must be undone")

// errRefused ends the transaction of a single operation that failed.
var errRefused = errors.New("refused")

// postgresTx runs statements in the committer's transaction. What only steers the transaction, such as
// BEGIN, waits for the next statement and goes with it: a commit of rows takes one round trip.
type postgresTx struct {
	conn     *pgx.Conn
	ctx      context.Context
	prepared map[string]*pgconn.StatementDescription
	columns  map[*Table][]uint32 // types
	pending  []string
	careful  bool // functions run between savepoints
	saved    bool // SAVEPOINT is with the server
	changed  bool // there is something to undo
	rows     gathered

	member   *membership // nil for a server that has the schema for itself
	instance string
	notes    notes
	fencing  bool // the lease is being renewed
}

func (t *postgresTx) begin(ctx context.Context) {
	t.ctx, t.careful, t.fencing = ctx, false, false
	t.notes.reset()
	t.pending = append(t.pending[:0], "BEGIN")
	t.rows.reset()
}

func (t *postgresTx) run(batch []operation) error {
	tx := &Tx{t}
	if t.member != nil && slices.ContainsFunc(batch, func(op operation) bool { return op.fn != nil && !op.loose }) {
		t.pending = append(t.pending, lockFunctions)
	}
	for i := range batch {
		op := &batch[i]
		op.err = nil
		if op.fn == nil {
			types, err := t.types(op.table)
			if err == nil {
				err = t.rows.add(op, types)
			}
			if err == nil && t.member != nil && op.table.Feed != "" {
				for _, row := range op.rows {
					key, _ := textOf(row[0])
					t.notes.add(op.table.Feed, key)
				}
			}
			if err != nil {
				return fmt.Errorf("write %s: %w", op.table.Name, err)
			}
			continue
		}
		if err := t.flush(); err != nil { // the function may read them
			return err
		}
		if err := t.call(tx, op, len(batch) == 1); err != nil {
			return err
		}
	}
	return nil
}

// call runs the function of an operation. Savepoints cost as much as statements: a group does without
// them until one of its operations has to be undone.
func (t *postgresTx) call(tx *Tx, op *operation, alone bool) error {
	before := len(t.pending)
	t.saved, t.changed = false, false
	if t.careful {
		t.pending = append(t.pending, "SAVEPOINT op")
	}
	op.err = callFunc(tx, op.fn)
	if t.conn.IsClosed() {
		return op.err
	}
	broken := t.conn.PgConn().TxStatus() == 'E'
	if broken && op.err == nil {
		op.err = errors.New("a statement of the write failed")
	}
	switch {
	case alone && op.err != nil:
		return errRefused
	case !t.careful && op.err != nil && (broken || t.changed):
		return errCareful
	case !t.careful:
	case !t.saved && broken:
		return op.err
	case !t.saved:
		t.pending = t.pending[:before]
	case op.err == nil:
		t.pending = append(t.pending, "RELEASE op")
	default:
		return t.steer("ROLLBACK TO op; RELEASE op")
	}
	return nil
}

// end writes the rows that are left, the number of the commit, and commits.
func (t *postgresTx) end(number int64) error {
	batch := &pgx.Batch{}
	for _, s := range t.pending {
		batch.Queue(s)
	}
	t.pending = t.pending[:0]
	names, err := t.rows.queue(batch)
	if err != nil {
		return err
	}
	before := batch.Len() - len(names)
	switch {
	case t.member == nil:
		batch.Queue(`UPDATE store_instance SET number = $1`, number)
	case len(t.notes.kinds) > 0:
		batch.Queue(bump, t.instance, t.notes.kinds, t.notes.keys)
		fallthrough
	default:
		batch.Queue(fence, number, t.member.Lease.Milliseconds(), t.instance)
		t.fencing = true
	}
	batch.Queue("COMMIT")
	results := t.conn.SendBatch(t.ctx, batch)
	var tag pgconn.CommandTag
	for i := range batch.Len() {
		if tag, err = results.Exec(); err != nil {
			if i -= before; i >= 0 && i < len(names) {
				err = fmt.Errorf("write %s: %w", names[i], textual(err))
			}
			break
		}
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err == nil && tag.String() != "COMMIT" {
		err = fmt.Errorf("%w: commit: the answer is %s", errDatabase, tag)
	}
	return err
}

// flush sends the rows that were gathered.
func (t *postgresTx) flush() error {
	if t.rows.empty() {
		return nil
	}
	batch := &pgx.Batch{}
	for _, s := range t.pending {
		batch.Queue(s)
	}
	t.pending = t.pending[:0]
	if _, err := t.rows.queue(batch); err != nil {
		return err
	}
	t.rows.reset()
	return t.conn.SendBatch(t.ctx, batch).Close()
}

func (t *postgresTx) rollback() error {
	if t.conn.IsClosed() {
		return errors.New("the connection is closed")
	}
	if t.conn.PgConn().TxStatus() == 'I' {
		return nil
	}
	return t.steer("ROLLBACK")
}

// steer works in a transaction that PostgreSQL has given up too.
func (t *postgresTx) steer(statements string) error {
	_, err := t.conn.Exec(t.ctx, statements, pgx.QueryExecModeSimpleProtocol)
	return err
}

// prepare returns a statement of the connection with the types of its parameters.
func (t *postgresTx) prepare(query string) (*pgconn.StatementDescription, error) {
	if d := t.prepared[query]; d != nil {
		return d, nil
	}
	d, err := t.conn.Prepare(t.ctx, fmt.Sprint("berth", len(t.prepared)), rebind(query))
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, err)
	}
	t.prepared[query] = d
	return d, nil
}

// send runs what is pending, then a statement, and reads its rows.
func (t *postgresTx) send(name string, args []any, read func(pgx.Rows) error) (pgconn.CommandTag, error) {
	if len(t.pending) == 0 {
		t.saved = true
		if read == nil {
			return t.conn.Exec(t.ctx, name, args...)
		}
		rows, err := t.conn.Query(t.ctx, name, args...)
		if err != nil {
			return pgconn.CommandTag{}, err
		}
		err = read(rows)
		rows.Close()
		return rows.CommandTag(), errors.Join(err, rows.Err())
	}
	batch := &pgx.Batch{}
	for _, s := range t.pending {
		batch.Queue(s)
	}
	t.pending = t.pending[:0]
	batch.Queue(name, args...)
	results := t.conn.SendBatch(t.ctx, batch)
	for range batch.Len() - 1 {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return pgconn.CommandTag{}, err
		}
	}
	t.saved = true
	var tag pgconn.CommandTag
	var err error
	if read == nil {
		tag, err = results.Exec()
	} else {
		var rows pgx.Rows
		if rows, err = results.Query(); err == nil {
			err = read(rows)
			rows.Close()
			err = errors.Join(err, rows.Err())
		}
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	return tag, err
}

func (t *postgresTx) exec(query string, args []any) (int64, error) {
	d, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	tag, err := t.send(d.Name, writeArgs(args, d.ParamOIDs), nil)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", textual(err))
	}
	t.changed = t.changed || tag.RowsAffected() > 0
	return tag.RowsAffected(), nil
}

// query reads all rows before it calls scan, which may run other statements.
func (t *postgresTx) query(query string, args []any, scan func(row Row) error) error {
	d, err := t.prepare(query)
	if err != nil {
		return err
	}
	values := make([]byte, 0, 64) // an empty text is not NULL
	var ends []int                // of the values, -1-end for NULL
	var fields []pgconn.FieldDescription
	_, err = t.send(d.Name, writeArgs(args, d.ParamOIDs), func(rows pgx.Rows) error {
		for rows.Next() {
			fields = append(fields[:0], rows.FieldDescriptions()...)
			for _, v := range rows.RawValues() {
				values = append(values, v...)
				if v == nil {
					ends = append(ends, -1-len(values))
				} else {
					ends = append(ends, len(values))
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("query: %w", textual(err))
	}
	t.changed = t.changed || !strings.HasPrefix(strings.TrimSpace(query), "SELECT ")
	row := keptRow{types: t.conn.TypeMap(), fields: fields, values: make([][]byte, len(fields))}
	begin := 0
	for len(ends) > 0 {
		for i := range fields {
			if end := ends[i]; end < 0 {
				row.values[i] = nil
			} else {
				row.values[i] = values[begin:end:end]
				begin = end
			}
		}
		ends = ends[len(fields):]
		if err := scan(&row); err != nil {
			return err
		}
	}
	return nil
}

func (t *postgresTx) queryRow(query string, args, dest []any) error {
	found := false
	err := t.query(query, args, func(row Row) error {
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

func (t *postgresTx) define(statement string) error {
	if _, err := t.send("SELECT 1", nil, nil); err != nil { // and what is pending
		return err
	}
	t.changed = true
	_, err := t.conn.Exec(t.ctx, definition(statement), pgx.QueryExecModeSimpleProtocol)
	return err
}

// types are those of a table's columns.
func (t *postgresTx) types(table *Table) ([]uint32, error) {
	if types := t.columns[table]; types != nil {
		return types, nil
	}
	found := make(map[string]uint32)
	_, err := t.send(`SELECT attname::text, atttypid FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0`, []any{table.Name}, func(rows pgx.Rows) error {
		for rows.Next() {
			var name string
			var oid uint32
			if err := rows.Scan(&name, &oid); err != nil {
				return err
			}
			found[name] = oid
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var types []uint32
	for _, c := range table.Columns {
		oid := found[strings.ToLower(c)]
		switch oid {
		case pgtype.TextOID, pgtype.Int8OID, pgtype.ByteaOID, pgtype.Float8OID:
		default:
			return nil, fmt.Errorf("column %s is missing or of another type", c)
		}
		types = append(types, oid)
	}
	t.columns[table] = types
	return types, nil
}
