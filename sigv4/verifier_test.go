package sigv4

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var testTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testVerifier() *Verifier {
	return &Verifier{
		Region:   "us-east-1",
		Services: []string{"iot", "iotdata", "iotdevicegateway", "iot-jobs-data"},
		Clock:    func() time.Time { return testTime },
		Secret: func(id string) (string, bool) {
			return testSecret, id == testKey
		},
	}
}

// arrive turns a request as a client holds it into one as a server gets it.
func arrive(t testing.TB, r *http.Request, body string) *http.Request {
	t.Helper()
	target := r.URL.RequestURI()
	in := httptest.NewRequest(r.Method, target, strings.NewReader(body))
	in.Header = r.Header.Clone()
	in.Host = r.Host
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	in.RequestURI = target
	return in
}

// wantCode checks that err is an *Error with that code and text.
func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) || e.Status != http.StatusForbidden && e.Status != http.StatusBadRequest {
		t.Errorf("error %v, want %s with %q", err, code, text)
	}
}

// The vector "get-vanilla" of the suite that AWS published for the algorithm.
func TestPublishedVector(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/", nil)
	r.Host = "example.amazonaws.com"
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
	v := testVerifier()
	v.Services = nil
	v.Clock = func() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) }
	got, err := v.Verify(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessKeyID != testKey || got.Service != "service" || got.Region != "us-east-1" || got.SignedAt.Unix() != 1440938160 {
		t.Errorf("credential %+v", got)
	}
}

// requests are what the SDKs send to the three planes.
var requests = []struct{ method, url, body, service string }{
	{"GET", "https://abc-ats.iot.us-east-1.example.com/things", "", "iot"},
	{"PUT", "https://localhost:8443/things/lamp-1", `{"a":1}`, "iot"},
	{"POST", "https://localhost:8443/topics/a%2Fb?qos=1", "hello", "iotdata"},
	{"POST", "https://localhost:8443/topics/%24aws/things/a%20b/shadow/update?qos=1&contentType=text%2Fplain&retain=true", "hello", "iotdata"},
	{"GET", "https://localhost/things/l%C3%A4mp/shadow?name=x%2By&empty=&a=2&a=1&flag", "", "iotdata"},
	{"GET", "https://[::1]:8443/things/t/jobs/%24next?includeJobDocument=true", "", "iot-jobs-data"},
	{"GET", "https://localhost", "", "iot"},
}

func TestAgainstSDKSigner(t *testing.T) {
	t.Parallel()
	creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}
	signer := v4.NewSigner()
	for _, tt := range requests {
		for _, escapeTwice := range []bool{true, false} {
			option := func(o *v4.SignerOptions) { o.DisableURIPathEscaping = !escapeTwice }
			out, err := http.NewRequest(tt.method, tt.url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			out.Header.Set("Content-Type", "application/json")
			out.Header.Add("X-Amz-Mqtt5-User-Properties", "  a   b  ")
			out.Header.Add("X-Amz-Mqtt5-User-Properties", "c")
			if err := signer.SignHTTP(context.Background(), creds, out, HashPayload([]byte(tt.body)), tt.service, "us-east-1", testTime, option); err != nil {
				t.Fatal(err)
			}
			got, err := testVerifier().Verify(arrive(t, out, tt.body), []byte(tt.body))
			if err != nil {
				t.Errorf("%s %s: %v", tt.method, tt.url, err)
				continue
			}
			if got.Service != tt.service || !got.SignedAt.Equal(testTime) {
				t.Errorf("credential %+v", got)
			}
			_, err = testVerifier().Verify(arrive(t, out, tt.body), []byte(tt.body+"x"))
			wantCode(t, err, CodeInvalidSignature, "")

			// The query form.
			out, _ = http.NewRequest(tt.method, tt.url, nil)
			q := out.URL.Query()
			q.Set("X-Amz-Expires", "60")
			out.URL.RawQuery = q.Encode()
			signed, _, err := signer.PresignHTTP(context.Background(), creds, out, HashPayload([]byte(tt.body)), tt.service, "us-east-1", testTime, option)
			if err != nil {
				t.Fatal(err)
			}
			out, _ = http.NewRequest(tt.method, signed, nil)
			got, err = testVerifier().Verify(arrive(t, out, tt.body), []byte(tt.body))
			if err != nil {
				t.Errorf("presigned %s: %v", signed, err)
			} else if !got.Expires.Equal(testTime.Add(time.Minute)) {
				t.Errorf("expires %v", got.Expires)
			}
		}
	}
}

