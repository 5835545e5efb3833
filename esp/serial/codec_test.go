package serial

import (
	"bytes"
	"errors"
	"testing"
)

func decodeAll(p []byte) [][]byte {
	var d slipDecoder
	d.feed(p)
	var list [][]byte
	for frame, ok := d.next(); ok; frame, ok = d.next() {
		list = append(list, frame)
	}
	return list
}

func TestSLIP(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		in   []byte
		want [][]byte
	}{
		"one":                  {[]byte{0xC0, 1, 2, 0xC0}, [][]byte{{1, 2}}},
		"escapes":              {[]byte{0xC0, 0xDB, 0xDC, 0xDB, 0xDD, 0xC0}, [][]byte{{0xC0, 0xDB}}},
		"boot log before":      {append([]byte("ets Jul 29\r\n"), 0xC0, 1, 0xC0), [][]byte{{1}}},
		"two":                  {[]byte{0xC0, 1, 0xC0, 0xC0, 2, 0xC0}, [][]byte{{1}, {2}}},
		"one delimiter shared": {[]byte{0xC0, 1, 0xC0, 2, 0xC0}, [][]byte{{1}, {2}}},
		"lost delimiter":       {[]byte{0xC0, 1, 0xC0, 2, 0xC0, 0xC0, 3, 0xC0}, [][]byte{{1}, {2}, {3}}},
		"bad escape":           {[]byte{0xC0, 1, 0xDB, 5, 2, 0xC0, 3, 0xC0}, [][]byte{{3}}},
		"escape at the end":    {[]byte{0xC0, 1, 0xDB, 0xC0, 3, 0xC0}, [][]byte{{3}}},
		"endless":              {append(append([]byte{0xC0}, make([]byte, maxFrame+10)...), 0xC0, 4, 0xC0), [][]byte{{4}}},
		"unfinished":           {[]byte{0xC0, 1, 2}, nil},
	} {
		got := decodeAll(test.in)
		if len(got) != len(test.want) {
			t.Errorf("%s: %x, want %x", name, got, test.want)
			continue
		}
		for i := range got {
			if !bytes.Equal(got[i], test.want[i]) {
				t.Errorf("%s: frame %d is %x, want %x", name, i, got[i], test.want[i])
			}
		}
	}
}

// TestRequestBytes is the example of the protocol's documentation: READ_REG of 0x40001000.
func TestRequestBytes(t *testing.T) {
	t.Parallel()
	got := appendSLIP(nil, request{op: opReadReg, data: words(0x40001000)}.append(nil))
	if want := []byte{0xC0, 0, 0x0A, 4, 0, 0, 0, 0, 0, 0, 0x10, 0, 0x40, 0xC0}; !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if r := dataRequest(opFlashData, 3, []byte{1, 2, 4}); r.checksum != 0xEF^7 || !bytes.Equal(r.data, append(words(3, 3, 0, 0), 1, 2, 4)) {
		t.Errorf("data request %+v", r)
	}
}

func TestResponseStatus(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		frame  []byte
		status int
		data   []byte
		code   byte
		bad    bool
	}{
		"ROM":            {frame: []byte{1, 0x0A, 4, 0, 9, 0, 0, 0, 0, 0, 0, 0}, status: 4, data: []byte{}},
		"stub":           {frame: []byte{1, 0x13, 4, 0, 0, 0, 0, 0, 7, 8, 0, 0}, status: 2, data: []byte{7, 8}},
		"ROM refuses":    {frame: []byte{1, 0x14, 4, 0, 0, 0, 0, 0, 1, 5, 0, 0}, status: 4, data: []byte{}, code: 5},
		"short refusal":  {frame: []byte{1, 0x14, 2, 0, 0, 0, 0, 0, 1, 5}, status: 4, data: []byte{}, code: 5},
		"no status":      {frame: []byte{1, 0x14, 1, 0, 0, 0, 0, 0, 1}, status: 4, bad: true},
		"wrong length":   {frame: []byte{1, 0x14, 3, 0, 0, 0, 0, 0, 1, 5}, status: 2, bad: true},
		"a request":      {frame: []byte{0, 0x14, 0, 0, 0, 0, 0, 0}, status: 2, bad: true},
		"too short":      {frame: []byte{1, 0x14, 0}, status: 2, bad: true},
		"nothing at all": {status: 2, bad: true},
	} {
		r, err := decodeResponse(test.frame)
		if err == nil {
			r, err = r.status(test.status)
		}
		if test.bad {
			if !errors.Is(err, errNotResponse) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var status *StatusError
		if errors.As(err, &status) != (test.code != 0) || test.code != 0 && status.Code != test.code || !bytes.Equal(r.data, test.data) {
			t.Errorf("%s: %x, %v", name, r.data, err)
		}
	}
}

func TestParseStub(t *testing.T) {
	t.Parallel()
	s, err := ParseStub([]byte(`{"entry":1077413532,"text":"AQIDBA==","text_start":1077411840,"data":"BQ==","data_start":1070161920,"bss_start":5,"plugins":{}}`))
	if err != nil || s.Entry != 0x4038069C || len(s.Segments) != 2 || !bytes.Equal(s.Segments[1].Data, []byte{5}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"entry":1}`, `{"entry":-1,"text":"AQ=="}`, `{"entry":1,"text":"*"}`, `{"entry":1,"text":"AQ==","data":"AQ=="}`} {
		if _, err := ParseStub([]byte(bad)); !errors.Is(err, ErrStub) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzSLIP(f *testing.F) {
	f.Add([]byte("boot:0x13"), []byte{1, 0xC0, 0xDB, 2})
	f.Add([]byte{0xDB}, []byte{0xDB, 0xDC})
	f.Add([]byte{0xC0, 0xC0}, []byte{5})
	f.Fuzz(func(t *testing.T, junk, payload []byte) {
		var d slipDecoder
		d.feed(junk)
		for _, ok := d.next(); ok; _, ok = d.next() {
		}
		if len(payload) == 0 || len(payload) > maxFrame {
			return
		}
		// Whatever came before, a whole frame after a delimiter is found.
		d.feed(appendSLIP(nil, payload))
		var last []byte
		for frame, ok := d.next(); ok; frame, ok = d.next() {
			last = frame
		}
		if !bytes.Equal(last, payload) {
			t.Fatalf("%x came out as %x after %x", payload, last, junk)
		}
		if len(d.noise) > 3*maxNoise {
			t.Fatalf("%d bytes of noise are kept", len(d.noise))
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte{1, 0x0A, 4, 0, 9, 0, 0, 0, 0, 0, 0, 0}, 4)
	f.Add([]byte{1, 0x13, 4, 0, 0, 0, 0, 0, 7, 8, 1, 0xC1}, 2)
	f.Add([]byte{1}, 2)
	f.Fuzz(func(t *testing.T, frame []byte, length int) {
		r, err := decodeResponse(frame)
		if err != nil {
			return
		}
		if length != 4 {
			length = 2
		}
		if got, err := r.status(length); err == nil && len(got.data) > len(r.data) {
			t.Fatal("status made the data longer")
		}
	})
}

func FuzzParseStub(f *testing.F) {
	f.Add([]byte(`{"entry":1,"text":"AQIDBA==","text_start":2,"data":"BQ==","data_start":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStub(b); err == nil && len(s.Segments[0].Data) == 0 {
			t.Fatal("a stub without text")
		}
	})
}
