package server_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// event reads the next message as a lifecycle event on a topic.
func (c *conn) event(topic string) map[string]any {
	c.t.Helper()
	m := c.next()
	if m.Topic != topic {
		c.t.Fatalf("event %s on %s, want %s", m.Payload, m.Topic, topic)
	}
	var ev map[string]any
	if err := json.Unmarshal(m.Payload, &ev); err != nil {
		c.t.Fatal(err)
	}
	return ev
}

func TestLifecycleEvents(t *testing.T) {
	t.Parallel()
	f := start(t)
	w := f.connect(nil, "w+", 5) // no events of its own
	w.sub(1, "$aws/events/presence/+/+", "$aws/events/subscriptions/+/+")
	d := f.newDevice("", allowAll)
	f.api("POST", "/things/lamp", map[string]string{}, nil)
	f.api("PUT", "/things/lamp/principals?thingPrincipalType=EXCLUSIVE_THING", http.Header{"X-Amzn-Principal": {d.arn}}, nil)

	c := f.connect(d, "c1", 5)
	on := w.event("$aws/events/presence/connected/c1")
	if on["clientId"] != "c1" || on["eventType"] != "connected" || on["principalIdentifier"] != d.id || on["thingName"] != "lamp" ||
		on["ipAddress"] != "127.0.0.1" || on["versionNumber"] != 0.0 || on["sessionIdentifier"] == "" || on["timestamp"].(float64) < 1e12 {
		t.Errorf("connected: %v", on)
	}
	c.sub(1, "a", "b")
	if ev := w.event("$aws/events/subscriptions/subscribed/c1"); ev["topics"].([]any)[0] != "a" || ev["sessionIdentifier"] != on["sessionIdentifier"] {
		t.Errorf("subscribed: %v", ev)
	}
	w.event("$aws/events/subscriptions/subscribed/c1")
	ctx, cancel := timeout()
	defer cancel()
	if _, err := c.Unsubscribe(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	w.event("$aws/events/subscriptions/unsubscribed/c1")
	c.bye()
	off := w.event("$aws/events/presence/disconnected/c1")
	if off["clientInitiatedDisconnect"] != true || off["disconnectReason"] != "CLIENT_INITIATED_DISCONNECT" || off["versionNumber"] != 0.0 {
		t.Errorf("disconnected: %v", off)
	}

	first := f.connect(d, "c1", 4)
	if ev := w.event("$aws/events/presence/connected/c1"); ev["versionNumber"] != 1.0 {
		t.Errorf("second connect: %v", ev)
	}
	f.connect(d, "c1", 4)
	first.ended()
	if ev := w.event("$aws/events/presence/disconnected/c1"); ev["disconnectReason"] != "DUPLICATE_CLIENTID" || ev["clientInitiatedDisconnect"] != false {
		t.Errorf("taken over: %v", ev)
	}
	w.event("$aws/events/presence/connected/c1")

	denied := f.newDevice("", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"`+arn+`client/other"}}`)
	if _, err := f.dial(denied, client.Options{ClientID: "c2", Version: mqtt.V311, CleanStart: true}); err == nil {
		t.Fatal("connected")
	}
	if ev := w.event("$aws/events/presence/connect_failed/c2"); ev["connectFailureReason"] != "AUTHORIZATION_FAILED" {
		t.Errorf("connect failed: %v", ev)
	}
}
