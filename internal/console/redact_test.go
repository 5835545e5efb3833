package console

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRedacted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, want string }{
		{``, ``},
		{`{"thingName":"a","attributes":{"x":"<b>"}}`, `{"attributes":{"x":"<b>"},"thingName":"a"}`},
		{`{"secretAccessKey":"s","list":[{"privateKey":"p"}],"n":12345678901234567890}`, `{"list":[{"privateKey":"(hidden)"}],"n":12345678901234567890,"secretAccessKey":"(hidden)"}`},
		{`{"pem":"-----BEGIN EC PRIVATE KEY-----\nMHc"}`, `{"pem":"(hidden)"}`},
		{`{"actions":[{"postgres":{"url":"postgres://u:p@h/d"}}]}`, `{"actions":[{"postgres":{"url":"postgres://u:(hidden)@h/d"}}]}`},
		{`not json`, `(8 bytes)`},
		{`{} {}`, `(5 bytes)`},
	} {
		if got := redacted([]byte(test.in)); got != test.want {
			t.Errorf("%s: %s, want %s", test.in, got, test.want)
		}
	}
	long, _ := json.Marshal(strings.Repeat("ü", maxShown))
	if got := redacted(long); len(got) > maxShown+len("…") || !strings.HasSuffix(got, "…") {
		t.Errorf("a long value becomes %d bytes", len(got))
	}
}

func FuzzRedacted(f *testing.F) {
	for _, s := range []string{`{"password":"hunter2"}`, `[1,"-----BEGIN PRIVATE KEY-----"]`, strings.Repeat("[", 200), `{"a":`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := redacted(b); len(got) > maxShown+8 || strings.Contains(got, "PRIVATE KEY-----") {
			t.Errorf("%q becomes %q", b, got)
		}
	})
}
