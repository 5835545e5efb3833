package session

import (
	"fmt"
	"time"

	"github.com/berth-iot/berth/internal/denial"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
	"github.com/berth-iot/berth/topic"
)

// publishing is what a connection uses again for every message that it publishes.
type publishing struct {
	packet      mqtt.Publish
	publication router.Publication
}

// handlePublish takes a message from the client.
func (c *Conn) handlePublish(h mqtt.Header, body []byte) error {
	if c.publishing == nil {
		c.publishing = &publishing{publication: router.Publication{Origin: c.origin, NoLocal: c.session, Acknowledger: c}}
	}
	p := &c.publishing.packet
	if err := p.Decode(h, body, c.version); err != nil {
		return err
	}
	c.received++
	if c.version == mqtt.V5 && !p.Properties.Empty() {
		if err := c.inboundProperties(p); err != nil {
			return err
		}
	} else if len(p.Topic) == 0 { // [MQTT-4.7.3-1]
		return disconnect(ClientError, mqtt.TopicNameInvalid, "empty topic")
	}
	rt := c.publisher.Route(p.Topic)
	if g := c.generation.Load(); rt.Generation != g {
		allowed, err := c.mayPublish(rt.Topic)
		if err != nil {
			return err
		}
		rt.Publish, rt.Generation = allowed, g
	}
	limits := &c.all.limits
	if limits.MaxPayload > 0 && len(p.Payload) > limits.MaxPayload {
		c.all.refused(c.request, "PAYLOAD_LIMIT_EXCEEDED")
		return disconnect(ClientError, mqtt.PacketTooLarge, "PAYLOAD_LIMIT_EXCEEDED: %d bytes, the limit is %d", len(p.Payload), limits.MaxPayload)
	}
	if p.QoS > limits.MaxQoS { // [MQTT-3.2.2-11]
		return disconnect(ClientError, mqtt.QoSNotSupported, "QoS %d is not supported", p.QoS)
	}
	allowed, room := rt.Publish, true
	if p.Retain {
		if limits.Reserved && topic.Reserved(rt.Topic) {
			return disconnect(ClientError, mqtt.TopicNameInvalid, "retained message for the reserved topic %q", rt.Topic)
		}
		if allowed && !c.access.Load().Allows(policy.RetainPublish, policy.KindTopic, rt.Topic) {
			c.denied(c.access.Load(), policy.RetainPublish, policy.KindTopic, rt.Topic)
			allowed = false
		}
		room = !allowed || c.all.router.MayRetain(rt.Topic, len(p.Payload))
	}
	if p.QoS == 2 && !(allowed && room) { // not what has been taken already: its packet identifier is in use
		if again, waits := c.again(p.PacketID); waits {
			return c.holdBack()
		} else if again {
			c.answer(2, p.PacketID, mqtt.Success)
			return nil
		}
	}
	if !room {
		return c.refuseRetained(p, rt.Topic)
	}
	if !allowed {
		// A denial ends a 3.1.1 connection, as devices of AWS expect; MQTT 5 can say no.
		if c.version != mqtt.V5 || p.QoS == 0 {
			return disconnect(AuthError, mqtt.NotAuthorized, "not authorized to publish to %q", rt.Topic)
		}
		c.answer(p.QoS, p.PacketID, mqtt.NotAuthorized)
		return nil
	}

	if c.pace != nil {
		if err := c.throttleIn(rt.Topic, len(p.Payload), p.Retain); err != nil {
			return err
		}
	}
	pn := &c.publishing.publication
	pn.Topic, pn.Payload, pn.QoS, pn.Retain = rt.Topic, p.Payload, p.QoS, p.Retain
	pn.Properties, pn.Expires = nil, time.Time{}
	if !p.Properties.Empty() {
		if p.Properties.Has(mqtt.PropMessageExpiry) {
			pn.Expires = c.all.messageExpiry(time.Now(), p.Properties.MessageExpiry)
			p.Properties.Clear(mqtt.PropMessageExpiry)
		}
		pn.Properties = &p.Properties
	}
	if p.QoS == 0 {
		c.publisher.PublishTo(rt, pn)
		return nil
	}
	var arrived *arrival
	if p.QoS == 2 {
		var again, waits bool
		var unreleased int
		arrived, again, waits, unreleased = c.arrive(p.PacketID)
		if c.version == mqtt.V5 && unreleased > limits.Inflight { // [MQTT-3.3.4-9]
			return disconnect(ClientError, mqtt.ReceiveMaximumExceeded, "more than %d QoS 2 messages without PUBREL", limits.Inflight)
		}
		if waits {
			return c.holdBack()
		}
		if again { // [MQTT-4.3.3-10]
			c.answer(2, p.PacketID, mqtt.Success)
			return nil
		}
		if c.version == mqtt.V5 && unreleased > limits.Inflight { // [MQTT-3.3.4-9]: counts until PUBCOMP
			return disconnect(ClientError, mqtt.ReceiveMaximumExceeded, "more than %d QoS 2 messages without PUBREL", limits.Inflight)
		}
	}
	if c.publisher.PublishTo(rt, pn) {
		return c.holdBack()
	}
	if arrived != nil {
		c.session.mu.Lock()
		arrived.from = nil
		c.session.mu.Unlock()
	}
	c.answer(p.QoS, p.PacketID, mqtt.Success)
	return nil
}

