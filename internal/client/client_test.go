package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/berth-iot/berth/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is the server's side of a connection: it reads packets and writes what a test tells it.
type script struct {
	t       *testing.T
	conn    net.Conn
	version mqtt.Version
	buf     []byte
	size    int
}

// read returns the next packet, or type 0 at the end of the connection.
func (s *script) read() (mqtt.Header, []byte) {
	s.buf = s.buf[s.size:]
	s.size = 0
	for {
		h, body, size, err := mqtt.Frame(s.buf, 1<<20)
		if err != nil {
			s.t.Errorf("client sends a broken packet: %v", err)
			return 0, nil
		}
		if body != nil {
			s.size = size
			return h, body
		}
		chunk := make([]byte, 4096)
		n, err := s.conn.Read(chunk)
		if err != nil {
			return 0, nil
		}
		s.buf = append(s.buf, chunk[:n]...)
	}
}

func (s *script) want(t mqtt.Type) (mqtt.Header, []byte) {
	h, body := s.read()
	if h.Type() != t {
		s.t.Errorf("got %s, want %s", h.Type(), t)
	}
	return h, body
}

func (s *script) write(packets ...[]byte) { s.conn.Write(bytes.Join(packets, nil)) }

func (s *script) accept() mqtt.Connect {
	var c mqtt.Connect
	if _, body := s.want(mqtt.CONNECT); c.Decode(body) != nil {
		s.t.Errorf("CONNECT does not decode")
	}
	s.version = c.Version
	s.write((&mqtt.Connack{}).Append(nil, s.version))
	return c
}

// drain reads to the end of the connection.
func (s *script) drain() { io.Copy(io.Discard, s.conn) }

// against runs serve as the server of one connection, and returns a dialer that reaches it.
func against(t *testing.T, o Options, serve func(*script)) Options {
	t.Helper()
	near, far := net.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer far.Close()
		serve(&script{t: t, conn: far, version: mqtt.V5})
	})
	t.Cleanup(wg.Wait)
	o.Dialer = func(context.Context) (net.Conn, error) { return near, nil }
	return o
}

