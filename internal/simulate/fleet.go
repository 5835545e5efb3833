package simulate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-iot/berth/device"
	"github.com/berth-iot/berth/device/flash"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/sigv4"
)

// Credentials of the server that a simulation starts for itself; it can be reached from nowhere else.
const (
	keyID     = "AKIASIMULATION000000"
	keySecret = "the-simulation-is-in-memory-and-needs-no-secret"
	policy    = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`
	joining   = `{"Parameters":{"AWS::IoT::Certificate::CommonName":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
		"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"AWS::IoT::Certificate::CommonName"}}},
		"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}},
		"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"fleet"}}}}`
)

// fleet is the devices, the server and who counts.
type fleet struct {
	cfg     Config
	began   time.Time
	stopped *atomic.Bool // from outside
	report  *Report
	network *network
	server  *server.Server
	conf    server.Config
	port    int
	roots   *x509.CertPool

	rngMu sync.Mutex
	rng   *rand.Rand

	caKey *ecdsa.PrivateKey
	ca    *x509.Certificate

	nodes     []*node
	collector *node

	mu       sync.Mutex
	received map[string]map[uint64]int
	last     map[string]uint64
	err      error
}

func newFleet(cfg Config, began time.Time, stopped *atomic.Bool) (_ *fleet, err error) {
	f := &fleet{cfg: cfg, began: began, stopped: stopped, network: newNetwork(cfg.Capacity), rng: source(cfg.Seed), received: make(map[string]map[uint64]int),
		last: make(map[string]uint64), report: &Report{Devices: cfg.Devices, Scheme: cfg.Scheme, Seed: cfg.Seed}}
	f.conf = server.Defaults()
	f.conf.Data, f.conf.Listen = cfg.Data, f.network.listen
	f.conf.MQTT, f.conf.HTTPS, f.conf.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	f.conf.AdminKeyID, f.conf.AdminSecret = keyID, keySecret
	if err := f.startServer(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.server.Close()
		}
	}()
	f.port = f.server.Ready.MQTTPort
	f.conf.MQTT = fmt.Sprintf("127.0.0.1:%d", f.port)
	pemCA, err := os.ReadFile(filepath.Join(cfg.Data, "ca.pem"))
	if err != nil {
		return nil, err
	}
	f.roots = x509.NewCertPool()
	f.roots.AppendCertsFromPEM(pemCA)
	if err := f.makeCA(); err != nil {
		return nil, err
	}
	// Keys cost more than all else and nobody looks at them: one will do.
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		return nil, err
	}
	for i := range cfg.Devices + 1 {
		n := &node{f: f, name: fmt.Sprintf("device-%06d", i), storage: flash.NewMemory(), power: make(lock, 1), open: make(map[uint64]bool), dropped: make(map[uint64]bool), lost: make(map[uint64]bool)}
		n.slots = &slots{size: max(cfg.Update, 4096), powered: func() bool { return !n.storage.Off() }}
		if n.id, err = f.issue(n.name, key, int64(i+2)); err != nil {
			return nil, err
		}
		n.wire.latency = time.Duration(10+f.random(50)) * time.Millisecond
		if i == 0 {
			f.collector = n
			continue
		}
		f.nodes = append(f.nodes, n)
	}
	if cfg.Clock > 0 {
		for _, n := range f.some(cfg.Clock) {
			n.skew = time.Unix(0, 0).Sub(began)
		}
	}
	if cfg.Slow > 0 {
		for _, n := range f.some(cfg.Slow) {
			n.wire = wire{latency: 600 * time.Millisecond, bandwidth: 4000}
		}
	}
	return f, nil
}

func (f *fleet) startServer() (err error) {
	f.server, err = server.Start(context.Background(), f.conf, slog.New(slog.DiscardHandler))
	return err
}

func (f *fleet) stopServer() { f.server.Close() }