// Our signer and the SDK's make the same signature.
func TestSignerAgrees(t *testing.T) {
	t.Parallel()
	for _, tt := range requests {
		ours, _ := http.NewRequest(tt.method, tt.url, strings.NewReader(tt.body))
		s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "tok", Region: "us-east-1", Service: tt.service}
		s.Sign(ours, []byte(tt.body), testTime)
		theirs, _ := http.NewRequest(tt.method, tt.url, nil) // without a length, which the SDK would sign
		theirs.Header.Set("X-Amz-Content-Sha256", HashPayload([]byte(tt.body)))
		creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "tok"}
		if err := v4.NewSigner().SignHTTP(context.Background(), creds, theirs, HashPayload([]byte(tt.body)), tt.service, "us-east-1", testTime); err != nil {
			t.Fatal(err)
		}
		if a, b := ours.Header.Get("Authorization"), theirs.Header.Get("Authorization"); a != b {
			t.Errorf("%s %s\nours   %s\ntheirs %s", tt.method, tt.url, a, b)
		}
		v := testVerifier()
		v.SessionToken = func(string, string) error { return nil }
		if _, err := v.Verify(arrive(t, ours, tt.body), []byte(tt.body)); err != nil {
			t.Error(err)
		}
	}
}

// websocket is a GET of a presigned URL that names host in the Host header.
func websocket(t testing.TB, url, host string) *http.Request {
	t.Helper()
	r := httptest.NewRequest("GET", url[strings.Index(url, "/mqtt"):], nil)
	r.Host = host
	return r
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iotdevicegateway"}
	for _, tt := range []struct{ signed, sent string }{
		{"localhost", "localhost"},
		{"localhost", "localhost:8443"}, // device SDK v2
		{"localhost:8443", "localhost:8443"},
		{"localhost:443", "localhost"}, // device SDK v1
		{"[::1]", "[::1]:8443"},
		{"[::1]:443", "[::1]"},
	} {
		for _, protocol := range []string{"", "mqtt", "mqttv3.1"} {
			r := websocket(t, s.PresignWebSocket(tt.signed, time.Hour, testTime), tt.sent)
			r.Header.Set("Sec-WebSocket-Protocol", protocol)
			if _, err := testVerifier().Verify(r, nil); err != nil {
				t.Errorf("signed for %s, sent to %s: %v", tt.signed, tt.sent, err)
			}
		}
	}
	_, err := testVerifier().Verify(websocket(t, s.PresignWebSocket("localhost", time.Hour, testTime), "other"), nil)
	wantCode(t, err, CodeInvalidSignature, "does not match")

	// Device SDK v2 signs the Connection header too.
	out, _ := http.NewRequest("GET", "https://localhost/mqtt", nil)
	out.Header.Set("Connection", "Upgrade")
	stamp := testTime.Format(timeLayout)
	sc := s.scope(stamp)
	req := canonicalRequest{method: "GET", path: "/mqtt", host: "localhost", signed: "connection;host", payload: emptyHash,
		headers: signedHeaders(out, []string{"connection", "host"}),
		query: canonicalQuery([]param{{"X-Amz-Algorithm", algorithm}, {"X-Amz-Credential", testKey + "/" + sc.String()}, {"X-Amz-Date", stamp},
			{"X-Amz-Expires", "86400"}, {"X-Amz-SignedHeaders", "connection;host"}})}
	r := websocket(t, "/mqtt?"+req.query+"&X-Amz-Signature="+s.sign(stamp, sc, &req), "localhost:8443")
	r.Header.Set("Connection", "Upgrade")
	if _, err := testVerifier().Verify(r, nil); err != nil {
		t.Error(err)
	}
	r.Header.Set("Connection", "close")
	_, err = testVerifier().Verify(r, nil)
	wantCode(t, err, CodeInvalidSignature, "")
}

