package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/server"
	"github.com/berth-iot/berth/mqtt"
)

// browser is a browser with cookies of its own, over HTTPS.
type browser struct {
	t      testing.TB
	base   string
	client *http.Client
	cookie *http.Cookie
	csrf   string
}

func (f *fixture) browser() *browser {
	f.t.Helper()
	pem, err := os.ReadFile(filepath.Join(f.dir, "ca.pem"))
	if err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: f.t, base: fmt.Sprintf("https://localhost:%d", f.Ready.HTTPSPort), client: &http.Client{Transport: transport}}
}

// do sends a request with the cookie and, unless it is a GET, the token; change may alter it.
func (b *browser) do(method, path, body string, change ...func(*http.Request)) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.base+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	if method != "GET" {
		r.Header.Set("X-Berth-Csrf", b.csrf)
	}
	for _, c := range change {
		c(r)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(text)
}

func (b *browser) must(status int, method, path, body string, change ...func(*http.Request)) string {
	b.t.Helper()
	resp, text := b.do(method, path, body, change...)
	if resp.StatusCode != status {
		b.t.Fatalf("%s %s: %d %s, want %d", method, path, resp.StatusCode, text, status)
	}
	return text
}

func (b *browser) signIn(credentials any) {
	b.t.Helper()
	resp, text := b.do("POST", "/console/api/sign-in", string(marshal(b.t, credentials)))
	if resp.StatusCode != 200 || len(resp.Cookies()) != 1 {
		b.t.Fatalf("sign in: %d %s", resp.StatusCode, text)
	}
	var state struct{ CSRFToken string }
	unmarshal(b.t, []byte(text), &state)
	b.cookie, b.csrf = resp.Cookies()[0], state.CSRFToken
}

func (f *fixture) consolePassword() map[string]string {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "console-password"))
	if err != nil {
		f.t.Fatal(err)
	}
	return map[string]string{"password": strings.TrimSpace(string(b))}
}

// viewer is signed in with a read-only key.
func (f *fixture) viewer() *browser {
	f.t.Helper()
	var key struct{ AccessKeyID, SecretAccessKey string }
	f.api("POST", "/berth/access-keys", map[string]string{"role": "read-only"}, &key)
	b := f.browser()
	b.signIn(map[string]string{"accessKeyId": key.AccessKeyID, "secretAccessKey": key.SecretAccessKey})
	return b
}

func TestConsoleSession(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.browser()
	if info, err := os.Stat(filepath.Join(f.dir, "console-password")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the password's file: %v %v", info, err)
	}
	b.must(401, "GET", "/console/api/iot/things", "")
	b.must(403, "POST", "/console/api/sign-in", `{"password":"wrong"}`)
	b.must(403, "POST", "/console/api/sign-in", `{"password":""}`)
	b.must(403, "POST", "/console/api/sign-in", `{"accessKeyId":"`+adminID+`","secretAccessKey":"wrong"}`)
	b.must(429, "POST", "/console/api/sign-in", `{"password":"wrong"}`)

	f.restart() // forgets who failed
	b = f.browser()
	b.signIn(f.consolePassword())
	if c := b.cookie; c.Name != "__Host-berth" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("cookie over HTTPS: %v", c)
	}
	b.must(200, "GET", "/console/api/iot/things", "")
	b.must(200, "POST", "/console/api/iot/things/kettle", "{}")
	f.api("GET", "/things/kettle", nil, nil)

	// The cookie counts nowhere else.
	b.must(403, "GET", "/things", "")
	b.must(403, "POST", "/things/toaster", "{}")

	// The session is there after a restart, the token too; not after signing out.
	before := b.csrf
	f.restart()
	again := f.browser()
	again.cookie, again.csrf = b.cookie, b.csrf
	var state struct {
		SignedIn  bool
		User      string
		Role      string
		CSRFToken string
	}
	unmarshal(t, []byte(again.must(200, "GET", "/console/api/session", "")), &state)
	if !state.SignedIn || state.Role != "admin" || state.CSRFToken != before {
		t.Errorf("after a restart: %+v", state)
	}
	again.must(200, "POST", "/console/api/sign-out", "")
	again.must(401, "GET", "/console/api/iot/things", "")

	// Another password ends the sessions of the first.
	again.signIn(f.consolePassword())
	again.must(200, "GET", "/console/api/iot/things", "")
	if err := os.WriteFile(filepath.Join(f.dir, "console-password"), []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again.must(401, "GET", "/console/api/iot/things", "")
	again.signIn(map[string]string{"password": "correct horse"})
	if db, err := os.ReadFile(filepath.Join(f.dir, "berth.db-wal")); err == nil && bytes.Contains(db, []byte(again.cookie.Value)) {
		t.Error("the database holds the token itself")
	}
}

