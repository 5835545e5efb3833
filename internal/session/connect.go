package session

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
	"github.com/berth-iot/berth/topic"
)

// PrincipalKind is how a caller proved who it is.
type PrincipalKind string

// Kinds of principal.
const (
	Certificate PrincipalKind = "certificate"
	AccessKey   PrincipalKind = "access-key"
	Anonymous   PrincipalKind = "anonymous"
	Custom      PrincipalKind = "custom" // by a custom authorizer
	Role        PrincipalKind = "role"   // by temporary credentials
)

// Principal is who connects: the identifier of a client certificate, an access key, what a custom
// authorizer said, or "anonymous".
type Principal struct {
	Kind PrincipalKind
	ID   string
	// ReadOnly access keys may subscribe and not publish.
	ReadOnly bool
}

// Request is what the decision over a connection depends on.
type Request struct {
	Principal         Principal
	ClientID          string
	SourceIP          netip.Addr
	ServerName        string // by SNI
	ConnectAttributes []string
	WillTopic         string
	// Certificate is set during the connect only.
	Certificate *x509.Certificate
	Grant       *Grant // of a principal of kind Custom or Role
	// ThingName is set by Access to the thing that the certificate is attached to exclusively.
	ThingName string
}

// Authority decides what a connection may do.
type Authority interface {
	// Access compiles the policies that hold for a connection. ErrRefused, wrapped with a reason,
	// means that the principal may not connect at all, such as a certificate that is not ACTIVE.
	Access(ctx context.Context, r *Request) (*policy.Set, error)
}

// ErrRefused says that a principal may not connect at all.
var ErrRefused = fmt.Errorf("the principal may not connect")

// Admission is what a listener knows of a connection before its first packet.
type Admission struct {
	Principal   Principal
	Certificate *x509.Certificate
	ServerName  string
	// Until ends the connection, for signed WebSockets; zero for never.
	Until time.Time
	// Grant is that of temporary credentials.
	Grant *Grant
	// Asked is Sessions.Endings before anybody was asked what is said here; 0 stands for now.
	Asked uint64
	// Authenticator, if set, finds out by the CONNECT packet who the client is; Principal is then
	// empty, or the certificate that the client has besides.
	Authenticator Authenticator
}

// Accept reads the CONNECT packet from a new connection, decides over it and serves it on a
// goroutine of its own. It returns when the connection is established or refused; a refused one is
// closed.
func (a *Sessions) Accept(ctx context.Context, t Transport, adm Admission) {
	a.count.connectsTried.Add(1)
	c := &Conn{all: a, transport: t, yields: firstPublishes, asked: adm.Asked}
	if c.asked == 0 {
		c.asked = a.Endings()
	}
	timeout := time.AfterFunc(a.limits.ConnectTimeout, t.Interrupt)
	packet, err := c.readConnect()
	if !timeout.Stop() && err == nil {
		err = fmt.Errorf("no CONNECT within %v", a.limits.ConnectTimeout)
	}
	c.request = Request{Principal: adm.Principal, Grant: adm.Grant, Certificate: adm.Certificate, ServerName: adm.ServerName, SourceIP: t.RemoteAddr().Addr().Unmap()}
	if err != nil {
		c.refuseUnread(err)
		return
	}
	c.version = packet.Version
	if ref := c.admit(ctx, packet, adm.Authenticator); ref != nil {
		a.count.connectsRefused.Add(1)
		if ref.code == mqtt.NotAuthorized {
			a.lifecycle.ConnectFailed(c.client())
		}
		a.log.Debug("connect refused", "client_id", packet.ClientID, "principal", adm.Principal.ID, "reason", ref.reason)
		c.refuse(ref.code)
		return
	}
	if !adm.Until.IsZero() {
		time.AfterFunc(time.Until(adm.Until), func() {
			c.end(ending{WebSocketTTL, mqtt.AdministrativeAction, "the signed WebSocket reached its longest duration"})
		})
	}
	if c.custom != nil {
		c.custom.start(c)
	}
	// A fresh goroutine has a small stack; this one's grew during the handshake.
	go c.serve()
}

// readConnect reads one whole packet, which must be CONNECT [MQTT-3.1.0-1].
func (c *Conn) readConnect() (*mqtt.Connect, error) {
	for {
		h, body, size, err := mqtt.Frame(c.input.bytes(), c.all.limits.MaxPacket)
		if err != nil {
			return nil, err
		}
		if size > 0 && h.Type() != mqtt.CONNECT {
			return nil, fmt.Errorf("%s before CONNECT", h.Type())
		}
		if body != nil {
			packet := &mqtt.Connect{}
			err := packet.Decode(body)
			c.input.consume(size)
			return packet, err
		}
		c.input.room(max(size, 512))
		if err := c.transport.Fill(&c.input, func() {}); err != nil {
			return nil, err
		}
	}
}