func TestSessionToken(t *testing.T) {
	t.Parallel()
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "a+b/c==", Region: "us-east-1", Service: "iotdevicegateway"}
	url := s.PresignWebSocket("localhost", time.Hour, testTime)
	_, err := testVerifier().Verify(websocket(t, url, "localhost"), nil)
	wantCode(t, err, CodeUnrecognizedClient, "session tokens are not accepted")

	v := testVerifier()
	v.SessionToken = func(id, token string) error {
		if id != testKey || token != "a+b/c==" {
			return fmt.Errorf("%s %q", id, token)
		}
		return nil
	}
	got, err := v.Verify(websocket(t, url, "localhost"), nil)
	if err != nil || got.SessionToken != "a+b/c==" {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = v.Verify(websocket(t, url+"x", "localhost"), nil)
	wantCode(t, err, CodeUnrecognizedClient, "")

	// Signed along with the rest, as the Go SDK does.
	out, _ := http.NewRequest("GET", "https://localhost/mqtt?X-Amz-Expires=60", nil)
	creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: "a+b/c=="}
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), creds, out, emptyHash, "iotdevicegateway", "us-east-1", testTime)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(websocket(t, signed, "localhost"), nil); err != nil {
		t.Error(err)
	}
	v.SessionToken = func(string, string) error {
		return &Error{Code: CodeExpiredToken, Status: 403, Message: "over"}
	}
	_, err = v.Verify(websocket(t, signed, "localhost"), nil)
	wantCode(t, err, CodeExpiredToken, "over")
}

func TestTime(t *testing.T) {
	t.Parallel()
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iot"}
	header := func(at time.Time) *http.Request {
		out, _ := http.NewRequest("GET", "https://localhost/things", nil)
		s.Sign(out, nil, at)
		return arrive(t, out, "")
	}
	query := func(at time.Time, expires time.Duration) *http.Request {
		ws := *s
		ws.Service = "iotdevicegateway"
		return websocket(t, ws.PresignWebSocket("localhost", expires, at), "localhost")
	}
	for _, tt := range []struct {
		what string
		r    *http.Request
		want string // "" is accepted
	}{
		{"now", header(testTime), ""},
		{"4 minutes old", header(testTime.Add(-4 * time.Minute)), ""},
		{"4 minutes early", header(testTime.Add(4 * time.Minute)), ""},
		{"old", header(testTime.Add(-6 * time.Minute)), "Signature expired: 20260301T115400Z is now earlier than 20260301T115500Z (20260301T120000Z - 5m0s)"},
		{"early", header(testTime.Add(6 * time.Minute)), "Signature not yet current: 20260301T120600Z is still later than 20260301T120500Z"},
		{"1970", header(time.Unix(0, 0)), "Signature expired: 19700101T000000Z"},
		{"query, within its life", query(testTime.Add(-59*time.Minute), time.Hour), ""},
		{"query, over", query(testTime.Add(-61*time.Minute), time.Hour), "Signature expired: 20260301T115900Z is now earlier than 20260301T120000Z"},
		{"query, early", query(testTime.Add(6*time.Minute), time.Hour), "not yet current"},
		{"query without life", query(testTime.Add(-4*time.Minute), 0), ""},
		{"query without life, old", query(testTime.Add(-6*time.Minute), 0), "Signature expired"},
		{"query, a week", query(testTime.Add(-6*24*time.Hour), 7*24*time.Hour), ""},
	} {
		_, err := testVerifier().Verify(tt.r, nil)
		if tt.want == "" && err != nil {
			t.Errorf("%s: %v", tt.what, err)
		} else if tt.want != "" {
			wantCode(t, err, CodeInvalidSignature, tt.want)
		}
	}
}

