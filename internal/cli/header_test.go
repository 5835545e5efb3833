package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

// TestHeaderGolden compares with what the command printed when it was last looked at and compiled.
func TestHeaderGolden(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	code := Run([]string{"cert", "header", "--thing", `lamp"7?`, "--dir", "testdata/header", "--endpoint", "berth.local",
		"--cert", "testdata/header/lamp.cert.pem", "--key", "testdata/header/lamp.private.key"}, &out, &errs)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	golden := filepath.Join("testdata", "header", "secrets.h")
	if *update {
		os.WriteFile(golden, out.Bytes(), 0o644)
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("header differs (-want +got):\n%s", diff)
	}
}

func TestHeaderFileIsPrivate(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "secrets.h")
	os.WriteFile(name, nil, 0o644)
	var out, errs bytes.Buffer
	if code := Run([]string{"cert", "header", "--thing", "lamp", "--dir", "testdata/header", "--out", name}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

func TestCString(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\n":       `"a\n"`,
		`a"b\c`:     `"a\"b\\c"`,
		"??/":       `"\?\?/"`,
		"\x011":     `"\0011"`, // the digit after it must not join the escape
		"\xc3\xa91": `"\303\2511"`,
	} {
		if got := cString(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestPEMOnly(t *testing.T) {
	t.Parallel()
	pem, err := os.ReadFile("testdata/header/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pemOnly([]byte("Bag Attributes\n  name: x\n" + strings.ReplaceAll(string(pem), "\n", "\r\n") + "trailing"))
	if err != nil || !bytes.Equal(got, pem) {
		t.Errorf("got %q, %v", got, err)
	}
}
