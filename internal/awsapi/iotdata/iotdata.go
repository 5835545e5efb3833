// Package iotdata is the data plane `iot-data`: publishing over HTTPS, retained messages and shadows,
// as the AWS IoT data plane API reference describes them.
package iotdata

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"time"

	"github.com/berth-iot/berth/internal/awsapi"
	"github.com/berth-iot/berth/internal/router"
	"github.com/berth-iot/berth/internal/session"
	"github.com/berth-iot/berth/internal/shadow"
	"github.com/berth-iot/berth/mqtt"
	"github.com/berth-iot/berth/policy"
	"github.com/berth-iot/berth/topic"
)

// Access compiles what a client certificate may do over HTTP.
type Access interface {
	HTTPAccess(ctx context.Context, certificateID string, source netip.Addr) (*policy.Set, error)
}

// Config is what the data plane works on.
type Config struct {
	Router   *router.Router
	Sessions *session.Sessions
	Shadows  *shadow.Service
	Limits   session.Limits
	Access   Access
}

type plane struct{ Config }

// Operations returns the handlers of the data plane.
func Operations(cfg Config) awsapi.Set {
	p := &plane{cfg}
	return awsapi.Set{Service: awsapi.IoTData, Handlers: map[string]awsapi.Handler{
		"Publish":              p.publish,
		"GetRetainedMessage":   p.getRetainedMessage,
		"ListRetainedMessages": p.listRetainedMessages,
		"DeleteConnection":     p.deleteConnection,

		"GetThingShadow":           p.getThingShadow,
		"UpdateThingShadow":        p.updateThingShadow,
		"DeleteThingShadow":        p.deleteThingShadow,
		"ListNamedShadowsForThing": p.listNamedShadowsForThing,
	}}
}

// source is the address of the caller.
func source(req *awsapi.Request) netip.Addr {
	a, _ := netip.ParseAddrPort(req.HTTP.RemoteAddr)
	return a.Addr().Unmap()
}

// allow asks the policies of a client certificate, or those that the caller brought; access keys
// have been judged by their role.
func (p *plane) allow(ctx context.Context, req *awsapi.Request, action policy.Action, kind policy.Kind, name string) error {
	if req.Caller.AccessKeyID != "" {
		return nil
	}
	set := req.Caller.Access
	if set == nil {
		var err error
		if set, err = p.Access.HTTPAccess(ctx, req.Caller.CertificateID, source(req)); err != nil {
			return &awsapi.Error{Type: "ForbiddenException", Status: 403, Message: err.Error()}
		}
	}
	if set.Allows(action, kind, name) {
		return nil
	}
	reason := p.Sessions.Denied(session.Request{Principal: session.Principal{ID: req.Caller.Name()}, SourceIP: source(req)}, set, action, kind, name)
	return &awsapi.Error{Type: "ForbiddenException", Status: 403, Message: reason}
}

func (p *plane) publish(ctx context.Context, req *awsapi.Request) (any, error) {
	name := req.Path("topic")
	if err := p.Limits.Topics.CheckName(name); err != nil {
		return nil, awsapi.Invalid("%v", err)
	}
	if p.Limits.Reserved && topic.Reserved(name) && topic.ReservedUse(name)&topic.Publish == 0 {
		return nil, awsapi.Invalid("topic %q is reserved and clients may not publish to it", name)
	}
	if p.Limits.MaxPayload > 0 && len(req.Body) > p.Limits.MaxPayload {
		return nil, &awsapi.Error{Type: "RequestEntityTooLargeException", Status: 413, Message: "the payload exceeds the maximum size allowed"}
	}
	pub, err := p.publication(req)
	if err != nil {
		return nil, err
	}
	if err := p.allow(ctx, req, policy.Publish, policy.KindTopic, name); err != nil {
		return nil, err
	}
	if pub.Retain {
		if p.Limits.Reserved && topic.Reserved(name) {
			return nil, awsapi.Invalid("retained message for the reserved topic %q", name)
		}
		if err := p.allow(ctx, req, policy.RetainPublish, policy.KindTopic, name); err != nil {
			return nil, err
		}
		if !p.Router.MayRetain(name, len(req.Body)) {
			return nil, &awsapi.Error{Type: "ThrottlingException", Status: 429, Message: "there is no room for another retained message"}
		}
	}
	pub.Topic, pub.Payload = name, req.Body
	pub.Origin = &router.Origin{Principal: req.Caller.Name(), Protocol: "http", SourceIP: source(req).String()}
	done := make(chan error, 1)
	p.Router.Publish(pub, func(err error) { done <- err })
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return map[string]string{"message": "OK", "traceId": req.ID}, nil
}

