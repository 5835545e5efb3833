package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/policy"
	"github.com/berth-iot/berth/sigv4"
)

const testARN = "arn:aws:iot:us-east-1:000000000000:"

// fakeAPI answers requests of the control plane with what a test has put down for them, signs
// certificates, and keeps what was asked. Every request must be signed.
type fakeAPI struct {
	t       *testing.T
	dir     string            // a data folder that leads here
	answers map[string]string // "METHOD /path" to a JSON body; "!Exception" for an exception
	key     *ecdsa.PrivateKey

	mu   sync.Mutex
	seen []string // "METHOD /path"
	body map[string]string
}

func newFakeAPI(t *testing.T, answers map[string]string) *fakeAPI {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeAPI{t: t, dir: t.TempDir(), answers: answers, key: key, body: map[string]string{}}
	web := httptest.NewTLSServer(f)
	t.Cleanup(web.Close)
	host, portText, _ := net.SplitHostPort(web.Listener.Addr().String())
	port, _ := strconv.Atoi(portText)
	endpoint, _ := json.Marshal(endpointFile{host, port, port, "us-east-1", "000000000000"})
	for name, b := range map[string][]byte{
		"endpoint.json":     endpoint,
		"ca.pem":            pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}),
		"admin-credentials": []byte("AWS_ACCESS_KEY_ID=AKIDEXAMPLE\nAWS_SECRET_ACCESS_KEY=secret\n"),
	} {
		if err := os.WriteFile(filepath.Join(f.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v := sigv4.Verifier{Region: "us-east-1", Services: []string{"iot", "iot-jobs-data"}, Secret: func(id string) (string, bool) { return "secret", id == "AKIDEXAMPLE" }}
	if _, err := v.Verify(r, body); err != nil {
		f.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	what := r.Method + " " + r.URL.Path
	f.mu.Lock()
	f.seen = append(f.seen, what)
	f.body[what] = string(body)
	f.mu.Unlock()
	answer, ok := f.answers[what]
	switch {
	case !ok && what == "POST /certificates":
		answer = f.sign(body)
	case !ok:
		answer = "!ResourceNotFoundException"
	}
	w.Header().Set("Content-Type", "application/json")
	if name, failed := strings.CutPrefix(answer, "!"); failed {
		w.Header().Set("X-Amzn-ErrorType", name)
		w.WriteHeader(http.StatusNotFound)
		answer = `{"message":"as told"}`
	}
	io.WriteString(w, answer)
}

// sign answers CreateCertificateFromCsr.
func (f *fakeAPI) sign(body []byte) string {
	var in struct{ CertificateSigningRequest string }
	json.Unmarshal(body, &in)
	block, _ := pem.Decode([]byte(in.CertificateSigningRequest))
	if block == nil {
		return "!InvalidRequestException"
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		return "!InvalidRequestException"
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "AWS IoT Certificate"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, csr.PublicKey, f.key)
	if err != nil {
		f.t.Error(err)
	}
	sum := sha256.Sum256(der)
	id := hex.EncodeToString(sum[:])
	out, _ := json.Marshal(map[string]string{
		"certificateId": id, "certificateArn": testARN + "cert/" + id,
		"certificatePem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	})
	return string(out)
}

// run runs berth on the fake and returns its output and error output.
func (f *fakeAPI) run(code int, args ...string) (out, errs string) {
	f.t.Helper()
	var o, e bytes.Buffer
	if got := Run(append(args, "--data", f.dir), &o, &e); got != code {
		f.t.Errorf("berth %v: exit code %d, want %d: %s", args, got, code, &e)
	}
	return o.String(), e.String()
}

func TestCertCreate(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"", "--rsa"} {
		f := newFakeAPI(t, map[string]string{
			"POST /things/lamp":           "!ResourceAlreadyExistsException", // it exists: that is fine
			"PUT /target-policies/p":      `{}`,
			"PUT /things/lamp/principals": `{}`,
		})
		dir := filepath.Join(t.TempDir(), "certs")
		args := []string{"cert", "create", "--thing", "lamp", "--policy", "p", "--out", dir, "-o", "json"}
		if flag != "" {
			args = append(args, flag)
		}
		out, _ := f.run(exitOK, args...)
		var v certView
		if err := json.Unmarshal([]byte(out), &v); err != nil || v.Status != "ACTIVE" {
			t.Fatalf("output %s: %v", out, err)
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "lamp.cert.pem"), filepath.Join(dir, "lamp.private.key")); err != nil {
			t.Error(err)
		}
		if id, err := certificateID(filepath.Join(dir, "lamp.cert.pem")); err != nil || id != v.ID {
			t.Errorf("certificate id %s, %v, want %s", id, err, v.ID)
		}
		if info, err := os.Stat(filepath.Join(dir, "lamp.private.key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("private key: %v, %v", info, err)
		}
		for _, name := range []string{"lamp.public.key", "ca.pem"} {
			if !fileExists(filepath.Join(dir, name)) {
				t.Errorf("%s is missing", name)
			}
		}
		want := []string{"POST /things/lamp", "POST /certificates", "PUT /target-policies/p", "PUT /things/lamp/principals"}
		if !slices.Equal(f.seen, want) {
			t.Errorf("asked %v, want %v", f.seen, want)
		}
		// A second time nothing is asked, since files would be overwritten.
		if _, errs := f.run(exitFailed, args...); !strings.Contains(errs, "--force") || len(f.seen) != len(want) {
			t.Errorf("second time: %s, asked %v", errs, f.seen)
		}
	}
}

func TestCertCreateServerKey(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{
		"POST /keys-and-certificate": `{"certificateId":"1","certificateArn":"arn:1","certificatePem":"C","keyPair":{"PublicKey":"P","PrivateKey":"S"}}`,
	})
	dir := t.TempDir()
	f.run(exitOK, "cert", "create", "lamp", "--server-key", "--out", dir)
	if b, _ := os.ReadFile(filepath.Join(dir, "lamp.private.key")); string(b) != "S" {
		t.Errorf("private key is %q", b)
	}
}

func TestCertCreateLeavesNoKeyBehind(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{"POST /certificates": "!LimitExceededException"})
	dir := t.TempDir()
	_, errs := f.run(exitFailed, "cert", "create", "lamp", "--out", dir)
	if !strings.Contains(errs, "create certificate from CSR: as told (LimitExceededException)") {
		t.Error(errs)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestThings(t *testing.T) {
	t.Parallel()
	arn := testARN + "cert/" + strings.Repeat("a", 64)
	f := newFakeAPI(t, map[string]string{
		"POST /things/lamp":                            `{"thingName":"lamp","thingArn":"` + testARN + `thing/lamp","thingId":"i"}`,
		"GET /things":                                  `{"things":[{"thingName":"lamp","attributes":{"b":"2","a":"1"},"version":3}]}`,
		"GET /things/lamp":                             `{"thingName":"lamp","version":3}`,
		"PATCH /things/lamp":                           `{}`,
		"GET /things/lamp/principals":                  `{"principals":["` + arn + `"]}`,
		"PUT /things/lamp/principals":                  `{}`,
		"DELETE /things/lamp":                          `{}`,
		"DELETE /things/busy":                          "!InvalidRequestException",
		"POST /indices/search":                         `{"things":[{"thingName":"lamp","thingGroupNames":["g"],"shadow":"{\"version\":7}","connectivity":{"connected":true,"timestamp":1700000000000}}]}`,
		"DELETE /things/lamp/principals":               `{}`,
		"GET /certificates/" + strings.Repeat("a", 64): `{"certificateDescription":{"certificateArn":"` + arn + `"}}`,
	})
	for _, test := range []struct {
		args string
		want string // in the output, whose runs of blanks are one
	}{
		{"thing create lamp --attribute a=1,b=2", "created thing lamp"},
		{"thing list", "lamp 3 a=1,b=2"},
		{"thing list -o json", `"thingName": "lamp"`},
		{"thing describe lamp", "version 3"},
		{"thing update lamp --attribute a=9 --remove-attribute b", "updated thing lamp"},
		{"thing principals lamp", arn},
		{"thing search lamp", "lamp true g"},
		{"thing search lamp -o json --max 1", `"shadow": { "version": 7 }, "connectivity": { "connected": true, "timestamp": "2023-11-14T22:13:20Z" }`},
		{"thing attach lamp " + strings.Repeat("A", 64), "attached " + arn + " to thing lamp"},
		{"thing detach lamp " + arn, "detached"},
		{"thing delete lamp --force", "deleted thing lamp"},
	} {
		out, _ := f.run(exitOK, strings.Fields(test.args)...)
		if out = strings.Join(strings.Fields(out), " "); !strings.Contains(out, test.want) {
			t.Errorf("%s: %s, want %s", test.args, out, test.want)
		}
	}
	body := f.body["PATCH /things/lamp"] // the SDK writes maps in any order
	for _, want := range []string{`"a":"9"`, `"b":""`, `"merge":true`} {
		if !strings.Contains(body, want) {
			t.Errorf("update asked for %s, want %s in it", body, want)
		}
	}
	if _, errs := f.run(exitFailed, "thing", "describe", "ghost"); !strings.Contains(errs, `berth: describe thing "ghost": as told (ResourceNotFoundException)`) || !strings.Contains(errs, "hint: the list command") {
		t.Error(errs)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	arn := testARN + "cert/" + strings.Repeat("a", 64)
	f := newFakeAPI(t, map[string]string{
		"GET /things/lamp":             `{"thingName":"lamp","thingArn":"arn:aws-cn:iot:cn-north-1:123456789012:thing/lamp"}`,
		"GET /things/lamp/principals":  `{"principals":["` + arn + `"]}`,
		"POST /policies/p":             `{"policyName":"p","policyVersionId":"1"}`,
		"POST /policies/old":           "!ResourceAlreadyExistsException",
		"PUT /target-policies/p":       `{}`,
		"GET /policies/p":              `{"policyName":"p","defaultVersionId":"1","policyDocument":"{\"Version\":\"2012-10-17\"}"}`,
		"GET /policies/p/version":      `{"policyVersions":[{"versionId":"2","isDefaultVersion":true},{"versionId":"1"}]}`,
		"DELETE /policies/p/version/1": `{}`,
		"POST /policy-targets/p":       `{"targets":["` + arn + `"]}`,
		"POST /target-policies/p":      `{}`,
		"DELETE /policies/p":           `{}`,
	})
	out, _ := f.run(exitOK, "policy", "create", "p", "--least-privilege", "lamp", "--publish", "topic/hello")
	if !strings.Contains(out, "attached to 1 certificates of thing lamp") {
		t.Error(out)
	}
	var in struct{ PolicyDocument string }
	json.Unmarshal([]byte(f.body["POST /policies/p"]), &in)
	for _, want := range []string{
		`arn:aws-cn:iot:cn-north-1:123456789012:client/${iot:Connection.Thing.ThingName}`, `:topic/topic/hello"`,
		`:topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/shadow/*`,
	} {
		if !strings.Contains(in.PolicyDocument, want) {
			t.Errorf("document %s lacks %s", in.PolicyDocument, want)
		}
	}
	f.seen = nil
	if out, _ = f.run(exitOK, "policy", "create", "p", "--least-privilege", "lamp", "--print"); !strings.HasPrefix(out, "{") || !slices.Equal(f.seen, []string{"GET /things/lamp"}) {
		t.Errorf("print: %s, asked %v", out, f.seen)
	}
	if _, errs := f.run(exitFailed, "policy", "create", "old", "--least-privilege", "lamp"); !strings.Contains(errs, "--new-version") {
		t.Error(errs)
	}
	if out, _ = f.run(exitOK, "policy", "show", "p"); out != "{\n  \"Version\": \"2012-10-17\"\n}\n" {
		t.Error(out)
	}
	f.seen = nil
	f.run(exitOK, "policy", "delete", "p", "--force")
	want := []string{"POST /policy-targets/p", "POST /target-policies/p", "GET /policies/p/version", "DELETE /policies/p/version/1", "DELETE /policies/p"}
	if !slices.Equal(f.seen, want) {
		t.Errorf("delete asked %v, want %v", f.seen, want)
	}
}

// TestLeastPrivilege judges with the document what a device may and may not do.
func TestLeastPrivilege(t *testing.T) {
	t.Parallel()
	doc, err := policy.Parse(leastPrivilege(arnPlace{"aws", "us-east-1", "000000000000"}, []string{"fleet/report"}, []string{"fleet/news"}))
	if err != nil {
		t.Fatal(err)
	}
	if w := policy.Lint(doc); w != nil {
		t.Errorf("warnings: %v", w)
	}
	ctx := policy.Context{ARNPrefix: testARN, ClientID: "lamp", Thing: &policy.Thing{Name: "lamp"}, ThingAttached: true}
	set := policy.Compile([]policy.Named{{Name: "p", Version: "1", Doc: doc}}, &ctx)
	for _, test := range []struct {
		action policy.Action
		kind   policy.Kind
		name   string
		want   bool
	}{
		{policy.Connect, policy.KindClient, "lamp", true},
		{policy.Connect, policy.KindClient, "other", false},
		{policy.Publish, policy.KindTopic, "lamp/state", true},
		{policy.Publish, policy.KindTopic, "other/state", false},
		{policy.Publish, policy.KindTopic, "$aws/things/lamp/shadow/update", true},
		{policy.Publish, policy.KindTopic, "$aws/things/other/shadow/update", false},
		{policy.Publish, policy.KindTopic, "fleet/report", true},
		{policy.Publish, policy.KindTopic, "fleet/news", false},
		{policy.Subscribe, policy.KindTopicFilter, "$aws/things/lamp/jobs/#", true},
		{policy.Subscribe, policy.KindTopicFilter, "#", false},
		{policy.Receive, policy.KindTopic, "fleet/news", true},
	} {
		if got := set.Allows(test.action, test.kind, test.name); got != test.want {
			t.Errorf("%v on %s is %v, want %v", test.action, test.name, got, test.want)
		}
	}
	ctx.ThingAttached, ctx.Thing = false, nil
	if policy.Compile([]policy.Named{{Name: "p", Version: "1", Doc: doc}}, &ctx).Allows(policy.Connect, policy.KindClient, "lamp") {
		t.Error("a certificate without a thing may connect")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t, map[string]string{
		"POST /berth/access-keys":           `{"accessKeyId":"K","secretAccessKey":"S","role":"read-only"}`,
		"GET /berth/access-keys":            `{"accessKeys":[{"accessKeyId":"K","role":"admin","enabled":false,"createdAt":"2026-01-02T03:04:05Z"}]}`,
		"POST /berth/access-keys/K/disable": `{}`,
		"DELETE /berth/access-keys/K":       ``,
		"DELETE /berth/access-keys/L":       "!AccessDeniedException",
	})
	if out, _ := f.run(exitOK, "key", "create", "--role", "read-only"); out != "AWS_ACCESS_KEY_ID=K\nAWS_SECRET_ACCESS_KEY=S\n" {
		t.Error(out)
	}
	if f.body["POST /berth/access-keys"] != `{"role":"read-only"}` {
		t.Error(f.body)
	}
	if out, _ := f.run(exitOK, "key", "list"); !strings.Contains(out, "disabled") || !strings.Contains(out, "2026-01-02T03:04:05Z") {
		t.Error(out)
	}
	f.run(exitOK, "key", "disable", "K")
	f.run(exitOK, "key", "delete", "K")
	if _, errs := f.run(exitFailed, "key", "delete", "L"); !strings.Contains(errs, `delete access key "L": as told (AccessDeniedException)`) || !strings.Contains(errs, "hint: this access key may not do that") {
		t.Error(errs)
	}
}

// TestEveryCommandHasExample keeps the help complete.
func TestEveryCommandHasExample(t *testing.T) {
	t.Parallel()
	root := New()
	for _, top := range root.Commands() {
		for _, c := range append(top.Commands(), top) {
			if c.Example == "" || c.Short == "" {
				t.Errorf("%s has no example", c.CommandPath())
			}
		}
	}
}
