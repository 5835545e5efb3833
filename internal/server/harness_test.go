package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

const (
	adminID     = "AKIATESTTESTTESTTEST"
	adminSecret = "test-secret-of-forty-characters-or-so-yes"
	allowAll    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
)

// fixture is a server on free ports with a client for its API.
type fixture struct {
	t   testing.TB
	dir string
	cfg server.Config
	*server.Server
}

// start starts a server whose plain listener allows everything.
func start(t testing.TB, change ...func(*server.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), cfg: server.Defaults()}
	f.cfg.MQTT, f.cfg.HTTPS, f.cfg.HTTP, f.cfg.MQTTPlain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	f.cfg.Data, f.cfg.PlainPolicy = f.dir, "plain"
	f.cfg.AdminKeyID, f.cfg.AdminSecret = adminID, adminSecret
	f.cfg.Database = storetest.URL(t, f.dir)
	for _, c := range change {
		c(&f.cfg)
	}
	f.restart()
	t.Cleanup(func() { f.Close() })
	f.api("POST", "/policies/plain", map[string]string{"policyDocument": allowAll}, nil)
	return f
}

// standard starts a server with the semantics of the MQTT standard.
func standard(t testing.TB) *fixture {
	return start(t, func(c *server.Config) { c.Semantics = "mqtt" })
}

// restart starts the server, closing the one that runs.
func (f *fixture) restart() {
	f.t.Helper()
	if f.Server != nil {
		if err := f.Close(); err != nil {
			f.t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s, err := server.Start(context.Background(), f.cfg, log)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Server = s
}

// request signs and sends a request to the loopback listener.
func (f *fixture) request(method, path string, in any) (int, []byte) {
	f.t.Helper()
	var body []byte
	switch v := in.(type) {
	case nil:
	case []byte:
		body = v
	default:
		body = marshal(f.t, v)
	}
	r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path), bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	s := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	if h, ok := in.(http.Header); ok {
		r.Header = h
	}
	s.Sign(r, body, time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, b
}

// api is a request that must succeed.
func (f *fixture) api(method, path string, in, out any) {
	f.t.Helper()
	status, body := f.request(method, path, in)
	if status != 200 {
		f.t.Fatalf("%s %s: %d %s", method, path, status, body)
	}
	if out != nil {
		unmarshal(f.t, body, out)
	}
}

// device is a certificate with its key.
type device struct {
	id, arn string
	cert    tls.Certificate
	pem     string
}

// newDevice makes an ACTIVE certificate with a policy, attached to a thing if it has a name.
func (f *fixture) newDevice(thing, document string) *device {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		f.t.Fatal(err)
	}
	var made struct{ CertificateID, CertificateARN, CertificatePEM string }
	f.api("POST", "/certificates?setAsActive=true", map[string]string{
		"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}, &made)
	block, _ := pem.Decode([]byte(made.CertificatePEM))
	d := &device{id: made.CertificateID, arn: made.CertificateARN, pem: made.CertificatePEM,
		cert: tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
	if document != "" {
		name := "policy-" + d.id[:8]
		f.api("POST", "/policies/"+name, map[string]string{"policyDocument": document}, nil)
		f.api("PUT", "/target-policies/"+name, map[string]string{"target": d.arn}, nil)
	}
	if thing != "" {
		f.api("POST", "/things/"+thing, map[string]string{}, nil)
		f.api("PUT", "/things/"+thing+"/principals", http.Header{"X-Amzn-Principal": {d.arn}}, nil)
	}
	return d
}

func (f *fixture) tls(d *device) *tls.Config {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "ca.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	cfg := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if d != nil {
		cfg.Certificates = []tls.Certificate{d.cert}
	}
	return cfg
}

// inbox collects messages.
type inbox struct {
	t  testing.TB
	ch chan client.Message
}

// next returns the next message.
func (b *inbox) next() client.Message {
	b.t.Helper()
	select {
	case m := <-b.ch:
		return m
	case <-time.After(10 * time.Second):
		b.t.Fatal("no message came")
		return client.Message{}
	}
}

// want fails unless the next message has this topic and payload.
func (b *inbox) want(topic, payload string) client.Message {
	b.t.Helper()
	m := b.next()
	if m.Topic != topic || string(m.Payload) != payload {
		b.t.Fatalf("got %q on %q, want %q on %q", m.Payload, m.Topic, payload, topic)
	}
	return m
}

// conn is a connected client and its messages.
type conn struct {
	*client.Client
	*inbox
}

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 10*time.Second)
}

// dial connects to the plain listener, or with a certificate over TLS.
func (f *fixture) dial(d *device, o client.Options) (*conn, error) {
	f.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	box := &inbox{t: f.t, ch: make(chan client.Message, 10000)}
	o.OnMessage = func(m client.Message) { box.ch <- m }
	if o.Version == 0 {
		o.Version = mqtt.V5
	}
	port := f.Ready.PlainPort
	if d != nil {
		port = f.Ready.MQTTPort
		o.TLS = f.tls(d)
	}
	o.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	c, err := client.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { c.Close(context.Background()) })
	return &conn{c, box}, nil
}

