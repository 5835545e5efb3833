package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrUnknownCertificate says that the server has no such certificate.
var ErrUnknownCertificate = errors.New("the server does not know the certificate")

// checkCloud asks the server what it knows. It reports whether the certificate may connect at all.
func (d *Doctor) checkCloud(ctx context.Context) bool {
	if d.Cloud == nil || d.leaf == nil {
		if d.Cloud == nil {
			d.say("registry", Skipped, "run this where the berth is, or with --aws, to have certificate, thing and policies checked", "no access to the server's registry")
		}
		return true
	}
	state, err := d.Cloud.Certificate(ctx, d.id)
	switch {
	case errors.Is(err, ErrUnknownCertificate):
		d.say("registration", Problem, d.Cloud.Register(d.Cert), fmt.Sprintf("the server does not know certificate %s…", d.id[:12]))
		return false
	case err != nil:
		d.say("registration", Skipped, "", fmt.Sprintf("the registry does not answer: %v", err))
		return true
	case state != "ACTIVE":
		d.say("registration", Problem, d.Cloud.Activate(d.id), fmt.Sprintf("certificate %s… is %s, not ACTIVE: the server closes its connections", d.id[:12], state))
		return false
	}
	d.say("registration", OK, "", fmt.Sprintf("certificate %s… is ACTIVE", d.id[:12]))
	d.checkThing(ctx)
	d.checkPolicies(ctx)
	d.checkHistory(ctx)
	return true
}

func (d *Doctor) checkThing(ctx context.Context) {
	things, err := d.Cloud.Things(ctx, d.id)
	switch {
	case err != nil:
		d.say("thing", Skipped, "", fmt.Sprintf("the registry does not answer: %v", err))
	case len(things) == 0:
		name := d.Thing
		if name == "" {
			name = d.ClientID
		}
		d.say("thing", Warning, d.Cloud.AttachThing(d.id, name), "no thing has this certificate: policies with ${iot:Connection.Thing.ThingName} allow nothing")
	case d.Thing != "" && !slices.Contains(things, d.Thing):
		d.say("thing", Problem, d.Cloud.AttachThing(d.id, d.Thing), fmt.Sprintf("the certificate is attached to %s, not to %s", strings.Join(things, ", "), d.Thing))
	case !slices.Contains(things, d.ClientID):
		d.say("thing", Warning, "connect with the thing's name as client identifier: only then do policy variables of the thing hold", fmt.Sprintf("the certificate is attached to %s, the client identifier is %s", strings.Join(things, ", "), d.ClientID))
	default:
		d.say("thing", OK, "", "the certificate is attached to "+strings.Join(things, ", "))
	}
}

func (d *Doctor) checkPolicies(ctx context.Context) {
	names, err := d.Cloud.Policies(ctx, d.id)
	if err == nil && len(names) == 0 {
		d.say("policy", Problem, d.Cloud.AttachPolicy(d.id), "no policy is attached to the certificate: nothing is allowed, connecting neither")
		return
	}
	d.may(ctx, "Connect", d.ClientID)
	for _, topic := range d.Publish {
		d.may(ctx, "Publish", topic)
	}
	for _, filter := range d.Subscribe {
		d.may(ctx, "Subscribe", filter)
	}
}

func (d *Doctor) may(ctx context.Context, action, resource string) {
	allowed, why, nearly, err := d.Cloud.May(ctx, d.id, d.ClientID, action, resource)
	verb := map[string]string{"Connect": "connect as", "Publish": "publish to", "Subscribe": "subscribe to"}[action]
	switch {
	case err != nil:
		d.say("policy", Skipped, "", fmt.Sprintf("whether it may %s %s cannot be asked: %v", verb, resource, err))
	case allowed:
		d.say("policy", OK, "", fmt.Sprintf("may %s %s: %s", verb, resource, why))
	default:
		kind := map[string]string{"Connect": "client", "Publish": "topic", "Subscribe": "topicfilter"}[action]
		fix := fmt.Sprintf("allow iot:%s on arn:aws:iot:REGION:ACCOUNT:%s/%s in a policy of the certificate", action, kind, resource)
		if len(nearly) > 0 {
			fix += "; " + strings.Join(nearly, "; ")
		}
		d.say("policy", Problem, fix, fmt.Sprintf("may not %s %s: %s", verb, resource, why))
	}
}

// What a history of connections is judged by.
const (
	recent = 15 * time.Minute
	fights = 3 // take-overs that are no accident any more
)

// checkHistory looks for devices with the same client identifier and for connections that die silently.
func (d *Doctor) checkHistory(ctx context.Context) {
	events, err := d.Cloud.History(ctx, d.ClientID)
	if err != nil || len(events) == 0 {
		return
	}
	var stolen, silent int
	sources := make(map[string]bool)
	for _, e := range events {
		if time.Since(e.Time) > recent {
			break
		}
		switch e.Reason {
		case "DUPLICATE_CLIENTID", "DUPLICATE_CLIENT_ID":
			stolen++
		case "MQTT_KEEP_ALIVE_TIMEOUT":
			silent++
		}
		if e.Kind == "connected" {
			sources[e.SourceIP] = true
		}
	}
	from := strings.Join(slices.Sorted(maps.Keys(sources)), " and ")
	if events[0].Kind == "connected" {
		d.taken = true
	}
	switch {
	case stolen >= fights:
		d.say("client identifier", Problem, "give every device a client identifier of its own, its thing name for example, and see that one device does not connect twice", fmt.Sprintf("two devices connect as %s and throw each other out: %d times in the last %d minutes, from %s", d.ClientID, stolen, int(recent.Minutes()), from))
	case d.taken:
		d.say("client identifier", Warning, "if that is this device, all is well; another one with this identifier would throw it out", fmt.Sprintf("%s is connected since %s, from %s", d.ClientID, stamp(events[0].Time), events[0].SourceIP))
	default:
		d.say("client identifier", OK, "", d.ClientID+" is free")
	}
	if silent >= fights {
		d.say("connection", Warning, "lower the keep-alive below the time after which the network forgets silent connections, 60 s for example; check power saving of Wi-Fi", fmt.Sprintf("%s fell silent %d times in the last %d minutes without saying goodbye", d.ClientID, silent, int(recent.Minutes())))
	}
}
