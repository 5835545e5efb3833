package device_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/mode"
)

func certificateID(t testing.TB, id device.Identity) string {
	t.Helper()
	block, _ := pem.Decode(id.Certificate)
	if block == nil {
		t.Fatal("no certificate")
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// stored reads a device's identities out of its flash.
func stored(t testing.TB, m *flash.Memory) *identity.Store {
	t.Helper()
	f, err := flash.Open(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, _ := identity.Open(f)
	return s
}

func claimed(claim device.Identity, serial string, cbor bool) func(*device.Config, *device.Handlers, *board) {
	return func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Claim, cfg.EraseClaim = claim, true
		cfg.Template = identity.Template{Name: "fleet", Parameters: map[string]string{"Serial": serial}, CommonName: serial, CBOR: cbor}
		h.Provisioned = func(thing string, configuration []byte) { b.note("provisioned %s %s", thing, configuration) }
		h.Mode = func(from, to mode.Mode) { b.note("mode %v", to) }
	}
}

// TestClaim: a device with a claim becomes one with a certificate of its own, in both formats, with
// its key or the service's.
func TestClaim(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	claim, _ := c.issue("", "claim")
	for i, format := range []string{"json", "cbor", "json keys", "cbor keys"} {
		m := flash.NewMemory()
		serial := fmt.Sprint("lamp-", i)
		change := claimed(claim, serial, strings.HasPrefix(format, "cbor"))
		b := c.boot(m, func(cfg *device.Config, h *device.Handlers, b *board) {
			change(cfg, h, b)
			cfg.Template.ServerKeys = strings.HasSuffix(format, "keys")
		})
		b.eventually(format, func() bool { return b.Connected() && b.Thing() == serial && b.noted("connected") > 0 })
		b.eventually("the report", func() bool { return c.reported(serial)["connected"] == true })
		if b.noted("provisioned "+serial+` {"color":"green"}`) != 1 || b.noted("mode Configuration") != 1 || b.noted("mode Normal") != 1 {
			t.Errorf("%s: %v", format, b.log)
		}
		b.stop()
		s := stored(t, m)
		if own := s.Active(); own.Thing != serial || s.Claim().Exists() || s.Progress().Step != identity.Nothing {
			t.Errorf("%s: flash has thing %q, claim %v, progress %v", format, own.Thing, s.Claim().Exists(), s.Progress().Step)
		}
		// Without the claim in flash or in the program it connects as itself.
		again := c.boot(m, nil)
		again.eventually("connected again", again.Connected)
		again.stop()
	}
}

// TestPowerLossWhileProvisioning cuts the power at every write of provisioning, one after another.
// The device always comes to its identity.
func TestPowerLossWhileProvisioning(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	claim, _ := c.issue("", "claim")
	for cut := 1; ; cut++ {
		m := flash.NewMemory()
		m.CutAt(cut, flash.Tear(cut%flash.Tears))
		serial := fmt.Sprint("torn-", cut)
		b := c.boot(m, claimed(claim, serial, cut%2 == 0))
		settled := func() bool { return b.Connected() && b.noted("connected") > 0 && !b.Renewing() }
		b.eventually("provisioned or off", func() bool { return m.Off() || settled() })
		b.stop()
		off := m.Off()
		m.PowerOn()
		again := c.boot(m, claimed(claim, serial, cut%2 == 0))
		again.eventually(fmt.Sprint("provisioned after a cut at write ", cut), func() bool { return again.Connected() && again.Thing() == serial })
		again.eventually("committed", func() bool { return !again.Renewing() })
		again.stop()
		if s := stored(t, m); s.Active().Thing != serial || s.Claim().Exists() {
			t.Errorf("cut at write %d: flash has thing %q, claim %v", cut, s.Active().Thing, s.Claim().Exists())
		}
		if !off {
			if cut < 6 {
				t.Errorf("only %d writes", cut)
			}
			break
		}
	}
}

// TestRotate: the new certificate is proved before the old one is given up.
func TestRotate(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, oldID := c.issue("lamp", "devices")
	m := flash.NewMemory()
	b := c.boot(m, func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given = id
		cfg.Template = identity.Template{Name: "fleet", Parameters: map[string]string{"Serial": "lamp"}, CommonName: "lamp"}
	})
	b.eventually("connected", b.Connected)
	done := make(chan error, 1)
	b.Rotate(func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c.api("PUT", "/certificates/"+oldID+"?newStatus=INACTIVE", nil, nil)
	b.eventually("a second connection", func() bool { return b.Connected() && b.noted("event connected") == 2 })
	b.stop()
	if s := stored(t, m); certificateID(t, s.Active()) == oldID || s.Active().Thing != "lamp" {
		t.Error("the old certificate is still in flash")
	}
	again := c.boot(m, nil)
	again.eventually("connected with the new certificate", again.Connected)
}

// TestRotationRollsBack: a new certificate that is refused, or that nobody answers to, is given up.
func TestRotationRollsBack(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	for name, broken := range map[string]error{
		"refused": nil,
		"silent":  errors.New("no answer"),
	} {
		id, oldID := c.issue(name, "devices")
		m := flash.NewMemory()
		var revoked atomic.Bool
		b := c.boot(m, func(cfg *device.Config, h *device.Handlers, b *board) {
			cfg.Given = id
			cfg.TrialTimeout = 10 * time.Second
			if broken != nil {
				cfg.TrialTimeout = 500 * time.Millisecond
			}
			cfg.Template = identity.Template{Name: "fleet", Parameters: map[string]string{"Serial": name}}
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, id device.Identity) (net.Conn, error) {
				if newID := certificateID(t, id); newID != oldID {
					if broken != nil {
						return nil, broken
					}
					if revoked.CompareAndSwap(false, true) {
						c.api("PUT", "/certificates/"+newID+"?newStatus=REVOKED", nil, nil)
					}
				}
				return dial(ctx, id)
			}
		})
		b.eventually("connected", b.Connected)
		done := make(chan error, 1)
		b.Rotate(func(err error) { done <- err })
		if err := <-done; err == nil || !strings.Contains(err.Error(), "the new certificate was given up") {
			t.Errorf("%s: %v", name, err)
		}
		b.eventually("connected with the old certificate", func() bool { return b.Connected() && b.noted("event connected") == 2 })
		b.stop()
		if s := stored(t, m); certificateID(t, s.Active()) != oldID || s.Progress().Step != identity.Nothing {
			t.Errorf("%s: flash does not have the old certificate alone", name)
		}
	}
}

// TestPowerLossWhileRotating cuts the power at every write of a renewal.
func TestPowerLossWhileRotating(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, oldID := c.issue("lamp", "devices")
	change := func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given = id
		cfg.Template = identity.Template{Name: "fleet", Parameters: map[string]string{"Serial": "lamp"}}
	}
	for cut := 1; ; cut++ {
		m := flash.NewMemory()
		b := c.boot(m, change)
		b.eventually("connected", b.Connected)
		m.CutAt(cut, flash.Tear(cut%flash.Tears))
		done := make(chan error, 1)
		b.Rotate(func(err error) { done <- err })
		var err error
		b.eventually("renewed or off", func() bool {
			select {
			case err = <-done:
				return true
			default:
				return m.Off()
			}
		})
		b.stop()
		off := m.Off()
		m.PowerOn()
		again := c.boot(m, nil)
		again.eventually(fmt.Sprint("connected after a cut at write ", cut), again.Connected)
		again.stop()
		s := stored(t, m)
		if isOld := certificateID(t, s.Active()) == oldID; !off && (isOld || err != nil) || s.Active().Thing != "lamp" {
			t.Errorf("cut at write %d: old %v, %v", cut, isOld, err)
		}
		if !off {
			break
		}
	}
}

