package iotsql_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/iotsql"
)

// A rule is parsed once and evaluated for every message that its filter matches.
func ExampleQuery_Eval() {
	q, err := iotsql.Parse("SELECT temperature, topic(2) AS device, timestamp() AS at FROM 'dt/+/raw' WHERE temperature > 30", iotsql.V2016)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := &iotsql.Context{Topic: "dt/kettle-7/raw", ClientID: "kettle-7", Time: time.UnixMilli(1760000000000)}
	for _, payload := range []string{`{"temperature": 31.50}`, `{"temperature": 20}`} {
		r, err := q.Eval(iotsql.NewMessage(ctx, []byte(payload)), nil)
		fmt.Println(q.Matches(ctx.Topic), r.Matched, string(r.JSON), err)
	}
	// Output:
	// true true {"temperature":31.50,"device":"kettle-7","at":1760000000000} <nil>
	// true false  <nil>
}

// Templates of a rule's actions see the payload and the variables of SET.
func ExampleQuery_Template() {
	q, err := iotsql.Parse("SET @level = CASE TRUE WHEN (temperature > 90) THEN 'high' ELSE 'normal' END SELECT * FROM 'dt/+/raw'", iotsql.V2016)
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := q.Template("alerts/${@level}/${topic(2)}")
	if err != nil {
		fmt.Println(err)
		return
	}
	m := iotsql.NewMessage(&iotsql.Context{Topic: "dt/kettle-7/raw"}, []byte(`{"temperature": 95}`))
	out, err := t.Eval(m, nil)
	fmt.Println(string(out), err)
	// Output: alerts/high/kettle-7 <nil>
}

// A mistake has its place and, mostly, a remedy.
func ExampleSyntaxError() {
	_, err := iotsql.Parse("SELECT length(name) AS n FROM 'a'", iotsql.V2015)
	var e *iotsql.SyntaxError
	if errors.As(err, &e) {
		fmt.Println(e.Caret())
		fmt.Println(e.Message)
		fmt.Println(e.Hint)
	}
	// Output:
	// SELECT length(name) AS n FROM 'a'
	//        ^
	// SQL version 2015-10-08 has no function length
	// set awsIotSqlVersion to 2016-03-23; without it the version is 2015-10-08
}

// Explain shows how every part of a statement came out.
func ExampleQuery_Explain() {
	q, err := iotsql.Parse("SELECT a + 1 AS b FROM 'x' WHERE a > 1 AND missing = 2", iotsql.V2016)
	if err != nil {
		fmt.Println(err)
		return
	}
	e := q.Explain(iotsql.NewMessage(&iotsql.Context{Topic: "x"}, []byte(`{"a": 5}`)))
	for _, s := range e.Steps {
		fmt.Printf("%d %s %s: %s %s.\n", s.Depth, s.Clause, s.Expression, s.Type, s.Value)
	}
	fmt.Println(e.Result.Matched)
	// Output:
	// 0 WHERE a > 1: Boolean true.
	// 1  a: Int 5.
	// 0 WHERE missing = 2: Undefined .
	// 1  missing: Undefined .
	// false
}
