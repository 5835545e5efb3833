package mqtt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func props(set func(p *Properties), ids ...PropertyID) Properties {
	var p Properties
	set(&p)
	p.Mark(ids...)
	return p
}

// packet is what the table below encodes and decodes.
type packet interface {
	append(v Version) []byte
	decode(h Header, body []byte, v Version) (packet, error)
}

func (c Connect) append(v Version) []byte { return c.Append(nil) }
func (c Connect) decode(_ Header, b []byte, _ Version) (packet, error) {
	var d Connect
	err := d.Decode(b)
	return d, err
}
func (c Connack) append(v Version) []byte { return c.Append(nil, v) }
func (c Connack) decode(_ Header, b []byte, v Version) (packet, error) {
	var d Connack
	err := d.Decode(b, v)
	return d, err
}
func (p Publish) append(v Version) []byte { return p.Append(nil, v) }
func (p Publish) decode(h Header, b []byte, v Version) (packet, error) {
	var d Publish
	err := d.Decode(h, b, v)
	return d, err
}
func (s Subscribe) append(v Version) []byte { return s.Append(nil, v) }
func (s Subscribe) decode(_ Header, b []byte, v Version) (packet, error) {
	var d Subscribe
	err := d.Decode(b, v)
	return d, err
}
func (u Unsubscribe) append(v Version) []byte { return u.Append(nil, v) }
func (u Unsubscribe) decode(_ Header, b []byte, v Version) (packet, error) {
	var d Unsubscribe
	err := d.Decode(b, v)
	return d, err
}
func (d Disconnect) append(v Version) []byte { return d.Append(nil, v) }
func (d Disconnect) decode(h Header, b []byte, v Version) (packet, error) {
	var e Disconnect
	err := e.Decode(h.Type(), b, v)
	return e, err
}

type puback struct{ Ack }

func (a puback) append(v Version) []byte { return a.Append(nil, PUBACK, v) }
func (a puback) decode(h Header, b []byte, v Version) (packet, error) {
	var d puback
	err := d.Decode(h.Type(), b, v)
	return d, err
}

type pubrel struct{ Ack }

func (a pubrel) append(v Version) []byte { return a.Append(nil, PUBREL, v) }
func (a pubrel) decode(h Header, b []byte, v Version) (packet, error) {
	var d pubrel
	err := d.Decode(h.Type(), b, v)
	return d, err
}

type suback struct{ Suback }

func (a suback) append(v Version) []byte { return a.Append(nil, SUBACK, v) }
func (a suback) decode(h Header, b []byte, v Version) (packet, error) {
	var d suback
	err := d.Decode(h.Type(), b, v)
	return d, err
}

type unsuback struct{ Suback }

func (a unsuback) append(v Version) []byte { return a.Append(nil, UNSUBACK, v) }
func (a unsuback) decode(h Header, b []byte, v Version) (packet, error) {
	var d unsuback
	err := d.Decode(h.Type(), b, v)
	return d, err
}

