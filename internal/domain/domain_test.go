package domain

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/store"
	"github.com/berth-iot/berth/internal/store/storetest"
)

var ctx = context.Background()

// bench is Domains over a store.
type bench struct {
	*Domains
	t     *testing.T
	cfg   Config
	ended []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	b := &bench{t: t}
	b.cfg = Config{Store: db, ARN: func(r string) string { return "arn:" + r }, Region: "us-east-1", Account: "000000000000", Endpoint: "iot.example.com",
		Seal:            func(label string, plain []byte) []byte { return append([]byte(label), plain...) },
		Unseal:          func(label string, sealed []byte) ([]byte, error) { return sealed[len(label):], nil },
		KnowsAuthorizer: func(_ *store.Tx, name string) (bool, error) { return name == "known", nil },
		Ended:           func(domainName, _ string) { b.ended = append(b.ended, domainName) },
		Issue: func(host string, _ *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("issue " + host)
		}}
	b.reopen()
	return b
}

func (b *bench) reopen() {
	b.t.Helper()
	d, err := Open(ctx, b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Domains = d
}

func TestLife(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if c := b.Lookup("anything"); c.Name != Default || !c.Plain() || c.DomainName != "iot.example.com" {
		t.Errorf("%+v", c)
	}
	for name, c := range map[string]Configuration{
		"reserved name":      {Name: "iot:Data", DomainName: "a.b"},
		"no host name":       {Name: "a", DomainName: "a b"},
		"an address":         {Name: "a", DomainName: "10.0.0.1"},
		"the endpoint":       {Name: "a", DomainName: "IOT.example.com"},
		"unknown authorizer": {Name: "a", DomainName: "a.b", Settings: Settings{Authorizer: &Authorizer{Default: "none"}}},
		"authentication":     {Name: "a", DomainName: "a.b", Settings: Settings{Authentication: "NONE"}},
		"protocol":           {Name: "a", DomainName: "a.b", Settings: Settings{Protocol: "COAP"}},
		"both":               {Name: "a", DomainName: "a.b", Settings: Settings{Protocol: SecureMQTT, Authentication: AuthSigV4}},
		"security policy":    {Name: "a", DomainName: "a.b", Settings: Settings{SecurityPolicy: "strong"}},
		"certificate alone":  {Name: "a", ServerCertificate: "arn:aws:acm:us-east-1:000000000000:certificate/1"},
	} {
		if _, err := b.Create(ctx, c); !errors.Is(err, registry.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	elsewhere, err := Open(ctx, b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, Configuration{Name: "a", DomainName: "A.example.com", Settings: Settings{Authorizer: &Authorizer{Default: "known"}, ServerCertificateIs: json.RawMessage(`{"enableOCSPCheck":true}`)}}); err != nil {
		t.Fatal(err)
	}
	if c, err := b.Create(ctx, Configuration{Name: "Managed"}); err != nil || c.DomainName != "managed.iot.example.com" || c.Type != AWSManaged {
		t.Errorf("%+v %v", c, err)
	}
	for _, c := range []Configuration{{Name: "a", DomainName: "other.example.com"}, {Name: "b", DomainName: "a.example.com"}} {
		if _, err := b.Create(ctx, c); !errors.Is(err, registry.ErrAlreadyExists) {
			t.Error(err)
		}
	}
	b.reopen()
	if c := b.Lookup("a.EXAMPLE.com"); c.Name != "a" || c.Plain() || c.Authorizer.Default != "known" || string(c.ServerCertificateIs) != `{"enableOCSPCheck":true}` {
		t.Errorf("%+v", c)
	}
	// Another node, which has not heard of it yet.
	if err := b.cfg.Store.Write(ctx, func(tx *store.Tx) error {
		for authorizer, want := range map[string]string{"known": "a", "other": ""} {
			if name, err := elsewhere.UsingAuthorizer(tx, authorizer); err != nil || name != want {
				t.Errorf("%s: %q %v", authorizer, name, err)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, ok, err := b.GetCertificate(b.Lookup("a.example.com"), nil); !ok || err == nil || err.Error() != "issue a.example.com" {
		t.Error(ok, err)
	}
	if err := b.Delete(ctx, "a"); !errors.Is(err, registry.ErrInvalid) {
		t.Error(err)
	}
	if c, err := b.Update(ctx, "a", Update{Settings: Settings{Status: Disabled, SecurityPolicy: "IotSecurityPolicy_TLS12_1_2_2022_10"}, RemoveAuthorizer: true}); err != nil || c.Authorizer != nil || c.Status != Disabled {
		t.Errorf("%+v %v", c, err)
	}
	if low, high := b.Lookup("a.example.com").Versions(); low != tls.VersionTLS12 || high != tls.VersionTLS12 {
		t.Error(low, high)
	}
	if strings.Join(b.ended, " ") != "a.example.com" {
		t.Error(b.ended)
	}
	if err := b.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	if c := b.Lookup("a.example.com"); c.Name != Default {
		t.Errorf("%+v", c)
	}

	// The default configuration can be changed, and neither disabled nor deleted.
	if _, err := b.Update(ctx, Default, Update{Settings: Settings{SecurityPolicy: "IotSecurityPolicy_TLS13_1_3_2022_10"}}); err != nil {
		t.Error(err)
	}
	b.reopen()
	if c := b.Lookup(""); c.Plain() || c.DomainName != "iot.example.com" {
		t.Errorf("%+v", c)
	}
	if _, err := b.Update(ctx, Default, Update{Settings: Settings{Status: Disabled}}); !errors.Is(err, registry.ErrInvalid) {
		t.Error(err)
	}
	if err := b.Delete(ctx, Default); !errors.Is(err, registry.ErrInvalid) {
		t.Error(err)
	}
	list, next, err := b.List(registry.Page{Limit: 1})
	if err != nil || len(list) != 1 || list[0].Name != "Managed" || next == "" {
		t.Errorf("%v %q %v", list, next, err)
	}
}

// pair is a certificate and its key in PEM.
func pair(t *testing.T, change func(*x509.Certificate)) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.example.com"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	chain, key := pair(t, func(*x509.Certificate) {})
	_, otherKey := pair(t, func(*x509.Certificate) {})
	expired, expiredKey := pair(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	client, clientKey := pair(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	deep := chain
	for range maxDepth {
		deep = append(deep[:len(deep):len(deep)], chain...)
	}
	for name, p := range map[string][2][]byte{"another key": {chain, otherKey}, "expired": {expired, expiredKey}, "for clients": {client, clientKey},
		"nothing": {nil, nil}, "deep": {deep, key}, "long": {make([]byte, maxChain+1), key}} {
		if _, err := b.AddCertificate(ctx, p[0], p[1]); !errors.Is(err, registry.ErrCertificateValidation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert, err := b.AddCertificate(ctx, chain, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Configuration{"another name": {Name: "c", DomainName: "example.org", ServerCertificate: cert.ARN}, "another certificate": {Name: "c", DomainName: "c.example.com", ServerCertificate: cert.ARN + "0"}} {
		if _, err := b.Create(ctx, c); !errors.Is(err, registry.ErrCertificateValidation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.Create(ctx, Configuration{Name: "c", DomainName: "c.example.com", ServerCertificate: cert.ARN}); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	shown, ok, err := b.GetCertificate(b.Lookup("c.example.com"), nil)
	if err != nil || !ok || shown.Leaf.DNSNames[0] != "*.example.com" {
		t.Errorf("%v %v", ok, err)
	}
}

func FuzzDomainName(f *testing.F) {
	for _, s := range []string{"a.b", "localhost", "-a.b", "a..b", "a_b.c", strings.Repeat("a.", 130) + "b", "é.com", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if domainPattern.MatchString(name) && strings.ContainsAny(name, " /:\\\x00*") {
			t.Errorf("%q passes as a host name", name)
		}
	})
}
