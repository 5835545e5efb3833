package nvs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Keys encrypts a partition: XTS-AES-256 over each 32-byte entry, with the
// byte address of the entry in the partition as the tweak. Page headers and
// bitmaps stay plain.
type Keys struct {
	Encryption [32]byte
	Tweak      [32]byte
}

// keyFileSize is the size of a key partition and of the file that fills it.
const keyFileSize = 4096

// GenerateKeys returns random keys.
func GenerateKeys() (Keys, error) {
	var k Keys
	if _, err := rand.Read(k.Encryption[:]); err != nil {
		return Keys{}, fmt.Errorf("generate nvs keys: %w", err)
	}
	if _, err := rand.Read(k.Tweak[:]); err != nil {
		return Keys{}, fmt.Errorf("generate nvs keys: %w", err)
	}
	return k, nil
}

// DeriveKeys returns the keys that a device with the 32-byte hmacKey in its
// eFuses derives by its HMAC peripheral (nvs_sec_provider, HMAC scheme).
func DeriveKeys(hmacKey []byte) (Keys, error) {
	if len(hmacKey) != 32 {
		return Keys{}, fmt.Errorf("%w: an HMAC key has 32 bytes, not %d", ErrKeys, len(hmacKey))
	}
	derive := func(seed ...byte) [32]byte {
		mac := hmac.New(sha256.New, hmacKey)
		mac.Write(bytes.Repeat(seed, 8))
		return [32]byte(mac.Sum(nil))
	}
	return Keys{
		Encryption: derive(0x5A, 0x5A, 0xBE, 0xAE),
		Tweak:      derive(0xA5, 0xA5, 0xDE, 0xCE),
	}, nil
}

// ParseKeys reads a key partition as AppendPartition makes it. It also takes
// the bare 64 bytes of the two keys.
func ParseKeys(b []byte) (Keys, error) {
	if len(b) < 64 {
		return Keys{}, fmt.Errorf("%w: a key file has 4096 bytes (two keys of 32, CRC-32, filling), not %d", ErrKeys, len(b))
	}
	if bytes.Count(b[:64], []byte{0xFF}) == 64 {
		return Keys{}, fmt.Errorf("%w: the key partition is erased", ErrKeys)
	}
	if len(b) >= 68 && binary.LittleEndian.Uint32(b[64:]) != checksum(b[:64]) {
		return Keys{}, fmt.Errorf("%w: checksum does not match: damaged, encrypted, or not a key file", ErrKeys)
	}
	return Keys{Encryption: [32]byte(b[:32]), Tweak: [32]byte(b[32:64])}, nil
}

// AppendPartition appends the 4096 bytes of a key partition to dst.
func (k Keys) AppendPartition(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, k.Encryption[:]...)
	dst = append(dst, k.Tweak[:]...)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
	return append(dst, bytes.Repeat([]byte{0xFF}, keyFileSize-68)...)
}

// xts is XTS-AES (IEEE 1619) for data units of one entry, two AES blocks.
type xts struct {
	data, tweak cipher.Block
}

func newXTS(k *Keys) *xts {
	if k == nil {
		return nil
	}
	// Neither call fails with a key of 32 bytes.
	data, _ := aes.NewCipher(k.Encryption[:])
	tweak, _ := aes.NewCipher(k.Tweak[:])
	return &xts{data: data, tweak: tweak}
}

// encrypt replaces the entry that lies at the byte address of its partition.
func (x *xts) encrypt(entry []byte, address int) { x.each(entry, address, x.data.Encrypt) }

// decrypt undoes encrypt.
func (x *xts) decrypt(entry []byte, address int) { x.each(entry, address, x.data.Decrypt) }

func (x *xts) each(entry []byte, address int, block func(dst, src []byte)) {
	var t [16]byte
	binary.LittleEndian.PutUint64(t[:], uint64(address))
	x.tweak.Encrypt(t[:], t[:])
	for b := entry[:EntrySize]; len(b) > 0; b = b[16:] {
		for i := range t {
			b[i] ^= t[i]
		}
		block(b[:16], b[:16])
		carry := byte(0)
		for i := range t {
			b[i] ^= t[i]
			// The tweak of the next block is this one doubled in GF(2^128).
			t[i], carry = t[i]<<1|carry, t[i]>>7
		}
		t[0] ^= 0x87 * carry
	}
}
