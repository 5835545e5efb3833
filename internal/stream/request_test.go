package stream

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func TestParseTopic(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		want address
		ok   bool
	}{
		{"$aws/things/T/streams/S/get/json", address{"$aws/things/T/streams/S/", "T", "S", true, formatJSON, true}, true},
		{"$aws/things/T/streams/S/describe/cbor", address{"$aws/things/T/streams/S/", "T", "S", false, formatCBOR, true}, true},
		{"$aws/things/T/streams/S/get/xml", address{"$aws/things/T/streams/S/", "T", "S", true, formatJSON, false}, true},
		{"$aws/things/T/streams/a b/get/cbor", address{"$aws/things/T/streams/a b/", "T", "a b", true, formatCBOR, false}, true},
		{"$aws/things/T/streams/S/data/json", address{}, false},
		{"$aws/things/T/streams/S/get", address{}, false},
		{"$aws/things/T/streams/S/get/json/x", address{}, false},
		{"$aws/things/T/jobs/S/get", address{}, false},
		{"$aws/things/T", address{}, false},
		{"a/b", address{}, false},
	} {
		if got, ok := parseTopic(tc.name); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %+v %v", tc.name, got, ok)
		}
	}
}

// example is a stream of one file of 10 blocks of 256 bytes and 1 byte more.
func example() *Stream {
	return &Stream{ID: "S", Version: 3, Files: []File{{ID: 1, Object: &Object{Size: 2561}}, {ID: 2, Object: &Object{}}, {ID: 3, Object: &Object{Size: 1 << 24}}}}
}

