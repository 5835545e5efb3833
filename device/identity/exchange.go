package identity

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-iot/berth/device/event"
	"github.com/berth-iot/berth/device/internal/jsondoc"
	"github.com/berth-iot/berth/device/link"
)

// Keys makes keys, in software or in a secure element.
type Keys interface {
	// NewKey returns a private key, or what stands for it, as PEM.
	NewKey() ([]byte, error)
	// SigningRequest returns a certificate signing request for it as PEM.
	SigningRequest(key []byte, commonName string) ([]byte, error)
}

// Template is the provisioning template that a new certificate is registered with (AWS IoT developer
// guide, "Provisioning devices that don't have device certificates using fleet provisioning").
type Template struct {
	Name       string
	Parameters map[string]string
	CommonName string // of the signing request
	CBOR       bool   // instead of JSON
	ServerKeys bool   // the service makes the key pair: no signing request
}

// Exchange gets a new certificate over a link and registers it. It runs on the link's event loop.
type Exchange struct {
	link     *link.Link
	loop     *event.Loop
	store    *Store
	keys     Keys
	template Template
	finished func(configuration []byte, err error)

	configuration []byte
	topics        []string
	waiting       int // subscriptions without an answer
	asked         string
	timer         *time.Timer
	failures      int
	over          bool
}

// Begin starts an exchange, or goes on with the one that the store has. finished is called once, on
// the link's loop: with the template's device configuration, a JSON object, when a new identity is on
// trial (nil if that was reached in an earlier run), or with the reason why there cannot be one.
// What may pass, such as a connection that ends, is tried again without end.
func Begin(l *link.Link, store *Store, keys Keys, t Template, finished func(configuration []byte, err error)) *Exchange {
	loop := l.Loop()
	x := &Exchange{link: l, loop: loop, store: store, keys: keys, template: t, finished: finished}
	format := "json"
	if t.CBOR {
		format = "cbor"
	}
	create := "$aws/certificates/create-from-csr/" + format
	if t.ServerKeys {
		create = "$aws/certificates/create/" + format
	}
	provision := "$aws/provisioning-templates/" + t.Name + "/provision/" + format
	for _, topic := range []string{create, provision} {
		for _, answer := range []string{"/accepted", "/rejected"} {
			x.topics = append(x.topics, topic+answer)
			l.Route(topic+answer, func(m link.Message) {
				loop.Post("provisioning", func() { x.answered(topic, answer == "/accepted", m.Payload) })
			})
		}
	}
	loop.Post("provisioning", x.subscribe)
	return x
}

// Stop gives the exchange up; finished is not called any more.
func (x *Exchange) Stop() { x.loop.Post("provisioning", x.end) }

func (x *Exchange) end() {
	if x.over {
		return
	}
	x.over = true
	if x.timer != nil {
		x.timer.Stop()
	}
	for _, topic := range x.topics {
		x.link.Unsubscribe(topic, nil)
	}
}

func (x *Exchange) fail(err error) {
	if !x.over {
		x.end()
		x.finished(nil, err)
	}
}

func (x *Exchange) subscribe() {
	x.waiting = len(x.topics)
	for _, topic := range x.topics {
		err := x.link.Subscribe(topic, 1, func(err error) {
			if err != nil {
				x.fail(fmt.Errorf("provision: %w", err))
				return
			}
			if x.waiting--; x.waiting == 0 && !x.over {
				x.next()
			}
		})
		if err != nil {
			x.fail(err)
			return
		}
	}
}

// save stores a step and goes on when it is in flash.
func (x *Exchange) save(p Progress, then func()) {
	err := x.store.Save(p, func(err error) {
		x.loop.Post("provisioning", func() {
			if err != nil {
				x.fail(fmt.Errorf("provision: %w", err))
			} else if !x.over {
				then()
			}
		})
	})
	if err != nil {
		x.fail(fmt.Errorf("provision: %w", err))
	}
}