// refuseUnread closes a connection that sent no usable CONNECT. Only an unknown protocol version
// gets an answer.
func (c *Conn) refuseUnread(err error) {
	a := c.all
	a.count.connectsBroken.Add(1)
	var e *mqtt.Error
	switch {
	case errors.Is(err, io.EOF): // somebody looked whether the port is open
	case errors.As(err, &e):
		a.refused(c.request, e.What)
		if e.Code == mqtt.UnsupportedVersion {
			c.version = mqtt.V311
			c.refuse(mqtt.UnsupportedVersion)
			return
		}
	default:
		a.refused(c.request, "no CONNECT packet: "+err.Error())
	}
	c.transport.Close(true)
}

func (c *Conn) refuse(code mqtt.ReasonCode) {
	ack := mqtt.Connack{Code: code}
	defer time.AfterFunc(c.all.limits.ConnectTimeout, func() { c.transport.Close(true) }).Stop()
	if pending, err := c.transport.Write(ack.Append(nil, c.version)); err == nil && pending {
		c.transport.Drain()
	}
	c.transport.Close(true)
}

type refusal struct {
	code   mqtt.ReasonCode
	reason string
}

// admit decides over a CONNECT packet and, if it may be, attaches the connection to its session
// and answers.
func (c *Conn) admit(ctx context.Context, p *mqtt.Connect, authenticator Authenticator) *refusal {
	a := c.all
	limits := &a.limits
	r := &c.request
	no := func(code mqtt.ReasonCode, format string, args ...any) *refusal {
		reason := fmt.Sprintf(format, args...)
		a.refused(*r, reason)
		return &refusal{code, reason}
	}

	r.ClientID = p.ClientID
	assigned := false
	switch {
	case p.ClientID == "":
		if p.Version == mqtt.V311 && !p.CleanStart { // 3.1.1 [MQTT-3.1.3-8]
			return no(mqtt.ClientIdentifierNotValid, "empty client identifier with a persistent session")
		}
		var id [16]byte
		rand.Read(id[:])
		r.ClientID = "auto-" + hex.EncodeToString(id[:])
		assigned = true
	case len(p.ClientID) > limits.MaxClientID:
		return no(mqtt.ClientIdentifierNotValid, "client identifier of %d bytes, the limit is %d", len(p.ClientID), limits.MaxClientID)
	case limits.Reserved && strings.HasPrefix(p.ClientID, "$"):
		return no(mqtt.ClientIdentifierNotValid, "client identifier %q begins with $", p.ClientID)
	}
	if p.Properties.Has(mqtt.PropAuthMethod) {
		return no(0x8C, "enhanced authentication is not supported")
	}

	expiry := a.sessionExpiry(p)
	if expiry > 0 {
		r.ConnectAttributes = append(r.ConnectAttributes, policy.PersistentConnect)
	}
	if w := p.Will; w != nil {
		r.ConnectAttributes = append(r.ConnectAttributes, policy.LastWill)
		r.WillTopic = w.Topic
		if err := limits.Topics.CheckName(w.Topic); err != nil {
			return no(mqtt.TopicNameInvalid, "will: %v", err)
		}
		if w.QoS > limits.MaxQoS {
			return no(mqtt.QoSNotSupported, "will: QoS %d is not supported", w.QoS)
		}
		if limits.MaxPayload > 0 && len(w.Payload) > limits.MaxPayload {
			return no(mqtt.PacketTooLarge, "will: payload of %d bytes, the limit is %d", len(w.Payload), limits.MaxPayload)
		}
		if limits.Reserved && topic.Reserved(w.Topic) && (w.Retain || topic.ReservedUse(w.Topic)&topic.Publish == 0) {
			return no(mqtt.TopicNameInvalid, "will: %q is reserved", w.Topic)
		}
	}

	decisions := a.decisions.Load()
	if authenticator != nil {
		if ref := c.authenticate(ctx, p, authenticator); ref != nil {
			return ref
		}
	}
	access, err := a.authority.Access(ctx, r)
	if err != nil {
		return no(mqtt.NotAuthorized, "%v", err)
	}
	if !access.Allows(policy.Connect, policy.KindClient, r.ClientID) {
		return &refusal{mqtt.NotAuthorized, a.Denied(*r, access, policy.Connect, policy.KindClient, r.ClientID)}
	}
	if w := p.Will; w != nil {
		if !access.Allows(policy.Publish, policy.KindTopic, w.Topic) {
			return &refusal{mqtt.NotAuthorized, a.Denied(*r, access, policy.Publish, policy.KindTopic, w.Topic)}
		}
		if w.Retain && !access.Allows(policy.RetainPublish, policy.KindTopic, w.Topic) {
			return &refusal{mqtt.NotAuthorized, a.Denied(*r, access, policy.RetainPublish, policy.KindTopic, w.Topic)}
		}
	}
	r.Certificate = nil
	places, attached := a.places.Add(1), false
	defer func() {
		if !attached {
			a.places.Add(-1)
		}
	}()
	if limit := limits.MaxConnections; limit > 0 && places > int64(limit) && !a.connected(r.ClientID) {
		return no(mqtt.QuotaExceeded, "%d clients are connected or about to be, the limit is max-connections: %d", places-1, limit)
	}
	if !a.paces.mayConnect(r.ClientID, time.Now()) {
		return c.tooSoon()
	}
	c.pace = a.paces.of()

	ack := mqtt.Connack{}
	keepAlive := p.KeepAlive
	if limits.MaxKeepAlive > 0 {
		if keepAlive == 0 {
			keepAlive = limits.MaxKeepAlive
		}
		keepAlive = min(max(keepAlive, limits.MinKeepAlive), limits.MaxKeepAlive)
	}
	c.keepAlive = int64(keepAlive) * 1500
	c.receiveMaximum = limits.Inflight
	if p.Properties.Has(mqtt.PropReceiveMaximum) {
		c.receiveMaximum = min(c.receiveMaximum, int(p.Properties.ReceiveMaximum))
	}
	if p.Properties.Has(mqtt.PropMaximumPacketSize) {
		c.maxPacket = int(min(p.Properties.MaximumPacketSize, mqtt.MaxRemaining+5))
	}
	if p.Properties.Has(mqtt.PropTopicAliasMaximum) {
		c.given = newAliases(p.Properties.TopicAliasMaximum)
	}
	if p.Version == mqtt.V5 {
		c.describe(&ack.Properties, p, keepAlive, expiry, assigned)
	}
	c.origin = &router.Origin{ClientID: r.ClientID, Principal: r.Principal.ID, Protocol: "mqtt", SourceIP: r.SourceIP.String(), Thing: r.ThingName}
	c.publisher = a.router.NewPublisher()
	c.setAccess(access)
	switch err := a.attach(c, p, expiry, &ack); {
	case errors.Is(err, ErrRefused):
		return no(mqtt.NotAuthorized, "%v", err)
	case err != nil:
		a.log.Error("connect", "client_id", r.ClientID, "error", err)
		return &refusal{mqtt.ServerUnavailable, err.Error()}
	}
	attached = true
	if a.decisions.Load() != decisions { // what it may do may have changed since it was read
		c.reauthorize(ctx)
	}
	return nil
}

