//go:build linux

package ble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"tinygo.org/x/bluetooth"

	"github.com/berth-iot/berth/device/configuration"
)

// Scan looks for devices until the context ends or seen returns true.
func Scan(ctx context.Context, adapter string, seen func(Found) (enough bool)) error {
	a, err := enable(adapter)
	if err != nil {
		return err
	}
	_, err = scan(ctx, a, func(f Found, _ bluetooth.Address) bool { return seen(f) })
	return err
}

func scan(ctx context.Context, a *bluetooth.Adapter, seen func(Found, bluetooth.Address) bool) (found bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("bluetooth: scan: %v", v)
		}
	}()
	service := uuid(configuration.ServiceUUID)
	stop := context.AfterFunc(ctx, func() { _ = a.StopScan() })
	defer stop()
	err = a.Scan(func(a *bluetooth.Adapter, r bluetooth.ScanResult) {
		if found || !slices.Contains(r.ServiceUUIDs(), service) {
			return
		}
		if seen(Found{r.LocalName(), r.Address.String(), int(r.RSSI)}, r.Address) {
			found = true
			_ = a.StopScan()
		}
	})
	if err != nil {
		return found, fmt.Errorf("bluetooth: scan: %w", err)
	}
	return found, nil
}

// Dial looks for a device by name or address, "" is the first one, and connects to it. It satisfies
// what configuration.NewCentral wants when the name is bound.
func Dial(ctx context.Context, adapter, name string) (conn configuration.Conn, err error) {
	a, err := enable(adapter)
	if err != nil {
		return nil, err
	}
	var address bluetooth.Address
	found, err := scan(ctx, a, func(f Found, at bluetooth.Address) bool {
		address = at
		return name == "" || f.Name == name || strings.EqualFold(f.Address, name)
	})
	switch {
	case err != nil:
		return nil, err
	case !found && name == "":
		return nil, fmt.Errorf("bluetooth: no device waits for its configuration nearby: %w", ctx.Err())
	case !found:
		return nil, fmt.Errorf("bluetooth: no device %q waits for its configuration nearby: %w", name, ctx.Err())
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("bluetooth: connect: %v", v)
		}
	}()
	device, err := a.Connect(address, bluetooth.ConnectionParams{})
	if err != nil {
		return nil, fmt.Errorf("bluetooth: connect: %w", err)
	}
	c := &centralConn{device: device, values: make(chan value, 64), over: make(chan struct{})}
	if err := c.discover(); err != nil {
		_ = device.Disconnect()
		return nil, fmt.Errorf("bluetooth: %w", err)
	}
	return c, nil
}

// centralConn is a connection to a device.
type centralConn struct {
	device bluetooth.Device
	out    []bluetooth.DeviceCharacteristic
	size   int
	values chan value
	over   chan struct{}
	once   sync.Once
}

func (c *centralConn) discover() error {
	services, err := c.device.DiscoverServices([]bluetooth.UUID{uuid(configuration.ServiceUUID)})
	if err != nil || len(services) == 0 {
		return errors.Join(errors.New("the device does not have the service"), err)
	}
	var wanted []bluetooth.UUID
	for channel := range configuration.Channel(configuration.Channels) {
		wanted = append(wanted, uuid(channel.UUID()))
	}
	if c.out, err = services[0].DiscoverCharacteristics(wanted); err != nil {
		return err
	}
	c.size = configuration.MinValue
	if mtu, err := c.out[0].GetMTU(); err == nil {
		c.size = max(c.size, int(mtu)-3)
	}
	for i := range c.out {
		err := c.out[i].EnableNotifications(func(b []byte) {
			select {
			case c.values <- value{configuration.Channel(i), append([]byte(nil), b...)}:
			case <-c.over:
			default: // the streams ask for it again
			}
		})
		if err != nil {
			return fmt.Errorf("notifications: %w", err)
		}
	}
	return nil
}

func (c *centralConn) Size() int { return c.size }

func (c *centralConn) Send(channel configuration.Channel, b []byte) error {
	_, err := c.out[channel].WriteWithoutResponse(b)
	return err
}

func (c *centralConn) Receive() (configuration.Channel, []byte, error) {
	select {
	case v := <-c.values:
		return v.c, v.b, nil
	case <-c.over:
		return 0, nil, io.EOF
	}
}

func (c *centralConn) Close() error {
	c.once.Do(func() {
		close(c.over)
		for i := range c.out {
			_ = c.out[i].EnableNotifications(nil)
		}
		_ = c.device.Disconnect()
	})
	return nil
}
