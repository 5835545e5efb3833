package server_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// judge is an authorizer that lets in whose password is "secret", or who has a token that begins
// with "good", to topics below its user name.
type judge struct {
	*httptest.Server
	mu    sync.Mutex
	calls []map[string]any
}

func newJudge(t *testing.T) *judge {
	j := &judge{}
	j.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct {
			Token        string
			ProtocolData struct {
				MQTT struct {
					UserName string
					Password []byte
				}
			}
		}
		body, _ := io.ReadAll(r.Body)
		json.Unmarshal(body, &event)
		var all map[string]any
		json.Unmarshal(body, &all)
		j.mu.Lock()
		j.calls = append(j.calls, all)
		j.mu.Unlock()
		user, _, _ := strings.Cut(event.ProtocolData.MQTT.UserName, "?")
		ok := string(event.ProtocolData.MQTT.Password) == "secret" || strings.HasPrefix(event.Token, "good")
		if user == "" {
			user = "lamp"
		}
		json.NewEncoder(w).Encode(map[string]any{"isAuthenticated": ok, "principalId": "P" + strconv.Itoa(len(user)), "refreshAfterInSeconds": 300, "disconnectAfterInSeconds": 86400,
			"policyDocuments": []any{map[string]any{"Version": "2012-10-17", "Statement": []any{
				map[string]any{"Effect": "Allow", "Action": "iot:Connect", "Resource": arn + "client/" + user},
				map[string]any{"Effect": "Allow", "Action": []string{"iot:Publish", "iot:Receive"}, "Resource": arn + "topic/" + user + "/*"},
				map[string]any{"Effect": "Allow", "Action": "iot:Subscribe", "Resource": arn + "topicfilter/" + user + "/*"},
			}}}})
	}))
	t.Cleanup(j.Close)
	return j
}

// count is the number of calls so far.
func (j *judge) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.calls)
}

// at is a value of the last call, by its path.
func (j *judge) at(path ...string) any {
	j.mu.Lock()
	defer j.mu.Unlock()
	var v any = j.calls[len(j.calls)-1]
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// authorizer makes an authorizer without signatures.
func (f *fixture) authorizer(name, function string) {
	f.t.Helper()
	f.api("POST", "/authorizer/"+name, map[string]any{"authorizerFunctionArn": function, "signingDisabled": true, "tokenKeyName": "tok"}, nil)
}

// login dials with TLS and no client certificate.
func (f *fixture) login(o client.Options, change ...func(*tls.Config)) (*conn, error) {
	f.t.Helper()
	ctx, cancel := timeout()
	defer cancel()
	box := &inbox{t: f.t, ch: make(chan client.Message, 100)}
	o.OnMessage = func(m client.Message) { box.ch <- m }
	o.CleanStart = true
	o.TLS = f.tls(nil)
	for _, c := range change {
		c(o.TLS)
	}
	if o.Address == "" && o.WebSocket == "" {
		o.Address = fmt.Sprintf("127.0.0.1:%d", f.Ready.MQTTPort)
	}
	c, err := client.Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { f.closeNow(c) })
	return &conn{c, box}, nil
}

func (f *fixture) closeNow(c *client.Client) {
	ctx, cancel := timeout()
	defer cancel()
	c.Close(ctx)
}

// code is the reason code with which a connect was refused.
func code(err error) mqtt.ReasonCode {
	var refused *client.RefusedError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return 0
}

