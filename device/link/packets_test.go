package link

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/mqtt"
)

// FuzzPackets: whatever a server sends after CONNACK, the link goes on or ends the connection.
func FuzzPackets(f *testing.F) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		f.Add(byte(v), (&mqtt.Publish{QoS: 1, PacketID: 1, Topic: []byte("a"), Payload: []byte("x")}).Append(nil, v))
		f.Add(byte(v), mqtt.AppendAck(nil, mqtt.PUBACK, 1, mqtt.Success, v))
		f.Add(byte(v), (&mqtt.Suback{PacketID: 2, Codes: []mqtt.ReasonCode{0, 0x87}}).Append(nil, mqtt.SUBACK, v))
		f.Add(byte(v), (&mqtt.Disconnect{Code: mqtt.SessionTakenOver}).Append(mqtt.AppendPingresp(nil), v))
	}
	f.Add(byte(5), mqtt.AppendAck(nil, mqtt.PUBACK, 1, mqtt.QuotaExceeded, mqtt.V5))
	loop := event.NewLoop(nil)
	f.Cleanup(func() { loop.Close(); <-loop.Done() })
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		v := mqtt.V5
		if version == byte(mqtt.V311) {
			v = mqtt.V311
		}
		l, err := New(Config{Loop: loop, ReceiveMessages: 2, Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("none") }})
		if err != nil {
			t.Fatal(err)
		}
		c := &connection{id: 1, version: v, window: 10, up: true, stuck: true, wake: make(chan struct{}, 1), over: make(chan struct{})}
		l.conn = c
		l.Publish(Publication{Topic: "t", QoS: 1}, nil)
		l.Subscribe("a", 1, nil)
		l.Subscribe("b", 1, nil)
		l.fill(nil, c)
		l.ask(nil, c)
		for len(b) > 0 {
			h, body, size, err := mqtt.Frame(b, 1<<16)
			if err != nil || body == nil || l.handle(c, h, body) != nil {
				break
			}
			b = b[size:]
		}
		if n, bytes := l.Queued(); n > 1 || bytes < 0 || c.unacked < 0 {
			t.Errorf("queued %d, %d bytes, %d unacknowledged", n, bytes, c.unacked)
		}
		l.conn = nil
		l.Close(context.Background())
	})
}
