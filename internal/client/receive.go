package client

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/berth-iot/berth/mqtt"
)

// handle acts on one packet from the server.
func (c *Client) handle(h mqtt.Header, body []byte) error {
	switch t := h.Type(); t {
	case mqtt.PUBLISH:
		return c.message(h, body)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP:
		return c.acknowledged(t, body)
	case mqtt.PUBREL:
		var a mqtt.Ack
		if err := a.Decode(t, body, c.version); err != nil {
			return err
		}
		delete(c.received, a.PacketID)
		return c.write(func(b []byte) []byte {
			return mqtt.AppendAck(b, mqtt.PUBCOMP, a.PacketID, mqtt.Success, c.version)
		})
	case mqtt.SUBACK, mqtt.UNSUBACK:
		var s mqtt.Suback
		if err := s.Decode(t, body, c.version); err != nil {
			return err
		}
		return c.resolve(t, s.PacketID, answer{codes: s.Codes, reason: s.Properties.ReasonString})
	case mqtt.PINGRESP:
		c.mu.Lock()
		if len(c.pings) > 0 {
			close(c.pings[0])
			c.pings = c.pings[1:]
		}
		c.mu.Unlock()
		return nil
	case mqtt.DISCONNECT:
		var d mqtt.Disconnect
		if err := d.Decode(t, body, c.version); err != nil {
			return err
		}
		return &DisconnectError{Code: d.Code, Reason: d.Properties.ReasonString}
	default:
		return &mqtt.Error{Code: mqtt.ProtocolError, What: fmt.Sprintf("protocol error: %s from a server", t)}
	}
}

// message hands a PUBLISH on and acknowledges it. The body is the read buffer's: the message gets
// a copy.
func (c *Client) message(h mqtt.Header, body []byte) error {
	var p mqtt.Publish
	if err := p.Decode(h, body, c.version); err != nil {
		return err
	}
	if again := p.QoS == 2 && c.received[p.PacketID]; !again {
		if p.QoS == 2 {
			c.received[p.PacketID] = true
		}
		c.onMessage(Message{
			Topic: string(p.Topic), Payload: bytes.Clone(p.Payload), QoS: p.QoS,
			Retain: p.Retain, Dup: p.Dup, Properties: p.Properties,
		})
	}
	var t mqtt.Type
	switch p.QoS {
	case 0:
		return nil
	case 1:
		t = mqtt.PUBACK
	case 2:
		t = mqtt.PUBREC
	}
	return c.write(func(b []byte) []byte { return mqtt.AppendAck(b, t, p.PacketID, mqtt.Success, c.version) })
}

// acknowledged moves a publish of ours on: PUBACK ends QoS 1, PUBREC asks for PUBREL, PUBCOMP ends
// QoS 2 (section 4.3).
func (c *Client) acknowledged(t mqtt.Type, body []byte) error {
	var a mqtt.Ack
	if err := a.Decode(t, body, c.version); err != nil {
		return err
	}
	if t != mqtt.PUBREC || a.Code.Failed() {
		return c.resolve(t, a.PacketID, answer{code: a.Code, reason: a.Properties.ReasonString})
	}
	c.mu.Lock()
	if req := c.pending[a.PacketID]; req != nil && req.kind == mqtt.PUBREC {
		req.kind = mqtt.PUBCOMP
	}
	c.mu.Unlock()
	return c.write(func(b []byte) []byte {
		return mqtt.AppendAck(b, mqtt.PUBREL, a.PacketID, mqtt.Success, c.version)
	})
}

// resolve gives the answer to whoever asked. One that nobody asked for is let pass: it may belong
// to an earlier connection of the session.
func (c *Client) resolve(t mqtt.Type, id uint16, a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	req := c.pending[id]
	if req == nil {
		return nil
	}
	if req.kind != t {
		return errors.Join(errWrongAnswer, fmt.Errorf("packet identifier %d: %s instead of %s", id, t, req.kind))
	}
	delete(c.pending, id)
	req.answer <- a
	return nil
}

var errWrongAnswer = &mqtt.Error{Code: mqtt.ProtocolError, What: "protocol error: answer of the wrong type"}
