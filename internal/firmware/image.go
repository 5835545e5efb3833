package firmware

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
)

// Program says what an application for a virtual chip does beyond what all of them do. An image of
// ESP-IDF's runs as one with an empty Program.
type Program struct {
	// SigningKey is the public key that updates have to be signed with, PEM. Without it they are
	// taken unsigned.
	SigningKey string `json:"signingKey,omitempty"`
	// SelfTest is why the self-test after an update fails; "" passes.
	SelfTest string `json:"selfTest,omitempty"`
	// Crash makes the application restart as soon as it runs, over and over.
	Crash bool `json:"crash,omitempty"`
	// Telemetry is a topic to publish a temperature to, every second; {thing} is the thing's name.
	Telemetry string `json:"telemetry,omitempty"`
}

// programMagic begins a program within an image; its length as 32 bits and JSON follow.
const programMagic = "berth-virtual-program\x00"

// Build makes an application image for a virtual chip. Only version and project name of the
// description are asked for.
func Build(c *chip.Chip, d appimage.Description, p Program) ([]byte, error) {
	if c.ImageID == chip.NoID {
		return nil, fmt.Errorf("build application: %s has no images of this kind", c.Name)
	}
	program, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	data := d.Append(nil)
	data = append(data, programMagic...)
	data = binary.LittleEndian.AppendUint32(data, uint32(len(program)))
	data = append(data, program...)
	code := []byte("this application runs on virtual chips only\x00")
	return appimage.Build(appimage.Header{FlashSize: 4 << 20, Chip: appimage.Chip(c.ImageID), Entry: 0x40380000, MaxRev: 0xFFFF, HashAppended: true},
		[]appimage.Segment{{Address: 0x3C000020, Data: data}, {Address: 0x40380000, Data: code}})
}

// programOf returns the program of an image.
func programOf(m *appimage.Image) (p Program, err error) {
	for _, s := range m.Segments {
		at := bytes.Index(s.Data, []byte(programMagic))
		if at < 0 {
			continue
		}
		b := s.Data[at+len(programMagic):]
		if len(b) < 4 || uint64(binary.LittleEndian.Uint32(b)) > uint64(len(b)-4) {
			return p, fmt.Errorf("the program in the image is cut short")
		}
		if err := json.Unmarshal(b[4:4+binary.LittleEndian.Uint32(b)], &p); err != nil {
			return p, fmt.Errorf("the program in the image: %w", err)
		}
		return p, nil
	}
	return p, nil
}
