package securecert

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	// Laid out by docs/format.md and esp_secure_cert_tlv_private.h; the
	// checksum by zlib.crc32(tlv, 0xffffffff), as Espressif's tool has it.
	got := Entry{Type: PrivateKey, Flags: ECDSAPeripheral, Subtype: 1, Data: []byte("abc")}.Append(nil)
	want := "11ba5eba" + "08000000" + "02" + "01" + "0300" + "616263" + strings.Repeat("00", 13) + "8deaafd3"
	if hex.EncodeToString(got) != want {
		t.Errorf("entry %x, want %s", got, want)
	}
	if got := (Entry{Type: SecurityCfg}).Append(nil); len(got) != 16 {
		t.Errorf("an empty entry has %d bytes", len(got))
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		var entries []Entry
		for i := range 1 + rnd.IntN(8) {
			data := make([]byte, rnd.IntN(900))
			for j := range data {
				data[j] = byte(rnd.Uint32())
			}
			entries = append(entries, Entry{Type: Type(i), Subtype: uint8(rnd.IntN(3)), Flags: Flags(rnd.Uint32()), Data: data})
		}
		b, err := Build(DefaultSize, entries)
		if err != nil {
			t.Fatal(err)
		}
		got, problems, err := Read(b)
		if err != nil || len(problems) != 0 || len(b) != DefaultSize {
			t.Fatalf("seed %d: %v, %v", seed, problems, err)
		}
		for i := range entries {
			if !bytes.Equal(got[i].Data, entries[i].Data) || got[i].Type != entries[i].Type || got[i].Flags != entries[i].Flags {
				t.Errorf("seed %d: entry %d differs", seed, i)
			}
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	pem := []byte("-----BEGIN CERTIFICATE-----\n")
	got := Credentials(pem, []byte{0x30, 0x82}, nil)
	want := []Entry{{Type: DeviceCert, Data: append(bytes.Clone(pem), 0)}, {Type: CACert, Data: []byte{0x30, 0x82}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if e := PEM(CACert, append(bytes.Clone(pem), 0)); !bytes.Equal(e.Data, want[0].Data) {
		t.Error("a second NUL")
	}
}

func TestDS(t *testing.T) {
	t.Parallel()
	iv := bytes.Repeat([]byte{7}, 16)
	entries, err := DS([]byte("cipher"), iv, 2048, 1)
	if err != nil {
		t.Fatal(err)
	}
	if want := "3f000000" + hex.EncodeToString(iv) + hex.EncodeToString([]byte("cipher")); hex.EncodeToString(entries[0].Data) != want || entries[0].Type != DSData {
		t.Errorf("data %x, want %s", entries[0].Data, want)
	}
	if want := "0000000001000008"; hex.EncodeToString(entries[1].Data) != want || entries[1].Type != DSContext {
		t.Errorf("context %x, want %s", entries[1].Data, want)
	}
	for name, make := range map[string]func() ([]Entry, error){
		"vector": func() ([]Entry, error) { return DS(nil, nil, 2048, 0) },
		"bits":   func() ([]Entry, error) { return DS(nil, iv, 2000, 0) },
		"block":  func() ([]Entry, error) { return DS(nil, iv, 2048, 6) },
	} {
		if _, err := make(); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		size    int
		entries []Entry
		is      error
	}{
		{"size", 0x1800, nil, ErrFull},
		{"large", 0x20000, nil, ErrFull},
		{"full", 0x1000, []Entry{{Data: make([]byte, 4090)}}, ErrFull},
		{"twice", 0x1000, []Entry{{}, {}}, ErrEntry},
		{"long", 0x10000, []Entry{{Data: make([]byte, 70000)}}, ErrEntry},
	} {
		if _, err := Build(test.size, test.entries); !errors.Is(err, test.is) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.is)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "erased": bytes.Repeat([]byte{0xFF}, 4096), "zeros": make([]byte, 4096)} {
		if _, _, err := Read(b); !errors.Is(err, ErrNotSecureCert) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	good, err := Build(0x1000, []Entry{{Type: DeviceCert, Data: []byte("cert")}, {Type: PrivateKey, Data: []byte("key")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		change  func(b []byte) []byte
		left    int
		problem string
	}{
		{"data", func(b []byte) []byte { b[12] ^= 1; return b }, 1, "device_cert at 0x0: checksum does not match"},
		{"twice", func(b []byte) []byte { copy(b[64:], b[32:64]); return b }, 2, "private_key at 0x40: a second entry"},
		{"cut", func(b []byte) []byte { return b[:50] }, 1, "private_key at 0x20: 3 bytes run over the end"},
		{"rest", func(b []byte) []byte { b[100] = 0; return b }, 2, "bytes after the last entry, from 0x40"},
	} {
		entries, problems, err := Read(test.change(bytes.Clone(good)))
		if err != nil || len(entries) != test.left || !strings.Contains(strings.Join(problems, "; "), test.problem) {
			t.Errorf("%s: %d entries, %q, %v; want %d, %q", test.name, len(entries), problems, err, test.left, test.problem)
		}
	}
	if s := (UserData1 + 1).String() + Type(77).String() + Integrity.String(); s != "user_data_2type 77integrity" {
		t.Errorf("names %s", s)
	}
}

func FuzzRead(f *testing.F) {
	b, err := Build(0x1000, Credentials([]byte("cert"), []byte("ca"), []byte("key")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, problems, err := Read(b)
		if err != nil || len(problems) > 0 {
			return
		}
		var again []byte
		for _, e := range entries {
			again = e.Append(again)
		}
		if len(again) > len(b) {
			t.Fatal("entries larger than the partition")
		}
	})
}
