//go:build !darwin || cgo

package hostport

import (
	"strconv"

	"go.bug.st/serial/enumerator"
)

// enumerate lists the ports with their USB identifiers.
func enumerate() ([]Info, error) {
	details, err := enumerator.GetDetailedPortsList()
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, d := range details {
		i := Info{Name: d.Name, Serial: d.SerialNumber, Device: d.Product}
		if d.IsUSB {
			i.Vendor, i.Product = hex16(d.VID), hex16(d.PID)
		}
		list = append(list, i)
	}
	return list, nil
}

func hex16(s string) uint16 {
	n, err := strconv.ParseUint(s, 16, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
