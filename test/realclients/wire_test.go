package realclients

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/mqtt"
)

// wireLine is what one connection of a client looked like, by feature.
type wireLine map[string]string

// wireConn reads packets of one connection.
type wireConn struct {
	net.Conn
	buf []byte
}

// next returns the next packet, or type 0 if none comes in time or the connection ends.
func (c *wireConn) next(within time.Duration) (mqtt.Header, []byte) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	for {
		h, body, size, err := mqtt.Frame(c.buf, 1<<20)
		if err != nil {
			return 0, nil
		}
		if body != nil {
			body = append([]byte{}, body...)
			c.buf = c.buf[size:]
			return h, body
		}
		chunk := make([]byte, 4096)
		n, err := c.Read(chunk)
		if err != nil {
			return 0, nil
		}
		c.buf = append(c.buf, chunk[:n]...)
	}
}

// accept takes a CONNECT and answers it.
func (c *wireConn) accept(present bool, change func(*mqtt.Connack)) (mqtt.Connect, bool) {
	var connect mqtt.Connect
	h, body := c.next(10 * time.Second)
	if h.Type() != mqtt.CONNECT || connect.Decode(body) != nil {
		return connect, false
	}
	a := mqtt.Connack{SessionPresent: present}
	if change != nil {
		change(&a)
	}
	_, err := c.Write(a.Append(nil, mqtt.V5))
	return connect, err == nil
}

