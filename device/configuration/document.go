package configuration

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-iot/berth/device/internal/jsondoc"
)

// Document is a configuration. What is empty is not changed by it.
//
//	{"wifi": {"ssid": "…", "password": "…"},
//	 "endpoint": "host:port", "ca": "PEM",
//	 "thing": "…", "certificate": "PEM", "key": "PEM",
//	 "claim": {"certificate": "PEM", "key": "PEM"},
//	 "template": {"name": "…", "parameters": {"Serial": "…"}},
//	 "application": {…}}
type Document struct {
	WiFi        WiFi
	Endpoint    string // host, or host:port
	CA          []byte // PEM, the authorities that the server's certificate comes from
	Thing       string
	Certificate []byte // PEM, the device's own
	Key         []byte // PEM
	Claim       Claim
	Template    Template
	Application []byte // a JSON object of the application's own values
}

// WiFi is a network and its password; SSID "" is none.
type WiFi struct {
	SSID     string // 1 to 32 bytes
	Password string // 8 to 63 characters, or 64 hexadecimal digits; "" is an open network
}

// Claim is a claim certificate.
type Claim struct {
	Certificate, Key []byte
}

// Template is a fleet provisioning template and its parameters.
type Template struct {
	Name       string
	Parameters map[string]string
}

// ErrDocument is returned for a configuration that cannot be used.
var ErrDocument = errors.New("the configuration cannot be used")

// Parse reads and checks a configuration. The error is an ErrDocument with the reason.
func Parse(b []byte) (Document, error) {
	v, err := jsondoc.Parse(b)
	if err != nil || !v.IsObject() {
		return Document{}, fmt.Errorf("%w: it is no JSON object", ErrDocument)
	}
	known := []string{"wifi", "endpoint", "ca", "thing", "certificate", "key", "claim", "template", "application"}
	for _, m := range v.Members() {
		if !slices.Contains(known, m.Key) {
			return Document{}, fmt.Errorf("%w: %q is not known", ErrDocument, m.Key)
		}
	}
	d := decodeDocument(v)
	return d, d.Check()
}

func decodeDocument(v jsondoc.Value) Document {
	pem := func(path ...string) []byte {
		if s := v.Get(path...).Text(); s != "" {
			return []byte(s)
		}
		return nil
	}
	d := Document{WiFi: WiFi{v.Get("wifi", "ssid").Text(), v.Get("wifi", "password").Text()},
		Endpoint: v.Get("endpoint").Text(), CA: pem("ca"), Thing: v.Get("thing").Text(), Certificate: pem("certificate"), Key: pem("key"),
		Claim: Claim{pem("claim", "certificate"), pem("claim", "key")}, Template: Template{Name: v.Get("template", "name").Text()}}
	for _, m := range v.Get("template", "parameters").Members() {
		if d.Template.Parameters == nil {
			d.Template.Parameters = make(map[string]string)
		}
		d.Template.Parameters[m.Key] = m.Value.Text()
	}
	if a := v.Get("application"); a.Exists() {
		d.Application = a.Append(nil)
	}
	return d
}

// Check returns an ErrDocument with everything that is wrong.
func (d Document) Check() error {
	var wrong []string
	bad := func(s string) { wrong = append(wrong, s) }
	if n := len(d.WiFi.SSID); n > 32 || n == 0 && d.WiFi.Password != "" {
		bad("wifi: ssid has 1 to 32 bytes")
	}
	if n := len(d.WiFi.Password); n > 0 && n < 8 || n > 64 {
		bad("wifi: password has 8 to 64 characters")
	}
	if strings.ContainsAny(d.Endpoint, "/ \r\n\t@") || len(d.Endpoint) > 260 {
		bad("endpoint: want host or host:port")
	}
	if (len(d.Certificate) > 0) != (len(d.Key) > 0) || len(d.Certificate) > 0 && d.Thing == "" {
		bad("certificate, key and thing belong together")
	}
	if len(d.Thing) > 128 {
		bad("thing has at most 128 characters")
	}
	if (len(d.Claim.Certificate) > 0) != (len(d.Claim.Key) > 0) {
		bad("claim: certificate and key belong together")
	}
	for name, pem := range map[string][]byte{"ca": d.CA, "certificate": d.Certificate, "key": d.Key, "claim certificate": d.Claim.Certificate, "claim key": d.Claim.Key} {
		if len(pem) > 0 && !strings.Contains(string(pem), "-----BEGIN ") {
			bad(name + " is not PEM")
		}
	}
	if d.Application != nil {
		if v, err := jsondoc.Parse(d.Application); err != nil || !v.IsObject() {
			bad("application: want a JSON object")
		}
	}
	if d.empty() {
		bad("it is empty")
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("%w: %s", ErrDocument, strings.Join(wrong, "; "))
}

func (d Document) empty() bool {
	return d.WiFi.SSID == "" && d.Endpoint == "" && len(d.CA) == 0 && d.Thing == "" && len(d.Certificate) == 0 &&
		len(d.Claim.Certificate) == 0 && d.Template.Name == "" && len(d.Template.Parameters) == 0 && d.Application == nil
}

// Append appends the configuration as JSON.
func (d Document) Append(dst []byte) []byte {
	v := jsondoc.Object()
	set := func(v *jsondoc.Value, name, text string) {
		if text != "" {
			v.Set(name, jsondoc.String(text))
		}
	}
	if d.WiFi.SSID != "" {
		w := jsondoc.Object()
		w.Set("ssid", jsondoc.String(d.WiFi.SSID))
		w.Set("password", jsondoc.String(d.WiFi.Password))
		v.Set("wifi", w)
	}
	set(&v, "endpoint", d.Endpoint)
	set(&v, "ca", string(d.CA))
	set(&v, "thing", d.Thing)
	set(&v, "certificate", string(d.Certificate))
	set(&v, "key", string(d.Key))
	if len(d.Claim.Certificate) > 0 {
		c := jsondoc.Object()
		set(&c, "certificate", string(d.Claim.Certificate))
		set(&c, "key", string(d.Claim.Key))
		v.Set("claim", c)
	}
	if d.Template.Name != "" || len(d.Template.Parameters) > 0 {
		t := jsondoc.Object()
		set(&t, "name", d.Template.Name)
		p := jsondoc.Object()
		names := make([]string, 0, len(d.Template.Parameters))
		for name := range d.Template.Parameters {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			p.Set(name, jsondoc.String(d.Template.Parameters[name]))
		}
		t.Set("parameters", p)
		v.Set("template", t)
	}
	if d.Application != nil {
		if a, err := jsondoc.Parse(d.Application); err == nil {
			v.Set("application", a)
		}
	}
	return v.Append(dst)
}

// Over lays a configuration over an older one: what is empty keeps its value. The application's values
// are replaced as a whole.
func (d Document) Over(old Document) Document {
	if d.WiFi.SSID == "" {
		d.WiFi = old.WiFi
	}
	if d.Endpoint == "" {
		d.Endpoint = old.Endpoint
	}
	if len(d.CA) == 0 {
		d.CA = old.CA
	}
	if d.Thing == "" {
		d.Thing = old.Thing
	}
	if len(d.Certificate) == 0 {
		d.Certificate, d.Key = old.Certificate, old.Key
	}
	if len(d.Claim.Certificate) == 0 {
		d.Claim = old.Claim
	}
	if d.Template.Name == "" {
		d.Template.Name = old.Template.Name
	}
	if len(d.Template.Parameters) == 0 {
		d.Template.Parameters = old.Template.Parameters
	}
	if d.Application == nil {
		d.Application = old.Application
	}
	return d
}
