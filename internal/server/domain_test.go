package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

func TestDomainConfigurations(t *testing.T) {
	t.Parallel()
	f := start(t)
	j := newJudge(t)
	f.authorizer("passwords", j.URL)
	f.api("POST", "/domainConfigurations/passwords", map[string]any{"domainName": "Users.example.com", "authenticationType": "CUSTOM_AUTH", "applicationProtocol": "SECURE_MQTT",
		"authorizerConfig": map[string]any{"defaultAuthorizerName": "passwords", "allowAuthorizerOverride": false},
		"tlsConfig":        map[string]string{"securityPolicy": "IotSecurityPolicy_TLS13_1_3_2022_10"}}, nil)
	f.api("POST", "/domainConfigurations/certificates", map[string]any{"domainName": "certs.example.com", "authenticationType": "AWS_X509"}, nil)
	f.authorizer("other", j.URL)
	at := func(name string) func(*tls.Config) { return func(c *tls.Config) { c.ServerName = name } }
	user := client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret")}
	for range 2 {
		c, err := f.login(user, at("users.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		override := user
		override.UserName = "lamp?x-amz-customauthorizer-name=other"
		if _, err := f.login(override, at("users.example.com")); code(err) != mqtt.NotAuthorized {
			t.Errorf("override: %v", err)
		}
		if _, err := f.login(user, at("users.example.com"), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
			t.Error("TLS 1.2 where the security policy wants 1.3")
		}
		if _, err := f.login(user, at("certs.example.com")); err == nil {
			t.Error("connected without certificate where one is wanted")
		}
		if status, body := f.httpsAt("users.example.com", nil, "GET", "/things", nil); status != 0 {
			t.Errorf("HTTP at a domain for MQTT: %d %s", status, body)
		}
		if status, body := f.httpsAt("certs.example.com", nil, "POST", "/topics/lamp/x", nil); status != 0 {
			t.Errorf("HTTP without certificate: %d %s", status, body)
		}
		f.api("PUT", "/domainConfigurations/passwords", map[string]string{"domainConfigurationStatus": "DISABLED"}, nil)
		c.ended()
		if _, err := f.login(user, at("users.example.com")); err == nil {
			t.Error("connected at a disabled domain")
		}
		if got := f.denials(); !strings.Contains(got, "DISABLED") {
			t.Errorf("denials: %s", got)
		}
		f.api("PUT", "/domainConfigurations/passwords", map[string]string{"domainConfigurationStatus": "ENABLED"}, nil)
		f.restart()
	}
	var list struct {
		DomainConfigurations []struct{ DomainConfigurationName string }
	}
	f.api("GET", "/domainConfigurations", nil, &list)
	if fmt.Sprint(list) != "{[{certificates} {iot:Data-ATS} {passwords}]}" {
		t.Errorf("%v", list)
	}
	if status, body := f.request("DELETE", "/authorizer/passwords", nil); status != 409 {
		t.Errorf("delete an authorizer in use: %d %s", status, body)
	}
	if status, body := f.request("DELETE", "/domainConfigurations/passwords", nil); status != 400 {
		t.Errorf("delete an enabled domain: %d %s", status, body)
	}

	// A certificate of one's own.
	own := f.ownCertificate("brand.example.com")
	if status, body := f.request("POST", "/domainConfigurations/brand", map[string]any{"domainName": "other.example.com", "serverCertificateArns": []string{own.arn}}); status != 400 {
		t.Errorf("certificate of another name: %d %s", status, body)
	}
	if status, body := f.request("POST", "/domainConfigurations/brand", map[string]any{"domainName": "brand.example.com", "serverCertificateArns": []string{own.arn + "0"}}); status != 400 || !strings.Contains(string(body), "upload") {
		t.Errorf("certificate of ACM: %d %s", status, body)
	}
	f.api("POST", "/domainConfigurations/brand", map[string]any{"domainName": "brand.example.com", "serverCertificateArns": []string{own.arn}}, nil)
	for range 2 {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Ready.HTTPSPort), &tls.Config{ServerName: "brand.example.com", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(conn.ConnectionState().PeerCertificates[0].Raw, own.der) {
			t.Error("another certificate was shown")
		}
		conn.Close()
		f.restart()
	}
}

type ownCertificate struct {
	arn string
	der []byte
}

func (f *fixture) ownCertificate(name string) ownCertificate {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	var out struct{ ServerCertificateARN string }
	f.api("POST", "/berth/server-certificates", map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"privateKey": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))}, &out)
	return ownCertificate{out.ServerCertificateARN, der}
}

// TestCertificateAndAuthorizer: at a domain of type CUSTOM_AUTH_X509 both must say yes, and the
// authorizer's policies hold.
func TestCertificateAndAuthorizer(t *testing.T) {
	t.Parallel()
	f := start(t)
	j := newJudge(t)
	f.authorizer("passwords", j.URL)
	f.api("POST", "/domainConfigurations/both", map[string]any{"domainName": "both.example.com", "authenticationType": "CUSTOM_AUTH_X509",
		"authorizerConfig": map[string]any{"defaultAuthorizerName": "passwords", "allowAuthorizerOverride": false}}, nil)
	d := f.newDevice("", allowAll)
	with := func(d *device) func(*tls.Config) {
		return func(c *tls.Config) {
			c.ServerName = "both.example.com"
			if d != nil {
				c.Certificates = []tls.Certificate{d.cert}
			}
		}
	}
	user := client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret"), Version: mqtt.V5}
	wrong := user
	wrong.Password = []byte("wrong")
	if _, err := f.login(wrong, with(d)); code(err) != mqtt.BadUserNameOrPassword {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := f.login(user, with(nil)); err == nil {
		t.Error("connected without certificate")
	}
	c, err := f.login(user, with(d))
	if err != nil {
		t.Fatal(err)
	}
	c.sub(1, "lamp/x")
	if code := c.tryPub(1, "other/x"); code != mqtt.NotAuthorized {
		t.Errorf("what the certificate's policies allow: %v", code)
	}
	token := map[string]string{"tok": "good"}
	if status, body := f.httpsAt("both.example.com", d, "POST", "/topics/lamp/x", token); status != 200 {
		t.Errorf("HTTPS: %d %s", status, body)
	}
	if status, body := f.httpsAt("both.example.com", d, "POST", "/topics/lamp/x", nil); status != 401 {
		t.Errorf("HTTPS without token: %d %s", status, body)
	}
	f.api("PUT", "/certificates/"+d.id+"?newStatus=REVOKED", nil, nil)
	c.ended()
}
