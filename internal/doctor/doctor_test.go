package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/doctor"
	"github.com/berth-iot/berth/policy"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key, a.cert, a.pem = a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(365 * 24 * time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	b, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})
}

// listen takes connections of TLS and says nothing over them.
func listen(t *testing.T, cfg *tls.Config) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if cfg != nil {
					conn = tls.Server(conn, cfg)
				} else if _, err := conn.Write([]byte("220 plain text\r\n")); err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// registry is a Cloud with one certificate.
type registry struct {
	state     string
	things    []string
	documents []string
	events    []doctor.Event
}

func (r *registry) Certificate(context.Context, string) (string, error) {
	if r.state == "" {
		return "", doctor.ErrUnknownCertificate
	}
	return r.state, nil
}
func (r *registry) Things(context.Context, string) ([]string, error) { return r.things, nil }
func (r *registry) Policies(context.Context, string) ([]string, error) {
	return make([]string, len(r.documents)), nil
}
func (r *registry) May(_ context.Context, _, clientID, action, resource string) (bool, string, []string, error) {
	var list []policy.Named
	for i, text := range r.documents {
		doc, err := policy.Parse([]byte(text))
		if err != nil {
			return false, "", nil, err
		}
		list = append(list, policy.Named{Name: "p" + strconv.Itoa(i), Version: "1", Doc: doc})
	}
	a, ok := policy.ParseAction("iot:" + action)
	if !ok {
		return false, "", nil, errors.New("no action " + action)
	}
	d := policy.Compile(list, &policy.Context{ARNPrefix: "arn:aws:iot:r:000000000000:", ClientID: clientID}).Explain(a, a.Kind(), resource)
	return d.Allowed, d.String(), nil, nil
}
func (r *registry) History(context.Context, string) ([]doctor.Event, error) { return r.events, nil }
func (*registry) Register(string) string                                    { return "REGISTER" }
func (*registry) Activate(string) string                                    { return "ACTIVATE" }
func (*registry) AttachThing(string, string) string                         { return "ATTACH THING" }
func (*registry) AttachPolicy(string) string                                { return "ATTACH POLICY" }

