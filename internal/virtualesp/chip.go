// Package virtualesp is a virtual ESP32: a chip whose flash is a file or memory. In download
// mode it answers the serial protocol of Espressif's ROM loaders and, once a host has loaded
// and started something in RAM, that of their stub; out of download mode it tells which
// application its bootloader would start.
//
// The dialogue follows esptool's documentation, "Serial Protocol"; what a stub does follows
// the Apache-2.0 sources of esp-flasher-stub. Where a real chip would misbehave silently the
// virtual one answers with an error: it is there to find a flasher's mistakes.
//
// What it is not: there is no processor. Code loaded to RAM is taken for the stub, flash
// encryption shows in eFuses but encrypts nothing, and registers beyond eFuses, UART, SPI
// flash and watchdog only remember what was written.
package virtualesp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/esp/chip"
)

// Config is a chip to be made.
type Config struct {
	Chip *chip.Chip // nil is ESP32-C3
	// Flash is the chip's flash; nil is 4 MiB in memory. Close closes it.
	Flash *Flash
	// MAC is the chip's address; zero is a random one.
	MAC [6]byte
	// Revision is 100 × major + minor; 0 is a usual one.
	Revision int
	// HoldBoot holds the boot pin low, so that every reset enters download mode: for
	// links that carry neither DTR nor RTS.
	HoldBoot bool
	// USBJTAG puts the chip behind its USB-Serial/JTAG instead of a UART, which takes
	// DTR and RTS as its technical reference manual says.
	USBJTAG bool
	Timing  Timing
	Faults  Faults
	// Boot is called whenever the chip starts from flash; the chip is deaf until it
	// returns.
	Boot func(Boot)
	// Halt is called whenever the chip stops running what it has started: when it is held in reset
	// and when it enters download mode.
	Halt func()
	// BootOptions is how it does.
	BootOptions BootOptions
}

// ErrConfig means a chip that cannot be.
var ErrConfig = errors.New("virtual ESP32")

// Chip is a virtual chip. Its methods may be called from several goroutines.
type Chip struct {
	id     identity
	config Config
	flash  *Flash
	count  tally

	hostBaud atomic.Int64 // 0 if unknown
	uart     atomic.Int64 // the rate of the chip's UART
	fixed    atomic.Bool  // which a command has set
	bytesIn  atomic.Int64
	commands int // only touched by serve
	in, out  *noise

	pins pins

	mu     sync.Mutex
	link   io.Closer // nil if not connected
	served bool
	closed bool
	state  state
	epoch  int           // how often the chip was reset
	reset  chan struct{} // closed when it is reset, then replaced
	wait   sync.WaitGroup

	loader *loader // only touched by serve
}

// state is what a chip is doing.
type state int

const (
	held    state = iota // in reset
	loading              // in its loader
	running              // started from flash
)

// New returns a chip that is powered and has not been connected. It starts from flash, or
// with HoldBoot in download mode.
func New(config Config) (*Chip, error) {
	if config.Chip == nil {
		config.Chip = chip.ESP32C3
	}
	c := &Chip{config: config, flash: config.Flash, reset: make(chan struct{}), state: running}
	c.id = identity{chip: config.Chip, mac: config.MAC, crystal: config.Chip.UART.CrystalMHz[0], security: config.Faults.Security}
	c.id.revision, c.id.pkg = typical(config.Chip)
	if config.Revision != 0 {
		c.id.revision = config.Revision
	}
	if config.USBJTAG {
		if c.id.port = config.Chip.Port.USBJTAG; c.id.port == 0 {
			return nil, fmt.Errorf("%w: %s has no USB-Serial/JTAG", ErrConfig, config.Chip.Name)
		}
	}
	if c.id.mac == [6]byte{} {
		if _, err := rand.Read(c.id.mac[:]); err != nil {
			return nil, fmt.Errorf("%w: make a MAC address: %w", ErrConfig, err)
		}
		// An address of Espressif's, as real chips have.
		copy(c.id.mac[:], []byte{0x7C, 0xDF, 0xA1})
	}
	if c.flash == nil {
		flash, err := NewFlash(4 << 20)
		if err != nil {
			return nil, err
		}
		c.flash = flash
	}
	for _, address := range config.Faults.Worn {
		c.flash.Wear(address)
	}
	if config.HoldBoot {
		c.state = loading
	}
	c.pins.chip = c
	c.in, c.out = config.Faults.noise(1), config.Faults.noise(2)
	return c, nil
}

// MAC returns the chip's address.
func (c *Chip) MAC() [6]byte { return c.id.mac }

// Kind returns what kind of chip it is.
func (c *Chip) Kind() *chip.Chip { return c.id.chip }

// Flash returns the chip's flash.
func (c *Chip) Flash() *Flash { return c.flash }

// Counters returns what went over the wire so far.
func (c *Chip) Counters() Counters { return c.count.copy(c.flash) }

