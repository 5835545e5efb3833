package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/linux/ble"
	"github.com/berth-iot/berth/device/spake2plus"
	"github.com/berth-iot/berth/esp/serial/hostport"
)

// Configuration is how a device without identity gets its configuration from somebody nearby.
type Configuration struct {
	Name         string   `yaml:"name"`         // told to everybody; "" means berth
	Code         string   `yaml:"code"`         // on the label: eight characters at least
	Registration string   `yaml:"registration"` // instead of the code: what `berth device code` prints
	BLE          bool     `yaml:"ble"`
	Adapter      string   `yaml:"adapter"` // of BlueZ; "" means hci0
	Serial       string   `yaml:"serial"`  // port
	HTTP         string   `yaml:"http"`    // host:port of the page
	TCP          string   `yaml:"tcp"`     // host:port, instead of Bluetooth
	WiFi         []string `yaml:"wifi-command"`
}

// enabled reports whether there is any way to configure the device.
func (c *Configuration) enabled() bool {
	return c.BLE || c.Serial != "" || c.HTTP != "" || c.TCP != ""
}

// MinCode is the shortest code of a label, in characters without blanks and hyphens.
const MinCode = 8

func (c *Configuration) check() error {
	if !c.enabled() {
		if c.Code != "" || c.Registration != "" {
			return errors.New("configuration: want one of ble, serial, http and tcp")
		}
		return nil
	}
	if (c.Code == "") == (c.Registration == "") {
		return errors.New("configuration: want either code or registration")
	}
	if n := len(strings.NewReplacer(" ", "", "-", "").Replace(c.Code)); c.Code != "" && n < MinCode {
		return fmt.Errorf("configuration: the code has %d characters, at least %d are needed", n, MinCode)
	}
	if c.Registration != "" {
		if _, err := spake2plus.ParseRegistration(c.Registration); err != nil {
			return fmt.Errorf("configuration: registration: %w", err)
		}
	}
	return nil
}

// configurator makes the host of the ways that the file names.
func (g *Gateway) configurator() (*configuration.Host, error) {
	c := &g.cfg.Configuration
	h := &configuration.Host{Name: c.Name, OnError: g.failed}
	if h.Name == "" {
		h.Name = "berth"
	}
	var err error
	if c.Registration != "" {
		h.Registration, err = spake2plus.ParseRegistration(c.Registration)
	} else {
		h.Registration, err = configuration.Register(c.Code, spake2plus.DefaultIterations)
	}
	if err != nil {
		return nil, err
	}
	ready := func(way string) func(string) {
		return func(address string) { g.tell(Event{Event: "configuration", Address: way + "://" + address}) }
	}
	if c.BLE {
		h.Faces = append(h.Faces, &ble.Peripheral{Name: h.Name, Adapter: c.Adapter})
	}
	if c.TCP != "" {
		h.Faces = append(h.Faces, &linux.ConfigurationTCP{Address: c.TCP, Ready: ready("tcp")})
	}
	if c.HTTP != "" {
		h.Faces = append(h.Faces, &linux.ConfigurationPage{Address: c.HTTP, Ready: ready("http")})
	}
	if c.Serial != "" {
		h.Faces = append(h.Faces, &configuration.Console{Open: func() (io.ReadWriteCloser, error) {
			port, _, err := hostport.Open(g.ctx, c.Serial)
			return port, err
		}})
	}
	return h, nil
}

// checkConfiguration says what is wrong with certificates and keys.
func checkConfiguration(d configuration.Document) error {
	for name, pair := range map[string][2][]byte{"certificate and key": {d.Certificate, d.Key}, "the claim's certificate and key": {d.Claim.Certificate, d.Claim.Key}} {
		if len(pair[0]) == 0 {
			continue
		}
		if _, err := tls.X509KeyPair(pair[0], pair[1]); err != nil {
			return fmt.Errorf("%s cannot be used: %w", name, err)
		}
	}
	if len(d.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(d.CA) {
		return errors.New("ca holds no certificate")
	}
	return nil
}

// dialer connects to the endpoint of the file, or to the one that was configured.
type dialer struct {
	cfg      *Config
	clock    *link.Clock
	roots    *x509.CertPool // of the file
	settings func() configuration.Document

	mu        sync.Mutex
	transport *linux.Transport // of the endpoint and the authorities below
	endpoint  string
	ca        string
}

var errNoEndpoint = &link.Failure{Kind: link.Unreachable, Reason: "the device has not been told an endpoint"}

func (d *dialer) current() *linux.Transport {
	set := d.settings()
	endpoint := set.Endpoint
	if endpoint == "" {
		endpoint = d.cfg.Endpoint
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.transport != nil && d.endpoint == endpoint && d.ca == string(set.CA) {
		return d.transport
	}
	d.endpoint, d.ca = endpoint, string(set.CA)
	t := &linux.Transport{Address: endpoint, Name: d.cfg.ServerName, Clock: d.clock, Roots: d.roots, ALPN: d.cfg.ALPN}
	if _, _, err := net.SplitHostPort(endpoint); err != nil {
		t.Address = net.JoinHostPort(endpoint, "8883")
	}
	if len(set.CA) > 0 {
		t.Roots = x509.NewCertPool()
		t.Roots.AppendCertsFromPEM(set.CA)
	}
	d.transport = t
	return t
}

func (d *dialer) dial(ctx context.Context, id device.Identity) (net.Conn, error) {
	t := d.current()
	if strings.HasPrefix(t.Address, ":") {
		return nil, errNoEndpoint
	}
	return t.Dial(ctx, id)
}

func (d *dialer) explain(err error) error { return d.current().Explain(err) }

// wifi hands the network to a command, as JSON on standard input.
type wifi struct{ g *Gateway }

func (w wifi) Up(ctx context.Context, store *flash.Store) error {
	set := configuration.Load(store).WiFi
	if set.SSID == "" {
		return nil // the machine has its network, or nobody has named one
	}
	b, err := json.Marshal(map[string]string{"ssid": set.SSID, "password": set.Password})
	if err != nil {
		return err
	}
	_, err = w.g.run(ctx, w.g.cfg.Configuration.WiFi, b, commandTimeout)
	return err
}

func (wifi) Down() {}