func TestCustomAuthMQTT(t *testing.T) {
	t.Parallel()
	f := start(t)
	j := newJudge(t)
	if _, err := f.login(client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret")}); err == nil {
		t.Fatal("connected without certificate and without any authorizer")
	}
	f.authorizer("passwords", j.URL)
	named := "lamp?x-amz-customauthorizer-name=passwords"
	for name, c := range map[string]struct {
		o    client.Options
		want mqtt.ReasonCode
	}{
		"good":                {client.Options{ClientID: "lamp", UserName: named, Password: []byte("secret")}, 0},
		"3.1.1":               {client.Options{ClientID: "lamp", UserName: named, Password: []byte("secret"), Version: mqtt.V311}, 0},
		"wrong password":      {client.Options{ClientID: "lamp", UserName: named, Password: []byte("wrong")}, mqtt.BadUserNameOrPassword},
		"3.1.1 wrong":         {client.Options{ClientID: "lamp", UserName: named, Password: []byte("wrong"), Version: mqtt.V311}, 4},
		"other client":        {client.Options{ClientID: "thief", UserName: named, Password: []byte("secret")}, mqtt.NotAuthorized},
		"no authorizer named": {client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret")}, mqtt.NotAuthorized},
		"unknown authorizer":  {client.Options{ClientID: "lamp", UserName: "lamp?x-amz-customauthorizer-name=none", Password: []byte("secret")}, mqtt.NotAuthorized},
		"nothing":             {client.Options{ClientID: "lamp"}, mqtt.NotAuthorized},
	} {
		if c.o.Version == 0 {
			c.o.Version = mqtt.V5
		}
		conn, err := f.login(c.o)
		if (err == nil) != (c.want == 0) || code(err) != c.want {
			t.Errorf("%s: %v (%v), want %v", name, err, code(err), c.want)
		}
		if err == nil {
			conn.bye()
		}
	}
	f.api("POST", "/default-authorizer", map[string]string{"authorizerName": "passwords"}, nil)
	c, err := f.login(client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret")}, func(c *tls.Config) { c.NextProtos = []string{"mqtt"} })
	if err != nil {
		t.Fatal(err)
	}
	if p, _ := j.at("protocolData", "mqtt", "password").(string); p != base64.StdEncoding.EncodeToString([]byte("secret")) {
		t.Errorf("password %q", p)
	}
	if j.at("protocolData", "tls", "serverName") != "localhost" || fmt.Sprint(j.at("protocols")) != "[tls mqtt]" || j.at("protocolData", "mqtt", "clientId") != "lamp" ||
		j.at("signatureVerified") != false || j.at("connectionMetadata", "id") == "" {
		t.Errorf("input %v", j.at())
	}
	c.sub(1, "lamp/x")
	c.pub(1, "lamp/x", "y")
	c.want("lamp/x", "y")
	if code := c.tryPub(1, "other/x"); code != mqtt.NotAuthorized {
		t.Errorf("publish elsewhere: %v", code)
	}
	calls := j.count()
	d := f.newDevice("cert", own)
	f.connect(d, "cert", mqtt.V5).bye()
	if j.count() != calls {
		t.Error("the authorizer was asked about a client with a certificate")
	}
	for _, want := range []string{"isAuthenticated false", "does not exist", "no authorizer: name one"} {
		if got := f.denials(); !strings.Contains(got, want) {
			t.Errorf("denials lack %q:\n%s", want, got)
		}
	}
	f.restart()
	if _, err := f.login(client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret")}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestCustomAuthSignature(t *testing.T) {
	t.Parallel()
	f := start(t)
	j := newJudge(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	f.api("POST", "/authorizer/tokens", map[string]any{"authorizerFunctionArn": j.URL, "tokenKeyName": "MyToken",
		"tokenSigningPublicKeys": map[string]string{"k": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}}, nil)
	f.api("POST", "/default-authorizer", map[string]string{"authorizerName": "tokens"}, nil)
	sum := sha256.Sum256([]byte("good1"))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := base64.StdEncoding.EncodeToString(sig)
	for name, c := range map[string]struct {
		user string
		ok   bool
	}{
		"escaped":       {"lamp?MyToken=good1&x-amz-customauthorizer-signature=" + url.QueryEscape(signature), true},
		"not escaped":   {"lamp?MyToken=good1&x-amz-customauthorizer-signature=" + signature, true},
		"another token": {"lamp?MyToken=good2&x-amz-customauthorizer-signature=" + url.QueryEscape(signature), false},
		"no signature":  {"lamp?MyToken=good1", false},
		"no token":      {"lamp?x-amz-customauthorizer-signature=" + url.QueryEscape(signature), false},
		"broken":        {"lamp?MyToken=good1&x-amz-customauthorizer-signature=%zz", false},
	} {
		calls := j.count()
		conn, err := f.login(client.Options{ClientID: "lamp", UserName: c.user})
		if (err == nil) != c.ok || err != nil && code(err) != mqtt.BadUserNameOrPassword {
			t.Errorf("%s: %v", name, err)
		}
		if asked := j.count() != calls; asked != c.ok {
			t.Errorf("%s: the authorizer was asked: %v", name, asked)
		}
		if err == nil {
			conn.bye()
		}
	}

	// HTTPS publish, by headers and by query.
	post := func(path string, header map[string]string) (int, string) {
		return f.https(nil, "POST", path, header)
	}
	headers := map[string]string{"MyToken": "good1", "x-amz-customauthorizer-signature": signature, "x-amz-customauthorizer-name": "tokens"}
	if status, body := post("/topics/lamp/a?qos=1", headers); status != 200 {
		t.Errorf("publish by headers: %d %s", status, body)
	}
	if status, body := post("/topics/lamp/a?qos=1&MyToken=good1&x-amz-customauthorizer-signature="+url.QueryEscape(signature), nil); status != 200 {
		t.Errorf("publish by query: %d %s", status, body)
	}
	if status, body := post("/topics/other/a?qos=1", headers); status != 403 {
		t.Errorf("publish elsewhere: %d %s", status, body)
	}
	if status, body := post("/things/x", headers); status != 403 {
		t.Errorf("control plane: %d %s", status, body)
	}
	calls := j.count()
	if status, body := post("/policies/p", headers); status != 403 || j.count() != calls {
		t.Errorf("a path that is not for devices: %d %s", status, body)
	}
	headers["MyToken"] = "good2"
	if status, body := post("/topics/lamp/a?qos=1", headers); status != 401 {
		t.Errorf("wrong signature: %d %s", status, body)
	}

	// WebSocket, by query.
	host := fmt.Sprintf("localhost:%d", f.Ready.HTTPSPort)
	c, err := f.login(client.Options{ClientID: "lamp", Version: mqtt.V5, WebSocket: "wss://" + host + "/mqtt?x-amz-customauthorizer-name=tokens&MyToken=good1&x-amz-customauthorizer-signature=" + url.QueryEscape(signature)})
	if err != nil {
		t.Fatal(err)
	}
	c.sub(1, "lamp/x")
	c.pub(1, "lamp/x", "y")
	c.want("lamp/x", "y")
	if fmt.Sprint(j.at("protocols")) != "[tls http mqtt]" || j.at("token") != "good1" || j.at("signatureVerified") != true {
		t.Errorf("input %v", j.at())
	}
	if _, err := f.login(client.Options{ClientID: "lamp", WebSocket: "wss://" + host + "/mqtt?x-amz-customauthorizer-name=tokens&MyToken=good2&x-amz-customauthorizer-signature=" + url.QueryEscape(signature)}); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("WebSocket with a wrong signature: %v", err)
	}
}

// https sends a request over TLS and returns status and body.
func (f *fixture) https(d *device, method, path string, header map[string]string) (int, string) {
	f.t.Helper()
	return f.httpsAt("localhost", d, method, path, header)
}

// httpsAt is https at a server name.
func (f *fixture) httpsAt(name string, d *device, method, path string, header map[string]string) (int, string) {
	f.t.Helper()
	cfg := f.tls(d)
	cfg.ServerName = name
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	defer c.CloseIdleConnections()
	r, err := http.NewRequest(method, fmt.Sprintf("https://127.0.0.1:%d%s", f.Ready.HTTPSPort, path), strings.NewReader("{}"))
	if err != nil {
		f.t.Fatal(err)
	}
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// TestAuthorizerFails: an authorizer that does not answer as it should lets nobody in and says why.
func TestAuthorizerFails(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.authorizer("gone", "http://127.0.0.1:1/")
	for name, why := range map[string]string{"gone": "refused"} {
		if _, err := f.login(client.Options{ClientID: "lamp", Version: mqtt.V5, UserName: "lamp?x-amz-customauthorizer-name=" + name}); code(err) != mqtt.NotAuthorized {
			t.Errorf("%s: %v", name, err)
		}
		if got := f.denials(); !strings.Contains(got, why) {
			t.Errorf("denials lack %q:\n%s", why, got)
		}
		if status, body := f.https(nil, "POST", "/topics/lamp/x", map[string]string{"x-amz-customauthorizer-name": name}); status != 403 {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if status, body := f.request("POST", "/authorizer/"+name+"/test", map[string]any{"mqttContext": map[string]string{"username": "lamp"}}); status != 400 || !strings.Contains(string(body), why) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := f.request("POST", "/authorizer/none/test", nil); status != 404 {
		t.Errorf("%d %s", status, body)
	}
	if status, body := f.request("POST", "/authorizer/bad", map[string]any{"authorizerFunctionArn": "exec:/bin/sh", "signingDisabled": true}); status != 400 {
		t.Errorf("%d %s", status, body)
	}
}
