package simulate

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// colours tell two schemes apart in light and dark, also for people who do not see red and green.
var colours = map[string]string{FullJitter: "#2563eb", Tutorial: "#ea580c"}

// Plot draws attempts to connect by the second after the first storm of each report, as SVG.
func Plot(w io.Writer, reports []*Report) error {
	const width, height, left, bottom, top = 900, 360, 60, 50, 40
	peak, seconds := 1, 10
	for _, r := range reports {
		if len(r.Storms) > 0 {
			peak, seconds = max(peak, r.Storms[0].Peak()), max(seconds, len(r.Storms[0].Attempts))
		}
	}
	step := nice(float64(peak) / 5)
	ceiling := math.Ceil(float64(peak)/step) * step
	x := func(s float64) float64 { return left + s/float64(seconds)*(width-left-20) }
	y := func(v float64) float64 { return top + (1-v/ceiling)*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<style>text{fill:#374151}.grid{stroke:#9ca3af;stroke-opacity:.35}@media(prefers-color-scheme:dark){text{fill:#d1d5db}}</style>`+"\n")
	fmt.Fprintf(&b, `<text x="%d" y="18" font-size="14">Attempts to connect in each second after the server is back</text>`+"\n", left)
	for v := 0.0; v <= ceiling; v += step {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n", left, width-20, y(v), y(v), left-8, y(v)+4, v)
	}
	for s, every := 0.0, nice(float64(seconds)/8); s <= float64(seconds); s += every {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f s</text>`+"\n", x(s), height-bottom+18, s)
	}
	for i, r := range reports {
		if len(r.Storms) == 0 {
			continue
		}
		storm := r.Storms[0]
		fmt.Fprintf(&b, `<polyline fill="none" stroke-width="1.5" stroke="%s" points="`, colours[r.Scheme])
		for s, n := range storm.Attempts {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(float64(s)), y(float64(n)))
		}
		fmt.Fprintf(&b, `"/>`+"\n")
		fmt.Fprintf(&b, `<text x="%d" y="%d"><tspan style="fill:%s" font-weight="bold">%s</tspan>: %d devices, peak %d in a second, 99 %% back after %.0f s</text>`+"\n",
			left+300, top+4+18*i, colours[r.Scheme], r.Scheme, r.Devices, storm.Peak(), storm.Back99)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// nice is the next of 1, 2, 5, 10, 20, …
func nice(v float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if step*m >= v {
				return step * m
			}
		}
	}
}
