// Package firmware is what runs on a virtual ESP32: the device library, started on what is in the
// chip's flash as ESP-IDF's bootloader would start an application. What a factory wrote is what it
// boots; its state is in an NVS partition and updates go into the other slot.
//
// There is no processor: the application's image decides what runs by its version and its [Program].
package firmware

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/esp32"
	"github.com/berth-iot/berth/device/espidentity"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/ota"
	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/nvs"
	"github.com/berth-iot/berth/esp/otadata"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/internal/virtualesp"
)

// Config is a board.
type Config struct {
	Flash     nvs.Flash
	FlashSize int        // in bytes; 0 means 4 MiB
	Chip      *chip.Chip // nil is ESP32-C3
	MAC       [6]byte
	// Endpoint is host:port of the server; "" takes what is in flash.
	Endpoint string
	Roots    *x509.CertPool // nil takes what is in flash, or the system's
	// Template makes the certificate in flash a claim for this provisioning template.
	Template identity.Template
	// Booted gets what the bootloader made of the flash at every start, Told what happens in words,
	// and Event what happens to the connection. They may be nil.
	Booted func(virtualesp.Boot)
	Told   func(string)
	Event  func(link.Event)
	// Trial bounds the time from the start of an update to its confirmation; 0 means 10 min.
	Trial time.Duration
}

// Board is a chip that is on or off.
type Board struct {
	cfg Config

	power sync.Mutex // held while it is switched

	mu     sync.Mutex
	run    *run
	closed bool
	work   sync.WaitGroup
}

// New returns a board that is off.
func New(cfg Config) *Board {
	if cfg.Chip == nil {
		cfg.Chip = chip.ESP32C3
	}
	if cfg.FlashSize == 0 {
		cfg.FlashSize = 4 << 20
	}
	if cfg.Told == nil {
		cfg.Told = func(string) {}
	}
	return &Board{cfg: cfg}
}

// Claim makes the certificate in flash a claim for a template, from the next start on.
func (b *Board) Claim(t identity.Template) { b.cfg.Template = t }

// PowerOn starts what the bootloader finds in the flash. Power that is on goes off first.
func (b *Board) PowerOn() virtualesp.Boot {
	b.power.Lock()
	defer b.power.Unlock()
	return b.on()
}

func (b *Board) on() virtualesp.Boot {
	b.off()
	boot := virtualesp.StartFrom(b.cfg.Flash, b.cfg.Chip, virtualesp.BootOptions{Rollback: true})
	b.boot(boot)
	return boot
}

// Boot starts what a bootloader has found. It satisfies virtualesp.Config.Boot.
func (b *Board) Boot(boot virtualesp.Boot) {
	b.power.Lock()
	defer b.power.Unlock()
	b.off()
	b.boot(boot)
}

func (b *Board) boot(boot virtualesp.Boot) {
	if b.cfg.Booted != nil {
		b.cfg.Booted(boot)
	}
	if boot.Err != nil {
		return
	}
	r, err := b.start(boot)
	if err != nil {
		b.cfg.Told("panic: " + err.Error())
		return
	}
	b.mu.Lock()
	b.run = r
	closed := b.closed
	b.mu.Unlock()
	if closed {
		b.off()
	}
}

// Cut takes the power away and returns at once: from here on nothing is written, sent or told.
// PowerOff waits until nothing runs any more.
func (b *Board) Cut() {
	b.mu.Lock()
	r := b.run
	b.mu.Unlock()
	if r != nil {
		r.cut()
	}
}

// PowerOff takes the power away.
func (b *Board) PowerOff() {
	b.power.Lock()
	defer b.power.Unlock()
	b.off()
}

func (b *Board) off() {
	b.mu.Lock()
	r := b.run
	b.run = nil
	b.mu.Unlock()
	if r == nil {
		return
	}
	r.cut()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.system.Close(ctx) // it has nothing to say without power
	r.cancel()
	r.work.Wait()
}

// Close takes the power away for good.
func (b *Board) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.PowerOff()
	b.work.Wait()
}

