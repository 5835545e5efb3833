package spake2plus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// TestVector is the first vector of RFC 9383, appendix C.
func TestVector(t *testing.T) {
	t.Parallel()
	id := Identities{Context: "SPAKE2+-P256-SHA256-HKDF-SHA256-HMAC-SHA256 Test Vectors", Prover: "client", Verifier: "server"}
	w0 := unhex("bb8e1bbcf3c48f62c08db243652ae55d3e5586053fca77102994f23ad95491b3")
	w1 := unhex("7e945f34d78785b8a3ef44d0df5a1a97d6b3b460409a345ca7830387a74b1dba")
	l := unhex("04eb7c9db3d9a9eb1f8adab81b5794c1f13ae3e225efbe91ea487425854c7fc00f00bfedcbd09b2400142d40a14f2064ef31dfaa903b91d1faea7093d835966efd")
	p, err := newProver(id, w0, w1, unhex("d1232c8e8693d02368976c174e2088851b8365d0d79a9eee709c6a05a2fad539"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := respond(id, Registration{W0: w0, L: l}, p.Share(), unhex("717a72348a182085109c8d3917d6c43d59b224dc6a7fc4f0483232fa6516d8b3"))
	if err != nil {
		t.Fatal(err)
	}
	confirm, key, err := p.Finish(v.Share(), v.Confirm())
	if err != nil {
		t.Fatal(err)
	}
	same, err := v.Finish(confirm)
	if err != nil || !bytes.Equal(key, same) {
		t.Errorf("keys %x and %x, %v", key, same, err)
	}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"shareP", p.Share(), "04ef3bd051bf78a2234ec0df197f7828060fe9856503579bb1733009042c15c0c1de127727f418b5966afadfdd95a6e4591d171056b333dab97a79c7193e341727"},
		{"shareV", v.Share(), "04c0f65da0d11927bdf5d560c69e1d7d939a05b0e88291887d679fcadea75810fb5cc1ca7494db39e82ff2f50665255d76173e09986ab46742c798a9a68437b048"},
		{"confirmP", confirm, "926cc713504b9b4d76c9162ded04b5493e89109f6d89462cd33adc46fda27527"},
		{"confirmV", v.Confirm(), "9747bcc4f8fe9f63defee53ac9b07876d907d55047e6ff2def2e7529089d3e68"},
		{"K_shared", key, "0c5f8ccd1413423a54f6c1fb26ff01534a87f893779c6e68666d772bfd91f3e7"},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s %x, want %s", c.name, c.got, c.want)
		}
	}
}

var testID = Identities{"context", "prover", "verifier"}

func TestExchange(t *testing.T) {
	t.Parallel()
	r, err := Register(testID, "12345678", MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseRegistration(r.String())
	if err != nil || again.String() != r.String() || !again.Is(testID, "12345678") || again.Is(testID, "12345679") {
		t.Errorf("%v, %v", again, err)
	}
	for _, c := range []struct {
		name, code string
		id         Identities
		want       error
	}{
		{"right", "12345678", testID, nil},
		{"wrong code", "12345679", testID, ErrCode},
		{"another context", "12345678", Identities{"another", "prover", "verifier"}, ErrCode},
		{"another verifier", "12345678", Identities{"context", "prover", "somebody"}, ErrCode},
	} {
		p, err := NewProver(c.id, c.code, r.Salt, r.Iterations)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Respond(testID, r, p.Share())
		if err != nil {
			t.Fatal(err)
		}
		confirm, key, err := p.Finish(v.Share(), v.Confirm())
		if !errors.Is(err, c.want) || c.want != nil && (key != nil || confirm != nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := v.Finish(confirm); !errors.Is(err, c.want) {
			t.Errorf("%s: verifier says %v", c.name, err)
		}
	}
}

// TestShares: points that could make the key known are refused on both sides.
func TestShares(t *testing.T) {
	t.Parallel()
	r, _ := Register(testID, "12345678", MinIterations)
	p, _ := NewProver(testID, "12345678", r.Salt, r.Iterations)
	off := bytes.Clone(p.Share())
	off[64] ^= 1
	for _, bad := range [][]byte{nil, {0}, make([]byte, 65), off, p.Share()[:33], append([]byte{4}, make([]byte, 64)...)} {
		if _, err := Respond(testID, r, bad); !errors.Is(err, ErrShare) {
			t.Errorf("verifier takes %x: %v", bad, err)
		}
		if _, _, err := p.Finish(bad, make([]byte, 32)); !errors.Is(err, ErrShare) {
			t.Errorf("prover takes %x: %v", bad, err)
		}
	}
	// The share that unblinds to infinity: w0·M itself.
	b, _ := blind(order, r.W0, constant(constantM, false))
	if _, err := Respond(testID, r, b); !errors.Is(err, ErrShare) {
		t.Errorf("verifier takes w0·M: %v", err)
	}
	for _, n := range []int{0, MinIterations - 1, MaxIterations + 1} {
		if _, err := NewProver(testID, "12345678", r.Salt, n); err == nil {
			t.Errorf("%d iterations are taken", n)
		}
	}
}

func FuzzShare(f *testing.F) {
	r, _ := RegisterSalted(testID, "12345678", make([]byte, 16), MinIterations)
	p, _ := NewProver(testID, "12345678", r.Salt, r.Iterations)
	f.Add(p.Share(), make([]byte, 32))
	f.Add([]byte{0}, []byte{})
	f.Fuzz(func(t *testing.T, share, confirm []byte) {
		if v, err := Respond(testID, r, share); err == nil {
			if _, err := v.Finish(confirm); err == nil {
				t.Error("guessed")
			}
		}
		if _, _, err := p.Finish(share, confirm); err == nil {
			t.Error("guessed")
		}
	})
}

func FuzzRegistration(f *testing.F) {
	r, _ := RegisterSalted(testID, "12345678", make([]byte, 16), MinIterations)
	f.Add(r.String())
	f.Add("1000$$$")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRegistration(s); err == nil {
			if again, err := ParseRegistration(r.String()); err != nil || again.String() != r.String() {
				t.Errorf("%q: %v", s, err)
			}
		}
	})
}
