package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCARegister(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Factory"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: sec1}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id, err := certificateID(certFile)
	if err != nil {
		t.Fatal(err)
	}
	rule := "/berth/cacertificates/" + id + "/activation"
	f := newFakeAPI(t, map[string]string{
		"GET /registrationcode":       `{"registrationCode":"the-code"}`,
		"POST /cacertificate":         `{"certificateId":"` + id + `","certificateArn":"arn"}`,
		"PUT /cacertificate/" + id:    ``,
		"DELETE /cacertificate/" + id: `{}`,
		"GET /cacertificate/" + id:    `{"certificateDescription":{"status":"ACTIVE","autoRegistrationStatus":"ENABLE"},"registrationConfig":{"templateName":"factory"}}`,
		"PUT " + rule:                 `{}`,
		"GET " + rule:                 `{"subjects":["CN=lamp-*"]}`,
		"DELETE " + rule:              `{}`,
	})
	if out, _ := f.run(exitOK, "ca", "register", certFile, "--key", keyFile, "--template", "factory"); !strings.Contains(out, id) {
		t.Error(out)
	}
	var in struct {
		VerificationCertificate, CertificateMode string
		RegistrationConfig                       struct{ TemplateName string }
	}
	if err := json.Unmarshal([]byte(f.body["POST /cacertificate"]), &in); err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(in.VerificationCertificate))
	proof, err := x509.ParseCertificate(block.Bytes)
	if err != nil || proof.Subject.CommonName != "the-code" || proof.CheckSignatureFrom(ca) != nil || in.RegistrationConfig.TemplateName != "factory" || in.CertificateMode != "DEFAULT" {
		t.Errorf("registered with %+v, %v", in, err)
	}
	f.run(exitOK, "ca", "jitp", certFile, "--template", "other")
	f.run(exitOK, "ca", "activation", certFile, "--subject", "CN=lamp-*", "--policy", "p")
	if got := f.body["PUT "+rule]; got != `{"subjects":["CN=lamp-*"],"policies":["p"]}` {
		t.Error(got)
	}
	if out, _ := f.run(exitOK, "ca", "show", certFile); !strings.Contains(out, "factory") || !strings.Contains(out, "CN=lamp-*") {
		t.Error(out)
	}
	f.run(exitOK, "ca", "activation", certFile, "--off")
	f.run(exitUsage, "ca", "activation", certFile)
	f.run(exitUsage, "ca", "jitp", certFile)
	f.run(exitOK, "ca", "delete", certFile)
}

func TestTemplateCreate(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{
		"POST /provisioning-templates":         `{"templateArn":"arn","templateName":"fleet","defaultVersionId":1}`,
		"GET /provisioning-templates":          `{"templates":[{"templateName":"fleet","enabled":true,"type":"FLEET_PROVISIONING"}]}`,
		"GET /provisioning-templates/fleet":    `{"templateName":"fleet","templateBody":"BODY","defaultVersionId":1}`,
		"DELETE /provisioning-templates/fleet": `{}`,
	})
	body := filepath.Join(t.TempDir(), "fleet.json")
	if err := os.WriteFile(body, []byte(`{"Resources":{"p":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"p"}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.run(exitOK, "template", "create", "fleet", "--body", body, "--hook", "https://example.com")
	if got := f.body["POST /provisioning-templates"]; !strings.Contains(got, `"targetArn":"https://example.com"`) || !strings.Contains(got, `"enabled":true`) {
		t.Error(got)
	}
	for _, args := range [][]string{{"list"}, {"show", "fleet"}, {"delete", "fleet"}} {
		if out, _ := f.run(exitOK, append([]string{"template"}, args...)...); !strings.Contains(out, "fleet") {
			t.Error(out)
		}
	}
	f.run(exitUsage, "template", "create", "fleet")
	if err := os.WriteFile(body, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs := f.run(exitFailed, "template", "create", "fleet", "--body", body); !strings.Contains(errs, "no section Resources") {
		t.Error(errs)
	}
}