// api calls the server's API.
func (f *fleet) api(method, path string, in, out any) error {
	var body []byte
	var err error
	switch v := in.(type) {
	case nil:
	case []byte:
		body = v
	default:
		if body, err = json.Marshal(v); err != nil {
			return err
		}
	}
	r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", f.server.Ready.HTTPPort, path), bytes.NewReader(body))
	if err != nil {
		return err
	}
	signer := sigv4.Signer{AccessKeyID: keyID, SecretAccessKey: keySecret, Region: "us-east-1", Service: "iot"}
	signer.Sign(r, body, time.Now())
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return f.network.dial(ctx, f.server.Ready.HTTPPort, wire{})
	}}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("simulate: %s %s: %s: %s", method, path, resp.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// makeCA makes the maker's CA and registers it for just-in-time provisioning.
func (f *fleet) makeCA() (err error) {
	if err := f.api("POST", "/policies/fleet", map[string]string{"policyDocument": policy}, nil); err != nil {
		return err
	}
	if f.caKey, err = ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader); err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, NotBefore: f.began.Add(-time.Hour), NotAfter: f.began.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(cryptorand.Reader, template, template, &f.caKey.PublicKey, f.caKey)
	if err != nil {
		return err
	}
	if f.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return f.api("POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", map[string]any{"caCertificate": certificatePEM(der), "certificateMode": "SNI_ONLY",
		"registrationConfig": map[string]string{"roleArn": "arn:aws:iam::000000000000:role/any", "templateBody": joining}}, nil)
}

func certificatePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (f *fleet) issue(name string, key *ecdsa.PrivateKey, serial int64) (id device.Identity, err error) {
	der, err := x509.CreateCertificate(cryptorand.Reader, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: f.began.Add(-time.Hour), NotAfter: f.began.AddDate(10, 0, 0)}, f.ca, &key.PublicKey, f.caKey)
	if err != nil {
		return id, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return id, err
	}
	return device.Identity{Certificate: []byte(certificatePEM(der)), Key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), Thing: name}, nil
}

// joining rate, in devices a second: a CA's new devices are looked at 50 times a second.
const joinRate = 40

// start switches the devices on, over a minute or as long as it takes a server to get to know them.
func (f *fleet) start() {
	f.note(f.collector.powerOn())
	f.collector.mu.Lock()
	system := f.collector.system
	f.collector.mu.Unlock()
	f.note(system.Subscribe("sim/+", 1))
	// Who is not there yet when a message comes does not get it.
	f.wait(10*time.Minute, f.collector.connected)
	f.sleep(time.Second)
	f.collector.restarts.Go(func() { f.collect(system) })
	over := max(time.Minute, time.Duration(len(f.nodes)/joinRate)*time.Second)
	for _, n := range f.nodes {
		n.mu.Lock()
		at := time.Duration(f.random(int64(over)))
		n.ticker = time.AfterFunc(at+time.Duration(f.random(int64(f.cfg.Every))), n.publish)
		n.mu.Unlock()
		n.restarts.Go(func() {
			time.Sleep(at)
			f.note(n.powerOn())
		})
	}
}

