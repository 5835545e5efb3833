package server_test

import (
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestPacketsRightAfterConnect: what comes together with CONNECT is handled without waiting for
// more.
func TestPacketsRightAfterConnect(t *testing.T) {
	t.Parallel()
	r := start(t).raw()
	subscribe := mqtt.Subscribe{PacketID: 1, Subscriptions: []mqtt.Subscription{{Filter: "a/b"}}}
	r.send(mqtt.AppendPingreq(subscribe.Append(connectPacket("eager", nil), mqtt.V311)))
	for _, want := range []mqtt.Type{mqtt.CONNACK, mqtt.SUBACK, mqtt.PINGRESP} {
		r.wantType(want)
	}
}
