//go:build darwin && !cgo

package hostport

import bugst "go.bug.st/serial"

// enumerate lists the ports; macOS tells USB identifiers to programs built with cgo only.
func enumerate() ([]Info, error) {
	names, err := bugst.GetPortsList()
	if err != nil {
		return nil, err
	}
	var list []Info
	for _, name := range names {
		list = append(list, Info{Name: name})
	}
	return list, nil
}
