package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// begins fails unless the next message has this topic and its payload begins so.
func (b *inbox) begins(topic, payload string) {
	b.t.Helper()
	if m := b.next(); m.Topic != topic || !strings.HasPrefix(string(m.Payload), payload) {
		b.t.Fatalf("got %s on %q, want %s… on %q", m.Payload, m.Topic, payload, topic)
	}
}

// shadow sends a signed request to the API of shadows; it must succeed.
func (f *fixture) shadow(method, path, body string) string {
	f.t.Helper()
	status, answer := f.request(method, path, []byte(body))
	if status != 200 {
		f.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return string(answer)
}

// TestShadow is a device over MQTT and an application over REST on one shadow, and a restart.
func TestShadow(t *testing.T) {
	t.Parallel()
	f := start(t)
	const p = "$aws/things/lamp/shadow"
	device := f.connect(nil, "lamp", mqtt.V311)
	device.sub(1, p+"/get/+", p+"/update/+", p+"/delete/+")

	device.pub(1, p+"/get", `{"clientToken":"1"}`)
	device.want(p+"/get/rejected", `{"code":404,"message":"No shadow exists with name: 'lamp'","clientToken":"1"}`)
	device.pub(1, p+"/update", `{"state":{"reported":{"on":false}},"clientToken":"2"}`)
	device.begins(p+"/update/accepted", `{"state":{"reported":{"on":false}},"metadata":{"reported":{"on":{"timestamp":`)
	device.begins(p+"/update/documents", `{"previous":{"state":{},"metadata":{},"version":0},"current":{`)

	answer := f.shadow("POST", "/things/lamp/shadow", `{"state":{"desired":{"on":true}}}`)
	if !strings.Contains(answer, `"version":2`) || !strings.HasPrefix(answer, `{"state":{"desired":{"on":true}},`) {
		t.Errorf("got %s", answer)
	}
	device.want(p+"/update/accepted", answer)
	device.begins(p+"/update/delta", `{"version":2,`)
	device.begins(p+"/update/documents", `{"previous":{`)

	for _, tc := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"POST", "/things/lamp/shadow", `{"state":{},"version":1}`, 409, "Version conflict"},
		{"POST", "/things/lamp/shadow", `{`, 400, "Invalid JSON"},
		{"POST", "/things/lamp/shadow", strings.Repeat(" ", 8193), 413, "The payload exceeds the maximum size allowed"},
		{"POST", "/things/lamp/shadow", "\"\xff\"", 415, "Unsupported documented encoding; supported encoding is UTF-8"},
		{"GET", "/things/lamp/shadow?name=none", ``, 404, "No shadow exists with name: 'none'"},
		{"DELETE", "/things/nobody/shadow", ``, 404, "No shadow exists with name: 'nobody'"},
		{"GET", "/things/a%20b/shadow", ``, 400, ""},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/lamp?pageSize=0", ``, 400, ""},
	} {
		if status, answer := f.request(tc.method, tc.path, []byte(tc.body)); status != tc.status || !strings.Contains(string(answer), tc.message) {
			t.Errorf("%s %s: %d %s, want %d %s", tc.method, tc.path, status, answer, tc.status, tc.message)
		}
	}
	device.quiet() // errors of REST are not published

	for _, name := range []string{"config", "net", "wifi"} {
		f.shadow("POST", "/things/lamp/shadow?name="+name, `{"state":{"reported":{"a":1}}}`)
	}
	var names []string
	for token := ""; ; {
		var page struct {
			Results   []string
			NextToken string
			Timestamp int64
		}
		f.api("GET", "/api/things/shadow/ListNamedShadowsForThing/lamp?pageSize=2&nextToken="+token, nil, &page)
		names = append(names, page.Results...)
		if token = page.NextToken; page.Timestamp == 0 || token == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[config net wifi]" {
		t.Errorf("named shadows %v", names)
	}

	before, _, _ := strings.Cut(f.shadow("GET", "/things/lamp/shadow", ""), `,"timestamp":`)
	f.restart()
	if after := f.shadow("GET", "/things/lamp/shadow", ""); !strings.HasPrefix(after, before) {
		t.Errorf("after a restart %s\nbefore %s", after, before)
	}
}