func dial(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func TestConnectCarriesOptions(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		got := make(chan mqtt.Connect, 1)
		o := Options{Version: v, ClientID: "lamp", CleanStart: true, KeepAlive: time.Minute, SessionExpiry: time.Hour,
			UserName: "u", Password: []byte("p"), Will: &mqtt.Will{Topic: "gone", Payload: []byte("lamp"), QoS: 1}}
		c := dial(t, against(t, o, func(s *script) { got <- s.accept(); s.drain() }))
		p := <-got
		if p.Version != v || p.ClientID != "lamp" || !p.CleanStart || p.KeepAlive != 60 || p.UserName != "u" || p.Will == nil || p.Will.Topic != "gone" {
			t.Errorf("version %d: CONNECT is %+v", v, p)
		}
		if want := map[mqtt.Version]uint32{mqtt.V5: 3600}[v]; p.Properties.SessionExpiry != want {
			t.Errorf("version %d: session expiry is %d, want %d", v, p.Properties.SessionExpiry, want)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestPublishEveryQoS(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		c := dial(t, against(t, Options{Version: v}, func(s *script) {
			s.accept()
			for qos := range byte(3) {
				h, body := s.want(mqtt.PUBLISH)
				var p mqtt.Publish
				if err := p.Decode(h, body, v); err != nil || p.QoS != qos || string(p.Payload) != "on" {
					t.Errorf("PUBLISH is %+v, %v", p, err)
				}
				switch qos {
				case 1:
					s.write(mqtt.AppendAck(nil, mqtt.PUBACK, p.PacketID, mqtt.NoMatchingSubscribers, v))
				case 2:
					s.write(mqtt.AppendAck(nil, mqtt.PUBREC, p.PacketID, mqtt.Success, v))
					s.want(mqtt.PUBREL)
					s.write(mqtt.AppendAck(nil, mqtt.PUBCOMP, p.PacketID, mqtt.Success, v))
				}
			}
			s.want(mqtt.DISCONNECT)
		}))
		for qos := range byte(3) {
			code, err := c.Publish(t.Context(), Message{Topic: "lamp", Payload: []byte("on"), QoS: qos})
			want := mqtt.Success
			if qos == 1 && v == mqtt.V5 {
				want = mqtt.NoMatchingSubscribers
			}
			if err != nil || code != want {
				t.Errorf("version %d, QoS %d: %v, %v", v, qos, code, err)
			}
		}
		c.Close(t.Context())
	}
}

func TestSubscribeReceiveUnsubscribe(t *testing.T) {
	t.Parallel()
	got := make(chan Message, 8)
	released := make(chan struct{})
	o := Options{Version: mqtt.V5, OnMessage: func(m Message) { got <- m }}
	c := dial(t, against(t, o, func(s *script) {
		s.accept()
		var sub mqtt.Subscribe
		_, body := s.want(mqtt.SUBSCRIBE)
		if err := sub.Decode(body, s.version); err != nil || len(sub.Subscriptions) != 2 {
			t.Errorf("SUBSCRIBE is %+v, %v", sub, err)
		}
		s.write((&mqtt.Suback{PacketID: sub.PacketID, Codes: []mqtt.ReasonCode{mqtt.GrantedQoS1, mqtt.NotAuthorized}}).Append(nil, mqtt.SUBACK, s.version))
		for qos := range byte(3) {
			p := mqtt.Publish{QoS: qos, Topic: []byte("a/b"), Payload: []byte{'0' + qos}, PacketID: uint16(qos)}
			s.write(p.Append(nil, s.version))
			switch qos {
			case 1:
				s.want(mqtt.PUBACK)
			case 2:
				s.want(mqtt.PUBREC)
				p.Dup = true // a repetition must not be delivered twice
				s.write(p.Append(nil, s.version))
				s.want(mqtt.PUBREC)
				s.write(mqtt.AppendAck(nil, mqtt.PUBREL, 2, mqtt.Success, s.version))
				s.want(mqtt.PUBCOMP)
			}
		}
		close(released)
		var un mqtt.Unsubscribe
		_, body = s.want(mqtt.UNSUBSCRIBE)
		if err := un.Decode(body, s.version); err != nil {
			t.Errorf("UNSUBSCRIBE: %v", err)
		}
		s.write((&mqtt.Suback{PacketID: un.PacketID, Codes: []mqtt.ReasonCode{mqtt.Success}}).Append(nil, mqtt.UNSUBACK, s.version))
		s.drain()
	}))
	codes, err := c.Subscribe(t.Context(), mqtt.Subscription{Filter: "a/#", QoS: 1}, mqtt.Subscription{Filter: "secret"})
	var refused *CodeError
	if !errors.As(err, &refused) || refused.Code != mqtt.NotAuthorized || len(codes) != 2 || codes[0] != mqtt.GrantedQoS1 {
		t.Fatalf("subscribe: %v, %v", codes, err)
	}
	if hint := Hint(err); !strings.Contains(hint, "berth explain") {
		t.Errorf("hint is %q", hint)
	}
	var payloads []byte
	for range 3 {
		payloads = append(payloads, (<-got).Payload...)
	}
	<-released
	if _, err := c.Unsubscribe(t.Context(), "a/#"); err != nil {
		t.Fatal(err)
	}
	if len(got) > 0 {
		t.Errorf("received %+v again", <-got)
	}
	if string(payloads) != "012" {
		t.Errorf("received %q, want 012", payloads)
	}
}

func TestConcurrentPublishesKeepToReceiveMaximum(t *testing.T) {
	t.Parallel()
	const maximum, messages = 3, 60
	c := dial(t, against(t, Options{}, func(s *script) {
		s.want(mqtt.CONNECT)
		ack := mqtt.Connack{}
		ack.Properties.ReceiveMaximum = maximum
		ack.Properties.Mark(mqtt.PropReceiveMaximum)
		s.write(ack.Append(nil, s.version))
		for range messages / maximum { // answers come only once the quota is used up
			var ids []uint16
			for range maximum {
				h, body := s.want(mqtt.PUBLISH)
				var p mqtt.Publish
				p.Decode(h, body, s.version)
				ids = append(ids, p.PacketID)
			}
			for i := len(ids) - 1; i >= 0; i-- {
				s.write(mqtt.AppendAck(nil, mqtt.PUBACK, ids[i], mqtt.Success, s.version))
			}
		}
		s.drain()
	}))
	var wg sync.WaitGroup
	for range messages {
		wg.Go(func() {
			if _, err := c.Publish(t.Context(), Message{Topic: "t", QoS: 1}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestServerLimitsAreKept(t *testing.T) {
	t.Parallel()
	c := dial(t, against(t, Options{}, func(s *script) {
		s.want(mqtt.CONNECT)
		ack := mqtt.Connack{}
		ack.Properties.MaximumQoS, ack.Properties.MaximumPacketSize = 1, 100
		ack.Properties.Mark(mqtt.PropMaximumQoS, mqtt.PropRetainAvailable, mqtt.PropMaximumPacketSize)
		s.write(ack.Append(nil, s.version))
		s.want(mqtt.DISCONNECT) // nothing else may come
	}))
	for want, m := range map[mqtt.ReasonCode]Message{
		mqtt.QoSNotSupported:    {Topic: "t", QoS: 2},
		mqtt.RetainNotSupported: {Topic: "t", Retain: true},
		mqtt.PacketTooLarge:     {Topic: "t", Payload: make([]byte, 100)},
	} {
		var refused *CodeError
		if code, err := c.Publish(t.Context(), m); code != want || !errors.As(err, &refused) {
			t.Errorf("%+v: %v, %v, want %v", m, code, err, want)
		}
	}
	c.Close(t.Context())
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version    mqtt.Version
		code       mqtt.ReasonCode
		text, hint string
	}{
		{mqtt.V5, mqtt.NotAuthorized, "not authorized (0x87)", "iot:Connect"},
		{mqtt.V5, mqtt.UnsupportedVersion, "unsupported protocol version", "--mqtt"},
		{mqtt.V5, mqtt.ClientIdentifierNotValid, "client identifier not valid", "-i"},
		{mqtt.V311, mqtt.NotAuthorized, "not authorized (0x05)", "iot:Connect"},
		{mqtt.V311, mqtt.ServerBusy, "server unavailable (0x03)", "again"},
	} {
		o := against(t, Options{Version: test.version, Address: "berth.example:8883"}, func(s *script) {
			s.want(mqtt.CONNECT)
			s.write((&mqtt.Connack{Code: test.code}).Append(nil, test.version))
		})
		_, err := Dial(t.Context(), o)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.text) || !strings.Contains(err.Error(), "berth.example") {
			t.Errorf("error is %v, want %q", err, test.text)
		}
		if hint := Hint(err); !strings.Contains(hint, test.hint) {
			t.Errorf("%v: hint is %q, want %q", err, hint, test.hint)
		}
	}
}

func TestServerDisconnects(t *testing.T) {
	t.Parallel()
	c := dial(t, against(t, Options{}, func(s *script) {
		s.accept()
		s.want(mqtt.PUBLISH)
		d := mqtt.Disconnect{Code: mqtt.SessionTakenOver}
		d.Properties.ReasonString = "elsewhere"
		d.Properties.Mark(mqtt.PropReasonString)
		s.write(d.Append(nil, s.version))
	}))
	_, err := c.Publish(t.Context(), Message{Topic: "t", QoS: 1})
	<-c.Done()
	var gone *DisconnectError
	if !errors.As(err, &gone) || !errors.As(c.Err(), &gone) || gone.Code != mqtt.SessionTakenOver || gone.Reason != "elsewhere" {
		t.Errorf("publish: %v; end: %v", err, c.Err())
	}
	if _, err := c.Subscribe(t.Context(), mqtt.Subscription{Filter: "x"}); !errors.As(err, &gone) {
		t.Errorf("subscribe after the end: %v", err)
	}
	if err := c.Close(t.Context()); !errors.As(err, &gone) {
		t.Errorf("close after the end: %v", err)
	}
}

func TestHungUp(t *testing.T) {
	t.Parallel()
	_, err := Dial(t.Context(), against(t, Options{Address: "h:1"}, func(s *script) { s.want(mqtt.CONNECT) }))
	if err == nil || !strings.Contains(err.Error(), "closed the connection instead of answering CONNECT") {
		t.Errorf("dial: %v", err)
	}
	c := dial(t, against(t, Options{}, func(s *script) { s.accept(); s.want(mqtt.PINGREQ) }))
	if err := c.Ping(t.Context()); !errors.Is(err, errHungUp) || Hint(err) == "" {
		t.Errorf("ping: %v", err)
	}
}

func TestBrokenPackets(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string][]byte{
		"reserved type":     {0x00, 0},
		"CONNECT":           {0x10, 0},
		"truncated PUBLISH": {0x30, 1, 0},
		"QoS 3":             {0x36, 5, 0, 1, 'a', 0, 1},
		"long length":       {0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1},
	} {
		c := dial(t, against(t, Options{}, func(s *script) {
			s.accept()
			s.write(bad)
			s.want(mqtt.DISCONNECT)
		}))
		<-c.Done()
		var broken *mqtt.Error
		if !errors.As(c.Err(), &broken) {
			t.Errorf("%s: %v", name, c.Err())
		}
	}
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		c := dial(t, against(t, Options{KeepAlive: 20 * time.Second}, func(s *script) {
			s.accept()
			for range 3 {
				s.want(mqtt.PINGREQ)
				s.write(mqtt.AppendPingresp(nil))
			}
			s.drain() // and no answer any more
		}))
		<-c.Done()
		if got := time.Since(begin); got != 75*time.Second || !strings.Contains(c.Err().Error(), "has not answered for 30s") {
			t.Errorf("after %v: %v", got, c.Err())
		}
	})
}

func TestContextEndsWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := Dial(ctx, against(t, Options{Address: "h:1"}, func(s *script) { s.drain() }))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("dial: %v", err)
		}
		c := dial(t, against(t, Options{}, func(s *script) { s.accept(); s.drain() }))
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Publish(ctx, Message{Topic: "t", QoS: 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("publish: %v", err)
		}
	})
}

