package device_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/link"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminID     = "AKIATESTTESTTESTTEST"
	adminSecret = "test-secret-of-forty-characters-or-so-yes"
	arn         = "arn:aws:iot:us-east-1:000000000000:"
	allowAll    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
	claimPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["` + arn + `topic/$aws/certificates/*","` + arn + `topic/$aws/provisioning-templates/fleet/provision/*"]},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":["` + arn + `topicfilter/$aws/certificates/*","` + arn + `topicfilter/$aws/provisioning-templates/fleet/provision/*"]}]}`
	fleet = `{"Parameters":{"Serial":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
		"thing":{"Type":"AWS::IoT::Thing","OverrideSettings":{"AttributePayload":"MERGE","ThingTypeName":"DO_NOTHING"},"Properties":{"ThingName":{"Ref":"Serial"}}},
		"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"Active"}},
		"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"devices"}}},"DeviceConfiguration":{"color":"green"}}`
)

// cloud is a berth server.
type cloud struct {
	t   testing.TB
	dir string
	cfg server.Config
	*server.Server
}

func startCloud(t testing.TB) *cloud {
	t.Helper()
	c := &cloud{t: t, dir: t.TempDir(), cfg: server.Defaults()}
	c.cfg.MQTT, c.cfg.HTTPS, c.cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.cfg.Data, c.cfg.AdminKeyID, c.cfg.AdminSecret = c.dir, adminID, adminSecret
	c.start()
	c.cfg.MQTT = fmt.Sprintf("127.0.0.1:%d", c.Ready.MQTTPort) // the same after a restart
	t.Cleanup(func() { c.Close() })
	c.api("POST", "/policies/devices", map[string]string{"policyDocument": allowAll}, nil)
	c.api("POST", "/policies/claim", map[string]string{"policyDocument": claimPolicy}, nil)
	c.api("POST", "/provisioning-templates", map[string]any{"templateName": "fleet", "type": "FLEET_PROVISIONING", "templateBody": fleet,
		"enabled": true, "provisioningRoleArn": "arn:aws:iam::000000000000:role/r"}, nil)
	return c
}

func (c *cloud) start() {
	c.t.Helper()
	s, err := server.Start(context.Background(), c.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	c.Server = s
}

// api makes a signed request that must succeed.
func (c *cloud) api(method, path string, in, out any) {
	c.t.Helper()
	if status, b := c.call(method, path, in, out); status != 200 {
		c.t.Fatalf("%s %s: %d %s", method, path, status, b)
	}
}

func (c *cloud) call(method, path string, in, out any) (int, []byte) {
	c.t.Helper()
	var body []byte
	header := http.Header{}
	switch v := in.(type) {
	case nil:
	case []byte:
		body = v
	case http.Header:
		header = v
	default:
		body, _ = json.Marshal(v)
	}
	r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", c.Ready.HTTPPort, path), bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header, r.Close = header, true
	s := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	s.Sign(r, body, time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if out != nil && resp.StatusCode == 200 {
		if err := json.Unmarshal(b, out); err != nil {
			c.t.Fatalf("%s: %v", b, err)
		}
	}
	return resp.StatusCode, b
}

// issue makes an ACTIVE certificate with a policy; thing is empty for a claim.
func (c *cloud) issue(thing, policy string) (device.Identity, string) {
	c.t.Helper()
	key, err := linux.Keys{}.NewKey()
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := linux.Keys{}.SigningRequest(key, thing)
	if err != nil {
		c.t.Fatal(err)
	}
	var made struct{ CertificateID, CertificateARN, CertificatePEM string }
	c.api("POST", "/certificates?setAsActive=true", map[string]string{"certificateSigningRequest": string(csr)}, &made)
	c.api("PUT", "/target-policies/"+policy, map[string]string{"target": made.CertificateARN}, nil)
	if thing != "" {
		c.api("POST", "/things/"+thing, map[string]string{}, nil)
		c.api("PUT", "/things/"+thing+"/principals", http.Header{"X-Amzn-Principal": {made.CertificateARN}}, nil)
	}
	return device.Identity{Certificate: []byte(made.CertificatePEM), Key: key, Thing: thing, Claim: thing == ""}, made.CertificateID
}

// reported reads the reported state of a thing's shadow, nil if there is none.
func (c *cloud) reported(thing string) map[string]any {
	c.t.Helper()
	r, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/things/%s/shadow", c.Ready.HTTPPort, thing), nil)
	r.Close = true
	s := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iotdata"}
	s.Sign(r, nil, time.Now())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		State struct{ Reported map[string]any }
	}
	json.NewDecoder(resp.Body).Decode(&doc)
	return doc.State.Reported
}

func (c *cloud) transport() *linux.Transport {
	b, err := os.ReadFile(filepath.Join(c.dir, "ca.pem"))
	if err != nil {
		c.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	return &linux.Transport{Address: net.JoinHostPort("127.0.0.1", strings.Split(c.cfg.MQTT, ":")[1]), Name: "localhost", Roots: roots}
}

// board is a device against a cloud.
type board struct {
	*device.System
	t        testing.TB
	restarts chan struct{}

	mu     sync.Mutex
	errors []error
	log    []string
}

func (b *board) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf(format, args...))
}

func (b *board) noted(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, l := range b.log {
		if strings.Contains(l, s) {
			n++
		}
	}
	return n
}

func (b *board) failed(target error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, err := range b.errors {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// boot makes a device and starts it.
func (c *cloud) boot(storage flash.Storage, change func(*device.Config, *device.Handlers, *board)) *board {
	c.t.Helper()
	b := &board{t: c.t, restarts: make(chan struct{}, 1)}
	tr := c.transport()
	cfg := device.Config{Storage: storage, Dial: tr.Dial, Explain: tr.Explain, Keys: linux.Keys{},
		Restart: func() { b.restarts <- struct{}{} },
		Link:    link.Config{Backoff: link.Backoff{Base: 10 * time.Millisecond, Cap: 100 * time.Millisecond}}}
	h := device.Handlers{
		Connected:    func() { b.note("connected") },
		Disconnected: func(err error) { b.note("disconnected %v", err) },
		Event:        func(e link.Event) { b.note("event %v %v", e.Kind, e.Err) },
		Error: func(err error) {
			b.mu.Lock()
			b.errors = append(b.errors, err)
			b.mu.Unlock()
			b.note("error %v", err)
		},
	}
	if change != nil {
		change(&cfg, &h, b)
	}
	if m, ok := storage.(*flash.Memory); ok {
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context, id device.Identity) (net.Conn, error) {
			conn, err := dial(ctx, id)
			return &powered{conn, m}, err
		}
	}
	s, err := device.New(cfg, h)
	if err != nil {
		c.t.Fatal(err)
	}
	b.System = s
	s.Start()
	c.t.Cleanup(func() { b.stop() })
	return b
}

// powered is a connection that sends nothing any more when the device has lost its power.
type powered struct {
	net.Conn
	m *flash.Memory
}

func (c *powered) Write(b []byte) (int, error) {
	if c.m.Off() {
		return 0, flash.ErrPowerLoss
	}
	return c.Conn.Write(b)
}

func (b *board) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b.Close(ctx)
}

func (b *board) eventually(what string, ok func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.t.Fatalf("not in time: %s\n%s", what, strings.Join(b.log, "\n"))
		}
	}
}
