package appimage

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/big"
	"slices"
)

const (
	sector            = 4096
	signatureMagic    = 0xE7
	signatureLen      = 1216
	signatureCRC      = 1196 // offset of the CRC, and what it covers
	signaturesPerSect = 3
	schemeRSA         = 2
	schemeECDSA       = 3
	rsaLen            = 384
)

// Signature is one Secure Boot V2 signature block. Up to three lie in the
// sector after the image (ESP-IDF programming guide, "Secure Boot v2").
type Signature struct {
	// Scheme is "RSA-3072", "ECDSA-P192", "ECDSA-P256" or "ECDSA-P384".
	Scheme string
	// PublicKey is the *rsa.PublicKey or *ecdsa.PublicKey in the block, nil if
	// it cannot be read.
	PublicKey crypto.PublicKey
	// KeyDigest is the SHA-256 of the public key as eFuses hold it.
	KeyDigest [sha256.Size]byte
	// ImageDigest is the digest of the padded image that the block vouches for.
	ImageDigest []byte
	// Err says why the signature does not hold: CRC, digest or mathematics. It
	// is nil for a good one. Whether the chip trusts the key is for the chip.
	Err error
}

// readSignatures reads the blocks in the sector after the image of length
// bytes at the start of b.
func readSignatures(b []byte, length int) []Signature {
	padded := (length + sector - 1) / sector * sector
	var list []Signature
	for i := range signaturesPerSect {
		at := padded + i*signatureLen
		if len(b)-at < signatureLen || b[at] != signatureMagic || b[at+1] != schemeRSA && b[at+1] != schemeECDSA {
			break
		}
		list = append(list, readSignature(b[at:][:signatureLen], b[:padded]))
	}
	return list
}

func readSignature(block, signed []byte) Signature {
	var s Signature
	var verify func() bool
	switch {
	case block[1] == schemeRSA:
		verify = s.readRSA(block)
	case block[2] != 0:
		verify = s.readECDSA(block, elliptic.P384(), sha512.Size384)
	default:
		verify = s.readECDSA(block, elliptic.P256(), sha256.Size)
	}
	digest := sha256.Sum256(signed)
	want := digest[:]
	if len(s.ImageDigest) == sha512.Size384 {
		digest := sha512.Sum384(signed)
		want = digest[:]
	}
	switch {
	case crc32.ChecksumIEEE(block[:signatureCRC]) != binary.LittleEndian.Uint32(block[signatureCRC:]):
		s.Err = errors.New("checksum does not match")
	case !bytes.Equal(s.ImageDigest, want):
		s.Err = fmt.Errorf("is for an image with digest %x, this one has %x", s.ImageDigest, want)
	case verify == nil:
		s.Err = fmt.Errorf("%s key cannot be read", s.Scheme)
	case !verify():
		s.Err = errors.New("signature does not match its key")
	}
	return s
}

// number reads the little-endian integers of the signature formats.
func number(b []byte) []byte {
	b = bytes.Clone(b)
	slices.Reverse(b)
	return b
}

// readRSA reads modulus, exponent, two helper values, and the RSA-PSS
// signature.
func (s *Signature) readRSA(block []byte) func() bool {
	s.Scheme = "RSA-3072"
	s.ImageDigest = bytes.Clone(block[4:36])
	key := block[36 : 36+2*rsaLen+8]
	s.KeyDigest = sha256.Sum256(key)
	exponent := binary.LittleEndian.Uint32(key[rsaLen:])
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(number(key[:rsaLen])), E: int(exponent)}
	if public.N.BitLen() != 8*rsaLen || exponent < 3 || exponent%2 == 0 || exponent > math.MaxInt32 {
		return nil
	}
	s.PublicKey = public
	signature := number(block[36+len(key):][:rsaLen])
	return func() bool {
		return rsa.VerifyPSS(public, crypto.SHA256, s.ImageDigest, signature, &rsa.PSSOptions{SaltLength: sha256.Size}) == nil
	}
}

// readECDSA reads the curve, the point and the signature, each coordinate as
// long as the digest.
func (s *Signature) readECDSA(block []byte, curve elliptic.Curve, size int) func() bool {
	s.ImageDigest = bytes.Clone(block[4 : 4+size])
	key := block[4+size:][:1+2*size]
	s.KeyDigest = sha256.Sum256(key)
	signature := block[4+size+len(key):]
	switch {
	case key[0] == 1 && size == 32:
		s.Scheme = "ECDSA-P192"
		return s.readP192(key[1:], signature)
	case key[0] == 2 && size == 32:
		s.Scheme = "ECDSA-P256"
	case key[0] == 3 && size == 48:
		s.Scheme = "ECDSA-P384"
	default:
		s.Scheme = fmt.Sprintf("ECDSA curve %d", key[0])
		return nil
	}
	point := append([]byte{4}, number(key[1:1+size])...)
	point = append(point, number(key[1+size:])...)
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil
	}
	s.PublicKey = public
	return func() bool {
		r := new(big.Int).SetBytes(number(signature[:size]))
		v := new(big.Int).SetBytes(number(signature[size : 2*size]))
		return ecdsa.Verify(public, s.ImageDigest, r, v)
	}
}

// readP192 reads a key on the curve that only these chips still use. Go has no
// code of its own for it; the generic one does for public values.
func (s *Signature) readP192(point, signature []byte) func() bool {
	const size = 24
	hex := func(digits string) *big.Int {
		v, _ := new(big.Int).SetString(digits, 16)
		return v
	}
	curve := &elliptic.CurveParams{ // FIPS 186-4, D.1.2.1
		Name: "P-192", BitSize: 192,
		P:  hex("fffffffffffffffffffffffffffffffeffffffffffffffff"),
		N:  hex("ffffffffffffffffffffffff99def836146bc9b1b4d22831"),
		B:  hex("64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1"),
		Gx: hex("188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012"),
		Gy: hex("07192b95ffc8da78631011ed6b24cdd573f977a11e794811"),
	}
	x := new(big.Int).SetBytes(number(point[:size]))
	y := new(big.Int).SetBytes(number(point[size : 2*size]))
	//lint:ignore SA1019 the standard library's own curves do not have P-192; nothing secret is computed
	if !curve.IsOnCurve(x, y) {
		return nil
	}
	//lint:ignore SA1019 as above
	public := &ecdsa.PublicKey{Curve: curve, X: x, Y: y}
	s.PublicKey = public
	return func() bool {
		r := new(big.Int).SetBytes(number(signature[:size]))
		v := new(big.Int).SetBytes(number(signature[size : 2*size]))
		return ecdsa.Verify(public, s.ImageDigest, r, v)
	}
}
