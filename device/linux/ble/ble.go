// Package ble is Bluetooth Low Energy through BlueZ for package configuration: the peripheral's role for
// a device, the central's for who configures it. It keeps the dependency on D-Bus out of programs that
// have no Bluetooth. Without D-Bus, BlueZ or an adapter, Up and Scan fail and nothing else happens.
//
// There is no pairing: proof of the code and encryption are the protocol's own.
package ble

// Found is a device that advertises the service.
type Found struct {
	Name    string
	Address string
	RSSI    int // dBm
}