// Port connects the chip to a new serial line and returns the host's end of it. A line that
// there was before is unplugged. The port of a closed chip is unplugged from the start.
func (c *Chip) Port() *Port {
	p := newPort(c)
	c.mu.Lock()
	old := c.link
	c.mu.Unlock()
	if old != nil {
		old.Close()
		c.wait.Wait()
	}
	if c.attach(line{p}) != nil {
		return p
	}
	// The only error is that of the line, which its owner sees too.
	go func() { _ = c.run(context.Background(), line{p}) }()
	return p
}

// Serve connects the chip to a line until that ends, the chip is unplugged or closed, or
// ctx is done. It closes the line. Only one line can be connected at a time; the line is
// also the chip's power, so that each but the first begins with a reset.
func (c *Chip) Serve(ctx context.Context, line io.ReadWriteCloser) error {
	if err := c.attach(line); err != nil {
		return err
	}
	return c.run(ctx, line)
}

// attach makes line the chip's only one, or closes it.
func (c *Chip) attach(line io.Closer) error {
	c.mu.Lock()
	if c.link != nil || c.closed {
		c.mu.Unlock()
		return errors.Join(fmt.Errorf("%w: connect: already connected or closed", ErrConfig), line.Close())
	}
	again := c.served
	c.served, c.link = true, line
	c.wait.Add(1)
	c.mu.Unlock()
	if again {
		c.Reset(c.pins.boot())
	}
	return nil
}

// run is the chip on its line.
func (c *Chip) run(ctx context.Context, line io.ReadWriteCloser) error {
	defer c.wait.Done()
	defer func() {
		line.Close()
		c.mu.Lock()
		c.link = nil
		c.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { line.Close() })
	defer stop()
	return c.serve(line)
}

// Reset resets the chip, into download mode or to start from flash.
func (c *Chip) Reset(intoDownload bool) {
	if intoDownload || c.config.HoldBoot {
		c.become(loading)
	} else {
		c.become(running)
	}
}

// SetDTR and SetRTS are the two lines of a serial port that reset a chip; see Port.
func (c *Chip) SetDTR(on bool) { c.pins.set(func(p *pins) { p.dtr = on }) }

// SetRTS is described at SetDTR.
func (c *Chip) SetRTS(on bool) { c.pins.set(func(p *pins) { p.rts = on }) }

// Close disconnects the chip and closes its flash.
func (c *Chip) Close() error {
	c.mu.Lock()
	closed, link := c.closed, c.link
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.pins.stop()
	if link != nil {
		link.Close()
	}
	c.wait.Wait()
	return c.flash.Close()
}

// become makes the chip do something else. What it was doing ends at once.
func (c *Chip) become(s state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
	c.epoch++
	close(c.reset)
	c.reset = make(chan struct{})
	if s != held {
		c.count.add(func(n *Counters) { n.Resets++ })
	}
}

// moment is the state between two resets. changed is closed at the next one.
type moment struct {
	state   state
	epoch   int
	changed <-chan struct{}
}

func (c *Chip) now() moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return moment{c.state, c.epoch, c.reset}
}

// pins is the boot and reset circuit between a host's DTR and RTS and the chip.
//
// On a board with a UART, RTS alone holds the chip in reset and DTR alone holds its boot
// pin low; the boot pin counts when reset ends. A capacitor lets reset end a little later
// than the line says, so that a host can swap the two lines one after the other.
//
// USB-Serial/JTAG has no pins: RTS without DTR resets, and DTR without RTS before that
// chooses download mode, until both are off.
type pins struct {
	chip     *Chip
	mu       sync.Mutex
	dtr, rts bool
	held     bool
	choice   bool // USB-Serial/JTAG: download mode is chosen
	charging *time.Timer
}

// charge is how long after the line reset ends, and swap how long both lines may be on
// before it ends: a host far away takes its time to swap them.
const (
	charge = 2 * time.Millisecond
	swap   = 500 * time.Millisecond
)

func (p *pins) set(change func(*pins)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
	if p.chip.config.USBJTAG {
		switch {
		case p.dtr && !p.rts:
			p.choice = true
		case !p.dtr && !p.rts:
			p.choice = false
		case p.rts && !p.dtr:
			p.chip.Reset(p.choice)
		}
		return
	}
	if p.charging != nil {
		p.charging.Stop()
		p.charging = nil
	}
	switch {
	case p.rts && !p.dtr:
		if !p.held {
			p.held = true
			p.chip.become(held)
		}
	case !p.held:
	case p.dtr && !p.rts:
		p.held = false
		p.chip.Reset(true)
	case p.dtr:
		p.charging = time.AfterFunc(swap, p.release)
	default:
		p.charging = time.AfterFunc(charge, p.release)
	}
}

// release ends the reset.
func (p *pins) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.charging == nil {
		return
	}
	p.charging, p.held = nil, false
	p.chip.Reset(false)
}

// settling tells whether a reset is about to end.
func (p *pins) settling() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.charging != nil
}

func (p *pins) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.charging != nil {
		p.charging.Stop()
		p.charging = nil
	}
}
