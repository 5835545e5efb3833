package bench

import (
	"bytes"
	"encoding/xml"
	"io"
	"testing"
)

// TestPlot: the picture is well-formed and every line is within it.
func TestPlot(t *testing.T) {
	t.Parallel()
	for _, lines := range [][]Series{
		{{"a <&> b", []float64{1, 2.5, 900}}, {"c", []float64{0, 0, 0}}},
		{{"flat", []float64{0, 0, 0}}},
		nil,
	} {
		svg := Plot("cost & more", "µs", []int{0, 1000, 20_000}, lines)
		d := xml.NewDecoder(bytes.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
		}
		if !bytes.Contains(svg, []byte(">20,000<")) {
			t.Error("no label 20,000")
		}
	}
}

func TestNiceStep(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]float64{0: 1, 0.03: 0.05, 1: 1, 1.1: 2, 3: 5, 7: 10, 430: 500} {
		if got := niceStep(v); got < want*0.999 || got > want*1.001 {
			t.Errorf("%g: %g, want %g", v, got, want)
		}
	}
}