// collect reads what the devices publish.
func (f *fleet) collect(system *device.System) {
	for {
		f.collector.mu.Lock()
		closed := f.collector.closed
		f.collector.mu.Unlock()
		if closed {
			return
		}
		m, ok := system.Receive()
		if !ok {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		name := strings.TrimPrefix(m.Topic, "sim/")
		if len(m.Payload) != 8 {
			f.note(fmt.Errorf("simulate: a message of %d bytes", len(m.Payload)))
			continue
		}
		number := binary.BigEndian.Uint64(m.Payload)
		f.mu.Lock()
		of := f.received[name]
		if of == nil {
			of = make(map[uint64]int)
			f.received[name] = of
		}
		of[number]++
		if of[number] == 1 {
			if last, ok := f.last[name]; ok && number < last {
				f.report.Disorder++
			}
			f.last[name] = max(f.last[name], number)
		}
		f.mu.Unlock()
	}
}

func (f *fleet) note(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// lastError is an example of what keeps devices away.
func (f *fleet) lastError() error {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	for _, n := range f.nodes {
		n.mu.Lock()
		if n.lastUp.IsZero() && n.err != nil {
			err = errors.Join(err, n.err)
		}
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return errors.New("no reason given")
}

func (f *fleet) away() (count int) {
	for _, n := range f.nodes {
		if !n.connected() {
			count++
		}
	}
	return count
}

// watchDials counts attempts by the second into a storm, or not at all.
func (f *fleet) watchDials(from time.Time, s *Storm) {
	f.network.mu.Lock()
	defer f.network.mu.Unlock()
	if s == nil {
		f.network.dialled = func(time.Time) {}
		return
	}
	f.network.dialled = func(at time.Time) {
		second := int(at.Sub(from).Seconds())
		for len(s.Attempts) <= second {
			s.Attempts = append(s.Attempts, 0)
		}
		s.Attempts[second]++
	}
}

// update rolls an image out to everybody, some of whom lose power meanwhile.
func (f *fleet) update() error {
	image := make([]byte, f.cfg.Update)
	for i := range image {
		image[i] = byte(i * 7)
	}
	if err := f.api("PUT", "/berth/files/update", image, nil); err != nil {
		return err
	}
	if err := f.api("POST", "/thing-groups/everybody", map[string]any{}, nil); err != nil {
		return err
	}
	for _, n := range f.nodes {
		if err := f.api("PUT", "/thing-groups/addThingToThingGroup", map[string]string{"thingGroupName": "everybody", "thingName": n.name}, nil); err != nil {
			return err
		}
	}
	if err := f.api("POST", "/otaUpdates/update", map[string]any{"targets": []string{"arn:aws:iot:us-east-1:000000000000:thinggroup/everybody"}, "protocols": []string{"MQTT"},
		"roleArn": "arn:aws:iam::000000000000:role/any", "files": []any{map[string]any{"fileName": "/fw.bin",
			"fileLocation": map[string]any{"s3Location": map[string]string{"bucket": "berth", "key": "update"}}}}}, nil); err != nil {
		return err
	}
	f.tell("an update of %d bytes for all", f.cfg.Update)
	if f.cfg.UpdateBy > 0 {
		nodes := f.some(f.cfg.UpdateBy)
		f.tell("%d of them lose their power meanwhile", len(nodes))
		for _, n := range nodes {
			n.losePower(1 + int(f.random(8)))
		}
	}
	var out struct {
		Job struct {
			JobProcessDetails struct{ NumberOfSucceededThings, NumberOfFailedThings, NumberOfRejectedThings int }
		}
	}
	ended := func() bool {
		d := &out.Job.JobProcessDetails
		if err := f.api("GET", "/jobs/AFR_OTA-update", nil, &out); err != nil {
			f.note(err)
		}
		return d.NumberOfSucceededThings+d.NumberOfFailedThings+d.NumberOfRejectedThings == len(f.nodes)
	}
	for until := time.Now().Add(time.Hour); !ended() && !f.stopped.Load() && time.Now().Before(until); {
		f.sleep(5 * time.Second)
	}
	f.wait(10*time.Minute, func() bool { return f.away() == 0 })
	for _, n := range f.nodes {
		n.slots.mu.Lock()
		if n.slots.switched > 0 && bytes.Equal(n.slots.images[n.slots.running()][:len(image)], image) {
			f.report.Updated++
		}
		n.slots.mu.Unlock()
	}
	f.report.RolledBack = out.Job.JobProcessDetails.NumberOfFailedThings
	f.tell("%d of %d run the new image, %d went back to the old one", f.report.Updated, len(f.nodes), f.report.RolledBack)
	return nil
}

// drain waits until what was published has arrived.
func (f *fleet) drain() {
	for _, n := range f.nodes {
		n.mu.Lock()
		n.silent = true
		n.mu.Unlock()
	}
	f.wait(15*time.Minute, func() bool {
		for _, n := range f.nodes {
			if n.waiting() {
				return false
			}
		}
		return true
	})
	// What is acknowledged may still wait for the collector on the server.
	for before, quiet := -1, 0; quiet < 2 && !f.stopped.Load(); {
		f.sleep(30 * time.Second)
		if now := f.messages(); now == before {
			quiet++
		} else {
			before, quiet = now, 0
		}
	}
}

// messages counts those that have arrived.
func (f *fleet) messages() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.received {
		n += len(of)
	}
	return n
}

// count compares what was published with what came.
func (f *fleet) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.report
	for _, n := range f.nodes {
		n.mu.Lock()
		r.Published += int(n.next)
		of := f.received[n.name]
		for m := range n.next {
			switch times := of[m]; {
			case times > 0:
				r.Received++
				r.Twice += times - 1
			case n.dropped[m]:
				r.Dropped++
			case n.lost[m]:
				r.Unpowered++
			default:
				r.Lost++
			}
		}
		if n.clockSet {
			r.ClockSet++
		}
		r.Restarts += max(0, n.starts-1)
		if n.lastUp.IsZero() {
			r.NotBack++
		}
		n.mu.Unlock()
	}
}

func (f *fleet) close() {
	var all sync.WaitGroup
	for _, n := range append(f.nodes, f.collector) {
		all.Go(n.close)
	}
	all.Wait()
	f.server.Close()
}