// setAccess puts new policies in force; remembered decisions no longer count.
func (c *Conn) setAccess(access *policy.Set) {
	c.access.Store(access)
	c.generation.Store(c.all.generations.Add(1))
}

// describe fills the properties of an MQTT 5 CONNACK.
func (c *Conn) describe(ack *mqtt.Properties, p *mqtt.Connect, keepAlive uint16, expiry uint32, assigned bool) {
	limits := &c.all.limits
	if limits.MaxQoS < 2 {
		ack.MaximumQoS = limits.MaxQoS
		ack.Mark(mqtt.PropMaximumQoS)
	}
	ack.ReceiveMaximum = uint16(limits.Inflight)
	ack.RetainAvailable = 1
	ack.MaximumPacketSize = uint32(limits.MaxPacket)
	ack.TopicAliasMaximum = limits.TopicAliases
	ack.WildcardAvailable, ack.SharedAvailable = 1, 1
	if limits.SubscriptionIDs {
		ack.SubscriptionIDAvail = 1
	}
	ack.ServerKeepAlive = keepAlive
	ack.Mark(mqtt.PropReceiveMaximum, mqtt.PropRetainAvailable, mqtt.PropMaximumPacketSize, mqtt.PropTopicAliasMaximum,
		mqtt.PropWildcardAvailable, mqtt.PropSharedAvailable, mqtt.PropSubscriptionIDAvailable, mqtt.PropServerKeepAlive)
	if p.Properties.Has(mqtt.PropSessionExpiry) || limits.MaxKeepAlive > 0 {
		ack.SessionExpiry = expiry
		ack.Mark(mqtt.PropSessionExpiry)
	}
	if assigned { // [MQTT-3.2.2-16]
		ack.AssignedClientID = c.request.ClientID
		ack.Mark(mqtt.PropAssignedClientID)
	}
}

// never is a session expiry interval without end.
const never = 0xFFFFFFFF

// sessionExpiry is how long, in seconds, a session outlives its connection.
func (a *Sessions) sessionExpiry(p *mqtt.Connect) uint32 {
	seconds := func(d time.Duration) uint32 {
		if d < 0 {
			return never
		}
		return uint32(d / time.Second)
	}
	if p.Version == mqtt.V311 {
		if p.CleanStart {
			return 0
		}
		return seconds(a.limits.SessionExpiry)
	}
	if !p.Properties.Has(mqtt.PropSessionExpiry) {
		return 0
	}
	return min(p.Properties.SessionExpiry, seconds(a.limits.MaxSessionExpiry))
}
