package iotsql

import (
	"encoding/base64"
	"strings"

	"github.com/berth-iot/berth/topic"
)

func accountID(f *frame) value { return text(f.ctx.AccountID) }
func principal(f *frame) value { return orUndefined(f.ctx.Principal) }
func sourceIP(f *frame) value  { return orUndefined(f.ctx.SourceIP) }
func traceID(f *frame) value   { return orUndefined(f.ctx.TraceID) }

func sqlVersion(f *frame) value { return text(string(f.q.version)) }

func timestamp(f *frame) value { return integer(f.ctx.Time.UnixMilli()) }

func orUndefined(s string) value {
	if s == "" {
		return undefined
	}
	return text(s)
}

// clientID is n/a for messages that did not come over MQTT.
func clientID(f *frame) value {
	if f.ctx.ClientID == "" {
		return text("n/a")
	}
	return text(f.ctx.ClientID)
}

func newUUID(f *frame) value {
	if f.ctx.UUID == nil {
		f.fail(&FunctionError{"newuuid", ErrUnavailable})
		return undefined
	}
	return text(f.ctx.UUID())
}

func topicFunction(args []arg) (fn, string) {
	if len(args) == 0 {
		return func(f *frame) value { return text(topic.BasicIngestRest(f.ctx.Topic)) }, ""
	}
	in := args[0].do
	return func(f *frame) value {
		n, ok := in(f).toInt(down)
		if !ok {
			return undefined
		}
		level := n.int64()
		if level < 1 {
			return undefined
		}
		rest := topic.BasicIngestRest(f.ctx.Topic)
		for ; level > 1; level-- {
			i := strings.IndexByte(rest, '/')
			if i < 0 {
				return undefined
			}
			rest = rest[i+1:]
		}
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			rest = rest[:i]
		}
		return text(rest)
	}, ""
}

// mqttProperty reads a property of an MQTT 5 message; correlation data is in base64. One that is
// not set is Undefined.
func mqttProperty(f *frame, v value) value {
	p := f.ctx.Properties
	if p == nil || v.kind != String {
		return undefined
	}
	switch v.str {
	case "format_indicator":
		if p.UTF8 {
			return text("UTF8_DATA")
		}
		return text("UNSPECIFIED_BYTES")
	case "content_type":
		return orUndefined(p.ContentType)
	case "response_topic":
		return orUndefined(p.ResponseTopic)
	case "correlation_data":
		return orUndefined(base64.StdEncoding.EncodeToString(p.CorrelationData))
	}
	return undefined
}

// userProperties returns the values of a key as an array, or with no argument all user properties,
// each as an object of one member.
func userProperties(f *frame, args []value) value {
	p := f.ctx.Properties
	if p == nil {
		return undefined
	}
	l := []value{}
	for _, u := range p.User {
		switch {
		case len(args) == 0:
			l = append(l, object([]member{{u.Key, text(u.Value)}}))
		case args[0].kind == String && args[0].str == u.Key:
			l = append(l, text(u.Value))
		}
	}
	if len(l) == 0 {
		return undefined
	}
	return list(l)
}