func TestTampering(t *testing.T) {
	t.Parallel()
	fresh := func() *http.Request {
		out, _ := http.NewRequest("POST", "https://localhost:8443/topics/a%2Fb?qos=1", strings.NewReader("x"))
		out.Header.Set("Content-Type", "text/plain")
		(&Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iotdata"}).Sign(out, []byte("x"), testTime)
		return arrive(t, out, "x")
	}
	if _, err := testVerifier().Verify(fresh(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	auth := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			a := r.Header.Get("Authorization")
			if !strings.Contains(a, old) {
				panic(old)
			}
			r.Header.Set("Authorization", strings.Replace(a, old, new, 1))
		}
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for _, tt := range []struct {
		what   string
		change func(*http.Request)
		code   string
		text   string
	}{
		{"method", func(r *http.Request) { r.Method = "PUT" }, CodeInvalidSignature, "does not match"},
		{"path", func(r *http.Request) { r.RequestURI = "/topics/a%2Fc?qos=1" }, CodeInvalidSignature, "does not match"},
		{"slash for its escape", func(r *http.Request) { r.RequestURI = "/topics/a/b?qos=1" }, CodeInvalidSignature, "does not match"},
		{"query", func(r *http.Request) { r.URL.RawQuery = "qos=0" }, CodeInvalidSignature, "does not match"},
		{"more query", func(r *http.Request) { r.URL.RawQuery += "&retain=true" }, CodeInvalidSignature, "does not match"},
		{"host", func(r *http.Request) { r.Host = "other" }, CodeInvalidSignature, "does not match"},
		{"port", func(r *http.Request) { r.Host = "localhost:1" }, CodeInvalidSignature, "does not match"},
		{"signed header", set("Content-Type", "text/html"), CodeInvalidSignature, "does not match"},
		{"repeated header", func(r *http.Request) { r.Header.Add("Content-Type", "b") }, CodeInvalidSignature, "does not match"},
		{"content hash", set("X-Amz-Content-Sha256", emptyHash), CodeInvalidSignature, "does not have the SHA-256"},
		{"unsigned payload, plain", set("X-Amz-Content-Sha256", UnsignedPayload), CodeInvalidSignature, "over TLS only"},
		{"unsigned payload, TLS", func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", UnsignedPayload)
			r.TLS = &tls.ConnectionState{}
		}, CodeInvalidSignature, "does not match"},
		{"streaming", set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"), CodeIncomplete, "chunked signing"},
		{"date", set("X-Amz-Date", "20260301T120001Z"), CodeInvalidSignature, "does not match"},
		{"other day", set("X-Amz-Date", "20260302T000000Z"), CodeInvalidSignature, "is not that of the time of signing"},
		{"bad date", set("X-Amz-Date", "yesterday"), CodeIncomplete, "time of signing"},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, CodeIncomplete, "neither an X-Amz-Date nor a Date"},
		{"access key", auth(testKey, "AKIDOTHER"), CodeUnrecognizedClient, "AKIDOTHER"},
		{"region", auth("us-east-1", "eu-west-1"), CodeInvalidSignature, "scoped to region"},
		{"service", auth("iotdata", "s3"), CodeInvalidSignature, "scoped to service"},
		{"another service of ours", auth("iotdata", "iot"), CodeInvalidSignature, "does not match"},
		{"terminator", auth("aws4_request", "aws4"), CodeIncomplete, "aws4_request"},
		{"algorithm", auth("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), CodeIncomplete, "not supported"},
		{"signature", auth("Signature=", "Signature=0"), CodeIncomplete, "64 hexadecimal"},
		{"no signature", auth("Signature=", "Sig="), CodeIncomplete, "lacks Signature"},
		{"no comma", auth(", Signature", " Signature"), CodeIncomplete, ""},
		{"host not signed", auth("host;", ""), CodeIncomplete, "lack host"},
		{"header left out", auth("content-type;", ""), CodeInvalidSignature, "does not match"},
		{"signed twice", auth("host;", "host;host;"), CodeIncomplete, "different names"},
		{"upper case", auth("host;", "Host;"), CodeIncomplete, "lower case"},
		{"no authorization", func(r *http.Request) { r.Header.Del("Authorization") }, CodeMissingToken, "not signed"},
		{"other scheme", set("Authorization", "Bearer x"), CodeMissingToken, "not signed"},
		{"two forms", func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=0" }, CodeIncomplete, "one of them"},
		{"two headers", func(r *http.Request) { r.Header.Add("Authorization", "AWS4-x") }, CodeIncomplete, "more than once"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			r := fresh()
			tt.change(r)
			_, err := testVerifier().Verify(r, []byte("x"))
			wantCode(t, err, tt.code, tt.text)
		})
	}
}

func TestTamperingQuery(t *testing.T) {
	t.Parallel()
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iotdevicegateway"}
	url := s.PresignWebSocket("localhost", time.Hour, testTime)
	for _, tt := range []struct{ old, new, code, text string }{
		{"X-Amz-Expires=3600", "X-Amz-Expires=3601", CodeInvalidSignature, "does not match"},
		{"X-Amz-Expires=3600", "X-Amz-Expires=0", CodeIncomplete, "X-Amz-Expires"},
		{"X-Amz-Expires=3600", "X-Amz-Expires=604801", CodeIncomplete, "X-Amz-Expires"},
		{"X-Amz-Expires=3600", "X-Amz-Expires=", CodeIncomplete, "X-Amz-Expires"},
		{"&X-Amz-Expires=3600", "", CodeInvalidSignature, "does not match"},
		{"X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=date", CodeIncomplete, "lack host"},
		{"X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=host&X-Amz-SignedHeaders=host", CodeIncomplete, "more than once"},
		{"X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=NONE", CodeIncomplete, "not supported"},
		{"X-Amz-Signature=", "X-Other=", CodeIncomplete, "lacks X-Amz-Signature"},
		{"X-Amz-Credential=AKID", "X-Amz-Credential=BKID", CodeUnrecognizedClient, ""},
		{"X-Amz-Signature=", "x=y&X-Amz-Signature=", CodeInvalidSignature, "does not match"},
	} {
		if !strings.Contains(url, tt.old) {
			t.Fatalf("%s lacks %s", url, tt.old)
		}
		_, err := testVerifier().Verify(websocket(t, strings.Replace(url, tt.old, tt.new, 1), "localhost"), nil)
		wantCode(t, err, tt.code, tt.text)
	}
}

// A Date header serves where X-Amz-Date is missing.
func TestDateHeader(t *testing.T) {
	t.Parallel()
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iot"}
	r := httptest.NewRequest("GET", "/things", nil)
	r.Host = "localhost"
	r.Header.Set("Date", testTime.Format(http.TimeFormat))
	stamp := testTime.Format(timeLayout)
	req := canonicalRequest{method: "GET", path: "/things", host: "localhost", signed: "date;host", payload: emptyHash, headers: signedHeaders(r, []string{"date", "host"})}
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s,SignedHeaders=date;host,Signature=%s", algorithm, testKey, s.scope(stamp), s.sign(stamp, s.scope(stamp), &req)))
	if _, err := testVerifier().Verify(r, nil); err != nil {
		t.Error(err)
	}
}

// Through a real server, where net/http has parsed the request.
func TestThroughServer(t *testing.T) {
	t.Parallel()
	v := testVerifier()
	v.Clock = nil
	var mu sync.Mutex
	var failed error
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, readErr := io.ReadFull(r.Body, body)
		_, err := v.Verify(r, body)
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, readErr, err)
	}))
	defer srv.Close()
	for _, hash := range []string{HashPayload([]byte("hello")), UnsignedPayload} {
		out, _ := http.NewRequest("POST", srv.URL+"/topics/a%2Fb%20c?qos=1", strings.NewReader("hello"))
		out.Header.Set("X-Amz-Content-Sha256", hash)
		creds := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}
		if err := v4.NewSigner().SignHTTP(context.Background(), creds, out, hash, "iotdata", "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(out)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		t.Error(failed)
	}
}

