// Package spake2plus is the augmented password-authenticated key exchange SPAKE2+ (RFC 9383) with the
// ciphersuite P256-SHA256-HKDF-SHA256-HMAC-SHA256, the one that Matter uses too.
//
// A prover who knows a short code and a verifier who holds a Registration made from it agree on a key.
// Who only listens learns nothing that lets him try codes afterwards; who takes part without the code
// can try one code per exchange, and the verifier counts. A Registration does not show the code, but
// who has read it out of a device can try codes against it at the cost of Iterations of PBKDF2 each:
// it is kept like a private key.
//
//	prover                                 verifier
//	NewProver ──────── Share ────────────► Respond
//	Finish ◄────── Share, Confirm ──────── (learns here whether the code was right)
//	       ─────────── Confirm ──────────► Finish: now the verifier knows, too
package spake2plus

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"

	"filippo.io/nistec"
)

// Sizes in bytes.
const (
	ScalarSize  = 32
	PointSize   = 65 // uncompressed, SEC 1
	ConfirmSize = 32
	KeySize     = 32
	SaltSize    = 16
)

// Bounds of PBKDF2's iterations: the lower one is Matter's, the upper one keeps a verifier from having
// a prover count for minutes.
const (
	MinIterations     = 1000
	MaxIterations     = 1_000_000
	DefaultIterations = 100_000
)

var (
	// ErrCode is returned when the other side does not know the code, or is somebody else.
	ErrCode = errors.New("the code is wrong")
	// ErrShare is returned for bytes that are not a point of the curve other than infinity.
	ErrShare = errors.New("the key share is not valid")
	// ErrRegistration is returned for text that is not a registration.
	ErrRegistration = errors.New("not a registration: want iterations$salt$w0$L")
)

// Identities of the two sides and the context bind an exchange to its purpose (RFC 9383, section 3.1).
type Identities struct {
	Context, Prover, Verifier string
}

// Registration is what a verifier holds (RFC 9383, section 3.2).
type Registration struct {
	Iterations int
	Salt       []byte
	W0         []byte // ScalarSize
	L          []byte // PointSize
}

// Register makes the registration of a code with a random salt.
func Register(id Identities, code string, iterations int) (Registration, error) {
	salt := make([]byte, SaltSize)
	if _, err := io.ReadFull(rand.Reader, salt); err != nil {
		return Registration{}, fmt.Errorf("register code: %w", err)
	}
	return RegisterSalted(id, code, salt, iterations)
}

// RegisterSalted makes the registration of a code with a given salt: the same one for the same code.
func RegisterSalted(id Identities, code string, salt []byte, iterations int) (Registration, error) {
	w0, w1, err := derive(id, code, salt, iterations)
	if err != nil {
		return Registration{}, fmt.Errorf("register code: %w", err)
	}
	l, err := nistec.NewP256Point().ScalarBaseMult(w1)
	if err != nil {
		return Registration{}, fmt.Errorf("register code: %w", err)
	}
	return Registration{Iterations: iterations, Salt: salt, W0: w0, L: l.Bytes()}, nil
}

// Is reports whether a registration was made from a code, in constant time but for the derivation.
func (r Registration) Is(id Identities, code string) bool {
	other, err := RegisterSalted(id, code, r.Salt, r.Iterations)
	return err == nil && hmac.Equal(other.W0, r.W0) && hmac.Equal(other.L, r.L)
}

// String returns the registration as text, for a device's flash or configuration.
func (r Registration) String() string {
	e := base64.RawStdEncoding.EncodeToString
	return strconv.Itoa(r.Iterations) + "$" + e(r.Salt) + "$" + e(r.W0) + "$" + e(r.L)
}

// ParseRegistration reads what String has written.
func ParseRegistration(s string) (Registration, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 4 {
		return Registration{}, ErrRegistration
	}
	iterations, err := strconv.Atoi(parts[0])
	if err != nil || iterations < MinIterations || iterations > MaxIterations {
		return Registration{}, ErrRegistration
	}
	r := Registration{Iterations: iterations}
	for i, b := range []*[]byte{&r.Salt, &r.W0, &r.L} {
		if *b, err = base64.RawStdEncoding.DecodeString(parts[i+1]); err != nil {
			return Registration{}, ErrRegistration
		}
	}
	if _, err := point(r.L); err != nil || len(r.W0) != ScalarSize || len(r.Salt) < 8 || len(r.Salt) > 64 {
		return Registration{}, ErrRegistration
	}
	return r, nil
}

