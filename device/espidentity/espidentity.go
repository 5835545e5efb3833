// Package espidentity finds the identity that a factory has written into an ESP32's flash: in a SPIFFS,
// NVS or secure-cert partition, with the names that `berth station` and common examples use. It reads
// an image of the flash and knows no hardware.
package espidentity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

// Format is how a partition holds its values.
type Format string

const (
	SPIFFS     Format = "spiffs"
	NVS        Format = "nvs"
	SecureCert Format = "secure-cert"
)

// Layout says where an identity lies: names are files of SPIFFS, namespace/key of NVS. Secure-cert has
// types instead of names.
type Layout struct {
	Name                                  string
	Partition                             string
	Format                                Format
	Certificate, Key, CA, Endpoint, Thing string // the last three may be empty
	NVSKeys                               *nvs.Keys
}

// Layouts returns the presets of `berth station`, in the order in which they are tried.
func Layouts() []Layout {
	return []Layout{
		{Name: "esp-secure-cert", Partition: securecert.PartitionName, Format: SecureCert},
		{Name: "factory-nvs", Partition: "fctry", Format: NVS, Certificate: "aws/cert", Key: "aws/key", CA: "aws/ca", Endpoint: "aws/endpoint", Thing: "aws/thing"},
		{Name: "aws-spiffs", Partition: "storage", Format: SPIFFS, Certificate: "certificate.pem.crt", Key: "private.pem.key", CA: "aws-root-ca.pem"},
		{Name: "arduino-spiffs", Partition: "spiffs", Format: SPIFFS, Certificate: "cert.pem", Key: "private.key", CA: "ca.pem"},
	}
}

// Found is an identity in flash.
type Found struct {
	Identity identity.Identity
	CA       []byte // PEM; nil if there is none
	Endpoint string // "" if there is none
	Layout   Layout
}

// ErrNone is returned when there is no identity in any layout's place.
var ErrNone = errors.New("there is no identity in flash")

// Find looks through layouts and returns the first identity. If none are given it looks through Layouts,
// and then for files in any partition that are a certificate and its key, whatever their names. thing is
// its name where flash does not hold one; "" means the common name of the certificate.
func Find(flash []byte, thing string, layouts ...Layout) (Found, error) {
	anywhere := len(layouts) == 0
	if anywhere {
		layouts = Layouts()
	}
	if len(flash) < partition.DefaultOffset+partition.MaxLength {
		return Found{}, fmt.Errorf("find identity: an image of %d bytes has no partition table", len(flash))
	}
	table, _, err := partition.ParseBinary(flash[partition.DefaultOffset:partition.DefaultOffset+partition.MaxLength], partition.Options{})
	if err != nil {
		return Found{}, fmt.Errorf("find identity: %w", err)
	}
	var errs []error
	for _, l := range layouts {
		p, ok := table.ByName(l.Partition)
		if !ok {
			continue
		}
		if p.End() > uint64(len(flash)) {
			errs = append(errs, fmt.Errorf("partition %q ends beyond the flash", l.Partition))
			continue
		}
		f, err := l.read(flash[p.Offset:p.End()])
		if err != nil {
			errs = append(errs, fmt.Errorf("partition %q: %w", l.Partition, err))
			continue
		}
		if !f.Identity.Exists() || len(f.Identity.Key) == 0 {
			continue
		}
		f.Layout = l
		return f.named(thing), nil
	}
	if anywhere {
		if f, ok := search(flash, table); ok {
			return f.named(thing), nil
		}
	}
	return Found{}, fmt.Errorf("find identity: %w", errors.Join(append([]error{ErrNone}, errs...)...))
}

// named gives an identity that has no name one.
func (f Found) named(thing string) Found {
	if f.Identity.Thing == "" {
		f.Identity.Thing = thing
	}
	if f.Identity.Thing == "" {
		f.Identity.Thing = commonName(f.Identity.Certificate)
	}
	return f
}

func (l Layout) read(b []byte) (Found, error) {
	if bytes.Count(b, []byte{0xFF}) == len(b) {
		return Found{}, nil // erased
	}
	switch l.Format {
	case SPIFFS:
		return l.spiffs(b)
	case NVS:
		return l.nvs(b)
	case SecureCert:
		return l.secureCert(b)
	}
	return Found{}, fmt.Errorf("format %q is not known", l.Format)
}

func (l Layout) found(value func(name string) []byte) Found {
	get := func(name string) []byte {
		if name == "" {
			return nil
		}
		return bytes.TrimRight(value(name), "\x00")
	}
	return Found{Identity: identity.Identity{Certificate: asPEM("CERTIFICATE", get(l.Certificate)), Key: asPEM("", get(l.Key)), Thing: string(get(l.Thing))},
		CA: asPEM("CERTIFICATE", get(l.CA)), Endpoint: string(get(l.Endpoint))}
}

// asPEM makes PEM of DER; a key says by its form what it is.
func asPEM(kind string, b []byte) []byte {
	if len(b) == 0 || b[0] != 0x30 {
		return b
	}
	if kind == "" {
		kind, _ = keyKind(b)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

// keyKind returns the kind of PEM that a private key in DER becomes; false for what is no key.
func keyKind(b []byte) (kind string, ok bool) {
	if _, err := x509.ParseECPrivateKey(b); err == nil {
		return "EC PRIVATE KEY", true
	}
	if _, err := x509.ParsePKCS1PrivateKey(b); err == nil {
		return "RSA PRIVATE KEY", true
	}
	_, err := x509.ParsePKCS8PrivateKey(b)
	return "PRIVATE KEY", err == nil
}

func (l Layout) spiffs(b []byte) (Found, error) {
	cfg, err := spiffs.Detect(b)
	if err != nil {
		return Found{}, err
	}
	img, err := spiffs.Read(b, cfg)
	if err != nil {
		return Found{}, err
	}
	var errs []error
	f := l.found(func(name string) []byte {
		o, ok := img.Open("/" + name)
		if !ok {
			o, ok = img.Open(name)
		}
		if !ok {
			return nil
		}
		data, err := o.Data()
		errs = append(errs, err)
		return data
	})
	return f, errors.Join(errs...)
}

func (l Layout) nvs(b []byte) (Found, error) {
	img, err := nvs.Read(b, l.NVSKeys)
	if err != nil {
		return Found{}, err
	}
	return l.found(func(name string) []byte {
		space, key, _ := bytes.Cut([]byte(name), []byte("/"))
		v, _ := img.Lookup(string(space), string(key))
		switch v := v.(type) {
		case string:
			return []byte(v)
		case []byte:
			return v
		}
		return nil
	}), nil
}

func (l Layout) secureCert(b []byte) (Found, error) {
	entries, _, err := securecert.Read(b)
	if err != nil {
		return Found{}, err
	}
	named := Layout{Certificate: "certificate", Key: "key", CA: "ca"}
	types := map[string]securecert.Type{"certificate": securecert.DeviceCert, "key": securecert.PrivateKey, "ca": securecert.CACert}
	const bound = securecert.HMACEncrypted | securecert.HMACDerived | securecert.ECDSAPeripheral
	var locked error
	f := named.found(func(name string) []byte {
		for _, e := range entries {
			if e.Type != types[name] {
				continue
			}
			if name == "key" && e.Flags&bound != 0 {
				locked = errors.New("the private key is bound to the chip's eFuses: only its own firmware can use it")
				return nil
			}
			return e.Data
		}
		return nil
	})
	return f, locked
}

func commonName(certificate []byte) string {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return ""
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ""
	}
	return c.Subject.CommonName
}
