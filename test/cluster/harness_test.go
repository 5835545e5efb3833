// Package cluster tests several nodes that share a PostgreSQL and a NATS.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/postgrestest"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

var databases postgrestest.Cluster

const (
	adminID     = "AKIATESTTESTTESTTEST"
	adminSecret = "test-secret-of-forty-characters-or-so-yes"
	allowAll    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
)

// startNATS runs a NATS server and returns its URL.
func startNATS(t testing.TB) (url string, stop func()) {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, MaxPayload: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	return s.ClientURL(), s.Shutdown
}

// node is a server of a cluster.
type node struct {
	t   testing.TB
	cfg server.Config
	*server.Server
}

// cluster is a PostgreSQL schema, a NATS and nodes in this process.
type cluster struct {
	t        testing.TB
	nodes    []*node
	stopNATS func()
}

// keyFiles are what the nodes of a cluster have in common.
var keyFiles = []string{"ca.pem", "ca.key", "secrets.key", "ticket-keys"}

func configure(t testing.TB, database, nats, name, dir, first string) server.Config {
	t.Helper()
	cfg := server.Defaults()
	cfg.MQTT, cfg.HTTPS, cfg.HTTP, cfg.MQTTPlain = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Data, cfg.PlainPolicy, cfg.Semantics = dir, "plain", "mqtt"
	cfg.AdminKeyID, cfg.AdminSecret = adminID, adminSecret
	cfg.Database, cfg.Cluster, cfg.Node = database, nats, name
	for _, file := range keyFiles {
		if b, err := os.ReadFile(filepath.Join(first, file)); err == nil {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return cfg
}

// start starts a cluster of n nodes whose plain listeners allow everything.
func start(t testing.TB, n int, change ...func(*server.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t}
	database := storetest.Schema(t, databases.Database(t), t.Name())
	nats, stop := startNATS(t)
	c.stopNATS = stop
	first := ""
	for i := range n {
		dir := t.TempDir()
		nd := &node{t: t, cfg: configure(t, database, nats, fmt.Sprint("node", i), dir, first)}
		for _, ch := range change {
			ch(&nd.cfg)
		}
		nd.start()
		c.nodes = append(c.nodes, nd)
		if i == 0 {
			first = dir
			nd.api("POST", "/policies/plain", map[string]string{"policyDocument": allowAll}, nil)
		}
	}
	t.Cleanup(func() {
		for _, nd := range c.nodes {
			if nd.Server != nil {
				nd.Close()
			}
		}
	})
	return c
}

func (n *node) start() {
	n.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", n.cfg.Node)
	}
	s, err := server.Start(context.Background(), n.cfg, log)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Server = s
}

// stop shuts the node down in order.
func (n *node) stop() {
	n.t.Helper()
	if err := n.Close(); err != nil {
		n.t.Error(err)
	}
	n.Server = nil
}

// request signs and sends a request to a node's loopback listener.
func request(port int, method, path string, in any) (int, []byte, error) {
	return requestAt(time.Now(), 30*time.Second, port, method, path, in)
}

// requestAt is request with the time of the signature and how long the answer may take.
func requestAt(now time.Time, within time.Duration, port int, method, path string, in any) (int, []byte, error) {
	var body []byte
	header := http.Header{}
	switch v := in.(type) {
	case nil:
	case []byte:
		body = v
	case http.Header:
		header = v
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return 0, nil, err
		}
		body = b
	}
	r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header = header
	s := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	s.Sign(r, body, now)
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	resp, err := http.DefaultClient.Do(r.WithContext(ctx))
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// api is a request that must succeed.
func (n *node) api(method, path string, in, out any) {
	n.t.Helper()
	status, body, err := request(n.Ready.HTTPPort, method, path, in)
	if err != nil || status != 200 {
		n.t.Fatalf("%s %s: %d %s %v", method, path, status, body, err)
	}
	if out != nil {
		if err := json.Unmarshal(body, out); err != nil {
			n.t.Fatal(err)
		}
	}
}

// conn is a connected client and its messages, those with the payload of a probe aside: they may be late.
type conn struct {
	t testing.TB
	*client.Client
	messages, probes chan client.Message
}

const probe = "probe"

const patience = 20 * time.Second

func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// connect connects to the plain listener of a node, with a clean start unless told otherwise.
func (n *node) connect(id string, change ...func(*client.Options)) *conn {
	n.t.Helper()
	c := &conn{t: n.t, messages: make(chan client.Message, 10000), probes: make(chan client.Message, 10000)}
	o := client.Options{Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(n.Ready.PlainPort)), ClientID: id, Version: mqtt.V5, CleanStart: true,
		OnMessage: func(m client.Message) {
			if string(m.Payload) == probe {
				c.probes <- m
				return
			}
			c.messages <- m
		}}
	for _, ch := range change {
		ch(&o)
	}
	ctx, cancel := timeout()
	defer cancel()
	var err error
	if c.Client, err = client.Dial(ctx, o); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// persistent asks for a session that outlives its connection.
func persistent(o *client.Options) { o.CleanStart, o.SessionExpiry = false, time.Hour }

func retained(m *client.Message) { m.Retain = true }

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

// want fails unless the next message has this topic and payload.
func (c *conn) want(topic, payload string) client.Message {
	c.t.Helper()
	select {
	case m := <-c.messages:
		if m.Topic != topic || string(m.Payload) != payload {
			c.t.Fatalf("got %q on %q, want %q on %q", m.Payload, m.Topic, payload, topic)
		}
		return m
	case <-time.After(patience):
		c.t.Fatalf("%q on %q did not come", payload, topic)
		return client.Message{}
	}
}

// ended waits for the end of the connection and returns its reason code.
func (c *conn) ended() mqtt.ReasonCode {
	c.t.Helper()
	select {
	case <-c.Done():
	case <-time.After(patience):
		c.t.Fatal("the connection did not end")
	}
	if e, ok := c.Err().(*client.DisconnectError); ok {
		return e.Code
	}
	return 0
}

func (c *conn) bye() {
	c.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	c.Close(ctx)
}

// eventually polls a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func timeoutChannel() <-chan time.Time { return time.After(patience) }
