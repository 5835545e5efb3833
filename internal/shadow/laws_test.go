package shadow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// generator makes random states of few keys, so that updates meet.
type generator struct{ *rand.Rand }

func (g generator) object(depth int, nulls bool) map[string]any {
	m := map[string]any{}
	for range g.IntN(5) {
		m[string(rune('a'+g.IntN(5)))] = g.value(depth-1, nulls)
	}
	return m
}

func (g generator) value(depth int, nulls bool) any {
	n := 8
	if depth == 0 {
		n = 5
	}
	switch g.IntN(n) {
	case 0:
		if nulls {
			return nil
		}
		return false
	case 1:
		return json.Number([]string{"1", "1.0", "2", "2e0", "9007199254740993"}[g.IntN(5)])
	case 2:
		return []string{"x", "y\n", "é\"\\"}[g.IntN(3)]
	case 3:
		return g.IntN(2) == 0
	case 4:
		list := []any{}
		for range g.IntN(3) {
			if depth == 0 {
				list = append(list, "leaf")
			} else {
				list = append(list, g.value(depth-1, false))
			}
		}
		return list
	}
	return g.object(depth, nulls)
}

// mergeModel is the merge rules on Go's own JSON values.
func mergeModel(into, from map[string]any) map[string]any {
	for k, v := range from {
		patch, isObject := v.(map[string]any)
		have, haveObject := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isObject && haveObject:
			had := len(have) > 0
			if have = mergeModel(have, patch); had && len(have) == 0 {
				delete(into, k)
			}
		case isObject:
			fresh := settleModel(patch)
			if len(fresh) == 0 && len(patch) > 0 {
				delete(into, k)
			} else {
				into[k] = fresh
			}
		default:
			into[k] = v
		}
	}
	return into
}

// settleModel is an object of a request without what its nulls take away.
func settleModel(patch map[string]any) map[string]any {
	fresh := map[string]any{}
	for k, v := range patch {
		switch inner, isObject := v.(map[string]any); {
		case v == nil:
		case isObject:
			if f := settleModel(inner); len(f) > 0 || len(inner) == 0 {
				fresh[k] = f
			}
		default:
			fresh[k] = v
		}
	}
	return fresh
}

func decode(t testing.TB, b []byte) (v map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return v
}

// sameShape checks that metadata has a timestamp for every leaf of a value, and nothing else.
func sameShape(value, meta any) error {
	switch v := value.(type) {
	case map[string]any:
		m, ok := meta.(map[string]any)
		if !ok || len(m) != len(v) {
			return fmt.Errorf("metadata %v of object %v", meta, value)
		}
		for k := range v {
			if err := sameShape(v[k], m[k]); err != nil {
				return err
			}
		}
	case []any:
		m, ok := meta.([]any)
		if !ok || len(m) != len(v) {
			return fmt.Errorf("metadata %v of array %v", meta, value)
		}
		for i := range v {
			if err := sameShape(v[i], m[i]); err != nil {
				return err
			}
		}
	default:
		m, ok := meta.(map[string]any)
		if _, stamp := m["timestamp"].(json.Number); !ok || len(m) != 1 || !stamp {
			return fmt.Errorf("metadata %v of leaf %v", meta, value)
		}
	}
	return nil
}

// TestLaws checks random updates against a model, and what must hold of every document: its
// metadata has its shape, it survives being stored, and reporting the delta settles it.
func TestLaws(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		g := generator{rand.New(rand.NewPCG(seed, 0))}
		w := newWorld()
		model := map[string]map[string]any{"desired": {}, "reported": {}}
		for step := range 12 {
			w.now++
			state := map[string]any{}
			for name := range model {
				switch g.IntN(4) {
				case 0:
				case 1:
					if g.IntN(6) == 0 {
						state[name] = nil
						model[name] = map[string]any{}
					}
				default:
					patch := g.object(4, true)
					state[name] = patch
					model[name] = mergeModel(model[name], patch)
				}
			}
			request, err := json.Marshal(map[string]any{"state": state})
			if err != nil {
				t.Fatal(err)
			}
			fail := func(format string, args ...any) {
				t.Helper()
				t.Fatalf("seed %d step %d, %s: %s", seed, step, request, fmt.Sprintf(format, args...))
			}
			got := w.update(string(request))
			if !strings.HasPrefix(got, "/update/accepted ") || w.doc.Version != int64(step+1) {
				fail("got %s", got)
			}
			want := map[string]any{}
			for name, m := range model {
				if len(m) > 0 {
					want[name] = m
				}
			}
			var plain any
			b, _ := json.Marshal(want) // once through JSON, so that the types are those of decode
			plain = decode(t, b)
			if have := decode(t, []byte(w.doc.State)); !reflect.DeepEqual(have, plain) {
				fail("state %v, want %v", have, plain)
			}
			meta, err := w.doc.Metadata()
			if err != nil {
				fail("metadata: %v", err)
			}
			if err := sameShape(plain, any(decode(t, meta))); err != nil {
				fail("%v", err)
			}
			settles(t, w, fail)
		}
	}
}

