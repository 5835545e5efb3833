package accesskey

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// Seal encrypts a secret that is to lie in the store, under the key in secrets.key. The label says
// what it is, and must be given to Unseal again.
func (k *Keys) Seal(label string, plain []byte) []byte { return k.seal(label, string(plain)) }

// Unseal is the reverse of Seal. It fails if the label is another or secrets.key was replaced.
func (k *Keys) Unseal(label string, sealed []byte) ([]byte, error) {
	plain, err := k.unseal(label, sealed)
	return []byte(plain), err
}

// Derive returns 32 bytes of key for a purpose (HKDF, RFC 5869), the same as long as secrets.key is.
func (k *Keys) Derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, k.master, nil, "berth "+purpose, sha256.Size)
}
