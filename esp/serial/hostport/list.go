package hostport

import (
	"cmp"
	"slices"
	"strings"

	"github.com/berth-iot/berth/esp/serial"
)

// Info is a serial port of this machine.
type Info struct {
	Name            string `json:"name"`              // as Open takes it
	Vendor, Product uint16 `json:"-"`                 // USB identifiers, 0 without USB
	Serial          string `json:"serial,omitempty"`  // USB serial number
	Adapter         string `json:"adapter,omitempty"` // what it is, if it is known from boards
	Device          string `json:"device,omitempty"`  // the device's own name
}

// Board tells whether boards with ESP chips use this kind of port.
func (i Info) Board() bool { return i.Adapter != "" }

// List returns the serial ports of this machine, those of boards first, then by name.
func List() ([]Info, error) {
	list, err := enumerate()
	if err != nil {
		return nil, &serial.Error{Op: "list serial ports", Reason: serial.ErrPortNotFound, Text: "this machine does not tell its ports", Cause: err, Remedy: "name the port"}
	}
	for i := range list {
		list[i].Adapter = adapter(list[i].Vendor, list[i].Product)
	}
	slices.SortFunc(list, func(a, b Info) int {
		if a.Board() != b.Board() {
			if a.Board() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return list, nil
}

func listed() []Info {
	list, err := List()
	if err != nil {
		return nil // identifiers are a help, not a need
	}
	return list
}

// adapter names what sits on ESP boards.
func adapter(vendor, product uint16) string {
	type id struct{ vendor, product uint16 }
	known := map[id]string{
		{serial.VendorEspressif, serial.ProductUSBJTAGSerial}: "Espressif USB JTAG/serial",
		{serial.VendorEspressif, serial.ProductUSBOTG}:        "Espressif USB OTG",
		{0x303A, 0x1002}: "Espressif ESP-USB-Bridge",
		{0x10C4, 0xEA60}: "CP210x",
		{0x10C4, 0xEA70}: "CP2105",
		{0x10C4, 0xEA71}: "CP2108",
		{0x1A86, 0x7523}: "CH340",
		{0x1A86, 0x5523}: "CH341",
		{0x1A86, 0x55D3}: "CH343",
		{0x1A86, 0x55D4}: "CH9102",
		{0x0403, 0x6001}: "FT232R",
		{0x0403, 0x6010}: "FT2232",
		{0x0403, 0x6011}: "FT4232",
		{0x0403, 0x6014}: "FT232H",
		{0x0403, 0x6015}: "FT231X",
		{0x067B, 0x2303}: "PL2303",
	}
	if name, ok := known[id{vendor, product}]; ok {
		return name
	}
	if vendor == serial.VendorEspressif {
		return "Espressif"
	}
	return ""
}

func names() string {
	var list []string
	for _, i := range listed() {
		list = append(list, i.Name)
	}
	if len(list) == 0 {
		return "none, this machine has no serial port now"
	}
	return strings.Join(list, ", ")
}

// only returns the one port with a board.
func only() (string, error) {
	all, err := List()
	if err != nil {
		return "", err
	}
	boards := slices.DeleteFunc(slices.Clone(all), func(i Info) bool { return !i.Board() })
	switch len(boards) {
	case 1:
		return boards[0].Name, nil
	case 0:
		return "", &serial.Error{Op: "find the board", Reason: serial.ErrPortNotFound, Text: "no board is plugged in",
			Remedy: "plug it in with a cable that carries data, or name the port; there are: " + names()}
	}
	var list []string
	for _, b := range boards {
		list = append(list, b.Name+" ("+b.Adapter+")")
	}
	return "", &serial.Error{Op: "find the board", Reason: serial.ErrPortBusy, Text: "several boards are plugged in", Remedy: "name one: " + strings.Join(list, ", ")}
}