// publication reads QoS, retain and the MQTT 5 properties out of query and headers.
func (p *plane) publication(req *awsapi.Request) (*router.Publication, error) {
	pub := &router.Publication{}
	switch q := req.Query("qos"); q {
	case "", "0":
	case "1":
		pub.QoS = 1
	default:
		return nil, awsapi.Invalid("qos is %q, not 0 or 1", q)
	}
	var err error
	if pub.Retain, err = req.Bool("retain", false); err != nil {
		return nil, err
	}
	var props mqtt.Properties
	if s := req.Query("contentType"); s != "" {
		props.ContentType = s
		props.Mark(mqtt.PropContentType)
	}
	if s := req.Query("responseTopic"); s != "" {
		if topic.Wild(s) {
			return nil, awsapi.Invalid("responseTopic %q has wildcards", s)
		}
		props.ResponseTopic = s
		props.Mark(mqtt.PropResponseTopic)
	}
	if s := req.Query("messageExpiry"); s != "" {
		seconds, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return nil, awsapi.Invalid("messageExpiry is %q, not a number of seconds", s)
		}
		d := time.Duration(seconds) * time.Second
		if limit := p.Limits.MaxMessageExpiry; limit > 0 {
			d = min(max(d, time.Second), limit)
		}
		pub.Expires = time.Now().Add(d)
	}
	switch s := req.Header("x-amz-mqtt5-payload-format-indicator"); s {
	case "":
	case "UTF8_DATA", "UNSPECIFIED_BYTES":
		if s == "UTF8_DATA" {
			props.PayloadFormat = 1
		}
		props.Mark(mqtt.PropPayloadFormat)
	default:
		return nil, awsapi.Invalid("payload format indicator %q is not UTF8_DATA or UNSPECIFIED_BYTES", s)
	}
	if s := req.Header("x-amz-mqtt5-correlation-data"); s != "" {
		if props.CorrelationData, err = base64.StdEncoding.DecodeString(s); err != nil {
			return nil, awsapi.Invalid("correlation data is not base64")
		}
		props.Mark(mqtt.PropCorrelationData)
	}
	if s := req.Header("x-amz-mqtt5-user-properties"); s != "" {
		if props.User, err = userProperties(s); err != nil {
			return nil, awsapi.Invalid("user properties: %v", err)
		}
		if len(props.User) > 0 {
			props.Mark(mqtt.PropUserProperty)
		}
	}
	if !props.Empty() {
		if err := props.Check(); err != nil {
			return nil, awsapi.Invalid("%v", err)
		}
		pub.Properties = &props
	}
	return pub, nil
}

// userProperties reads a base64 JSON array of objects with one name and value each.
func userProperties(encoded string) ([]mqtt.UserProperty, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("not base64")
	}
	var list []map[string]string
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("not a JSON array of objects with string values")
	}
	var user []mqtt.UserProperty
	for _, pair := range list {
		for k, v := range pair {
			user = append(user, mqtt.UserProperty{Key: k, Value: v})
		}
	}
	return user, nil
}

func (p *plane) getRetainedMessage(ctx context.Context, req *awsapi.Request) (any, error) {
	name := req.Path("topic")
	if err := p.allow(ctx, req, policy.GetRetainedMessage, policy.KindTopic, name); err != nil {
		return nil, err
	}
	m := p.Router.Retained(name)
	if m == nil {
		return nil, &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: "no retained message for topic " + strconv.Quote(name)}
	}
	out := struct {
		Topic            string `json:"topic"`
		Payload          []byte `json:"payload"`
		QoS              byte   `json:"qos"`
		LastModifiedTime int64  `json:"lastModifiedTime"`
		UserProperties   []byte `json:"userProperties,omitempty"`
	}{m.Topic, m.Payload, m.QoS, m.Modified.UnixMilli(), nil}
	if m.Properties != nil && len(m.Properties.User) > 0 {
		list := make([]map[string]string, len(m.Properties.User))
		for i, u := range m.Properties.User {
			list[i] = map[string]string{u.Key: u.Value}
		}
		var err error
		if out.UserProperties, err = json.Marshal(list); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *plane) listRetainedMessages(ctx context.Context, req *awsapi.Request) (any, error) {
	if err := p.allow(ctx, req, policy.ListRetainedMessages, policy.KindAny, "*"); err != nil {
		return nil, err
	}
	n, err := req.Int("maxResults")
	if err != nil {
		return nil, err
	}
	limit := 200
	if n != nil {
		if *n < 1 || *n > 200 {
			return nil, awsapi.Invalid("maxResults is %d, not from 1 to 200", *n)
		}
		limit = int(*n)
	}
	after, err := base64.RawURLEncoding.DecodeString(req.Query("nextToken"))
	if err != nil {
		return nil, awsapi.Invalid("nextToken is not one that this operation gave")
	}
	messages, err := p.Router.RetainedAfter(ctx, string(after), limit)
	if err != nil {
		return nil, err
	}
	type row struct {
		Topic            string `json:"topic"`
		PayloadSize      int    `json:"payloadSize"`
		QoS              byte   `json:"qos"`
		LastModifiedTime int64  `json:"lastModifiedTime"`
	}
	out := struct {
		RetainedTopics []row  `json:"retainedTopics"`
		NextToken      string `json:"nextToken,omitempty"`
	}{RetainedTopics: []row{}}
	for _, m := range messages {
		out.RetainedTopics = append(out.RetainedTopics, row{m.Topic, len(m.Payload), m.QoS, m.Modified.UnixMilli()})
	}
	if len(messages) == limit {
		out.NextToken = base64.RawURLEncoding.EncodeToString([]byte(messages[limit-1].Topic))
	}
	return out, nil
}

func (p *plane) deleteConnection(ctx context.Context, req *awsapi.Request) (any, error) {
	id := req.Path("clientId")
	if err := p.allow(ctx, req, policy.DeleteConnection, policy.KindClient, id); err != nil {
		return nil, err
	}
	clean, err := req.Bool("cleanSession", false)
	if err != nil {
		return nil, err
	}
	preventWill, err := req.Bool("preventWillMessage", false)
	if err != nil {
		return nil, err
	}
	if !p.Sessions.DeleteConnection(id, clean, preventWill) {
		return nil, &awsapi.Error{Type: "ResourceNotFoundException", Status: 404, Message: "client " + strconv.Quote(id) + " is not connected and has no session"}
	}
	return nil, nil
}