// TestClassicFailures: each is found, named, and has its remedy, and nothing else is called a problem.
func TestClassicFailures(t *testing.T) {
	t.Parallel()
	root, other := newAuthority(t, "root"), newAuthority(t, "other")
	serverKey, serverCert, _ := root.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"}})
	plain := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{serverCert.Raw}, PrivateKey: serverKey}}, ClientAuth: tls.RequestClientCert}
	picky := plain.Clone()
	picky.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if h.ServerName == "" {
			return nil, errors.New("no server name")
		}
		return nil, nil
	}
	modern := plain.Clone()
	modern.MinVersion = tls.VersionTLS13
	usual, strict, newest, text := listen(t, plain), listen(t, picky), listen(t, modern), listen(t, nil)
	key, _, cert := root.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "lamp"}})
	strangeKey, _, _ := root.issue(&x509.Certificate{})
	oldKey, _, old := root.issue(&x509.Certificate{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)})
	const all = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`
	past := func(reason string, n int) (list []doctor.Event) {
		for i := range n {
			list = append(list, doctor.Event{Time: time.Now().Add(-time.Duration(i) * time.Minute), Kind: "disconnected", Reason: reason},
				doctor.Event{Time: time.Now().Add(-time.Duration(i) * time.Minute), Kind: "connected", SourceIP: "192.0.2." + strconv.Itoa(1+i%2)})
		}
		return list
	}
	for name, c := range map[string]struct {
		change func(*doctor.Doctor, *registry)
		want   []string // "check: part of the sentence → part of the remedy" of every problem and warning
	}{
		"nothing": {func(*doctor.Doctor, *registry) {}, nil},
		"unset clock": {func(d *doctor.Doctor, _ *registry) { d.Clock = func() time.Time { return time.Unix(100, 0) } }, []string{
			"certificate: not yet valid → SNTP", "clock: never been set → SNTP", "chain: not yet valid for the device's clock, which reads 1970-01-01 → SNTP"}},
		"wrong root CA":      {func(d *doctor.Doctor, _ *registry) { d.CA = other.pem }, []string{"chain: wrong root CA: the server's certificate was issued by CN=root, the device trusts CN=other → root that has issued"}},
		"missing SNI":        {func(d *doctor.Doctor, _ *registry) { d.Port, d.WithoutSNI = strict, true }, []string{"SNI: without a server name → by host name"}},
		"SNI is needed":      {func(d *doctor.Doctor, _ *registry) { d.Port = strict }, nil},
		"no TLS 1.2":         {func(d *doctor.Doctor, _ *registry) { d.Port = newest }, []string{"TLS: TLS 1.2 does not → ESP8266"}},
		"not activated":      {func(_ *doctor.Doctor, r *registry) { r.state = "INACTIVE" }, []string{"registration: is INACTIVE, not ACTIVE → ACTIVATE"}},
		"not registered":     {func(_ *doctor.Doctor, r *registry) { r.state = "" }, []string{"registration: does not know → REGISTER"}},
		"no thing":           {func(_ *doctor.Doctor, r *registry) { r.things = nil }, []string{"thing: no thing has → ATTACH THING"}},
		"another thing":      {func(_ *doctor.Doctor, r *registry) { r.things = []string{"kettle"} }, []string{"thing: attached to kettle, the client identifier is lamp → thing's name"}},
		"no policy":          {func(_ *doctor.Doctor, r *registry) { r.documents = nil }, []string{"policy: no policy → ATTACH POLICY"}},
		"two devices":        {func(_ *doctor.Doctor, r *registry) { r.events = past("DUPLICATE_CLIENTID", 4) }, []string{"client identifier: throw each other out: 4 times in the last 15 minutes, from 192.0.2.1 and 192.0.2.2 → of its own"}},
		"silent connections": {func(_ *doctor.Doctor, r *registry) { r.events = past("MQTT_KEEP_ALIVE_TIMEOUT", 4) }, []string{"connection: fell silent 4 times → lower the keep-alive"}},
		"keep-alive and NAT": {func(d *doctor.Doctor, _ *registry) { d.KeepAlive = 19 * time.Minute }, []string{"keep-alive: NAT → 60 s"}},
		"no keep-alive":      {func(d *doctor.Doctor, _ *registry) { d.KeepAlive = 0 }, []string{"keep-alive: is off → 60 s"}},
		"policy without the client": {func(d *doctor.Doctor, r *registry) {
			r.documents = []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:000000000000:client/kettle"}]}`}
		}, []string{"policy: may not connect as lamp → iot:Connect on arn:aws:iot:REGION:ACCOUNT:client/lamp"}},
		"topic for topicfilter": {func(d *doctor.Doctor, r *registry) {
			d.Subscribe, d.Publish = []string{"lamp/+"}, []string{"lamp/state"}
			r.documents = []string{`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},{"Effect":"Allow","Action":["iot:Publish","iot:Subscribe"],"Resource":"arn:aws:iot:r:000000000000:topic/lamp/*"}]}`}
		}, []string{"policy: checked against topicfilter/ → :topicfilter/lamp/+"}},
		"key of another":      {func(d *doctor.Doctor, _ *registry) { d.Key = keyPEM(t, strangeKey) }, []string{"key: does not belong → made together"}},
		"certificate ended":   {func(d *doctor.Doctor, _ *registry) { d.Certificate, d.Key = old, keyPEM(t, oldKey) }, []string{"certificate: ended on → new certificate"}},
		"CA as certificate":   {func(d *doctor.Doctor, _ *registry) { d.Certificate = root.pem }, []string{"certificate: authority → for this device"}},
		"certificate as CA":   {func(d *doctor.Doctor, _ *registry) { d.CA = cert }, []string{"root CA: no authority's certificate → ca.pem", "chain: wrong root CA → root that has issued"}},
		"not PEM":             {func(d *doctor.Doctor, _ *registry) { d.Certificate = []byte("hello") }, []string{"certificate: not PEM → BEGIN CERTIFICATE"}},
		"name of another":     {func(d *doctor.Doctor, _ *registry) { d.ServerName = "iot.example.com" }, []string{"server name: not for iot.example.com but for localhost → --endpoint iot.example.com"}},
		"URL for a host name": {func(d *doctor.Doctor, _ *registry) { d.Host = "mqtts://localhost:" + strconv.Itoa(usual) + "/mqtt" }, []string{"endpoint: more than a host name → use localhost"}},
		"name does not exist": {func(d *doctor.Doctor, _ *registry) { d.Host = "berth.invalid" }, []string{"name: berth.invalid → spelling"}},
		"nothing listens":     {func(d *doctor.Doctor, _ *registry) { d.Port = free(t) }, []string{"port: nothing listens → check the port"}},
		"plain port":          {func(d *doctor.Doctor, _ *registry) { d.Port = text }, []string{"TLS: does not speak TLS → 8883"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &registry{state: "ACTIVE", things: []string{"lamp"}, documents: []string{all}}
			d := &doctor.Doctor{Device: doctor.Device{Host: "localhost", Port: usual, CA: root.pem, Certificate: cert, Key: keyPEM(t, key), ClientID: "lamp",
				KeepAlive: time.Minute, Timeout: 20 * time.Second, HTTPSPort: free(t)}, Cloud: r}
			c.change(d, r)
			wrong := c.want
			for _, f := range d.Examine(t.Context()) {
				if f.Result != doctor.Problem && f.Result != doctor.Warning {
					continue
				}
				if f.Fix == "" {
					t.Errorf("no remedy for %q", f.Says)
				}
				if len(wrong) == 0 {
					t.Errorf("too much: %+v", f)
					continue
				}
				check, rest, _ := strings.Cut(wrong[0], ": ")
				says, fix, _ := strings.Cut(rest, " → ")
				if f.Check != check || !strings.Contains(f.Says, says) || !strings.Contains(f.Fix, fix) {
					t.Errorf("found %+v\nwant %s", f, wrong[0])
				}
				wrong = wrong[1:]
			}
			if len(wrong) > 0 {
				t.Errorf("not found: %q", wrong)
			}
		})
	}
}

// free is a port on which nothing listens.
func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// FuzzFiles: whatever is given for files, the doctor says what is wrong with it.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN EC PRIVATE KEY-----\n"), []byte(""))
	f.Add([]byte(""), []byte(""), []byte("x"))
	f.Fuzz(func(t *testing.T, cert, key, ca []byte) {
		d := &doctor.Doctor{Device: doctor.Device{Host: "127.0.0.1", Port: 1, CA: ca, Certificate: cert, Key: key, ClientID: "c", KeepAlive: time.Minute}}
		for _, f := range d.Examine(t.Context()) {
			if f.Says == "" {
				t.Error("a finding without words")
			}
		}
	})
}
