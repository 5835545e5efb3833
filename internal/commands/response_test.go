package commands

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
)

func pointer[T any](v T) *T { return &v }

func TestParseResponse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		payload string
		want    *Response
		kind    error
	}{
		{`{"status":"SUCCEEDED"}`, &Response{Status: Succeeded, Event: Succeed}, nil},
		{"{\"status\":\"FAILED\"}\x00", &Response{Status: Failed, Event: Fail}, nil},
		{`{"deviceId":"d","executionId":"e","status":"IN_PROGRESS","statusReason":{"reasonCode":"200","reasonDescription":"half"},
			"result":{"battery":{"s":"50 percent"},"on":{"b":false},"raw":{"bin":"AQI="}}}`,
			&Response{Status: InProgress, Event: Progress, Reason: &Reason{"200", "half"},
				Result: map[string]Result{"battery": {S: pointer("50 percent")}, "on": {B: pointer(false)}, "raw": {BIN: []byte{1, 2}}}}, nil},
		{`{"status":"TIMED_OUT","statusReason":{"reasonCode":"SLOW"},"result":null}`, &Response{Status: TimedOut, Event: TimeOut, Reason: &Reason{Code: "SLOW"}}, nil},
		{`{"status":"CREATED"}`, nil, ErrInvalid},
		{`{"status":"succeeded"}`, nil, ErrInvalid},
		{`{"status":7}`, nil, ErrInvalid},
		{`{}`, nil, ErrInvalid},
		{``, nil, errJSON},
		{`[]`, nil, errJSON},
		{`null`, nil, errJSON},
		{`{"status":"FAILED"} x`, nil, errJSON},
		{"{\"status\":\"\xff\"}", nil, errJSON},
		{`{"status":"FAILED","statusReason":{}}`, nil, ErrInvalid},
		{`{"status":"FAILED","statusReason":"no"}`, nil, ErrInvalid},
		{`{"status":"FAILED","statusReason":{"reasonCode":"low"}}`, nil, ErrInvalid},
		{`{"status":"FAILED","statusReason":{"reasonCode":"` + strings.Repeat("A", 65) + `"}}`, nil, ErrInvalid},
		{`{"status":"FAILED","statusReason":{"reasonCode":"A","reasonDescription":"a\nb"}}`, nil, ErrInvalid},
		{`{"status":"FAILED","statusReason":{"reasonCode":"A","reasonDescription":"` + strings.Repeat("a", 1025) + `"}}`, nil, ErrInvalid},
		{`{"status":"FAILED","result":{}}`, nil, ErrInvalid},
		{`{"status":"FAILED","result":{"a":"x"}}`, nil, ErrInvalid},
		{`{"status":"FAILED","result":{"a":{"S":"x"}}}`, nil, ErrInvalid},
		{`{"status":"FAILED","result":{"a":{"s":"x","b":true}}}`, nil, ErrInvalid},
		{`{"status":"FAILED","result":{"a":{"bin":"not base64!"}}}`, nil, ErrInvalid},
		{`{"status":"FAILED","result":{"a b":{"s":"x"}}}`, nil, ErrInvalid},
	} {
		got, err := ParseResponse(JSON, []byte(tc.payload))
		if tc.kind != nil {
			if !errors.Is(err, tc.kind) {
				t.Errorf("%s: %v, want %v", tc.payload, err, tc.kind)
			}
			continue
		}
		if err != nil || !cmp.Equal(got, tc.want) {
			t.Errorf("%s: %v %s", tc.payload, err, cmp.Diff(tc.want, got))
		}
	}
}

func TestParseResponseCBOR(t *testing.T) {
	t.Parallel()
	encode := func(v any) []byte {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	got, err := ParseResponse(CBOR, encode(map[string]any{"status": "SUCCEEDED", "result": map[string]any{"raw": map[string]any{"bin": []byte{9}}, "on": map[string]any{"b": true}}}))
	want := &Response{Status: Succeeded, Event: Succeed, Result: map[string]Result{"raw": {BIN: []byte{9}}, "on": {B: pointer(true)}}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	for _, bad := range [][]byte{nil, {0xf6}, {0xff}, encode([]int{1}), encode(map[int]int{1: 2}), bytes.Repeat([]byte{0x81}, 1000)} {
		if _, err := ParseResponse(CBOR, bad); !errors.Is(err, errJSON) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func FuzzParseResponse(f *testing.F) {
	f.Add(false, []byte(`{"status":"SUCCEEDED","statusReason":{"reasonCode":"A"},"result":{"a":{"s":"x"},"b":{"bin":"AQI="}}}`))
	f.Add(false, []byte("{\"status\":\"FAILED\"}\x00"))
	f.Add(true, []byte("\xa1fstatusiSUCCEEDED"))
	f.Add(true, []byte("\xa2fstatusfFAILEDfresult\xa1aa\xa1cbinB\x01\x02"))
	f.Fuzz(func(t *testing.T, binary bool, payload []byte) {
		format := JSON
		if binary {
			format = CBOR
		}
		r, err := ParseResponse(format, payload)
		if err != nil {
			refusal := (*Error)(nil)
			if !errors.As(err, &refusal) {
				t.Fatalf("%v is not a refusal", err)
			}
			return
		}
		if e, err := eventOf(r.Status); err != nil || e != r.Event || e == Expire {
			t.Fatalf("%+v", r)
		}
		for name, v := range r.Result {
			if !resultName.MatchString(name) || v.S == nil && v.B == nil && len(v.BIN) == 0 {
				t.Fatalf("%q %+v", name, v)
			}
		}
	})
}
