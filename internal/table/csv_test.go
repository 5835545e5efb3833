package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCSV(t *testing.T) {
	t.Parallel()
	eachDatabase(t, testCSV)
}

func testCSV(t *testing.T, dir string) {
	tables := open(t, dir)
	text := "\ufefftime,thing,id,temperature,note,on\n" +
		"2026-01-31T12:00:00.000Z,kitchen,1,21.5,\"warm, \"\"cosy\"\"\",true\n" +
		"1769860801000,hall,2,007,0x10,false\n" +
		"1769860802500.7,hall,3,-1e2,,\n" +
		"1769860803000,hall,4,,,\n"
	read := func(text string) error {
		return ReadCSV(strings.NewReader(text), func(rows []Row) error { return tables.Insert(t.Context(), "c", rows) })
	}
	if err := errors.Join(read(text), read(text)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tables.WriteCSV(t.Context(), &out, Query{Table: "c"}); err != nil {
		t.Fatal(err)
	}
	want := "time,thing,note,on,temperature\n" +
		"2026-01-31T12:00:00.000Z,kitchen,\"warm, \"\"cosy\"\"\",true,21.5\n" +
		"2026-01-31T12:00:01.000Z,hall,0x10,false,007\n" +
		"2026-01-31T12:00:02.500Z,hall,,,-100\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	out.Reset()
	q := Query{Table: "c", Every: time.Minute, Measures: []string{"temperature"}, Aggregates: []Aggregate{Count, Max}}
	if err := tables.WriteCSV(t.Context(), &out, q); err != nil {
		t.Fatal(err)
	}
	want = "time,thing,temperature.count,temperature.max\n2026-01-31T12:00:00.000Z,hall,2,-100\n2026-01-31T12:00:00.000Z,kitchen,1,21.5\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	out.Reset()
	if err := tables.WriteNDJSON(t.Context(), &out, Query{Table: "c", Things: []string{"kitchen"}}); err != nil {
		t.Fatal(err)
	}
	if want := `{"time":1769860800000,"thing":"kitchen","measures":{"temperature":21.5,"note":"warm, \"cosy\"","on":true}}` + "\n"; out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
	for _, bad := range []string{"", "time,thing\n1,x\n", "a,a\n1,2\n", "a,\n1,2\n", "time,a\nsoon,1\n", "time,a\n-5,1\n", "a\n\"\n", "a,b\n1\n", "a\n\xff\n"} {
		if err := read(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseQuery(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	v, _ := url.ParseQuery("thing=a&thing=b&measure=m&last=1h&to=now&order=desc&limit=5&every=1m&aggregate=avg,min&aggregate=last")
	q, err := ParseQuery("r", v, now)
	if err != nil || q.From != 1_700_000_000_000-3600_000 || q.To != 1_700_000_000_000 || !q.Descending || q.Limit != 5 || q.Every != time.Minute ||
		!slices.Equal(q.Things, []string{"a", "b"}) || !slices.Equal(q.Aggregates, []Aggregate{Avg, Min, Last}) {
		t.Errorf("%+v %v", q, err)
	}
	for text, want := range map[string]int64{"-2d": 1_700_000_000_000 - 2*86400_000, "-1w": 1_700_000_000_000 - 7*86400_000, "5": 5, "-100d": 1_700_000_000_000 - 100*86400_000,
		"2023-11-14T22:13:20Z": 1_700_000_000_000, "-36500d": 0} {
		if from, _, err := ParseRange(text, "", "", now); err != nil || from != want {
			t.Errorf("from %s is %d, want %d: %v", text, from, want, err)
		}
	}
	for _, bad := range []string{"from=soon", "last=1h&from=5", "last=0s", "last=-1h", "last=1y", "order=up", "limit=0", "limit=10001", "limit=x", "every=1us", "every=x",
		"aggregate=avg", "every=1m&aggregate=median", "from=9&to=5", "to=0", "from=1e300", "speed=5", "limit=1&limit=2", "every=99999999999d"} {
		v, _ := url.ParseQuery(bad)
		if q, err := ParseQuery("r", v, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v %v", bad, q, err)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"", "thing=a&last=1h&every=1m&aggregate=avg", "from=-2d&to=2026-01-31T12:00:00Z&order=desc&limit=5", "token=AAACBGE", "from=1e999", "every=9223372036854775807ns"} {
		f.Add(s)
	}
	tables := open(f, f.TempDir())
	for i := range 50 {
		insert(f, tables, "r", row(int64(i*1000), "x", 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := ParseQuery("r", v, time.UnixMilli(100_000))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if _, err := tables.Query(t.Context(), q); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
	})
}

func FuzzReadCSV(f *testing.F) {
	for _, s := range []string{"time,thing,a\n1,x,2\n", "a\ntrue\n", "\ufeffa,id\n\"1\n2\",3\n", "time,a\n2026-01-31T12:00:00Z,1e308\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := ReadCSV(strings.NewReader(text), func(rows []Row) error {
			for i := range rows {
				if _, err := rows[i].check(); err != nil {
					t.Fatalf("%+v: %v", rows[i], err)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
	})
}

// FuzzRow reads rows of JSON; those that pass come out as they went in.
func FuzzRow(f *testing.F) {
	for _, s := range []string{`{"time":1,"thing":"x","measures":{"a":1,"b":null,"c":[1],"d":"x","e":true,"a":2}}`, `{"time":"2026-01-31T12:00:00Z","measures":{"a":1e400}}`,
		`{"measures":[]}`, `{"measures":{"a":{}}`, `{"x":1}`, `{"time":null,"id":"1"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var in Row
		if json.Unmarshal([]byte(text), &in) != nil {
			return
		}
		if _, err := in.check(); err != nil {
			return
		}
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatalf("%+v: %v", in, err)
		}
		var out Row
		if err := json.Unmarshal(b, &out); err != nil || out.Time != in.Time || out.Thing != in.Thing || len(out.Measures) != len(in.Measures) {
			t.Fatalf("%s: %+v, want %+v: %v", b, out, in, err)
		}
	})
}

// FuzzDecode reads stored values and states, which a damaged file may spoil.
func FuzzDecode(f *testing.F) {
	values := appendValues(nil, []numbered{{0, Number(21.37)}, {1, String("x")}, {2, Bool(true)}, {300, Number(0.1 + 0.2)}})
	var s state
	s.add(5, int64(len(values)), []numbered{{0, Number(1)}, {7, JSON("{}")}})
	f.Add(values)
	f.Add(s.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			var err error
			if _, rest, err = nextValue(rest, nil); err != nil {
				break
			}
		}
		if s, err := decodeState(b); err == nil {
			s.append(nil)
		}
	})
}
