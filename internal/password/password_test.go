package password

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
)

// Made by mosquitto_passwd 2.0.11 for the password "geheim".
const made = "$7$101$yqfAGIYh0/d8kAf4$miPiIPX1ZJIQAWummE4KUtVYqEGzmqlUc5mvzROu0N+mIS0pF3NmO2a5CHq46odSbxKtHFjkgm5yYTKlWXwBnA=="

func TestHash(t *testing.T) {
	t.Parallel()
	six := Hash{salt: []byte("salt")}
	six.sum = six.of([]byte("geheim"))
	for _, text := range []string{made, six.String(), NewHash([]byte("geheim")).String()} {
		h, err := ParseHash(text)
		if err != nil {
			t.Fatal(err)
		}
		if h.String() != text {
			t.Errorf("%s becomes %s", text, h)
		}
		if !h.Matches([]byte("geheim")) || h.Matches([]byte("geheim ")) || h.Matches(nil) {
			t.Errorf("%s: the right password does not match, or a wrong one does", text)
		}
	}
	for _, text := range []string{"", "geheim", "$6$", "$6$$" + six.String()[8:], "$7$0" + made[6:], "$7$1000001" + made[6:], "$5$a$b", made + "=", made[:60], strings.Replace(made, "101", "x", 1)} {
		if _, err := ParseHash(text); !errors.Is(err, ErrHash) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var changed []string
	u, err := Open(t.Context(), db, nil, func(name string) { changed = append(changed, name) })
	if err != nil {
		t.Fatal(err)
	}
	if u.Any() {
		t.Error("there are users in an empty database")
	}
	h, _ := ParseHash(made)
	if _, err := u.Put(t.Context(), "anna", h, []string{"p"}); err != nil {
		t.Fatal(err)
	}
	if again, err := Open(t.Context(), db, nil, nil); err != nil || len(again.List()) != 1 || again.List()[0].Digest != Digest(made) {
		t.Errorf("after a restart: %v", err)
	}
	if p, err := u.Authenticate(t.Context(), "anna", []byte("geheim"), Attempt{}); err != nil || len(p) != 1 || p[0] != "p" {
		t.Errorf("%v, %v", p, err)
	}
	for name, pw := range map[string]string{"anna": "x", "bert": "geheim", "": ""} {
		if _, err := u.Authenticate(t.Context(), name, []byte(pw), Attempt{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := u.Put(t.Context(), "anna", h, []string{"p"}); err != nil || len(changed) != 0 {
		t.Errorf("the same again: %v, %v", changed, err)
	}
	if _, err := u.SetPolicies(t.Context(), "anna", []string{"q"}); err != nil || len(changed) != 1 {
		t.Errorf("other policies: %v, %v", changed, err)
	}
	for _, bad := range []struct {
		name     string
		policies []string
	}{{"", []string{"p"}}, {"a", nil}, {"a", []string{"p/q"}}, {strings.Repeat("a", 257), []string{"p"}}, {"\xff", []string{"p"}}} {
		if _, err := u.Put(t.Context(), bad.name, h, bad.policies); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := u.Delete(t.Context(), "anna"); err != nil || u.Any() || len(changed) != 2 {
		t.Errorf("delete: %v", err)
	}
	if err := u.Delete(t.Context(), "anna"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func FuzzParseHash(f *testing.F) {
	for _, text := range []string{made, "$6$c2FsdA==$x", "$7$$$", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHash(text)
		if err != nil {
			return
		}
		if again, err := ParseHash(h.String()); err != nil || again.String() != h.String() {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestManyAttemptsAtOnce: an attempt is judged after those before it have counted.
func TestManyAttemptsAtOnce(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	u, err := Open(t.Context(), db, nil, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	held := errors.New("held back")
	by := Attempt{Refused: func() { refused.Add(1) }, Allowed: func() error {
		if refused.Load() >= 3 {
			return held
		}
		return nil
	}}
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := u.Authenticate(t.Context(), "anna", []byte("guess"), by); !errors.Is(err, ErrRefused) && !errors.Is(err, held) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := refused.Load(); n < 3 || n > 3+int64(cap(u.places))-1 {
		t.Errorf("%d of 40 guesses were judged", n)
	}
}
