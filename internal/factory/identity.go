package factory

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/securecert"
	"github.com/berth-iot/berth/esp/spiffs"
)

// contents are what an identity is made of.
type contents struct {
	certificate, key, ca           []byte // PEM
	certificateDER, keyDER, caDER  []byte
	certificateID, endpoint, thing string
	board                          *board
}

func (c *contents) value(r *Recipe, value string) ([]byte, error) {
	switch value {
	case "certificate":
		return c.certificate, nil
	case "certificate.der":
		return c.certificateDER, nil
	case "private-key":
		return c.key, nil
	case "private-key.der":
		return c.keyDER, nil
	case "ca":
		return c.ca, nil
	case "ca.der":
		return c.caDER, nil
	case "certificate-id":
		return []byte(c.certificateID), nil
	case "endpoint":
		return []byte(c.endpoint), nil
	case "thing":
		return []byte(c.thing), nil
	case "mac":
		return []byte(c.board.mac), nil
	case "serial":
		return []byte(c.board.serial), nil
	}
	if text, ok := strings.CutPrefix(value, "text:"); ok {
		return []byte(c.board.fill(text)), nil
	}
	name, _ := strings.CutPrefix(value, "file:")
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		return nil, &Error{Kind: ErrRecipe, Reason: "a file of the identity cannot be read", Cause: err}
	}
	return b, nil
}

// image builds the identity partition of size bytes. Names are sorted, so that the same contents
// make the same image.
func (r *Recipe) image(size uint32, c *contents) ([]byte, error) {
	i := &r.Identity
	var b []byte
	var err error
	switch i.Format {
	case FormatSPIFFS:
		b, err = r.spiffs(int(size), c)
	case FormatNVS:
		b, err = r.nvs(int(size), c)
	case FormatSecureCert:
		b, err = r.secureCert(int(size), c)
	}
	if err != nil {
		return nil, &Error{Kind: ErrRecipe, Reason: fmt.Sprintf("the identity does not make a %s partition of %s bytes", i.Format, strconv.Itoa(int(size))), Cause: err,
			Fix: "make the partition larger, or leave something out"}
	}
	return b, nil
}

func (r *Recipe) spiffs(size int, c *contents) ([]byte, error) {
	cfg, g := spiffs.DefaultConfig(), r.Identity.SPIFFS
	for _, v := range []struct {
		at    *int
		given int
	}{{&cfg.PageSize, g.PageSize}, {&cfg.BlockSize, g.BlockSize}, {&cfg.ObjectNameLen, g.NameLen}, {&cfg.MetaLen, g.MetaLen}} {
		if v.given != 0 {
			*v.at = v.given
		}
	}
	var files []spiffs.File
	for _, name := range slices.Sorted(maps.Keys(r.Identity.Files)) {
		data, err := c.value(r, r.Identity.Files[name])
		if err != nil {
			return nil, err
		}
		files = append(files, spiffs.File{Name: "/" + strings.TrimPrefix(name, "/"), Data: data})
	}
	return spiffs.Build(cfg, size, files)
}

func (r *Recipe) nvs(size int, c *contents) ([]byte, error) {
	keys, err := r.nvsKeys()
	if err != nil {
		return nil, err
	}
	var entries []nvs.Entry
	for _, name := range slices.Sorted(maps.Keys(r.Identity.Files)) {
		value := r.Identity.Files[name]
		data, err := c.value(r, value)
		if err != nil {
			return nil, err
		}
		space, key, _ := strings.Cut(name, "/")
		key, blob := strings.CutSuffix(key, ":blob")
		var v any = string(bytes.TrimRight(data, "\x00"))
		if blob || strings.HasSuffix(value, ".der") || strings.HasPrefix(value, "file:") {
			v = data
		}
		entries = append(entries, nvs.Entry{Namespace: space, Key: key, Value: v})
	}
	return nvs.Build(size, nvs.Options{Keys: keys}, entries)
}

// nvsKeys returns the keys that NVS is encrypted with, nil for plain.
func (r *Recipe) nvsKeys() (*nvs.Keys, error) {
	if r.Identity.NVSKeys == "" {
		return nil, nil
	}
	b, err := os.ReadFile(r.path(r.Identity.NVSKeys))
	if err != nil {
		return nil, &Error{Kind: ErrRecipe, Reason: "the NVS keys cannot be read", Cause: err, Fix: "make them with berth image nvs keys"}
	}
	keys, err := nvs.ParseKeys(b)
	return &keys, err
}

func (r *Recipe) secureCert(size int, c *contents) ([]byte, error) {
	parts := make(map[string][]byte)
	for name, value := range r.Identity.Files {
		data, err := c.value(r, value)
		if err != nil {
			return nil, err
		}
		parts[name] = data
	}
	return securecert.Build(size, securecert.Credentials(parts["device-cert"], parts["ca-cert"], parts["private-key"]))
}
