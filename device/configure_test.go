package device_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/configuration"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/mode"
	"github.com/berth-iot/berth/device/spake2plus"
)

const labelCode = "8642-9753"

var labelRegistration = sync.OnceValue(func() spake2plus.Registration {
	r, err := configuration.Register(labelCode, spake2plus.MinIterations)
	if err != nil {
		panic(err)
	}
	return r
})

// configurable makes a device that waits for its configuration over TCP.
func configurable(address chan string) func(*device.Config, *device.Handlers, *board) {
	return func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Configurator = &configuration.Host{Name: "lamp", Registration: labelRegistration(), Faces: []configuration.Face{
			&linux.ConfigurationTCP{Address: "127.0.0.1:0", Size: 100, Ready: func(a string) {
				select {
				case address <- a:
				default:
				}
			}}}}
		h.Mode = func(from, to mode.Mode) { b.note("mode %v", to) }
		h.Provisioned = func(thing string, application []byte) { b.note("provisioned %s %s", thing, application) }
	}
}

// configure is what somebody nearby does.
func configure(ctx context.Context, address string, d configuration.Document) (configuration.Progress, error) {
	c := configuration.NewCentral(func(ctx context.Context) (configuration.Conn, error) {
		return linux.DialConfigurationTCP(ctx, address, 100)
	})
	defer c.Close()
	return configuration.Configure(ctx, c, labelCode, d, nil)
}

func documentOf(id device.Identity) configuration.Document {
	d := configuration.Document{Thing: id.Thing, Certificate: id.Certificate, Key: id.Key, Application: []byte(`{"color":"blue"}`)}
	if id.Claim {
		d = configuration.Document{Claim: configuration.Claim{Certificate: id.Certificate, Key: id.Key}}
	}
	return d
}

// TestConfigure: a configuration that comes from nearby ends Configuration, and Configure begins it
// again.
func TestConfigure(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	one, _ := c.issue("one", "devices")
	two, _ := c.issue("two", "devices")
	address := make(chan string, 1)
	b := c.boot(flash.NewMemory(), configurable(address))
	at := <-address
	for _, id := range []device.Identity{one, two} {
		p, err := configure(t.Context(), at, documentOf(id))
		for errors.Is(err, configuration.ErrClosed) { // still saying goodbye to the server
			p, err = configure(t.Context(), at, documentOf(id))
		}
		if err != nil || p.State != configuration.Connected || p.Thing != id.Thing {
			t.Fatalf("%+v, %v", p, err)
		}
		b.eventually(id.Thing, func() bool { return b.Connected() && b.Thing() == id.Thing && b.Mode() == mode.Normal })
		if _, err := configure(t.Context(), at, documentOf(id)); !errors.Is(err, configuration.ErrClosed) {
			t.Errorf("in Normal: %v", err)
		}
		b.Configure()
		b.eventually("Configuration", func() bool { return b.Mode() == mode.Configuration })
	}
	if b.noted(`provisioned two {"color":"blue"}`) != 1 || string(b.Settings().Application) != `{"color":"blue"}` {
		t.Errorf("%v", b.log)
	}
	if s := b.Settings(); s.Certificate != nil || s.Key != nil {
		t.Error("the key is kept twice")
	}
}

// TestConfigureClaim: a claim and its template come from nearby; the device gets its own certificate.
func TestConfigureClaim(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	claim, _ := c.issue("", "claim")
	address := make(chan string, 1)
	b := c.boot(flash.NewMemory(), configurable(address))
	d := documentOf(claim)
	d.Template = configuration.Template{Name: "fleet", Parameters: map[string]string{"Serial": "by-claim"}}
	p, err := configure(t.Context(), <-address, d)
	if err != nil || p.Thing != "by-claim" {
		t.Fatalf("%+v, %v\n%s", p, err, strings.Join(b.log, "\n"))
	}
}

// TestConfigureRefused: an identity that the server refuses is told as failed, in words, and the device
// takes another one.
func TestConfigureRefused(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	bad, badID := c.issue("lamp", "devices")
	c.api("PUT", "/certificates/"+badID+"?newStatus=INACTIVE", nil, nil)
	good, _ := c.issue("lamp2", "devices")
	address := make(chan string, 1)
	b := c.boot(flash.NewMemory(), configurable(address))
	at := <-address
	_, err := configure(t.Context(), at, documentOf(bad))
	var refused *configuration.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "certificate") {
		t.Fatal(err)
	}
	b.eventually("Configuration", func() bool { return b.Mode() == mode.Configuration })
	if p, err := configure(t.Context(), at, documentOf(good)); err != nil || p.Thing != "lamp2" {
		t.Fatalf("%+v, %v", p, err)
	}
}