// next takes the step that the store is at.
func (x *Exchange) next() {
	if x.over {
		return
	}
	p := x.store.Progress()
	switch p.Step {
	case Nothing:
		if !x.template.ServerKeys {
			key, err := x.keys.NewKey()
			if err != nil {
				x.fail(fmt.Errorf("provision: %w", err))
				return
			}
			p.Key = key
		}
		p.Step = Request
		x.save(p, x.next)
	case Request:
		body := jsondoc.Object()
		topic := x.topics[0][:len(x.topics[0])-len("/accepted")]
		if !x.template.ServerKeys {
			csr, err := x.keys.SigningRequest(p.Key, x.template.CommonName)
			if err != nil {
				x.fail(fmt.Errorf("provision: %w", err))
				return
			}
			body.Set("certificateSigningRequest", jsondoc.String(string(csr)))
		}
		x.ask(topic, body)
	case Register:
		body, parameters := jsondoc.Object(), jsondoc.Object()
		for k, v := range x.template.Parameters {
			parameters.Set(k, jsondoc.String(v))
		}
		body.Set("certificateOwnershipToken", jsondoc.String(p.Token))
		body.Set("parameters", parameters)
		x.ask(x.topics[2][:len(x.topics[2])-len("/accepted")], body)
	case Trial:
		x.end()
		x.finished(x.configuration, nil)
	}
}

// ask publishes a request and takes the step again if no answer comes.
func (x *Exchange) ask(topic string, body jsondoc.Value) {
	payload := body.Append(nil)
	if x.template.CBOR {
		payload = appendCBOR(nil, body)
	}
	x.asked = topic
	x.later(20 * time.Second)
	// With QoS 0 nothing of it is left to be sent once more after an answer.
	_ = x.link.Publish(link.Publication{Topic: topic, Payload: payload, Urgent: true}, func(err error) {
		if err != nil && x.asked == topic && !x.over {
			x.failures++
			x.later(min(time.Second<<min(x.failures, 6), time.Minute))
		}
	})
}

func (x *Exchange) later(wait time.Duration) {
	if x.timer != nil {
		x.timer.Stop()
	}
	x.timer = time.AfterFunc(wait, func() { x.loop.Post("provisioning", x.next) })
}

func (x *Exchange) answered(topic string, accepted bool, payload []byte) {
	if x.over || x.asked != topic {
		return
	}
	parse := jsondoc.Parse
	if x.template.CBOR {
		parse = parseCBOR
	}
	v, err := parse(payload)
	if err != nil {
		x.fail(fmt.Errorf("provision: answer on %s: %w", topic, err))
		return
	}
	x.asked = ""
	x.timer.Stop()
	if !accepted {
		x.rejected(v)
		return
	}
	p := x.store.Progress()
	switch p.Step {
	case Request:
		p.Step, p.Certificate, p.CertificateID, p.Token = Register, []byte(v.Get("certificatePem").Text()), v.Get("certificateId").Text(), v.Get("certificateOwnershipToken").Text()
		if x.template.ServerKeys {
			p.Key = []byte(v.Get("privateKey").Text())
		}
		if len(p.Certificate) == 0 || len(p.Key) == 0 || p.Token == "" {
			x.fail(errors.New("provision: the answer has no certificate, key or token"))
			return
		}
		x.save(p, x.next)
	case Register:
		p.Step, p.Thing, p.Token = Trial, v.Get("thingName").Text(), ""
		x.configuration = v.Get("deviceConfiguration").Append(nil)
		if p.Thing == "" {
			p.Thing = x.template.CommonName
		}
		if p.Thing == "" {
			x.fail(errors.New("provision: the template makes no thing"))
			return
		}
		x.save(p, x.next)
	}
}

// rejected decides whether a refusal may pass.
func (x *Exchange) rejected(v jsondoc.Value) {
	status, _ := v.Get("statusCode").Int()
	code := v.Get("errorCode").Text()
	err := fmt.Errorf("provision: refused: %s %s: %s", strconv.FormatInt(status, 10), code, v.Get("errorMessage").Text())
	p := x.store.Progress()
	switch {
	case p.Step == Register && code == "InvalidCertificateOwnershipToken" && x.failures < 5:
		// The token has expired, or was used before the power went: a new certificate is needed.
		x.failures++
		x.save(Progress{}, x.next)
	case status == 429 || status >= 500:
		x.failures++
		x.later(min(time.Second<<min(x.failures, 6), time.Minute))
	default:
		x.save(Progress{}, func() { x.fail(err) })
	}
}
