package client

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// FuzzServer has a server send anything after the connection is accepted: the client must end or
// go on, and be gone after Close.
func FuzzServer(f *testing.F) {
	p := mqtt.Publish{QoS: 2, PacketID: 7, Topic: []byte("a"), Payload: []byte("x")}
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		f.Add(p.Append(nil, v), v == mqtt.V5)
		f.Add(mqtt.AppendAck(p.Append(nil, v), mqtt.PUBREL, 7, mqtt.Success, v), v == mqtt.V5)
		f.Add(mqtt.AppendAck(nil, mqtt.PUBREC, 1, mqtt.Success, v), v == mqtt.V5)
		f.Add((&mqtt.Suback{PacketID: 1, Codes: []mqtt.ReasonCode{0}}).Append(nil, mqtt.SUBACK, v), v == mqtt.V5)
		f.Add((&mqtt.Disconnect{Code: mqtt.ServerBusy}).Append(mqtt.AppendPingresp(nil), v), v == mqtt.V5)
	}
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0xff}, true)
	f.Fuzz(func(t *testing.T, b []byte, v5 bool) {
		o := Options{Version: mqtt.V311, MaxPacket: 1 << 16}
		if v5 {
			o.Version = mqtt.V5
		}
		near, far := net.Pipe()
		o.Dialer = func(context.Context) (net.Conn, error) { return near, nil }
		go func() {
			go io.Copy(io.Discard, far)
			far.Write(new(mqtt.Connack).Append(nil, o.Version))
			far.Write(b)
			far.Close()
		}()
		c, err := Dial(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Publish(ctx, Message{Topic: "t", QoS: 1})
		if c.Close(ctx); ctx.Err() != nil || c.Err() == nil {
			t.Errorf("the client has not ended: %v", c.Err())
		}
	})
}

// FuzzConnack has a server answer CONNECT with anything.
func FuzzConnack(f *testing.F) {
	f.Add(new(mqtt.Connack).Append(nil, mqtt.V5))
	f.Add((&mqtt.Connack{Code: mqtt.NotAuthorized}).Append(nil, mqtt.V5))
	f.Add([]byte{0x20, 2, 0, 5})
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		near, far := net.Pipe()
		go func() {
			go io.Copy(io.Discard, far)
			far.Write(b)
			far.Close()
		}()
		o := Options{Dialer: func(context.Context) (net.Conn, error) { return near, nil }, MaxPacket: 1 << 16}
		c, err := Dial(context.Background(), o)
		if err == nil {
			c.Close(context.Background())
		} else {
			_ = Hint(err) + err.Error()
		}
	})
}
