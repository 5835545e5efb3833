package ca

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/crypto/scrypt"

	"github.com/berth-iot/berth/internal/seal"
)

// A key file holds PKCS#8, in the clear ("PRIVATE KEY") or sealed with AES-256-GCM under a key
// that scrypt (RFC 7914) makes of the passphrase. The parameters are PEM headers, which the seal
// covers.
const (
	plainKey  = "PRIVATE KEY"
	sealedKey = "BERTH ENCRYPTED PRIVATE KEY"

	scryptCost = 1 << 15
)

func (a *Authority) readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM key", path)
	}
	der := block.Bytes
	switch block.Type {
	case plainKey:
	case sealedKey:
		if len(a.opts.Passphrase) == 0 {
			return nil, fmt.Errorf("%s is encrypted: a passphrase is needed", path)
		}
		if der, err = unseal(block, a.opts.Passphrase); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	default:
		return nil, fmt.Errorf("%s holds a %s, not a private key in PKCS#8", path, block.Type)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a %T cannot sign", path, key)
	}
	if block.Type == plainKey && len(a.opts.Passphrase) > 0 {
		return signer, a.writeKey(path, signer) // the passphrase is new: seal the key from now on
	}
	return signer, nil
}

func (a *Authority) writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: plainKey, Bytes: der}
	if len(a.opts.Passphrase) > 0 {
		if block, err = sealKey(der, a.opts.Passphrase); err != nil {
			return err
		}
	}
	return seal.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

func sealKey(der, passphrase []byte) (*pem.Block, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	headers := map[string]string{"Cipher": "AES-256-GCM", "Kdf": "scrypt", "Cost": strconv.Itoa(scryptCost), "Salt": hex.EncodeToString(salt)}
	aead, err := passphraseCipher(passphrase, salt, scryptCost)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return &pem.Block{Type: sealedKey, Headers: headers, Bytes: aead.Seal(nonce, nonce, der, sealed(headers))}, nil
}

func unseal(block *pem.Block, passphrase []byte) ([]byte, error) {
	salt, err := hex.DecodeString(block.Headers["Salt"])
	cost, costErr := strconv.Atoi(block.Headers["Cost"])
	if err := errors.Join(err, costErr); err != nil {
		return nil, fmt.Errorf("headers of the encrypted key: %w", err)
	}
	if block.Headers["Kdf"] != "scrypt" || block.Headers["Cipher"] != "AES-256-GCM" || cost > 1<<20 {
		return nil, errors.New("headers of the encrypted key name an unknown method")
	}
	aead, err := passphraseCipher(passphrase, salt, cost)
	if err != nil {
		return nil, err
	}
	if len(block.Bytes) < aead.NonceSize() {
		return nil, errors.New("encrypted key is cut short")
	}
	n := aead.NonceSize()
	der, err := aead.Open(nil, block.Bytes[:n], block.Bytes[n:], sealed(block.Headers))
	if err != nil {
		return nil, errors.New("the passphrase is wrong or the file is damaged")
	}
	return der, nil
}

func sealed(headers map[string]string) []byte {
	return []byte(headers["Cipher"] + "," + headers["Kdf"] + "," + headers["Cost"] + "," + headers["Salt"])
}

func passphraseCipher(passphrase, salt []byte, cost int) (cipher.AEAD, error) {
	key, err := scrypt.Key(passphrase, salt, cost, 8, 1, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