// derive computes w0 and w1 (RFC 9383, section 3.2): PBKDF2 over the code and both identities, each
// with its length, and two numbers of 40 bytes out of it, so that the remainder has no visible bias.
func derive(id Identities, code string, salt []byte, iterations int) (w0, w1 []byte, err error) {
	if iterations < MinIterations || iterations > MaxIterations {
		return nil, nil, fmt.Errorf("%d iterations are not between %d and %d", iterations, MinIterations, MaxIterations)
	}
	var password []byte
	for _, part := range []string{code, id.Prover, id.Verifier} {
		password = appendPart(password, []byte(part))
	}
	b, err := pbkdf2.Key(sha256.New, string(password), salt, iterations, 80)
	if err != nil {
		return nil, nil, err
	}
	reduce := func(b []byte) []byte {
		n := new(big.Int).SetBytes(order)
		return new(big.Int).Mod(new(big.Int).SetBytes(b), n).FillBytes(make([]byte, ScalarSize))
	}
	return reduce(b[:40]), reduce(b[40:]), nil
}

// order is the order of P-256 (FIPS 186-5).
var order = []byte{0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
	0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51}

// M and N of the ciphersuite, compressed (RFC 9383, section 4). The sign is the first byte: 2 and 3 are
// a point and its inverse.
const (
	constantM = "\x02\x88\x6e\x2f\x97\xac\xe4\x6e\x55\xba\x9d\xd7\x24\x25\x79\xf2\x99\x3b\x64\xe1\x6e\xf3\xdc\xab\x95\xaf\xd4\x97\x33\x3d\x8f\xa1\x2f"
	constantN = "\x03\xd8\xbb\xd6\xc6\x39\xc6\x29\x37\xb0\x4d\x99\x7f\x38\xc3\x77\x07\x19\xc6\x29\xd7\x01\x4d\x49\xa2\x4b\x4f\x98\xba\xa1\x29\x2b\x49"
)

// constant returns M or N, or its inverse.
func constant(compressed string, inverse bool) *nistec.P256Point {
	b := []byte(compressed)
	if inverse {
		b[0] ^= 1
	}
	p, _ := nistec.NewP256Point().SetBytes(b) // known to be on the curve
	return p
}

// point reads a share: uncompressed, on the curve, not infinity. The cofactor of P-256 is 1, so that no
// other subgroup is left.
func point(b []byte) (*nistec.P256Point, error) {
	if len(b) != PointSize {
		return nil, ErrShare
	}
	p, err := nistec.NewP256Point().SetBytes(b)
	if err != nil {
		return nil, ErrShare
	}
	return p, nil
}

// randomScalar returns a number from 1 to the order less 1.
func randomScalar() ([]byte, error) {
	b := make([]byte, ScalarSize)
	for {
		if _, err := io.ReadFull(rand.Reader, b); err != nil {
			return nil, err
		}
		if zero := make([]byte, ScalarSize); string(b) < string(order) && string(b) != string(zero) {
			return b, nil
		}
	}
}

// blind returns scalar·P + w0·c, a share.
func blind(scalar, w0 []byte, c *nistec.P256Point) ([]byte, error) {
	a, err := nistec.NewP256Point().ScalarBaseMult(scalar)
	if err != nil {
		return nil, err
	}
	b, err := nistec.NewP256Point().ScalarMult(c, w0)
	if err != nil {
		return nil, err
	}
	return nistec.NewP256Point().Add(a, b).Bytes(), nil
}

// unblind returns share - w0·c; inverse is the inverse of c.
func unblind(share *nistec.P256Point, w0 []byte, inverse *nistec.P256Point) (*nistec.P256Point, error) {
	b, err := nistec.NewP256Point().ScalarMult(inverse, w0)
	if err != nil {
		return nil, err
	}
	return b.Add(share, b), nil
}

// result is what both sides have after an exchange.
type result struct {
	confirmP, confirmV, key []byte
}

// schedule derives the confirmations and the key from the transcript (RFC 9383, sections 3.3 and 3.4).
func schedule(id Identities, shareP, shareV []byte, z, v *nistec.P256Point, w0 []byte) (result, error) {
	zb, vb := z.Bytes(), v.Bytes()
	if len(zb) != PointSize || len(vb) != PointSize {
		return result{}, ErrShare // infinity
	}
	var transcript []byte
	for _, part := range [][]byte{[]byte(id.Context), []byte(id.Prover), []byte(id.Verifier),
		constant(constantM, false).Bytes(), constant(constantN, false).Bytes(), shareP, shareV, zb, vb, w0} {
		transcript = appendPart(transcript, part)
	}
	main := sha256.Sum256(transcript)
	confirm, err := hkdf.Key(sha256.New, main[:], nil, "ConfirmationKeys", 2*ConfirmSize)
	if err != nil {
		return result{}, err
	}
	key, err := hkdf.Key(sha256.New, main[:], nil, "SharedKey", KeySize)
	if err != nil {
		return result{}, err
	}
	return result{confirmP: mac(confirm[:ConfirmSize], shareV), confirmV: mac(confirm[ConfirmSize:], shareP), key: key}, nil
}

func mac(key, b []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b)
	return h.Sum(nil)
}

func appendPart(dst, part []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, uint64(len(part))), part...)
}
