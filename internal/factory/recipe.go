package factory

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// How a certificate comes about.
const (
	IssueCSR       = "csr"        // the key is made here and never leaves but for the board
	IssueServerKey = "server-key" // the cloud makes the key, as the AWS console does; RSA 2048
	IssueOwnCA     = "own-ca"     // signed here by a CA of one's own, without a network
)

// Kinds of keys.
const (
	KeyECDSA = "ecdsa-p256"
	KeyRSA   = "rsa-2048"
)

// Formats of the identity partition.
const (
	FormatSPIFFS     = "spiffs"
	FormatNVS        = "nvs"
	FormatSecureCert = "secure-cert"
)

// Recipe says what becomes of a board. It is read from YAML.
//
// In names and texts {mac} stands for the MAC in lower-case hexadecimal digits, {MAC} in upper case,
// {mac:} and {MAC:} with colons, {chip} for the chip such as esp32c3, {serial} for the number of the
// board in the list that the station was given.
type Recipe struct {
	Preset     string            `yaml:"preset,omitempty"` // one of Presets, whose settings the others change
	Thing      string            `yaml:"thing"`            // default {mac}
	Type       string            `yaml:"type,omitempty"`
	Groups     []string          `yaml:"groups,omitempty"`
	Attributes map[string]string `yaml:"attributes,omitempty"`
	Policies   []string          `yaml:"policies,omitempty"`
	Key        string            `yaml:"key"`   // default ecdsa-p256
	Issue      string            `yaml:"issue"` // default csr
	OwnCA      OwnCAFiles        `yaml:"own-ca,omitempty"`
	Identity   Identity          `yaml:"identity"`
	// Build is a command that makes the firmware, run once before the first board.
	Build []string `yaml:"build,omitempty"`

	dir string // of the file, where relative names begin
}

// OwnCAFiles are the files of a CA of one's own.
type OwnCAFiles struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"` // PEM, not encrypted
	Days        int    `yaml:"days,omitempty"`
}

// Identity is the partition that holds the certificate.
type Identity struct {
	Partition string `yaml:"partition,omitempty"` // its name in the partition table
	Address   uint32 `yaml:"address,omitempty"`   // or where it is,
	Size      uint32 `yaml:"size,omitempty"`      // and how large, in bytes
	Format    string `yaml:"format"`
	// Files are what it holds: of SPIFFS paths, of NVS keys as namespace/key (a string, with :blob
	// behind it a blob), of secure-cert device-cert, ca-cert and private-key. The values are certificate, private-key, ca, each also
	// with .der, certificate-id, endpoint, thing, mac, serial, or text:… or file:….
	Files  map[string]string `yaml:"files,omitempty"`
	SPIFFS SPIFFSGeometry    `yaml:"spiffs,omitempty"`
	// NVSKeys is the file of 4,096 bytes that NVS is encrypted with, and the partition it goes to.
	NVSKeys          string `yaml:"nvs-keys,omitempty"`
	NVSKeysPartition string `yaml:"nvs-keys-partition,omitempty"`
}

// SPIFFSGeometry changes ESP-IDF's usual geometry; zero leaves it.
type SPIFFSGeometry struct {
	PageSize  int `yaml:"page-size,omitempty"`
	BlockSize int `yaml:"block-size,omitempty"`
	NameLen   int `yaml:"obj-name-len,omitempty"`
	MetaLen   int `yaml:"meta-len,omitempty"`
}

// Presets returns the recipes of common examples by name; their identities only.
func Presets() map[string]Identity {
	pem := func(cert, key, ca string) map[string]string {
		return map[string]string{cert: "certificate", key: "private-key", ca: "ca"}
	}
	return map[string]Identity{
		// The names that the AWS IoT tutorials for ESP32 mount at /spiffs.
		"aws-spiffs": {Partition: "storage", Format: FormatSPIFFS, Files: pem("certificate.pem.crt", "private.pem.key", "aws-root-ca.pem")},
		// Arduino sketches with the SPIFFS partition of the default table.
		"arduino-spiffs": {Partition: "spiffs", Format: FormatSPIFFS, Files: pem("cert.pem", "private.key", "ca.pem")},
		// ESP-IDF's esp_secure_cert_mgr.
		"esp-secure-cert": {Partition: "esp_secure_cert", Format: FormatSecureCert, Files: pem("device-cert", "private-key", "ca-cert")},
		// A partition of one's own beside the application's nvs.
		"factory-nvs": {Partition: "fctry", Format: FormatNVS, Files: map[string]string{
			"aws/cert": "certificate", "aws/key": "private-key", "aws/ca": "ca", "aws/endpoint": "endpoint", "aws/thing": "thing"}},
	}
}

// LoadRecipe reads a recipe from a file.
func LoadRecipe(name string) (*Recipe, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fail(ErrRecipe, "write one, or choose a preset", "%v", err)
	}
	r, err := ParseRecipe(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r.dir = filepath.Dir(name)
	return r, nil
}

// ParseRecipe reads a recipe. Unknown members are errors.
func ParseRecipe(b []byte) (*Recipe, error) {
	r := new(Recipe)
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(r); err != nil && err != io.EOF {
		return nil, &Error{Kind: ErrRecipe, Reason: "the recipe is not what it should be", Cause: err}
	}
	return r, r.complete()
}

