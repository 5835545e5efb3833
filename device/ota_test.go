package device_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/device/mode"
	"github.com/berth-iot/berth/device/ota"
)

// machine is what survives a restart of a device: flash, slots and its image.
type machine struct {
	t       *testing.T
	cloud   *cloud
	storage *flash.Memory
	dir     string
	key     *ecdsa.PrivateKey
	id      device.Identity
	client  *http.Client
}

const otaSize = 200_000

func (c *cloud) machine(t *testing.T, thing string) *machine {
	t.Helper()
	m := &machine{t: t, cloud: c, storage: flash.NewMemory(), dir: t.TempDir()}
	m.id, _ = c.issue(thing, "devices")
	var err error
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "slot-0"), []byte("old image"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.transport().Roots}, DisableKeepAlives: true}}
	return m
}

// boot does what a boot loader and an image do.
func (m *machine) boot(selfTest error) (b *board, image string) {
	m.t.Helper()
	slots, err := linux.OpenSlots(m.dir, 1<<20)
	if err != nil {
		m.t.Fatal(err)
	}
	path, err := slots.Boot()
	if err != nil {
		m.t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	b = m.cloud.boot(m.storage, func(cfg *device.Config, h *device.Handlers, b *board) {
		cfg.Given = m.id
		cfg.OTA = &ota.Config{Slots: slots, HTTP: linux.Download{Client: m.client}, Verify: linux.Verifier(&m.key.PublicKey), Trial: time.Minute, Attempts: 3,
			SelfTest: func(context.Context) error { return selfTest }}
		h.Mode = func(from, to mode.Mode) { b.note("mode %v", to) }
	})
	return b, string(content)
}

// update creates an OTA update for the machine's thing and returns its image.
func (m *machine) update(id, protocol string, forge bool) string {
	m.t.Helper()
	image := make([]byte, otaSize)
	mathrand.NewChaCha8([32]byte{byte(len(id))}).Read(image)
	m.cloud.api("PUT", "/berth/files/"+id, image, nil)
	digest := sha256.Sum256(image)
	if forge {
		digest[0]++
	}
	signature, err := ecdsa.SignASN1(rand.Reader, m.key, digest[:])
	if err != nil {
		m.t.Fatal(err)
	}
	m.cloud.api("POST", "/otaUpdates/"+id, map[string]any{"targets": []string{arn + "thing/" + m.id.Thing}, "protocols": []string{protocol},
		"roleArn": "arn:aws:iam::000000000000:role/any", "files": []any{map[string]any{"fileName": "/fw.bin",
			"fileLocation": map[string]any{"s3Location": map[string]string{"bucket": "berth", "key": id}},
			"codeSigning": map[string]any{"customCodeSigning": map[string]any{
				"signature":        map[string]string{"inlineDocument": base64.StdEncoding.EncodeToString(signature)},
				"certificateChain": map[string]string{"certificateName": "signer"}, "hashAlgorithm": "SHA256", "signatureAlgorithm": "ECDSA"}}}}}, nil)
	return string(image)
}

func (m *machine) result(b *board, id string) (status, reason string) {
	m.t.Helper()
	b.eventually("the end of "+id, func() bool {
		s, d := m.cloud.execution("AFR_OTA-"+id, m.id.Thing)
		status, reason = s, d["reason"]
		return s == "SUCCEEDED" || s == "FAILED" || s == "REJECTED"
	})
	return status, reason
}

// TestOTA: over both protocols an image comes in, is proved, started on trial and kept, or not.
func TestOTA(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	for _, protocol := range []string{"MQTT", "HTTP"} {
		m := c.machine(t, "lamp-"+protocol)
		b, image := m.boot(nil)
		if image != "old image" {
			t.Fatalf("boots %.20q", image)
		}
		m.update("forged"+protocol, protocol, true)
		if status, reason := m.result(b, "forged"+protocol); status != "FAILED" || reason != "the image's signature is not good: it was not made with the device's signing key" {
			t.Errorf("%s: forged image: %s %s", protocol, status, reason)
		}
		b.eventually("back in Normal", func() bool { return b.Mode() == mode.Normal })

		m.update("bad"+protocol, protocol, false)
		<-b.restarts
		b, image = m.boot(errors.New("no light"))
		if len(image) != otaSize {
			t.Errorf("%s: boots %.20q", protocol, image)
		}
		<-b.restarts
		b, image = m.boot(nil)
		if image != "old image" {
			t.Errorf("%s: after the roll-back boots %.20q", protocol, image)
		}
		if status, reason := m.result(b, "bad"+protocol); status != "FAILED" || reason != "rolled back: the self-test failed: no light" {
			t.Errorf("%s: bad image: %s %s", protocol, status, reason)
		}

		want := m.update("good"+protocol, protocol, false)
		<-b.restarts
		b, image = m.boot(nil)
		if status, reason := m.result(b, "good"+protocol); status != "SUCCEEDED" || image != want {
			t.Errorf("%s: good image: %s %s", protocol, status, reason)
		}
		b.stop()
		if _, image = m.boot(nil); image != want {
			t.Errorf("%s: the new image is not kept", protocol)
		}
	}
}

// TestPowerLossInOTA cuts the power at every write to flash. The job always ends, on the image that
// its result says.
func TestPowerLossInOTA(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	for cut := 1; ; cut++ {
		m := c.machine(t, fmt.Sprint("torn-", cut))
		b, _ := m.boot(nil)
		b.eventually("connected", b.Connected)
		m.storage.CutAt(cut, flash.Tear(cut%flash.Tears))
		id := fmt.Sprint("u", cut)
		want := m.update(id, "HTTP", false)
		over, image, cuts := false, "", 0
		for boots := 0; !over; boots++ {
			if boots > 5 {
				t.Fatalf("cut at write %d: the update does not end", cut)
			}
			b.eventually(fmt.Sprint("restart, end or power loss ", cut), func() bool {
				status, _ := c.execution("AFR_OTA-"+id, m.id.Thing)
				over = status == "SUCCEEDED" || status == "FAILED"
				return over || m.storage.Off() || len(b.restarts) > 0
			})
			if over && !m.storage.Off() {
				break
			}
			over = false
			b.stop()
			if m.storage.Off() { // else the cut is still to come
				cuts++
				m.storage.PowerOn()
			}
			b, image = m.boot(nil)
		}
		b.stop()
		status, reason := c.execution("AFR_OTA-"+id, m.id.Thing)
		_, after := m.boot(nil)
		if status == "SUCCEEDED" && after != want || status == "FAILED" && after != "old image" {
			t.Errorf("cut at write %d: %s %v, boots %.20q, then %.20q", cut, status, reason, image, after)
		}
		if cuts == 0 {
			if cut < 5 {
				t.Errorf("only %d writes", cut)
			}
			break
		}
	}
}