func TestConsoleKeySession(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.viewer()
	b.must(200, "GET", "/console/api/iot/things", "")
	var keys struct {
		AccessKeys []struct{ AccessKeyID, Role string }
	}
	f.api("GET", "/berth/access-keys", nil, &keys)
	for _, k := range keys.AccessKeys {
		if k.Role == "read-only" {
			f.api("POST", "/berth/access-keys/"+k.AccessKeyID+"/disable", nil, nil)
		}
	}
	b.must(401, "GET", "/console/api/iot/things", "")
}

func TestConsoleOverPlainHTTP(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.browser()
	b.base = fmt.Sprintf("http://127.0.0.1:%d", f.Ready.HTTPPort)
	b.signIn(f.consolePassword())
	if c := b.cookie; c.Name != "berth-console" || c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie over HTTP: %v", c)
	}
	b.must(200, "GET", "/console/api/iot/things", "")
	b.must(421, "GET", "/", "", func(r *http.Request) { r.Host = "berth.example.com" })
	b.must(421, "GET", "/console/api/iot/things", "", func(r *http.Request) { r.Host = "evil.example:8080" })

	open := start(t, func(c *server.Config) { c.AllowInsecure = true })
	b = open.browser()
	b.base = fmt.Sprintf("http://127.0.0.1:%d", open.Ready.HTTPPort)
	b.must(200, "GET", "/", "", func(r *http.Request) { r.Host = "berth.example.com" })
}

func TestConsoleRefusesForgedRequests(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.browser()
	b.signIn(f.consolePassword())
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, change := range map[string]func(*http.Request){
		"no token":            func(r *http.Request) { r.Header.Del("X-Berth-Csrf") },
		"another token":       header("X-Berth-Csrf", "AAAA"),
		"another site":        header("Sec-Fetch-Site", "cross-site"),
		"another origin":      header("Origin", "https://evil.example"),
		"a neighbour's page":  header("Sec-Fetch-Site", "same-site"),
		"the cookie as token": header("X-Berth-Csrf", b.cookie.Value),
	} {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
				if resp, text := b.do(method, "/console/api/iot/things/x", "{}", change); resp.StatusCode != 403 || !strings.Contains(resp.Header.Get("x-amzn-ErrorType"), "Csrf") {
					t.Errorf("%s: %d %s", method, resp.StatusCode, text)
				}
			}
		})
	}
	b.must(403, "POST", "/console/api/sign-in", `{"password":"x"}`, header("Sec-Fetch-Site", "cross-site"))
	b.must(404, "GET", "/console/api/iot/things/x", "")
}

func TestConsoleHeaders(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.browser()
	resp, index := b.do("GET", "/", "")
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	policy := resp.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "img-src 'self' data:", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'",
		fmt.Sprintf("connect-src 'self' wss://localhost:%d;", f.Ready.HTTPSPort)} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy %q lacks %q", policy, part)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy allows what is unsafe: %s", policy)
	}
	if regexp.MustCompile(`(?i)<script(?:>|[^>]*[^/]>[^<])|<style|\son\w+=`).MatchString(index) {
		t.Error("the page has inline script or style")
	}
	if resp, _ := b.do("GET", "/", "", func(r *http.Request) { r.Header.Set("If-None-Match", resp.Header.Get("ETag")) }); resp.StatusCode != 304 {
		t.Errorf("the same index again: %d", resp.StatusCode)
	}
	weight := 0
	for _, name := range regexp.MustCompile(`/console/assets/[^"]+`).FindAllString(index, -1) {
		resp, text := b.do("GET", name, "", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
		if resp.StatusCode != 200 || resp.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
		weight += len(text)
	}
	if weight == 0 || weight > 150<<10 {
		t.Errorf("the first view weighs %d bytes", weight)
	}
	b.must(404, "GET", "/console/assets/index.html", "")
	b.must(404, "GET", "/console/assets/..%2f..%2fca.key", "")
	// A Host header that would mean something in the policy is left out of it.
	if resp, _ := b.do("GET", "/", "", func(r *http.Request) { r.Host = "x;script-src*" }); strings.Contains(resp.Header.Get("Content-Security-Policy"), "*") {
		t.Errorf("the policy took over a Host header: %s", resp.Header.Get("Content-Security-Policy"))
	}
}

