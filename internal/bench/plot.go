package bench

import (
	"fmt"
	"math"
	"strings"
)

// Series is one line of a plot.
type Series struct {
	Name string
	Y    []float64
}

// Plot draws lines over values of x, evenly spaced, as an SVG picture of 640 by 300. The y axis begins
// at 0.
func Plot(title, unit string, x []int, lines []Series) []byte {
	const left, right, top, bottom = 60.0, 620.0, 40.0, 250.0
	highest := 0.0
	for _, l := range lines {
		for _, y := range l.Y {
			highest = math.Max(highest, y)
		}
	}
	step := niceStep(highest / 4)
	ceiling := math.Max(step, math.Ceil(highest/step)*step)
	atX := func(i int) float64 { return left + (right-left)*float64(i)/math.Max(1, float64(len(x)-1)) }
	atY := func(y float64) float64 { return bottom - (bottom-top)*y/ceiling }
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" width="640" height="300" viewBox="0 0 640 300" font-family="sans-serif" font-size="12">` + "\n")
	b.WriteString(`<rect width="640" height="300" fill="#fff"/>` + "\n")
	fmt.Fprintf(&b, `<text x="%g" y="22" font-size="14">%s</text>`+"\n", left, escape(title+", "+unit))
	for y := 0.0; y <= ceiling+step/2; y += step {
		fmt.Fprintf(&b, `<path d="M%g %.1fH%g" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%.4g</text>`+"\n", left, atY(y), right, left-6, atY(y)+4, y)
	}
	for i, n := range x {
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="middle">%s</text>`+"\n", atX(i), bottom+18, thousands(n))
	}
	colours := []string{"#1f6feb", "#d1242f", "#1a7f37", "#8250df"}
	for i, l := range lines {
		colour := colours[i%len(colours)]
		path := "M"
		for k, y := range l.Y {
			if k > 0 {
				path += "L"
			}
			path += fmt.Sprintf("%.1f %.1f", atX(k), atY(y))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path, colour)
		fmt.Fprintf(&b, `<text x="%g" y="288" fill="%s">%s</text>`+"\n", left+140*float64(i), colour, escape(l.Name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// niceStep is the next of 1, 2 or 5 times a power of ten.
func niceStep(v float64) float64 {
	if !(v > 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power {
			return m * power
		}
	}
	return 10 * power
}

// thousands writes 20000 as 20,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
