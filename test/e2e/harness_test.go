// Package e2e tests services over a running server with packets made by hand.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

// instance is a server on free ports.
type instance struct {
	*server.Server
	dir string
}

const (
	adminKey    = "AKIATESTADMIN0000000"
	adminSecret = "a-secret-of-the-test"
)

func start(t testing.TB, dir string) *instance {
	t.Helper()
	cfg := server.Defaults()
	cfg.Data, cfg.Database = dir, storetest.URL(t, dir)
	cfg.MQTT, cfg.HTTPS, cfg.HTTP, cfg.MQTTPlain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.PlainPolicy = "anything"
	cfg.AdminKeyID, cfg.AdminSecret = adminKey, adminSecret
	s, err := server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &instance{s, dir}
}

func newInstance(t testing.TB) *instance {
	t.Helper()
	in := start(t, t.TempDir())
	t.Cleanup(func() { in.Close() })
	in.must(t, "POST", "/policies/anything", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}}"}`)
	return in
}

// call sends a signed request and returns status, exception and body.
func (in *instance) call(t testing.TB, method, path, body string) (status int, exception, answer string) {
	t.Helper()
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", in.Ready.HTTPPort, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	signer := sigv4.Signer{AccessKeyID: adminKey, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iotdata"}
	signer.Sign(req, []byte(body), time.Now())
	return do(t, http.DefaultClient, req)
}

func do(t testing.TB, c *http.Client, req *http.Request) (status int, exception, answer string) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("x-amzn-ErrorType"), string(b)
}

func (in *instance) must(t testing.TB, method, path, body string) string {
	t.Helper()
	status, exception, answer := in.call(t, method, path, body)
	if status != 200 {
		t.Fatalf("%s %s: %d %s %s", method, path, status, exception, answer)
	}
	return answer
}

// client is an MQTT 3.1.1 client over plain TCP.
type client struct {
	net.Conn
	buf  []byte
	have int
}

func (in *instance) connect(t testing.TB, p mqtt.Connect) *client {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", in.Ready.PlainPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	cl := &client{Conn: c, buf: make([]byte, 1<<20)}
	p.Version, p.CleanStart, p.KeepAlive = mqtt.V311, true, 1200
	cl.send(t, p.Append(nil))
	if h, body := cl.read(t); h.Type() != mqtt.CONNACK || body[1] != 0 {
		t.Fatalf("CONNACK %v % x", h, body)
	}
	return cl
}

func (c *client) send(t testing.TB, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// read returns the next packet; its body is valid until the next call.
func (c *client) read(t testing.TB) (mqtt.Header, []byte) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		h, body, size, err := mqtt.Frame(c.buf[:c.have], 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if body != nil {
			body = append([]byte{}, body...)
			c.have = copy(c.buf, c.buf[size:c.have])
			return h, body
		}
		n, err := c.Read(c.buf[c.have:])
		if err != nil {
			t.Fatal(err)
		}
		c.have += n
	}
}

func (c *client) subscribe(t testing.TB, qos byte, filters ...string) {
	t.Helper()
	s := mqtt.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: f, QoS: qos})
	}
	c.send(t, s.Append(nil, mqtt.V311))
	if h, body := c.read(t); h.Type() != mqtt.SUBACK || bytes.IndexByte(body[2:], 0x80) >= 0 {
		t.Fatalf("%v % x", h, body)
	}
}

func (c *client) publish(t testing.TB, name, payload string) {
	t.Helper()
	p := mqtt.Publish{Topic: []byte(name), Payload: []byte(payload)}
	c.send(t, p.Append(nil, mqtt.V311))
}

// message returns the next PUBLISH and acknowledges it.
func (c *client) message(t testing.TB) (name, payload string) {
	t.Helper()
	for {
		h, body := c.read(t)
		if h.Type() != mqtt.PUBLISH {
			continue
		}
		var p mqtt.Publish
		if err := p.Decode(h, body, mqtt.V311); err != nil {
			t.Fatal(err)
		}
		if p.QoS > 0 {
			c.send(t, mqtt.AppendAck(nil, mqtt.PUBACK, p.PacketID, mqtt.Success, mqtt.V311))
		}
		return string(p.Topic), string(p.Payload)
	}
}
