package action

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Postgres writes a row into a table of PostgreSQL. It is berth's own: AWS IoT has no such action.
type Postgres struct {
	URL        string `json:"url,omitempty"`
	Connection string `json:"connection,omitempty"` // the name of a URL in the server's configuration, instead
	Table      string `json:"table,omitempty"`      // or schema.table
	// Columns are values by name of a column; without any, the members of the result are.
	Columns map[string]string `json:"columns,omitempty"`
	// IDColumn takes the message's identifier: a row that has it already stays as it is.
	IDColumn   string `json:"idColumn,omitempty"`
	TimeColumn string `json:"timeColumn,omitempty"` // takes the time of the message
	// CreateTable makes the table, and columns that it lacks, by the first value that is for them.
	CreateTable bool `json:"createTable,omitempty"`
}

const (
	postgresTimeout = 15 * time.Second
	maxIdentifier   = 63 // bytes that PostgreSQL keeps of a name
)

// Validate implements Action.
func (p *Postgres) Validate() error {
	if err := required("postgres", "table", p.Table); err != nil {
		return err
	}
	switch {
	case (p.URL == "") == (p.Connection == ""):
		return refuse("postgres: give one of url and connection")
	case p.URL != "" && !strings.Contains(p.URL, "${"):
		if _, err := pgxpool.ParseConfig(p.URL); err != nil {
			return refuse("postgres: url is not like postgres://user:password@host/database") // the error may show the password
		}
	}
	for _, name := range append(slices.Collect(maps.Keys(p.Columns)), p.IDColumn, p.TimeColumn) {
		if err := checkIdentifier(name); err != nil {
			return err
		}
	}
	return nil
}

func checkIdentifier(name string) error {
	if len(name) > maxIdentifier || strings.ContainsRune(name, 0) {
		return refuse("postgres: column %.80q is longer than %d bytes, which is all that PostgreSQL keeps", name, maxIdentifier)
	}
	return nil
}

// Destination implements Action: the server, without user and password.
func (p *Postgres) Destination() string {
	if p.Connection != "" {
		return p.Connection
	}
	cfg, err := pgxpool.ParseConfig(p.URL)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s:%d/%s", cfg.ConnConfig.Host, cfg.ConnConfig.Port, cfg.ConnConfig.Database)
}

// Batch implements Batcher: what goes into one table goes in one transaction.
func (p *Postgres) Batch() string {
	b, _ := json.Marshal([]any{p.URL, p.Connection, p.Table, p.IDColumn, p.TimeColumn, p.CreateTable})
	return string(b)
}

// BatchLimits implements Batcher.
func (p *Postgres) BatchLimits() (messages, bytes int, linger time.Duration) { return 1000, 4 << 20, 0 }

// Do implements Action.
func (p *Postgres) Do(ctx context.Context, s *Services, m *Message) error {
	return p.DoBatch(ctx, s, []Delivery{{p, m}})[0]
}

// DoBatch implements Batcher. The rows are written in one transaction, so that all fare alike but for
// those whose messages make no row.
func (p *Postgres) DoBatch(ctx context.Context, s *Services, list []Delivery) []error {
	errs := make([]error, len(list))
	var rows []pgRow
	var of []int
	for i, d := range list {
		row, err := d.Action.(*Postgres).row(d.Message)
		if err != nil {
			errs[i] = err
			continue
		}
		rows, of = append(rows, row), append(of, i)
	}
	if len(rows) == 0 {
		return errs
	}
	err := p.insert(ctx, s.Connections, rows)
	for _, i := range of {
		errs[i] = err
	}
	return errs
}

// pgRow is values by column. They are text as PostgreSQL reads it; nil is NULL.
type pgRow map[string]pgValue

type pgValue struct {
	text *string
	kind string // type of a column that would be made for it
}

