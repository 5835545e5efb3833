package serial

import (
	"encoding/json"
	"fmt"
)

// maxStub is more than any chip's RAM, in bytes.
const maxStub = 1 << 20

// Stub is a flasher stub: a program for the chip's RAM that answers the serial protocol in the
// place of the ROM loader.
type Stub struct {
	Entry    uint32 // address of its first instruction
	Segments []Segment
}

// Segment is bytes for an address in RAM.
type Segment struct {
	Address uint32
	Data    []byte
}

// ParseStub reads a stub as the releases of espressif/esp-flasher-stub (Apache-2.0 or MIT) hold
// it: a JSON object with entry, text, text_start and, if there are any, data and data_start; text
// and data are base64. Unknown members are passed over. Errors: ErrStub.
func ParseStub(b []byte) (*Stub, error) {
	var file struct {
		Entry     *uint32 `json:"entry"`
		Text      []byte  `json:"text"`
		TextStart uint32  `json:"text_start"`
		Data      []byte  `json:"data"`
		DataStart uint32  `json:"data_start"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, badStub("it is no JSON of a stub", err)
	}
	switch {
	case file.Entry == nil || len(file.Text) == 0:
		return nil, badStub("entry or text is missing", nil)
	case len(file.Text)+len(file.Data) > maxStub:
		return nil, badStub(fmt.Sprintf("%d bytes are more than a chip's RAM", len(file.Text)+len(file.Data)), nil)
	case len(file.Data) > 0 && file.DataStart == 0:
		return nil, badStub("data_start is missing", nil)
	}
	stub := &Stub{Entry: *file.Entry, Segments: []Segment{{Address: file.TextStart, Data: file.Text}}}
	if len(file.Data) > 0 {
		stub.Segments = append(stub.Segments, Segment{Address: file.DataStart, Data: file.Data})
	}
	return stub, nil
}

func badStub(text string, cause error) error {
	return &Error{Op: "read stub", Reason: ErrStub, Text: text, Cause: cause, Remedy: "use the JSON file for this chip from a release of esp-flasher-stub"}
}
