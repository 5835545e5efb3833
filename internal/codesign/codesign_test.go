package codesign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/berth-iot/berth/internal/seal"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

func open(t *testing.T, dir string) (*Profiles, *store.DB) {
	t.Helper()
	ctx := context.Background()
	db := storetest.Open(t, dir)
	t.Cleanup(func() { db.Close() })
	if _, err := seal.Open(dir, true); err != nil {
		t.Fatal(err)
	}
	p, err := Open(ctx, db, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, db
}

// TestSignatures checks every algorithm with the certificate's key, here and with openssl, after a
// restart.
func TestSignatures(t *testing.T) {
	t.Parallel()
	ctx, dir := context.Background(), t.TempDir()
	first, db := open(t, dir)
	algorithms := map[string]x509.SignatureAlgorithm{ECDSAP256: x509.ECDSAWithSHA256, RSA2048: x509.SHA256WithRSA, RSA3072: x509.SHA256WithRSA}
	for a := range algorithms {
		if _, err := first.Create(ctx, a, a, ""); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	p, _ := open(t, dir)
	content := bytes.Repeat([]byte("firmware"), 1000)
	digest := sha256.Sum256(content)
	file := filepath.Join(dir, "firmware.bin")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for a, sa := range algorithms {
		v, err := p.Get(ctx, a)
		if err != nil || v.CertificatePath != a+".crt.pem" {
			t.Fatal(v, err)
		}
		block, _ := pem.Decode([]byte(v.Certificate))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageCodeSigning {
			t.Errorf("%s: usages %v %v", a, cert.KeyUsage, cert.ExtKeyUsage)
		}
		sig, err := p.Sign(ctx, a, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.CheckSignature(sa, content, sig); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if cert.CheckSignature(sa, content[1:], sig) == nil {
			t.Errorf("%s: the signature is good for other contents", a)
		}
		openssl, err := exec.LookPath("openssl")
		if err != nil {
			continue
		}
		public, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		pub, signature := filepath.Join(dir, a+".pub"), filepath.Join(dir, a+".sig")
		os.WriteFile(pub, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600)
		os.WriteFile(signature, sig, 0o600)
		if out, err := exec.Command(openssl, "dgst", "-sha256", "-verify", pub, "-signature", signature, file).CombinedOutput(); err != nil {
			t.Errorf("%s: openssl: %v %s", a, err, out)
		}
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	p, db := open(t, t.TempDir())
	for _, bad := range [][3]string{{"x", "", ""}, {"a b", "", ""}, {"ok", "dsa", ""}, {"ok", "", "a b"}} {
		if _, err := p.Create(ctx, bad[0], bad[1], bad[2]); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, name := range []string{"lamp", "bell"} {
		if _, err := p.Create(ctx, name, "", "/spiffs/sign.pem"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Create(ctx, "lamp", "", ""); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if list, err := p.List(ctx); err != nil || len(list) != 2 || list[0].Name != "bell" || list[0].CertificatePath != "/spiffs/sign.pem" || list[0].SignatureAlgorithm() != "ecdsa" {
		t.Error(list, err)
	}
	if _, err := p.Sign(ctx, "lamp", make([]byte, 20)); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	// A key that was moved to another name is of no use there.
	if err := db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE signing_profile SET private_key = (SELECT private_key FROM signing_profile WHERE name = 'lamp') WHERE name = 'bell'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sign(ctx, "bell", make([]byte, 32)); !errors.Is(err, seal.ErrSealed) {
		t.Error(err)
	}
	if err := p.Delete(ctx, "lamp"); err != nil {
		t.Fatal(err)
	}
	_, get := p.Get(ctx, "lamp")
	_, sign := p.Sign(ctx, "lamp", make([]byte, 32))
	for _, err := range []error{p.Delete(ctx, "lamp"), get, sign} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}
