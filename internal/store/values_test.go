package store

import "testing"

func TestDialect(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`SELECT 1`: `SELECT 1`,
		`SELECT a FROM t WHERE b = ? AND c IN (?, ?)`:      `SELECT a FROM t WHERE b = $1 AND c IN ($2, $3)`,
		`SELECT '?', "a?" FROM t WHERE b = ? || 'it''s ?'`: `SELECT '?', "a?" FROM t WHERE b = $1 || 'it''s ?'`,
		`SELECT 'never closed ?`:                           `SELECT 'never closed ?`,
	} {
		if got := rebind(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		`CREATE TABLE t (a TEXT PRIMARY KEY, b BIGINT NOT NULL, c BLOB) /*sqlite WITHOUT ROWID*/`: `CREATE TABLE t (a TEXT COLLATE "C" PRIMARY KEY, b BIGINT NOT NULL, c BYTEA) `,
		`ALTER TABLE t ADD COLUMN d TEXT NOT NULL DEFAULT ''`:                                     `ALTER TABLE t ADD COLUMN d TEXT COLLATE "C" NOT NULL DEFAULT ''`,
		`CREATE INDEX i ON t (a) WHERE a <> ''`:                                                   `CREATE INDEX i ON t (a) WHERE a <> ''`,
	} {
		if got := definition(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestGathered: of several operations on one key the last counts.
func TestGathered(t *testing.T) {
	t.Parallel()
	table := &Table{Name: "t", Columns: []string{"k", "n", "v"}, Key: 2}
	types := []uint32{25, 20, 17}
	var g gathered
	for range 2 {
		for _, op := range []operation{
			{table: table, rows: [][]any{{"a", 1, nil}, {"b", int64(1), []byte("x")}}},
			{table: table, rows: [][]any{{"b", 1}, {"c", 1}}, remove: true},
			{table: table, rows: [][]any{{"a", int8(1), []byte("y")}, {"c", 2, []byte("z")}, {"c", 1, []byte{}}}},
		} {
			if err := g.add(&op, types); err != nil {
				t.Fatal(err)
			}
		}
		rows := g.tables[0]
		if len(g.tables) != 1 || rows.putN != 3 || rows.delN != 1 {
			t.Errorf("%d tables, %d rows, %d deleted", len(g.tables), rows.putN, rows.delN)
		}
		args, err := rows.columns(rows.put, rows.putN, 3)
		if err != nil {
			t.Fatal(err)
		}
		if v := args[2].([][]byte); len(v) != 3 || string(v[0]) != "y" || string(v[1]) != "z" || v[2] == nil {
			t.Errorf("%q", v)
		}
		g.reset()
		if !g.empty() {
			t.Error("not empty")
		}
	}
	if err := g.add(&operation{table: table, rows: [][]any{{"a"}}}, types); err == nil {
		t.Error("a short row was taken")
	}
}
