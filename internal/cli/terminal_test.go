package cli

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

func TestTerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"kettle\t21.5 °C\n":         "kettle\t21.5 °C\n",
		"\x1b]0;owned\x07\x1b[2J":   `\x1b]0;owned\x07\x1b[2J`,
		"a\rb\x7f":                  `a\x0db\x7f`,
		"\u202Egnp.exe\u2066\u009b": `\u202egnp.exe\u2066\u009b`,
		"\xff\xfe":                  `\xff\xfe`,
	} {
		for cut := range len(text) {
			var out bytes.Buffer
			w := &terminal{w: &out}
			for _, part := range []string{text[:cut], text[cut:]} {
				if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			if out.String() != want {
				t.Errorf("%q cut at %d: %q, want %q", text, cut, out.String(), want)
			}
		}
	}
}

// FuzzTerminal: no byte that steers a terminal comes through.
func FuzzTerminal(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m\xc2\x9b2J"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		w := &terminal{w: &out}
		w.Write(b)
		if !utf8.Valid(out.Bytes()) {
			t.Errorf("%q is no UTF-8", out.Bytes())
		}
		for _, r := range out.String() {
			if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7F && r < 0xA0 {
				t.Errorf("%q has %U", out.String(), r)
			}
		}
	})
}
