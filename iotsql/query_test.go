package iotsql

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func mustParse(t *testing.T, sql string) *Query {
	t.Helper()
	q, err := Parse(sql, V2016)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestErrors looks at the errors of evaluation from outside.
func TestErrors(t *testing.T) {
	t.Parallel()
	prefix := []byte("kept")
	r, err := mustParse(t, "SELECT a FROM 'x'").Eval(NewMessage(&Context{}, []byte("no")), prefix)
	if !errors.Is(err, ErrPayload) || r.Matched || string(r.JSON) != "kept" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, call := range []string{"get_thing_shadow('T', 'r')", "get_registry_data('DescribeThing', 'T', 'r')", "aws_lambda('f', 1)", "get_dynamodb('t', 'k', 1, 'r')",
		"get_secret('s', 'SecretString', 'r')", "decode(*, 'proto', 'b', 'k', 'f', 'm')", "decode(*, 'avro', 'b', 'k')", "rand()", "newuuid()"} {
		_, err := mustParse(t, "SELECT "+call+" AS x FROM 'x'").Eval(NewMessage(&Context{}, []byte("{}")), nil)
		var f *FunctionError
		if !errors.As(err, &f) || !errors.Is(err, ErrUnavailable) || !strings.HasPrefix(call, f.Name) {
			t.Errorf("%s: %v", call, err)
		}
	}
	// An evaluation that failed leaves nothing behind.
	m := NewMessage(&Context{}, []byte(`{"a":1}`))
	if _, err := mustParse(t, "SELECT rand() AS x").Eval(m, nil); err == nil {
		t.Error("rand without randomness")
	}
	if r, err := mustParse(t, "SELECT a").Eval(m, prefix); err != nil || string(r.JSON) != `kept{"a":1}` {
		t.Errorf("%s, %v", r.JSON, err)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	q := mustParse(t, "select Upper(a) as x, abs(1, 2), regexp_matches(a, '(?=x)') as y from 'a/+' where startswith(a, 'b') and upper(c) = 'C'")
	if got, want := q.Functions(), []string{"abs", "regexp_matches", "startswith", "upper"}; !slices.Equal(got, want) {
		t.Errorf("functions %v, want %v", got, want)
	}
	if w := q.Warnings(); len(w) != 2 || !strings.Contains(w[0], "'abs(1, 2)'") || !strings.Contains(w[1], "RE2") {
		t.Errorf("warnings %q", w)
	}
	if got, want := q.String(), "SELECT upper(a) AS x, abs(1, 2), regexp_matches(a, '(?=x)') AS y FROM 'a/+' WHERE startswith(a, 'b') AND upper(c) = 'C'"; got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
	if f, ok := q.Filter(); !ok || f != "a/+" || q.Version() != V2016 {
		t.Errorf("filter %q %v, version %s", f, ok, q.Version())
	}
	for name, want := range map[string]bool{"a/b": true, "a": false, "a/b/c": false, "$aws/rules/r/x": true} {
		if q.Matches(name) != want {
			t.Errorf("matches %s: %v", name, !want)
		}
	}
	if _, ok := mustParse(t, "SELECT *").Filter(); ok {
		t.Error("a filter without FROM")
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Version{"": V2015, "2015-10-08": V2015, "2016-03-23": V2016, "beta": Beta} {
		if v, err := ParseVersion(in); err != nil || v != want {
			t.Errorf("%q: %s, %v", in, v, err)
		}
	}
	if _, err := ParseVersion("2016-03-24"); err == nil {
		t.Error("2016-03-24 was accepted")
	}
}

// TestShared evaluates many queries on one message and one query on many messages.
func TestShared(t *testing.T) {
	t.Parallel()
	queries := []*Query{mustParse(t, "SELECT a FROM 'x'"), mustParse(t, "SET @v = a * 2 SELECT @v FROM 'x'"), mustParse(t, "SELECT * FROM 'x' WHERE a > 1"), mustParse(t, "SELECT VALUE b FROM 'x'")}
	want := [][]string{{`{"a":1}`, `{"v":2}`, "no match", "undefined"}, {`{"a":2.5}`, `{"v":5}`, `{"a":2.5,"b":[ 1 ]}`, "[ 1 ]"}, {"error: payload is not JSON", "error: payload is not JSON", "no match", "error: payload is not JSON"}}
	m := NewMessage(&Context{}, nil)
	for i, payload := range []string{`{"a":1}`, `{"a":2.5,"b":[ 1 ]}`, "binary"} {
		m.Reset(&Context{Topic: "x"}, []byte(payload))
		for j, q := range queries {
			if got := shown(q.Eval(m, nil)); got != want[i][j] {
				t.Errorf("%s on %s: %s, want %s", q, payload, got, want[i][j])
			}
		}
	}
}
