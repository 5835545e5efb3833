package simulate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/ota"
)

// node is a device: what survives its restarts, and the library that runs now.
type node struct {
	f       *fleet
	name    string
	id      device.Identity
	storage *flash.Memory
	slots   *slots
	wire    wire
	skew    time.Duration // of its clock
	offline atomic.Bool
	power   lock // held while it is switched

	mu       sync.Mutex
	system   *device.System
	conn     *conn
	closed   bool
	lastUp   time.Time // connected and restored; zero while away
	next     uint64    // message
	open     map[uint64]bool
	dropped  map[uint64]bool
	lost     map[uint64]bool // were in memory when the power went
	ticker   *time.Timer
	silent   bool
	clockSet bool
	starts   int
	err      error
	restarts sync.WaitGroup
}

// clockSource is network time, two seconds away.
type clockSource struct{}

func (clockSource) Time(ctx context.Context) (time.Time, error) {
	select {
	case <-time.After(2 * time.Second):
		return time.Now(), nil
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// lock is a mutex whose waiting lets virtual time pass, which that of a sync.Mutex does not.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// powerOn starts the library on what is in flash.
func (n *node) powerOn() error {
	n.power.Lock()
	defer n.power.Unlock()
	return n.on()
}

func (n *node) on() error {
	n.storage.PowerOn()
	n.slots.boot()
	clock := link.NewClock(func() time.Time { return time.Now().Add(n.skew) }, n.f.began.Add(-24*time.Hour))
	tr := &linux.Transport{Address: net.JoinHostPort("localhost", fmt.Sprint(n.f.port)), Roots: n.f.roots, Clock: clock,
		Connect: func(ctx context.Context, _, _ string) (net.Conn, error) { return n.dial(ctx) }}
	var current *device.System
	cfg := device.Config{
		Storage: n.storage, Dial: tr.Dial, Explain: tr.Explain, Given: n.id,
		Restart: func() { n.restarts.Go(func() { n.again(current) }) },
		Link:    link.Config{Clock: clock, Time: clockSource{}, Random: n.f.random},
	}
	if n.f.cfg.Scheme == Tutorial {
		cfg.Link.Backoff.Scheme = tutorial
	}
	if n.f.cfg.Update > 0 {
		cfg.OTA = &ota.Config{Slots: n.slots, Unsigned: true, Trial: 5 * time.Minute}
	}
	mine := func() bool { return n.system == current }
	system, err := device.New(cfg, device.Handlers{
		Event: func(e link.Event) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if !mine() {
				return
			}
			switch e.Kind {
			case link.Restored:
				n.lastUp = time.Now()
			case link.Disconnected:
				n.lastUp, n.err = time.Time{}, e.Err
			case link.ClockSet:
				n.clockSet = true
			}
		},
		Error: func(err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if mine() && !errors.Is(err, flash.ErrPowerLoss) {
				n.err = err
			}
		},
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.system, current = system, system
	n.starts++
	n.mu.Unlock()
	system.Start()
	return nil
}

func (n *node) dial(ctx context.Context) (net.Conn, error) {
	if n.offline.Load() {
		n.f.network.count(time.Now())
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("network is unreachable")}
	}
	c, err := n.f.network.dial(ctx, n.f.port, n.wire)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.conn = c.(*conn)
	n.mu.Unlock()
	return c, nil
}

// cut takes the network away; both ends find out by themselves.
func (n *node) cut() {
	n.offline.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn != nil {
		n.conn.blackhole()
	}
}

// losePower takes the power away in a write to flash from now on, and gives it back 3 s later. A device
// that does not write loses it after 10 s all the same.
func (n *node) losePower(write int) {
	n.storage.CutAt(write, flash.Tear(n.f.random(flash.Tears)))
	n.mu.Lock()
	n.lastUp = time.Time{}
	n.mu.Unlock()
	n.restarts.Go(func() {
		n.f.wait(10*time.Second, n.storage.Off)
		n.power.Lock()
		defer n.power.Unlock()
		n.off()
		time.Sleep(3 * time.Second)
		if !n.over() {
			n.f.note(n.on())
		}
	})
}

// powerOff ends the library without a farewell.
func (n *node) powerOff() {
	n.power.Lock()
	defer n.power.Unlock()
	n.off()
}

func (n *node) over() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

func (n *node) off() {
	n.mu.Lock()
	system, conn := n.system, n.conn
	n.system, n.lastUp = nil, time.Time{}
	for m := range n.open {
		n.lost[m] = true // unless it was in flash, and comes
	}
	clear(n.open)
	n.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
	if system != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = system.Close(ctx) // without power it has nothing to say
	}
}

// again is a restart that the library wants, with everything in flash, unless the device was switched
// meanwhile.
func (n *node) again(system *device.System) {
	n.power.Lock()
	defer n.power.Unlock()
	n.mu.Lock()
	current := n.system == system && !n.closed
	n.mu.Unlock()
	if current {
		n.off()
		n.f.note(n.on())
	}
}

func (n *node) connectedSince(t time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.lastUp.IsZero() && (n.lastUp.After(t) || n.system != nil && n.system.Connected())
}

func (n *node) connected() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.lastUp.IsZero()
}

