package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"
)

// testCertificate has the subject and names of the example in the developer
// guide, "Using X.509 certificate policy variables".
func testCertificate(t testing.TB) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	attr := func(last int, v string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, last}, Value: v}
	}
	name := pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		attr(6, "US"), attr(10, "IoT Devices"), attr(8, "NY"), attr(3, "LightBulb Device Cert"), attr(42, "Bulb"),
		attr(43, "ZZ"), attr(46, "Bulb001"), attr(4, "Multi Color"), attr(12, "RGB"), attr(65, "RGB Device"),
		attr(44, "4"), attr(5, "123"),
		attr(11, "u0"), attr(11, "u1"), attr(11, "u2"), attr(11, "u3"), attr(11, "u4"), attr(11, "u5"),
	}}
	dir, err := asn1.Marshal(pkix.Name{Country: []string{"US"}, Organization: []string{"IoT"}, OrganizationalUnit: []string{"SmartHome"}, CommonName: "LightBulbCert"}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	general := func(tag int, compound bool, b []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: b}
	}
	san, err := asn1.Marshal([]asn1.RawValue{
		general(2, false, []byte("example.com")), general(2, false, []byte("a=b.example.com")), general(7, false, []byte{1, 2, 3, 4}),
		general(6, false, []byte("urn:ResourceIdentifier001")), general(1, false, []byte("device1@example.com")), general(4, true, dir),
	})
	if err != nil {
		t.Fatal(err)
	}
	ian, err := asn1.Marshal([]asn1.RawValue{general(2, false, []byte("issuer.com")), general(7, false, []byte{5, 6, 7, 8})})
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := new(big.Int).SetString("9212285cb7a5e086", 16)
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: name, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}, {Id: asn1.ObjectIdentifier{2, 5, 29, 18}, Value: ian},
		},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestCertificateVariables(t *testing.T) {
	t.Parallel()
	cert := testCertificate(t)
	serial := cert.SerialNumber.String()
	tests := []struct {
		variable, name string
		want           bool
	}{
		{"SerialNumber", serial, true},
		{"Subject.Country", "US", true},
		{"Subject.Organization", "IoT Devices", true},
		{"Subject.State", "NY", true},
		{"Subject.CommonName", "LightBulb Device Cert", true},
		{"Subject.GivenName", "Bulb", true},
		{"Subject.initials", "ZZ", true},
		{"Subject.DistinguishedNameQualifier", "Bulb001", true},
		{"Subject.Surname", "Multi Color", true},
		{"Subject.Title", "RGB", true},
		{"Subject.Pseudonym", "RGB Device", true},
		{"Subject.GenerationQualifier", "4", true},
		{"Subject.SerialNumber", "123", true},
		{"Issuer.CommonName", "LightBulb Device Cert", true}, // self-signed
		{"Subject.OrganizationalUnit", "u0", true},
		{"Subject.OrganizationalUnit.0", "u0", true},
		{"Subject.OrganizationalUnit.1", "u1", true},
		{"Subject.OrganizationalUnit.4", "u4", true},
		{"Subject.OrganizationalUnit.5", "u5", false}, // five are kept
		{"Subject.OrganizationalUnit.List", "u0", false},
		{"Subject.Nothing", "", false},
		{"Subject.AlternativeName.DNSName", "example.com", true},
		{"Subject.AlternativeName.DNSName.1", `a\=b.example.com`, true},
		{"Subject.AlternativeName.DNSName.1", `a=b.example.com`, false},
		{"Subject.AlternativeName.IPAddress", "1.2.3.4", true},
		{"Subject.AlternativeName.UniformResourceIdentifier", "urn:ResourceIdentifier001", true},
		{"Subject.AlternativeName.RFC822Name", "device1@example.com", true},
		{"Subject.AlternativeName.DirectoryName", `cn\=LightBulbCert\,ou\=SmartHome\,o\=IoT\,c\=US`, true},
		{"Issuer.AlternativeName.DNSName", "issuer.com", true},
		{"Issuer.AlternativeName.IPAddress", "5.6.7.8", true},
		{"Issuer.AlternativeName.RFC822Name", "", false},
	}
	for _, tt := range tests {
		ctx := base()
		ctx.Certificate = cert
		doc := statement(`"Effect":"Allow","Action":"iot:Publish","Resource":"ARN:topic/x/${iot:Certificate.` + tt.variable + `}"`)
		check(t, compile(t, ctx, doc), Publish, KindTopic, "x/"+tt.name, tt.want)
		ctx.Certificate = nil
		check(t, compile(t, ctx, doc), Publish, KindTopic, "x/"+tt.name, false)
	}
}

func TestCertificateConditions(t *testing.T) {
	t.Parallel()
	for condition, want := range map[string]bool{
		`{"Null":{"iot:Certificate.SerialNumber":"false","iot:Certificate.Subject.CommonName":"false"}}`:                         true,
		`{"Null":{"iot:Certificate.Issuer.AlternativeName.RFC822Name":"false"}}`:                                                 false,
		`{"StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.1":"u1"}}`:                                                 true,
		`{"StringEquals":{"iot:Certificate.Subject.OrganizationalUnit":"u1"}}`:                                                   false,
		`{"ForAllValues:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":["u0","u1","u2","u3","u4"]}}`:           true,
		`{"ForAllValues:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":["u0","u1"]}}`:                          false,
		`{"ForAnyValue:StringEquals":{"iot:Certificate.Subject.OrganizationalUnit.List":["x","u3"]}}`:                            true,
		`{"ForAnyValue:StringEquals":{"iot:Certificate.AvailableKeys":"iot:Certificate.Subject.Title"}}`:                         true,
		`{"ForAnyValue:StringEquals":{"iot:Certificate.AvailableKeys":"iot:Certificate.Subject.AlternativeName.DirectoryName"}}`: true,
		`{"ForAnyValue:StringEquals":{"iot:Certificate.AvailableKeys":"iot:Certificate.Issuer.AlternativeName.DirectoryName"}}`:  false,
		`{"StringEquals":{"iot:Certificate.Subject.AlternativeName.DNSName.1":"a=b.example.com"}}`:                               true,
	} {
		ctx := base()
		ctx.Certificate = testCertificate(t)
		set := compile(t, ctx, statement(`"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":`+condition))
		check(t, set, Connect, KindClient, "c", want)
	}
}

func TestGeneralNamesRefusesRubbish(t *testing.T) {
	t.Parallel()
	for _, der := range []string{"", "\x30", "\x30\x02\x82", "\x30\x03\x87\x01\x01", "\x04\x02ab", "\x30\x04\xa4\x02\x30\x00x"} {
		for _, a := range alternativeNames {
			if got := generalNames([]byte(der), a.tag); strings.Join(got, "") != "" {
				t.Errorf("generalNames(%x, %d) = %q", der, a.tag, got)
			}
		}
	}
}