// TestViewerChangesNothing tries every operation that changes something.
func TestViewerChangesNothing(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("POST", "/things/kettle", map[string]any{}, nil)
	b := f.viewer()
	label := regexp.MustCompile(`\{[^}]*\}`)
	tried := 0
	for _, op := range awsapi.Operations() {
		plane := map[string]string{awsapi.IoT: "iot", awsapi.IoTData: "iotdata", awsapi.IoTJobsData: "iot-jobs-data"}[op.Service]
		path := "/console/api/" + plane + label.ReplaceAllString(op.Path, "kettle")
		if op.ReadOnly {
			continue
		}
		tried++
		if resp, text := b.do(op.Method, path, "{}"); resp.StatusCode != 403 || resp.Header.Get("x-amzn-ErrorType") != "AccessDeniedException" {
			t.Errorf("%s: %d %s", op.Name, resp.StatusCode, text)
		}
	}
	for _, route := range []string{"POST /access-keys", "DELETE /access-keys/x", "POST /access-keys/x/disable", "PUT /files/x", "DELETE /files/x", "POST /signers/x",
		"DELETE /signers/x", "POST /signers/x/signatures", "PUT /cacertificates/x/activation", "POST /server-certificates", "DELETE /tables/x", "POST /tables/x/rows",
		"PUT /tables/x/retention", "POST /rules/x/replay", "POST /no/such/path"} {
		method, path, _ := strings.Cut(route, " ")
		tried++
		if resp, text := b.do(method, "/console/api/berth"+path, "{}"); resp.StatusCode != 403 {
			t.Errorf("%s: %d %s", route, resp.StatusCode, text)
		}
	}
	t.Logf("tried %d operations", tried)
	var things struct{ Things []struct{ ThingName string } }
	f.api("GET", "/things", nil, &things)
	if len(things.Things) != 1 {
		t.Errorf("things: %+v", things)
	}
	// It may look, search and ask.
	b.must(200, "GET", "/console/api/iot/things/kettle", "")
	b.must(200, "GET", "/console/api/berth/server", "")
	b.must(200, "POST", "/console/api/berth/identity-images", `{"format":"nvs","size":12288,"files":{"aws/thing":"kettle"}}`)
}

func TestConsoleAuditLog(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.browser()
	b.signIn(f.consolePassword())
	b.must(200, "POST", "/console/api/iot/things/kettle", `{"attributePayload":{"attributes":{"room":"kitchen"}}}`)
	b.must(200, "PATCH", "/console/api/iot/things/kettle", `{"attributePayload":{"attributes":{"room":"cellar"}}}`)
	b.must(404, "PATCH", "/console/api/iot/things/toaster", `{}`)
	b.must(200, "POST", "/console/api/berth/access-keys", `{"role":"read-only","secret":"hush"}`)
	b.must(200, "POST", "/console/api/iotdata/things/kettle/shadow", `{"state":{"desired":{"on":true}}}`)
	b.must(200, "DELETE", "/console/api/iot/things/kettle", "")
	b.must(200, "GET", "/console/api/iot/things", "")

	type entry struct {
		User, Role, SourceIP, Operation, Method, Path, Request, Before, After string
		Status                                                                int
		ID                                                                    int64
	}
	var log struct{ Entries []entry }
	unmarshal(t, []byte(b.must(200, "GET", "/console/api/berth/audit-log?max=100", "")), &log)
	var said []string
	for i, e := range log.Entries {
		who := "console"
		if i == len(log.Entries)-1 {
			who = "AKIATESTTESTTESTTEST" // signed, before
		}
		if e.User != who || e.Role != "admin" || e.SourceIP == "" {
			t.Errorf("who: %+v", e)
		}
		said = append(said, fmt.Sprintf("%s %d", e.Operation, e.Status))
	}
	want := "DeleteThing 200, UpdateThingShadow 200, POST /berth/access-keys 200, UpdateThing 404, UpdateThing 200, CreateThing 200, SignIn 200, CreatePolicy 200"
	if got := strings.Join(said, ", "); got != want {
		t.Fatalf("operations: %s\nwant: %s", got, want)
	}
	update := log.Entries[4]
	if !strings.Contains(update.Before, `"room":"kitchen"`) || !strings.Contains(update.After, `"room":"cellar"`) || !strings.Contains(update.Request, `"cellar"`) {
		t.Errorf("update: %+v", update)
	}
	if e := log.Entries[0]; !strings.Contains(e.Before, `"cellar"`) || e.After != "" {
		t.Errorf("delete: %+v", e)
	}
	if e := log.Entries[2]; strings.Contains(e.Request, "hush") {
		t.Errorf("the log holds a secret: %s", e.Request)
	}
	var page struct{ Entries []entry }
	unmarshal(t, []byte(b.must(200, "GET", fmt.Sprintf("/console/api/berth/audit-log?max=2&before=%d", log.Entries[2].ID), "")), &page)
	if len(page.Entries) != 2 || page.Entries[0] != log.Entries[3] {
		t.Errorf("second page: %+v", page)
	}
	unmarshal(t, []byte(b.must(200, "GET", "/console/api/berth/audit-log?path=/things/toaster", "")), &page)
	if len(page.Entries) != 1 {
		t.Errorf("of one path: %+v", page)
	}
}

