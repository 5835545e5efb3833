package device_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/awsiot"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux/websocket"
)

// signed makes a device without certificate that signs with the administrator's key.
func (c *cloud) signed(clock *link.Clock, keys func(context.Context) (awsiot.Credentials, error)) func(*device.Config, *device.Handlers, *board) {
	return func(cfg *device.Config, h *device.Handlers, b *board) {
		tr := &websocket.Transport{Address: fmt.Sprintf("127.0.0.1:%d", c.Ready.HTTPSPort), Name: "localhost", Roots: c.transport().Roots, Clock: clock, Credentials: keys}
		cfg.Dial, cfg.Explain, cfg.Thing, cfg.Link.Clock = tr.Dial, nil, "lamp", clock
	}
}

var administrator = websocket.Static(awsiot.Credentials{AccessKeyID: adminID, SecretAccessKey: adminSecret})

// TestWebSocket: without a certificate in flash, over a signed WebSocket, everything works as it does
// with one, and every connection is signed anew.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	c.api("POST", "/things/lamp", map[string]string{}, nil)
	b := c.boot(flash.NewMemory(), c.signed(nil, administrator))
	b.eventually("connected", b.Connected)
	if err := b.Report([]byte(`{"color":"red"}`), nil); err != nil {
		t.Error(err)
	}
	b.eventually("the report", func() bool { return c.reported("lamp")["color"] == "red" })
	if b.Thing() != "lamp" {
		t.Errorf("thing %q", b.Thing())
	}
	c.Close()
	b.eventually("disconnected", func() bool { return b.noted("event disconnected") > 0 })
	// The HTTPS port is another one after a restart: the refusal has to be no failure for ever.
	bad := c.boot(flash.NewMemory(), c.signed(nil, administrator))
	bad.eventually("unreachable", func() bool { return bad.noted("the server cannot be reached") > 0 })
}

// TestWebSocketClock: a signature by a wrong clock is told as such, and the time source is the remedy.
func TestWebSocketClock(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	c.api("POST", "/things/lamp", map[string]string{}, nil)
	began := time.Now()
	late := link.NewClock(func() time.Time { return time.Now().Add(-3 * time.Hour) }, began.Add(-240*time.Hour))
	b := c.boot(flash.NewMemory(), func(cfg *device.Config, h *device.Handlers, b *board) {
		c.signed(late, administrator)(cfg, h, b)
		cfg.Link.Time = now{}
	})
	b.eventually("connected", b.Connected)
	if b.noted("the device's clock reads") == 0 && b.noted("not yet valid") == 0 {
		t.Errorf("%v", b.log)
	}
}

type now struct{}

func (now) Time(context.Context) (time.Time, error) { return time.Now(), nil }

// TestRoleAlias: credentials come from the credentials provider, which the device asks with its
// certificate.
func TestRoleAlias(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	id, _ := c.issue("lamp", "devices")
	pair, err := tls.X509KeyPair(id.Certificate, id.Key)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.transport().Roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}}}
	defer client.CloseIdleConnections()
	ask := websocket.RoleAlias(client, fmt.Sprintf("127.0.0.1:%d", c.Ready.HTTPSPort), "devices", "lamp")
	var f *link.Failure
	if _, err := ask(t.Context()); !errors.As(err, &f) {
		t.Errorf("no alias: %v", err)
	}
	c.api("POST", "/role-aliases/devices", map[string]string{"roleArn": "arn:aws:iam::000000000000:role/devices"}, nil)
	got, err := ask(t.Context())
	if err != nil || got.SessionToken == "" || time.Until(got.Expires) < 10*time.Minute {
		t.Errorf("%v, %v", got.Expires, err)
	}
}