// packets are bytes and values, written out by hand from the standard.
var packets = []struct {
	name  string
	v     Version
	hex   string
	value packet
}{
	{"connect 3.1.1", V311, "10 0d 0004 4d515454 04 02 003c 0001 61",
		Connect{Version: V311, CleanStart: true, KeepAlive: 60, ClientID: "a"}},
	{"connect 3.1.1 everything", V311, "10 1f 0004 4d515454 04 f6 000a 0001 61 0003 772f74 0002 0001 0002 7573 0003 707764",
		Connect{Version: V311, CleanStart: true, KeepAlive: 10, ClientID: "a", HasUserName: true, UserName: "us",
			HasPassword: true, Password: []byte("pwd"), Will: &Will{Topic: "w/t", Payload: []byte{0, 1}, QoS: 2, Retain: true}}},
	{"connect 5", V5, "10 22 0004 4d515454 05 04 0000 08 1100000e10 210014 0001 61 05 1800000005 0001 77 0001 78",
		Connect{Version: V5, ClientID: "a",
			Properties: props(func(p *Properties) { p.SessionExpiry = 3600; p.ReceiveMaximum = 20 }, PropSessionExpiry, PropReceiveMaximum),
			Will:       &Will{Topic: "w", Payload: []byte("x"), Properties: props(func(p *Properties) { p.WillDelay = 5 }, PropWillDelay)}}},
	{"connack 3.1.1", V311, "20 02 01 00", Connack{SessionPresent: true}},
	{"connack 5", V5, "20 08 00 00 05 220008 2401", Connack{
		Properties: props(func(p *Properties) { p.MaximumQoS = 1; p.TopicAliasMaximum = 8 }, PropMaximumQoS, PropTopicAliasMaximum)}},
	{"publish QoS 0", V311, "30 05 0003 612f62", Publish{Topic: []byte("a/b"), Payload: []byte{}}},
	{"publish QoS 1", V311, "3b 08 0001 61 0102 010203",
		Publish{QoS: 1, Dup: true, Retain: true, PacketID: 0x102, Topic: []byte("a"), Payload: []byte{1, 2, 3}}},
	{"puback", V311, "40 02 0007", puback{Ack{PacketID: 7}}},
	{"puback 5", V5, "40 03 0007 87", puback{Ack{PacketID: 7, Code: NotAuthorized}}},
	{"puback 5 reason", V5, "40 09 0007 87 05 1f 0002 6e6f", puback{Ack{PacketID: 7, Code: NotAuthorized,
		Properties: props(func(p *Properties) { p.ReasonString = "no" }, PropReasonString)}}},
	{"pubrel", V311, "62 02 0007", pubrel{Ack{PacketID: 7}}},
	{"subscribe", V311, "82 0a 0001 0001 61 01 0001 23 00",
		Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: "a", QoS: 1}, {Filter: "#"}}}},
	{"subscribe 5", V5, "82 09 0001 02 0b05 0001 61 1d",
		Subscribe{PacketID: 1, Properties: props(func(p *Properties) { p.SubscriptionIDs = []uint32{5} }, PropSubscriptionID),
			Subscriptions: []Subscription{{Filter: "a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 1}}}},
	{"suback", V311, "90 04 0001 01 80", suback{Suback{PacketID: 1, Codes: []ReasonCode{GrantedQoS1, UnspecifiedError}}}},
	{"suback 5", V5, "90 05 0001 00 01 87", suback{Suback{PacketID: 1, Codes: []ReasonCode{GrantedQoS1, NotAuthorized}}}},
	{"unsubscribe", V311, "a2 05 0001 0001 61", Unsubscribe{PacketID: 1, Filters: []string{"a"}}},
	{"unsuback", V311, "b0 02 0001", unsuback{Suback{PacketID: 1}}},
	{"unsuback 5", V5, "b0 04 0001 00 11", unsuback{Suback{PacketID: 1, Codes: []ReasonCode{NoSubscriptionExisted}}}},
	{"disconnect", V311, "e0 00", Disconnect{}},
	{"disconnect 5", V5, "e0 01 8e", Disconnect{Code: SessionTakenOver}},
	{"disconnect 5 expiry", V5, "e0 07 00 05 11 00000000", Disconnect{Properties: props(func(p *Properties) {}, PropSessionExpiry)}},
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestPackets(t *testing.T) {
	t.Parallel()
	for _, c := range packets {
		if c.value == nil {
			continue
		}
		wire := unhex(c.hex)
		if got := c.value.append(c.v); !bytes.Equal(got, wire) {
			t.Errorf("%s: encoded %x, want %x", c.name, got, wire)
		}
		h, body, size, err := Frame(wire, 1<<20)
		if err != nil || size != len(wire) {
			t.Errorf("%s: size %d, error %v", c.name, size, err)
			continue
		}
		got, err := c.value.decode(h, body, c.v)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if d := cmp.Diff(c.value, got, cmp.AllowUnexported(Properties{})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		for n := range wire { // every prefix asks for more, none is a packet
			if _, body, _, err := Frame(wire[:n], 1<<20); body != nil || err != nil {
				t.Errorf("%s: prefix of %d bytes: %v %v", c.name, n, body, err)
			}
		}
		for n := range body { // a body cut short never decodes to the same
			if got, err := c.value.decode(h, body[:n], c.v); err == nil && cmp.Equal(c.value, got, cmp.AllowUnexported(Properties{})) {
				t.Errorf("%s: body of %d bytes decoded", c.name, n)
			}
		}
	}
}

func TestPublishProperties(t *testing.T) {
	t.Parallel()
	want := Publish{QoS: 1, PacketID: 9, Topic: []byte("t"), Payload: []byte("p"), Properties: props(func(p *Properties) {
		p.PayloadFormat, p.MessageExpiry, p.ContentType, p.ResponseTopic = 1, 70000, "text", "r/t"
		p.CorrelationData, p.SubscriptionIDs, p.TopicAlias = []byte{1, 2}, []uint32{1, 200, 300000}, 4
		p.User = []UserProperty{{"k", "v"}, {"k", ""}, {"", "ü"}}
	}, PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData, PropSubscriptionID, PropTopicAlias, PropUserProperty)}
	wire := want.Append(nil, V5)
	h, body, size, err := Frame(wire, 1000)
	if err != nil || size != len(wire) {
		t.Fatal(size, err)
	}
	var got Publish
	if err := got.Decode(h, body, V5); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Properties{})); d != "" {
		t.Error(d)
	}
	var stored Properties
	if err := stored.DecodeStored(want.Properties.AppendStored(nil)); err != nil || !cmp.Equal(stored, want.Properties, cmp.AllowUnexported(Properties{})) {
		t.Errorf("stored properties came back as %+v, %v", stored, err)
	}
	out, at := AppendPublish(nil, V5, 2, 0, "t", []byte("p"), &want.Properties)
	out[at], out[at+1] = 0, 9
	if !bytes.Equal(out, wire) {
		t.Errorf("with the identifier set later: %x, want %x", out, wire)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, hex string
		v         Version
		code      ReasonCode
	}{
		{"type 0", "00 00", V5, MalformedPacket},
		{"subscribe flags", "80 00", V5, MalformedPacket},
		{"pingreq flags", "c1 00", V5, MalformedPacket},
		{"remaining length of five bytes", "30 ffffffff7f", V5, MalformedPacket},
		{"too large", "30 ffff7f", V5, PacketTooLarge},
		{"protocol name", "10 0d 0004 4d515458 04 02 003c 0001 61", V5, UnsupportedVersion},
		{"level 3", "10 0f 0006 4d5149736470 03 02 003c 0001 61", V5, UnsupportedVersion},
		{"level 6", "10 0d 0004 4d515454 06 02 003c 0001 61", V5, UnsupportedVersion},
		{"reserved connect flag", "10 0d 0004 4d515454 04 03 003c 0001 61", V5, MalformedPacket},
		{"will QoS without will", "10 0d 0004 4d515454 04 0a 003c 0001 61", V5, MalformedPacket},
		{"bytes after connect", "10 0e 0004 4d515454 04 02 003c 0001 61 00", V5, MalformedPacket},
		{"client id not UTF-8", "10 0d 0004 4d515454 04 02 003c 0001 ff", V5, MalformedPacket},
		{"QoS 3", "36 05 0001 61 0001", V311, MalformedPacket},
		{"DUP with QoS 0", "38 03 0001 61", V311, MalformedPacket},
		{"packet identifier 0", "32 05 0001 61 0000", V311, MalformedPacket},
		{"topic with null", "30 03 0001 00", V311, MalformedPacket},
		{"topic with surrogate", "30 05 0003 eda080", V311, MalformedPacket},
		{"topic too long", "30 03 0005 61", V311, MalformedPacket},
		{"property of another packet", "30 09 0001 61 05 11 00000001", V5, MalformedPacket},
		{"unknown property", "30 05 0001 61 01 7e", V5, MalformedPacket},
		{"property twice", "30 08 0001 61 04 0100 0101", V5, ProtocolError},
		{"boolean 2", "30 06 0001 61 02 0102", V5, ProtocolError},
		{"properties beyond the packet", "30 06 0001 61 0a 0100", V5, MalformedPacket},
		{"subscription identifier 0", "82 09 0001 02 0b00 0001 61 00", V5, ProtocolError},
		{"no filter", "82 02 0001", V311, ProtocolError},
		{"subscription QoS 3", "82 06 0001 0001 61 03", V311, MalformedPacket},
		{"reserved option", "82 07 0001 00 0001 61 40", V5, MalformedPacket},
		{"no filter to unsubscribe", "a2 02 0001", V311, ProtocolError},
		{"receive maximum 0", "10 11 0004 4d515454 05 02 003c 03 210000 0001 61", V5, ProtocolError},
		{"disconnect with body", "e0 01 00", V311, MalformedPacket},
	} {
		var e *Error
		h, body, _, err := Frame(unhex(c.hex), 1<<20)
		if err == nil {
			err = decodeAny(h, body, c.v)
		}
		if !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s: %v, want %v", c.name, err, c.code)
		}
	}
}

func decodeAny(h Header, body []byte, v Version) error {
	switch t := h.Type(); t {
	case CONNECT:
		return new(Connect).Decode(body)
	case CONNACK:
		return new(Connack).Decode(body, v)
	case PUBLISH:
		return new(Publish).Decode(h, body, v)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return new(Ack).Decode(t, body, v)
	case SUBSCRIBE:
		return new(Subscribe).Decode(body, v)
	case SUBACK, UNSUBACK:
		return new(Suback).Decode(t, body, v)
	case UNSUBSCRIBE:
		return new(Unsubscribe).Decode(body, v)
	case DISCONNECT, AUTH:
		return new(Disconnect).Decode(t, body, v)
	}
	return nil
}

// FuzzDecode decodes any bytes as any packet in both versions. What decodes encodes to something
// that decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, c := range packets {
		f.Add(unhex(c.hex), c.v == V5)
	}
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		v := V311
		if five {
			v = V5
		}
		h, body, _, err := Frame(b, 1<<16)
		if err != nil || body == nil {
			return
		}
		var again []byte
		switch typ := h.Type(); typ {
		case CONNECT:
			var c Connect
			if c.Decode(body) != nil {
				return
			}
			again = c.Append(nil)
			v = c.Version
		case CONNACK:
			var c Connack
			if c.Decode(body, v) != nil || v != V5 {
				return
			}
			again = c.Append(nil, v)
		case PUBLISH:
			var p Publish
			if p.Decode(h, body, v) != nil {
				return
			}
			again = p.Append(nil, v)
		case PUBACK, PUBREC, PUBREL, PUBCOMP:
			var a Ack
			if a.Decode(typ, body, v) != nil {
				return
			}
			again = a.Append(nil, typ, v)
		case SUBSCRIBE:
			var s Subscribe
			if s.Decode(body, v) != nil {
				return
			}
			again = s.Append(nil, v)
		case SUBACK, UNSUBACK:
			var s Suback
			if s.Decode(typ, body, v) != nil || v != V5 {
				return
			}
			again = s.Append(nil, typ, v)
		case UNSUBSCRIBE:
			var u Unsubscribe
			if u.Decode(body, v) != nil {
				return
			}
			again = u.Append(nil, v)
		case DISCONNECT:
			var d Disconnect
			if d.Decode(typ, body, v) != nil {
				return
			}
			again = d.Append(nil, v)
		default:
			decodeAny(h, body, v)
			return
		}
		h2, body2, size, err := Frame(again, 1<<20)
		if err != nil || size != len(again) {
			t.Fatalf("%x was encoded again as %x: size %d, %v", b, again, size, err)
		}
		if err := decodeAny(h2, body2, v); err != nil {
			t.Fatalf("%x was encoded again as %x: %v", b, again, err)
		}
	})
}