// System is the device library on the board that is on, nil if it is off or did not start.
func (b *Board) System() *device.System {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil {
		return nil
	}
	return b.run.system
}

// run is an application from its start to the next reset.
type run struct {
	flash *powered

	mu    sync.Mutex
	conns []net.Conn

	system  *device.System
	program Program
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// powered is a flash that does nothing once the power is off.
type powered struct {
	nvs.Flash
	off atomic.Bool
}

// dial keeps hold of connections, so that they end with the power: without a farewell.
func (r *run) dial(ctx context.Context, id device.Identity, dial func(context.Context, device.Identity) (net.Conn, error)) (net.Conn, error) {
	conn, err := dial(ctx, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flash.off.Load() {
		conn.Close()
		return nil, flash.ErrPowerLoss
	}
	r.conns = append(r.conns[max(0, len(r.conns)-4):], conn) // the older ones have ended long ago
	return conn, nil
}

func (r *run) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flash.off.Store(true)
	for _, conn := range r.conns {
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		conn.Close()
	}
}

// Erase is described at nvs.Flash.
func (p *powered) Erase(offset, size uint32) error {
	if p.off.Load() {
		return flash.ErrPowerLoss
	}
	return p.Flash.Erase(offset, size)
}

// Program is described at nvs.Flash.
func (p *powered) Program(offset uint32, b []byte) error {
	if p.off.Load() {
		return flash.ErrPowerLoss
	}
	return p.Flash.Program(offset, b)
}

func (b *Board) start(boot virtualesp.Boot) (*run, error) {
	program, err := programOf(boot.Image)
	if err != nil {
		return nil, err
	}
	r := &run{flash: &powered{Flash: b.cfg.Flash}, program: program}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	cfg, err := b.config(boot, r)
	if err == nil {
		r.system, err = device.New(cfg, b.handlers(boot, r))
	}
	if err != nil {
		r.cancel()
		return nil, err
	}
	if program.Crash {
		b.restart(r)
		return r, nil
	}
	r.system.Start()
	if program.Telemetry != "" {
		r.work.Go(func() { r.telemetry() })
	}
	return r, nil
}

// restart is what esp_restart does: off, and on again from what is in flash.
func (b *Board) restart(r *run) {
	b.work.Go(func() {
		b.power.Lock()
		defer b.power.Unlock()
		b.mu.Lock()
		current := b.run == r && !b.closed
		b.mu.Unlock()
		if current { // somebody else may have switched it meanwhile
			b.on()
		}
	})
}

// config puts the library on the chip.
func (b *Board) config(boot virtualesp.Boot, r *run) (device.Config, error) {
	parts := boot.Table.ByType(partition.Data, partition.DataNVS)
	if len(parts) == 0 {
		return device.Config{}, errors.New("the partition table has no nvs")
	}
	store, err := nvs.Open(r.flash, parts[0].Offset, parts[0].Size, nil)
	if err != nil {
		return device.Config{}, fmt.Errorf("open partition %s: %w", parts[0].Name, err)
	}
	given, err := b.identity()
	if err != nil {
		b.cfg.Told(err.Error())
	}
	tr := &linux.Transport{Address: b.cfg.Endpoint, Roots: b.cfg.Roots}
	if tr.Address == "" {
		tr.Address = given.Endpoint
	}
	if tr.Address != "" && !strings.Contains(tr.Address, ":") {
		tr.Address = net.JoinHostPort(tr.Address, "8883")
	}
	if tr.Roots == nil && given.CA != nil {
		tr.Roots = x509.NewCertPool()
		tr.Roots.AppendCertsFromPEM(given.CA)
	}
	cfg := device.Config{
		Storage: esp32.OpenStorage(store, "berth"), Explain: tr.Explain, Keys: linux.Keys{}, Template: b.cfg.Template,
		Dial:    func(ctx context.Context, id device.Identity) (net.Conn, error) { return r.dial(ctx, id, tr.Dial) },
		Restart: func() { b.restart(r) },
		Link: link.Config{
			// The partition is small: certificates need most of it.
			Queue: link.QueueOptions{Messages: 20, Bytes: 4 << 10},
		},
	}
	if b.cfg.Template.Name != "" {
		cfg.Claim, cfg.EraseClaim = given.Identity, true
		cfg.Claim.Thing = ""
	} else {
		cfg.Given = given.Identity
	}
	slots, err := esp32.OpenSlots(r.flash, boot.Table, boot.Slot)
	if err != nil {
		b.cfg.Told("no updates: " + err.Error())
		return cfg, nil
	}
	running := esp32.Running{Chip: appimage.Chip(b.cfg.Chip.ImageID), Revision: -1}
	if d := boot.Image.Description; d != nil {
		running.Project, running.SecureVersion = d.ProjectName, d.SecureVersion
	}
	cfg.OTA = &ota.Config{
		Slots: slots, Check: running.Check, Unsigned: r.program.SigningKey == "", Trial: b.cfg.Trial,
		HTTP: linux.Download{Client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: tr.Roots}}}},
		SelfTest: func(context.Context) error {
			if r.program.SelfTest != "" {
				return errors.New(r.program.SelfTest)
			}
			return nil
		},
	}
	if key, err := publicKey(r.program.SigningKey); err != nil {
		return cfg, err
	} else if key != nil {
		cfg.OTA.Verify = linux.Verifier(key)
	}
	return cfg, nil
}