// complete fills in defaults and checks.
func (r *Recipe) complete() error {
	if r.Preset != "" {
		p, ok := Presets()[r.Preset]
		if !ok {
			return fail(ErrRecipe, "", "preset %q is none of %s", r.Preset, strings.Join(slices.Sorted(maps.Keys(Presets())), ", "))
		}
		i := &r.Identity
		if i.Partition == "" && i.Size == 0 {
			i.Partition = p.Partition
		}
		if i.Format == "" {
			i.Format = p.Format
		}
		if len(i.Files) == 0 && i.Format == p.Format {
			i.Files = p.Files
		}
	}
	for _, d := range []struct {
		at    *string
		value string
	}{{&r.Thing, "{mac}"}, {&r.Issue, IssueCSR}, {&r.Key, KeyECDSA}} {
		if *d.at == "" {
			*d.at = d.value
		}
	}
	if r.Issue == IssueServerKey {
		r.Key = KeyRSA
	}
	return r.check()
}

func (r *Recipe) check() error {
	bad := func(fix, format string, args ...any) error { return fail(ErrRecipe, fix, format, args...) }
	i := &r.Identity
	switch {
	case !slices.Contains([]string{IssueCSR, IssueServerKey, IssueOwnCA}, r.Issue):
		return bad("", "issue %q is none of %s, %s, %s", r.Issue, IssueCSR, IssueServerKey, IssueOwnCA)
	case r.Key != KeyECDSA && r.Key != KeyRSA:
		return bad("", "key %q is neither %s nor %s", r.Key, KeyECDSA, KeyRSA)
	case r.Issue == IssueOwnCA && (r.OwnCA.Certificate == "" || r.OwnCA.Key == ""):
		return bad("name them under own-ca:", "issue own-ca needs the certificate and the key of the CA")
	case !slices.Contains([]string{FormatSPIFFS, FormatNVS, FormatSecureCert}, i.Format):
		return bad("or choose a preset", "identity format %q is none of %s, %s, %s", i.Format, FormatSPIFFS, FormatNVS, FormatSecureCert)
	case (i.Partition == "") == (i.Size == 0):
		return bad("", "identity needs either a partition's name or address and size")
	case i.Address%0x1000 != 0 || i.Size%0x1000 != 0:
		return bad("", "identity address %#x and size %#x must be multiples of 0x1000", i.Address, i.Size)
	case len(i.Files) == 0:
		return bad("", "identity files are empty: the partition would hold nothing")
	case i.NVSKeys != "" && i.Format != FormatNVS:
		return bad("", "nvs-keys are for the format nvs")
	case i.NVSKeysPartition != "" && i.NVSKeys == "":
		return bad("", "nvs-keys-partition needs nvs-keys")
	}
	for name, value := range i.Files {
		if _, _, ok := strings.Cut(name, "/"); i.Format == FormatNVS && !ok {
			return bad("", "identity file %q: names of the format nvs are namespace/key", name)
		}
		if i.Format == FormatSecureCert && !slices.Contains([]string{"device-cert", "ca-cert", "private-key"}, name) {
			return bad("", "identity file %q: the format secure-cert holds device-cert, ca-cert and private-key", name)
		}
		if !knownValue(value) {
			return bad("use one of "+strings.Join(plainValues, ", ")+", text:…, file:…", "identity file %q: value %q is not known", name, value)
		}
	}
	for _, text := range append([]string{r.Thing, r.Type}, slices.Collect(maps.Values(r.Attributes))...) {
		for _, m := range placeholder.FindAllString(text, -1) {
			if !slices.Contains(placeholders, m) {
				return bad("use one of "+strings.Join(placeholders, ", "), "%q: placeholder %s is not known", text, m)
			}
		}
	}
	return nil
}

var (
	placeholder  = regexp.MustCompile(`\{[^}]*\}`)
	placeholders = []string{"{mac}", "{MAC}", "{mac:}", "{MAC:}", "{chip}", "{serial}"}
	plainValues  = []string{"certificate", "certificate.der", "private-key", "private-key.der", "ca", "ca.der", "certificate-id", "endpoint", "thing", "mac", "serial"}
)

func knownValue(value string) bool {
	return slices.Contains(plainValues, value) || strings.HasPrefix(value, "text:") || strings.HasPrefix(value, "file:")
}

// board is what is known of the board at hand.
type board struct {
	mac    string // 12 lower-case hexadecimal digits
	chip   string
	serial string
}

func (b *board) fill(text string) string {
	var colons []string
	for pair := range slices.Chunk([]byte(b.mac), 2) {
		colons = append(colons, string(pair))
	}
	with := strings.Join(colons, ":")
	return strings.NewReplacer("{mac}", b.mac, "{MAC}", strings.ToUpper(b.mac), "{mac:}", with, "{MAC:}", strings.ToUpper(with),
		"{chip}", b.chip, "{serial}", b.serial).Replace(text)
}

// usesSerial tells whether a list of serial numbers is needed.
func (r *Recipe) usesSerial() bool {
	texts := append(slices.Collect(maps.Values(r.Attributes)), r.Thing, r.Type)
	texts = append(texts, slices.Collect(maps.Values(r.Identity.Files))...)
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(t, "{serial}") || t == "serial" })
}

func (r *Recipe) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, name)
}
