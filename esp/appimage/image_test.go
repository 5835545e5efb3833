package appimage

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/big"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var exampleDescription = Description{
	SecureVersion: 3, Version: "1.2.3", ProjectName: "thermostat", Time: "10:11:12", Date: "Jan  2 2026",
	IDFVersion: "v6.0.1", ELFHash: [32]byte{1, 2, 3}, MinBlockRev: 100, MaxBlockRev: 199, MMUPageLog2: 16,
}

func example(t testing.TB) []byte {
	t.Helper()
	b, err := Build(
		Header{Mode: DIO, Frequency: 15, FlashSize: 4 << 20, Entry: 0x40081234, WPPin: 0xEE, Chip: ESP32S3, MinRev: 0, MaxRev: 99, HashAppended: true},
		[]Segment{
			{Address: 0x3C000020, Data: exampleDescription.Append(nil)},
			{Address: 0x40080000, Data: []byte("code and data")},
		})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestImage(t *testing.T) {
	t.Parallel()
	b := example(t)
	// The bytes of header and first segment header, by esp_app_format.h.
	if got, want := hex.EncodeToString(b[:36]), "e902022f34120840ee0000000900000000630000000000012000003c00010000"+"3254cdab"; got != want {
		t.Errorf("header\n%s, want\n%s", got, want)
	}
	m, err := Decode(append(b, bytes.Repeat([]byte{0xFF}, 500)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(); err != nil {
		t.Error(err)
	}
	if m.Length != len(b) || len(b)%16 != 0 || m.Chip.String() != "ESP32-S3" || m.Mode.String() != "dio" || m.FlashSize != 4<<20 || m.Chip.Frequency(m.Frequency) != "80m" {
		t.Errorf("%+v", m)
	}
	if m.Description == nil || *m.Description != exampleDescription || m.Bootloader != nil {
		t.Errorf("description %+v", m.Description)
	}
	if s := m.Segments[1]; s.Address != 0x40080000 || string(s.Data) != "code and data\x00\x00\x00" || s.Offset != 24+8+256+8 {
		t.Errorf("segment %+v", s)
	}
	if len(m.Signatures) != 0 {
		t.Errorf("signatures %v", m.Signatures)
	}
}

func TestBootloader(t *testing.T) {
	t.Parallel()
	data := make([]byte, 80)
	data[0], data[3], data[4] = 80, 2, 1
	copy(data[8:], "v5.4.1")
	copy(data[40:], "Jan  2 2026 10:11:12")
	b, err := Build(Header{Chip: ESP32C3}, []Segment{{Address: 0x3FCD0000, Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := (BootloaderDescription{2, 1, "v5.4.1", "Jan  2 2026 10:11:12"}); m.Description != nil || m.Bootloader == nil || *m.Bootloader != want {
		t.Errorf("%+v", m.Bootloader)
	}
	if m.Hash != nil || m.FlashSize != 2<<20 {
		t.Errorf("%+v", m.Header)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	good := example(t)
	change := func(at int, with byte) []byte {
		b := bytes.Clone(good)
		b[at] = with
		return b
	}
	for _, test := range []struct {
		name string
		b    []byte
		is   error
		says string
	}{
		{"empty", nil, ErrNotImage, "empty"},
		{"erased", []byte{0xFF, 0xFF}, ErrNotImage, "erased flash"},
		{"ELF", []byte("\x7fELF"), ErrNotImage, "take the .bin"},
		{"other", []byte("PK"), ErrNotImage, "0x50"},
		{"ESP8266", append([]byte{0xE9, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 32, 0, 0, 0}, bytes.Repeat([]byte{0xAA}, 48)...), ErrNotImage, "ESP8266"},
		{"header", good[:20], ErrTruncated, "20 bytes"},
		{"no segments", change(1, 0), ErrNotImage, "0 segments"},
		{"many segments", change(1, 17), ErrNotImage, "17 segments"},
		{"segment header", good[:28], ErrTruncated, "before segment 1 of 2"},
		{"segment", good[:100], ErrTruncated, "segment 1 of 2 has 256 bytes, only 68 are left"},
		{"long segment", change(31, 0x7F), ErrTruncated, "segment 1 of 2 has 2130706688 bytes"},
		{"checksum", good[:24+8+256+8+16], ErrTruncated, "before the checksum"},
		{"hash", good[:len(good)-1], ErrTruncated, "before the SHA-256"},
	} {
		if _, err := Decode(test.b); !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want one that is %v and says %q", test.name, err, test.is, test.says)
		}
	}
	for _, test := range []struct {
		name string
		b    []byte
		says string
	}{
		{"data", change(300, good[300]^1), "checksum is"},
		{"checksum", change(len(good)-33, 0), "checksum is 0x00"},
		{"hash", change(len(good)-1, good[len(good)-1]^1), "SHA-256 is"},
		{"header", change(4, 0), "SHA-256 is"},
		{"segment length", change(24+8+256+4, 15), "15 bytes, not a multiple of 4"},
	} {
		m, err := Decode(test.b)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if err := m.Verify(); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: Verify says %v, want %q", test.name, err, test.says)
		}
	}
	if _, err := Build(Header{}, nil); err == nil {
		t.Error("built an image without segments")
	}
	if _, err := Build(Header{FlashSize: 3 << 20}, []Segment{{}}); err == nil {
		t.Error("built an image for 3 MiB of flash")
	}
	if _, err := DecodeDescription(make([]byte, 100)); err == nil {
		t.Error("decoded a short description")
	}
}

func little(v *big.Int, size int) []byte {
	b := v.FillBytes(make([]byte, size))
	slices.Reverse(b)
	return b
}

// finish fills in the checksum of a signature block.
func finish(block []byte) []byte {
	block = append(block, make([]byte, signatureLen-len(block))...)
	binary.LittleEndian.PutUint32(block[signatureCRC:], crc32.ChecksumIEEE(block[:signatureCRC]))
	return block
}

func signRSA(t testing.TB, image []byte) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(image)
	sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 32})
	if err != nil {
		t.Fatal(err)
	}
	block := append([]byte{0xE7, 2, 0, 0}, digest[:]...)
	block = append(block, little(key.N, 384)...)
	block = binary.LittleEndian.AppendUint32(block, uint32(key.E))
	block = append(block, make([]byte, 388)...) // helper values, not needed to verify
	slices.Reverse(sig)
	return finish(append(block, sig...))
}

func signECDSA(t testing.TB, image []byte, curve elliptic.Curve) []byte {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	size := curve.Params().BitSize / 8
	sum := sha256.Sum256(image)
	digest, block, id := sum[:], []byte{0xE7, 3, 0, 0}, byte(2)
	if size == 48 {
		sum := sha512.Sum384(image)
		digest, block[2], id = sum[:], 1, 3
	}
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	block = append(append(block, digest...), id)
	block = append(block, number(point[1:1+size])...)
	block = append(block, number(point[1+size:])...)
	return finish(append(append(block, little(r, size)...), little(s, size)...))
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	image := example(t)
	image = append(image, bytes.Repeat([]byte{0xFF}, sector-len(image))...)
	for name, block := range map[string][]byte{
		"RSA-3072":   signRSA(t, image),
		"ECDSA-P256": signECDSA(t, image, elliptic.P256()),
		"ECDSA-P384": signECDSA(t, image, elliptic.P384()),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed := append(bytes.Clone(image), block...)
			signed = append(signed, block...)
			signed = append(signed, bytes.Repeat([]byte{0xFF}, 2*sector-len(signed))...)
			m, err := Decode(signed)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(); err != nil {
				t.Error(err)
			}
			if len(m.Signatures) != 2 || m.Signatures[0].Scheme != name || m.Signatures[0].PublicKey == nil || !reflect.DeepEqual(m.Signatures[0], m.Signatures[1]) {
				t.Fatalf("%+v", m.Signatures)
			}
			for _, damage := range []struct {
				at    int
				fix   bool
				wants string
			}{
				{sector + 100, false, "signature block 1: checksum does not match"},
				{sector - 1, false, "signature block 1: is for an image with digest"},
				// Within the signature of every scheme.
				{sector + map[string]int{"RSA-3072": 820, "ECDSA-P256": 110, "ECDSA-P384": 160}[name], true, "signature does not match its key"},
			} {
				bad := bytes.Clone(signed)
				bad[damage.at] ^= 1
				if damage.fix {
					binary.LittleEndian.PutUint32(bad[sector+signatureCRC:], crc32.ChecksumIEEE(bad[sector:][:signatureCRC]))
				}
				m, err := Decode(bad)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Verify(); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), damage.wants) {
					t.Errorf("byte %d changed: %v, want %q", damage.at, err, damage.wants)
				}
			}
		})
	}
	t.Run("bad point", func(t *testing.T) {
		t.Parallel()
		digest := sha256.Sum256(image)
		for curve, name := range []string{1: "ECDSA-P192", 2: "ECDSA-P256", 3: "ECDSA curve 3"} {
			if curve == 0 {
				continue
			}
			block := append(append([]byte{0xE7, 3, 0, 0}, digest[:]...), byte(curve), 1)
			m, err := Decode(append(bytes.Clone(image), finish(block)...))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(); err == nil || !strings.Contains(err.Error(), name+" key cannot be read") {
				t.Errorf("Verify says %v", err)
			}
		}
	})
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rnd := mathrand.New(mathrand.NewPCG(seed, 4))
		h := Header{
			Mode: FlashMode(rnd.IntN(6)), Frequency: uint8(rnd.IntN(16)), FlashSize: 1 << (20 + rnd.IntN(8)), Entry: rnd.Uint32(),
			WPPin: uint8(rnd.Uint32()), Chip: Chip(rnd.Uint32()), MinRev: uint16(rnd.Uint32()), MaxRev: uint16(rnd.Uint32()),
			HashAppended: rnd.IntN(2) == 0,
		}
		var segments []Segment
		for range 1 + rnd.IntN(16) {
			data := make([]byte, 4*rnd.IntN(100))
			for i := range data {
				data[i] = byte(rnd.Uint32())
			}
			segments = append(segments, Segment{Address: rnd.Uint32(), Data: data})
		}
		b, err := Build(h, segments)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Decode(b)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := m.Verify(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if m.Header != h || m.Length != len(b) {
			t.Errorf("seed %d: header %+v, want %+v", seed, m.Header, h)
		}
		for i := range segments {
			if m.Segments[i].Address != segments[i].Address || !bytes.Equal(m.Segments[i].Data, segments[i].Data) {
				t.Errorf("seed %d: segment %d differs", seed, i)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	image := example(f)
	f.Add(image)
	image = append(image, bytes.Repeat([]byte{0xFF}, sector-len(image))...)
	f.Add(append(image, signECDSA(f, image, elliptic.P256())...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := Decode(b); err == nil {
			m.Verify()
		}
	})
}
