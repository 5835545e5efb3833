package transfer

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/berth-iot/berth/internal/server"
)

// berth starts a server with an account number.
func berth(t *testing.T, number, region string) *Account {
	t.Helper()
	cfg := server.Defaults()
	cfg.Data = t.TempDir()
	cfg.MQTT, cfg.HTTPS, cfg.HTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Account, cfg.Region = number, region
	s, err := server.Start(context.Background(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f, err := os.Open(filepath.Join(cfg.Data, "admin-credentials"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		k, v, _ := strings.Cut(lines.Text(), "=")
		values[strings.TrimPrefix(k, "export ")] = v
	}
	a := NewAccount(Config{Base: fmt.Sprintf("http://127.0.0.1:%d", s.Ready.HTTPPort), AWS: aws.Config{Region: region,
		Credentials: credentials.NewStaticCredentialsProvider(values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"], "")}})
	if err := a.identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// do carries out an operation that must succeed.
func (a *Account) do(t *testing.T, op string, in args) object {
	t.Helper()
	out, err := a.call(t.Context(), op, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// authority makes a certificate authority, and certificates signed by it.
func authority(t *testing.T) (caPEM string, sign func(name string) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(template, parent *x509.Certificate) string {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "factory"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: []byte{1, 2, 3}}
	var mu sync.Mutex
	serial := int64(1)
	return encode(ca, ca), func(name string) string {
		mu.Lock()
		serial++
		n := serial
		mu.Unlock()
		return encode(&x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, ca)
	}
}

const role = "arn:aws:iam::111111111111:role/any"

// fill makes one of everything.
func fill(t *testing.T, a *Account) {
	t.Helper()
	a.do(t, "UpdateIndexingConfiguration", args{"thingIndexingConfiguration": object{"thingIndexingMode": "REGISTRY_AND_SHADOW", "thingConnectivityIndexingMode": "STATUS"}})
	a.do(t, "CreateBillingGroup", args{"billingGroupName": "house", "billingGroupProperties": object{"billingGroupDescription": "ours"}, "tags": []any{object{"Key": "cost", "Value": "7"}}})
	a.do(t, "CreateThingType", args{"thingTypeName": "bulb", "thingTypeProperties": object{"thingTypeDescription": "light", "searchableAttributes": []any{"room", "colour"}}})
	a.do(t, "CreateThingType", args{"thingTypeName": "old", "thingTypeProperties": object{}})
	a.do(t, "CreateThingGroup", args{"thingGroupName": "site", "thingGroupProperties": object{"thingGroupDescription": "all", "attributePayload": object{"attributes": object{"k": "v"}}}})
	a.do(t, "CreateThingGroup", args{"thingGroupName": "a-floor", "parentGroupName": "site", "tags": []any{object{"Key": "n", "Value": "1"}}})
	a.do(t, "CreateThingGroup", args{"thingGroupName": "a-a-room", "parentGroupName": "a-floor"})
	doc := func(topic string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Publish","Resource":"` + a.prefix + "topic/" + topic + `"}]}`
	}
	a.do(t, "CreatePolicy", args{"policyName": "lamps", "policyDocument": doc("one")})
	a.do(t, "CreatePolicyVersion", args{"policyName": "lamps", "policyDocument": doc("two"), "?setAsDefault": true})
	a.do(t, "CreatePolicyVersion", args{"policyName": "lamps", "policyDocument": doc("three")})
	body := `{"Parameters":{"SerialNumber":{"Type":"String"}},"Resources":{"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"SerialNumber"}}},` +
		`"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"Active"}},` +
		`"policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"lamps"}}}}`
	a.do(t, "CreateProvisioningTemplate", args{"templateName": "factory", "templateBody": body, "enabled": true, "provisioningRoleArn": role, "description": "d"})
	a.do(t, "CreateProvisioningTemplateVersion", args{"templateName": "factory", "templateBody": strings.Replace(body, "Active", "Inactive", 1), "?setAsDefault": true})
	jitp := strings.ReplaceAll(strings.Replace(body, "AWS::IoT::Certificate::Id\"}", "AWS::IoT::Certificate::Id\"}", 1), "SerialNumber", "AWS::IoT::Certificate::CommonName")
	a.do(t, "CreateProvisioningTemplate", args{"templateName": "jitp", "templateBody": jitp, "enabled": true, "provisioningRoleArn": role, "type": "JITP"})
	caPEM, sign := authority(t)
	a.do(t, "RegisterCACertificate", args{"caCertificate": caPEM, "certificateMode": "SNI_ONLY", "?setAsActive": true, "?allowAutoRegistration": true,
		"registrationConfig": object{"templateName": "jitp", "roleArn": role}})
	a.do(t, "CreateRoleAlias", args{"roleAlias": "camera", "roleArn": role, "credentialDurationSeconds": 900})
	a.do(t, "CreateAuthorizer", args{"authorizerName": "door", "authorizerFunctionArn": "https://127.0.0.1:9/door", "signingDisabled": true, "status": "ACTIVE"})
	a.do(t, "SetDefaultAuthorizer", args{"authorizerName": "door"})
	for i, status := range []string{"ACTIVE", "INACTIVE", "REVOKED"} {
		out := a.do(t, "RegisterCertificateWithoutCA", args{"certificatePem": sign(status), "status": "ACTIVE"})
		if status != "ACTIVE" {
			a.do(t, "UpdateCertificate", args{"certificateId": out["certificateId"], "?newStatus": status})
		}
		thing := fmt.Sprintf("lamp-%d", i)
		in := args{"thingName": thing, "attributePayload": object{"attributes": object{"room": "r" + fmt.Sprint(i)}}}
		if i < 2 {
			in["thingTypeName"] = []string{"bulb", "old"}[i]
			in["billingGroupName"] = "house"
		}
		a.do(t, "CreateThing", in)
		attach := args{"thingName": thing, "@x-amzn-principal": out["certificateArn"]}
		if i == 0 {
			attach["?thingPrincipalType"] = exclusive
			a.do(t, "AttachPolicy", args{"policyName": "lamps", "target": out["certificateArn"]})
		}
		a.do(t, "AttachThingPrincipal", attach)
		a.do(t, "AddThingToThingGroup", args{"thingGroupName": "a-a-room", "thingName": thing})
	}
	a.do(t, "DeprecateThingType", args{"thingTypeName": "old"})
	a.do(t, "CreateDynamicThingGroup", args{"thingGroupName": "bulbs", "queryString": "thingTypeName:bulb"})
	a.do(t, "AttachPolicy", args{"policyName": "lamps", "target": a.prefix + "thinggroup/site"})
	a.do(t, "CreateTopicRule", args{"ruleName": "copy", "": object{"sql": "SELECT * FROM 'a'", "ruleDisabled": true, "awsIotSqlVersion": "2016-03-23",
		"actions":     []any{object{"republish": object{"roleArn": role, "topic": "b", "qos": 1}}},
		"errorAction": object{"republish": object{"roleArn": role, "topic": "errors"}}}, "@x-amz-tagging": "team=lamps"})
	a.do(t, "CreateTopicRule", args{"ruleName": "keep", "": object{"sql": "SELECT * FROM 'a'", "actions": []any{object{"table": object{"table": "readings"}}}}})
	a.do(t, "CreateJobTemplate", args{"jobTemplateId": "reboot", "document": `{"do":"reboot"}`, "description": "again", "timeoutConfig": object{"inProgressTimeoutInMinutes": 5}})
	a.do(t, "CreateJob", args{"jobId": "first", "document": `{"do": 1}`, "targets": []any{a.prefix + "thing/lamp-0", a.prefix + "thing/lamp-1"}, "description": "one"})
	a.do(t, "CreateJob", args{"jobId": "always", "document": `{"do":2}`, "targets": []any{a.prefix + "thinggroup/site"}, "targetSelection": "CONTINUOUS"})
	a.do(t, "CreateJob", args{"jobId": "ended", "document": `{"do":3}`, "targets": []any{a.prefix + "thing/lamp-0"}})
	a.do(t, "CancelJob", args{"jobId": "ended"})
	a.do(t, "UpdateThingShadow", args{"thingName": "lamp-0", "": object{"state": object{"desired": object{"on": false, "n": json.Number("1.50")}, "reported": object{"on": true, "deep": object{"a": []any{1, 2}}}}}})
	a.do(t, "UpdateThingShadow", args{"thingName": "lamp-0", "?name": "net", "": object{"state": object{"reported": object{"rssi": -60}}}})
	a.do(t, "UpdateEventConfigurations", args{"eventConfigurations": object{"THING": object{"Enabled": true}}})
}

func run(t *testing.T, from, to *Account, opts Options) *Report {
	t.Helper()
	rep, err := Run(t.Context(), from, to, opts)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// all reads everything of an account that is compared.
func all(t *testing.T, a *Account) map[string]map[string]object {
	t.Helper()
	opts := Options{Parallel: 4}
	r := newReader(a, &opts)
	out := make(map[string]map[string]object)
	for _, k := range kinds() {
		v, err := k.read(t.Context(), r)
		if err != nil && !lacking(err) {
			t.Fatalf("%s: %v", k.name, err)
		}
		for _, o := range v {
			delete(o, "ids")
			delete(o, "above")
			delete(o, "arn")
		}
		out[k.name] = v
	}
	return out
}

func dump(t *testing.T, rep *Report) {
	t.Helper()
	for _, item := range rep.Items {
		t.Log(item)
	}
}

// TestThereAndBack moves everything to a berth with another account number and region, and from there to a
// third one with the first's: it has what the first has.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	a, b, c := berth(t, "111111111111", "eu-west-1"), berth(t, "222222222222", "us-east-1"), berth(t, "111111111111", "eu-west-1")
	fill(t, a)

	before := all(t, b)
	rep := run(t, a, b, Options{DryRun: true})
	if sum := rep.Total(); sum.New < 30 || sum.Changed+sum.Failed > 0 {
		dump(t, rep)
		t.Fatalf("dry run: %+v", sum)
	}
	if x, y := fmt.Sprint(before), fmt.Sprint(all(t, b)); x != y {
		t.Errorf("a dry run changed the target:\n%s\n%s", x, y)
	}
	planned := rep.Total()
	rep = run(t, a, b, Options{})
	if sum := rep.Total(); sum != planned || sum.Impossible != 1 { // the job that was cancelled
		dump(t, rep)
		t.Fatalf("run: %+v, planned %+v", sum, planned)
	}
	doc := str(b.do(t, "GetPolicy", args{"policyName": "lamps"}), "policyDocument")
	if !strings.Contains(doc, "arn:aws:iot:us-east-1:222222222222:topic/two") {
		t.Errorf("the default policy version is %s", doc)
	}
	rep = run(t, a, b, Options{})
	if sum := rep.Total(); sum.New+sum.Changed+sum.Failed+sum.Kept > 0 || sum.Same != planned.New {
		dump(t, rep)
		t.Errorf("a second run is not without effect: %+v", sum)
	}

	if sum := run(t, b, c, Options{}).Total(); sum.Failed+sum.Impossible > 0 {
		t.Errorf("back: %+v", sum)
	}
	want, have := all(t, a), all(t, c)
	delete(want["jobs"], "ended")
	for kind, resources := range want {
		if len(resources) == 0 && kind != "destinations" && kind != "logging" {
			t.Errorf("there is nothing of %s to compare", kind)
		}
		if len(resources) != len(have[kind]) {
			t.Errorf("%s: %d, want %d", kind, len(have[kind]), len(resources))
		}
		for name, o := range resources {
			if !exactly(o, have[kind][name]) {
				x, _ := json.Marshal(o)
				y, _ := json.Marshal(have[kind][name])
				t.Errorf("%s %s:\nhave %s\nwant %s", kind, name, y, x)
			}
		}
	}
}

// TestChanges: what differs is made the same, but for what the target's devices and operators change.
func TestChanges(t *testing.T) {
	t.Parallel()
	a, b := berth(t, "111111111111", "eu-west-1"), berth(t, "222222222222", "us-east-1")
	fill(t, a)
	run(t, a, b, Options{})
	b.do(t, "UpdateThing", args{"thingName": "lamp-0", "attributePayload": object{"attributes": object{"x": "y"}}, "removeThingType": true})
	b.do(t, "RemoveThingFromBillingGroup", args{"thingName": "lamp-1", "billingGroupName": "house"})
	b.do(t, "SetDefaultPolicyVersion", args{"policyName": "lamps", "policyVersionId": "1"})
	b.do(t, "UpdateThingGroup", args{"thingGroupName": "site", "thingGroupProperties": object{"thingGroupDescription": "other"}})
	b.do(t, "UpdateThingShadow", args{"thingName": "lamp-0", "": object{"state": object{"reported": object{"on": false, "new": 1}}}})
	b.do(t, "EnableTopicRule", args{"ruleName": "copy"})
	b.do(t, "DetachThingPrincipal", args{"thingName": "lamp-1", "@x-amzn-principal": strings.SplitN(thingNames(mustRead(t, b, "thing-principals"))[1], " ", 2)[1]})
	b.do(t, "UpdateRoleAlias", args{"roleAlias": "camera", "credentialDurationSeconds": 1000})
	b.do(t, "TagResource", args{"resourceArn": b.prefix + "thinggroup/a-floor", "tags": []any{object{"Key": "n", "Value": "2"}, object{"Key": "m", "Value": "2"}}})
	rep := run(t, a, b, Options{})
	if sum := rep.Total(); sum.New != 1 || sum.Changed != 7 || sum.Kept != 1 || sum.Failed != 0 {
		dump(t, rep)
		t.Errorf("%+v", sum)
	}
	rep = run(t, a, b, Options{Overwrite: true})
	if sum := rep.Total(); sum.New+sum.Kept+sum.Failed != 0 || sum.Changed != 1 {
		dump(t, rep)
		t.Errorf("overwrite: %+v", sum)
	}
	if sum := run(t, a, b, Options{}).Total(); sum.New+sum.Changed+sum.Kept != 0 {
		t.Errorf("afterwards: %+v", sum)
	}
}

func mustRead(t *testing.T, a *Account, name string) map[string]object {
	t.Helper()
	opts := Options{Parallel: 4}
	for _, k := range kinds() {
		if k.name == name {
			v, err := k.read(t.Context(), newReader(a, &opts))
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

// TestUnchangeable: what differs and cannot be changed is said to be so, every time.
func TestUnchangeable(t *testing.T) {
	t.Parallel()
	a, b := berth(t, "111111111111", "eu-west-1"), berth(t, "111111111111", "eu-west-1")
	for i, x := range []*Account{a, b} {
		x.do(t, "CreateThingGroup", args{"thingGroupName": "top"})
		x.do(t, "CreateThing", args{"thingName": "lamp"})
		group := args{"thingGroupName": "g"}
		if i == 0 {
			group["parentGroupName"] = "top"
		}
		x.do(t, "CreateThingGroup", group)
		x.do(t, "CreateJobTemplate", args{"jobTemplateId": "t", "document": fmt.Sprintf(`{"n":%d}`, i), "description": "d"})
		x.do(t, "CreateJob", args{"jobId": "j", "document": fmt.Sprintf(`{"n":%d}`, i), "targets": []any{x.prefix + "thing/lamp"}})
	}
	for range 2 {
		if sum := run(t, a, b, Options{}).Total(); sum.Kept != 3 || sum.Changed+sum.New+sum.Failed != 0 {
			t.Errorf("%+v", sum)
		}
	}
}

// TestSelection: only some kinds, or only names with a prefix.
func TestSelection(t *testing.T) {
	t.Parallel()
	a, b := berth(t, "111111111111", "eu-west-1"), berth(t, "111111111111", "eu-west-1")
	fill(t, a)
	if sum := run(t, a, b, Options{Only: []string{"thing-types"}}).Total(); sum.Found != 2 || sum.New != 2 {
		t.Errorf("%+v", sum)
	}
	rep := run(t, a, b, Options{Prefix: "lamp-0", Only: []string{"things", "certificates", "thing-principals", "billing-groups"}, DryRun: true})
	for _, c := range rep.Kinds {
		want := map[string]int{"things": 1, "certificates": 1, "thing-principals": 1, "billing-groups": 0}[c.Kind]
		if c.Found != want {
			t.Errorf("%s: found %d, want %d", c.Kind, c.Found, want)
		}
	}
	if _, err := Run(t.Context(), a, b, Options{Only: []string{"lamps"}}); err == nil {
		t.Error("a kind that does not exist is taken")
	}
}

// TestThousandThings moves an account of a thousand things, interrupts that, and goes on.
func TestThousandThings(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a thousand things with certificates and shadows")
	}
	t.Parallel()
	a, b := berth(t, "111111111111", "eu-west-1"), berth(t, "222222222222", "eu-west-1")
	_, sign := authority(t)
	a.do(t, "CreatePolicy", args{"policyName": "all", "policyDocument": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`})
	a.do(t, "CreateThingGroup", args{"thingGroupName": "g"})
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("thing-%04d", i))
	}
	if err := each(t.Context(), 8, names, func(ctx context.Context, name string) error {
		out, err := a.call(ctx, "RegisterCertificateWithoutCA", args{"certificatePem": sign(name), "status": "ACTIVE"})
		if err != nil {
			return err
		}
		for _, do := range []struct {
			op string
			in args
		}{
			{"CreateThing", args{"thingName": name, "attributePayload": object{"attributes": object{"serial": name}}}},
			{"AttachThingPrincipal", args{"thingName": name, "@x-amzn-principal": out["certificateArn"]}},
			{"AttachPolicy", args{"policyName": "all", "target": out["certificateArn"]}},
			{"AddThingToThingGroup", args{"thingName": name, "thingGroupName": "g"}},
			{"UpdateThingShadow", args{"thingName": name, "": object{"state": object{"reported": object{"t": 21}}}}},
		} {
			if _, err := a.call(ctx, do.op, do.in); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, a, b, Options{Progress: func(s Step) {
		if s.Kind == "thing-principals" && s.Doing == "writing" && s.Done == 300 {
			cancel()
		}
	}})
	if err == nil {
		t.Fatal("an interrupted run is not an error")
	}
	start := time.Now()
	rep := run(t, a, b, Options{})
	t.Logf("the rest, %d of %d resources: %v", rep.Total().New, rep.Total().Found, time.Since(start).Round(time.Millisecond))
	if sum := rep.Total(); sum.Found != 6002 || sum.Failed > 0 || sum.Same < 2000 || sum.New+sum.Same != sum.Found {
		t.Errorf("%+v", sum)
	}
	c := berth(t, "333333333333", "eu-west-1")
	rep = run(t, b, c, Options{})
	t.Logf("a thousand things, %d resources: %.1f s", rep.Total().New, rep.Seconds)
	if rep.Seconds > 60 || rep.Total().New != 6002 {
		t.Errorf("%+v in %v s", rep.Total(), rep.Seconds)
	}
}
