package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

func TestMain(m *testing.M) {
	if os.Getenv(asNode) != "" {
		runNode()
	}
	status := m.Run()
	databases.Stop()
	os.Exit(status)
}

// known waits until a node sends what another publishes to a topic to a subscriber.
func known(t testing.TB, from *node, to *conn, topic string) {
	t.Helper()
	p := from.connect("probe-" + to.ClientID())
	defer p.bye()
	for deadline := time.Now().Add(patience); ; {
		p.pub(0, topic, probe)
		select {
		case <-to.probes:
			return
		case <-time.After(50 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatalf("a message of %s does not reach %s", from.cfg.Node, to.ClientID())
			}
		}
	}
}

// Messages of both QoS reach subscribers of another node, whose sessions last or end with the connection.
func TestMessagesReachOtherNodes(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	clean := c.nodes[1].connect("clean")
	clean.sub(1, "a/+")
	lasting := c.nodes[1].connect("lasting", persistent)
	lasting.sub(1, "a/#")
	known(t, c.nodes[0], clean, "a/x")
	known(t, c.nodes[0], lasting, "a/x")
	p := c.nodes[0].connect("publisher")
	for i := range 20 {
		p.pub(byte(i%2), "a/b", fmt.Sprint(i))
	}
	seen := func(c *conn) {
		t.Helper()
		got := make(map[string]bool)
		last := [2]int{-1, -1}
		for len(got) < 20 {
			select {
			case m := <-c.messages:
				var n int
				fmt.Sscan(string(m.Payload), &n)
				if m.QoS != byte(n%2) || n <= last[n%2] {
					t.Fatalf("%s got %s with QoS %d after %d", c.ClientID(), m.Payload, m.QoS, last[n%2])
				}
				last[n%2] = n
				got[string(m.Payload)] = true
			case <-time.After(patience):
				t.Fatalf("%s got %d of 20", c.ClientID(), len(got))
			}
		}
	}
	seen(clean)
	seen(lasting)
}

// A client that connects to another node takes its session along; the old connection ends.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	watch := c.nodes[2].connect("watch")
	watch.sub(1, "wills", "$aws/events/presence/#")
	known(t, c.nodes[0], watch, "wills")
	will := func(o *client.Options) {
		persistent(o)
		o.Will = &mqtt.Will{Topic: "wills", Payload: []byte("from " + o.Address), QoS: 1}
	}
	first := c.nodes[0].connect("x", will)
	first.sub(1, "q/#")
	p := c.nodes[2].connect("p")
	known(t, c.nodes[2], first, "q/1")
	second := c.nodes[1].connect("x", will)
	if code := first.ended(); code != mqtt.SessionTakenOver {
		t.Errorf("the old connection ended with %v", code)
	}
	if !second.Connack().SessionPresent {
		t.Error("the session was not resumed")
	}
	p.pub(1, "q/1", "one")
	second.want("q/1", "one")
	ctx, cancel := timeout()
	defer cancel()
	second.Close(ctx)
	for i := range 300 {
		p.pub(1, "q/1", fmt.Sprint(i))
	}
	third := c.nodes[0].connect("x", will)
	for i := range 300 {
		third.want("q/1", fmt.Sprint(i))
	}
	var wills, left, came int
	for deadline := time.After(2 * time.Second); ; {
		select {
		case m := <-watch.messages:
			switch {
			case m.Topic == "wills":
				wills++
			case m.Topic == "$aws/events/presence/disconnected/x":
				left++
			case m.Topic == "$aws/events/presence/connected/x":
				came++
			}
			continue
		case <-deadline:
		}
		break
	}
	if wills != 1 || left != 2 || came != 3 {
		t.Errorf("%d wills, %d disconnects and %d connects, want 1, 2 and 3", wills, left, came)
	}
}

