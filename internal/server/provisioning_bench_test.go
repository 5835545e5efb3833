package server_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// BenchmarkClaim provisions devices, 16 at once over TLS: a certificate, for the device's own key or
// with one that the server makes, and its registration with thing, policy and attachments.
func BenchmarkClaim(b *testing.B) {
	for _, own := range []bool{true, false} {
		b.Run(map[bool]string{true: "key=device", false: "key=server"}[own], func(b *testing.B) {
			f := start(b)
			f.template("fleet", "FLEET_PROVISIONING", fleetBody, "")
			claim := f.newDevice("", claimDocument)
			_, csr := newRequest(b, "device")
			var next atomic.Int64
			var devices []*exchange
			for i := range 16 {
				c := f.connect(claim, fmt.Sprint("station-", i), mqtt.V311)
				c.sub(1, certificatesTopic+"create/json/+", certificatesTopic+"create-from-csr/json/+", provisionTopic+"json/+")
				devices = append(devices, &exchange{c, "json"})
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, e := range devices {
				wg.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						topic, in := certificatesTopic+"create/", any(nil)
						if own {
							topic, in = certificatesTopic+"create-from-csr/", map[string]string{"certificateSigningRequest": csr}
						}
						_, made := e.ask(topic, in)
						if outcome, out := e.ask(provisionTopic, map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"SerialNumber": fmt.Sprint(n)}}); outcome != "accepted" {
							b.Errorf("rejected: %v", out)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "devices/s")
		})
	}
}
