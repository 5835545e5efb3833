package cli

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/sigv4"
)

// fakeBroker answers one connection at a time: it takes publishes and keeps them, and gives a
// subscriber what a test has put down. The topic "secret" is denied.
type fakeBroker struct {
	t    *testing.T
	give []mqtt.Publish

	mu   sync.Mutex
	took []mqtt.Publish
	ids  []string
}

func (b *fakeBroker) serve(conn net.Conn) {
	defer conn.Close()
	var buf []byte
	version := mqtt.V5
	for {
		h, body, size, err := mqtt.Frame(buf, 1<<20)
		if err != nil {
			b.t.Error(err)
			return
		}
		if body == nil {
			chunk := make([]byte, 4096)
			n, err := conn.Read(chunk)
			if err != nil {
				return
			}
			buf = append(buf, chunk[:n]...)
			continue
		}
		switch h.Type() {
		case mqtt.CONNECT:
			var c mqtt.Connect
			if err := c.Decode(body); err != nil {
				b.t.Error(err)
			}
			version = c.Version
			b.mu.Lock()
			b.ids = append(b.ids, c.ClientID)
			b.mu.Unlock()
			conn.Write(new(mqtt.Connack).Append(nil, version))
		case mqtt.PUBLISH:
			var p mqtt.Publish
			if err := p.Decode(h, bytes.Clone(body), version); err != nil {
				b.t.Error(err)
			}
			if string(p.Topic) == "secret" {
				conn.Write((&mqtt.Disconnect{Code: mqtt.NotAuthorized}).Append(nil, version))
				return
			}
			b.mu.Lock()
			b.took = append(b.took, p)
			b.mu.Unlock()
			switch p.QoS {
			case 1:
				conn.Write(mqtt.AppendAck(nil, mqtt.PUBACK, p.PacketID, mqtt.Success, version))
			case 2:
				conn.Write(mqtt.AppendAck(nil, mqtt.PUBREC, p.PacketID, mqtt.Success, version))
			}
		case mqtt.PUBREL:
			var a mqtt.Ack
			a.Decode(mqtt.PUBREL, body, version)
			conn.Write(mqtt.AppendAck(nil, mqtt.PUBCOMP, a.PacketID, mqtt.Success, version))
		case mqtt.SUBSCRIBE:
			var s mqtt.Subscribe
			if err := s.Decode(body, version); err != nil {
				b.t.Error(err)
			}
			ack := mqtt.Suback{PacketID: s.PacketID}
			for _, sub := range s.Subscriptions {
				code := mqtt.ReasonCode(sub.QoS)
				if sub.Filter == "secret" {
					code = mqtt.NotAuthorized
				}
				ack.Codes = append(ack.Codes, code)
			}
			out := ack.Append(nil, mqtt.SUBACK, version)
			for _, p := range b.give {
				out = p.Append(out, version)
			}
			conn.Write(out)
		case mqtt.PINGREQ:
			conn.Write(mqtt.AppendPingresp(nil))
		case mqtt.DISCONNECT:
			return
		}
		buf = buf[size:]
	}
}

// listen serves plain connections and returns their address.
func (b *fakeBroker) listen() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { b.serve(conn) })
		}
	})
	b.t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// ServeHTTP serves signed WebSockets.
func (b *fakeBroker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := sigv4.Verifier{Region: "us-east-1", Services: []string{"iotdevicegateway"}, Secret: func(id string) (string, bool) { return "secret", id == "AKIDEXAMPLE" }}
	if _, err := v.Verify(r, nil); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		b.t.Error(err)
		return
	}
	b.serve(websocket.NetConn(r.Context(), ws, websocket.MessageBinary))
}

func runWith(t *testing.T, want int, args ...string) (out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	if got := Run(args, &o, &e); got != want {
		t.Errorf("berth %v: exit code %d, want %d: %s", args, got, want, &e)
	}
	return o.String(), e.String()
}

