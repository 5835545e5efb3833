package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/server"
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
	cfg.Data = dir
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

func (c *client) want(t testing.TB, name, prefix string) {
	t.Helper()
	if n, p := c.message(t); n != name || !strings.HasPrefix(p, prefix) {
		t.Fatalf("got %s %s\nwant %s %s", n, p, name, prefix)
	}
}

// TestShadowEndToEnd is a device over MQTT and an application over REST on one shadow, and a
// restart of the server.
func TestShadowEndToEnd(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	const p = "$aws/things/lamp/shadow"
	device := in.connect(t, mqtt.Connect{ClientID: "lamp"})
	device.subscribe(t, 1, p+"/get/+", p+"/update/+", p+"/delete/+")

	device.publish(t, p+"/get", `{"clientToken":"1"}`)
	device.want(t, p+"/get/rejected", `{"code":404,"message":"No shadow exists with name: 'lamp'","clientToken":"1"}`)
	device.publish(t, p+"/update", `{"state":{"reported":{"on":false}},"clientToken":"2"}`)
	device.want(t, p+"/update/accepted", `{"state":{"reported":{"on":false}},"metadata":{"reported":{"on":{"timestamp":`)
	device.want(t, p+"/update/documents", `{"previous":{"state":{},"metadata":{},"version":0},"current":{`)

	answer := in.must(t, "POST", "/things/lamp/shadow", `{"state":{"desired":{"on":true}}}`)
	if !strings.Contains(answer, `"version":2`) || !strings.HasPrefix(answer, `{"state":{"desired":{"on":true}},`) {
		t.Errorf("got %s", answer)
	}
	device.want(t, p+"/update/accepted", answer)
	device.want(t, p+"/update/delta", `{"version":2,`)
	device.want(t, p+"/update/documents", `{"previous":{`)

	for _, tc := range []struct {
		method, path, body string
		status             int
		exception          string
	}{
		{"POST", "/things/lamp/shadow", `{"state":{},"version":1}`, 409, "ConflictException"},
		{"POST", "/things/lamp/shadow", `{`, 400, "InvalidRequestException"},
		{"POST", "/things/lamp/shadow", strings.Repeat(" ", 8193), 413, "RequestEntityTooLargeException"},
		{"POST", "/things/lamp/shadow", "\"\xff\"", 415, "UnsupportedDocumentEncodingException"},
		{"GET", "/things/lamp/shadow?name=none", ``, 404, "ResourceNotFoundException"},
		{"DELETE", "/things/nobody/shadow", ``, 404, "ResourceNotFoundException"},
		{"GET", "/things/a%20b/shadow", ``, 400, "InvalidRequestException"},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/lamp?pageSize=0", ``, 400, "InvalidRequestException"},
	} {
		if status, exception, answer := in.call(t, tc.method, tc.path, tc.body); status != tc.status || exception != tc.exception {
			t.Errorf("%s %s: %d %s %s, want %d %s", tc.method, tc.path, status, exception, answer, tc.status, tc.exception)
		}
	}

	for _, name := range []string{"config", "net", "wifi"} {
		in.must(t, "POST", "/things/lamp/shadow?name="+name, `{"state":{"reported":{"a":1}}}`)
	}
	var page struct {
		Results   []string
		NextToken string
		Timestamp int64
	}
	var names []string
	for path := "/api/things/shadow/ListNamedShadowsForThing/lamp?pageSize=2"; ; path = "/api/things/shadow/ListNamedShadowsForThing/lamp?pageSize=2&nextToken=" + page.NextToken {
		page.NextToken = ""
		if err := json.Unmarshal([]byte(in.must(t, "GET", path, "")), &page); err != nil || page.Timestamp == 0 {
			t.Fatal(err, page)
		}
		names = append(names, page.Results...)
		if page.NextToken == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[config net wifi]" {
		t.Errorf("named shadows %v", names)
	}

	before := in.must(t, "GET", "/things/lamp/shadow", "")
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, in.dir)
	t.Cleanup(func() { again.Close() })
	after := again.must(t, "GET", "/things/lamp/shadow", "")
	if before, _, _ := strings.Cut(before, `,"timestamp":`); !strings.HasPrefix(after, before) {
		t.Errorf("after a restart %s\nbefore %s", after, before)
	}
}