// connect is dial that must succeed, with a clean start by default.
func (f *fixture) connect(d *device, id string, v mqtt.Version, change ...func(*client.Options)) *conn {
	f.t.Helper()
	o := client.Options{ClientID: id, Version: v, CleanStart: true}
	for _, c := range change {
		c(&o)
	}
	c, err := f.dial(d, o)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// persistent asks for a session that outlives its connection.
func persistent(o *client.Options) { o.CleanStart, o.SessionExpiry = false, time.Hour }

func (c *conn) sub(qos byte, filters ...string) {
	c.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	for _, f := range filters {
		if codes, err := c.Subscribe(ctx, mqtt.Subscription{Filter: f, QoS: qos}); err != nil {
			c.t.Fatalf("subscribe %s: %v %v", f, codes, err)
		}
	}
}

func (c *conn) pub(qos byte, topic, payload string, change ...func(*client.Message)) {
	c.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	m := client.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
	for _, ch := range change {
		ch(&m)
	}
	if code, err := c.Publish(ctx, m); err != nil {
		c.t.Fatalf("publish to %s: %v %v", topic, code, err)
	}
}

// quiet fails if a message came before everything sent so far was handled.
func (c *conn) quiet() {
	c.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	if err := c.Ping(ctx); err != nil {
		c.t.Fatal(err)
	}
	select {
	case m := <-c.ch:
		c.t.Fatalf("unexpected message %q on %q", m.Payload, m.Topic)
	default:
	}
}

func (c *conn) bye() {
	c.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	c.Close(ctx)
}

// ended waits for the end of the connection and returns its reason code.
func (c *conn) ended() mqtt.ReasonCode {
	c.t.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		c.t.Fatal("the connection did not end")
	}
	if e, ok := c.Err().(*client.DisconnectError); ok {
		return e.Code
	}
	return 0
}

func retained(m *client.Message) { m.Retain = true }

// eventually polls a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// denials returns the recorded reasons, joined.
func (f *fixture) denials() string {
	f.t.Helper()
	var out struct{ Denials []struct{ Reason string } }
	f.api("GET", "/berth/denials?max=100", nil, &out)
	var all []string
	for _, d := range out.Denials {
		all = append(all, d.Reason)
	}
	return strings.Join(all, "\n")
}

// tryCreate creates a thing and reports whether it was acknowledged.
func (f *fixture) tryCreate(name string) bool {
	r, err := http.NewRequest("POST", fmt.Sprintf("http://127.0.0.1:%d/things/%s", f.Ready.HTTPPort, name), strings.NewReader("{}"))
	if err != nil {
		return false
	}
	s := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	s.Sign(r, []byte("{}"), time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == 200
}
