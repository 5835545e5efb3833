package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// checkFiles looks at the device's certificates and key by themselves.
func (d *Doctor) checkFiles() {
	if d.CA != nil {
		d.checkCA()
	}
	if d.Certificate == nil {
		d.say("certificate", Skipped, "give the device's certificate and key with --cert and --key", "no certificate of the device was given")
		return
	}
	leaf, err := firstCertificate(d.Certificate)
	if err != nil {
		d.say("certificate", Problem, "the file has to hold the certificate as PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, with its line breaks", fmt.Sprintf("%s cannot be read: %v", d.Cert, err))
		return
	}
	d.leaf = leaf
	sum := sha256.Sum256(leaf.Raw)
	d.id = hex.EncodeToString(sum[:])
	if leaf.IsCA {
		d.say("certificate", Problem, "give the certificate that was made for this device, not the authority's", d.Cert+" is the certificate of an authority, "+leaf.Subject.String())
		return
	}
	pair, err := tls.X509KeyPair(d.Certificate, d.Key)
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "does not match"):
		d.say("key", Problem, "find the key that was made together with this certificate, or make a new pair: berth cert create", "the private key does not belong to the certificate")
		return
	default:
		d.say("key", Problem, "the file has to hold the private key as PEM, unencrypted (EC, RSA or PKCS #8)", fmt.Sprintf("%s cannot be used: %v", d.KeyF, err))
		return
	}
	now := d.Clock()
	switch {
	case now.Before(leaf.NotBefore):
		d.say("certificate", Problem, clockFix, fmt.Sprintf("the device's certificate is not yet valid for its clock: the certificate holds from %s, the clock reads %s", stamp(leaf.NotBefore), stamp(now)))
	case now.After(leaf.NotAfter):
		d.say("certificate", Problem, "give the device a new certificate", fmt.Sprintf("the device's certificate ended on %s", stamp(leaf.NotAfter)))
	default:
		says := fmt.Sprintf("certificate %s… and key belong together, valid until %s", d.id[:12], leaf.NotAfter.Format(time.DateOnly))
		if left := leaf.NotAfter.Sub(now); left < 30*24*time.Hour {
			d.say("certificate", Warning, "rotate it before it ends", says)
		} else {
			d.say("certificate", OK, "", says)
		}
	}
	d.pair = &pair
}

func (d *Doctor) checkCA() {
	var first *x509.Certificate
	d.roots = x509.NewCertPool()
	now := d.Clock()
	ended := false
	for _, cert := range certificates(d.CA) {
		if first == nil {
			first = cert
		}
		ended = ended || now.After(cert.NotAfter)
		d.roots.AddCert(cert)
	}
	switch {
	case first == nil:
		d.say("root CA", Problem, "give the authority's certificate as PEM: berth's is DATA/ca.pem, AWS's is AmazonRootCA1.pem; mind line breaks in C strings", d.CAFile+" holds no certificate")
	case !first.IsCA:
		d.say("root CA", Problem, "give the authority's certificate: berth's is DATA/ca.pem, AWS's is AmazonRootCA1.pem", fmt.Sprintf("%s is no authority's certificate but that of %s", d.CAFile, first.Subject))
	case ended:
		d.say("root CA", Warning, "take a newer root certificate into the firmware", d.CAFile+" holds a certificate that has ended")
	default:
		d.say("root CA", OK, "", "the device trusts "+first.Subject.String())
	}
}

func certificates(b []byte) (list []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return list
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			list = append(list, cert)
		}
	}
}

func firstCertificate(b []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("it is not PEM")
	}
	if block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("it begins with a %s", block.Type)
	}
	return x509.ParseCertificate(block.Bytes)
}

const clockFix = "set the device's clock before it connects, with SNTP for example, and wait for it: TLS checks dates"

// unset is a time before which no device is made: a clock that reads less has never been set.
var unset = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func (d *Doctor) checkClock() {
	if now := d.Clock(); now.Before(unset) {
		d.say("clock", Problem, clockFix, "the device's clock has never been set: it reads "+stamp(now))
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// LikelyClientID is the client identifier of a device that was not told: its thing, the thing that the
// server knows for its certificate, the certificate's common name.
func (d *Doctor) LikelyClientID(ctx context.Context) string {
	if d.Thing != "" {
		return d.Thing
	}
	cert, err := firstCertificate(d.Certificate)
	if err != nil {
		return "berth-doctor"
	}
	if d.Cloud != nil {
		sum := sha256.Sum256(cert.Raw)
		if things, err := d.Cloud.Things(ctx, hex.EncodeToString(sum[:])); err == nil && len(things) > 0 {
			return things[0]
		}
	}
	if name := cert.Subject.CommonName; name != "" && name != "AWS IoT Certificate" {
		return name
	}
	return "berth-doctor"
}