// refuseRetained refuses a message that there is no room to retain: AWS IoT throttles those until some are
// deleted (AWS IoT developer guide, "MQTT retained messages"). MQTT 3.1.1 has no way to say so but to close the
// connection [MQTT-3.3.5-2]; with QoS 0 the message is dropped.
func (c *Conn) refuseRetained(p *mqtt.Publish, name string) error {
	c.all.refused(c.request, fmt.Sprintf("no room to retain a message of %q", name))
	switch {
	case p.QoS == 0:
		return nil
	case c.version != mqtt.V5:
		return disconnect(ClientError, mqtt.QuotaExceeded, "no room to retain a message of %q", name)
	}
	c.answer(p.QoS, p.PacketID, mqtt.QuotaExceeded)
	return nil
}

// mayPublish asks once per topic whether this connection may publish to it. The error ends the
// connection.
func (c *Conn) mayPublish(name string) (bool, error) {
	limits := &c.all.limits
	if err := limits.Topics.CheckName(name); err != nil {
		code := mqtt.TopicNameInvalid
		c.all.refused(c.request, err.Error())
		return false, disconnect(ClientError, code, "%v", err)
	}
	if limits.Reserved && topic.Reserved(name) && topic.ReservedUse(name)&topic.Publish == 0 {
		c.all.refused(c.request, "publish to the undefined reserved topic "+name)
		return false, disconnect(ClientError, mqtt.TopicNameInvalid, "%q is reserved and clients may not publish to it", name)
	}
	access := c.access.Load()
	if access.Allows(policy.Publish, policy.KindTopic, name) {
		return true, nil
	}
	c.denied(access, policy.Publish, policy.KindTopic, name)
	return false, nil
}

// inboundProperties resolves the topic alias and checks what only a connection can check.
func (c *Conn) inboundProperties(p *mqtt.Publish) error {
	if p.Properties.Has(mqtt.PropSubscriptionID) { // [MQTT-3.3.4-6]
		return disconnect(ClientError, mqtt.ProtocolError, "subscription identifier in a client's PUBLISH")
	}
	if p.Properties.Has(mqtt.PropResponseTopic) { // [MQTT-3.3.2-14]
		if topic.Wild(p.Properties.ResponseTopic) || p.Properties.ResponseTopic == "" {
			return disconnect(ClientError, mqtt.ProtocolError, "response topic %q is not a topic name", p.Properties.ResponseTopic)
		}
	}
	if p.Properties.Has(mqtt.PropTopicAlias) {
		alias := int(p.Properties.TopicAlias)
		if alias == 0 || alias > int(c.all.limits.TopicAliases) { // [MQTT-3.3.2-8] [MQTT-3.3.2-9]
			return disconnect(ClientError, mqtt.TopicAliasInvalid, "topic alias %d, the maximum is %d", alias, c.all.limits.TopicAliases)
		}
		for len(c.aliases) < alias {
			c.aliases = append(c.aliases, "")
		}
		if len(p.Topic) > 0 {
			if string(p.Topic) != c.aliases[alias-1] {
				c.aliases[alias-1] = string(p.Topic)
			}
		} else if c.aliases[alias-1] == "" {
			return disconnect(ClientError, mqtt.ProtocolError, "topic alias %d stands for nothing yet", alias)
		} else {
			p.Topic = append(p.Topic, c.aliases[alias-1]...)
		}
		p.Properties.Clear(mqtt.PropTopicAlias)
	}
	if len(p.Topic) == 0 { // [MQTT-4.7.3-1]
		return disconnect(ClientError, mqtt.ProtocolError, "empty topic without a topic alias")
	}
	return nil
}

