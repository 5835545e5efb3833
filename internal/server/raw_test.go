package server_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// raw is a connection to the plain listener on which a test may send anything.
type raw struct {
	t testing.TB
	net.Conn
	buf []byte
}

func (f *fixture) raw() *raw {
	f.t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Ready.PlainPort)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &raw{t: f.t, Conn: c}
}

// rawTLS is raw over TLS with a client certificate.
func (f *fixture) rawTLS(d *device, version uint16) *raw {
	f.t.Helper()
	cfg := f.tls(d)
	cfg.MaxVersion = version
	c, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Ready.MQTTPort)), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &raw{t: f.t, Conn: c}
}

// TestRecordsOfOneByte sends packets cut into TLS records of every size up to seven bytes: each
// packet is answered although nothing follows it.
func TestRecordsOfOneByte(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("", allowAll)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for size := 1; size <= 7; size++ {
			r := f.rawTLS(d, version)
			in := func(packet []byte) {
				for record := range slices.Chunk(packet, size) {
					r.send(record)
				}
			}
			in(connectPacket(fmt.Sprintf("c%d", size), nil))
			r.wantType(mqtt.CONNACK)
			in((&mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a/b", QoS: 1}}}).Append(nil, mqtt.V311))
			r.wantType(mqtt.SUBACK)
			packet, _ := mqtt.AppendPublish(nil, mqtt.V311, 1<<1, 7, "a/b", []byte("x"), nil)
			in(packet)
			for range 2 {
				if h, _, err := r.packet(); err != nil || h.Type() != mqtt.PUBACK && h.Type() != mqtt.PUBLISH {
					t.Fatalf("got %v %v", h.Type(), err)
				}
			}
			in([]byte{byte(mqtt.PINGREQ) << 4, 0})
			r.wantType(mqtt.PINGRESP)
		}
	}
}

func connectPacket(id string, change func(*mqtt.Connect)) []byte {
	c := mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: id, KeepAlive: 60}
	if change != nil {
		change(&c)
	}
	return c.Append(nil)
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// packet reads one packet; io.EOF when the server closed.
func (r *raw) packet() (mqtt.Header, []byte, error) {
	for {
		h, body, size, err := mqtt.Frame(r.buf, 1<<20)
		if err != nil {
			return 0, nil, err
		}
		if body != nil {
			r.buf = r.buf[size:]
			return h, body, nil
		}
		b := make([]byte, 4096)
		n, err := r.Read(b)
		if err != nil {
			return 0, nil, err
		}
		r.buf = append(r.buf, b[:n]...)
	}
}

func (r *raw) wantType(t mqtt.Type) (mqtt.Header, []byte) {
	r.t.Helper()
	h, body, err := r.packet()
	if err != nil || h.Type() != t {
		r.t.Fatalf("got %v, %v, want %v", h.Type(), err, t)
	}
	return h, body
}

func (r *raw) wantDisconnect() mqtt.ReasonCode {
	r.t.Helper()
	h, body := r.wantType(mqtt.DISCONNECT)
	var d mqtt.Disconnect
	if err := d.Decode(h.Type(), body, mqtt.V5); err != nil {
		r.t.Fatal(err)
	}
	return d.Code
}

// wantClosed reads until the server closes.
func (r *raw) wantClosed() {
	r.t.Helper()
	for {
		_, _, err := r.packet()
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			r.t.Fatal("the connection stayed open")
		default: // io.EOF, or a reset
			_ = io.EOF
			return
		}
	}
}
