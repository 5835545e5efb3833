package virtualesp

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// ErrUnplugged is what a port says after the chip was unplugged.
var ErrUnplugged = errors.New("virtual ESP32: unplugged")

// Port is the host's end of a chip's serial line, with the methods that a serial port
// usually has. One goroutine may read while another writes.
type Port struct {
	chip     *Chip
	toChip   *queue
	fromChip *queue

	mu       sync.Mutex
	timeout  time.Duration // 0 blocks
	deadline time.Time
}

func newPort(c *Chip) *Port {
	return &Port{chip: c, toChip: newQueue(), fromChip: newQueue()}
}

// Read waits for bytes from the chip. With SetReadTimeout it returns 0, nil when none have
// come in time; past a deadline it returns os.ErrDeadlineExceeded.
func (p *Port) Read(b []byte) (int, error) {
	p.mu.Lock()
	timeout, deadline := p.timeout, p.deadline
	p.mu.Unlock()
	if timeout > 0 {
		n, err := p.fromChip.read(b, time.Now().Add(timeout))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		return n, err
	}
	return p.fromChip.read(b, deadline)
}

// Write sends bytes to the chip. It does not wait for them to arrive.
func (p *Port) Write(b []byte) (int, error) { return p.toChip.write(b) }

// Close closes the host's end. The chip stays as it is; see Chip.Port.
func (p *Port) Close() error {
	p.toChip.close(io.EOF)
	p.fromChip.close(os.ErrClosed)
	return nil
}

// SetDTR sets the line that pulls the boot pin low, SetRTS the one that holds the chip in
// reset; both at once do neither, as on Espressif's boards.
func (p *Port) SetDTR(on bool) error { p.chip.SetDTR(on); return nil }

// SetRTS is described at SetDTR.
func (p *Port) SetRTS(on bool) error { p.chip.SetRTS(on); return nil }

// SetBaud tells at what rate the host talks. Without it the host always has the chip's.
func (p *Port) SetBaud(baud int) error {
	p.chip.hostBaud.Store(int64(baud))
	return nil
}

// SetReadDeadline sets until when Read waits, for all calls that begin after it; the zero
// time is for ever.
func (p *Port) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	return nil
}

// SetReadTimeout sets how long each Read waits; 0 is for ever.
func (p *Port) SetReadTimeout(d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timeout = d
	return nil
}

// ResetInputBuffer drops what has come and was not read.
func (p *Port) ResetInputBuffer() error { p.fromChip.drop(); return nil }

// ResetOutputBuffer drops nothing: the chip has it all.
func (p *Port) ResetOutputBuffer() error { return nil }

// line is the chip's end of a port.
type line struct{ *Port }

func (l line) Read(b []byte) (int, error)  { return l.toChip.read(b, time.Time{}) }
func (l line) Write(b []byte) (int, error) { return l.fromChip.write(b) }
func (l line) Close() error {
	l.toChip.close(ErrUnplugged)
	l.fromChip.close(ErrUnplugged)
	return nil
}

// queue is one direction of a line: a pipe that never fills up.
type queue struct {
	mu      sync.Mutex
	buf     []byte
	err     error // of writes, and of reads once buf is empty
	changed chan struct{}
}

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return 0, q.err
	}
	q.buf = append(q.buf, b...)
	q.wake()
	return len(b), nil
}

func (q *queue) read(b []byte, deadline time.Time) (int, error) {
	var timer <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		timer = t.C
	}
	for {
		q.mu.Lock()
		n := copy(b, q.buf)
		q.buf = q.buf[n:]
		err, changed := q.err, q.changed
		q.mu.Unlock()
		switch {
		case n > 0 || len(b) == 0:
			return n, nil
		case err != nil:
			return 0, err
		}
		select {
		case <-changed:
		case <-timer:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.buf = nil
}

func (q *queue) close(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
		q.wake()
	}
}