// TestRequests checks every rule of the developer guide in both formats.
func TestRequests(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 65)
	for _, tc := range []struct {
		in     string // JSON; CBOR is made from it, with b as a byte string
		blocks []int64
		code   string
		token  string
	}{
		{in: `{"f":1,"l":256,"n":2}`, blocks: []int64{0, 1}},
		{in: `{"f":1,"l":256,"o":9,"n":5}`, blocks: []int64{9, 10}},
		{in: `{"f":1,"l":256,"o":2,"n":0}`, blocks: []int64{2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{in: `{"f":1,"l":4096}`, blocks: []int64{0}},
		{in: `{"f":1,"l":256,"o":null,"n":1,"c":null,"b":null}`, blocks: []int64{0}},
		{in: `{"c":"k","s":3,"f":1,"l":256,"o":1,"n":32,"b":"1301"}`, blocks: []int64{1, 2, 5, 9}, token: "k"},
		{in: `{"f":1,"l":256,"n":2,"b":"1301"}`, blocks: []int64{0, 1}},
		{in: `{"f":1,"l":256,"b":"ffff"}`, blocks: []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{in: `{"f":3,"l":131072,"n":5}`, blocks: []int64{0}},
		{in: `{"f":3,"l":65536,"n":5,"o":3}`, blocks: []int64{3, 4}},
		{in: `{"f":3,"l":65536,"b":"f8"}`, blocks: []int64{3, 4}},
		{in: `{"f":3,"l":256,"o":98304}`, code: codeNotFound},
		{in: `{"f":1,"l":256,"o":11}`, code: codeNotFound},
		{in: `{"f":1,"l":256,"b":"00"}`, code: codeNotFound},
		{in: `{"f":1,"l":256,"b":""}`, code: codeNotFound},
		{in: `{"f":2,"l":256}`, code: codeNotFound},
		{in: `{"f":4,"l":256}`, code: codeNotFound},
		{in: `{"f":-1,"l":256}`, code: codeNotFound},
		{in: `{"c":"k","l":256}`, code: codeRequest, token: "k"},
		{in: `{"f":1}`, code: codeRequest},
		{in: `{"f":1,"l":255}`, code: codeBlockSize},
		{in: `{"f":1,"l":131073}`, code: codeBlockSize},
		{in: `{"f":1,"l":256,"o":98305}`, code: codeOffset},
		{in: `{"f":1,"l":256,"o":-1}`, code: codeOffset},
		{in: `{"f":1,"l":256,"n":98305}`, code: codeBlockCount},
		{in: `{"f":1,"l":256,"n":-1}`, code: codeBlockCount},
		{in: `{"f":1,"l":256,"s":2}`, code: codeVersion},
		{in: `{"f":3,"l":256,"b":"` + strings.Repeat("00", MaxBitmap) + `"}`, code: codeNotFound},
		{in: `{"f":1,"l":256,"b":"` + strings.Repeat("01", MaxBitmap+1) + `"}`, code: codeBitmap},
		{in: `{"c":"` + long + `","f":1,"l":256}`, code: codeRequest},
		{in: `{"c":"` + long[1:] + `","f":1,"l":256,"n":1}`, blocks: []int64{0}, token: long[1:]},
		{in: `{"c":7,"f":1,"l":256}`, code: codeRequest},
		{in: `{"c":"k","f":"1","l":256}`, code: codeRequest, token: "k"},
		{in: `{"c":"k","f":1.5,"l":256}`, code: codeRequest, token: "k"},
		{in: `[1]`, code: codeRequest},
	} {
		check := func(name string, f format, payload []byte) {
			r, err := parse(f, decodeMode(), payload)
			var c selection
			if err == nil {
				c, err = r.choose(example())
			}
			code := ""
			if rejected := (*rejection)(nil); errors.As(err, &rejected) {
				code = rejected.Code
			} else if err != nil {
				t.Errorf("%s %.80s: %v", name, tc.in, err)
			}
			if code != tc.code || !slices.Equal(c.blocks, tc.blocks) || r.token != tc.token {
				t.Errorf("%s %.80s: %v %q %v, want %v %q", name, tc.in, c.blocks, r.token, err, tc.blocks, tc.code)
			}
		}
		check("json", formatJSON, []byte(tc.in))
		check("cbor", formatCBOR, toCBOR(t, tc.in))
	}
	for _, tc := range []struct {
		f    format
		in   string
		code string
	}{
		{formatJSON, `{`, codeJSON}, {formatJSON, "\xff", codeJSON}, {formatJSON, "{} {}", codeJSON},
		{formatCBOR, "\xa1", codeCBOR}, {formatCBOR, "\xa0\xa0", codeCBOR}, {formatCBOR, "{}", codeCBOR}, {formatCBOR, "\x81\x01", codeRequest},
		{formatJSON, `{"b":"0x1"}`, codeRequest}, {formatJSON, `{"b":"xy"}`, codeRequest}, {formatJSON, `{"b":[1]}`, codeRequest},
		{formatCBOR, "\xa1\x61b\x01", codeRequest},
		{formatJSON, "", ""}, {formatCBOR, "", ""}, {formatCBOR, "\xf6", ""},
	} {
		_, err := parse(tc.f, decodeMode(), []byte(tc.in))
		if got := fmt.Sprint(err); tc.code == "" && err != nil || !strings.HasPrefix(got, tc.code) {
			t.Errorf("%v %q: %v, want %s", tc.f, tc.in, err, tc.code)
		}
	}
}

// toCBOR writes JSON as CBOR, whole numbers as integers and the bitmap as a byte string.
func toCBOR(t testing.TB, text string) []byte {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if m, ok := v.(map[string]any); ok {
		for k, x := range m {
			if n, ok := x.(json.Number); ok {
				if m[k], _ = n.Float64(); !strings.Contains(n.String(), ".") {
					m[k], _ = n.Int64()
				}
			}
		}
		if s, ok := m["b"].(string); ok {
			m["b"], _ = hex.DecodeString(s)
		}
	}
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGuideBitmap is the example of the developer guide: blocks 20, 21, 24 and 43.
func TestGuideBitmap(t *testing.T) {
	t.Parallel()
	r, err := parse(formatJSON, decodeMode(), []byte(`{"c":"1","s":3,"l":256,"f":3,"o":20,"n":32,"b":"0x130080"}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.choose(example())
	if err != nil || !slices.Equal(c.blocks, []int64{20, 21, 24, 43}) {
		t.Error(c.blocks, err)
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 23, 24, 255, 256, 65535, 65536, 131072} {
		for _, token := range []string{"", "a \"quote\"", strings.Repeat("t", 64)} {
			b := block{token: token, fileID: 255, id: 98304, data: bytes.Repeat([]byte{7}, size)}
			var got struct {
				C       string
				F, L, I int64
				P       []byte
			}
			if err := json.Unmarshal(b.append(formatJSON, nil), &got); err != nil || got.C != token || got.F != 255 || got.L != int64(size) || got.I != 98304 || !bytes.Equal(got.P, b.data) {
				t.Errorf("json %d: %v", size, err)
			}
			var m map[string]any
			if err := cbor.Unmarshal(b.append(formatCBOR, nil), &m); err != nil || m["f"] != uint64(255) || m["l"] != uint64(size) || m["i"] != uint64(98304) || !bytes.Equal(m["p"].([]byte), b.data) {
				t.Errorf("cbor %d: %v", size, err)
			}
			if _, there := m["c"]; there != (token != "") || there && m["c"] != token {
				t.Errorf("cbor %d: token %v", size, m["c"])
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"c":"1","s":1,"l":256,"f":1,"o":20,"n":32,"b":"0x130080"}`, `{}`, ``, `{"b":7}`, `[`} {
		f.Add(false, []byte(s))
	}
	f.Add(true, toCBOR(f, `{"c":"rdy","f":1,"l":256,"o":0,"n":1,"b":"4d513d3d"}`))
	f.Add(true, []byte("\xbf\x61f\x01\xff"))
	f.Add(true, []byte("\xa1\x61b\x5f\x41\x01\xff"))
	f.Fuzz(func(t *testing.T, binary bool, payload []byte) {
		form := formatJSON
		if binary {
			form = formatCBOR
		}
		r, err := parse(form, decodeMode(), payload)
		if len(r.token) > maxToken {
			t.Fatalf("token of %d bytes", len(r.token))
		}
		if err != nil {
			if _, ok := err.(*rejection); !ok {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		v := example()
		c, err := r.choose(v)
		if err != nil {
			if _, ok := err.(*rejection); !ok {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		last := int64(-1)
		for _, id := range c.blocks {
			if id <= last || id*c.blockSize >= c.file.Object.Size {
				t.Fatalf("block %d after %d of %d bytes", id, last, c.file.Object.Size)
			}
			last = id
		}
		if n := int64(len(c.blocks)); n == 0 || n*c.blockSize > MaxAnswer {
			t.Fatalf("%d blocks of %d bytes", n, c.blockSize)
		}
	})
}