// messageExpiry is when a message with the given expiry interval in seconds expires; AWS raises 0
// to 1.
func (a *Sessions) messageExpiry(from time.Time, seconds uint32) time.Time {
	d := time.Duration(seconds) * time.Second
	if limit := a.limits.MaxMessageExpiry; limit > 0 {
		d = min(max(d, time.Second), limit)
	}
	return from.Add(d)
}

// answer acknowledges a message now, or after those that still wait.
func (c *Conn) answer(qos byte, id uint16, code mqtt.ReasonCode) {
	if c.owed.len() > 0 {
		c.acks = c.owed.settle(c.owed.add(id, qos), code, c.version, c.acks)
		return
	}
	t := mqtt.PUBACK
	if qos == 2 {
		t = mqtt.PUBREC
	}
	c.acks = mqtt.AppendAck(c.acks, t, id, code, c.version)
}

// Owe implements router.Acknowledger for the message being handled.
func (c *Conn) Owe() uint64 { return c.owed.add(c.publishing.packet.PacketID, c.publishing.packet.QoS) }

// Acknowledge implements router.Acknowledger.
func (c *Conn) Acknowledge(number uint64, err error) {
	code := mqtt.Success
	if err != nil {
		code = mqtt.UnspecifiedError
		if c.version != mqtt.V5 {
			c.fail() // at once: what came after it is not taken, or the order would be lost
		}
		c.all.log.Error("a message could not be kept", "client_id", c.request.ClientID, "error", err)
	}
	c.all.completions.settle(completion{c, number, code})
}

// fail ends the connection of a publisher of MQTT 3.1.1, which cannot be told otherwise. Somebody has to interrupt its
// reader, which Acknowledge must not wait for.
func (c *Conn) fail() {
	c.ended.CompareAndSwap(nil, &ending{ServerError, mqtt.UnspecifiedError, "a message could not be kept"})
}

// holdBack stops reading while the client has as many unacknowledged messages as it may have.
func (c *Conn) holdBack() error {
	limit := c.all.limits.Inflight
	n := c.owed.len()
	if n < limit {
		return nil
	}
	if c.version == mqtt.V5 && n > limit { // [MQTT-3.3.4-9]
		return disconnect(ClientError, mqtt.ReceiveMaximumExceeded, "more than %d messages without acknowledgement", limit)
	}
	if c.version == mqtt.V5 {
		return nil
	}
	c.flushBatch()
	c.owed.wait(limit, func() bool { return c.ended.Load() != nil })
	if c.ended.Load() != nil {
		return errEnded
	}
	return nil
}

// refused records that a client broke the protocol or a limit, and logs one line a second at most.
func (a *Sessions) refused(r Request, reason string) { a.refusedAs(denial.Protocol, r, reason) }

func (a *Sessions) refusedAs(kind string, r Request, reason string) {
	a.count.refused.Add(1)
	second := a.clock.Load() / 1000
	if last := a.warned.Load(); last != second && a.warned.CompareAndSwap(last, second) {
		a.log.Warn("refused", "client_id", r.ClientID, "principal", r.Principal.ID, "source_ip", r.SourceIP, "reason", reason)
	}
	if a.denials.Admit() {
		a.denials.Add(denial.Record{Kind: kind, ClientID: r.ClientID, Principal: r.Principal.ID,
			SourceIP: r.SourceIP.String(), Reason: reason})
	}
}
