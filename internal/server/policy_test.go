package server_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

const arn = "arn:aws:iot:us-east-1:000000000000:"

// own lets a device connect as its thing and use the topics below its name.
const own = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"` + arn + `client/${iot:Connection.Thing.ThingName}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"` + arn + `topic/${iot:Connection.Thing.ThingName}/*"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + arn + `topicfilter/${iot:Connection.Thing.ThingName}/*"}]}`

// code is the reason code of a publish or subscribe that may fail.
func (c *conn) tryPub(qos byte, topic string, change ...func(*client.Message)) mqtt.ReasonCode {
	ctx, cancel := timeout()
	defer cancel()
	m := client.Message{Topic: topic, Payload: []byte("x"), QoS: qos}
	for _, ch := range change {
		ch(&m)
	}
	code, _ := c.Publish(ctx, m)
	return code
}

func (c *conn) trySub(filters ...string) []mqtt.ReasonCode {
	ctx, cancel := timeout()
	defer cancel()
	var subs []mqtt.Subscription
	for _, f := range filters {
		subs = append(subs, mqtt.Subscription{Filter: f, QoS: 1})
	}
	codes, _ := c.Subscribe(ctx, subs...)
	return codes
}

func TestPolicyOfADevice(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("kettle", own)
	for _, v := range versions {
		if _, err := f.dial(d, client.Options{ClientID: "teapot", Version: v, CleanStart: true}); err == nil {
			t.Error("connected under another client identifier")
		}
		c := f.connect(d, "kettle", v)
		c.sub(1, "kettle/#")
		c.pub(1, "kettle/a", "mine")
		c.want("kettle/a", "mine")
		if codes := c.trySub("kettle/+", "teapot/#"); len(codes) != 2 || codes[0] != mqtt.GrantedQoS1 || !codes[1].Failed() {
			t.Errorf("version %d: SUBACK %v", v, codes)
		}
		if v == mqtt.V5 {
			if code := c.tryPub(1, "teapot/a"); code != mqtt.NotAuthorized {
				t.Errorf("PUBACK %v", code)
			}
			c.tryPub(0, "teapot/a")
			if code := c.ended(); code != mqtt.NotAuthorized {
				t.Errorf("QoS 0 publish ended with %v", code)
			}
		} else {
			go c.tryPub(1, "teapot/a")
			c.ended()
		}
		if _, err := f.dial(d, client.Options{ClientID: "kettle", Version: v, CleanStart: true,
			Will: &mqtt.Will{Topic: "teapot/will"}}); err == nil {
			t.Error("connected with a will that it may not publish")
		}
	}
	got := f.denials()
	for _, want := range []string{"iot:Connect on client/teapot", "iot:Subscribe on topicfilter/teapot/#", "iot:Publish on topic/teapot/a", "topic/teapot/will"} {
		if !strings.Contains(got, want) {
			t.Errorf("no denial of %s among\n%s", want, got)
		}
	}
}

func TestReceiveIsCheckedPerDelivery(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Deny","Action":"iot:Receive","Resource":"`+arn+`topic/a/secret/*"}]}`)
	c, p := f.connect(d, "c", 5), f.connect(nil, "p", 5)
	c.sub(1, "a/#")
	p.pub(1, "a/secret/x", "no")
	p.pub(1, "a/open", "yes")
	c.want("a/open", "yes")
	c.quiet()
}

func TestRetainNeedsItsOwnAction(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iot:Connect","iot:Publish"],"Resource":"*"}}`)
	c := f.connect(d, "c", 5)
	if code := c.tryPub(1, "t"); code != mqtt.Success {
		t.Error(code)
	}
	if code := c.tryPub(1, "t", retained); code != mqtt.NotAuthorized {
		t.Error(code)
	}
}

// TestChangesActAtOnce: policies, attachments and certificate states concern live connections.
func TestChangesActAtOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("lamp", own)
	c := f.connect(d, "lamp", 5)
	c.sub(1, "lamp/#")
	if code := c.tryPub(1, "other"); code != mqtt.NotAuthorized {
		t.Fatal(code)
	}
	// A second policy on a group of the thing.
	f.api("POST", "/policies/more", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"` + arn + `topic/other"}}`}, nil)
	f.api("POST", "/thing-groups/lamps", map[string]string{}, nil)
	f.api("PUT", "/target-policies/more", map[string]string{"target": arn + "thinggroup/lamps"}, nil)
	f.api("PUT", "/thing-groups/addThingToThingGroup", map[string]string{"thingName": "lamp", "thingGroupName": "lamps"}, nil)
	if code := c.tryPub(1, "other"); code != mqtt.Success {
		t.Errorf("after joining the group: %v", code)
	}
	// A new default version of that policy.
	f.api("POST", "/policies/more/version?setAsDefault=true", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Publish","Resource":"` + arn + `topic/other"}}`}, nil)
	if code := c.tryPub(1, "other"); code != mqtt.NotAuthorized {
		t.Errorf("after the new version: %v", code)
	}
	f.api("PUT", "/certificates/"+d.id+"?newStatus=INACTIVE", nil, nil)
	if code := c.ended(); code != mqtt.NotAuthorized {
		t.Errorf("ended with %v", code)
	}
	if _, err := f.dial(d, client.Options{ClientID: "lamp", CleanStart: true}); err == nil {
		t.Error("connected with an INACTIVE certificate")
	}
	f.api("PUT", "/certificates/"+d.id+"?newStatus=ACTIVE", nil, nil)
	c = f.connect(d, "lamp", 5)
	f.api("DELETE", "/things/lamp/principals", http.Header{"X-Amzn-Principal": {d.arn}}, nil)
	if code := c.ended(); code != mqtt.NotAuthorized { // the thing's name resolves no more
		t.Errorf("ended with %v", code)
	}
}

// TestPlainPolicyMayComeLater: until the policy exists, anonymous may do nothing.
func TestPlainPolicyMayComeLater(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.api("DELETE", "/policies/plain", nil, nil)
	if _, err := f.dial(nil, client.Options{ClientID: "a", CleanStart: true}); err == nil {
		t.Error("connected without a policy")
	}
	f.api("POST", "/policies/plain", map[string]string{"policyDocument": allowAll}, nil)
	f.connect(nil, "a", 5).quiet()
}

func TestCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	f := start(t)
	known := f.newDevice("", allowAll)
	f.connect(known, "known", 5).quiet()
	dial := func(d *device) error {
		c, err := f.dial(d, client.Options{ClientID: "x", Version: mqtt.V311, CleanStart: true})
		if err == nil {
			c.bye()
		}
		return err
	}
	if err := dial(selfMade(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))); err == nil {
		t.Error("a self-made certificate was accepted")
	}
	for name, d := range map[string]*device{
		"expired": selfMade(t, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)),
		"future":  selfMade(t, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)),
	} {
		var made struct{ CertificateID, CertificateARN string }
		f.api("POST", "/certificate/register-no-ca", map[string]string{"certificatePem": d.pem, "status": "ACTIVE"}, &made)
		if err := dial(d); err == nil {
			t.Errorf("an %s certificate was accepted", name)
		}
	}
	f.api("PUT", "/certificates/"+known.id+"?newStatus=REVOKED", nil, nil)
	if err := dial(known); err == nil {
		t.Error("a revoked certificate was accepted")
	}
	if err := dial(&device{}); err == nil {
		t.Error("no certificate was accepted")
	}
	var reasons string
	eventually(t, "all reasons are recorded", func() bool {
		reasons = f.denials()
		for _, want := range []string{"not registered", "expired on", "not valid before", "is REVOKED", "sent no certificate"} {
			if !strings.Contains(reasons, want) {
				return false
			}
		}
		return true
	})
}

func TestHandshakeFailureInWords(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("", allowAll)
	cfg := f.tls(d)
	cfg.RootCAs = nil
	ctx, cancel := timeout()
	defer cancel()
	if _, err := client.Dial(ctx, client.Options{Address: fmt.Sprintf("127.0.0.1:%d", f.Ready.MQTTPort), TLS: cfg}); err == nil {
		t.Fatal("the client trusted an unknown authority")
	}
	late := f.tls(d)
	late.Time = func() time.Time { return time.Unix(0, 0) } // a device whose clock is not set
	if _, err := client.Dial(ctx, client.Options{Address: fmt.Sprintf("127.0.0.1:%d", f.Ready.MQTTPort), TLS: late}); err == nil {
		t.Fatal("the client's clock did not matter")
	}
	eventually(t, "the reasons are recorded", func() bool {
		r := f.denials()
		return strings.Contains(r, "clock") && strings.Contains(r, "root CA")
	})
}

func TestHTTPSPublish(t *testing.T) {
	t.Parallel()
	f := start(t)
	d := f.newDevice("", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"`+arn+`topic/http/*"}}`)
	s := f.connect(nil, "s", 5)
	s.sub(1, "http/#")
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: f.tls(d)}}
	defer h.CloseIdleConnections()
	post := func(path string) int {
		r, err := h.Post(fmt.Sprintf("https://localhost:%d%s", f.Ready.HTTPSPort, path), "application/octet-stream", strings.NewReader("over https"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		io.Copy(io.Discard, r.Body) // or the connection is not used again
		return r.StatusCode
	}
	if code := post("/topics/http/a?qos=1&contentType=text"); code != 200 {
		t.Error(code)
	}
	if m := s.want("http/a", "over https"); m.Properties.ContentType != "text" {
		t.Errorf("%+v", m.Properties)
	}
	if code := post("/topics/http%2Fb?qos=0"); code != 200 {
		t.Error(code)
	}
	s.want("http/b", "over https")
	for path, want := range map[string]int{"/topics/other?qos=1": 403, "/topics/http/a?qos=2": 400, "/topics/http/+": 400} {
		if code := post(path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	f.api("PUT", "/certificates/"+d.id+"?newStatus=INACTIVE", nil, nil)
	if code := post("/topics/http/a"); code != 403 { // the connection is kept alive
		t.Errorf("with an INACTIVE certificate: %d", code)
	}
	status, body := f.request("POST", "/topics/http/signed?qos=1", []byte("signed"))
	if status != 200 {
		t.Errorf("signed: %d %s", status, body)
	}
	s.want("http/signed", "signed")
}

func TestDeleteConnection(t *testing.T) {
	t.Parallel()
	f := standard(t)
	w := f.connect(nil, "w", 5)
	w.sub(0, "will")
	c := f.connect(nil, "victim", 5, persistent, func(o *client.Options) { o.Will = &mqtt.Will{Topic: "will", Payload: []byte("x")} })
	f.api("DELETE", "/connections/victim?cleanSession=true&preventWillMessage=true", nil, nil)
	if code := c.ended(); code != mqtt.AdministrativeAction {
		t.Error(code)
	}
	w.quiet()
	if c := f.connect(nil, "victim", 5, persistent); c.Connack().SessionPresent {
		t.Error("the session is still there")
	}
	if status, _ := f.request("DELETE", "/connections/nobody", nil); status != 404 {
		t.Error(status)
	}
}

func TestShutdownTellsClients(t *testing.T) {
	t.Parallel()
	f := start(t)
	c := f.connect(nil, "c", 5)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if code := c.ended(); code != mqtt.ServerShuttingDown {
		t.Error(code)
	}
}