// TestShadowWill sends a will straight to a shadow topic: subscribers get it, the shadow does not.
func TestShadowWill(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	const p = "$aws/things/lamp/shadow"
	watcher := in.connect(t, mqtt.Connect{ClientID: "watcher"})
	watcher.subscribe(t, 1, p+"/update", p+"/get/+")
	device := in.connect(t, mqtt.Connect{ClientID: "lamp", Will: &mqtt.Will{Topic: p + "/update", Payload: []byte(`{"state":{"reported":{"connected":false}}}`), QoS: 1}})
	device.Close()
	watcher.want(t, p+"/update", `{"state":{"reported":{"connected":false}}}`)
	watcher.publish(t, p+"/get", "")
	watcher.want(t, p+"/get/rejected", `{"code":404`)
}

// TestShadowHTTPS is a device with its certificate over HTTPS, which needs the actions on shadows
// instead of those on topics.
func TestShadowHTTPS(t *testing.T) {
	t.Parallel()
	in := newInstance(t)
	var cert struct {
		CertificateArn, CertificatePem string
		KeyPair                        struct{ PrivateKey string }
	}
	if err := json.Unmarshal([]byte(in.must(t, "POST", "/keys-and-certificate?setAsActive=true", "")), &cert); err != nil {
		t.Fatal(err)
	}
	in.must(t, "POST", "/policies/lamp", `{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"iot:GetThingShadow\",\"iot:UpdateThingShadow\"],\"Resource\":[\"arn:aws:iot:us-east-1:000000000000:thing/lamp\",\"arn:aws:iot:us-east-1:000000000000:thing/lamp/config\"]},{\"Effect\":\"Allow\",\"Action\":\"iot:ListNamedShadowsForThing\",\"Resource\":\"*\"}]}"}`)
	in.must(t, "PUT", "/target-policies/lamp", `{"target":"`+cert.CertificateArn+`"}`)
	pair, err := tls.X509KeyPair([]byte(cert.CertificatePem), []byte(cert.KeyPair.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(in.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	device := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}}
	defer device.CloseIdleConnections()
	for _, tc := range []struct {
		method, path string
		status       int
		exception    string
	}{
		{"POST", "/things/lamp/shadow", 200, ""},
		{"GET", "/things/lamp/shadow", 200, ""},
		{"POST", "/things/lamp/shadow?name=config", 200, ""},
		{"GET", "/things/lamp/shadow?name=other", 403, "ForbiddenException"},
		{"DELETE", "/things/lamp/shadow", 403, "ForbiddenException"},
		{"GET", "/things/other/shadow", 403, "ForbiddenException"},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/lamp", 200, ""},
	} {
		req, err := http.NewRequest(tc.method, fmt.Sprintf("https://localhost:%d%s", in.Ready.HTTPSPort, tc.path), strings.NewReader(`{"state":{"reported":{"a":1}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if status, exception, answer := do(t, device, req); status != tc.status || exception != tc.exception {
			t.Errorf("%s %s: %d %s %s, want %d %s", tc.method, tc.path, status, exception, answer, tc.status, tc.exception)
		}
	}
}

// BenchmarkShadowUpdate is 64 devices over MQTT, each with its shadow: an update is done when the
// device has accepted, delta and documents. Clients and server share the machine.
func BenchmarkShadowUpdate(b *testing.B) {
	for _, window := range []int{1, 4} {
		b.Run(fmt.Sprint("inflight=", window), func(b *testing.B) {
			in := newInstance(b)
			const devices = 64
			filler := strings.Repeat("x", 80)
			clients := make([]*client, devices)
			for i := range clients {
				clients[i] = in.connect(b, mqtt.Connect{ClientID: fmt.Sprint("d", i)})
				p := fmt.Sprintf("$aws/things/d%d/shadow/update", i)
				in.must(b, "POST", fmt.Sprintf("/things/d%d/shadow", i), fmt.Sprintf(`{"state":{"desired":{"target":-1,"note":%q},"reported":{"a":%q,"b":%q,"c":%q,"d":{"e":1,"f":[1,2,3]}}}}`, filler, filler, filler, filler))
				clients[i].subscribe(b, 0, p+"/accepted", p+"/delta", p+"/documents")
			}
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for i, c := range clients {
				wg.Go(func() {
					p := fmt.Sprintf("$aws/things/d%d/shadow/update", i)
					send := func() bool {
						n := next.Add(1)
						if n <= int64(b.N) {
							c.publish(b, p, fmt.Sprintf(`{"state":{"reported":{"target":%d,"d":{"e":%d}}},"clientToken":"t%d"}`, n, n, n))
						}
						return n <= int64(b.N)
					}
					open := 0
					for open < window && send() {
						open++
					}
					for got := 0; open > 0; {
						if h, _ := c.read(b); h.Type() != mqtt.PUBLISH {
							continue
						}
						if got++; got%3 == 0 {
							open--
							if send() {
								open++
							}
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}
