package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// others is another node as the router of one sees it: it counts what would go over NATS.
type others struct{ n *int }

func (o others) Deliver(*router.Publication, *router.Target) { *o.n++ }
func (others) Online() bool                                  { return true }
func (others) Durable() bool                                 { return false }

// TestScale simulates what one node knows of the interest of others, and what it sends them: nodes with
// as many devices each, of which each subscribes to its commands, its shadow and its jobs. Telemetry is for
// rules and stays on the node; a command goes to the one node that has the device, and a message that only
// a dashboard wants to its node alone. BERTH_SCALE_DEVICES sets the devices of a node.
func TestScale(t *testing.T) {
	t.Parallel()
	const nodes = 10
	devices := 500
	if n, err := strconv.Atoi(os.Getenv("BERTH_SCALE_DEVICES")); err == nil {
		devices = n
	}
	r, err := router.New(context.Background(), topic.AWS, storetest.Open(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	thing := func(node, i int) string { return fmt.Sprintf("thing-%d-%07d", node, i) }
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, began := heap(), time.Now()
	sent := make([]int, nodes)
	filters, bytes := 0, 0
	for node := 1; node < nodes; node++ { // this node is number 0
		p := others{&sent[node]}
		for i := range devices {
			distinct := make(map[string]bool)
			for _, f := range []string{"cmd/" + thing(node, i) + "/+", "$aws/things/" + thing(node, i) + "/shadow/update/delta", "$aws/things/" + thing(node, i) + "/jobs/notify", "$aws/things/" + thing(node, i) + "/jobs/start-next/accepted"} {
				distinct[announced(f)] = true
			}
			for f := range distinct {
				b, _ := json.Marshal(f)
				filters, bytes = filters+1, bytes+len(b)+1
				r.Subscribe(p, f, router.Subscription{QoS: 2, RetainAsPublished: true})
			}
		}
	}
	r.Subscribe(others{&sent[1]}, "dt/+/alarm", router.Subscription{}) // a dashboard at node 1
	learned := time.Since(began)
	each := float64(heap()-before) / float64(filters)
	if filters != 2*devices*(nodes-1) {
		t.Errorf("%d filters are announced for %d devices", filters, devices*(nodes-1))
	}

	publish := r.NewPublisher()
	began = time.Now()
	published := 0
	for i := range devices {
		for _, c := range []struct {
			topic string
			to    int // the only node that gets it; -1 for none
		}{
			{"dt/" + thing(0, i) + "/state", -1},
			{"dt/" + thing(0, i) + "/alarm", 1},
			{"cmd/" + thing(i%nodes, i) + "/reboot", i % nodes},
			{"$aws/things/" + thing(i%nodes, i) + "/shadow/update/delta", i % nodes},
		} {
			clear(sent)
			publish.Publish(&router.Publication{Topic: c.topic})
			published++
			for node, n := range sent {
				if want := node == c.to && node != 0; (n == 1) != want || n > 1 {
					t.Fatalf("%s went to node %d %d times", c.topic, node, n)
				}
			}
		}
	}
	t.Logf("%d nodes with %d devices each: %d filters of others, %.0f bytes of heap and %.0f bytes of announcement each, learned in %v each; %v a message",
		nodes, devices, filters, each, float64(bytes)/float64(filters), learned/time.Duration(filters), time.Since(began)/time.Duration(published))
}
