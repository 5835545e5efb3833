package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/berth-iot/berth/internal/client"
	"github.com/berth-iot/berth/mqtt"
)

// selfMade is a certificate that nobody signed.
func selfMade(t *testing.T, from, until time.Time) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "self"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &device{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// TestAWSLimits: each limit gets the answer that AWS IoT gives, and the client is told in MQTT 5.
func TestAWSLimits(t *testing.T) {
	t.Parallel()
	f := start(t)
	big := strings.Repeat("x", 128<<10)
	n := 0
	client5 := func() *conn { n++; return f.connect(nil, fmt.Sprint("limit", n), 5) }

	c := client5()
	ack := c.Connack().Properties
	if ack.MaximumQoS != 1 || ack.ReceiveMaximum != 100 || ack.TopicAliasMaximum != 8 || ack.ServerKeepAlive != 1200 ||
		!ack.Has(mqtt.PropSubscriptionIDAvailable) || ack.SubscriptionIDAvail != 0 || ack.SharedAvailable != 1 {
		t.Errorf("CONNACK %+v", ack)
	}
	c.pub(1, "t", big) // just within the limit
	for name, check := range map[string]struct {
		do   func(c *conn)
		want mqtt.ReasonCode
	}{
		"payload":        {func(c *conn) { c.tryPub(1, "t", func(m *client.Message) { m.Payload = []byte(big + "x") }) }, mqtt.PacketTooLarge},
		"deep topic":     {func(c *conn) { c.tryPub(1, "1/2/3/4/5/6/7/8/9") }, mqtt.TopicNameInvalid},
		"long topic":     {func(c *conn) { c.tryPub(1, strings.Repeat("x", 257)) }, mqtt.TopicNameInvalid},
		"reserved topic": {func(c *conn) { c.tryPub(1, "$aws/things/t/nothing") }, mqtt.TopicNameInvalid},
		"$SYS":           {func(c *conn) { c.trySub("$SYS/#") }, mqtt.TopicFilterInvalid},
		"nine filters":   {func(c *conn) { c.trySub("1", "2", "3", "4", "5", "6", "7", "8", "9") }, mqtt.QuotaExceeded},
		"QoS 2 subscribe": {func(c *conn) {
			ctx, cancel := timeout()
			defer cancel()
			c.Subscribe(ctx, mqtt.Subscription{Filter: "t", QoS: 2})
		}, mqtt.QoSNotSupported},
	} {
		c := client5()
		check.do(c)
		if code := c.ended(); code != check.want {
			t.Errorf("%s: ended with %v, want %v", name, code, check.want)
		}
	}
	r := f.raw() // a client that does not heed the server's maximum QoS
	r.send(connectPacket("two", func(c *mqtt.Connect) { c.Version = mqtt.V5 }))
	r.wantType(mqtt.CONNACK)
	r.send((&mqtt.Publish{QoS: 2, PacketID: 1, Topic: []byte("t")}).Append(nil, mqtt.V5))
	if code := r.wantDisconnect(); code != mqtt.QoSNotSupported {
		t.Errorf("QoS 2 publish: %v", code)
	}
	c = client5()
	for i := range 50 {
		c.sub(1, fmt.Sprint("s/", i))
	}
	if codes := c.trySub("s/50"); len(codes) != 1 || codes[0] != mqtt.QuotaExceeded {
		t.Errorf("51st subscription: %v", codes)
	}
	if codes := c.trySub("1/2/3/4/5/6/7/8/9"); len(codes) != 1 || codes[0] != mqtt.TopicFilterInvalid {
		t.Errorf("deep filter: %v", codes)
	}
	for id, ok := range map[string]bool{"$id": false, strings.Repeat("i", 128): true, strings.Repeat("i", 129): false} {
		c, err := f.dial(nil, client.Options{ClientID: id, CleanStart: true})
		if (err == nil) != ok {
			t.Errorf("client identifier %.10q: %v", id, err)
		}
		if err == nil {
			c.bye()
		}
	}
	c = f.connect(nil, "", 5)
	if c.ClientID() == "" {
		t.Error("no client identifier was assigned")
	}
}

// malformed are byte sequences after which the connection must end, with the reason in MQTT 5.
var malformed = []struct {
	name, hex string
	want      mqtt.ReasonCode
}{
	{"second CONNECT", "10 0d 0004 4d515454 04 02 003c 0001 61", mqtt.ProtocolError},
	{"wildcard in a topic", "30 06 0003 612f23 00", mqtt.TopicNameInvalid},
	{"empty topic", "30 04 0000 00 61", mqtt.TopicNameInvalid},
	{"QoS 3", "36 06 0001 61 0001 00", mqtt.MalformedPacket},
	{"packet identifier 0", "32 06 0001 61 0000 00", mqtt.MalformedPacket},
	{"null in a topic", "30 04 0001 00 00", mqtt.MalformedPacket},
	{"topic not UTF-8", "30 04 0001 ff 00", mqtt.MalformedPacket},
	{"truncated properties", "30 06 0001 61 05 0100", mqtt.MalformedPacket},
	{"oversized remaining length", "30 ffffff7f", mqtt.PacketTooLarge},
	{"remaining length of five bytes", "30 ffffffff01", mqtt.MalformedPacket},
	{"type 0", "00 00", mqtt.MalformedPacket},
	{"CONNACK from a client", "20 03 00 00 00", mqtt.ProtocolError},
	{"AUTH", "f0 00", mqtt.ProtocolError},
	{"SUBSCRIBE without filter", "82 03 0001 00", mqtt.ProtocolError},
	{"PUBLISH with a subscription identifier", "30 06 0001 61 02 0b01", mqtt.ProtocolError},
	{"unknown topic alias", "30 06 0000 03 230001", mqtt.ProtocolError},
	{"session expiry raised from 0", "e0 07 00 05 11 00000001", mqtt.ProtocolError},
}

func TestMalformedPackets(t *testing.T) {
	t.Parallel()
	f := standard(t)
	other := f.connect(nil, "other", 5)
	for _, c := range malformed {
		r := f.raw()
		r.send(connectPacket("m", func(c *mqtt.Connect) { c.Version = mqtt.V5 }))
		r.wantType(mqtt.CONNACK)
		b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		r.send(b)
		if code := r.wantDisconnect(); code != c.want {
			t.Errorf("%s: %v, want %v", c.name, code, c.want)
		}
		r.wantClosed()
	}
	for _, first := range []string{"30 05 0003 612f62", "c0 00", "e0 00", "ff", "47455420 2f20485454502f312e310d0a", "00", "10 00", "10 ffffff7f"} {
		r := f.raw()
		b, err := hex.DecodeString(strings.ReplaceAll(first, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		r.send(append(b, 0, 0))
		if first == "10 ffffff7f" || first == "ff" {
			r.Close()
			continue
		}
		r.wantClosed()
	}
	other.quiet() // nobody else noticed
}

func TestSlowConnect(t *testing.T) {
	t.Parallel()
	f := start(t)
	packet := connectPacket("slow", nil)
	r := f.raw()
	for i := range packet[:len(packet)-1] { // one byte after another is fine
		r.send(packet[i : i+1])
		time.Sleep(time.Millisecond)
	}
	r.send(packet[len(packet)-1:])
	r.wantType(mqtt.CONNACK)
}

// TestJunk: connections that speak no MQTT or TLS leave nothing behind.
func TestJunk(t *testing.T) {
	f := start(t)
	c := f.connect(nil, "c", 5)
	c.sub(1, "t")
	before := runtime.NumGoroutine()
	junk := [][]byte{{}, []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0xff}, 300), {0x16, 3, 1, 0, 5, 1, 2, 3}, connectPacket("j", nil)[:9]}
	for i := range 1000 {
		for _, port := range []int{f.Ready.PlainPort, f.Ready.MQTTPort, f.Ready.HTTPSPort} {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			conn.Write(junk[i%len(junk)])
			conn.Close()
		}
	}
	c.pub(1, "t", "still here")
	c.want("t", "still here")
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+5 })
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", f.Ready.HTTPPort))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	for _, name := range []string{"berth_handshakes_failed_total", "berth_connects_broken_total", "berth_connections_accepted_total"} {
		if !strings.Contains(string(page), "\n"+name+" ") || strings.Contains(string(page), "\n"+name+" 0\n") {
			t.Errorf("%s does not count", name)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	f := start(t)
	url := fmt.Sprintf("http://127.0.0.1:%d", f.Ready.HTTPPort)
	resp, err := http.Post(url+"/things/x", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 || resp.Header.Get("x-amzn-ErrorType") != "MissingAuthenticationTokenException" {
		t.Errorf("unsigned: %d %s", resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"))
	}
	for name, c := range map[string]struct {
		method, path string
		body         any
		want         int
	}{
		"malformed JSON":    {"POST", "/things/x", []byte(`{"thingTypeName":`), 400},
		"malformed policy":  {"POST", "/policies/p", map[string]string{"policyDocument": `{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps"}]}`}, 400},
		"name with SQL":     {"POST", "/things/x'%3BDROP%20TABLE%20thing", map[string]string{}, 400},
		"path tricks":       {"GET", "/things/..%2f..%2fca.key", nil, 400},
		"unknown path":      {"GET", "/nothing/here", nil, 404},
		"not there yet":     {"GET", "/mitigationactions/actions", nil, 501},
		"body over limit":   {"POST", "/things/x", bytes.Repeat([]byte("x"), 3<<20), 413},
		"thing not there":   {"GET", "/things/nobody", nil, 404},
		"wrong certificate": {"GET", "/certificates/zz", nil, 400},
	} {
		if status, body := f.request(c.method, c.path, c.body); status != c.want {
			t.Errorf("%s: %d %s, want %d", name, status, body, c.want)
		}
	}
}