// home is a Wi-Fi network with a password.
type home struct {
	mu   sync.Mutex
	seen []string
}

func (w *home) Up(_ context.Context, store *flash.Store) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	set := configuration.Load(store).WiFi
	w.seen = append(w.seen, set.SSID)
	if set.SSID != "" && set.Password != "correct horse" {
		return fmt.Errorf("network %q: wrong password", set.SSID)
	}
	return nil
}

func (*home) Down() {}

// TestConfigureWiFi: a wrong password is told and changes nothing; the right one is kept.
func TestConfigureWiFi(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, _ := c.issue("lamp", "devices")
	m, w := flash.NewMemory(), new(home)
	address := make(chan string, 1)
	change := func(cfg *device.Config, h *device.Handlers, b *board) {
		configurable(address)(cfg, h, b)
		cfg.WiFi = w
	}
	b := c.boot(m, change)
	at := <-address
	d := documentOf(id)
	d.WiFi = configuration.WiFi{SSID: "home", Password: "wrong horse"}
	if _, err := configure(t.Context(), at, d); err == nil || !strings.Contains(err.Error(), "wrong password") {
		t.Fatal(err)
	}
	if b.Thing() != "" || b.Settings().WiFi.SSID != "" || b.Mode() != mode.Configuration {
		t.Errorf("thing %q, settings %+v, mode %v", b.Thing(), b.Settings(), b.Mode())
	}
	d.WiFi.Password = "correct horse"
	if _, err := configure(t.Context(), at, d); err != nil {
		t.Fatal(err)
	}
	b.stop()
	again := c.boot(m, change)
	again.eventually("connected", again.Connected)
	if again.Settings().WiFi != d.WiFi {
		t.Errorf("%+v", again.Settings())
	}
}

// TestPowerLossWhileConfiguring cuts the power at every write of a configuration, with every kind of
// tear. Afterwards the device has the whole configuration or none of it, and what was acknowledged it
// has; without, it takes it again.
func TestPowerLossWhileConfiguring(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	for tear := range flash.Tear(flash.Tears) {
		thing := fmt.Sprint("lamp-", tear)
		id, _ := c.issue(thing, "devices")
		d := documentOf(id)
		d.WiFi = configuration.WiFi{SSID: "home", Password: "correct horse"}
		d.Endpoint = "iot.example.com"
		t.Run(thing, func(t *testing.T) {
			t.Parallel()
			for cut := 1; cutWhileConfiguring(t, c, d, cut, tear); cut++ {
			}
		})
	}
}

// cutWhileConfiguring cuts the power at one write. It reports false when there were fewer.
func cutWhileConfiguring(t *testing.T, c *cloud, d configuration.Document, cut int, tear flash.Tear) bool {
	t.Helper()
	m := flash.NewMemory()
	address := make(chan string, 1)
	change := func(cfg *device.Config, h *device.Handlers, b *board) {
		configurable(address)(cfg, h, b)
		cfg.WiFi = new(home)
	}
	b := c.boot(m, change)
	at := <-address
	m.CutAt(cut, tear)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	accepted := make(chan bool, 1)
	go func() {
		central := configuration.NewCentral(func(ctx context.Context) (configuration.Conn, error) {
			return linux.DialConfigurationTCP(ctx, at, 100)
		})
		defer central.Close()
		taken := false
		_, _ = configuration.Configure(ctx, central, labelCode, d, func(p configuration.Progress) {
			taken = taken || p.State == configuration.Received
		})
		accepted <- taken
	}()
	b.eventually("off or connected", func() bool { return m.Off() || b.Connected() && b.noted("event restored") > 0 })
	time.AfterFunc(50*time.Millisecond, cancel)
	taken := <-accepted
	b.stop()
	off := m.Off()
	m.PowerOn()
	again := c.boot(m, change)
	if !off || taken || stored(t, m).Active().Exists() {
		again.eventually(fmt.Sprintf("connected after a cut at write %d", cut), again.Connected)
	} else {
		again.eventually("a mode", func() bool { return again.Mode() != mode.Init })
	}
	if again.Mode() == mode.Configuration {
		if s := again.Settings(); s.WiFi.SSID != "" || s.Endpoint != "" {
			t.Errorf("cut at write %d: half of the configuration is there: %+v", cut, s)
		}
		if _, err := configure(t.Context(), <-address, d); err != nil {
			t.Errorf("cut at write %d: again: %v", cut, err)
		}
	}
	if again.Thing() != d.Thing || again.Settings().WiFi != d.WiFi || again.Settings().Endpoint != d.Endpoint {
		t.Errorf("cut at write %d: thing %q, %+v", cut, again.Thing(), again.Settings())
	}
	again.stop()
	if !off && cut < 6 {
		t.Errorf("only %d writes", cut)
	}
	return off
}
