package store

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// gathered are the rows of a commit, by table. Of several rows with one key the last counts: one
// statement for each table writes arrays of columns, and may not meet a key twice.
type gathered struct {
	tables []*tableRows
	byName map[*Table]*tableRows
	key    []byte
}

type tableRows struct {
	table      *Table
	types      []uint32
	put, gone  [][]any        // nil for rows that others have replaced
	index      map[string]int // of a key: place in put, or -1-place in gone
	upsert     string
	delete     string
	putN, delN int
}

func (g *gathered) empty() bool { return len(g.tables) == 0 }

// reset keeps the memory of tables.
func (g *gathered) reset() {
	for _, t := range g.tables {
		clear(t.put)
		clear(t.gone)
		clear(t.index)
		t.put, t.gone, t.putN, t.delN = t.put[:0], t.gone[:0], 0, 0
	}
	g.tables = g.tables[:0]
}

func (g *gathered) add(op *operation, types []uint32) error {
	t := g.byName[op.table]
	if t == nil {
		t = &tableRows{table: op.table, index: make(map[string]int)}
		if g.byName == nil {
			g.byName = make(map[*Table]*tableRows)
		}
		g.byName[op.table] = t
	}
	if t.types = types; len(t.index) == 0 {
		g.tables = append(g.tables, t)
	}
	want := len(op.table.Columns)
	if op.remove {
		want = op.table.Key
	}
	for _, row := range op.rows {
		if len(row) != want {
			return fmt.Errorf("%d values in a row, want %d", len(row), want)
		}
		if op.table.Key == 0 { // each is one of its own
			t.index[string(strconv.AppendInt(g.key[:0], int64(len(t.put)), 10))] = len(t.put)
			t.put = append(t.put, row)
			t.putN++
			continue
		}
		g.key = g.key[:0]
		for _, v := range row[:op.table.Key] {
			g.key = appendKey(g.key, v)
		}
		if at, ok := t.index[string(g.key)]; ok && at >= 0 {
			t.put[at] = nil
			t.putN--
		} else if ok {
			t.gone[-1-at] = nil
			t.delN--
		}
		if op.remove {
			t.index[string(g.key)] = -1 - len(t.gone)
			t.gone = append(t.gone, row)
			t.delN++
		} else {
			t.index[string(g.key)] = len(t.put)
			t.put = append(t.put, row)
			t.putN++
		}
	}
	if len(t.index) == 0 { // no rows at all
		g.tables = g.tables[:len(g.tables)-1]
	}
	return nil
}

func appendKey(dst []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		dst = append(dst, v...)
	case []byte:
		dst = append(dst, v...)
	case int64:
		dst = fmt.Append(dst, v)
	default:
		dst = fmt.Append(dst, v)
	}
	return append(dst, 0) // text of PostgreSQL has no zero byte; numbers have none either
}

// queue adds the statements to a batch, and returns the table of each.
func (g *gathered) queue(batch *pgx.Batch) (names []string, err error) {
	for _, t := range g.tables {
		if t.putN > 0 {
			args, err := t.columns(t.put, t.putN, len(t.table.Columns))
			if err != nil {
				return nil, err
			}
			if t.upsert == "" {
				t.upsert = fmt.Sprintf("INSERT INTO %s (%s) SELECT * FROM unnest(%s)%s", t.table.Name, strings.Join(t.table.Columns, ", "),
					t.arrays(len(t.table.Columns)), t.table.conflict())
			}
			batch.Queue(t.upsert, args...)
			names = append(names, t.table.Name)
		}
		if t.delN > 0 {
			args, err := t.columns(t.gone, t.delN, t.table.Key)
			if err != nil {
				return nil, err
			}
			if t.delete == "" {
				keys := t.table.Columns[:t.table.Key]
				var same []string
				for _, k := range keys {
					same = append(same, fmt.Sprintf("t.%s = gone.%s", k, k))
				}
				t.delete = fmt.Sprintf("DELETE FROM %s AS t USING unnest(%s) AS gone (%s) WHERE %s", t.table.Name,
					t.arrays(t.table.Key), strings.Join(keys, ", "), strings.Join(same, " AND "))
			}
			batch.Queue(t.delete, args...)
			names = append(names, t.table.Name)
		}
	}
	return names, nil
}

func (t *tableRows) arrays(n int) string {
	names := map[uint32]string{pgtype.TextOID: "text", pgtype.Int8OID: "bigint", pgtype.ByteaOID: "bytea", pgtype.Float8OID: "double precision"}
	var list []string
	for i, oid := range t.types[:n] {
		list = append(list, fmt.Sprintf("$%d::%s[]", i+1, names[oid]))
	}
	return strings.Join(list, ", ")
}

// columns turns rows into one array for each column.
func (t *tableRows) columns(rows [][]any, n, width int) (args []any, err error) {
	for c, oid := range t.types[:width] {
		var array any
		switch oid {
		case pgtype.TextOID:
			array, err = column(rows, n, c, textOf)
		case pgtype.Int8OID:
			array, err = column(rows, n, c, integerOf)
		case pgtype.ByteaOID:
			array, err = bytesColumn(rows, n, c)
		default:
			array, err = column(rows, n, c, floatOf)
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: column %s: %w", t.table.Name, t.table.Columns[c], err)
		}
		args = append(args, array)
	}
	return args, nil
}

func column[T any](rows [][]any, n, c int, of func(any) (T, error)) (any, error) {
	list := make([]T, 0, n)
	nulls := false
	for _, row := range rows {
		if row == nil {
			continue
		}
		v, err := T(*new(T)), error(nil)
		if row[c] == nil {
			nulls = true
		} else if v, err = of(row[c]); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if !nulls {
		return list, nil
	}
	nullable := make([]*T, 0, n)
	for _, row := range rows {
		if row == nil {
			continue
		}
		if i := len(nullable); row[c] == nil {
			nullable = append(nullable, nil)
		} else {
			nullable = append(nullable, &list[i])
		}
	}
	return nullable, nil
}

func bytesColumn(rows [][]any, n, c int) (any, error) {
	list := make([][]byte, 0, n)
	for _, row := range rows {
		if row == nil {
			continue
		}
		switch v := row[c].(type) {
		case nil:
			list = append(list, nil)
		case []byte:
			list = append(list, v)
		default:
			text, err := textOf(v)
			if err != nil {
				return nil, err
			}
			list = append(list, []byte(text))
		}
	}
	return list, nil
}

func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.String:
		return r.String(), nil
	case reflect.Slice:
		if r.Type().Elem().Kind() == reflect.Uint8 {
			return string(r.Bytes()), nil
		}
	}
	return "", fmt.Errorf("%T is not text", v)
}

func integerOf(v any) (int64, error) {
	switch v := v.(type) {
	case int64:
		return v, nil
	case int:
		return int64(v), nil
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if u := r.Uint(); u < 1<<63 {
			return int64(u), nil
		}
	case reflect.Bool:
		return integerOf(r.Bool())
	}
	return 0, fmt.Errorf("%T is not an integer of 64 bits", v)
}

func floatOf(v any) (float64, error) {
	if r := reflect.ValueOf(v); r.CanFloat() {
		return r.Float(), nil
	}
	i, err := integerOf(v)
	return float64(i), err
}