// TestRefusedCertificate: the reason is told, and an operator's remedy works without touching the
// device.
func TestRefusedCertificate(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, certID := c.issue("lamp", "devices")
	c.api("PUT", "/certificates/"+certID+"?newStatus=INACTIVE", nil, nil)
	refused := make(chan *link.Failure, 100)
	b := c.boot(flash.NewMemory(), func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given = id
		h.Event = func(e link.Event) {
			var f *link.Failure
			if e.Kind == link.Waiting && errors.As(e.Err, &f) {
				refused <- f
			}
		}
	})
	if f := <-refused; f.Kind != link.Refused {
		t.Errorf("%v: %v", f.Kind, f)
	}
	c.api("PUT", "/certificates/"+certID+"?newStatus=ACTIVE", nil, nil)
	b.eventually("connected", b.Connected)
}

// TestClock: a clock that reads 1970 or the past is explained, and network time is the remedy.
func TestClock(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, _ := c.issue("lamp", "devices")
	for name, reads := range map[string]time.Time{"1970": time.Unix(0, 0), "plausible": time.Now().Add(-10 * 365 * 24 * time.Hour)} {
		clock := link.NewClock(func() time.Time { return reads }, time.Unix(1000, 0))
		explained := make(chan error, 100)
		var source timeSource
		b := c.boot(flash.NewMemory(), func(cfg *device.Config, h *device.Handlers, b *board) {
			tr := c.transport()
			tr.Clock = clock
			cfg.Given, cfg.Dial, cfg.Explain = id, tr.Dial, tr.Explain
			cfg.Link.Clock, cfg.Link.Time = clock, &source
			h.Event = func(e link.Event) {
				if errors.Is(e.Err, link.ErrClock) {
					explained <- e.Err
				}
			}
		})
		err := <-explained
		if b.Connected() || name == "plausible" && !strings.Contains(err.Error(), "is not yet valid for the device's clock, which reads") {
			t.Errorf("%s: %v", name, err)
		}
		source.works.Store(true)
		b.eventually(name+": connected", b.Connected)
		b.stop()
	}
}

type timeSource struct{ works atomic.Bool }

func (s *timeSource) Time(context.Context) (time.Time, error) {
	if !s.works.Load() {
		return time.Time{}, errors.New("no time server")
	}
	return time.Now(), nil
}

// TestIdle: a part that does not come up leads to Idle, and from there to another attempt.
func TestIdle(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, _ := c.issue("lamp", "devices")
	w := &wifi{fails: 2}
	b := c.boot(flash.NewMemory(), func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given, cfg.WiFi, cfg.InitRetry = id, w, time.Millisecond
		h.Mode = func(from, to mode.Mode) { b.note("mode %v", to) }
	})
	b.eventually("connected", b.Connected)
	if !b.failed(errNoWiFi) || b.noted("mode Idle") != 2 || b.noted("mode Init") != 2 {
		t.Errorf("%v", b.log)
	}
	b.stop()
	if !w.down {
		t.Error("Wi-Fi stays up")
	}
}

var errNoWiFi = errors.New("no access point")

type wifi struct {
	fails int
	down  bool
}

func (w *wifi) Up(context.Context, *flash.Store) error {
	if w.fails--; w.fails >= 0 {
		return errNoWiFi
	}
	return nil
}

func (w *wifi) Down() { w.down = true }
