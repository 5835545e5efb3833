package password

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Hash is a salted hash of a password, in the forms that Mosquitto's password files hold
// (mosquitto_passwd(1)):
//
//	$7$ITERATIONS$SALT$HASH   PBKDF2 with HMAC-SHA-512
//	$6$SALT$HASH              SHA-512 of the password followed by the salt
//
// Salt and hash are base64.
type Hash struct {
	iterations int // 0 for $6$
	salt, sum  []byte
}

// Limits of what is read. Few iterations are what mosquitto_passwd makes; many would make a login
// expensive.
const (
	maxIterations = 1_000_000
	maxSalt       = 64
)

// ErrHash says that a text is no hash of a password.
var ErrHash = errors.New("not a password hash")

// ParseHash reads a hash. Errors match ErrHash.
func ParseHash(text string) (Hash, error) {
	bad := func(why string) (Hash, error) { return Hash{}, fmt.Errorf("%w: %s", ErrHash, why) }
	fields := strings.Split(text, "$")
	if len(fields) < 2 || fields[0] != "" {
		return bad("it begins with neither $6$ nor $7$; plain text must be hashed first, with mosquitto_passwd -U")
	}
	var h Hash
	switch {
	case fields[1] == "6" && len(fields) == 4:
	case fields[1] == "7" && len(fields) == 5:
		n, err := strconv.Atoi(fields[2])
		if err != nil || n < 1 || n > maxIterations {
			return bad(fmt.Sprintf("the iterations are not from 1 to %d", maxIterations))
		}
		h.iterations = n
	default:
		return bad("want $6$SALT$HASH or $7$ITERATIONS$SALT$HASH")
	}
	var err error
	if h.salt, err = base64.StdEncoding.DecodeString(fields[len(fields)-2]); err != nil || len(h.salt) == 0 || len(h.salt) > maxSalt {
		return bad(fmt.Sprintf("the salt is not base64 of 1 to %d bytes", maxSalt))
	}
	if h.sum, err = base64.StdEncoding.DecodeString(fields[len(fields)-1]); err != nil || len(h.sum) != sha512.Size {
		return bad(fmt.Sprintf("the hash is not base64 of %d bytes", sha512.Size))
	}
	return h, nil
}

// String writes the hash as ParseHash reads it.
func (h Hash) String() string {
	salt, sum := base64.StdEncoding.EncodeToString(h.salt), base64.StdEncoding.EncodeToString(h.sum)
	if h.iterations == 0 {
		return "$6$" + salt + "$" + sum
	}
	return fmt.Sprintf("$7$%d$%s$%s", h.iterations, salt, sum)
}

// ownIterations are those of hashes made here: some 50 ms on a small machine.
const ownIterations = 50_000

// NewHash hashes a password with a salt of its own.
func NewHash(password []byte) Hash {
	h := Hash{iterations: ownIterations, salt: make([]byte, 16)}
	rand.Read(h.salt)
	h.sum = h.of(password)
	return h
}

func (h Hash) of(password []byte) []byte {
	if h.iterations == 0 {
		sum := sha512.Sum512(append(bytes.Clone(password), h.salt...))
		return sum[:]
	}
	sum, err := pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, sha512.Size)
	if err != nil { // in FIPS mode, of a short salt
		return nil
	}
	return sum
}

// Matches reports whether the hash is that of a password.
func (h Hash) Matches(password []byte) bool {
	sum := h.of(password)
	return len(sum) > 0 && subtle.ConstantTimeCompare(sum, h.sum) == 1
}
