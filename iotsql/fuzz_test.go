package iotsql

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds are statements that reach every part of the language.
var seeds = []string{
	selectWhere, withObject, withCase,
	`SET @a = get((SELECT v FROM e WHERE n = 'x'), 0).v, @b = @a / 3.0 SELECT *, @b AS a.b FROM '#' WHERE NOT @a IN [1, 2] OR a <> null`,
	`SELECT VALUE transform('enrichArray', {'k': a.b, "l": -5e3}, (SELECT * FROM v)) FROM '$aws/things/+/shadow/update'`,
	`SELECT cast(a AS Decimal) % 7 AS x, concat([1], a, 'it''s'), substring(s, -1, 2), regexp_replace(s, s, s), parse_time(s, n, s) FROM 'a'`,
	`SELECT decode(encode(*, 'base64'), 'base64').x, decode(*, 'proto', 'b', 'k', 'telemetry', 'Telemetry') FROM 'a'`,
	`SELECT decode(s, 'avro', 'b', s), time_to_epoch(s, s), bitnot(n), power(n, n), round(n / 3), lpad(s, n), replace(s, s, s) FROM 'a'`,
	`SET @x = o SELECT o.a.*, (SELECT e.* FROM e) AS y, @x.* FROM 'a'`,
	`SELECT (SELECT VALUE (SELECT VALUE * FROM *) FROM o) AS x WHERE CASE a WHEN 1 THEN true ELSE 'TRUE' END`,
	`SELECT value, value + 1 AS value, md2(a), get_user_properties('k'), chr(n), trunc(n, n), get(a, n) FROM 'a/+/#'`,
}

var payloads = []string{
	telemetry, delta, ``, `{}`, `[]`, `80`, `"x"`, "\xff\x00", `{"a":`,
	`{"a":1,"a":{"b":[1,2.50,{"c":null}]},"e":[{"n":"x","v":3},{"v":-0.0}],"s":"h\u00e4\ud83d\ude00\"","n":12345678901234567890.5e-7,"o":{"x":[[1],[]]},"v":[{"k":1}]}`,
	`{"n":1e999,"s":"(a|b)*","a":"1E-999","v":[{},{}]}`,
	`{"n":-99999999999999999999999999999999999999,"s":"yyyy-MM-dd'T'HH","a":[null,true,false]}`,
}

// FuzzEval checks that no statement and no payload make the package panic, that what is printed
// means the same, that Explain agrees with Eval, and that the output is JSON.
func FuzzEval(f *testing.F) {
	for i, sql := range seeds {
		f.Add(sql, []byte(payloads[i%len(payloads)]), i%2 == 0)
		f.Add(sql, []byte(payloads[9]), i%2 == 1)
	}
	f.Fuzz(func(t *testing.T, sql string, payload []byte, old bool) {
		version := V2016
		if old {
			version = V2015
		}
		q, err := Parse(sql, version)
		if err != nil {
			checkSyntaxError(t, err)
			return
		}
		again, err := Parse(q.String(), version)
		if err != nil {
			t.Fatalf("%s printed as %s: %v", sql, q, err)
		}
		if again.String() != q.String() {
			t.Fatalf("%s printed as %s and then as %s", sql, q, again)
		}
		ctx := testContext()
		ctx.AvroSchema = nil
		m := NewMessage(ctx, payload)
		one, err1 := q.Eval(m, nil)
		two, err2 := again.Eval(m, nil)
		if shown(one, err1) != shown(two, err2) {
			t.Fatalf("%s: %s, printed: %s", sql, shown(one, err1), shown(two, err2))
		}
		if len(payload) < 2000 {
			e := q.Explain(m)
			if e.TopicMatched && shown(e.Result, e.Err) != shown(one, err1) {
				t.Fatalf("%s: %s, explained: %s", sql, shown(one, err1), shown(e.Result, e.Err))
			}
		}
		if err1 != nil {
			if !one.Matched && one.JSON == nil {
				return
			}
			t.Fatalf("output with error %v", err1)
		}
		if one.Matched && !one.Undefined && !q.passes && !json.Valid(one.JSON) && m.IsJSON() {
			t.Fatalf("%s: output %q is not JSON", sql, one.JSON)
		}
	})
}

func checkSyntaxError(t *testing.T, err error) {
	t.Helper()
	var e *SyntaxError
	if !errors.As(err, &e) {
		t.Fatalf("error of type %T", err)
	}
	if e.Line < 1 || e.Column < 1 || e.Offset < 0 || e.Offset > len(e.source) || e.Message == "" || !strings.HasSuffix(e.Caret(), "^") {
		t.Fatalf("error %#v", e)
	}
}

// FuzzTemplate checks templates alike; text without ${ comes out as it is.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"device/${topic(2)}/${a.b}", "${'}'}${{'a': 1}}", "$${x}", "${", "${@v}", "plain", "${n + 1}-${get(s, 0)}"} {
		f.Add(s, []byte(payloads[9]))
	}
	f.Fuzz(func(t *testing.T, s string, payload []byte) {
		q, err := Parse("SET @v = a SELECT * FROM '#'", V2016)
		if err != nil {
			t.Fatal(err)
		}
		tmpl, err := q.Template(s)
		if err != nil {
			checkSyntaxError(t, err)
			return
		}
		out, err := tmpl.Eval(NewMessage(testContext(), payload), nil)
		if err == nil && !strings.Contains(s, "${") && string(out) != s {
			t.Fatalf("%q became %q", s, out)
		}
		if tmpl.Fixed() != !strings.Contains(s, "${") {
			t.Fatalf("%q: Fixed is %v", s, tmpl.Fixed())
		}
	})
}