func (p *Postgres) row(m *Message) (pgRow, error) {
	row := make(pgRow)
	if len(p.Columns) > 0 {
		for name, text := range p.Columns {
			row[name] = pgValue{&text, kindOfText(text)}
		}
	} else {
		members := make(map[string]json.RawMessage)
		if m.Binary || !bytes.HasPrefix(bytes.TrimSpace(m.Payload), []byte("{")) || json.Unmarshal(m.Payload, &members) != nil {
			return nil, refuse("postgres: the result is not a JSON object; name columns")
		}
		for name, raw := range members {
			if name == "" {
				return nil, refuse("postgres: a member of the result has no name")
			}
			if err := checkIdentifier(name); err != nil {
				return nil, err
			}
			v, err := pgValueOf(raw)
			if err != nil {
				return nil, err
			}
			row[name] = v
		}
	}
	if p.IDColumn != "" {
		row[p.IDColumn] = pgValue{&m.ID, "text PRIMARY KEY"}
	}
	if p.TimeColumn != "" {
		at := m.Time.UTC().Format(time.RFC3339Nano)
		row[p.TimeColumn] = pgValue{&at, "timestamptz"}
	}
	if len(row) == 0 {
		return nil, refuse("postgres: the result has no members")
	}
	return row, nil
}

func pgValueOf(raw json.RawMessage) (pgValue, error) {
	text := string(raw)
	switch text[0] {
	case 'n':
		return pgValue{nil, ""}, nil
	case 't', 'f':
		return pgValue{&text, "boolean"}, nil
	case '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return pgValue{}, refuse("postgres: %w", err)
		}
		if strings.ContainsRune(s, 0) {
			return pgValue{}, refuse("postgres: a string has U+0000, which PostgreSQL cannot keep")
		}
		return pgValue{&s, "text"}, nil
	case '{', '[':
		return pgValue{&text, "jsonb"}, nil
	}
	return pgValue{&text, "double precision"}, nil
}

// kindOfText is for columns, whose templates give text.
func kindOfText(text string) string {
	var v any
	switch json.Unmarshal([]byte(text), &v); v.(type) {
	case float64:
		return "double precision"
	case bool:
		return "boolean"
	case map[string]any, []any:
		return "jsonb"
	}
	return "text"
}

func (p *Postgres) insert(ctx context.Context, c *Connections, rows []pgRow) error {
	if c == nil {
		return Permanent(errNoConnections)
	}
	url := p.URL
	if p.Connection != "" {
		if url = c.databases[p.Connection]; url == "" {
			return refuse("postgres: the server's configuration has no database %q", p.Connection)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, postgresTimeout)
	defer cancel()
	return c.postgres.use(ctx, url, func() (*pgConnection, error) {
		cfg, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, refuse("postgres: the URL is not like postgres://user:password@host/database")
		}
		if cfg.ConnConfig.ConnectTimeout == 0 {
			cfg.ConnConfig.ConnectTimeout = 5 * time.Second
		}
		pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg)
		if err != nil {
			return nil, refuse("postgres: %w", err)
		}
		return &pgConnection{pool: pool, tables: make(map[string]map[string]string)}, nil
	}, func(conn *pgConnection) error {
		err := p.insertInto(ctx, conn, rows)
		var said *pgconn.PgError
		if errors.As(err, &said) && (said.Code == "42703" || said.Code == "42P01" || said.Code == "42804" || strings.HasPrefix(said.Code, "22")) {
			conn.forget(p.Table) // it may have been changed
			err = p.insertInto(ctx, conn, rows)
		}
		return postgresFailure(err)
	})
}

// postgresFailure tells what PostgreSQL refuses from what a later try may get over.
func postgresFailure(err error) error {
	var said *pgconn.PgError
	switch {
	case err == nil || IsPermanent(err):
		return err
	case errors.As(err, &said):
		switch said.Code[:min(2, len(said.Code))] {
		case "08", "25", "40", "53", "55", "57", "58", "XX":
		default:
			return Permanent(fmt.Errorf("postgres: %w", err))
		}
	}
	return fmt.Errorf("postgres: %w", err)
}

func (c *pgConnection) forget(table string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tables, table)
}

// tableIdentifier quotes the name of a table, perhaps with its schema.
func tableIdentifier(name string) string {
	return pgx.Identifier(strings.SplitN(name, ".", 2)).Sanitize()
}

