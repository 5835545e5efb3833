package firmware

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

// subtypes of data partitions that identities are in.
const (
	spiffsSubtype     = 0x82
	nvsSubtype        = 0x02
	nvsKeysSubtype    = 0x04
	secureCertSubtype = 0x3F
)

// Identity is what a factory wrote into a flash.
type Identity struct {
	device.Identity
	CA       []byte // PEM, nil if there is none
	Endpoint string // "" if there is none
}

// ReadIdentity looks for a certificate with its key in all SPIFFS, NVS and esp_secure_cert partitions.
// It goes by what the files are, not by their names, which differ from product to product.
func ReadIdentity(flash interface {
	ReadAt(b []byte, off int64) (int, error)
}, table partition.Table) (Identity, error) {
	read := func(p partition.Partition) ([]byte, error) {
		b := make([]byte, p.Size)
		if n, err := flash.ReadAt(b, int64(p.Offset)); n < len(b) {
			return nil, fmt.Errorf("read partition %s: %w", p.Name, err)
		}
		return b, nil
	}
	var keys *nvs.Keys
	for _, p := range table.ByType(partition.Data, nvsKeysSubtype) {
		if b, err := read(p); err == nil {
			if k, err := nvs.ParseKeys(b); err == nil {
				keys = &k
			}
		}
	}
	var problems []error
	for _, p := range table {
		var files map[string][]byte
		b, err := read(p)
		if err == nil {
			switch {
			case p.Type == partition.Data && p.Subtype == spiffsSubtype:
				files, err = spiffsFiles(b)
			case p.Type == partition.Data && p.Subtype == nvsSubtype:
				files, err = nvsFiles(b, keys)
			case p.Name == "esp_secure_cert" || p.Type == partition.Data && p.Subtype == secureCertSubtype:
				files, err = secureCertFiles(b)
			default:
				continue
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("partition %s: %w", p.Name, err))
			continue
		}
		if id, ok := assemble(files); ok {
			return id, nil
		}
	}
	return Identity{}, errors.Join(append([]error{errors.New("no partition holds a certificate with its key")}, problems...)...)
}

func spiffsFiles(b []byte) (map[string][]byte, error) {
	cfg, err := spiffs.Detect(b)
	if err != nil {
		return nil, err
	}
	image, err := spiffs.Read(b, cfg)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for i := range image.Objects {
		if data, err := image.Objects[i].Data(); err == nil {
			files[strings.TrimPrefix(image.Objects[i].Name, "/")] = data
		}
	}
	return files, nil
}

func nvsFiles(b []byte, keys *nvs.Keys) (map[string][]byte, error) {
	image, err := nvs.Read(b, keys)
	if errors.Is(err, nvs.ErrKeys) && keys != nil {
		image, err = nvs.Read(b, nil)
	}
	if errors.Is(err, nvs.ErrNotNVS) {
		return nil, nil // nothing was ever written
	}
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, e := range image.Entries {
		switch v := e.Value.(type) {
		case string:
			files[e.Key] = []byte(v)
		case []byte:
			files[e.Key] = v
		}
	}
	return files, nil
}

func secureCertFiles(b []byte) (map[string][]byte, error) {
	entries, _, err := securecert.Read(b)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for _, e := range entries {
		files[e.Type.String()] = e.Data
	}
	return files, nil
}

// assemble finds the key, the certificate that belongs to it, and an authority.
func assemble(files map[string][]byte) (id Identity, ok bool) {
	var certs [][]byte
	for name, b := range files {
		b = []byte(strings.TrimRight(string(b), "\x00"))
		block, _ := pem.Decode(b)
		if block == nil {
			// What is no PEM may be DER.
			if _, err := x509.ParseCertificate(b); err == nil {
				b = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})
			} else if _, err := x509.ParsePKCS8PrivateKey(b); err == nil {
				b = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
			} else if _, err := x509.ParseECPrivateKey(b); err == nil {
				b = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})
			} else if _, err := x509.ParsePKCS1PrivateKey(b); err == nil {
				b = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: b})
			}
			block, _ = pem.Decode(b)
		}
		switch {
		case block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY"):
			id.Key = b
		case block != nil && block.Type == "CERTIFICATE":
			certs = append(certs, b)
		case strings.Contains(name, "endpoint"):
			id.Endpoint = strings.TrimSpace(string(b))
		case name == "thing" || strings.Contains(name, "thing_name"):
			id.Thing = strings.TrimSpace(string(b))
		}
	}
	for _, cert := range certs {
		pair, err := tls.X509KeyPair(cert, id.Key)
		if err != nil {
			id.CA = append(id.CA, cert...)
			continue
		}
		id.Certificate = cert
		if id.Thing == "" && pair.Leaf != nil {
			id.Thing = pair.Leaf.Subject.CommonName
		}
	}
	return id, id.Exists()
}
