package espidentity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

// made is a certificate of common name lamp and its key, as PEM and DER.
func made(t testing.TB) (cert, key, certDER, keyDER []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lamp"}, NotAfter: time.Now().Add(time.Hour)}
	if certDER, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private); err != nil {
		t.Fatal(err)
	}
	if keyDER, err = x509.MarshalECPrivateKey(private); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), certDER, keyDER
}

const partitionAt = 0x10000

// image is a flash with one partition.
func image(t testing.TB, name string, typ partition.Type, subtype partition.Subtype, contents []byte) []byte {
	t.Helper()
	table := partition.Table{{Name: name, Type: typ, Subtype: subtype, Offset: partitionAt, Size: uint32(len(contents))}}
	b, err := table.Binary(partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	flash := bytes.Repeat([]byte{0xFF}, partitionAt+len(contents))
	copy(flash[partition.DefaultOffset:], b)
	copy(flash[partitionAt:], contents)
	return flash
}

func TestFind(t *testing.T) {
	t.Parallel()
	cert, key, certDER, keyDER := made(t)
	ca := cert
	files := func(c, k, a string) []byte {
		b, err := spiffs.Build(spiffs.DefaultConfig(), 0x10000, []spiffs.File{{Name: "/" + c, Data: cert}, {Name: "/" + k, Data: key}, {Name: "/" + a, Data: ca}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	values, err := nvs.Build(0x4000, nvs.Options{}, []nvs.Entry{{Namespace: "aws", Key: "cert", Value: certDER}, {Namespace: "aws", Key: "key", Value: keyDER},
		{Namespace: "aws", Key: "endpoint", Value: "iot.example.com"}, {Namespace: "aws", Key: "thing", Value: "lamp-7"}})
	if err != nil {
		t.Fatal(err)
	}
	secure, err := securecert.Build(securecert.DefaultSize, securecert.Credentials(cert, ca, key))
	if err != nil {
		t.Fatal(err)
	}
	erased := bytes.Repeat([]byte{0xFF}, 0x4000)
	for _, c := range []struct {
		name          string
		flash         []byte
		thing, layout string
		endpoint      string
	}{
		{"tutorial", image(t, "storage", 1, 0x82, files("certificate.pem.crt", "private.pem.key", "aws-root-ca.pem")), "given", "aws-spiffs", ""},
		{"arduino", image(t, "spiffs", 1, 0x82, files("cert.pem", "private.key", "ca.pem")), "given", "arduino-spiffs", ""},
		{"nvs, DER", image(t, "fctry", 1, 2, values), "lamp-7", "factory-nvs", "iot.example.com"},
		{"secure cert", image(t, "esp_secure_cert", 0x3F, 0, secure), "given", "esp-secure-cert", ""},
	} {
		f, err := Find(c.flash, "given")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if f.Layout.Name != c.layout || f.Identity.Thing != c.thing || f.Endpoint != c.endpoint || !bytes.Equal(f.Identity.Certificate, cert) || !bytes.Equal(f.Identity.Key, key) {
			t.Errorf("%s: %s %q %q\n%s%s", c.name, f.Layout.Name, f.Identity.Thing, f.Endpoint, f.Identity.Certificate, f.Identity.Key)
		}
	}
	if f, err := Find(image(t, "esp_secure_cert", 0x3F, 0, secure), ""); err != nil || f.Identity.Thing != "lamp" {
		t.Errorf("by its common name: %q, %v", f.Identity.Thing, err)
	}
	bound, err := securecert.Build(securecert.DefaultSize, []securecert.Entry{securecert.PEM(securecert.DeviceCert, cert), {Type: securecert.PrivateKey, Flags: securecert.ECDSAPeripheral, Data: []byte{1}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, flash := range map[string][]byte{
		"erased":    image(t, "fctry", 1, 2, erased),
		"in eFuses": image(t, "esp_secure_cert", 0x3F, 0, bound),
		"cut short": image(t, "fctry", 1, 2, values)[:partitionAt+100],
	} {
		if _, err := Find(flash, "given"); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Find(make([]byte, 100), ""); err == nil {
		t.Error("an image without a table")
	}
}

func FuzzFind(f *testing.F) {
	cert, key, _, _ := made(f)
	values, _ := nvs.Build(0x3000, nvs.Options{}, []nvs.Entry{{Namespace: "aws", Key: "cert", Value: cert}, {Namespace: "aws", Key: "key", Value: key}})
	secure, _ := securecert.Build(securecert.DefaultSize, securecert.Credentials(cert, nil, key))
	f.Add(byte(0), values)
	f.Add(byte(1), secure)
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		if len(b) < 0x1000 {
			b = append(b, make([]byte, 0x1000-len(b))...)
		}
		b = b[:len(b)&^0xFFF]
		l := Layouts()[int(which)%4]
		flash := image(t, l.Partition, 1, 2, b)
		if found, err := Find(flash, "x"); err == nil && !found.Identity.Exists() {
			t.Error("nothing found")
		}
	})
}
