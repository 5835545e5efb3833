package provisioning

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/ca"
	"github.com/berth-iot/berth/internal/hook"
	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/store/storetest"
	"github.com/berth-iot/berth/topic"
)

// bench is a service whose clock stands still until it is moved.
type bench struct {
	*Service
	t     *testing.T
	cfg   Config
	clock atomic.Int64
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	ctx := context.Background()
	db := storetest.Open(t, t.TempDir())
	t.Cleanup(func() { db.Close() })
	b := &bench{t: t}
	b.clock.Store(time.Now().UnixNano())
	b.cfg = Config{Store: db, Now: func() time.Time { return time.Unix(0, b.clock.Load()) }, TaskFiles: t.TempDir()}
	var err error
	if b.cfg.Registry, err = registry.Open(ctx, db, registry.Config{Now: b.cfg.Now}); err != nil {
		t.Fatal(err)
	}
	if b.cfg.Authority, err = ca.Open(t.TempDir(), ca.Options{}); err != nil {
		t.Fatal(err)
	}
	if b.cfg.Router, err = router.New(ctx, topic.Rules{}, db); err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&b.cfg)
	}
	b.restart()
	t.Cleanup(func() { b.Close() })
	return b
}

// restart ends the service and opens it again.
func (b *bench) restart() {
	b.t.Helper()
	if b.Service != nil {
		b.Close()
	}
	var err error
	if b.Service, err = Open(context.Background(), b.cfg); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) template(hook *Hook) {
	b.t.Helper()
	body := strings.NewReplacer(`"ThingTypeName": "sensor", "BillingGroup": "b",`, "", `["g", {"Fn::FindInMap": ["Where", {"Ref": "Model"}, "tags"]}]`, `[]`,
		`"named": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": {"Fn::Sub": ["${Model}-${x}", {"x": "policy"}]}}},`, "", `"arn:${Ser`, `"arn:aws:iot:us-east-1:000000000000:topic/${Ser`).Replace(fleetTemplate)
	if _, err := b.CreateTemplate(context.Background(), TemplateInfo{Name: "fleet", Body: body, Enabled: true, Hook: hook}); err != nil {
		b.t.Fatal(err)
	}
}

func csr(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func requestOf(op operation, template string, in any) *request {
	b, _ := json.Marshal(in)
	return &request{op: op, template: template, topic: "t", payload: b, origin: &router.Origin{ClientID: "c", Principal: "claim"}}
}

// credentials gets a certificate with its token.
func (b *bench) credentials() *credentials {
	b.t.Helper()
	out, _, err := b.answer(requestOf(createFromCSR, "", payload{CSR: csr(b.t)}))
	if err != nil {
		b.t.Fatal(err)
	}
	return out.(*credentials)
}

func (b *bench) provisionWith(token, serial string) (any, func(), error) {
	return b.answer(requestOf(provision, "fleet", payload{Token: token, Parameters: map[string]string{"SerialNumber": serial}}))
}

// TestAnswerLostInACrash: the device was provisioned and the server ended before it said so. The
// same request gets the same answer, once; another request does not.
func TestAnswerLostInACrash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.template(nil)
	c := b.credentials()
	first, _, err := b.provisionWith(c.Token, "1") // what follows the answer never happens
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.provisionWith(c.Token, "1"); !errors.Is(err, ErrToken) {
		t.Errorf("twice in one run: %v", err)
	}
	b.restart()
	if _, _, err := b.provisionWith(c.Token, "2"); !errors.Is(err, ErrToken) {
		t.Errorf("another request: %v", err)
	}
	again, delivered, err := b.provisionWith(c.Token, "1")
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Fatalf("got %v %v, want %v", again, err, first)
	}
	thing, err := b.cfg.Registry.DescribeThing(context.Background(), "dev-1")
	if err != nil || thing.Version != 1 {
		t.Errorf("thing %+v %v", thing, err)
	}
	delivered()
	if err := b.cfg.Store.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.restart()
	if _, _, err := b.provisionWith(c.Token, "1"); !errors.Is(err, ErrToken) {
		t.Errorf("after the answer: %v", err)
	}
}

