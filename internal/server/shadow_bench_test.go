package server_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// BenchmarkShadowUpdate is 64 devices over MQTT, each with its shadow of about 500 bytes: an update
// is done when the device has accepted, delta and documents, and so is on disk. Clients and server
// share the machine.
func BenchmarkShadowUpdate(b *testing.B) {
	for _, window := range []int{1, 4} {
		b.Run(fmt.Sprint("inflight=", window), func(b *testing.B) {
			f := start(b)
			const devices = 64
			filler := strings.Repeat("x", 80)
			clients := make([]*stream, devices)
			for i := range clients {
				f.shadow("POST", fmt.Sprintf("/things/d%d/shadow", i), fmt.Sprintf(`{"state":{"desired":{"target":-1,"note":%q},"reported":{"a":%q,"b":%q,"c":%q,"d":{"e":1,"f":[1,2,3]}}}}`, filler, filler, filler, filler))
				c := &stream{buf: make([]byte, 64<<10)}
				var err error
				if c.Conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Ready.PlainPort)); err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				clients[i] = c
				p := fmt.Sprintf("$aws/things/d%d/shadow/update/", i)
				subscribe := mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: p + "accepted"}, {Filter: p + "delta"}, {Filter: p + "documents"}}}
				for _, step := range []struct {
					send []byte
					want mqtt.Type
				}{{connectPacket(fmt.Sprint("d", i), nil), mqtt.CONNACK}, {subscribe.Append(nil, mqtt.V311), mqtt.SUBACK}} {
					c.Write(step.send)
					if got, err := c.next(); got != step.want {
						b.Fatalf("got %v, want %v: %v", got, step.want, err)
					}
				}
			}
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for i, c := range clients {
				wg.Go(func() {
					if err := c.update(fmt.Sprintf("$aws/things/d%d/shadow/update", i), window, func() (int64, bool) {
						n := next.Add(1)
						return n, n <= int64(b.N)
					}); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// stream is a connection that only counts what comes in.
type stream struct {
	net.Conn
	buf        []byte
	start, end int
}

// next returns the type of the next packet.
func (c *stream) next() (mqtt.Type, error) {
	for {
		h, body, size, err := mqtt.Frame(c.buf[c.start:c.end], len(c.buf))
		if err != nil {
			return 0, err
		}
		if body != nil {
			c.start += size
			return h.Type(), nil
		}
		c.end = copy(c.buf, c.buf[c.start:c.end])
		c.start = 0
		n, err := c.Read(c.buf[c.end:])
		if err != nil {
			return 0, err
		}
		c.end += n
	}
}

// update sends updates while there are more, each when an earlier one has its three answers.
func (c *stream) update(topic string, window int, more func() (int64, bool)) error {
	var packet []byte
	send := func() bool {
		n, ok := more()
		if ok {
			packet, _ = mqtt.AppendPublish(packet[:0], mqtt.V311, 0, 0, topic,
				fmt.Appendf(nil, `{"state":{"reported":{"target":%d,"d":{"e":%d}}},"clientToken":"t%d"}`, n, n, n), nil)
			c.Write(packet)
		}
		return ok
	}
	open := 0
	for open < window && send() {
		open++
	}
	for got := 0; open > 0; {
		t, err := c.next()
		if err != nil {
			return err
		}
		if t != mqtt.PUBLISH {
			continue
		}
		if got++; got%3 == 0 && !send() {
			open--
		}
	}
	return nil
}
