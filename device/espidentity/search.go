package espidentity

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

// subtypeSecureCert is what esp_secure_cert_mgr gives its partition.
const subtypeSecureCert = 0x3F

// search looks for a certificate with its key in all SPIFFS, NVS and esp_secure_cert partitions. It
// goes by what the files are, not by their names, which differ from product to product.
func search(flash []byte, table partition.Table) (Found, bool) {
	var keys *nvs.Keys
	for _, p := range table.ByType(partition.Data, partition.DataNVSKeys) {
		if p.End() <= uint64(len(flash)) {
			if k, err := nvs.ParseKeys(flash[p.Offset:p.End()]); err == nil {
				keys = &k
			}
		}
	}
	for _, p := range table {
		if p.End() > uint64(len(flash)) {
			continue
		}
		b := flash[p.Offset:p.End()]
		l := Layout{Name: "found", Partition: p.Name, NVSKeys: keys}
		var files map[string][]byte
		var err error
		switch {
		case p.Type == partition.Data && p.Subtype == partition.DataSPIFFS:
			l.Format = SPIFFS
			files, err = spiffsFiles(b)
		case p.Type == partition.Data && p.Subtype == partition.DataNVS:
			l.Format = NVS
			files, err = nvsFiles(b, keys)
		case p.Name == securecert.PartitionName || p.Type == partition.Data && p.Subtype == subtypeSecureCert:
			l.Format = SecureCert
			files, err = secureCertFiles(b)
		default:
			continue
		}
		if err != nil {
			continue // Find has told what is wrong with the places where identities usually are
		}
		if f, ok := assemble(files); ok {
			f.Layout = l
			return f, true
		}
	}
	return Found{}, false
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
func assemble(files map[string][]byte) (f Found, ok bool) {
	var certs [][]byte
	for name, b := range files {
		b = bytes.TrimRight(b, "\x00")
		if _, err := x509.ParseCertificate(b); err == nil {
			b = asPEM("CERTIFICATE", b)
		} else if _, isKey := keyKind(b); isKey {
			b = asPEM("", b)
		}
		block, _ := pem.Decode(b)
		switch {
		case block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY"):
			f.Identity.Key = b
		case block != nil && block.Type == "CERTIFICATE":
			certs = append(certs, b)
		case strings.Contains(name, "endpoint"):
			f.Endpoint = string(bytes.TrimSpace(b))
		case name == "thing" || strings.Contains(name, "thing_name"):
			f.Identity.Thing = string(bytes.TrimSpace(b))
		}
	}
	for _, cert := range certs {
		if _, err := tls.X509KeyPair(cert, f.Identity.Key); err != nil {
			f.CA = append(f.CA, cert...)
			continue
		}
		f.Identity.Certificate = cert
	}
	return f, f.Identity.Exists()
}
