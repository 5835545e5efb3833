package server_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
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
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
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

func TestDomainConfigurations(t *testing.T) {
	t.Parallel()
	f := start(t)
	j := newJudge(t)
	f.authorizer("passwords", j.URL)
	f.api("POST", "/domainConfigurations/passwords", map[string]any{"domainName": "Users.example.com", "authenticationType": "CUSTOM_AUTH", "applicationProtocol": "SECURE_MQTT",
		"authorizerConfig": map[string]any{"defaultAuthorizerName": "passwords", "allowAuthorizerOverride": false},
		"tlsConfig":        map[string]string{"securityPolicy": "IotSecurityPolicy_TLS13_1_3_2022_10"}}, nil)
	f.api("POST", "/domainConfigurations/certificates", map[string]any{"domainName": "certs.example.com", "authenticationType": "AWS_X509"}, nil)
	f.authorizer("other", j.URL)
	at := func(name string) func(*tls.Config) { return func(c *tls.Config) { c.ServerName = name } }
	user := client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret")}
	for range 2 {
		c, err := f.login(user, at("users.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		override := user
		override.UserName = "lamp?x-amz-customauthorizer-name=other"
		if _, err := f.login(override, at("users.example.com")); code(err) != mqtt.NotAuthorized {
			t.Errorf("override: %v", err)
		}
		if _, err := f.login(user, at("users.example.com"), func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err == nil {
			t.Error("TLS 1.2 where the security policy wants 1.3")
		}
		if _, err := f.login(user, at("certs.example.com")); err == nil {
			t.Error("connected without certificate where one is wanted")
		}
		if status, body := f.httpsAt("users.example.com", nil, "GET", "/things", nil); status != 0 {
			t.Errorf("HTTP at a domain for MQTT: %d %s", status, body)
		}
		if status, body := f.httpsAt("certs.example.com", nil, "POST", "/topics/lamp/x", nil); status != 0 {
			t.Errorf("HTTP without certificate: %d %s", status, body)
		}
		f.api("PUT", "/domainConfigurations/passwords", map[string]string{"domainConfigurationStatus": "DISABLED"}, nil)
		c.ended()
		if _, err := f.login(user, at("users.example.com")); err == nil {
			t.Error("connected at a disabled domain")
		}
		if got := f.denials(); !strings.Contains(got, "DISABLED") {
			t.Errorf("denials: %s", got)
		}
		f.api("PUT", "/domainConfigurations/passwords", map[string]string{"domainConfigurationStatus": "ENABLED"}, nil)
		f.restart()
	}
	var list struct {
		DomainConfigurations []struct{ DomainConfigurationName string }
	}
	f.api("GET", "/domainConfigurations", nil, &list)
	if fmt.Sprint(list) != "{[{certificates} {iot:Data-ATS} {passwords}]}" {
		t.Errorf("%v", list)
	}
	if status, body := f.request("DELETE", "/authorizer/passwords", nil); status != 409 {
		t.Errorf("delete an authorizer in use: %d %s", status, body)
	}
	if status, body := f.request("DELETE", "/domainConfigurations/passwords", nil); status != 400 {
		t.Errorf("delete an enabled domain: %d %s", status, body)
	}

	// A certificate of one's own.
	own := f.ownCertificate("brand.example.com")
	if status, body := f.request("POST", "/domainConfigurations/brand", map[string]any{"domainName": "other.example.com", "serverCertificateArns": []string{own.arn}}); status != 400 {
		t.Errorf("certificate of another name: %d %s", status, body)
	}
	if status, body := f.request("POST", "/domainConfigurations/brand", map[string]any{"domainName": "brand.example.com", "serverCertificateArns": []string{own.arn + "0"}}); status != 400 || !strings.Contains(string(body), "upload") {
		t.Errorf("certificate of ACM: %d %s", status, body)
	}
	f.api("POST", "/domainConfigurations/brand", map[string]any{"domainName": "brand.example.com", "serverCertificateArns": []string{own.arn}}, nil)
	for range 2 {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Ready.HTTPSPort), &tls.Config{ServerName: "brand.example.com", InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(conn.ConnectionState().PeerCertificates[0].Raw, own.der) {
			t.Error("another certificate was shown")
		}
		conn.Close()
		f.restart()
	}
}

type ownCertificate struct {
	arn string
	der []byte
}

func (f *fixture) ownCertificate(name string) ownCertificate {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	var out struct{ ServerCertificateARN string }
	f.api("POST", "/berth/server-certificates", map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"privateKey": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))}, &out)
	return ownCertificate{out.ServerCertificateARN, der}
}

