package factory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"strings"

	"rsc.io/qr"
)

// Label is what a board's sticker says, in words and as a QR code.
type Label struct {
	Thing  string `json:"thing"`
	MAC    string `json:"mac"`
	Serial string `json:"serial,omitempty"`
	Chip   string `json:"chip,omitempty"`
}

// LabelOf returns the label of a board.
func LabelOf(r *Record) Label { return Label{r.Thing, r.MAC, r.Serial, r.Chip} }

func (l Label) code() (*qr.Code, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return qr.Encode(string(text), qr.M)
}

// PNG returns the QR code as an image of 8 pixels a module.
func (l Label) PNG() ([]byte, error) {
	code, err := l.code()
	if err != nil {
		return nil, fmt.Errorf("label of %s: %w", l.Thing, err)
	}
	return code.PNG(), nil
}

// quiet is the white margin around a QR code in modules (ISO/IEC 18004).
const quiet = 4

// SVG returns the label with its words, 62 by 29 millimetres.
func (l Label) SVG() ([]byte, error) {
	code, err := l.code()
	if err != nil {
		return nil, fmt.Errorf("label of %s: %w", l.Thing, err)
	}
	n := code.Size + 2*quiet
	side := 29.0
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="62mm" height="29mm" viewBox="0 0 62 29"><rect width="62" height="29" fill="#fff"/>`)
	fmt.Fprintf(&b, `<path transform="scale(%g)" d="`, side/float64(n))
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&b, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	b.WriteString(`"/>`)
	for i, line := range l.lines() {
		fmt.Fprintf(&b, `<text x="30" y="%g" font-family="monospace" font-size="%g">%s</text>`, 9+float64(i)*5, 2.6, html.EscapeString(line))
	}
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

// Terminal returns the QR code in half blocks, light on dark and dark on light.
func (l Label) Terminal() (string, error) {
	code, err := l.code()
	if err != nil {
		return "", fmt.Errorf("label of %s: %w", l.Thing, err)
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		for x := -quiet; x < code.Size+quiet; x++ {
			switch up, down := code.Black(x, y), code.Black(x, y+1); {
			case up && down:
				b.WriteRune(' ')
			case up:
				b.WriteRune('▄')
			case down:
				b.WriteRune('▀')
			default:
				b.WriteRune('█')
			}
		}
		b.WriteByte('\n')
	}
	return b.String() + strings.Join(l.lines(), "\n") + "\n", nil
}

func (l Label) lines() []string {
	lines := []string{l.Thing, l.MAC}
	if l.Serial != "" {
		lines = append(lines, "S/N "+l.Serial)
	}
	if l.Chip != "" {
		lines = append(lines, l.Chip)
	}
	return lines
}