// TestConsoleMQTT opens MQTT with a session: an admin publishes, a viewer only listens, and signing
// out ends it.
func TestConsoleMQTT(t *testing.T) {
	t.Parallel()
	f := start(t)
	dialAt := func(b *browser, path, origin string) (*websocket.Conn, error) {
		header := http.Header{"Origin": {origin}}
		if b.cookie != nil {
			header.Set("Cookie", b.cookie.Name+"="+b.cookie.Value)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, "wss"+strings.TrimPrefix(b.base, "https")+path,
			&websocket.DialOptions{HTTPClient: b.client, HTTPHeader: header, Subprotocols: []string{"mqtt"}})
		return ws, err
	}
	dial := func(b *browser, origin string) (*websocket.Conn, error) {
		return dialAt(b, "/console/api/mqtt", origin)
	}
	exchange := func(ws *websocket.Conn, send []byte) []byte {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := ws.Write(ctx, websocket.MessageBinary, send); err != nil {
			t.Fatal(err)
		}
		_, got, err := ws.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	connect := []byte("\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03me")
	connect = append(connect, '1')
	publish := []byte("\x32\x08\x00\x03a/b\x00\x01\x00")
	admin, viewer := f.browser(), f.viewer()
	admin.signIn(f.consolePassword())
	if ws, err := dial(f.browser(), admin.base); err == nil {
		ws.CloseNow()
		t.Error("opened without a session")
	}
	for _, origin := range []string{"https://evil.example", "", "null"} {
		if ws, err := dial(admin, origin); err == nil {
			ws.CloseNow()
			t.Errorf("opened from the origin %q", origin)
		}
		for _, service := range []string{"iot", "iotdata", "iot-jobs-data", "berth"} { // past the check of origins
			if ws, err := dialAt(admin, "/console/api/"+service+"/mqtt", origin); err == nil {
				ws.CloseNow()
				t.Errorf("opened as a path of %s from the origin %q", service, origin)
			}
		}
	}
	for _, test := range []struct {
		b    *browser
		code byte
	}{{admin, 0}, {viewer, 0x87}} { // success; not authorized
		ws, err := dial(test.b, test.b.base)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		if ack := exchange(ws, connect); ack[0] != 0x20 || ack[3] != 0 {
			t.Fatalf("CONNACK % x", ack)
		}
		if sub := exchange(ws, []byte("\x82\x09\x00\x02\x00\x00\x03a/c\x01")); sub[0] != 0x90 || sub[len(sub)-1] != 1 {
			t.Fatalf("SUBACK % x", sub)
		}
		ack := exchange(ws, publish)
		code := byte(0)
		if len(ack) > 4 {
			code = ack[4]
		}
		if ack[0] != 0x40 || code != test.code {
			t.Errorf("PUBACK % x, want code %#x", ack, test.code)
		}
		test.b.must(200, "POST", "/console/api/sign-out", "")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if _, _, err := ws.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("the connection is open after signing out: %v", err)
		}
		cancel()
	}
}

func TestConnectionHistory(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.browser()
	b.signIn(f.consolePassword())
	var history struct {
		Events []struct{ EventType, ClientID, IPAddress string }
	}
	f.connect(nil, "kettle", mqtt.V5).bye()
	eventually(t, "both events are there", func() bool {
		unmarshal(t, []byte(b.must(200, "GET", "/console/api/berth/connections?name=kettle", "")), &history)
		return len(history.Events) == 2
	})
	if e := history.Events; e[1].EventType != "connected" || e[0].EventType != "disconnected" || e[0].ClientID != "kettle" {
		t.Errorf("history: %+v", history)
	}
	b.must(400, "GET", "/console/api/berth/connections?max=0", "")
}

func TestIdentityImage(t *testing.T) {
	t.Parallel()
	f := start(t)
	b := f.viewer()
	files, _ := json.Marshal(map[string]any{"format": "spiffs", "size": 65536, "files": map[string]string{"certificate.pem.crt": "-----BEGIN"}})
	if image := b.must(200, "POST", "/console/api/berth/identity-images", string(files)); len(image) != 65536 || !strings.Contains(image, "certificate.pem.crt") {
		t.Errorf("image of %d bytes", len(image))
	}
	for _, bad := range []string{`{"format":"fat","size":65536}`, `{"format":"nvs","size":5}`, `{"format":"spiffs","size":2147483648}`, `{"format":"nvs","size":12288,"files":{"nokey":"x"}}`} {
		b.must(400, "POST", "/console/api/berth/identity-images", bad)
	}
	if png := b.must(200, "GET", "/console/api/berth/qr?text=kettle", ""); !strings.HasPrefix(png, "\x89PNG") {
		t.Error("the QR code is no PNG")
	}
	b.must(400, "GET", "/console/api/berth/qr", "")
}