// TestClaimLife: when a temporary claim certificate expires, whoever is connected with it is told of.
func TestClaimLife(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var expired []string
	b := newBench(t, func(c *Config) { c.Expired = func(ids []string) { expired = append(expired, ids...) } })
	b.template(nil)
	c, err := b.CreateClaim(ctx, "fleet")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", c.CertificateID, c.CertificateID} {
		if err := b.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(expired, " "); got != want {
			t.Errorf("expired %q, want %q", got, want)
		}
		b.clock.Add(int64(claimLife))
	}
	if _, _, ok, err := b.Claim(ctx, c.CertificateID); ok || err != nil {
		t.Errorf("still a claim: %v", err)
	}
}

// TestTokenLife: a token is good for an hour, and its certificate goes with it unless it was used.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t)
	b.template(nil)
	used, late := b.credentials(), b.credentials()
	if _, _, err := b.provisionWith(used.Token, "1"); err != nil {
		t.Fatal(err)
	}
	b.clock.Add(int64(tokenLife - time.Millisecond))
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.cfg.Registry.DescribeCertificate(ctx, late.CertificateID); err != nil {
		t.Error(err)
	}
	b.clock.Add(int64(time.Millisecond))
	if _, _, err := b.provisionWith(late.Token, "2"); !errors.Is(err, ErrToken) {
		t.Errorf("late: %v", err)
	}
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.cfg.Registry.DescribeCertificate(ctx, late.CertificateID); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("unused certificate: %v", err)
	}
	if c, err := b.cfg.Registry.DescribeCertificate(ctx, used.CertificateID); err != nil || c.Status != registry.Active {
		t.Errorf("used certificate: %+v %v", c, err)
	}
}

// TestTokenOnce: of many that use a token at the same time one wins, and one thing comes of it.
func TestTokenOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.template(nil)
	c := b.credentials()
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, _, err := b.provisionWith(c.Token, fmt.Sprint(i)); err == nil {
				won.Add(1)
			} else if !errors.Is(err, ErrToken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	things, _, err := b.cfg.Registry.ListThings(context.Background(), registry.ThingFilter{}, registry.Page{})
	if won.Load() != 1 || len(things) != 1 || err != nil {
		t.Errorf("%d won, things %v %v", won.Load(), things, err)
	}
}

type lambdaFunc func(ctx context.Context, function string, payload []byte) ([]byte, error)

func (f lambdaFunc) Invoke(ctx context.Context, function string, payload []byte) ([]byte, error) {
	return f(ctx, function, payload)
}