// TestShadowWill sends a will straight to a shadow topic: subscribers get it and the shadow changes.
func TestShadowWill(t *testing.T) {
	t.Parallel()
	f := start(t)
	const p, offline = "$aws/things/lamp/shadow", `{"state":{"reported":{"connected":false}}}`
	watcher := f.connect(nil, "watcher", mqtt.V5)
	watcher.sub(1, p+"/update", p+"/update/accepted")
	r := f.raw()
	r.send(connectPacket("lamp", func(c *mqtt.Connect) {
		c.Will = &mqtt.Will{Topic: p + "/update", Payload: []byte(offline), QoS: 1}
	}))
	r.wantType(mqtt.CONNACK)
	r.Close()
	watcher.want(p+"/update", offline)
	watcher.begins(p+"/update/accepted", `{"state":{"reported":{"connected":false}}`)
}

// TestShadowPermissions: over MQTT the topics decide, over HTTPS the actions on shadows.
func TestShadowPermissions(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"`+arn+`topic/$aws/things/lamp/shadow/*"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"`+arn+`topicfilter/$aws/things/lamp/shadow/*"},
		{"Effect":"Allow","Action":"iot:Receive","Resource":"`+arn+`topic/$aws/things/lamp/shadow/get/*"},
		{"Effect":"Allow","Action":["iot:GetThingShadow","iot:UpdateThingShadow"],"Resource":["`+arn+`thing/lamp","`+arn+`thing/lamp/config"]},
		{"Effect":"Allow","Action":"iot:ListNamedShadowsForThing","Resource":"*"}]}`)
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls(d)}}
	t.Cleanup(https.CloseIdleConnections)
	for _, tc := range []struct {
		method, path string
		status       int
		exception    string
	}{
		{"GET", "/things/lamp/shadow", 404, "ResourceNotFoundException"},
		{"POST", "/things/lamp/shadow", 200, ""},
		{"GET", "/things/lamp/shadow", 200, ""},
		{"POST", "/things/lamp/shadow?name=config", 200, ""},
		{"GET", "/things/lamp/shadow?name=other", 403, "ForbiddenException"},
		{"DELETE", "/things/lamp/shadow", 403, "ForbiddenException"},
		{"GET", "/things/other/shadow", 403, "ForbiddenException"},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/lamp", 200, ""},
	} {
		req, err := http.NewRequest(tc.method, fmt.Sprintf("https://127.0.0.1:%d%s", f.Ready.HTTPSPort, tc.path), strings.NewReader(`{"state":{"reported":{"a":1}}}`))
		if err != nil {
			t.Fatal(err)
		}
		res, err := https.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if exception := res.Header.Get("x-amzn-ErrorType"); res.StatusCode != tc.status || exception != tc.exception {
			t.Errorf("%s %s: %d %s %s, want %d %s", tc.method, tc.path, res.StatusCode, exception, body, tc.status, tc.exception)
		}
	}

	device := f.connect(d, "lamp", mqtt.V5)
	const p = "$aws/things/lamp/shadow"
	device.sub(1, p+"/update/+", p+"/get/+")
	device.pub(1, p+"/update", `{"state":{"reported":{"a":2}}}`) // its answers may not be received
	device.pub(1, p+"/get", `{"clientToken":"g"}`)
	device.begins(p+"/get/accepted", `{"state":{"reported":{"a":2}},`)
	if code := device.tryPub(1, "$aws/things/other/shadow/update"); code != mqtt.NotAuthorized {
		t.Errorf("publish for another thing: %v", code)
	}
}

// TestShadowWaitsForADevice: a persistent session gets the delta that came while it was away.
func TestShadowWaitsForADevice(t *testing.T) {
	t.Parallel()
	f := start(t)
	const p = "$aws/things/lamp/shadow/update/delta"
	device := f.connect(nil, "lamp", mqtt.V5, persistent)
	device.sub(1, p)
	device.bye()
	f.shadow("POST", "/things/lamp/shadow", `{"state":{"desired":{"on":true}}}`)
	device = f.connect(nil, "lamp", mqtt.V5, persistent, func(o *client.Options) { o.KeepAlive = 0 })
	device.begins(p, `{"version":1,`)
}
