//go:build linux

package ble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"tinygo.org/x/bluetooth"

	"github.com/berth-iot/berth/device/configuration"
)

// Peripheral advertises the service and answers who writes to it. It is a configuration.Face.
type Peripheral struct {
	// Name is what is advertised; the first eight bytes fit beside the service's identifier.
	Name    string
	Adapter string // of BlueZ; "" means hci0

	adapter *bluetooth.Adapter // after Up
}

// enable brings an adapter up. A panic of the library is an error: it does not expect to run without
// D-Bus.
func enable(name string) (a *bluetooth.Adapter, err error) {
	defer func() {
		if v := recover(); v != nil {
			a, err = nil, fmt.Errorf("bluetooth: %v", v)
		}
	}()
	if name == "" {
		name = "hci0"
	}
	a = bluetooth.NewAdapter(name)
	if err := a.Enable(); err != nil {
		return nil, fmt.Errorf("bluetooth: BlueZ and an adapter %s are needed: %w", name, err)
	}
	return a, nil
}

// Up looks for the adapter.
func (p *Peripheral) Up(context.Context) (err error) {
	p.adapter, err = enable(p.Adapter)
	return err
}

// Serve advertises until the context ends.
func (p *Peripheral) Serve(ctx context.Context, s *configuration.Service) (err error) {
	if p.adapter == nil {
		return errors.New("bluetooth is not up")
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("bluetooth: %v", v)
		}
	}()
	conn := &peripheralConn{values: make(chan value, 64), over: make(chan struct{})}
	service := bluetooth.Service{UUID: uuid(configuration.ServiceUUID)}
	for c := range configuration.Channel(configuration.Channels) {
		service.Characteristics = append(service.Characteristics, bluetooth.CharacteristicConfig{
			Handle: &conn.out[c],
			UUID:   uuid(c.UUID()),
			Value:  []byte{0},
			Flags: bluetooth.CharacteristicReadPermission | bluetooth.CharacteristicWritePermission |
				bluetooth.CharacteristicWriteWithoutResponsePermission | bluetooth.CharacteristicNotifyPermission,
			WriteEvent: func(_ bluetooth.Connection, offset int, b []byte) { conn.write(c, offset, b) },
		})
	}
	if err := p.adapter.AddService(&service); err != nil {
		return fmt.Errorf("bluetooth: add service: %w", err)
	}
	defer p.adapter.RemoveService(&service)
	advertisement := p.adapter.DefaultAdvertisement()
	options := bluetooth.AdvertisementOptions{LocalName: p.Name, ServiceUUIDs: []bluetooth.UUID{service.UUID}}
	if err := advertisement.Configure(options); err != nil {
		return fmt.Errorf("bluetooth: advertise: %w", err)
	}
	if err := advertisement.Start(); err != nil {
		return fmt.Errorf("bluetooth: advertise: %w", err)
	}
	defer advertisement.Stop()
	// BlueZ does not say who writes nor when he is gone: all of it is one connection, and the streams
	// tell the messages apart.
	err = configuration.NewPeripheral(s).Serve(ctx, conn)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func uuid(s string) bluetooth.UUID {
	u, err := bluetooth.ParseUUID(s)
	if err != nil {
		panic(err) // a constant
	}
	return u
}

type value struct {
	c configuration.Channel
	b []byte
}

// peripheralConn is whoever writes to the characteristics.
type peripheralConn struct {
	out    [configuration.Channels]bluetooth.Characteristic
	values chan value
	over   chan struct{}
	once   sync.Once

	mu   sync.Mutex
	size int
}

// write takes what a central has written, and what the device has notified: see configuration's frames.
func (c *peripheralConn) write(channel configuration.Channel, offset int, b []byte) {
	if offset != 0 {
		return
	}
	c.mu.Lock()
	c.size = max(c.size, len(b))
	c.mu.Unlock()
	select {
	case c.values <- value{channel, append([]byte(nil), b...)}:
	case <-c.over:
	default: // the streams ask for it again
	}
}

// Size is the size of the longest value so far: BlueZ does not tell the MTU, and what a central has
// written fits in the other direction.
func (c *peripheralConn) Size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.size, configuration.MinValue)
}

func (c *peripheralConn) Send(channel configuration.Channel, b []byte) error {
	_, err := c.out[channel].Write(b)
	return err
}

func (c *peripheralConn) Receive() (configuration.Channel, []byte, error) {
	select {
	case v := <-c.values:
		return v.c, v.b, nil
	case <-c.over:
		return 0, nil, io.EOF
	}
}

func (c *peripheralConn) Close() error {
	c.once.Do(func() { close(c.over) })
	return nil
}
