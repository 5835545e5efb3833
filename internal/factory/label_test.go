package factory

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"io"
	"strings"
	"testing"
)

func TestLabel(t *testing.T) {
	t.Parallel()
	l := LabelOf(&Record{Thing: "lamp<1>", MAC: "a0b1c2d3e4f5", Serial: "7", Chip: "esp32c3"})
	b, err := l.PNG()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(b)); err != nil {
		t.Error(err)
	}
	svg, err := l.SVG()
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	text, err := l.Terminal()
	if err != nil || !strings.Contains(text, "S/N 7") {
		t.Errorf("%s %v", text, err)
	}
}
