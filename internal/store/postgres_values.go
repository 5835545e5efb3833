package store

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rebind numbers the placeholders of a statement.
func rebind(query string) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(query); i++ {
		switch c := query[i]; c {
		case '?':
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		case '\'', '"':
			end := strings.IndexByte(query[i+1:], c)
			if end < 0 {
				return b.String() + query[i:]
			}
			b.WriteString(query[i : i+end+2])
			i += end + 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// rebound remembers statements with numbers: they are written in the code, so there are few.
type rebound struct{ known sync.Map }

func (r *rebound) get(query string) string {
	if v, ok := r.known.Load(query); ok {
		return v.(string)
	}
	v := rebind(query)
	r.known.Store(query, v)
	return v
}

// definition turns a CREATE or ALTER statement into PostgreSQL's: text sorts by its bytes.
func definition(statement string) string {
	for begin := strings.Index(statement, "/*"); begin >= 0; begin = strings.Index(statement, "/*") {
		end := strings.Index(statement[begin:], "*/")
		if end < 0 {
			break
		}
		statement = statement[:begin] + statement[begin+end+2:]
	}
	return columnTypes.Replace(statement)
}

var columnTypes = strings.NewReplacer(" TEXT", ` TEXT COLLATE "C"`, " BLOB", " BYTEA")

// readArgs are arguments of a statement whose parameters' types are not known here.
func readArgs(args []any) []any {
	for i, a := range args {
		if b, ok := a.(bool); ok {
			args = append([]any(nil), args...)
			args[i], _ = integerOf(b)
		}
	}
	return args
}

// writeArgs makes arguments fit the parameters, as SQLite would do by itself.
func writeArgs(args []any, types []uint32) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a
		if a == nil || i >= len(types) {
			continue
		}
		switch types[i] {
		case pgtype.Int8OID, pgtype.Int4OID, pgtype.Int2OID:
			if n, err := integerOf(a); err == nil {
				out[i] = n
			}
		case pgtype.TextOID:
			if text, err := textOf(a); err == nil && reflect.TypeOf(a).Kind() != reflect.Slice {
				out[i] = text
			}
		case pgtype.ByteaOID:
			if text, err := textOf(a); err == nil && reflect.TypeOf(a).Kind() == reflect.String {
				out[i] = []byte(text)
			}
		}
	}
	return out
}

// poolRow is the row that a read is at.
type poolRow struct{ rows pgx.Rows }

func (r poolRow) Scan(dest ...any) error {
	for i, f := range r.rows.FieldDescriptions() {
		if i < len(dest) && special(f.DataTypeOID, dest[i]) {
			row := keptRow{types: r.rows.Conn().TypeMap(), fields: r.rows.FieldDescriptions(), values: r.rows.RawValues()}
			return row.Scan(dest...)
		}
	}
	return r.rows.Scan(dest...)
}

// keptRow is a row whose values are in memory.
type keptRow struct {
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	values [][]byte
}

func (r *keptRow) Scan(dest ...any) error {
	if len(dest) != len(r.values) {
		return fmt.Errorf("scan: %d columns into %d places", len(r.values), len(dest))
	}
	for i, d := range dest {
		if err := r.scan(r.fields[i], r.values[i], d); err != nil {
			return fmt.Errorf("scan: column %s: %w", r.fields[i].Name, err)
		}
	}
	return nil
}

func (r *keptRow) scan(f pgconn.FieldDescription, value []byte, dest any) error {
	if value != nil && special(f.DataTypeOID, dest) {
		switch d := dest.(type) {
		case *bool:
			var n int64
			err := r.types.Scan(f.DataTypeOID, f.Format, value, &n)
			*d = n != 0
			return err
		case *string:
			var b []byte
			err := r.types.Scan(f.DataTypeOID, f.Format, value, &b)
			*d = string(b)
			return err
		}
	}
	return r.types.Scan(f.DataTypeOID, f.Format, value, dest)
}

// special tells the pairs of types that pgx does not convert.
func special(oid uint32, dest any) bool {
	switch dest.(type) {
	case *bool:
		return oid != pgtype.BoolOID
	case *string:
		return oid == pgtype.ByteaOID
	}
	return false
}
