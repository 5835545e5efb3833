package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-iot/berth/device/identity"
	"github.com/berth-iot/berth/device/linux"
	"github.com/berth-iot/berth/esp/spiffs"
	"github.com/berth-iot/berth/internal/factory"
)

const (
	demoTemplate = "demo-fleet"
	demoClaims   = "demo-claims"
)

// template makes things from certificates: by claim with the parameter Serial, just in time with the
// certificate's common name.
func template(name, prefix string, certificate string) string {
	return `{"Parameters":{"` + name + `":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
		"thing":{"Type":"AWS::IoT::Thing","OverrideSettings":{"AttributePayload":"MERGE"},"Properties":{"ThingName":{"Fn::Join":["",["` + prefix + `",{"Ref":"` + name + `"}]]}}},
		"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},` + certificate + `}},
		"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"` + demoDevices + `"}}}}`
}

// claimBoard is a board whose flash holds a claim, as all of its kind do.
func (d *demo) claimBoard(ctx context.Context) (*demoBoard, []string, error) {
	place := arnPlace{"aws", d.at.Region, d.at.Account}
	if err := d.site.own(ctx, "POST", "/policies/"+demoClaims, map[string]string{"policyDocument": fmt.Sprintf(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":[%q,%q]},{"Effect":"Allow","Action":"iot:Subscribe","Resource":[%q,%q]}]}`,
		place.arn("topic/$aws/certificates/*"), place.arn("topic/$aws/provisioning-templates/"+demoTemplate+"/provision/*"),
		place.arn("topicfilter/$aws/certificates/*"), place.arn("topicfilter/$aws/provisioning-templates/"+demoTemplate+"/provision/*"))}, nil); err != nil {
		return nil, nil, err
	}
	if err := d.site.own(ctx, "POST", "/provisioning-templates", map[string]any{"templateName": demoTemplate, "type": "FLEET_PROVISIONING", "enabled": true,
		"templateBody": template("Serial", "kettle-", `"Status":"Active"`), "provisioningRoleArn": "arn:aws:iam::" + d.at.Account + ":role/provisioning"}, nil); err != nil {
		return nil, nil, err
	}
	key, err := linux.Keys{}.NewKey()
	if err != nil {
		return nil, nil, err
	}
	csr, err := linux.Keys{}.SigningRequest(key, "claim")
	if err != nil {
		return nil, nil, err
	}
	var made struct{ CertificateArn, CertificatePem string }
	if err := d.site.own(ctx, "POST", "/certificates?setAsActive=true", map[string]string{"certificateSigningRequest": string(csr)}, &made); err != nil {
		return nil, nil, err
	}
	if err := d.site.own(ctx, "PUT", "/target-policies/"+demoClaims, map[string]string{"target": made.CertificateArn}, nil); err != nil {
		return nil, nil, err
	}
	image, err := spiffs.Build(spiffs.DefaultConfig(), 0x10000, []spiffs.File{{Name: "/claim.crt", Data: []byte(made.CertificatePem)}, {Name: "/claim.key", Data: key}, {Name: "/ca.pem", Data: d.site.caPEM}})
	if err != nil {
		return nil, nil, err
	}
	b, err := d.newBoard(identity.Template{})
	if err != nil {
		return nil, nil, err
	}
	mac := b.esp.MAC()
	serial := hex.EncodeToString(mac[:])
	b.board.Claim(identity.Template{Name: demoTemplate, CommonName: serial, Parameters: map[string]string{"Serial": serial}})
	_, regions, err := d.build()
	if err != nil {
		return b, nil, err
	}
	for _, r := range append(regions, factory.Region{Address: demoStorage, Data: image}) {
		if err := b.esp.Flash().Program(r.Address, r.Data); err != nil {
			return b, nil, err
		}
	}
	b.thing, b.joined = "kettle-"+serial, "claim certificate"
	began := time.Now()
	b.board.PowerOn()
	if _, err := b.reported(ctx, func(s demoState) bool { return s.Firmware.Version != "" }); err != nil {
		return b, nil, err
	}
	return b, []string{
		fmt.Sprintf("it made a key of its own, sent a signing request, and became %s in %v", b.thing, time.Since(began).Round(time.Millisecond)),
		"the claim may do nothing but this, and is erased on the board",
	}, nil
}

// ownCABoard is a board with a certificate that the maker has signed; the server meets it when it
// first connects.
func (d *demo) ownCABoard(ctx context.Context) (*demoBoard, []string, error) {
	dir := filepath.Join(d.dir, "own-ca")
	if err := d.makeCA(ctx, dir); err != nil {
		return nil, nil, err
	}
	b, err := d.newBoard(identity.Template{})
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.station(ctx, b, "preset: aws-spiffs\nthing: kettle-{mac}\nissue: own-ca\nown-ca: {certificate: "+filepath.Join(dir, "ca.pem")+", key: "+filepath.Join(dir, "ca.key")+"}\n"); err != nil {
		return b, nil, err
	}
	b.joined = "own CA, just in time"
	began := time.Now()
	b.board.PowerOn()
	if _, err := b.reported(ctx, func(s demoState) bool { return s.Firmware.Version != "" }); err != nil {
		return b, nil, err
	}
	return b, []string{
		"signed at the station; the server knew the CA and a template, and nothing of the board",
		fmt.Sprintf("with its first connection it became %s, with policy, in %v", b.thing, time.Since(began).Round(time.Millisecond)),
	}, nil
}

// makeCA makes the maker's CA and registers it for just-in-time provisioning.
func (d *demo) makeCA(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Kettle Works CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return err
	}
	var code struct{ RegistrationCode string }
	if err := d.site.own(ctx, "GET", "/registrationcode", nil, &code); err != nil {
		return err
	}
	proof := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: code.RegistrationCode}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter}
	proofDER, err := x509.CreateCertificate(rand.Reader, proof, ca, &key.PublicKey, key)
	if err != nil {
		return err
	}
	text := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	if err := d.site.own(ctx, "POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", map[string]any{
		"caCertificate": text(der), "verificationCertificate": text(proofDER), "registrationConfig": map[string]string{
			"roleArn": "arn:aws:iam::" + d.at.Account + ":role/provisioning", "templateBody": template("AWS::IoT::Certificate::CommonName", "", `"Status":"ACTIVE"`)}}, nil); err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(text(der)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "ca.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600)
}
