//go:build linux

package ble

import (
	"os"
	"testing"

	"github.com/berth-iot/berth/device/configuration"
)

// TestWithoutBlueZ: on a machine without D-Bus every call is an error and none a panic.
func TestWithoutBlueZ(t *testing.T) {
	if _, err := os.Stat("/run/dbus/system_bus_socket"); err == nil {
		t.Skip("there is a D-Bus")
	}
	p := &Peripheral{Name: "lamp"}
	if err := p.Up(t.Context()); err == nil {
		t.Error("Bluetooth is up")
	}
	if err := p.Serve(t.Context(), nil); err == nil {
		t.Error("Bluetooth serves")
	}
	if err := Scan(t.Context(), "", func(Found) bool { return false }); err == nil {
		t.Error("Bluetooth scans")
	}
	if _, err := Dial(t.Context(), "", ""); err == nil {
		t.Error("Bluetooth dials")
	}
}

// TestPeripheralConn: what comes from BlueZ, its own notifications included, goes to the streams, and
// values grow with the central's.
func TestPeripheralConn(t *testing.T) {
	t.Parallel()
	c := &peripheralConn{values: make(chan value, 2), over: make(chan struct{})}
	var conn configuration.Conn = c
	if conn.Size() != configuration.MinValue {
		t.Errorf("size %d", conn.Size())
	}
	c.write(configuration.Session, 0, make([]byte, 100))
	c.write(configuration.Session, 4, make([]byte, 200))
	c.write(configuration.Result, 0, make([]byte, 30))
	c.write(configuration.Result, 0, []byte{1}) // no room: dropped, not waited for
	for _, want := range []configuration.Channel{configuration.Session, configuration.Result} {
		if got, _, err := conn.Receive(); got != want || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	if conn.Size() != 100 {
		t.Errorf("size %d", conn.Size())
	}
	conn.Close()
	conn.Close()
	if _, _, err := conn.Receive(); err == nil {
		t.Error("no end")
	}
}