// publish sends the next message, and again after a while.
func (n *node) publish() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.silent || n.closed {
		return
	}
	n.ticker.Reset(n.f.cfg.Every)
	if n.system == nil {
		return
	}
	m := n.next
	system := n.system
	payload := binary.BigEndian.AppendUint64(nil, m)
	n.open[m] = true
	n.next++
	err := system.Publish(link.Publication{Topic: "sim/" + n.name, Payload: payload, QoS: 1}, func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.system != system {
			return
		}
		delete(n.open, m)
		if err != nil {
			n.dropped[m] = true
		}
	})
	if err != nil { // in a mode without a connection: it was not taken
		n.next--
		delete(n.open, m)
	}
}

func (n *node) waiting() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.open) > 0
}

func (n *node) close() {
	n.mu.Lock()
	n.closed = true
	if n.ticker != nil {
		n.ticker.Stop()
	}
	n.mu.Unlock()
	n.restarts.Wait()
	n.powerOff()
}

// slots are two images in memory. They satisfy ota.Slots.
type slots struct {
	mu             sync.Mutex
	images         [2][]byte
	active         int // starts unless there is a trial
	trial, tried   bool
	powered        func() bool
	size, switched int
}

func (s *slots) boot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.trial && s.tried:
		s.trial, s.tried = false, false
	case s.trial:
		s.tried = true
	}
}

func (s *slots) running() int {
	if s.trial && s.tried {
		return 1 - s.active
	}
	return s.active
}

func (s *slots) Running() (slot int, trial bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running(), s.trial && s.tried
}

func (s *slots) Size() int64 { return int64(s.size) }

func (s *slots) ReadAt(b []byte, offset int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copy(b, s.images[1-s.running()][offset:]), nil
}

// change does nothing without power.
func (s *slots) change(do func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.powered() {
		return flash.ErrPowerLoss
	}
	do()
	return nil
}

func (s *slots) WriteAt(b []byte, offset int64) (int, error) {
	err := s.change(func() {
		free := 1 - s.running()
		if s.images[free] == nil {
			s.images[free] = make([]byte, s.size)
		}
		copy(s.images[free][offset:], b)
	})
	return len(b), err
}

func (s *slots) Activate(int64) error {
	return s.change(func() { s.active, s.trial, s.tried = s.running(), true, false })
}

func (s *slots) Confirm() error {
	return s.change(func() { s.active, s.trial, s.tried = s.running(), false, false; s.switched++ })
}

func (s *slots) Rollback() error {
	return s.change(func() { s.trial, s.tried = false, false })
}
