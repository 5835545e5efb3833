package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-iot/berth/mqtt"
)

// TestUnsendableProperties: properties that no PUBLISH can hold do not reach subscribers, neither by HTTPS
// nor by a rule that makes them of a payload.
func TestUnsendableProperties(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", allowAll)
	c := f.connect(d, "lamp", mqtt.V5)
	c.sub(1, "a/b")
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls(d)}}
	t.Cleanup(https.CloseIdleConnections)
	post := func(query, user string) int {
		t.Helper()
		r, err := http.NewRequest("POST", fmt.Sprintf("https://localhost:%d/topics/a/b?qos=1%s", f.Ready.HTTPSPort, query), strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("x-amz-mqtt5-user-properties", base64.StdEncoding.EncodeToString([]byte(user)))
		resp, err := https.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for name, status := range map[string]int{
		"content type":  post("&contentType="+strings.Repeat("x", 66000), "[]"),
		"user property": post("", `[{"a":"\u0000"}]`),
	} {
		if status != 400 {
			t.Errorf("%s: %d", name, status)
		}
	}
	f.api("POST", "/rules/headers", map[string]any{"sql": "SELECT * FROM 'in'", "actions": []any{map[string]any{"republish": map[string]any{
		"roleArn": "arn:aws:iam::000000000000:role/r", "topic": "a/b", "qos": 1, "headers": map[string]any{"contentType": "${type}"}}}}}, nil)
	c.pub(1, "in", `{"type":"`+strings.Repeat("x", 70000)+`"}`)
	c.pub(1, "in", `{"type":"a\u0000b"}`)
	c.pub(1, "in", `{"type":"text/plain"}`)
	c.want("a/b", `{"type":"text/plain"}`)
}
