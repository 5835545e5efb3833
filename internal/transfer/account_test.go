package transfer

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// answering is an account that a function answers for.
func answering(t *testing.T, rate float64, answer http.HandlerFunc) *Account {
	t.Helper()
	web := httptest.NewServer(answer)
	t.Cleanup(web.Close)
	a := NewAccount(Config{Base: web.URL, Number: "123456789012", Rate: rate, AWS: aws.Config{Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")}})
	if err := a.identify(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// TestThrottling: what AWS throttles is tried again, and the operation slows down.
func TestThrottling(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	a := answering(t, 1000, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			w.Header().Set("x-amzn-ErrorType", "ThrottlingException:http://internal.amazon.com/coral/")
			w.WriteHeader(400)
			return
		}
		io.WriteString(w, `{"thingName":"lamp"}`)
	})
	out, err := a.call(t.Context(), "DescribeThing", args{"thingName": "lamp"})
	if err != nil || str(out, "thingName") != "lamp" || calls.Load() != 3 {
		t.Errorf("%v, %v after %d calls", out, err, calls.Load())
	}
	if p := a.pace("DescribeThing"); p.every <= time.Second/1000 {
		t.Errorf("the pace is still %v", p.every)
	}
	if p := a.pace("CreateThing"); p.every != time.Second/1000 {
		t.Errorf("another operation slowed down to %v", p.every)
	}
}

// TestRequests: where arguments go, and how names are escaped.
func TestRequests(t *testing.T) {
	t.Parallel()
	var method, uri, body, scope, header string
	a := answering(t, 0, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		method, uri, body, header = r.Method, r.RequestURI, string(b), r.Header.Get("X-Amzn-Principal")
		_, scope, _ = strings.Cut(r.Header.Get("Authorization"), "/eu-west-1/")
		scope, _, _ = strings.Cut(scope, "/")
	})
	for _, tt := range []struct {
		op                       string
		in                       args
		method, uri, body, scope string
	}{
		{"DescribeThing", args{"thingName": "a:b c"}, "GET", "/things/a%3Ab%20c", "", "iot"},
		{"ListThings", args{"maxResults": 250, "nextToken": "a+b/c="}, "GET", "/things?maxResults=250&nextToken=a%2Bb%2Fc%3D", "", "iot"},
		{"CreatePolicyVersion", args{"policyName": "p", "policyDocument": "{}", "?setAsDefault": true}, "POST", "/policies/p/version?setAsDefault=true", `{"policyDocument":"{}"}`, "iot"},
		{"UpdateThingShadow", args{"thingName": "x", "?name": "n", "": object{"state": nil}}, "POST", "/things/x/shadow?name=n", `{"state":null}`, "iotdata"},
		{"AttachThingPrincipal", args{"thingName": "x", "@x-amzn-principal": "arn"}, "PUT", "/things/x/principals", "{}", "iot"},
	} {
		if _, err := a.call(t.Context(), tt.op, tt.in); err != nil {
			t.Fatal(err)
		}
		if method != tt.method || uri != tt.uri || body != tt.body || scope != tt.scope {
			t.Errorf("%s: %s %s %s for %s, want %s %s %s for %s", tt.op, method, uri, body, scope, tt.method, tt.uri, tt.body, tt.scope)
		}
	}
	if header != "arn" {
		t.Errorf("principal %q", header)
	}
	if _, err := a.call(t.Context(), "Frobnicate", nil); err == nil {
		t.Error("an operation that does not exist is called")
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status         int
		kind, body     string
		code           string
		lacking, again bool
	}{
		{404, "ResourceNotFoundException", `{"message":"gone"}`, "ResourceNotFoundException", false, false},
		{501, "NotImplementedException", `{"message":"no"}`, "NotImplementedException", true, false},
		{404, "", "<html>", "404 Not Found", true, false},
		{500, "InternalFailureException", "", "InternalFailureException", false, true},
		{500, "", "Traceback", "500 Internal Server Error", true, false},
		{429, "", "", "429 Too Many Requests", false, true},
		{503, "", "", "503 Service Unavailable", false, true},
		{400, "", `{"__type":"com.amazonaws#InvalidRequestException","message":"x"}`, "InvalidRequestException", false, false},
	} {
		err := refusal("Op", &http.Response{StatusCode: tt.status, Status: strings.TrimSpace(httpStatus(tt.status)), Header: http.Header{"X-Amzn-Errortype": {tt.kind}}}, []byte(tt.body))
		if err.Code != tt.code || lacking(err) != tt.lacking || again(err) != tt.again {
			t.Errorf("%d %s %s: code %q, lacking %v, again %v", tt.status, tt.kind, tt.body, err.Code, lacking(err), again(err))
		}
	}
}

func httpStatus(n int) string {
	b, _ := json.Marshal(n)
	return string(b) + " " + http.StatusText(n)
}

// TestOwnActions: rules with actions that only berth has do not go to AWS.
func TestOwnActions(t *testing.T) {
	t.Parallel()
	rule := object{"actions": []any{object{"republish": object{}}}, "errorAction": object{"table": object{"table": "t"}}}
	toAWS, toBerth := &Account{cfg: Config{Base: "https://iot"}, data: "https://data"}, &Account{cfg: Config{Base: "https://x"}, data: "https://x"}
	if why := refuseRule(&writer{Account: toAWS}, "r", rule); !strings.Contains(why, "table") {
		t.Errorf("to AWS: %q", why)
	}
	if why := refuseRule(&writer{Account: toBerth}, "r", rule); why != "" {
		t.Errorf("to berth: %q", why)
	}
}

// TestInterrupted: a context that ends, ends the waiting.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	a := answering(t, 0, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.call(ctx, "ListThings", nil); err == nil || ctx.Err() == nil {
		t.Errorf("%v", err)
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	parse := func(text string) (o object) {
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, tt := range [][3]string{
		{`{"desired":{"a":1}}`, `{}`, `{"desired":{"a":1}}`},
		{`{"desired":{"a":1,"b":{"c":2}}}`, `{"desired":{"a":1,"b":{"c":1,"d":3}},"reported":{"x":1}}`, `{"desired":{"a":1,"b":{"c":2,"d":null}},"reported":null}`},
		{`{"desired":{"a":{}}}`, `{"desired":{"a":{"b":1}}}`, `{"desired":{"a":{"b":null}}}`},
	} {
		if have := difference(parse(tt[0]), parse(tt[1])); !exactly(have, parse(tt[2])) {
			b, _ := json.Marshal(have)
			t.Errorf("%s from %s: %s, want %s", tt[0], tt[1], b, tt[2])
		}
	}
}

// FuzzAnswer: whatever an account answers, nothing panics, and a difference applied to itself is empty.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{`{"things":[{"thingName":"a","attributes":{"b":"c"}}],"nextToken":null}`, `{"job":{"targets":[1,null,{}]}}`, `[]`, `{"message":"x","code":"YException"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		refusal("Op", &http.Response{StatusCode: 400, Header: http.Header{}}, b)
		var o object
		if json.Unmarshal(b, &o) != nil {
			return
		}
		for key := range o {
			objects(o, key)
			strs(o, key)
			obj(o, key)
		}
		if !equal(o, o) || !exactly(o, o) {
			t.Errorf("%s differs from itself", b)
		}
		rewrite(map[string]object{"a": o}, "x", "yy")
		canonical(string(b))
		above(o)
		sections(o)
		sameJob(o, o)
		coversVersions(o, o)
	})
}
