package shadow

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func leaves(t testing.TB, r *Reader, state string) (list []string, delta bool) {
	t.Helper()
	delta, err := r.Leaves(&Document{Live: true, State: state}, func(path []byte, kind LeafKind, text string) {
		list = append(list, fmt.Sprintf("%s=%d:%s", path, kind, text))
	})
	if err != nil {
		t.Fatalf("%s: %v", state, err)
	}
	return list, delta
}

func TestLeaves(t *testing.T) {
	t.Parallel()
	var r Reader
	for _, c := range []struct {
		state, want string
		delta       bool
	}{
		{`{}`, "", false},
		{`{"reported":{"a":1.50,"b":"x\"y","c":{"d":true},"e.f":"ü"}}`, `reported.a=1:1.50 reported.b=0:x"y reported.c.d=2:true reported.e.f=0:ü`, false},
		{`{"desired":{"a":1}}`, `desired.a=1:1 delta.a=1:1`, true},
		{`{"desired":{"a":1},"reported":{"a":1.0}}`, `desired.a=1:1 reported.a=1:1.0`, false},
		{`{"desired":{"a":{"b":1,"c":2}},"reported":{"a":{"b":1,"c":3}}}`, `desired.a.b=1:1 desired.a.c=1:2 reported.a.b=1:1 reported.a.c=1:3 delta.a.c=1:2`, true},
		{`{"reported":{"l":[1,"a",false],"m":[1,{"x":1}],"n":[[1]],"o":[]}}`, `reported.l=1:1 reported.l=0:a reported.l=2:false`, false},
	} {
		list, delta := leaves(t, &r, c.state)
		if got := strings.Join(list, " "); got != c.want || delta != c.delta {
			t.Errorf("%s: %s %v", c.state, got, delta)
		}
	}
	if _, err := r.Leaves(&Document{Live: true, State: `{"`}, nil); err == nil {
		t.Error("not a document")
	}
	if list, _ := leaves(t, &r, `{}`); list != nil {
		t.Error(list)
	}
}

// FuzzLeaves merges two updates and compares the delta that leaves tell of with the one of answers.
func FuzzLeaves(f *testing.F) {
	f.Add(`{"state":{"desired":{"a":1},"reported":{"a":2}}}`, `{"state":{"desired":{"b":{"c":[1,2]}}}}`)
	f.Add(`{"state":{"desired":{"a":{"b":{}}}}}`, `{"state":{"reported":{"a":{"b":1}}}}`)
	f.Add(`{"state":{"reported":{"a":["x",null]}}}`, `{"state":null}`)
	var r Reader
	f.Fuzz(func(t *testing.T, first, then string) {
		var w draft
		if w.open(&Document{}) != nil {
			t.Fatal("empty document")
		}
		for _, payload := range []string{first, then} {
			u, err := w.parseUpdate(payload)
			if err != nil {
				return
			}
			if w.apply(&u, 1, new(answers)) != nil {
				return
			}
		}
		d := w.document()
		var list []string
		delta, err := r.Leaves(d, func(path []byte, kind LeafKind, text string) { list = append(list, string(path)) })
		if err != nil {
			t.Fatal(err)
		}
		if want := w.difference(); delta != want {
			t.Fatalf("%s: delta %v, want %v", d.State, delta, want)
		}
		if !delta && slices.ContainsFunc(list, func(p string) bool { return strings.HasPrefix(p, "delta.") }) {
			t.Fatalf("%s: leaves %v without a delta", d.State, list)
		}
	})
}

// watcher collects changes.
type watcher struct{ ch chan Change }

func (w *watcher) ShadowsChanged(changes []Change) {
	for _, c := range changes {
		w.ch <- c
	}
}

func TestObserver(t *testing.T) {
	t.Parallel()
	b := newBench(t, Config{})
	w := &watcher{make(chan Change, 10)}
	b.Observe(w)
	id := ID{Thing: "t", Shadow: "s"}
	if _, err := b.Update(t.Context(), id, []byte(`{"state":{"reported":{"a":1}}}`)); err != nil {
		t.Fatal(err)
	}
	c := <-w.ch // before the answer
	if c.ID != id || c.Document.Version != 1 || !c.Document.Live || c.Document.State != `{"reported":{"a":1}}` {
		t.Errorf("update: %+v %+v", c.ID, c.Document)
	}
	if d, err := b.Document(t.Context(), id); err != nil || d.State != c.Document.State {
		t.Errorf("read: %+v %v", d, err)
	}
	if _, err := b.Update(t.Context(), id, []byte(`{"state":1}`)); err == nil {
		t.Error("a wrong update is accepted")
	}
	if _, err := b.Delete(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if c := <-w.ch; c.Document.Live {
		t.Errorf("deleted: %+v", c.Document)
	}
	for _, thing := range []string{"", "t"} {
		if err := b.EachDocument(t.Context(), "s", thing, func(string, *Document) error { t.Error("a deleted shadow"); return nil }); err != nil {
			t.Fatal(err)
		}
	}
}
