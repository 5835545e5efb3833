package virtualesp

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// chunk is bytes that arrived on the line.
type chunk struct {
	bytes []byte
	epoch int // in which they arrived
	err   error
}

// readBuffer is how many bytes are taken from the line at once: few, so that the time they
// take is spread as on a wire.
const readBuffer = 256

// serve is the chip while it is connected: it reads the line, is reset, and answers.
func (c *Chip) serve(line io.ReadWriteCloser) error {
	chunks := make(chan chunk, 64)
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		c.listen(line, chunks, done)
	}()
	defer func() {
		close(done)
		line.Close()
		<-finished
		c.halt()
	}()
	var frames deframer
	for {
		frames.reset()
		m := c.now()
		c.start(m.state, line)
		if err := c.live(m, chunks, &frames); err != nil {
			c.settle(m)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// settle lets a reset that the host began with its last words come to its end: a chip starts whether
// somebody listens or not.
func (c *Chip) settle(before moment) {
	for c.pins.settling() {
		select {
		case <-c.now().changed:
		case <-time.After(charge):
		}
	}
	if m := c.now(); m.epoch != before.epoch && m.state == running {
		c.start(running, io.Discard)
	}
}

// live takes what arrives until the chip is reset, or the line ends with an error.
func (c *Chip) live(m moment, chunks <-chan chunk, frames *deframer) error {
	for {
		select {
		case <-m.changed:
			return nil
		case in := <-chunks:
			if in.err != nil {
				return in.err
			}
			if in.epoch != m.epoch || m.state != loading {
				continue
			}
			for _, b := range in.bytes {
				frame, bad := frames.next(b, c.loader.frameLimit())
				if bad {
					c.count.add(func(n *Counters) { n.BadFrames++ })
				}
				if frame == nil {
					continue
				}
				if err := c.request(frame); err != nil {
					return err
				}
				if c.now().epoch != m.epoch {
					return nil
				}
			}
		}
	}
}

// request carries out a request, or the fault that is due at it.
func (c *Chip) request(frame []byte) error {
	if !c.fixed.Swap(true) { // the chip has found the rate of the host
		if host := c.hostBaud.Load(); host != 0 {
			c.uart.Store(host)
		}
		c.loader.regs.baud = c.baud()
	}
	c.commands++
	switch f := c.config.Faults; c.commands {
	case f.UnplugAtCommand:
		return ErrUnplugged
	case f.ResetAtCommand:
		c.Reset(c.pins.boot())
		return nil
	}
	switch e := c.loader.frame(frame); {
	case e.reset:
		c.Reset(!e.run && c.pins.boot())
	case e.baud != 0:
		c.loader.regs.baud = e.baud
		c.uart.Store(int64(e.baud))
	}
	return nil
}

// halt ends what the loader was doing.
func (c *Chip) halt() {
	if c.loader != nil {
		c.loader.endWrite()
		c.loader = nil
	}
}

// boot tells whether the boot pin is low.
func (p *pins) boot() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dtr && !p.rts
}

// listen takes bytes from the line as fast as they would come over a wire.
func (c *Chip) listen(line io.Reader, chunks chan<- chunk, done <-chan struct{}) {
	free := time.Now()
	f := c.config.Faults
	for {
		buf := make([]byte, readBuffer)
		n, err := line.Read(buf)
		epoch := c.now().epoch
		if n > 0 {
			if c.config.Timing.BaudRate {
				free = later(free, time.Now()).Add(c.config.Timing.carrying(n, c.baud()))
				time.Sleep(time.Until(free))
			}
			c.count.add(func(k *Counters) { k.BytesIn += n })
			before := int(c.bytesIn.Load())
			after := before + n
			c.bytesIn.Store(int64(after))
			due := func(at int) bool { return at > before && at <= after }
			if due(f.UnplugAfterBytes) {
				err = ErrUnplugged
			}
			if due(f.ResetAfterBytes) {
				c.Reset(c.pins.boot())
				continue
			}
			got := c.in.over(buf[:n])
			if c.mismatched() {
				got = c.in.garble(got)
			}
			select {
			case chunks <- chunk{bytes: got, epoch: epoch}:
			case <-done:
				return
			}
		}
		if err != nil {
			select {
			case chunks <- chunk{err: err}:
			case <-done:
			}
			return
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// baud is the rate of the UART.
func (c *Chip) baud() int { return int(c.uart.Load()) }

// mismatched tells whether the host talks at another rate than the chip. After a reset the
// chip finds the host's rate by itself.
func (c *Chip) mismatched() bool {
	host, own := c.hostBaud.Load(), c.uart.Load()
	if host == 0 || !c.fixed.Load() {
		return false
	}
	diff := host - own
	return max(diff, -diff)*100 > own*3
}

// start makes the chip do what its state says, after a reset.
func (c *Chip) start(s state, line io.Writer) {
	c.halt()
	c.fixed.Store(false)
	rate := c.hostBaud.Load()
	if rate == 0 {
		rate = defaultBaud
	}
	c.uart.Store(rate)
	sender := c.sender(line)
	if s != running && c.config.Halt != nil {
		c.config.Halt()
	}
	switch s {
	case loading:
		c.loader = &loader{
			id: c.id, flash: c.flash, regs: newRegisters(c.id, c.flash), count: &c.count, time: c.config.Timing,
			pause: c.pause, limit: romDefaultFlash,
			send: func(payload []byte) { sender(appendFrame(nil, payload)) },
		}
		c.loader.regs.baud = int(rate)
		if c.id.chip.ROMAttach {
			sender([]byte("\r\nrst:0x1 (POWERON),boot:0x3 (DOWNLOAD_BOOT(UART0))\r\nwaiting for download\r\n"))
		}
	case running:
		b := StartFrom(c.flash, c.id.chip, c.config.BootOptions)
		sender([]byte("\r\nrst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)\r\n"))
		sender([]byte(fmt.Sprintf("boot: %s\r\n", b)))
		if c.config.Boot != nil {
			c.config.Boot(b)
		}
	}
}

// sender returns what puts bytes on the line, with the time they take and the faults they
// meet. That the line is broken is seen when reading it.
func (c *Chip) sender(line io.Writer) func([]byte) {
	free := time.Now()
	return func(p []byte) {
		if c.config.Timing.BaudRate {
			free = later(free, time.Now()).Add(c.config.Timing.carrying(len(p), c.baud()))
			c.pause(time.Until(free))
		}
		c.count.add(func(k *Counters) { k.BytesOut += len(p) })
		p = c.out.over(p)
		if c.mismatched() {
			p = c.out.garble(p)
		}
		_, _ = line.Write(p)
	}
}

// pause waits, but not past a reset.
func (c *Chip) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-c.now().changed:
	}
}