// TestTLS connects over real sockets: to a server that wants a client certificate, and to one that
// is not trusted.
func TestTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS() // lends its certificate
	defer web.Close()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		})
		trusted := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		_, err = Dial(t.Context(), Options{Address: l.Addr().String(), TLS: trusted})
		if err == nil || !strings.Contains(Hint(err), "--cert") {
			t.Errorf("without a certificate: %v; hint %q", err, Hint(err))
		}
		_, err = Dial(t.Context(), Options{Address: l.Addr().String(), TLS: &tls.Config{}})
		if err == nil || !strings.Contains(Hint(err), "--cafile") {
			t.Errorf("without trust: %v; hint %q", err, Hint(err))
		}
		l.Close()
		wg.Wait()
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("X-Amz-Signature") == "" {
			http.Error(w, `{"message":"Forbidden"}`, http.StatusForbidden)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Error(err)
			return
		}
		if ws.Subprotocol() != "mqtt" {
			t.Errorf("subprotocol is %q", ws.Subprotocol())
		}
		s := &script{t: t, conn: websocket.NetConn(r.Context(), ws, websocket.MessageBinary)}
		s.accept()
		s.want(mqtt.PINGREQ)
		s.write(mqtt.AppendPingresp(nil))
		s.want(mqtt.DISCONNECT)
		ws.Close(websocket.StatusNormalClosure, "")
	}))
	defer web.Close()
	url := "ws" + strings.TrimPrefix(web.URL, "http") + "/mqtt"
	_, err := Dial(t.Context(), Options{WebSocket: url})
	if err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(Hint(err), "access key") {
		t.Errorf("unsigned: %v; hint %q", err, Hint(err))
	}
	c, err := Dial(t.Context(), Options{WebSocket: url + "?X-Amz-Signature=1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
