package server_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

// TestWebSocket: MQTT over WebSocket by signature and by client certificate, and by neither.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", own)
	host := fmt.Sprintf("localhost:%d", f.Ready.HTTPSPort)
	signer := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iotdevicegateway"}
	wrong := signer
	wrong.SecretAccessKey = "wrong"
	late := signer.PresignWebSocket(host, time.Minute, time.Now().Add(-time.Hour))
	for _, c := range []struct {
		name, url, id string
		device        *device
		ok            bool
	}{
		{"signature", signer.PresignWebSocket(host, time.Minute, time.Now()), "anyone", nil, true},
		{"certificate", "wss://" + host + "/mqtt", "lamp", d, true},
		{"certificate, another client identifier", "wss://" + host + "/mqtt", "thief", d, false},
		{"wrong secret", wrong.PresignWebSocket(host, time.Minute, time.Now()), "anyone", nil, false},
		{"expired signature", late, "anyone", nil, false},
		{"neither", "wss://" + host + "/mqtt", "anyone", nil, false},
	} {
		box := &inbox{t: t, ch: make(chan client.Message, 1)}
		ctx, cancel := timeout()
		conn, err := client.Dial(ctx, client.Options{WebSocket: c.url, TLS: f.tls(c.device), ClientID: c.id, Version: mqtt.V5, CleanStart: true,
			OnMessage: func(m client.Message) { box.ch <- m }})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			if _, err := conn.Subscribe(ctx, mqtt.Subscription{Filter: "lamp/x", QoS: 1}); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if _, err := conn.Publish(ctx, client.Message{Topic: "lamp/x", Payload: []byte("y"), QoS: 1}); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			box.want("lamp/x", "y")
			conn.Close(ctx)
		}
		cancel()
	}
}
