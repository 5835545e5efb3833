package redaction

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"thingName":"a","attributes":{"x":"y"}}`:            `{"attributes":{"x":"y"},"thingName":"a"}`,
		`{"secretAccessKey":"s","list":[{"privateKey":"p"}]}`: `{"list":[{"privateKey":"(hidden)"}],"secretAccessKey":"(hidden)"}`,
		`{"url":"postgres://user:pa:ss@w@host/db"}`:           `{"url":"postgres://user:(hidden)@host/db"}`,
		`{"url":"host=h password='a b' user=u"}`:              `{"url":"host=h password=(hidden) user=u"}`,
		`{"url":"https://h/p?a=1\u0026token=abc"}`:            `{"url":"https://h/p?a=1\u0026token=(hidden)"}`,
		`{"url":"https://h:443/a@b"}`:                         `{"url":"https://h:443/a@b"}`,
		`{"headers":[{"key":"Authorization","value":"Bearer x"},{"key":"X-Api-Key","value":"y"},{"key":"Accept","value":"z"}]}`: `{"headers":[{"key":"Authorization","value":"(hidden)"},{"key":"X-Api-Key","value":"(hidden)"},{"key":"Accept","value":"z"}]}`,
		`{"sql":"SELECT * FROM 'a' WHERE x = 'y'"}`: `{"sql":"SELECT * FROM 'a' WHERE x = 'y'"}`,
		`not JSON`: ``,
	} {
		if got := string(JSON([]byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"password":"hunter2"}`, `["a://b:c@d"]`, strings.Repeat("[", 200), `{"key":"cookie","value":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := JSON(b); got != nil && !json.Valid(got) {
			t.Errorf("%q becomes %q", b, got)
		}
	})
}
