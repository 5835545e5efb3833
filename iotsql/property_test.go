package iotsql

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// generator writes random statements.
type generator struct{ *rand.Rand }

func (g generator) pick(l ...string) string { return l[g.IntN(len(l))] }

func (g generator) name() string {
	return g.pick("a", "b", "value", "e", "state", "x1", "é", "_y", "null_", "Value")
}

func (g generator) expr(depth int) string {
	if depth <= 0 {
		return g.pick(g.name(), "1", "-2", "3.50", "1e3", "'s'", "'it''s'", "\"d\"", "NULL", "true", "FALSE", g.name()+"."+g.name(), "topic()", "@v")
	}
	x := func() string { return g.expr(depth - 1 - g.IntN(2)) }
	switch g.IntN(14) {
	case 0, 1, 2:
		return x() + " " + g.pick("+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">=", "AND", "or", "in", "!=") + " " + g.pick(x(), "("+x()+")")
	case 3:
		return "(" + x() + ")"
	case 4:
		return g.pick("(NOT "+x()+")", "-"+g.pick("a", "(b)", "(-c)", "(1)"), "-("+x()+")")
	case 5:
		return g.pick("abs", "Upper", "concat", "get", "isNull", "round") + "(" + x() + g.pick("", ", "+x()) + ")"
	case 6:
		return "cast(" + x() + " as " + g.pick("Int", "Decimal", "string", "bool") + ")"
	case 7:
		return "CASE " + x() + " WHEN " + x() + " THEN " + x() + g.pick("", " WHEN 1 THEN "+x()) + g.pick("", " ELSE "+x()) + " END"
	case 8:
		return "{'k': " + x() + ", \"l\": " + x() + "}" + g.pick("", ".k")
	case 9:
		return "[" + x() + ", " + x() + g.pick("", ",") + "]"
	case 10:
		return "(" + g.selection(depth-1, " FROM "+g.pick(g.name(), "e", "["+x()+"]")) + ")"
	case 11:
		return "get((" + g.selection(0, " FROM e") + "), 0)." + g.name()
	}
	return x()
}

func (g generator) selection(depth int, from string) string {
	s := "SELECT "
	switch g.IntN(4) {
	case 0:
		s += "VALUE " + g.pick("(", "(") + g.expr(depth) + ")"
	case 1:
		s += "*"
	default:
		for i := range 1 + g.IntN(3) {
			if i > 0 {
				s += ", "
			}
			s += g.pick("(", "(") + g.expr(depth) + ")" + g.pick("", " AS "+g.name(), " AS a.b", " AS 'q q'")
		}
		s += g.pick("", ", *", ", state.*, @v.*", ", a.value.*")
	}
	return s + from + g.pick("", " WHERE "+g.expr(depth))
}

func (g generator) statement() string {
	return "SET @v = " + strings.NewReplacer("@v.*", "x.*", "@v", "7").Replace(g.expr(1)) + " " + g.selection(3, g.pick(" FROM 'a/+/#'", ""))
}

// TestPrint parses what is printed, and evaluates both.
func TestPrint(t *testing.T) {
	t.Parallel()
	g := generator{rand.New(rand.NewPCG(1, 2))}
	parsed := 0
	for range 3000 {
		sql := g.statement()
		q, err := Parse(sql, V2016)
		if err != nil {
			checkSyntaxError(t, err)
			if !strings.Contains(err.Error(), "a number has no members") && !strings.Contains(err.Error(), "NOT binds less") {
				t.Fatalf("%s: %v", sql, err)
			}
			continue
		}
		parsed++
		again, err := Parse(q.String(), V2016)
		if err != nil || again.String() != q.String() {
			t.Fatalf("%s\nprinted as %s\nand then as %v (%v)", sql, q, again, err)
		}
		m := NewMessage(testContext(), []byte(payloads[9]))
		one, two := shown(q.Eval(m, nil)), shown(again.Eval(m, nil))
		e := q.Explain(m)
		if one != two || e.TopicMatched && shown(e.Result, e.Err) != one {
			t.Fatalf("%s: %s\nprinted as %s: %s\nexplained: %s", sql, one, q, two, shown(e.Result, e.Err))
		}
	}
	if parsed < 2500 {
		t.Errorf("only %d of 3000 statements were parsed", parsed)
	}
}

// TestArithmetic compares exact operations with big.Rat.
func TestArithmetic(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	draw := func() (num, *big.Rat) {
		s := fmt.Sprintf("%d", r.Int64N(1<<uint(1+r.IntN(62)))-r.Int64N(1<<20))
		if r.IntN(3) == 0 {
			s += fmt.Sprintf("%d", r.Int64())
			s = s[:min(len(s), 28)]
		}
		if r.IntN(2) == 0 {
			s += fmt.Sprintf(".%d", r.IntN(100000))
		}
		if r.IntN(3) == 0 {
			s += fmt.Sprintf("e%d", r.IntN(12)-6)
		}
		n, _, ok := parseNum(s)
		want, ok2 := new(big.Rat).SetString(s)
		if !ok || !ok2 {
			t.Fatalf("%s: not read", s)
		}
		return n, want
	}
	tolerance := new(big.Rat).SetFrac(big.NewInt(1), bigPow10(33))
	check := func(what string, got num, ok bool, want *big.Rat) {
		t.Helper()
		g, ok2 := new(big.Rat).SetString(string(got.append(nil)))
		if !ok || !ok2 {
			t.Fatalf("%s: no result", what)
		}
		diff := new(big.Rat).Sub(g, want)
		bound := new(big.Rat).Mul(tolerance, want)
		if diff.Abs(diff).Cmp(bound.Abs(bound)) > 0 {
			t.Fatalf("%s = %s, want %s", what, got.append(nil), want.FloatString(40))
		}
		if got.digits() > maxDigits {
			t.Fatalf("%s has %d digits", what, got.digits())
		}
	}
	for range 20000 {
		a, x := draw()
		b, y := draw()
		name := func(op string) string { return string(a.append(nil)) + op + string(b.append(nil)) }
		check(string(a.append(nil)), a, true, x)
		s, ok := add(a, b)
		check(name(" + "), s, ok, new(big.Rat).Add(x, y))
		p, ok := multiply(a, b)
		check(name(" * "), p, ok, new(big.Rat).Mul(x, y))
		if y.Sign() != 0 {
			d, ok := divide(a, b)
			check(name(" / "), d, ok, new(big.Rat).Quo(x, y))
		}
		if got, want := compare(a, b), x.Cmp(y); got != want {
			t.Fatalf("compare %s, %s: %d, want %d", a.append(nil), b.append(nil), got, want)
		}
		again, _, ok := parseNum(string(a.append(nil)))
		if !ok || compare(a, again) != 0 || again.exp != a.exp {
			t.Fatalf("%s read again is %s", a.append(nil), again.append(nil))
		}
	}
}

// TestConcurrent uses one query from several goroutines; the race detector watches.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	q, err := Parse(withObject, V2016)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			m := NewMessage(testContext(), []byte(telemetry))
			for range 100 {
				if r, err := q.Eval(m, nil); err != nil || !r.Matched {
					t.Error(r, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestVariablesOnce counts the calls of a function in SET: a statement and its templates share
// them, another message does not.
func TestVariablesOnce(t *testing.T) {
	t.Parallel()
	q, err := Parse("SET @s = get_thing_shadow('T', 'role') SELECT @s.state AS a, @s.state AS b FROM '#' WHERE isUndefined(@s) = false", V2016)
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := q.Template("${@s.state.reported.alarm}")
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	ctx := testContext()
	inner := ctx.ThingShadow
	ctx.ThingShadow = func(a, b, c string) ([]byte, error) { calls++; return inner(a, b, c) }
	m := NewMessage(ctx, []byte("{}"))
	for i := range 2 {
		if _, err := q.Eval(m, nil); err != nil {
			t.Fatal(err)
		}
		if out, err := tmpl.Eval(m, nil); err != nil || string(out) != "ON" {
			t.Fatal(out, err)
		}
		if calls != i+1 {
			t.Fatalf("%d calls after %d messages", calls, i+1)
		}
		m.Reset(ctx, []byte("{}"))
	}
}

// TestBounds gives statements and payloads that are large on purpose.
func TestBounds(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 600) + strings.Repeat("]", 600)
	for _, sql := range []string{
		"SELECT " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " FROM 'a'",
		"SELECT " + strings.Repeat("-", 5000) + "a FROM 'a'",
		"SELECT " + strings.Repeat("NOT ", 5000) + "a FROM 'a'",
		"SELECT 1" + strings.Repeat("+1", 20000) + " FROM 'a'",
		"SELECT a" + strings.Repeat(".a", 20000) + " FROM 'a'",
		"SELECT " + deep + " AS x FROM 'a'",
		"SELECT " + strings.Repeat("(SELECT VALUE * FROM ", 200) + "a" + strings.Repeat(")", 200) + " AS x FROM 'a'",
	} {
		if _, err := Parse(sql, V2016); err == nil {
			t.Errorf("%.40s… was accepted", sql)
		} else {
			checkSyntaxError(t, err)
		}
	}
	q, err := Parse("SELECT a FROM 'a'", V2016)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Eval(NewMessage(&Context{}, []byte(`{"a":`+deep+`}`)), nil); err == nil {
		t.Error("JSON of depth 600 was accepted")
	}
	// Nested queries over the same array in each other.
	q, err = Parse("SELECT (SELECT VALUE (SELECT VALUE (SELECT VALUE 1 FROM @v) FROM @v) FROM @v) AS x FROM 'a'", V2016)
	if err == nil {
		t.Fatal("a variable without SET was accepted")
	}
	q, err = Parse("SET @v = v SELECT (SELECT VALUE (SELECT VALUE (SELECT VALUE 1 FROM @v) FROM @v) FROM @v) AS x FROM 'a'", V2016)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Eval(NewMessage(&Context{}, []byte(`{"v":[`+strings.Repeat("0,", 2000)+`0]}`)), nil); err == nil {
		t.Error("8 billion elements were looked at")
	}
}

// TestCaret shows a mistake.
func TestCaret(t *testing.T) {
	t.Parallel()
	_, err := Parse("SELECT a,\n\tb LIKE 'é'\nFROM 'x'", V2016)
	e, ok := err.(*SyntaxError)
	if !ok {
		t.Fatalf("error %v", err)
	}
	if got, want := e.Caret(), " b LIKE 'é'\n   ^"; got != want || e.Line != 2 || e.Column != 4 {
		t.Errorf("line %d column %d\n%s\nwant\n%s", e.Line, e.Column, got, want)
	}
}