func TestRoleAlias(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"`+arn+`rolealias/up*"}]}`)
	f.api("POST", "/things/other", map[string]string{}, nil)
	for _, name := range []string{"uploads", "secret"} {
		f.api("POST", "/role-aliases/"+name, map[string]any{"roleArn": "arn:aws:iam::000000000000:role/path/uploader", "credentialDurationSeconds": 900}, nil)
	}
	var list struct{ RoleAliases []string }
	f.api("GET", "/role-aliases?isAscendingOrder=false&pageSize=1", nil, &list)
	if fmt.Sprint(list.RoleAliases) != "[uploads]" {
		t.Errorf("%v", list)
	}
	ask := func(d *device, alias, thing string) (int, string) {
		return f.https(d, "GET", "/role-aliases/"+alias+"/credentials", map[string]string{"x-amzn-iot-thingname": thing})
	}
	for name, c := range map[string]struct {
		device       *device
		alias, thing string
		want         int
	}{
		"as the thing":        {d, "uploads", "lamp", 200},
		"as another thing":    {d, "uploads", "other", 403},
		"as no thing there":   {d, "uploads", "nobody", 403},
		"alias not allowed":   {d, "secret", "lamp", 403},
		"alias not there":     {d, "up", "lamp", 404},
		"without certificate": {nil, "uploads", "lamp", 403},
	} {
		if status, body := ask(c.device, c.alias, c.thing); status != c.want {
			t.Errorf("%s: %d %s, want %d", name, status, body, c.want)
		}
	}
	_, body := ask(d, "uploads", "lamp")
	var out struct {
		Credentials struct {
			AccessKeyID, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		}
	}
	unmarshal(t, []byte(body), &out)
	creds := out.Credentials
	if left := time.Until(creds.Expiration); !strings.HasPrefix(creds.AccessKeyID, "ASIA") || left < 14*time.Minute || left > 15*time.Minute {
		t.Errorf("%s expires in %v", creds.AccessKeyID, left)
	}
	signer := sigv4.Signer{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey, SessionToken: creds.SessionToken, Region: "us-east-1", Service: "iotdata"}
	send := func(s sigv4.Signer, method, path string) int {
		r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", f.Ready.HTTPPort, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Sign(r, nil, time.Now())
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := send(signer, "POST", "/topics/up/lamp"); status != 403 {
		t.Errorf("publish before the role has a policy: %d", status)
	}
	f.api("POST", "/policies/uploader", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"` + arn + `topic/up/${credentials-iot:ThingName}"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + arn + `topicfilter/up/*"},
		{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`}, nil)
	noToken, otherToken := signer, signer
	noToken.SessionToken, otherToken.SessionToken = "", "dG9rZW4"
	for range 2 {
		for name, c := range map[string]struct {
			signer       sigv4.Signer
			method, path string
			want         int
		}{
			"own topic":     {signer, "POST", "/topics/up/lamp", 200},
			"another topic": {signer, "POST", "/topics/up/other", 403},
			"control plane": {signer, "GET", "/things", 403},
			"berth's own":   {signer, "GET", "/berth/access-keys", 403},
			"no token":      {noToken, "POST", "/topics/up/lamp", 403},
			"wrong token":   {otherToken, "POST", "/topics/up/lamp", 403},
		} {
			if status := send(c.signer, c.method, c.path); status != c.want {
				t.Errorf("%s: %d, want %d", name, status, c.want)
			}
		}
		signer.Service = "iotdevicegateway"
		c, err := f.login(client.Options{ClientID: "x", Version: mqtt.V5, WebSocket: signer.PresignWebSocket(net.JoinHostPort("localhost", strconv.Itoa(f.Ready.HTTPSPort)), time.Minute, time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		c.sub(1, "up/lamp")
		c.pub(1, "up/lamp", "y")
		c.want("up/lamp", "y")
		c.bye()
		f.restart() // credentials outlive it
	}
	c, err := f.login(client.Options{ClientID: "x", Version: mqtt.V5, WebSocket: signer.PresignWebSocket(net.JoinHostPort("localhost", strconv.Itoa(f.Ready.HTTPSPort)), time.Minute, time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	f.api("POST", "/policies/uploader/version?setAsDefault=true", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}`}, nil)
	eventually(t, "the changed policy holds", func() bool { return c.tryPub(1, "up/lamp") == mqtt.NotAuthorized })
	f.api("PUT", "/certificates/"+d.id+"?newStatus=INACTIVE", nil, nil)
	if status := send(signer, "POST", "/topics/up/lamp"); status != 403 {
		t.Errorf("with the certificate INACTIVE: %d", status)
	}
	c.ended()
}

// TestCertificateAndAuthorizer: at a domain of type CUSTOM_AUTH_X509 both must say yes, and the
// authorizer's policies hold.
func TestCertificateAndAuthorizer(t *testing.T) {
	t.Parallel()
	f := start(t)
	j := newJudge(t)
	f.authorizer("passwords", j.URL)
	f.api("POST", "/domainConfigurations/both", map[string]any{"domainName": "both.example.com", "authenticationType": "CUSTOM_AUTH_X509",
		"authorizerConfig": map[string]any{"defaultAuthorizerName": "passwords", "allowAuthorizerOverride": false}}, nil)
	d := f.newDevice("", allowAll)
	with := func(d *device) func(*tls.Config) {
		return func(c *tls.Config) {
			c.ServerName = "both.example.com"
			if d != nil {
				c.Certificates = []tls.Certificate{d.cert}
			}
		}
	}
	user := client.Options{ClientID: "lamp", UserName: "lamp", Password: []byte("secret"), Version: mqtt.V5}
	wrong := user
	wrong.Password = []byte("wrong")
	if _, err := f.login(wrong, with(d)); code(err) != mqtt.BadUserNameOrPassword {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := f.login(user, with(nil)); err == nil {
		t.Error("connected without certificate")
	}
	c, err := f.login(user, with(d))
	if err != nil {
		t.Fatal(err)
	}
	c.sub(1, "lamp/x")
	if code := c.tryPub(1, "other/x"); code != mqtt.NotAuthorized {
		t.Errorf("what the certificate's policies allow: %v", code)
	}
	token := map[string]string{"tok": "good"}
	if status, body := f.httpsAt("both.example.com", d, "POST", "/topics/lamp/x", token); status != 200 {
		t.Errorf("HTTPS: %d %s", status, body)
	}
	if status, body := f.httpsAt("both.example.com", d, "POST", "/topics/lamp/x", nil); status != 401 {
		t.Errorf("HTTPS without token: %d %s", status, body)
	}
	f.api("PUT", "/certificates/"+d.id+"?newStatus=REVOKED", nil, nil)
	c.ended()
}

// TestAuthorizerFails: an authorizer that does not answer as it should lets nobody in and says why.
func TestAuthorizerFails(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.authorizer("lambda", "arn:aws:lambda:us-east-1:000000000000:function:f")
	f.authorizer("gone", "http://127.0.0.1:1/")
	for name, why := range map[string]string{"lambda": "no access to AWS Lambda is configured", "gone": "refused"} {
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
