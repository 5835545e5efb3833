package device_test

import (
	"context"
	"net"
	"testing"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/flash"
)

// TestReportSurvives: what was reported without a connection is reported after a restart or a loss of
// power, once.
func TestReportSurvives(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	for name, cut := range map[string]bool{"restart": false, "power": true} {
		id, _ := c.issue(name, "devices")
		m := flash.NewMemory()
		b := c.boot(m, func(cfg *device.Config, h *device.Handlers, b *board) {
			cfg.Given = id
			cfg.Dial = func(context.Context, device.Identity) (net.Conn, error) { return nil, errNoWiFi }
		})
		b.eventually("a shadow", func() bool { return b.Report([]byte(`{"color":"red","size":1}`), nil) == nil })
		if cut {
			b.eventually("in flash", func() bool {
				names, _ := m.Names()
				for _, n := range names {
					if n == "shadow.0" {
						return true
					}
				}
				return false
			})
			m.CutAt(1, flash.TearNothing)
		} else if err := b.Report([]byte(`{"color":"blue"}`), nil); err != nil {
			t.Fatal(err)
		}
		b.stop()
		m.PowerOn()
		again := c.boot(m, nil)
		want := map[bool]string{true: "red", false: "blue"}[cut]
		again.eventually("the report", func() bool { r := c.reported(name); return r["color"] == want && r["size"] == 1.0 })
		again.eventually("an empty flash", func() bool {
			names, _ := m.Names()
			for _, n := range names {
				if n == "shadow.0" || n == "shadow.1" {
					return false
				}
			}
			return true
		})
		again.stop()
	}
}
