package firmware_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/esp/appimage"
	"github.com/berth-iot/berth/esp/chip"
	"github.com/berth-iot/berth/esp/partition"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/firmware"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/internal/virtualesp"
	"github.com/berth-iot/berth/sigv4"
)

const (
	adminID     = "AKIATESTTESTTESTTEST"
	adminSecret = "test-secret-of-forty-characters-or-so-yes"
	table       = "nvs,data,nvs,0x9000,0x6000\notadata,data,ota,0xf000,0x2000\nota_0,app,ota_0,0x20000,0x20000\nota_1,app,ota_1,0x40000,0x20000\n" +
		"storage,data,spiffs,0x60000,0x10000\nfctry,data,nvs,0x70000,0x6000\nesp_secure_cert,0x3f,,0x78000,0x2000\n"
)

type cloud struct {
	t testing.TB
	*server.Server
	roots *x509.CertPool
	ca    []byte
}

func startCloud(t testing.TB) *cloud {
	t.Helper()
	cfg := server.Defaults()
	cfg.MQTT, cfg.HTTPS, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Data, cfg.AdminKeyID, cfg.AdminSecret = t.TempDir(), adminID, adminSecret
	s, err := server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := &cloud{t: t, Server: s, roots: x509.NewCertPool()}
	if c.ca, err = os.ReadFile(filepath.Join(cfg.Data, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	c.roots.AppendCertsFromPEM(c.ca)
	c.api("POST", "/policies/devices", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`}, nil)
	return c
}

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
	signer := sigv4.Signer{AccessKeyID: adminID, SecretAccessKey: adminSecret, Region: "us-east-1", Service: "iot"}
	signer.Sign(r, body, time.Now())
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

// issue makes a thing with a certificate, as a factory does.
func (c *cloud) issue(thing string) (cert, key []byte) {
	c.t.Helper()
	key, err := linux.Keys{}.NewKey()
	if err != nil {
		c.t.Fatal(err)
	}
	csr, err := linux.Keys{}.SigningRequest(key, thing)
	if err != nil {
		c.t.Fatal(err)
	}
	c.api("POST", "/things/"+thing, map[string]any{}, nil)
	var made struct{ CertificateArn, CertificatePem string }
	c.api("POST", "/certificates?setAsActive=true", map[string]string{"certificateSigningRequest": string(csr)}, &made)
	c.api("PUT", "/things/"+thing+"/principals", http.Header{"X-Amzn-Principal": {made.CertificateArn}}, nil)
	c.api("PUT", "/target-policies/devices", map[string]string{"target": made.CertificateArn}, nil)
	return []byte(made.CertificatePem), key
}

// memory is a flash whose power can fail at a write, for good until it is on again.
type memory struct {
	*virtualesp.Flash
	writes, failAt atomic.Int64
	failed         chan struct{}
	cut            func() // what the power is of
}

func newMemory(t testing.TB) *memory {
	t.Helper()
	f, err := virtualesp.NewFlash(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{Flash: f, failed: make(chan struct{}, 1)}
	tab, err := partition.ParseCSV([]byte(table), partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := tab.Binary(partition.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, partition.DefaultOffset, b)
	return m
}

func (m *memory) put(t testing.TB, at uint32, b []byte) {
	t.Helper()
	if err := errors.Join(m.Flash.Erase(at, uint32(len(b)+4095)&^4095), m.Flash.Program(at, b)); err != nil {
		t.Fatal(err)
	}
}

func (m *memory) lost() bool {
	n, at := m.writes.Add(1), m.failAt.Load()
	if at == 0 || n < at {
		return false
	}
	m.cut()
	select {
	case m.failed <- struct{}{}:
	default:
	}
	return true
}

func (m *memory) Erase(offset, size uint32) error {
	if m.lost() {
		return flash.ErrPowerLoss
	}
	return m.Flash.Erase(offset, size)
}

func (m *memory) Program(offset uint32, b []byte) error {
	if m.lost() {
		_ = m.Flash.Program(offset, b[:len(b)/2]) // torn
		return flash.ErrPowerLoss
	}
	return m.Flash.Program(offset, b)
}

func app(t testing.TB, version string, p firmware.Program) []byte {
	t.Helper()
	b, err := firmware.Build(chip.ESP32C3, appimage.Description{ProjectName: "lamp", Version: version}, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bench is a board with what it says.
type bench struct {
	*firmware.Board
	t     testing.TB
	c     *cloud
	flash *memory
	thing string
	key   *ecdsa.PrivateKey

	mu   sync.Mutex
	said []string
}

func (c *cloud) bench(t testing.TB, thing string) *bench {
	t.Helper()
	b := &bench{t: t, c: c, flash: newMemory(t), thing: thing}
	var err error
	if b.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	cert, key := c.issue(thing)
	image, err := spiffs.Build(spiffs.DefaultConfig(), 0x10000, []spiffs.File{{Name: "/certificate.pem.crt", Data: cert}, {Name: "/private.pem.key", Data: key}, {Name: "/aws-root-ca.pem", Data: c.ca}})
	if err != nil {
		t.Fatal(err)
	}
	b.flash.put(t, 0x60000, image)
	b.flash.put(t, 0x20000, app(t, "1.0", firmware.Program{SigningKey: b.publicKey()}))
	b.on()
	t.Cleanup(b.Close)
	return b
}

func (b *bench) publicKey() string {
	der, err := x509.MarshalPKIXPublicKey(&b.key.PublicKey)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (b *bench) on() {
	if b.Board != nil {
		b.Close()
	}
	b.Board = firmware.New(firmware.Config{Flash: b.flash, Endpoint: fmt.Sprintf("localhost:%d", b.c.Ready.MQTTPort), Told: b.tell,
		Booted: func(boot virtualesp.Boot) { b.tell("boot: " + boot.String()) }})
	b.flash.cut = b.Cut
	b.PowerOn()
}

func (b *bench) tell(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, s)
}

func (b *bench) log() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.said, "\n")
}

func (b *bench) eventually(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: no %s:\n%s", b.thing, what, b.log())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// update offers an image as a signed OTA job.
func (b *bench) update(id string, image []byte) {
	b.t.Helper()
	b.c.api("PUT", "/berth/files/"+id, image, nil)
	digest := sha256.Sum256(image)
	signature, err := ecdsa.SignASN1(rand.Reader, b.key, digest[:])
	if err != nil {
		b.t.Fatal(err)
	}
	b.c.api("POST", "/otaUpdates/"+id, map[string]any{"targets": []string{"arn:aws:iot:us-east-1:000000000000:thing/" + b.thing}, "protocols": []string{"MQTT"},
		"roleArn": "arn:aws:iam::000000000000:role/any", "files": []any{map[string]any{"fileName": "/fw.bin",
			"fileLocation": map[string]any{"s3Location": map[string]string{"bucket": "berth", "key": id}},
			"codeSigning": map[string]any{"customCodeSigning": map[string]any{
				"signature":        map[string]string{"inlineDocument": base64.StdEncoding.EncodeToString(signature)},
				"certificateChain": map[string]string{"certificateName": "signer"}, "hashAlgorithm": "SHA256", "signatureAlgorithm": "ECDSA"}}}}}, nil)
}

func (b *bench) result(id string) (status, reason string) {
	b.t.Helper()
	b.eventually("end of "+id, func() bool {
		var out struct {
			Execution struct {
				Status        string
				StatusDetails struct{ DetailsMap map[string]string }
			}
		}
		if code, _ := b.c.call("GET", "/things/"+b.thing+"/jobs/AFR_OTA-"+id, nil, &out); code != 200 {
			return false
		}
		status, reason = out.Execution.Status, out.Execution.StatusDetails.DetailsMap["reason"]
		return status == "SUCCEEDED" || status == "FAILED" || status == "REJECTED"
	})
	return status, reason
}

// reported is the version in the shadow.
func (b *bench) reported() (version string) {
	var out struct {
		State struct {
			Reported struct{ Firmware struct{ Version string } }
		}
	}
	b.c.call("GET", "/things/"+b.thing+"/shadow", nil, &out)
	return out.State.Reported.Firmware.Version
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	b := c.bench(t, "lamp")
	signed := firmware.Program{SigningKey: b.publicKey()}
	b.eventually("version 1.0 in the shadow", func() bool { return b.reported() == "1.0" })

	c.api("POST", "/things/lamp/shadow", map[string]any{"state": map[string]any{"desired": map[string]any{"light": "on"}}}, nil)
	b.eventually("desired light", func() bool { return strings.Contains(b.log(), `desired: {"light":"on"}`) })

	with := func(change func(*firmware.Program)) firmware.Program { p := signed; change(&p); return p }
	other, err := firmware.Build(chip.ESP32C3, appimage.Description{ProjectName: "kettle", Version: "9"}, signed)
	if err != nil {
		t.Fatal(err)
	}
	s3, err := firmware.Build(chip.ESP32S3, appimage.Description{ProjectName: "lamp", Version: "9"}, signed)
	if err != nil {
		t.Fatal(err)
	}
	broken := app(t, "1.1", signed)
	broken[100]++
	for i, c := range []struct {
		image          []byte
		status, reason string
		version        string
	}{
		{s3, "FAILED", "the image is not for this device: it is for ESP32-S3, this is ESP32-C3", "1.0"},
		{other, "FAILED", `the image is not for this device: it is "kettle", this device runs "lamp"`, "1.0"},
		{broken, "FAILED", "the image is not for this device: ", "1.0"},
		{[]byte("no image at all"), "FAILED", "the image is not for this device: ", "1.0"},
		{app(t, "1.1", with(func(p *firmware.Program) { p.SelfTest = "the sensor does not answer" })), "FAILED", "rolled back: the self-test failed: the sensor does not answer", "1.0"},
		{app(t, "1.2", with(func(p *firmware.Program) { p.Crash = true })), "FAILED", "rolled back: the new image did not start", "1.0"},
		{app(t, "1.3", signed), "SUCCEEDED", "", "1.3"},
		{app(t, "1.4", signed), "SUCCEEDED", "", "1.4"},
	} {
		id := fmt.Sprint("update", i)
		b.update(id, c.image)
		status, reason := b.result(id)
		if status != c.status || !strings.HasPrefix(reason, c.reason) || c.reason == "" && reason != "" {
			t.Errorf("%s: %s %q, want %s %q", id, status, reason, c.status, c.reason)
		}
		b.eventually("version "+c.version, func() bool { return b.reported() == c.version && b.System() != nil && b.System().Connected() })
	}
	b.PowerOn()
	b.eventually("the state from before", func() bool {
		s := b.System()
		return s != nil && s.Connected() && bytes.Contains(s.Data(), []byte(`"light":"on"`))
	})
}

// TestPowerLoss cuts the power at every write to flash between a board's first start and the end of an
// update, one by one. It always comes back, with its identity and on the image that the job says.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	const lanes = 8
	var cuts atomic.Int64
	for lane := range lanes {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			b := c.bench(t, fmt.Sprint("board", lane))
			b.Close()
			image := app(t, "2.0", firmware.Program{SigningKey: b.publicKey()})
			before := make([]byte, b.flash.Size())
			if _, err := b.flash.ReadAt(before, 0); err != nil {
				t.Fatal(err)
			}
			for n := int64(lane + 1); ; n += lanes {
				b.flash.put(t, 0, before)
				b.flash.writes.Store(0)
				b.flash.failAt.Store(n)
				id := fmt.Sprintf("u%d-%d", lane, n)
				b.update(id, image)
				b.on()
				done := make(chan struct{})
				go func() {
					defer close(done)
					select {
					case <-b.flash.failed:
						b.flash.failAt.Store(0)
						cuts.Add(1)
						b.PowerOn()
					case <-t.Context().Done():
					}
				}()
				status, reason := b.result(id)
				hit := b.flash.failAt.Load() == 0
				want := map[string]string{"SUCCEEDED": "2.0", "FAILED": "1.0"}[status]
				if status == "FAILED" && !strings.Contains(reason, "the new image did not start") {
					t.Errorf("cut at write %d: %s %s", n, status, reason)
				}
				b.eventually("version "+want, func() bool {
					s := b.System()
					return s != nil && s.Connected() && b.reported() == want
				})
				b.flash.failAt.Store(0)
				if !hit {
					select {
					case b.flash.failed <- struct{}{}:
					default:
					}
				}
				<-done
				if !hit {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		if n := cuts.Load(); n < 40 {
			t.Errorf("the power was cut %d times only", n)
		}
		t.Logf("the power was cut %d times", cuts.Load())
	})
}
