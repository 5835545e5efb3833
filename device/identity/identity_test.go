package identity

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/internal/jsondoc"
)

func open(t testing.TB, m *flash.Memory) (*Store, *flash.Store) {
	t.Helper()
	f, err := flash.Open(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s, damaged := Open(f)
	if len(damaged) > 0 {
		t.Fatalf("damaged %v", damaged)
	}
	return s, f
}

// TestPowerLossInRenewal: whatever write the power goes in, there is a whole identity afterwards,
// the old one until the new one was committed.
func TestPowerLossInRenewal(t *testing.T) {
	t.Parallel()
	old := Identity{Certificate: []byte("old cert"), Key: []byte("old key"), Thing: "lamp"}
	claim := Identity{Certificate: []byte("claim cert"), Key: []byte("claim key"), Claim: true}
	for tear := range flash.Tear(flash.Tears) {
		for cut := 1; ; cut++ {
			m := flash.NewMemory()
			s, f := open(t, m)
			s.Give(claim, nil)
			s.Give(old, nil)
			if err := f.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.CutAt(cut, tear)
			committed := false
			s.Save(Progress{Step: Request, Key: []byte("new key")}, nil)
			s.Save(Progress{Step: Register, Key: []byte("new key"), Certificate: []byte("new cert"), Token: "t"}, nil)
			s.Save(Progress{Step: Trial, Key: []byte("new key"), Certificate: []byte("new cert"), Thing: "lamp"}, nil)
			s.Refused()
			s.Commit(true, func(err error) { committed = err == nil })
			f.Close()
			off := m.Off()
			m.PowerOn()
			again, f := open(t, m)
			id, trial := again.Current()
			whole := string(id.Certificate) == "old cert" && string(id.Key) == "old key" || string(id.Certificate) == "new cert" && string(id.Key) == "new key"
			if !whole || id.Thing != "lamp" || committed && string(id.Certificate) != "new cert" {
				t.Fatalf("tear %d, cut %d: %s %s", tear, cut, id.Certificate, id.Key)
			}
			if active := string(again.Active().Certificate); trial && active != "old cert" || !trial && active != string(id.Certificate) {
				t.Errorf("tear %d, cut %d: on trial %v, active %s", tear, cut, trial, active)
			}
			f.Close()
			if !off {
				break
			}
		}
	}
}

func TestRefusalsRollBack(t *testing.T) {
	t.Parallel()
	m := flash.NewMemory()
	s, _ := open(t, m)
	if rolledBack, err := s.Refused(); rolledBack || err != nil {
		t.Error("nothing is on trial")
	}
	if err := s.Give(Identity{Certificate: []byte("c"), Key: []byte("k")}, nil); err == nil {
		t.Error("an identity without thing is taken")
	}
	s.Give(Identity{Certificate: []byte("old"), Key: []byte("k"), Thing: "lamp"}, nil)
	s.Save(Progress{Step: Trial, Key: []byte("k"), Certificate: []byte("new"), Thing: "lamp"}, nil)
	for i := range MaxRefusals {
		if rolledBack, err := s.Refused(); err != nil || rolledBack != (i == MaxRefusals-1) {
			t.Errorf("refusal %d: %v %v", i, rolledBack, err)
		}
	}
	if id, trial := s.Current(); trial || string(id.Certificate) != "old" {
		t.Errorf("after the refusals %s", id.Certificate)
	}
	if err := s.Commit(false, nil); err == nil {
		t.Error("nothing can be committed")
	}
}

func TestCBORAgainstLibrary(t *testing.T) {
	t.Parallel()
	in := map[string]any{"certificateOwnershipToken": string(make([]byte, 300)), "parameters": map[string]any{"Serial": "ä", "x": ""}}
	b, _ := json.Marshal(in)
	v, err := jsondoc.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := cbor.Unmarshal(appendCBOR(nil, v), &out); err != nil || out["parameters"].(map[any]any)["Serial"] != "ä" || out["certificateOwnershipToken"] != in["certificateOwnershipToken"] {
		t.Errorf("%v, %v", out, err)
	}
	b, _ = cbor.Marshal(map[string]any{"statusCode": 400, "errorCode": "X", "n": -5, "deviceConfiguration": map[string]string{"a": "b"}})
	v, err = parseCBOR(b)
	if n, _ := v.Get("statusCode").Int(); err != nil || n != 400 || v.Get("deviceConfiguration", "a").Text() != "b" {
		t.Errorf("%s, %v", v.Append(nil), err)
	}
}

func FuzzCBOR(f *testing.F) {
	for _, v := range []any{map[string]any{"a": "b", "c": map[string]any{"d": 1}}, map[string]any{}, -7, "text"} {
		b, _ := cbor.Marshal(v)
		f.Add(b)
	}
	f.Add([]byte{0xBB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseCBOR(b)
		if err != nil {
			return
		}
		if err := cbor.Wellformed(b); err != nil {
			t.Errorf("%x is taken: %v", b, err)
		}
		if w, err := parseCBOR(appendCBOR(nil, v)); v.IsObject() && (err != nil || len(w.Members()) > len(v.Members())) {
			t.Errorf("%x does not come back: %v", b, err)
		}
	})
}

func FuzzProgress(f *testing.F) {
	f.Add(appendProgress(nil, Progress{Step: Trial, Key: []byte("k"), Certificate: []byte("c"), Thing: "t", Refusals: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := jsondoc.Parse(b)
		if err != nil {
			return
		}
		p := decodeProgress(v)
		w, err := jsondoc.Parse(appendProgress(nil, p))
		if err != nil || !bytes.Equal(decodeProgress(w).Key, p.Key) || decodeProgress(w).Step != p.Step {
			t.Errorf("%s does not come back", b)
		}
	})
}