// identity is what a factory wrote into the flash.
func (b *Board) identity() (espidentity.Found, error) {
	image := make([]byte, b.cfg.FlashSize)
	if n, err := b.cfg.Flash.ReadAt(image, 0); n < len(image) {
		return espidentity.Found{}, fmt.Errorf("read flash: %w", err)
	}
	return espidentity.Find(image, "")
}

func publicKey(text string) (crypto.PublicKey, error) {
	if text == "" {
		return nil, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the program's signing key is not PEM")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// handlers are the application: what is desired is done, kept in the application's bytes and reported.
func (b *Board) handlers(boot virtualesp.Boot, r *run) device.Handlers {
	var state map[string]any
	told := func(text string) {
		if !r.flash.off.Load() {
			b.cfg.Told(text)
		}
	}
	return device.Handlers{
		Event:       b.cfg.Event,
		Error:       func(err error) { told("error: " + err.Error()) },
		Provisioned: func(thing string, _ []byte) { told("provisioned as " + thing) },
		Delta: func(d device.Delta) ([]byte, error) {
			if state == nil {
				state = r.state()
			}
			if err := json.Unmarshal(d.State, &state); err != nil {
				return nil, err
			}
			told("desired: " + string(d.State))
			if kept, err := json.Marshal(state); err == nil && len(kept) <= device.DataBytes {
				if err := r.system.SetData(kept, nil); err != nil {
					return nil, err
				}
			}
			return d.State, nil
		},
		Reported: func() []byte {
			report := r.state()
			firmware := map[string]any{"slot": slotName(boot.Slot)}
			if d := boot.Image.Description; d != nil {
				firmware["project"], firmware["version"] = d.ProjectName, d.Version
			}
			report["firmware"] = firmware
			report["chip"] = b.cfg.Chip.Name
			report["mac"] = net.HardwareAddr(b.cfg.MAC[:]).String()
			out, err := json.Marshal(report)
			if err != nil {
				return nil
			}
			return out
		},
	}
}

// state is what the application kept.
func (r *run) state() map[string]any {
	m := make(map[string]any)
	_ = json.Unmarshal(r.system.Data(), &m) // nothing was kept yet
	return m
}

func slotName(slot int) string {
	if slot == otadata.Factory {
		return "factory"
	}
	return fmt.Sprint("ota_", slot)
}

// telemetry publishes a temperature that wanders.
func (r *run) telemetry() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	temperature := 21.0
	for {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return
		}
		temperature += rand.Float64() - 0.5
		if thing := r.system.Thing(); thing != "" && r.system.Connected() {
			topic := strings.ReplaceAll(r.program.Telemetry, "{thing}", thing)
			_ = r.system.Publish(link.Publication{Topic: topic, Payload: fmt.Appendf(nil, `{"temperature":%.1f}`, temperature)}, nil) // the next one tries again
		}
	}
}
