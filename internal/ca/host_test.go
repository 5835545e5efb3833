package ca

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

func TestGetHostCertificate(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	modern := &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256}, SupportedPoints: []uint8{0}}
	old := &tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS12}, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.PKCS1WithSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256}, SupportedPoints: []uint8{0}}
	first, err := a.GetHostCertificate("iot.example.com", modern)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := first.PrivateKey.(*ecdsa.PrivateKey); !ok {
		t.Errorf("%T", first.PrivateKey)
	}
	legacy, err := a.GetHostCertificate("iot.example.com", old)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := legacy.PrivateKey.(*rsa.PrivateKey); !ok {
		t.Errorf("%T", legacy.PrivateKey)
	}
	text, err := a.RootPEM()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for _, cert := range []*tls.Certificate{first, legacy} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "iot.example.com", CurrentTime: now}); err != nil {
			t.Error(err)
		}
		if cert.Leaf.VerifyHostname("localhost") == nil {
			t.Error("it is good for another name")
		}
	}
	if again, _ := a.GetHostCertificate("iot.example.com", modern); again != first {
		t.Error("made again")
	}
	now = now.Add(serverLife - renewBefore)
	if renewed, err := a.GetHostCertificate("iot.example.com", modern); err != nil || renewed == first || !renewed.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("not renewed: %v", err)
	}
}
