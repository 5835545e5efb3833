package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

const (
	fleetBody = `{"Parameters":{"SerialNumber":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
		"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Fn::Join":["",["dev-",{"Ref":"SerialNumber"}]]},"AttributePayload":{"serial":{"Ref":"SerialNumber"}}}},
		"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"Active"}},
		"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyDocument":{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}}}},
		"DeviceConfiguration":{"url":"https://example.com"}}`
	claimDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["` + arn + `topic/$aws/certificates/create/*","` + arn + `topic/$aws/certificates/create-from-csr/*","` + arn + `topic/$aws/provisioning-templates/fleet/provision/*"]},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":["` + arn + `topicfilter/$aws/certificates/create/*","` + arn + `topicfilter/$aws/certificates/create-from-csr/*","` + arn + `topicfilter/$aws/provisioning-templates/fleet/provision/*"]}]}`
	certificatesTopic = "$aws/certificates/"
	provisionTopic    = "$aws/provisioning-templates/fleet/provision/"
)

// template creates a provisioning template.
func (f *fixture) template(name, kind, body string, hook string) {
	f.t.Helper()
	in := map[string]any{"templateName": name, "type": kind, "templateBody": body, "enabled": true, "provisioningRoleArn": "arn:aws:iam::000000000000:role/r"}
	if hook != "" {
		in["preProvisioningHook"] = map[string]string{"targetArn": hook}
	}
	f.api("POST", "/provisioning-templates", in, nil)
}

// exchange is a device that is being provisioned, in one format.
type exchange struct {
	*conn
	format string
}

func (f *fixture) exchange(claim *device, id, format string) *exchange {
	f.t.Helper()
	c := f.connect(claim, id, mqtt.V311)
	c.sub(1, certificatesTopic+"create/"+format+"/+", certificatesTopic+"create-from-csr/"+format+"/+", provisionTopic+format+"/+")
	return &exchange{c, format}
}

// ask publishes a request and returns the last level of the answer's topic with the answer.
func (e *exchange) ask(topic string, in any) (outcome string, out map[string]any) {
	e.t.Helper()
	var b []byte
	var err error
	switch {
	case in == nil:
	case e.format == "cbor":
		b, err = cbor.Marshal(in)
	default:
		b, err = json.Marshal(in)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.pub(1, topic+e.format, string(b))
	m := e.next()
	outcome, ok := strings.CutPrefix(m.Topic, topic+e.format+"/")
	if !ok {
		e.t.Fatalf("answer on %s, want below %s", m.Topic, topic+e.format)
	}
	if e.format == "cbor" {
		err = cbor.Unmarshal(m.Payload, &out)
	} else {
		err = json.Unmarshal(m.Payload, &out)
	}
	if err != nil {
		e.t.Fatalf("%s: %v", m.Payload, err)
	}
	return outcome, out
}

// rejected asks for something that must be refused with a status and a code.
func (e *exchange) rejected(topic string, in any, status int, code string) string {
	e.t.Helper()
	outcome, out := e.ask(topic, in)
	got, _ := json.Marshal(out["statusCode"])
	want, _ := json.Marshal(status)
	if outcome != "rejected" || string(got) != string(want) || out["errorCode"] != code || len(out) != 3 {
		e.t.Errorf("%s: %s %v, want rejected %d %s", topic, outcome, out, status, code)
	}
	message, _ := out["errorMessage"].(string)
	return message
}

func (e *exchange) accepted(topic string, in any) map[string]any {
	e.t.Helper()
	outcome, out := e.ask(topic, in)
	if outcome != "accepted" {
		e.t.Fatalf("%s: %s %v", topic, outcome, out)
	}
	return out
}

func newRequest(t testing.TB, cn string) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func (f *fixture) status(certificateID any) string {
	f.t.Helper()
	var out struct{ CertificateDescription struct{ Status string } }
	f.api("GET", "/certificates/"+certificateID.(string), nil, &out)
	return out.CertificateDescription.Status
}

// TestClaim provisions devices with a claim certificate, in both formats, with a key of the
// server's and with one of the device's.
func TestClaim(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.template("fleet", "FLEET_PROVISIONING", fleetBody, "")
	claim := f.newDevice("", claimDocument)
	for _, format := range []string{"json", "cbor"} {
		bystander := f.exchange(claim, "bystander-"+format, format)
		e := f.exchange(claim, "factory-"+format, format)

		made := e.accepted(certificatesTopic+"create/", nil)
		if len(made) != 4 || f.status(made["certificateId"]) != "PENDING_ACTIVATION" {
			t.Errorf("%s: created %v", format, made)
		}
		cert, err := tls.X509KeyPair([]byte(made["certificatePem"].(string)), []byte(made["privateKey"].(string)))
		if err != nil {
			t.Fatal(err)
		}
		serial := "k" + format
		request := map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"SerialNumber": serial, "AWS::IoT::Certificate::Id": "forged"}}
		out := e.accepted(provisionTopic, request)
		if out["thingName"] != "dev-"+serial || len(out) != 2 {
			t.Errorf("%s: provisioned %v", format, out)
		}
		if cfg, _ := json.Marshal(out["deviceConfiguration"]); format == "json" && string(cfg) != `{"url":"https://example.com"}` {
			t.Errorf("device configuration %s", cfg)
		}
		if f.status(made["certificateId"]) != "ACTIVE" {
			t.Error("the certificate is not ACTIVE")
		}
		e.rejected(provisionTopic, request, 400, "InvalidCertificateOwnershipToken")
		c := f.connect(&device{cert: cert}, "dev-"+serial, mqtt.V5)
		c.sub(1, "hello")
		c.pub(1, "hello", "world")
		c.want("hello", "world")

		key, csr := newRequest(t, "device")
		made = e.accepted(certificatesTopic+"create-from-csr/", map[string]string{"certificateSigningRequest": csr})
		if len(made) != 3 {
			t.Errorf("%s: created %v", format, made)
		}
		block, _ := pem.Decode([]byte(made["certificatePem"].(string)))
		d := &device{cert: tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
		if _, err := f.dial(d, clientID("early")); err == nil {
			t.Error("a pending certificate connects")
		}
		e.accepted(provisionTopic, map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"SerialNumber": "c" + format}})
		f.connect(d, "dev-c"+format, mqtt.V311)

		bystander.quiet() // answers are for who asked
		e.quiet()
	}
}

// TestClaimRefusals: what is wrong is said, and changes nothing.
func TestClaimRefusals(t *testing.T) {
	t.Parallel()
	f := start(t)
	allow := `{"allowProvisioning":true,"parameterOverrides":{"SerialNumber":"overridden"}}`
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			ClaimCertificateID, CertificateID, CertificatePEM, TemplateARN, ClientID string
			Parameters                                                               map[string]string
		}
		if json.NewDecoder(r.Body).Decode(&in) != nil || len(in.CertificateID) != 64 || len(in.ClaimCertificateID) != 64 || in.ClientID == "" || !strings.HasSuffix(in.TemplateARN, "provisioningtemplate/fleet") {
			w.WriteHeader(400)
			return
		}
		switch in.Parameters["SerialNumber"] {
		case "denied":
			io.WriteString(w, `{"allowProvisioning":false}`)
		case "garbage":
			io.WriteString(w, `yes`)
		case "silent":
			io.WriteString(w, `{}`)
		case "failing":
			w.WriteHeader(500)
		default:
			io.WriteString(w, allow)
		}
	}))
	t.Cleanup(hook.Close)
	f.template("fleet", "FLEET_PROVISIONING", fleetBody, hook.URL)
	e := f.exchange(f.newDevice("", claimDocument), "factory", "json")
	e.rejected(certificatesTopic+"create-from-csr/", map[string]string{}, 400, "InvalidParameters")
	e.rejected(certificatesTopic+"create-from-csr/", map[string]string{"certificateSigningRequest": "x"}, 400, "InvalidParameters")
	e.rejected(certificatesTopic+"create-from-csr/", []int{1}, 400, "InvalidParameters")
	e.rejected(provisionTopic, map[string]any{"parameters": map[string]string{}}, 400, "InvalidCertificateOwnershipToken")
	e.rejected(provisionTopic, map[string]any{"certificateOwnershipToken": "guessed"}, 400, "InvalidCertificateOwnershipToken")

	_, csr := newRequest(t, "device")
	made := e.accepted(certificatesTopic+"create-from-csr/", map[string]string{"certificateSigningRequest": csr})
	with := func(serial any) map[string]any {
		return map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]any{"SerialNumber": serial}}
	}
	for _, serial := range []string{"denied", "garbage", "silent", "failing"} {
		if message := e.rejected(provisionTopic, with(serial), 403, "AccessDenied"); !strings.Contains(message, "ACCESS_DENIED") {
			t.Error(message)
		}
	}
	e.rejected(provisionTopic, with(7), 400, "InvalidParameters")
	if f.status(made["certificateId"]) != "PENDING_ACTIVATION" {
		t.Error("a refusal changed the certificate")
	}
	if out := e.accepted(provisionTopic, with("b")); out["thingName"] != "dev-overridden" {
		t.Errorf("provisioned %v", out)
	}

	// Without the hook a missing parameter is found.
	f.api("PATCH", "/provisioning-templates/fleet", map[string]any{"removePreProvisioningHook": true}, nil)
	made = e.accepted(certificatesTopic+"create/", map[string]any{})
	if message := e.rejected(provisionTopic, map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"]}, 400, "InvalidParameters"); !strings.Contains(message, `"SerialNumber" is missing`) {
		t.Error(message)
	}
	f.api("PATCH", "/provisioning-templates/fleet", map[string]any{"enabled": false}, nil)
	e.rejected(provisionTopic, with("c"), 403, "AccessDenied")
	f.api("DELETE", "/provisioning-templates/fleet", nil, nil)
	e.rejected(provisionTopic, with("c"), 404, "ResourceNotFound")
}

// TestClaimHookCommand asks a program that the operator has named.
func TestClaimHookCommand(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("the hook is a shell script")
	}
	program := filepath.Join(t.TempDir(), "hook")
	script := "#!/bin/sh\nif grep -q '\"SerialNumber\":\"good\"'; then echo '{\"allowProvisioning\":true}'; else echo '{\"allowProvisioning\":false}'; fi\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	f := start(t, func(c *server.Config) { c.HookCommands = program })
	f.template("fleet", "FLEET_PROVISIONING", fleetBody, "exec:"+program)
	e := f.exchange(f.newDevice("", claimDocument), "factory", "json")
	made := e.accepted(certificatesTopic+"create/", nil)
	request := func(serial string) any {
		return map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"SerialNumber": serial}}
	}
	e.rejected(provisionTopic, request("bad"), 403, "AccessDenied")
	e.accepted(provisionTopic, request("good"))
}

// TestClaimSurvivesRestart: a device gets its certificate, the server restarts, and it goes on.
func TestClaimSurvivesRestart(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.template("fleet", "FLEET_PROVISIONING", fleetBody, "")
	claim := f.newDevice("", claimDocument)
	e := f.exchange(claim, "factory", "cbor")
	made := e.accepted(certificatesTopic+"create/", nil)
	f.restart()
	e = f.exchange(claim, "factory", "cbor")
	request := map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"SerialNumber": "1"}}
	e.accepted(provisionTopic, request)
	f.restart()
	e = f.exchange(claim, "factory", "cbor")
	e.rejected(provisionTopic, request, 400, "InvalidCertificateOwnershipToken")
	var things struct{ Things []struct{ ThingName string } }
	f.api("GET", "/things", nil, &things)
	if len(things.Things) != 1 {
		t.Errorf("things %v", things)
	}
}

// TestTemporaryClaim provisions a device with a claim certificate that a trusted user has asked for.
func TestTemporaryClaim(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.template("fleet", "FLEET_PROVISIONING", fleetBody, "")
	f.template("other", "FLEET_PROVISIONING", fleetBody, "")
	var claim struct {
		CertificatePEM string
		KeyPair        struct{ PrivateKey string }
	}
	f.api("POST", "/provisioning-templates/fleet/provisioning-claim", nil, &claim)
	cert, err := tls.X509KeyPair([]byte(claim.CertificatePEM), []byte(claim.KeyPair.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	e := f.exchange(&device{cert: cert}, "phone", "json")
	made := e.accepted(certificatesTopic+"create/", nil)
	e.accepted(provisionTopic, map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"SerialNumber": "1"}})
	c := f.connect(&device{cert: cert}, "other", mqtt.V5)
	if code := c.tryPub(1, "$aws/provisioning-templates/other/provision/json"); code != mqtt.NotAuthorized {
		t.Errorf("publish for another template: %v", code)
	}
}

// authority is a CA of one's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	id   string
}

func (a *authority) sign(t *testing.T, tmpl *x509.Certificate) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return &device{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// newAuthority registers a CA that lets devices register themselves.
func (f *fixture) newAuthority(t *testing.T, registration map[string]string) *authority {
	t.Helper()
	root := (&authority{}).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Factory " + t.Name()}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, err := x509.ParseCertificate(root.cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: root.cert.PrivateKey.(*ecdsa.PrivateKey)}
	var code struct{ RegistrationCode string }
	f.api("GET", "/registrationcode", nil, &code)
	proof := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: code.RegistrationCode}})
	in := map[string]any{"caCertificate": root.pem, "verificationCertificate": proof.pem}
	if registration != nil {
		in["registrationConfig"] = registration
	}
	var out struct{ CertificateID string }
	f.api("POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", in, &out)
	a.id = out.CertificateID
	return a
}

const jitpBody = `{"Parameters":{"AWS::IoT::Certificate::CommonName":{"Type":"String"},"AWS::IoT::Certificate::SerialNumber":{"Type":"String"},"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
	"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"AWS::IoT::Certificate::CommonName"},"AttributePayload":{"serial":{"Ref":"AWS::IoT::Certificate::SerialNumber"}}}},
	"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}},
	"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"plain"}}}}`

// TestJustInTimeProvisioning: the first connection is dropped, the second is let in.
func TestJustInTimeProvisioning(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.template("jitp", "JITP", jitpBody, "")
	a := f.newAuthority(t, map[string]string{"templateName": "jitp"})
	lamp := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "lamp", SerialNumber: "S1"}})
	if _, err := f.dial(lamp, clientID("lamp")); err == nil {
		t.Error("the first connection is let in")
	}
	eventually(t, "lamp is provisioned", func() bool {
		status, _ := f.request("GET", "/things/lamp", nil)
		return status == 200
	})
	c := f.connect(lamp, "lamp", mqtt.V311)
	c.sub(1, "hello")
	var thing struct{ Attributes map[string]string }
	f.api("GET", "/things/lamp", nil, &thing)
	if thing.Attributes["serial"] != "S1" {
		t.Errorf("attributes %v", thing.Attributes)
	}

	// A subject without the serial number fails and says so; a stranger, an expired certificate and
	// one of an inactive CA are not even registered.
	if _, err := f.dial(a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "nameless"}}), clientID("nameless")); err == nil {
		t.Error("a device without a serial number is let in")
	}
	eventually(t, "the failure is recorded", func() bool {
		return strings.Contains(f.denials(), `parameter "AWS::IoT::Certificate::SerialNumber" is missing`)
	})
	strangers := []*device{selfMade(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)),
		a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "old", SerialNumber: "S2"}, NotAfter: time.Now().Add(-time.Minute)})}
	for _, d := range strangers {
		if _, err := f.dial(d, clientID("stranger")); err == nil {
			t.Error("a stranger is let in")
		}
	}
	f.api("PUT", "/cacertificate/"+a.id+"?newStatus=INACTIVE", nil, nil)
	if _, err := f.dial(a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "late", SerialNumber: "S3"}}), clientID("late")); err == nil {
		t.Error("a device of an inactive CA is let in")
	}
	var list struct {
		Certificates []struct{ CertificateID string }
	}
	f.api("GET", "/certificates-by-ca/"+a.id, nil, &list)
	if len(list.Certificates) != 2 { // lamp and the nameless one
		t.Errorf("registered %v", list.Certificates)
	}
}

// TestJustInTimeRegistration: the event at every attempt, until something sets the certificate
// ACTIVE.
func TestJustInTimeRegistration(t *testing.T) {
	t.Parallel()
	f := start(t)
	a := f.newAuthority(t, nil)
	watcher := f.connect(nil, "watcher", mqtt.V5)
	topic := "$aws/events/certificates/registered/" + a.id
	watcher.sub(1, topic)
	lamp := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "lamp"}})
	var event struct {
		CertificateID, CACertificateID, CertificateStatus, AWSAccountID, CertificateRegistrationTimestamp string
		Timestamp                                                                                         int64
	}
	for range 2 {
		if _, err := f.dial(lamp, clientID("lamp")); err == nil {
			t.Error("a pending device is let in")
		}
		unmarshal(t, watcher.next().Payload, &event)
		if event.CACertificateID != a.id || event.CertificateStatus != "PENDING_ACTIVATION" || event.Timestamp == 0 || len(event.CertificateRegistrationTimestamp) != 13 || event.AWSAccountID != "000000000000" {
			t.Errorf("event %+v", event)
		}
	}
	f.api("PUT", "/certificates/"+event.CertificateID+"?newStatus=ACTIVE", nil, nil)
	f.api("PUT", "/target-policies/plain", map[string]string{"target": arn + "cert/" + event.CertificateID}, nil)
	f.connect(lamp, "lamp", mqtt.V311)
	watcher.quiet()
}

// TestActivation: the rule of a CA lets devices in by their subject.
func TestActivation(t *testing.T) {
	t.Parallel()
	f := start(t)
	a := f.newAuthority(t, nil)
	path := "/berth/cacertificates/" + a.id + "/activation"
	if status, _ := f.request("PUT", path, map[string]any{"subjects": []string{"nonsense"}}); status != 400 {
		t.Errorf("a bad pattern: status %d", status)
	}
	if status, _ := f.request("GET", path, nil); status != 404 {
		t.Errorf("no rule: status %d", status)
	}
	f.api("PUT", path, map[string]any{"subjects": []string{"CN=lamp-*,O=Acme"}, "policies": []string{"plain"}}, nil)
	lamp := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "lamp-1", Organization: []string{"Acme"}}})
	thief := a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "lamp-2", Organization: []string{"Other"}}})
	for _, d := range []*device{lamp, thief} {
		if _, err := f.dial(d, clientID("first")); err == nil {
			t.Error("the first connection is let in")
		}
	}
	eventually(t, "lamp-1 is activated", func() bool {
		status, _ := f.request("GET", "/things/lamp-1", nil)
		return status == 200
	})
	f.connect(lamp, "lamp-1", mqtt.V311).sub(1, "hello")
	if _, err := f.dial(thief, clientID("lamp-2")); err == nil {
		t.Error("a device that no pattern matches is let in")
	}
	eventually(t, "the reason is recorded", func() bool { return strings.Contains(f.denials(), "no pattern of the activation rule matches") })
}

func clientID(id string) client.Options { return client.Options{ClientID: id, CleanStart: true} }
