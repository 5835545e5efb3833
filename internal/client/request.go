package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-iot/berth/mqtt"
)

// Publish sends a message. With QoS 0 it returns when the message is written; otherwise when the
// server has acknowledged it, with the server's reason code, which is an error as a *CodeError too
// if it says failure. It waits while as many messages are unacknowledged as the server takes.
func (c *Client) Publish(ctx context.Context, m Message) (mqtt.ReasonCode, error) {
	p := mqtt.Publish{QoS: m.QoS, Retain: m.Retain, Topic: []byte(m.Topic), Payload: m.Payload, Properties: m.Properties}
	if m.QoS > 2 || len(m.Topic) > 65535 {
		return mqtt.ProtocolError, fmt.Errorf("publish to %q: QoS must be 0, 1 or 2 and a topic at most 65,535 bytes", clip(m.Topic))
	}
	if code := c.unsupported(&m); code != mqtt.Success {
		return code, &CodeError{Operation: "publish to " + quote(m.Topic), Code: code}
	}
	if m.QoS == 0 {
		return mqtt.Success, c.send("publish to "+quote(m.Topic), func(b []byte) []byte { return p.Append(b, c.version) })
	}
	select {
	case c.quota <- struct{}{}:
		defer func() { <-c.quota }()
	case <-c.done:
		return mqtt.UnspecifiedError, c.Err()
	case <-ctx.Done():
		return mqtt.UnspecifiedError, ctx.Err()
	}
	kind := mqtt.PUBACK
	if m.QoS == 2 {
		kind = mqtt.PUBREC
	}
	a, err := c.ask(ctx, kind, func(b []byte, id uint16) []byte {
		p.PacketID = id
		return p.Append(b, c.version)
	})
	if err != nil {
		return mqtt.UnspecifiedError, fmt.Errorf("publish to %q: %w", clip(m.Topic), err)
	}
	if a.code.Failed() {
		return a.code, &CodeError{Operation: "publish to " + quote(m.Topic), Code: a.code, Reason: a.reason}
	}
	return a.code, nil
}

// unsupported looks for what the server has said in CONNACK that it does not take: it would close
// the connection (sections 3.2.2.3.4 to 3.2.2.3.6).
func (c *Client) unsupported(m *Message) mqtt.ReasonCode {
	switch p := &c.connack.Properties; {
	case p.Has(mqtt.PropMaximumQoS) && m.QoS > p.MaximumQoS:
		return mqtt.QoSNotSupported
	case p.Has(mqtt.PropRetainAvailable) && p.RetainAvailable == 0 && m.Retain:
		return mqtt.RetainNotSupported
	case p.Has(mqtt.PropMaximumPacketSize) && len(m.Topic)+len(m.Payload) > int(p.MaximumPacketSize):
		return mqtt.PacketTooLarge
	}
	return mqtt.Success
}

// Subscribe asks for topic filters and returns one reason code for each, in order. A refused filter
// is an error as well, a *CodeError for the first of them.
func (c *Client) Subscribe(ctx context.Context, subs ...mqtt.Subscription) ([]mqtt.ReasonCode, error) {
	if len(subs) == 0 {
		return nil, errors.New("subscribe: no topic filter")
	}
	a, err := c.ask(ctx, mqtt.SUBACK, func(b []byte, id uint16) []byte {
		return (&mqtt.Subscribe{PacketID: id, Subscriptions: subs}).Append(b, c.version)
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %q: %w", clip(subs[0].Filter), err)
	}
	if len(a.codes) != len(subs) {
		return a.codes, fmt.Errorf("subscribe: %d reason codes for %d topic filters", len(a.codes), len(subs))
	}
	for i, code := range a.codes {
		if code.Failed() {
			return a.codes, &CodeError{Operation: "subscribe to " + quote(subs[i].Filter), Code: code, Reason: a.reason}
		}
	}
	return a.codes, nil
}

// Unsubscribe gives topic filters up. MQTT 3.1.1 answers without codes.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) ([]mqtt.ReasonCode, error) {
	if len(filters) == 0 {
		return nil, errors.New("unsubscribe: no topic filter")
	}
	a, err := c.ask(ctx, mqtt.UNSUBACK, func(b []byte, id uint16) []byte {
		return (&mqtt.Unsubscribe{PacketID: id, Filters: filters}).Append(b, c.version)
	})
	if err != nil {
		return nil, fmt.Errorf("unsubscribe from %q: %w", clip(filters[0]), err)
	}
	for i, code := range a.codes {
		if code.Failed() && i < len(filters) {
			return a.codes, &CodeError{Operation: "unsubscribe from " + quote(filters[i]), Code: code, Reason: a.reason}
		}
	}
	return a.codes, nil
}

// Ping sends PINGREQ and waits for the answer. Servers take packets in order, so everything that
// was sent before has been judged by then, publishes with QoS 0 too.
func (c *Client) Ping(ctx context.Context) error {
	answer := make(chan struct{})
	c.mu.Lock()
	c.pings = append(c.pings, answer)
	c.mu.Unlock()
	if err := c.send("ping", mqtt.AppendPingreq); err != nil {
		return err
	}
	select {
	case <-answer:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("ping: %w", ctx.Err())
	}
}

// send writes a packet; if that fails, the reason why the connection ended is told instead.
func (c *Client) send(what string, packet func([]byte) []byte) error {
	if err := c.Err(); err != nil {
		return err
	}
	if err := c.write(packet); err != nil {
		// The server may have said why before it closed: let the reader come to it.
		timer := time.AfterFunc(time.Second, func() { c.conn.Close() })
		<-c.done
		timer.Stop()
		var gone *DisconnectError
		if end := c.Err(); errors.As(end, &gone) || errors.Is(end, ErrClosed) {
			return end
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ask sends a packet with an identifier of its own and waits for the answer of the kind.
func (c *Client) ask(ctx context.Context, kind mqtt.Type, packet func(b []byte, id uint16) []byte) (answer, error) {
	req := &request{kind: kind, answer: make(chan answer, 1)}
	id, err := c.register(req)
	if err != nil {
		return answer{}, err
	}
	if err := c.send("send", func(b []byte) []byte { return packet(b, id) }); err != nil {
		return answer{}, err
	}
	select {
	case a := <-req.answer:
		return a, nil
	case <-c.done:
		select { // the answer may have come just before
		case a := <-req.answer:
			return a, nil
		default:
			return answer{}, c.Err()
		}
	case <-ctx.Done():
		// The identifier stays taken: the answer may still come.
		return answer{}, ctx.Err()
	}
}

func (c *Client) register(req *request) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if len(c.pending) >= 65535 {
		return 0, errors.New("65,535 requests are unanswered")
	}
	for {
		c.lastID++
		if _, taken := c.pending[c.lastID]; c.lastID != 0 && !taken {
			c.pending[c.lastID] = req
			return c.lastID, nil
		}
	}
}
