package seal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestBox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Open(dir, false); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	b, err := Open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "secrets.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	sealed := b.Seal("a", []byte("secret"))
	again, err := Open(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Unseal("a", sealed); err != nil || string(got) != "secret" {
		t.Errorf("%q %v", got, err)
	}
	for name, x := range map[string][]byte{"b": sealed, "a": sealed[:5], "": nil} {
		if _, err := again.Unseal(name, x); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := Open(t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Unseal("a", sealed); !errors.Is(err, ErrSealed) {
		t.Error(err)
	}
	os.WriteFile(filepath.Join(dir, "secrets.key"), []byte("ab"), 0o600)
	if _, err := Open(dir, true); err == nil {
		t.Error("half a key was taken")
	}
}
