package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, storage Storage) *Store {
	t.Helper()
	s, err := Open(storage, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStoreSurvivesReopening(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	m.records["readme"] = []byte("not the store's")
	s := open(t, m)
	saved := make(chan error, 1)
	for _, err := range []error{s.Set("wifi", []byte("one"), nil), s.Set("wifi", []byte("two"), nil), s.Set("cert", []byte("c"), nil),
		s.Set("gone", nil, nil), s.Delete("gone", nil), s.Delete("never", nil), s.Set("empty", nil, func(err error) { saved <- err })} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if v, ok := s.Get("wifi"); !ok || string(v) != "two" {
		t.Errorf("wifi is %q before it is written", v)
	}
	if err := <-saved; err != nil {
		t.Error(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := s.Set("late", nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("set after Close: %v", err)
	}
	s = open(t, m)
	if keys := s.Keys(""); !slices.Equal(keys, []string{"cert", "empty", "wifi"}) {
		t.Errorf("keys %v", keys)
	}
	if v, _ := s.Get("wifi"); string(v) != "two" || len(s.Keys("ce")) != 1 || len(s.Damaged()) != 0 {
		t.Errorf("wifi %q, damaged %v", v, s.Damaged())
	}
}

// TestPowerLoss: after a loss of power at any write, in any way, what is there is what a prefix of
// the changes made, and at least those that were reported safe.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		type step struct {
			key, value string
			remove     bool
		}
		var steps []step
		for i := range 25 {
			steps = append(steps, step{key: string('a' + rune(rnd.IntN(3))), value: strings.Repeat(fmt.Sprint(i), rnd.IntN(4)), remove: rnd.IntN(4) == 0})
		}
		states := []map[string]string{{}}
		for _, st := range steps {
			next := make(map[string]string)
			for k, v := range states[len(states)-1] {
				next[k] = v
			}
			if next[st.key] = st.value; st.remove {
				delete(next, st.key)
			}
			states = append(states, next)
		}
		for tear := range Tear(Tears) {
			for cut := 1; ; cut++ {
				m := NewMemory()
				m.CutAt(cut, tear)
				s := open(t, m)
				safe := 0
				for _, st := range steps {
					count := func(err error) {
						if err == nil {
							safe++
						}
					}
					if st.remove {
						s.Delete(st.key, count)
					} else {
						s.Set(st.key, []byte(st.value), count)
					}
				}
				s.Close()
				off := m.Off()
				m.PowerOn()
				again := open(t, m)
				found := make(map[string]string)
				for _, k := range again.Keys("") {
					v, _ := again.Get(k)
					found[k] = string(v)
				}
				// The change that was hit may have happened or not.
				if want, next := states[safe], states[min(safe+1, len(states)-1)]; fmt.Sprint(found) != fmt.Sprint(want) && fmt.Sprint(found) != fmt.Sprint(next) {
					t.Fatalf("seed %d, tear %d, cut at write %d: %v, want %v or %v", seed, tear, cut, found, want, next)
				}
				// The store goes on from whatever it found.
				for _, k := range []string{"a", "b", "c"} {
					again.Set(k, []byte("new"), nil)
				}
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
				last := open(t, m)
				if v, _ := last.Get("b"); string(v) != "new" || len(last.Keys("")) != 3 {
					t.Fatalf("seed %d, tear %d, cut at write %d: afterwards b is %q", seed, tear, cut, v)
				}
				last.Close()
				if !off {
					break
				}
			}
		}
	}
}

func TestStorageFailure(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	s := open(t, m)
	m.CutAt(1, TearNothing)
	s.Set("a", []byte("1"), nil)
	if err := s.Flush(t.Context()); !errors.Is(err, ErrPowerLoss) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("flush: %v", err)
	}
	if err := s.Set("b", nil, nil); !errors.Is(err, ErrPowerLoss) {
		t.Errorf("set: %v", err)
	}
	if _, err := Open(m, 0); !errors.Is(err, ErrPowerLoss) {
		t.Errorf("open: %v", err)
	}
}

// slow is a storage that writes when it is told.
type slow struct {
	*Memory
	write chan struct{}
}

func (s slow) Write(name string, b []byte) error {
	<-s.write
	return s.Memory.Write(name, b)
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	storage := slow{NewMemory(), make(chan struct{})}
	s, err := Open(storage, 100)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := s.Set("k", make([]byte, 9), nil); err != nil {
			t.Fatalf("set %d: %v", i, err)
		}
	}
	if err := s.Set("k", nil, nil); !errors.Is(err, ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := s.Delete("k", nil); err != nil {
		t.Errorf("delete: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush: %v", err)
	}
	close(storage.write)
	if err := s.Close(); err != nil || len(storage.records) != 0 {
		t.Errorf("close: %v, left %v", err, storage.records)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for key, good := range map[string]bool{"": false, "a": true, "q.0001": true, "identity-a": true, "a/b": false, "ä": false, strings.Repeat("k", 60): true, strings.Repeat("k", 61): false} {
		if err := CheckKey(key); (err == nil) != good {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendRecord(nil, 7, []byte("value")))
	f.Add(appendRecord(nil, 0xFFFFFFFF, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		generation, value, ok := decodeRecord(b)
		if ok && !bytes.Equal(appendRecord(nil, generation, value), b) {
			t.Errorf("%x does not come back", b)
		}
	})
}