func BenchmarkDecodePublish(b *testing.B) {
	wire := (&Publish{QoS: 1, PacketID: 1, Topic: []byte("fleet/4711/state"), Payload: make([]byte, 128)}).Append(nil, V5)
	var p Publish
	b.ReportAllocs()
	for b.Loop() {
		h, body, _, _ := Frame(wire, 1<<17)
		if err := p.Decode(h, body, V5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	buf := make([]byte, 0, 4096)
	payload := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendPublish(buf[:0], V5, 2, 7, "fleet/4711/state", payload, nil)
	}
}

// TestPropertiesCheck: what Check takes can be encoded, sent and read back.
func TestPropertiesCheck(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 65535)
	for _, c := range []struct {
		name string
		p    Properties
		ok   bool
	}{
		{"none", Properties{}, true},
		{"longest", Properties{ContentType: long, ResponseTopic: long, CorrelationData: []byte(long), User: []UserProperty{{long, long}}}, true},
		{"binary correlation data", Properties{CorrelationData: []byte{0, 0xFF}}, true},
		{"content type too long", Properties{ContentType: long + "x"}, false},
		{"response topic with U+0000", Properties{ResponseTopic: "a\x00"}, false},
		{"correlation data too long", Properties{CorrelationData: []byte(long + "x")}, false},
		{"user property not UTF-8", Properties{User: []UserProperty{{"a", "\xFF"}}}, false},
		{"user property too long", Properties{User: []UserProperty{{"a", "b"}, {long + "x", "b"}}}, false},
	} {
		c.p.Mark(PropContentType, PropResponseTopic, PropCorrelationData, PropUserProperty)
		if err := c.p.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		packet := (&Publish{Topic: []byte("t"), Properties: c.p}).Append(nil, V5)
		h, body, _, err := Frame(packet, 1<<20)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if err := new(Publish).Decode(h, body, V5); c.ok && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