func TestKeyCacheIsBounded(t *testing.T) {
	t.Parallel()
	v := testVerifier()
	v.Region, v.Services = "", nil
	for i := range maxKeys + 50 {
		s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: fmt.Sprintf("r%d", i), Service: "iot"}
		if _, err := v.Verify(websocket(t, s.PresignWebSocket("localhost", time.Hour, testTime), "localhost"), nil); err != nil {
			t.Fatal(err)
		}
		s.SecretAccessKey = "wrong"
		if _, err := v.Verify(websocket(t, s.PresignWebSocket("localhost", time.Hour, testTime), "localhost"), nil); err == nil {
			t.Fatal("a wrong secret is accepted")
		}
	}
	if len(v.keys) != maxKeys {
		t.Errorf("%d keys", len(v.keys))
	}
}

func TestSigned(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/mqtt?x=1", nil)
	if Signed(r) {
		t.Error("a bare request is signed")
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	if !Signed(r) || !Signed(httptest.NewRequest("GET", "/mqtt?X-Amz-Signature=0", nil)) {
		t.Error("a signed request is not")
	}
}

func FuzzVerify(f *testing.F) {
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iotdata"}
	out, _ := http.NewRequest("POST", "https://localhost/topics/a%2Fb?qos=1", nil)
	s.Sign(out, nil, testTime)
	auth := out.Header.Get("Authorization")
	ws := s.PresignWebSocket("localhost", time.Hour, testTime)
	_, query, _ := strings.Cut(ws, "?")
	f.Add(auth, "qos=1", "/topics/a%2Fb", "20260301T120000Z", "")
	f.Add("", query+"&X-Amz-Security-Token=x%2", "/mqtt", "", "")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request,SignedHeaders=host;a;b,Signature=", "a=%zz&&=;+", "//..//%", "Sun, 01 Mar 2026 12:00:00 GMT", "STREAMING-x")
	f.Fuzz(func(t *testing.T, auth, query, path, date, hash string) {
		r := httptest.NewRequest("POST", "/", nil)
		r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Host = path+"?"+query, path, query, "localhost:8443"
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		r.Header.Set("X-Amz-Date", date)
		r.Header.Set("X-Amz-Content-Sha256", hash)
		v := testVerifier()
		v.Secret = func(string) (string, bool) { return "not the secret that signed the seeds", true }
		v.SessionToken = func(string, string) error { return nil }
		Signed(r)
		_, err := v.Verify(r, nil)
		if _, ok := err.(*Error); !ok {
			t.Fatalf("Verify: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := &Signer{AccessKeyID: testKey, SecretAccessKey: testSecret, Region: "us-east-1", Service: "iotdata"}
	out, _ := http.NewRequest("POST", "https://localhost/topics/a%2Fb?qos=1", nil)
	s.Sign(out, []byte("hello"), testTime)
	s.Service = "iotdevicegateway"
	url := s.PresignWebSocket("localhost", time.Hour, testTime)
	for _, bb := range []struct {
		name string
		r    *http.Request
		body string
	}{
		{"Header", arrive(b, out, "hello"), "hello"},
		{"WebSocket", websocket(b, url, "localhost"), ""},
	} {
		b.Run(bb.name, func(b *testing.B) {
			v := testVerifier()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(bb.r, []byte(bb.body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("WrongSignature", func(b *testing.B) {
		v := testVerifier()
		r := websocket(b, url+"&x=y", "localhost")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(r, nil); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}