func TestLambdaHook(t *testing.T) {
	t.Parallel()
	const function = "arn:aws:lambda:us-east-1:000000000000:function:f"
	for name, lambda := range map[string]hook.Lambda{
		"none":  nil,
		"fails": lambdaFunc(func(context.Context, string, []byte) ([]byte, error) { return nil, errors.New("no") }),
		"allows": lambdaFunc(func(_ context.Context, arn string, in []byte) ([]byte, error) {
			if arn != function || !strings.Contains(string(in), `"claimCertificateId":"claim"`) {
				return nil, errors.New("unexpected call")
			}
			return []byte(`{"allowProvisioning":true}`), nil
		}),
	} {
		b := newBench(t, func(c *Config) { c.Hooks = &hook.Caller{Lambda: lambda} })
		b.template(&Hook{TargetARN: function})
		_, _, err := b.provisionWith(b.credentials().Token, "1")
		if want := name == "allows"; (err == nil) != want || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTaskSurvivesRestart: every line is done once, however often the server restarts.
func TestTaskSurvivesRestart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := newBench(t)
	const body = `{"Parameters":{"N":{"Type":"String"}},"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"N"},"AttributePayload":{"a":"b"}},"OverrideSettings":{"AttributePayload":"FAIL"}}}}`
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf(`{"N":"t%d"}`, i))
	}
	if err := os.WriteFile(filepath.Join(b.cfg.TaskFiles, "in"), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := b.StartTask(ctx, NewTask{TemplateBody: body, InputBucket: FileBucket, InputKey: "in"})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		b.restart()
		for range 200 {
			if err := b.cfg.Store.Flush(ctx); err != nil {
				t.Fatal(err)
			}
		}
		task, err := b.DescribeTask(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if task.Status == TaskCompleted {
			if task.Succeeded != 300 || task.Failed != 0 {
				t.Errorf("task %+v", task)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %+v", task)
		}
	}
}

func TestTaskFromURL(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/a/b.json" {
			w.WriteHeader(404)
		}
		fmt.Fprintln(w, `{"N":"t"}`)
	}))
	t.Cleanup(web.Close)
	b := newBench(t, func(c *Config) { c.HTTP = web.Client() })
	in := NewTask{TemplateBody: `{"Parameters":{"N":{"Type":"String"}},"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"N"}}}}}`,
		InputBucket: strings.TrimPrefix(web.URL, "https://"), InputKey: "a/b.json"}
	if _, err := b.StartTask(context.Background(), in); err != nil {
		t.Error(err)
	}
	in.InputKey = "none"
	if _, err := b.StartTask(context.Background(), in); err == nil {
		t.Error("a missing file is taken")
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	r := rates{now: func() time.Time { return now }}
	took := 0
	for range 2 * rateBurst {
		if r.take("a") {
			took++
		}
	}
	if took != rateBurst || !r.take("b") {
		t.Errorf("took %d of a burst", took)
	}
	now = now.Add(time.Second)
	for took = 0; r.take("a"); took++ {
	}
	if took != ratePerSecond {
		t.Errorf("took %d in a second", took)
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"*", "abc", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false}, {"a?c", "abc", true},
		{"a?c", "ac", false}, {"*-1*", "lamp-12", true}, {"a*b*c", "aXbYbZc", true}, {"", "a", false}, {"a**", "a", true},
	} {
		if got := glob(tc.pattern, tc.s); got != tc.want {
			t.Errorf("glob %q %q: %v", tc.pattern, tc.s, got)
		}
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"$aws/certificates/create/json":                         "0 0 ",
		"$aws/certificates/create/cbor":                         "0 1 ",
		"$aws/certificates/create-from-csr/cbor":                "1 1 ",
		"$aws/provisioning-templates/a_b-1/provision/json":      "2 0 a_b-1",
		"$aws/certificates/create/xml":                          "",
		"$aws/certificates/create/json/accepted":                "",
		"$aws/certificates/other/json":                          "",
		"$aws/provisioning-templates/a b/provision/json":        "",
		"$aws/provisioning-templates//provision/json":           "",
		"$aws/provisioning-templates/t/provision/json/accepted": "",
		"$aws/provisioning-templates/t/provide/json":            "",
		"$aws/things/t/shadow/get":                              "",
	} {
		r, ok := parseTopic(name)
		got := ""
		if ok {
			got = fmt.Sprint(r.op, r.format, " ", r.template)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// FuzzPayload: bytes of a device are decoded or refused; what was decoded comes back from its own
// encoding.
func FuzzPayload(f *testing.F) {
	f.Add([]byte(`{"certificateOwnershipToken":"t","parameters":{"a":"b"}}`), false)
	f.Add([]byte(``), true)
	b, err := formatCBOR.encode(payload{CSR: "c", Parameters: map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Add([]byte("\xbf\xff"), true)
	f.Fuzz(func(t *testing.T, b []byte, asCBOR bool) {
		form := formatJSON
		if asCBOR {
			form = formatCBOR
		}
		p, err := form.decode(b)
		if err != nil {
			if !errors.Is(err, ErrParameters) {
				t.Fatal(err)
			}
			return
		}
		again, err := form.encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := form.decode(again); err != nil || fmt.Sprint(p) != fmt.Sprint(q) {
			t.Fatalf("%+v became %+v, %v", p, q, err)
		}
	})
}
