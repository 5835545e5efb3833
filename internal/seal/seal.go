// Package seal encrypts the secrets that the database holds, with AES-256-GCM under the key in
// `secrets.key` (mode 0600), so that a copy of the database alone gives none of them away.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrSealed is returned for a secret that the key does not open.
var ErrSealed = errors.New("secrets.key does not open the secret")

// Box seals and opens. It may be used concurrently.
type Box struct {
	master []byte
	aead   cipher.AEAD
}

// Open reads the key of a data folder: 32 bytes in hexadecimal. It makes one if there is none and
// mayMake says that nothing depends on an old one.
func Open(dir string, mayMake bool) (*Box, error) {
	key, err := load(filepath.Join(dir, "secrets.key"), mayMake)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &Box{key, aead}, err
}

func load(path string, mayMake bool) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && mayMake {
		key := make([]byte, 32)
		rand.Read(key)
		return key, WriteFile(path, []byte(hex.EncodeToString(key)+"\n"), 0o600)
	}
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s does not hold 64 hexadecimal digits", path)
	}
	return key, nil
}

// WriteFile writes or replaces a file as a whole, on disk before it counts.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	d.Sync() // where folders can be: the new name is on disk then
	return nil
}

// Seal encrypts a secret. name is whose it is: it opens under that name only.
func (b *Box) Seal(name string, secret []byte) []byte {
	nonce := make([]byte, b.aead.NonceSize())
	rand.Read(nonce)
	return b.aead.Seal(nonce, nonce, secret, []byte(name))
}

// Unseal is the reverse of Seal. ErrSealed.
func (b *Box) Unseal(name string, sealed []byte) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n {
		return nil, fmt.Errorf("%w: it is cut short", ErrSealed)
	}
	secret, err := b.aead.Open(nil, sealed[:n], sealed[n:], []byte(name))
	if err != nil {
		return nil, ErrSealed
	}
	return secret, nil
}

// Derive returns 32 bytes of key for a purpose (HKDF, RFC 5869), the same as long as secrets.key is.
func (b *Box) Derive(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, b.master, nil, "berth "+purpose, sha256.Size)
}
