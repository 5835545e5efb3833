package server_test

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// BenchmarkRuleTable is 64 devices over MQTT whose messages a rule writes into a table: a message of QoS
// 1 is done when it is acknowledged, and so is a row on disk. Clients and server share the machine.
func BenchmarkRuleTable(b *testing.B) {
	for _, window := range []int{1, 20, 100} {
		b.Run(fmt.Sprint("inflight=", window), func(b *testing.B) {
			f := start(b)
			f.rule("store", "SELECT temperature, humidity, battery.mv AS mv, topic(2) AS room FROM 'dt/+/raw' WHERE temperature < 100", object{"table": object{"table": "readings"}})
			const devices = 64
			clients := make([]*stream, devices)
			for i := range clients {
				c := &stream{buf: make([]byte, 64<<10)}
				var err error
				if c.Conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Ready.PlainPort)); err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				clients[i] = c
				c.Write(connectPacket(fmt.Sprint("d", i), nil))
				if got, err := c.next(); got != mqtt.CONNACK {
					b.Fatalf("got %v: %v", got, err)
				}
			}
			payload := []byte(`{"temperature":21.37,"humidity":46.5,"battery":{"mv":3712,"pct":81},"rssi":-67,"firmware":"1.4.2"}`)
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for i, c := range clients {
				wg.Go(func() {
					p := mqtt.Publish{QoS: 1, Topic: fmt.Appendf(nil, "dt/d%d/raw", i), Payload: payload}
					flying, last := 0, false
					for {
						var out []byte
						for flying < window && !last {
							if last = next.Add(1) > int64(b.N); !last {
								p.PacketID = p.PacketID%60000 + 1
								out = p.Append(out, mqtt.V311)
								flying++
							}
						}
						if len(out) > 0 {
							if _, err := c.Write(out); err != nil {
								b.Error(err)
								return
							}
						}
						if flying == 0 {
							return
						}
						if got, err := c.next(); got != mqtt.PUBACK {
							b.Errorf("got %v: %v", got, err)
							return
						}
						flying--
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			if v := f.ruleStats("store"); v.Delivered != uint64(b.N) || v.Waiting != 0 {
				b.Errorf("%+v", v)
			}
		})
	}
}