// FuzzJSON compares the validator and the readers with encoding/json.
func FuzzJSON(f *testing.F) {
	for _, p := range payloads {
		f.Add([]byte(p))
	}
	f.Add([]byte(` { "a" : [ ] , "b\u0022":{"":1E+5} } `))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := string(data)
		ok := checkJSON(s)
		if want := json.Valid(data) && utf8.Valid(data); ok != want {
			if depthOf(s) > maxDepth/2 {
				return
			}
			t.Fatalf("%q: valid %v, encoding/json %v", s, ok, want)
		}
		if !ok {
			return
		}
		v := fromJSON(trimSpace(s), false)
		var a, b any
		if err := unmarshal(data, &a); err != nil {
			t.Fatal(err)
		}
		out := v.appendJSON(nil, true, false)
		if err := unmarshal(out, &b); err != nil {
			t.Fatalf("%q: compact %q: %v", s, out, err)
		}
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if string(x) != string(y) {
			t.Fatalf("%s became %s", x, y)
		}
		if m, ok := a.(map[string]any); ok {
			msg := NewMessage(&Context{}, data)
			msg.read()
			built := v.members(false)
			if len(built) != len(m) {
				t.Fatalf("%q: %d members, want %d", s, len(built), len(m))
			}
			for _, e := range built {
				want, _ := json.Marshal(m[e.key])
				raw, ok := msg.raw(e.key)
				if !ok || !same(raw, want) || !same(string(v.get(e.key, false).appendJSON(nil, true, false)), want) {
					t.Fatalf("%q: member %q is %q, want %s", s, e.key, raw, want)
				}
			}
		}
		if !equal(v, v) {
			t.Fatalf("%q is not equal to itself", s)
		}
	})
}

func same(raw string, want []byte) bool {
	var v any
	if unmarshal([]byte(raw), &v) != nil {
		return false
	}
	got, _ := json.Marshal(v)
	return string(got) == string(want)
}

func unmarshal(b []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	return d.Decode(v)
}

func depthOf(s string) int { return strings.Count(s, "[") + strings.Count(s, "{") }

// FuzzProto gives damaged messages and damaged descriptors to the decoder.
func FuzzProto(f *testing.F) {
	full := wire(nil).varint(1, 1).text(2, "T-01").varint(3, 123).fixed64(4, 0x4037200000000000).bytes(5, []byte{1, 2}).
		bytes(6, wire(nil).varint(1, 3).fixed32(2, 5)).bytes(7, wire(nil).text(1, "a").varint(2, 1)).text(8, "raw").fixed32(9, 1).
		bytes(10, wire(nil).varint(1, 7))
	f.Add(testDescriptorSet(), []byte(full))
	f.Add(testDescriptorSet(), []byte{0x08})
	f.Add(testDescriptorSet(), []byte{0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, set, data []byte) {
		d, err := ParseDescriptors(set)
		if err != nil {
			return
		}
		for name := range d.messages {
			for file := range d.files {
				out, err := d.AppendJSON(nil, file, strings.TrimPrefix(name, "."), data)
				if err == nil && !json.Valid(out) {
					t.Fatalf("%q is not JSON", out)
				}
			}
		}
	})
}

// FuzzAvro gives damaged data and damaged schemas to the decoder.
func FuzzAvro(f *testing.F) {
	f.Add([]byte(`{"type":"record","name":"n.r","fields":[{"name":"s","type":"string"},{"name":"u","type":["null","n.r"]},{"name":"m","type":{"type":"map","values":"long"}}]}`), []byte("\x06foo\x00\x00"))
	f.Add([]byte(`{"type":"array","items":["null",{"type":"enum","name":"e","symbols":["A","B"]},{"type":"fixed","name":"f","size":2,"logicalType":"decimal","scale":1}]}`), []byte{4, 2, 2, 4, 1, 44, 0})
	f.Add([]byte(`"double"`), []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f})
	f.Add([]byte(`{"type":"array","items":"null"}`), []byte{0xfe, 0xff, 0xff, 0xff, 0x0f, 0})
	f.Fuzz(func(t *testing.T, schema, data []byte) {
		s, err := ParseAvroSchema(schema)
		if err != nil {
			return
		}
		out, err := s.AppendJSON(nil, data)
		if err == nil && !json.Valid(out) {
			t.Fatalf("%q is not JSON", out)
		}
	})
}

// FuzzTimePattern formats and reads times by any pattern.
func FuzzTimePattern(f *testing.F) {
	for _, s := range []string{"yyyy-MM-dd'T'HH:mm:ss.SSSZZ", "EEE, d MMM yy", "h:mm a z", "yyyy-MM-dd HH:mm:ss VV", "DDD''X"} {
		f.Add(s, "2020-04-03 09:45:18 UTC+01:00", int64(1585903518000))
	}
	f.Fuzz(func(t *testing.T, pattern, s string, ms int64) {
		q, err := Parse("SELECT parse_time(p, n, z) AS a, time_to_epoch(s, p) AS b FROM '#'", V2016)
		if err != nil {
			t.Fatal(err)
		}
		payload, _ := json.Marshal(map[string]any{"p": pattern, "s": s, "n": ms, "z": s})
		if _, err := q.Eval(NewMessage(&Context{}, payload), nil); err != nil {
			t.Fatal(err)
		}
	})
}
