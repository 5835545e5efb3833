package action

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/mqtt"
)

// MaxDepth is how many rules may republish a message one after the other, so that a rule that matches
// what it publishes comes to an end. AWS IoT sets no such bound.
const MaxDepth = 16

// maxProperty is the longest header of a republished message in bytes, and maxUserProperties their
// number (AWS IoT API reference, MqttHeaders).
const (
	maxProperty       = 1024
	maxUserProperties = 100
)

// Republish publishes to another topic.
type Republish struct {
	RoleARN string   `json:"roleArn,omitempty"`
	Topic   string   `json:"topic,omitempty"`
	QoS     *QoS     `json:"qos,omitempty"`
	Headers *Headers `json:"headers,omitempty"`
}

// QoS is 0 or 1; as text, it may hold a substitution template.
type QoS struct{ Text string }

// UnmarshalJSON implements json.Unmarshaler.
func (q *QoS) UnmarshalJSON(b []byte) error {
	var n json.Number
	if err := json.Unmarshal(b, &n); err == nil {
		q.Text = n.String()
		return nil
	}
	return json.Unmarshal(b, &q.Text)
}

// MarshalJSON implements json.Marshaler.
func (q QoS) MarshalJSON() ([]byte, error) {
	if q.Text == "0" || q.Text == "1" {
		return []byte(q.Text), nil
	}
	return json.Marshal(q.Text)
}

// Headers are the MQTT 5 properties of a republished message.
type Headers struct {
	PayloadFormatIndicator string  `json:"payloadFormatIndicator,omitempty"`
	ContentType            string  `json:"contentType,omitempty"`
	ResponseTopic          string  `json:"responseTopic,omitempty"`
	CorrelationData        string  `json:"correlationData,omitempty"` // base64
	MessageExpiry          string  `json:"messageExpiry,omitempty"`   // seconds
	UserProperties         []Field `json:"userProperties,omitempty"`
}

// Field is a name with a value.
type Field struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Validate implements Action.
func (r *Republish) Validate() error {
	if err := required("republish", "roleArn", r.RoleARN, "topic", r.Topic); err != nil {
		return err
	}
	if r.QoS != nil && r.QoS.Text != "0" && r.QoS.Text != "1" && !strings.Contains(r.QoS.Text, "${") {
		return refuse("republish: qos is %s, not 0 or 1", r.QoS.Text)
	}
	if strings.HasPrefix(r.Topic, "$") && !strings.HasPrefix(r.Topic, "$$") && !strings.HasPrefix(r.Topic, "${") {
		return refuse("republish: topic %q begins with $; write $$ for a reserved topic", r.Topic)
	}
	if h := r.Headers; h != nil {
		if len(h.UserProperties) > maxUserProperties {
			return refuse("republish: more than %d userProperties", maxUserProperties)
		}
		for _, s := range []string{h.PayloadFormatIndicator, h.ContentType, h.ResponseTopic, h.CorrelationData, h.MessageExpiry} {
			if len(s) > maxProperty {
				return refuse("republish: a header is longer than %d bytes", maxProperty)
			}
		}
	}
	return nil
}

// Destination implements Action.
func (r *Republish) Destination() string { return r.Topic }

// Do implements Action.
func (r *Republish) Do(ctx context.Context, s *Services, m *Message) error {
	p, err := r.Publication(s, m)
	if err != nil {
		return err
	}
	return s.Publish(ctx, p)
}

// Publication returns the message to publish.
func (r *Republish) Publication(s *Services, m *Message) (*router.Publication, error) {
	if m.Depth >= MaxDepth {
		return nil, refuse("republish: the message went through %d rules; is there a loop?", m.Depth)
	}
	name, reserved := r.Topic, false
	if strings.HasPrefix(name, "$$") {
		name, reserved = name[1:], true
	}
	if !reserved && strings.HasPrefix(name, "$") {
		return nil, refuse("republish: topic %q is reserved; write $$ before it", name)
	}
	if err := s.Topics.CheckName(name); err != nil {
		return nil, refuse("republish: %w", err)
	}
	p := &router.Publication{Topic: name, Payload: m.Payload, Depth: m.Depth + 1, Origin: &router.Origin{Protocol: "service"}}
	if r.QoS != nil {
		switch r.QoS.Text {
		case "0", "":
		case "1":
			p.QoS = 1
		default:
			return nil, refuse("republish: qos is %q, not 0 or 1", r.QoS.Text)
		}
	}
	if r.Headers == nil {
		return p, nil
	}
	var err error
	p.Properties, p.Expires, err = r.Headers.properties(time.Now())
	return p, err
}

func (h *Headers) properties(now time.Time) (*mqtt.Properties, time.Time, error) {
	var expires time.Time
	p := new(mqtt.Properties)
	switch h.PayloadFormatIndicator {
	case "":
	case "UNSPECIFIED_BYTES", "0":
		p.PayloadFormat = 0
		p.Mark(mqtt.PropPayloadFormat)
	case "UTF8_DATA", "1":
		p.PayloadFormat = 1
		p.Mark(mqtt.PropPayloadFormat)
	default:
		return nil, expires, refuse("republish: payloadFormatIndicator is %q, not UNSPECIFIED_BYTES or UTF8_DATA", h.PayloadFormatIndicator)
	}
	if p.ContentType = h.ContentType; p.ContentType != "" {
		p.Mark(mqtt.PropContentType)
	}
	if p.ResponseTopic = h.ResponseTopic; p.ResponseTopic != "" {
		if strings.ContainsAny(p.ResponseTopic, "+#\x00") {
			return nil, expires, refuse("republish: responseTopic %q is not a topic name", p.ResponseTopic)
		}
		p.Mark(mqtt.PropResponseTopic)
	}
	if h.CorrelationData != "" {
		b, err := base64.StdEncoding.DecodeString(h.CorrelationData)
		if err != nil {
			return nil, expires, refuse("republish: correlationData is not base64")
		}
		p.CorrelationData = b
		p.Mark(mqtt.PropCorrelationData)
	}
	for _, u := range h.UserProperties {
		p.User = append(p.User, mqtt.UserProperty{Key: u.Key, Value: u.Value})
	}
	if len(p.User) > 0 {
		p.Mark(mqtt.PropUserProperty)
	}
	if err := p.Check(); err != nil { // templates put in what devices send
		return nil, expires, refuse("republish: %w", err)
	}
	if h.MessageExpiry != "" {
		n, err := strconv.ParseUint(h.MessageExpiry, 10, 32)
		if err != nil {
			return nil, expires, refuse("republish: messageExpiry is %q, not a number of seconds", h.MessageExpiry)
		}
		expires = now.Add(time.Duration(n) * time.Second)
	}
	return p, expires, nil
}