// insertInto writes rows, those with the same columns in one statement.
func (p *Postgres) insertInto(ctx context.Context, c *pgConnection, rows []pgRow) error {
	types, err := p.columns(ctx, c, rows)
	if err != nil {
		return err
	}
	groups := make(map[string][]pgRow)
	var order []string
	for _, r := range rows {
		key := strings.Join(slices.Sorted(maps.Keys(r)), "\x00")
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], r)
	}
	slices.Sort(order)
	batch := &pgx.Batch{}
	for _, key := range order {
		names := strings.Split(key, "\x00")
		columns, casts, arrays, args := make([]string, len(names)), make([]string, len(names)), make([]string, len(names)), make([]any, len(names))
		for i, name := range names {
			kind, ok := types[name]
			if !ok {
				return refuse("postgres: table %q has no column %q", p.Table, name)
			}
			values := make([]*string, len(groups[key]))
			for k, r := range groups[key] {
				if v := r[name].text; v != nil && (*v != "" || len(p.Columns) == 0 || isText(kind)) {
					values[k] = v
				}
			}
			args[i] = values
			columns[i] = pgx.Identifier{name}.Sanitize()
			casts[i] = fmt.Sprintf("c%d::%s", i+1, kind)
			arrays[i] = fmt.Sprintf("$%d::text[]", i+1)
		}
		numbered := make([]string, len(names))
		for i := range names {
			numbered[i] = fmt.Sprintf("c%d", i+1)
		}
		statement := fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM unnest(%s) AS n (%s)", tableIdentifier(p.Table), strings.Join(columns, ", "),
			strings.Join(casts, ", "), strings.Join(arrays, ", "), strings.Join(numbered, ", "))
		if p.IDColumn != "" {
			statement += " ON CONFLICT (" + pgx.Identifier{p.IDColumn}.Sanitize() + ") DO NOTHING"
		}
		batch.Queue(statement, args...)
	}
	return pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() })
}

// isText reports whether an empty string is a value of a type; it is NULL for the others.
func isText(kind string) bool {
	return kind == "text" || kind == "bytea" || strings.HasPrefix(kind, "character")
}

// columns returns the types of a table's columns, after making what is missing if it is wanted.
func (p *Postgres) columns(ctx context.Context, c *pgConnection, rows []pgRow) (map[string]string, error) {
	c.mu.Lock()
	types := c.tables[p.Table]
	c.mu.Unlock()
	missing := func() map[string]string {
		out := make(map[string]string)
		for _, r := range rows {
			for name, v := range r {
				if types[name] == "" && v.kind != "" && out[name] == "" {
					out[name] = v.kind
				}
			}
		}
		return out
	}
	if types != nil && (len(missing()) == 0) {
		return types, nil
	}
	load := func() error {
		types = make(map[string]string)
		found, err := c.pool.Query(ctx, `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, tableIdentifier(p.Table))
		if err != nil {
			return err
		}
		var name, kind string
		_, err = pgx.ForEachRow(found, []any{&name, &kind}, func() error { types[name] = kind; return nil })
		return err
	}
	if err := load(); err != nil {
		return nil, err
	}
	if add := missing(); p.CreateTable && len(add) > 0 {
		if err := p.create(ctx, c, add); err != nil {
			return nil, err
		}
		if err := load(); err != nil {
			return nil, err
		}
	}
	if len(types) == 0 {
		return nil, refuse("postgres: there is no table %q", p.Table)
	}
	// A column that has only been null has no type yet, and nothing to write.
	for _, r := range rows {
		for name, v := range r {
			if types[name] == "" && v.text == nil && p.CreateTable {
				delete(r, name)
			}
		}
	}
	c.mu.Lock()
	c.tables[p.Table] = types
	c.mu.Unlock()
	return types, nil
}

// create makes a table or columns. Two servers may do so at once: a lock that ends with the transaction
// puts them in line.
func (p *Postgres) create(ctx context.Context, c *pgConnection, add map[string]string) error {
	return pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, p.Table); err != nil {
			return err
		}
		var columns []string
		for _, name := range slices.Sorted(maps.Keys(add)) {
			columns = append(columns, pgx.Identifier{name}.Sanitize()+" "+add[name])
		}
		table := tableIdentifier(p.Table)
		if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS "+table+" ("+strings.Join(columns, ", ")+")"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "ALTER TABLE "+table+" ADD COLUMN IF NOT EXISTS "+strings.Join(columns, ", ADD COLUMN IF NOT EXISTS "))
		return err
	})
}
