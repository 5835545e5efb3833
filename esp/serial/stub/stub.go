// Package stub holds the flasher stubs of Espressif's esp-flasher-stub (https://github.com/espressif/esp-flasher-stub,
// Apache-2.0 or MIT, see the licences beside this file), as its releases publish them: one JSON file
// for each chip. A stub reads and writes faster than the loader in ROM and can verify an ESP8266.
package stub

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/berth-iot/berth/esp/serial"
)

//go:embed *.json
var files embed.FS

// For returns the stub for the chip of a session, nil if there is none for it.
func For(ctx context.Context, s *serial.Session) (*serial.Stub, error) {
	name := s.Chip().Target
	if name == "esp32p4" { // the memory map changed with revision 3.0
		major, _, err := s.Revision(ctx)
		if err != nil {
			return nil, err
		}
		if major < 3 {
			name += "-rev1"
		}
	}
	return load(name)
}

func load(name string) (*serial.Stub, error) {
	b, err := files.ReadFile(name + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stub, err := serial.ParseStub(b)
	if err != nil {
		return nil, fmt.Errorf("stub for %s: %w", name, err)
	}
	return stub, nil
}
