package stub

import (
	"testing"

	"github.com/berth-iot/berth/esp/chip"
)

// TestEveryChip: each chip has a stub, which lies in its RAM.
func TestEveryChip(t *testing.T) {
	t.Parallel()
	for _, c := range chip.All() {
		s, err := load(c.Target)
		if err != nil || s == nil || len(s.Segments) == 0 || s.Entry < s.Segments[0].Address || s.Entry >= s.Segments[0].Address+uint32(len(s.Segments[0].Data)) {
			t.Errorf("%s: %+v %v", c.Target, s, err)
		}
	}
	if s, err := load("esp32p4-rev1"); s == nil || err != nil {
		t.Error(err)
	}
	if s, err := load("esp99"); s != nil || err != nil {
		t.Error(s, err)
	}
}