// record is a server that lets one client live through three connections.
func record(t *testing.T, l net.Listener) wireLine {
	t.Helper()
	line := wireLine{}
	accept := func() *wireConn {
		_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
		conn, err := l.Accept()
		if err != nil {
			t.Fatalf("the client does not connect: %v\n%v", err, line)
		}
		return &wireConn{Conn: conn}
	}
	limits := func(a *mqtt.Connack) {
		a.Properties.ReceiveMaximum, a.Properties.ServerKeepAlive = 1, 2
		a.Properties.Mark(mqtt.PropReceiveMaximum, mqtt.PropServerKeepAlive)
	}
	grant := func(c *wireConn, body []byte) {
		var s mqtt.Subscribe
		if err := s.Decode(body, mqtt.V5); err != nil {
			t.Fatal(err)
		}
		answer := mqtt.Suback{PacketID: s.PacketID, Codes: make([]mqtt.ReasonCode, len(s.Subscriptions))}
		for i := range answer.Codes {
			answer.Codes[i] = mqtt.ReasonCode(s.Subscriptions[i].QoS)
		}
		c.Write(answer.Append(nil, mqtt.SUBACK, mqtt.V5))
	}
	ack := func(c *wireConn, id uint16) { c.Write(mqtt.AppendAck(nil, mqtt.PUBACK, id, mqtt.Success, mqtt.V5)) }
	publication := func(h mqtt.Header, body []byte) mqtt.Publish {
		var p mqtt.Publish
		if h.Type() != mqtt.PUBLISH || p.Decode(h, body, mqtt.V5) != nil {
			t.Fatalf("%v instead of PUBLISH\n%v", h.Type(), line)
		}
		return p
	}

	// The first connection ends with a message that is not acknowledged.
	c := accept()
	connect, ok := c.accept(false, limits)
	if !ok {
		t.Fatal("no CONNECT")
	}
	line["protocol version"] = fmt.Sprint(connect.Version)
	line["keep-alive in CONNECT, s"] = fmt.Sprint(connect.KeepAlive)
	line["session expiry in CONNECT, s"] = fmt.Sprint(connect.Properties.SessionExpiry)
	h, body := c.next(5 * time.Second)
	if h.Type() != mqtt.SUBSCRIBE {
		t.Fatalf("%v instead of SUBSCRIBE", h.Type())
	}
	grant(c, body)
	h, body = c.next(5 * time.Second)
	first := publication(h, body)
	h, _ = c.next(500 * time.Millisecond)
	line["second message before the first is acknowledged, Receive Maximum 1"] = yes(h.Type() == mqtt.PUBLISH)
	c.Close()
	lost := time.Now()

	// The second finds its session.
	c = accept()
	back := time.Since(lost)
	connect, _ = c.accept(true, limits)
	line["back within 5 s of a lost connection"] = yes(back < 5*time.Second)
	line["Clean Start on the second connection"] = yes(connect.CleanStart)
	h, body = c.next(5 * time.Second)
	line["subscribes again though the session is there"] = yes(h.Type() == mqtt.SUBSCRIBE)
	if h.Type() == mqtt.SUBSCRIBE {
		grant(c, body)
		h, body = c.next(5 * time.Second)
	}
	again := publication(h, body)
	line["sends the unacknowledged message again, with DUP"] = yes(again.Dup && string(again.Payload) == "1")
	line["with the same packet identifier"] = yes(again.PacketID == first.PacketID)
	ack(c, again.PacketID)
	h, body = c.next(5 * time.Second)
	second := publication(h, body)
	line["then the next one, in order"] = yes(string(second.Payload) == "2" && !second.Dup)
	ack(c, second.PacketID)
	began := time.Now()
	toClient := mqtt.Publish{Topic: []byte("wire/in"), Payload: []byte("hello"), QoS: 1, PacketID: 7}
	c.Write(toClient.Append(nil, mqtt.V5))
	acked, pinged := false, time.Duration(0)
	for pinged == 0 {
		h, body = c.next(6 * time.Second)
		var a mqtt.Ack
		switch {
		case h.Type() == mqtt.PUBACK && a.Decode(mqtt.PUBACK, body, mqtt.V5) == nil:
			acked = a.PacketID == 7
		case h.Type() == mqtt.PINGREQ:
			pinged = time.Since(began)
			c.Write(mqtt.AppendPingresp(nil))
		case h == 0:
			pinged = time.Hour
		}
	}
	line["acknowledges what it receives"] = yes(acked)
	line["pings within the server's keep-alive of 2 s"] = yes(pinged < 2500*time.Millisecond)
	c.Close()

	// The third finds none, and is told to stop.
	c = accept()
	c.accept(false, limits)
	h, body = c.next(2 * time.Second)
	line["subscribes again when the session is gone"] = yes(h.Type() == mqtt.SUBSCRIBE)
	if h.Type() == mqtt.SUBSCRIBE {
		grant(c, body)
	}
	stop := mqtt.Publish{Topic: []byte("wire/in"), Payload: []byte("stop"), QoS: 1, PacketID: 8}
	c.Write(stop.Append(nil, mqtt.V5))
	line["says DISCONNECT with reason 0 when it stops"] = "no"
	for {
		h, body = c.next(5 * time.Second)
		if h == 0 {
			break
		}
		var d mqtt.Disconnect
		if h.Type() == mqtt.DISCONNECT && d.Decode(mqtt.DISCONNECT, body, mqtt.V5) == nil {
			line["says DISCONNECT with reason 0 when it stops"] = yes(d.Code == 0)
			break
		}
	}
	c.Close()
	return line
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// wireFeatures is the order of the table; equal are those in which the two have to agree.
var wireFeatures = []struct {
	name  string
	equal bool
}{
	{"protocol version", true},
	{"keep-alive in CONNECT, s", true},
	{"session expiry in CONNECT, s", true},
	{"second message before the first is acknowledged, Receive Maximum 1", true},
	{"back within 5 s of a lost connection", true},
	{"Clean Start on the second connection", true},
	{"sends the unacknowledged message again, with DUP", true},
	{"with the same packet identifier", true},
	{"then the next one, in order", true},
	{"subscribes again though the session is there", true},
	{"acknowledges what it receives", true},
	{"pings within the server's keep-alive of 2 s", true},
	{"subscribes again when the session is gone", false},
	{"says DISCONNECT with reason 0 when it stops", false},
}

// TestWire compares what the device library and the AWS IoT Device SDK v2 send, packet by packet. The
// table is in docs/reference/device.md.
func TestWire(t *testing.T) {
	t.Parallel()
	program(t, "node", "apt-get install nodejs npm")
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	theirs := listen()
	done := make(chan struct{})
	go func() {
		defer close(done)
		deviceSDK(t, "wire.mjs", sdkOptions{Host: "127.0.0.1", Port: theirs.Addr().(*net.TCPAddr).Port}, nil)
	}()
	sdk := record(t, theirs)
	<-done

	ours := listen()
	loop := event.NewLoop(nil)
	l, err := link.New(link.Config{Loop: loop, ClientID: "wire", Version: mqtt.V5, Backoff: link.Backoff{},
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", ours.Addr().String())
		}})
	if err != nil {
		t.Fatal(err)
	}
	l.OnMessage(func(m link.Message) {
		if string(m.Payload) == "stop" {
			go l.Close(context.Background())
		}
	})
	if err := l.Subscribe("wire/in", 1, nil); err != nil {
		t.Fatal(err)
	}
	l.Start()
	for _, payload := range []string{"1", "2"} {
		if err := l.Publish(link.Publication{Topic: "wire/out", Payload: []byte(payload), QoS: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	berth := record(t, ours)
	l.Close(context.Background())
	loop.Close()

	var table strings.Builder
	for _, f := range wireFeatures {
		fmt.Fprintf(&table, "| %s | %s | %s |\n", f.name, sdk[f.name], berth[f.name])
		if f.equal && sdk[f.name] != berth[f.name] {
			t.Errorf("%s: SDK %s, device library %s", f.name, sdk[f.name], berth[f.name])
		}
	}
	t.Log("\n" + table.String())
	page, err := os.ReadFile("../../docs/reference/device.md")
	if err != nil || !strings.Contains(string(page), table.String()) {
		t.Errorf("docs/reference/device.md has another table, %v; it should have:\n%s", err, table.String())
	}
}
