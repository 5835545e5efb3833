package jsondoc

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

func parse(t testing.TB, s string) Value {
	t.Helper()
	v, err := Parse([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func TestValues(t *testing.T) {
	t.Parallel()
	v := parse(t, ` {"a":{"b":[1,{"c":2}],"n":null},"s":"x\n\u00e9\ud83d\ude00\\","i":-7,"a b":true,"i":8} `)
	if s := v.Get("s").Text(); s != "x\né😀\\" {
		t.Errorf("text %q", s)
	}
	if n, ok := v.Get("i").Int(); !ok || n != 8 {
		t.Errorf("number %d", n)
	}
	if v.Get("a", "x", "y").Exists() || !v.Get("a", "n").IsNull() || !v.Get("a").IsObject() || len(v.Members()) != 4 {
		t.Errorf("members %v", v.Members())
	}
	if got := string(v.Get("a").Append(nil)); got != `{"b":[1,{"c":2}],"n":null}` {
		t.Errorf("written %s", got)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{`{}`, `{"a":1}`, `{"a":1}`},
		{`{"a":{"b":1,"c":2}}`, `{"a":{"b":null,"d":3}}`, `{"a":{"b":null,"c":2,"d":3}}`},
		{`{"a":{"b":1}}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"a":1}`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
	} {
		base := parse(t, c[0])
		if got := string(Merge(base, parse(t, c[1])).Append(nil)); got != c[2] {
			t.Errorf("%s over %s: %s, want %s", c[1], c[0], got, c[2])
		}
		if got := string(base.Append(nil)); got != c[0] {
			t.Errorf("merging changes its base: %s", got)
		}
	}
}

// FuzzParse compares with the standard library.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{}`, `[]`, ` {"a" : [1, -2.5e+3, "\u0041\ud800x"] , "b":{"c":null}}`, `01`, `1.`, `"\x"`, `tru`, `{"a":1,}`, `"` + "\x01" + `"`, `{"a":1,"a":{}}`, `"\uD83D\uDE00\uDE00"`, "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Parse(b)
		if !utf8.Valid(b) {
			if err == nil {
				t.Errorf("%q is not UTF-8", b)
			}
			return
		}
		if err != nil {
			if json.Valid(b) && !bytes.ContainsAny(b, "[{") {
				t.Errorf("%q is valid", b)
			}
			return
		}
		var want, got any
		if err := json.Unmarshal(b, &want); err != nil {
			if json.Valid(b) {
				return // a number out of range
			}
			t.Fatalf("%q: %v", b, err)
		}
		if err := json.Unmarshal(v.Append(nil), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q comes back as %q", b, v.Append(nil))
		}
		if s, ok := want.(string); ok && (v.Text() != s || !reflect.DeepEqual(parse(t, string(AppendString(nil, s))).Text(), s)) {
			t.Errorf("%q is %q", b, v.Text())
		}
	})
}
