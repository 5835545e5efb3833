package cli

import (
	"bytes"
	"encoding/pem"
	"os"
	"strings"
	"testing"
)

// FuzzPEMOnly checks that what is left is PEM blocks and nothing else, however often it is done.
func FuzzPEMOnly(f *testing.F) {
	for _, name := range []string{"ca.pem", "lamp.private.key"} {
		b, err := os.ReadFile("testdata/header/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append([]byte("Bag Attributes\n"), b...))
	}
	f.Add([]byte("-----BEGIN X-----\n-----END X-----"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := pemOnly(b)
		if err != nil {
			return
		}
		if block, _ := pem.Decode(once); block == nil {
			t.Fatalf("no block in %q", once)
		}
		if again, err := pemOnly(once); err != nil || !bytes.Equal(again, once) {
			t.Errorf("%q becomes %q, %v", once, again, err)
		}
	})
}

// FuzzCString checks that a literal stays on its line and ends where it should.
func FuzzCString(f *testing.F) {
	for _, s := range []string{"", "a\n", `"\`, "??/", "\x00\xff1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := cString(s)
		inner := strings.NewReplacer(`\\`, "", `\"`, "").Replace(got[1 : len(got)-1])
		if strings.ContainsAny(inner, "\"\n") || strings.HasSuffix(inner, `\`) {
			t.Errorf("%q becomes %s", s, got)
		}
	})
}
