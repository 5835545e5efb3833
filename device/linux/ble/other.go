//go:build !linux

package ble

import (
	"context"
	"errors"

	"github.com/berth-iot/berth/device/configuration"
)

var errNotHere = errors.New("bluetooth: this system has no BlueZ; configure over TCP, HTTP or a serial port")

// Peripheral would advertise the service: there is no BlueZ here.
type Peripheral struct {
	Name    string
	Adapter string
}

// Up fails.
func (*Peripheral) Up(context.Context) error { return errNotHere }

// Serve fails.
func (*Peripheral) Serve(context.Context, *configuration.Service) error { return errNotHere }

// Scan fails.
func Scan(context.Context, string, func(Found) (enough bool)) error { return errNotHere }

// Dial fails.
func Dial(context.Context, string, string) (configuration.Conn, error) { return nil, errNotHere }