// Retained messages are those of all nodes.
func TestRetained(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	p := c.nodes[0].connect("p")
	p.pub(1, "r/a", "kept", retained)
	eventually(t, "the other node has the message", func() bool {
		s := c.nodes[1].connect("s")
		defer s.bye()
		s.sub(1, "r/#")
		select {
		case m := <-s.messages:
			return m.Retain && string(m.Payload) == "kept"
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	q := c.nodes[1].connect("q")
	q.pub(1, "r/a", "", retained)
	eventually(t, "the other node has it no more", func() bool {
		s := c.nodes[0].connect("s")
		defer s.bye()
		s.sub(1, "r/#")
		select {
		case <-s.messages:
			return false
		case <-time.After(20 * time.Millisecond):
			return true
		}
	})
}

// One member of a group in the whole cluster gets each message.
func TestSharedSubscription(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	var members []*conn
	for i, n := range c.nodes {
		m := n.connect(fmt.Sprint("clean", i))
		l := n.connect(fmt.Sprint("lasting", i), persistent)
		m.sub(1, "$share/g/s/#")
		l.sub(1, "$share/g/s/#")
		members = append(members, m, l)
	}
	time.Sleep(500 * time.Millisecond) // until all nodes know of all members
	p := c.nodes[0].connect("p")
	for i := range 200 {
		p.pub(byte(i%2), "s/t", fmt.Sprint(i))
	}
	got := make(map[string]int)
	took := make(map[string]int)
	for deadline := time.Now().Add(patience); len(got) < 200 && time.Now().Before(deadline); {
		for _, m := range members {
			for len(m.messages) > 0 {
				got[string((<-m.messages).Payload)]++
				took[m.ClientID()]++
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	for _, m := range members {
		for len(m.messages) > 0 {
			got[string((<-m.messages).Payload)]++
		}
	}
	if len(got) != 200 {
		t.Errorf("%d of 200 messages came", len(got))
	}
	for payload, n := range got {
		if n != 1 {
			t.Errorf("message %s came %d times", payload, n)
		}
	}
	if len(took) != len(members) {
		t.Errorf("who got any: %v", took)
	}
}

// A will with a delay is published by whoever leads, unless the client comes back in time, to any node.
func TestDelayedWill(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	watch := c.nodes[0].connect("watch")
	watch.sub(1, "wills/#")
	known(t, c.nodes[1], watch, "wills/x")
	delayed := func(name string, seconds uint32) func(*client.Options) {
		return func(o *client.Options) {
			persistent(o)
			o.Will = &mqtt.Will{Topic: "wills/" + name, Payload: []byte(name), QoS: 1}
			o.Will.Properties.WillDelay = seconds
			o.Will.Properties.Mark(mqtt.PropWillDelay)
		}
	}
	var lines []net.Conn
	torn := func(o *client.Options) {
		address := o.Address
		o.Dialer = func(ctx context.Context) (net.Conn, error) {
			line, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			lines = append(lines, line)
			return line, err
		}
	}
	c.nodes[1].connect("late", delayed("late", 1), torn)
	c.nodes[1].connect("back", delayed("back", 3), torn)
	for _, line := range lines {
		line.Close()
	}
	time.Sleep(500 * time.Millisecond)
	back := c.nodes[0].connect("back", delayed("back", 3))
	watch.want("wills/late", "late")
	select {
	case m := <-watch.messages:
		t.Errorf("got %s", m.Payload)
	case <-time.After(4 * time.Second):
	}
	back.bye()
}

// DeleteConnection reaches clients of other nodes, and sessions that no node has.
func TestDeleteConnection(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	x := c.nodes[1].connect("x", persistent)
	x.sub(1, "q")
	c.nodes[0].api("DELETE", "/connections/x", nil, nil)
	if code := x.ended(); code != mqtt.AdministrativeAction {
		t.Errorf("ended with %v", code)
	}
	c.nodes[0].api("DELETE", "/connections/x?cleanSession=true", nil, nil)
	if again := c.nodes[1].connect("x", persistent); again.Connack().SessionPresent {
		t.Error("the session is still there")
	}
}

// Without NATS everything that lasts still works, a second or two later.
func TestWithoutNATS(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	c.nodes[0].api("POST", "/policies/devices", map[string]string{"policyDocument": allowAll}, nil)
	id, _, connect := c.nodes[0].device("devices")
	c.stopNATS()
	d := c.nodes[1].connect("d", connect(c.nodes[1]))
	x := c.nodes[0].connect("x", persistent)
	x.sub(1, "q/#")
	p := c.nodes[1].connect("p")
	for i := range 20 {
		p.pub(1, "q/a", fmt.Sprint(i))
	}
	for i := range 20 {
		x.want("q/a", fmt.Sprint(i))
	}
	y := c.nodes[1].connect("x", persistent)
	x.ended()
	if !y.Connack().SessionPresent {
		t.Error("the session was not taken along")
	}
	c.nodes[0].connect("p0").pub(1, "q/b", "late")
	y.want("q/b", "late")
	c.nodes[0].api("PUT", "/certificates/"+id+"?newStatus=REVOKED", nil, nil)
	d.ended()
}

// Nodes are stopped and started again one after the other; their clients are sent elsewhere and miss nothing.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	c := start(t, 2)
	x := c.nodes[1].connect("x", persistent)
	x.sub(1, "q")
	n := 0
	for i := range 4 {
		from, to := c.nodes[(i+1)%2], c.nodes[i%2]
		p := from.connect("p")
		for range 10 {
			p.pub(1, "q", fmt.Sprint(n))
			x.want("q", fmt.Sprint(n))
			n++
		}
		from.stop()
		if code := x.ended(); code != mqtt.UseAnotherServer {
			t.Errorf("ended with %v", code)
		}
		p = to.connect("p")
		p.pub(1, "q", fmt.Sprint(n))
		x = to.connect("x", persistent)
		if !x.Connack().SessionPresent {
			t.Fatal("the session was lost")
		}
		x.want("q", fmt.Sprint(n))
		n++
		from.start()
	}
}
