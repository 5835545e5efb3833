package cluster

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// BenchmarkMessages measures messages of 128 bytes from 8 publishers of one node, up to 64 in flight each, to
// one subscriber of the same or of another node.
func BenchmarkMessages(b *testing.B) {
	for _, to := range []string{"same node", "other node"} {
		for qos := range byte(2) {
			for _, kind := range []string{"clean", "lasting"} {
				b.Run(fmt.Sprintf("%s/QoS %d/%s", to, qos, kind), func(b *testing.B) { benchmarkMessages(b, to, qos, kind == "lasting") })
			}
		}
	}
}

func benchmarkMessages(b *testing.B, to string, qos byte, lasting bool) {
	c := start(b, 2)
	n := c.nodes[0]
	if to == "other node" {
		n = c.nodes[1]
	}
	var got atomic.Int64
	opts := []func(*client.Options){func(o *client.Options) {
		before := o.OnMessage
		o.OnMessage = func(m client.Message) {
			if string(m.Payload) == probe {
				before(m)
				return
			}
			got.Add(1)
		}
	}}
	if lasting {
		opts = append(opts, persistent)
	}
	s := n.connect("s", opts...)
	s.sub(qos, "t/#")
	known(b, c.nodes[0], s, "t/x")
	var publishers []*conn
	for i := range 8 {
		publishers = append(publishers, c.nodes[0].connect(fmt.Sprint("p", i)))
	}
	payload := make([]byte, 128)
	var next atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for i, p := range publishers {
		for range 64 {
			wg.Go(func() {
				for next.Add(1) <= int64(b.N) {
					if _, err := p.Publish(context.Background(), client.Message{Topic: fmt.Sprint("t/", i), Payload: payload, QoS: qos}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for deadline := time.Now().Add(patience); got.Load() < int64(b.N) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	b.StopTimer()
	if n := got.Load(); n < int64(b.N) && (qos > 0 || n == 0) {
		b.Errorf("%d of %d came", n, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkConnect measures connects and disconnects of 32 clients at a time, alternately on two nodes.
func BenchmarkConnect(b *testing.B) {
	c := start(b, 2)
	var next atomic.Int64
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for k := next.Add(1); k <= int64(b.N); k = next.Add(1) {
				ctx, cancel := timeout()
				cl, err := client.Dial(ctx, client.Options{Address: fmt.Sprint("127.0.0.1:", c.nodes[k%2].Ready.PlainPort), ClientID: fmt.Sprint("c", k), Version: mqtt.V5, CleanStart: true})
				if err != nil {
					b.Error(err)
				} else {
					cl.Close(ctx)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "connects/s")
}
