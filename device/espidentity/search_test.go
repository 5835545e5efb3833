package espidentity

import (
	"bytes"
	"testing"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

// TestSearch finds identities whose names nobody has told.
func TestSearch(t *testing.T) {
	t.Parallel()
	cert, key, certDER, keyDER := made(t)
	ca, _, caDER, _ := made(t)
	const csv = "nvs,data,nvs,0x9000,0x6000\nassets,data,spiffs,0x20000,0x10000\nnvs_key,data,nvs_keys,0x30000,0x1000\nids,data,nvs,0x31000,0x6000\nsecrets,data,0x3f,0x38000,0x2000\n"
	table, err := partition.ParseCSV([]byte(csv), partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := table.Binary(partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := nvs.GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func() (at int, b []byte, err error){
		"spiffs": func() (int, []byte, error) {
			b, err := spiffs.Build(spiffs.DefaultConfig(), 0x10000, []spiffs.File{{Name: "/ca.pem", Data: ca}, {Name: "/c.crt", Data: cert}, {Name: "/k", Data: key}, {Name: "/logo", Data: []byte("logo")}})
			return 0x20000, b, err
		},
		"encrypted nvs": func() (int, []byte, error) {
			b, err := nvs.Build(0x6000, nvs.Options{Keys: &keys}, []nvs.Entry{{Namespace: "x", Key: "crt", Value: string(cert)}, {Namespace: "x", Key: "root", Value: ca},
				{Namespace: "x", Key: "pk", Value: keyDER}, {Namespace: "x", Key: "n", Value: uint8(3)}, {Namespace: "x", Key: "endpoint", Value: "iot.example.com"}})
			return 0x31000, b, err
		},
		"secure-cert of DER": func() (int, []byte, error) {
			b, err := securecert.Build(0x2000, securecert.Credentials(certDER, caDER, keyDER))
			return 0x38000, b, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flash := bytes.Repeat([]byte{0xFF}, 1<<20)
			copy(flash[partition.DefaultOffset:], raw)
			copy(flash[0x30000:], keys.AppendPartition(nil))
			if _, err := Find(flash, ""); err == nil {
				t.Error("found an identity where there is none")
			}
			at, b, err := write()
			if err != nil {
				t.Fatal(err)
			}
			copy(flash[at:], b)
			f, err := Find(flash, "")
			if err != nil || f.Identity.Thing != "lamp" || !bytes.Equal(f.Identity.Certificate, cert) || !bytes.Equal(f.CA, ca) || !bytes.Equal(f.Identity.Key, key) {
				t.Errorf("%+v, %v", f.Layout, err)
			}
			if name == "encrypted nvs" && f.Endpoint != "iot.example.com" {
				t.Errorf("endpoint %q", f.Endpoint)
			}
		})
	}
}