func TestPub(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{t: t}
	plain := b.listen()
	file := filepath.Join(t.TempDir(), "payload")
	os.WriteFile(file, []byte{0, 1, 2}, 0o600)
	for _, test := range []struct {
		args    string
		payload string
		qos     byte
		retain  bool
		times   int
	}{
		{"pub a/b -m hi", "hi", 0, false, 1},
		{"pub -t a/b -m hi -q 1 -r --mqtt 3.1.1", "hi", 1, true, 1},
		{"pub a/b -n -q 2", "", 2, false, 1},
		{"pub a/b --qos 1 --count 3 -f " + file, "\x00\x01\x02", 1, false, 3},
	} {
		b.took = nil
		out, _ := runWith(t, exitOK, append(strings.Fields(test.args), "--plain", plain, "-i", "me")...)
		if out != "" || len(b.took) != test.times || b.ids[len(b.ids)-1] != "me" {
			t.Errorf("%s: took %+v as %v, output %q", test.args, b.took, b.ids, out)
			continue
		}
		if p := b.took[0]; string(p.Topic) != "a/b" || string(p.Payload) != test.payload || p.QoS != test.qos || p.Retain != test.retain {
			t.Errorf("%s: took %+v", test.args, p)
		}
	}
	b.took = nil
	runWith(t, exitOK, "pub", "a", "-m", "x", "--plain", plain, "--content-type", "text/plain", "--user-property", "k=v", "--expiry", "1m")
	if p := b.took[0].Properties; p.ContentType != "text/plain" || p.MessageExpiry != 60 || len(p.User) != 1 || p.User[0].Key != "k" {
		t.Errorf("properties are %+v", p)
	}
	for qos := range 2 { // also with QoS 0 a denial is seen
		_, errs := runWith(t, exitFailed, "pub", "secret", "-m", "x", "--plain", plain, "-q", strconv.Itoa(qos))
		if !strings.Contains(errs, "not authorized (0x87)") || !strings.Contains(errs, "hint: no policy of this client allows it") {
			t.Errorf("QoS %d: %s", qos, errs)
		}
	}
}

func TestPubLines(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{t: t}
	root := New()
	root.SetArgs([]string{"pub", "a", "-l", "--plain", b.listen()})
	root.SetIn(strings.NewReader("one\ntwo\n\nthree"))
	root.SetOut(io.Discard)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range b.took {
		got = append(got, string(p.Payload))
	}
	if strings.Join(got, "|") != "one|two||three" {
		t.Errorf("published %q", got)
	}
}

func TestSub(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{t: t, give: []mqtt.Publish{
		{Topic: []byte("a/1"), Payload: []byte("kept"), Retain: true},
		{Topic: []byte("a/2"), Payload: []byte("live"), QoS: 1, PacketID: 7},
		{Topic: []byte("a/3"), Payload: []byte{0xff}},
	}}
	plain := b.listen()
	for args, want := range map[string]string{
		"sub a/# -C 2":            "kept\nlive\n",
		"sub a/# -C 2 -v":         "a/1 kept\na/2 live\n",
		"sub -t a/# -C 2 -N":      "keptlive",
		"sub a/# -C 2 -R":         "live\n\xff\n",
		"sub a/# -C 1 --mqtt 311": "kept\n",
		"sub a/# -W 300ms":        "kept\nlive\n\xff\n",
	} {
		if out, _ := runWith(t, exitOK, append(strings.Fields(args), "--plain", plain)...); out != want {
			t.Errorf("%s: %q, want %q", args, out, want)
		}
	}
	out, _ := runWith(t, exitOK, "sub", "a/#", "--count", "3", "--json", "--plain", plain)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var first, last printed
	json.Unmarshal([]byte(lines[0]), &first)
	json.Unmarshal([]byte(lines[len(lines)-1]), &last)
	if len(lines) != 3 || first.Topic != "a/1" || first.Payload == nil || *first.Payload != "kept" || !first.Retain || last.Payload != nil || !bytes.Equal(last.Base64, []byte{0xff}) {
		t.Errorf("JSON is %s", out)
	}
	if _, errs := runWith(t, exitFailed, "sub", "a", "-C", "9", "-W", "50ms", "--plain", plain); !strings.Contains(errs, "fewer than 9 messages within 50ms") {
		t.Error(errs)
	}
	if _, errs := runWith(t, exitFailed, "sub", "a", "secret", "--plain", plain); !strings.Contains(errs, `subscribe to "secret": not authorized`) {
		t.Error(errs)
	}
}

// TestSigned goes the way that needs no flags: the data folder's access key over a WebSocket.
func TestSigned(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{t: t}
	web := httptest.NewTLSServer(b)
	defer web.Close()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	for name, text := range map[string]string{
		"endpoint.json":     `{"endpoint":"127.0.0.1","mqttPort":8883,"httpsPort":` + port + `,"region":"us-east-1","account":"000000000000"}`,
		"ca.pem":            string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})),
		"admin-credentials": "AWS_ACCESS_KEY_ID=AKIDEXAMPLE\nAWS_SECRET_ACCESS_KEY=secret\n",
	} {
		os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
	}
	runWith(t, exitOK, "pub", "a", "-m", "signed", "-q", "1", "--data", dir)
	if len(b.took) != 1 || string(b.took[0].Payload) != "signed" || !strings.HasPrefix(b.ids[0], "berth-") {
		t.Errorf("took %+v as %v", b.took, b.ids)
	}
	os.WriteFile(filepath.Join(dir, "admin-credentials"), []byte("AWS_ACCESS_KEY_ID=AKIDEXAMPLE\nAWS_SECRET_ACCESS_KEY=wrong\n"), 0o600)
	if _, errs := runWith(t, exitFailed, "pub", "a", "-m", "x", "--data", dir); !strings.Contains(errs, "403") || !strings.Contains(errs, "hint: the access key") {
		t.Error(errs)
	}
}