// settles reports the delta of a document and expects that none is left.
func settles(t *testing.T, w *world, fail func(string, ...any)) {
	t.Helper()
	var d draft
	if err := d.open(w.doc); err != nil {
		fail("%v", err)
	}
	if !d.difference() {
		return
	}
	if err := sameShape(decode(t, d.deltaState), decode(t, d.deltaMe)); err != nil {
		fail("delta: %v", err)
	}
	other := &world{doc: w.doc, now: w.now}
	if got := other.update(`{"state":{"reported":` + string(d.deltaState) + `}}`); strings.Contains(got, "/update/delta") {
		fail("after reporting the delta %s: %s", d.deltaState, got)
	}
}

// TestManyMembers makes lookups use the index.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	var up, down []string
	for i := range 200 {
		up = append(up, fmt.Sprintf(`"k%d":%d`, i, i))
		down = append(down, fmt.Sprintf(`"k%d":%d`, 199-i, 199-i))
	}
	w := newWorld()
	got := w.update(`{"state":{"desired":{` + strings.Join(up, ",") + `},"reported":{` + strings.Join(down, ",") + `}}}`)
	if strings.Contains(got, "/update/delta") {
		t.Error("a delta between equal sections")
	}
	w.update(`{"state":{"desired":{` + strings.Join(down[:199], ",") + `,"k0":null,"new":1}}}`)
	var v struct {
		Desired map[string]int
	}
	if err := json.Unmarshal([]byte(w.doc.State), &v); err != nil || len(v.Desired) != 200 || v.Desired["new"] != 1 || v.Desired["k199"] != 199 {
		t.Errorf("%d members, %v", len(v.Desired), err)
	}
}

// FuzzUpdate gives any bytes to a new shadow and to one that has content.
func FuzzUpdate(f *testing.F) {
	for _, s := range []string{
		`{"state":{"desired":{"a":1,"b":{"c":[1,{"d":null}]}},"reported":null},"clientToken":"x","version":0}`,
		`{"state":{"desired":{"a":{"b":null}},"reported":{"a":"\u00e9\ud83d\ude00\ud83d"}}}`,
		`{"state":{"reported":{"a":1e400,"b":-0.0,"c":[[],{}]}}}`,
		`{"state":null}`, `{"state":{}`, `[1,2,{"a":"b"}]`, "\xff", `{"a":1,"a":2}`, `"\u12"`, `01`, `{"state":{"desired":{"a":[null]}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		if len(payload) > MaxDocument {
			return
		}
		var p tree
		p.reset()
		if _, err := p.parse(payload); utf8.ValidString(payload) && err != errNesting && (err == nil) != json.Valid([]byte(payload)) {
			t.Fatalf("parsed with %v", err)
		}
		w := newWorld()
		for range 2 {
			before := *w.doc
			got := w.update(payload)
			for line := range strings.Lines(got) {
				_, message, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				if !json.Valid([]byte(message)) || !utf8.ValidString(message) {
					t.Fatalf("not JSON: %s", line)
				}
			}
			if strings.HasPrefix(got, "/update/rejected") {
				if *w.doc != before {
					t.Fatalf("a refused update changed %+v to %+v", before, *w.doc)
				}
			} else if w.doc.Version != before.Version+1 || len(w.doc.State) > MaxDocument+64 || !json.Valid([]byte(w.doc.State)) {
				t.Fatalf("%+v became %+v", before, *w.doc)
			}
			w.update(`{"state":{"desired":{"a":{"b":1}},"reported":{"a":1,"b":{"c":2}}}}`)
		}
	})
}
