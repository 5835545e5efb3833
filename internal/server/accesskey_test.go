package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

// newKey makes an access key and returns how it signs.
func (f *fixture) newKey(role string) sigv4.Signer {
	f.t.Helper()
	var key struct{ AccessKeyID, SecretAccessKey string }
	f.api("POST", "/berth/access-keys", map[string]string{"role": role}, &key)
	return sigv4.Signer{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey, Region: "us-east-1", Service: "iotdevicegateway"}
}

// webSocket connects with a signature.
func (f *fixture) webSocket(s sigv4.Signer, id string) (*conn, error) {
	f.t.Helper()
	url := s.PresignWebSocket(fmt.Sprintf("localhost:%d", f.Ready.HTTPSPort), time.Minute, time.Now())
	return f.dial(nil, client.Options{WebSocket: url, TLS: f.tls(nil), ClientID: id, Version: mqtt.V5, CleanStart: true})
}

// TestAccessKeyTakenAway: MQTT that was opened with an access key ends when the key is disabled or
// deleted.
func TestAccessKeyTakenAway(t *testing.T) {
	t.Parallel()
	f := start(t)
	for _, end := range []struct{ method, path string }{{"POST", "/berth/access-keys/%s/disable"}, {"DELETE", "/berth/access-keys/%s"}} {
		key := f.newKey("admin")
		c, err := f.webSocket(key, "somebody")
		if err != nil {
			t.Fatal(err)
		}
		f.api(end.method, fmt.Sprintf(end.path, key.AccessKeyID), map[string]any{}, nil)
		c.ended()
	}
}

// TestReadOnlyKeyDisturbsNobody: who may only read takes no session over, does not pose as a thing, and
// takes no message out of a shared subscription.
func TestReadOnlyKeyDisturbsNobody(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.newDevice("thing", own)
	d := f.newDevice("lamp", allowAll)
	reader := f.newKey("read-only")
	online := f.connect(d, "worker", mqtt.V5)
	f.connect(d, "sleeper", mqtt.V5, persistent).bye()
	for _, id := range []string{"worker", "sleeper", "thing"} {
		if c, err := f.webSocket(reader, id); err == nil {
			c.bye()
			t.Errorf("connected as %q", id)
		}
	}
	online.sub(1, "a/b") // still there
	if _, err := f.webSocket(reader, "reader"); err != nil {
		t.Fatal(err)
	}
	c, err := f.webSocket(reader, "reader") // its own
	if err != nil {
		t.Fatal(err)
	}
	c.sub(1, "a/b")
	ctx, cancel := timeout()
	defer cancel()
	codes, err := c.Subscribe(ctx, mqtt.Subscription{Filter: "$share/workers/a/b", QoS: 1})
	if err == nil && codes[0] != mqtt.NotAuthorized {
		t.Errorf("a shared subscription: %v %v", codes, err)
	}
	if text := f.denials(); !strings.Contains(text, "read-only") {
		t.Errorf("denials: %s", text)
	}
}

// TestGuessesUnderAnotherName: whoever guesses a secret is held back by the key that is meant, whatever else
// the request says.
func TestGuessesUnderAnotherName(t *testing.T) {
	t.Parallel()
	f := start(t)
	key := f.newKey("admin")
	key.Service, key.SecretAccessKey = "iot", "wrong"
	for i := range 100 {
		r, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/things", f.Ready.HTTPPort), nil)
		if err != nil {
			t.Fatal(err)
		}
		key.Sign(r, nil, time.Now())
		auth := r.Header.Get("Authorization")
		r.Header.Set("Authorization", strings.Replace(auth, " ", fmt.Sprintf(" X=Credential=%d/,", i), 1))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests {
			return
		}
		if resp.StatusCode != http.StatusForbidden {
			t.Fatal(resp.Status)
		}
	}
	t.Error("a hundred guesses were answered")
}

// TestAuthorizerURLIsHidden: a password in an authorizer's URL is shown to those who may change it only.
func TestAuthorizerURLIsHidden(t *testing.T) {
	t.Parallel()
	f := start(t)
	const secret = "hunter2hunter2"
	f.api("POST", "/authorizer/out", map[string]any{"authorizerFunctionArn": "http://user:" + secret + "@127.0.0.1:1/", "signingDisabled": true, "tokenKeyName": "key"}, nil)
	f.api("POST", "/default-authorizer", map[string]any{"authorizerName": "out"}, nil)
	for _, role := range []string{"admin", "read-only"} {
		key := f.newKey(role)
		key.Service = "iot"
		for _, path := range []string{"/authorizer/out", "/default-authorizer"} {
			r, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path), nil)
			if err != nil {
				t.Fatal(err)
			}
			key.Sign(r, nil, time.Now())
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || strings.Contains(string(body), secret) != (role == "admin") || !strings.Contains(string(body), `"tokenKeyName":"key"`) {
				t.Errorf("%s sees %d %s %v", role, resp.StatusCode, body, err)
			}
		}
	}
}
