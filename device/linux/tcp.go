package linux

import (
	"context"
	"fmt"
	"net"

	"github.com/berth-iot/berth/device/configuration"
)

// ConfigurationTCP stands for Bluetooth on a machine without it: the same values over TCP, one
// connection after another. It is a configuration.Face, for trials and simulations.
type ConfigurationTCP struct {
	Address string               // host:port
	Size    int                  // of a value; 0 means configuration.MinValue, as with the smallest ATT MTU
	Ready   func(address string) // told the address that is listened on; may be nil
}

// Up checks the address.
func (f *ConfigurationTCP) Up(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.Address)
	if err != nil {
		return fmt.Errorf("listen for configuration: %w", err)
	}
	return l.Close()
}

// Serve answers connections until the context ends.
func (f *ConfigurationTCP) Serve(ctx context.Context, s *configuration.Service) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.Address)
	if err != nil {
		return fmt.Errorf("listen for configuration: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	if f.Ready != nil {
		f.Ready(l.Addr().String())
	}
	p := configuration.NewPeripheral(s)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen for configuration: %w", err)
		}
		_ = p.Serve(ctx, configuration.NewNetConn(conn, f.Size)) // the next connection goes on
	}
}

// DialConfigurationTCP connects to a device's ConfigurationTCP.
func DialConfigurationTCP(ctx context.Context, address string, size int) (configuration.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return configuration.NewNetConn(conn, size), nil
}
