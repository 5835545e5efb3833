package jobs

import (
	"sync"
	"time"

	"github.com/berth-iot/berth/internal/router"
)

// message is one publication that a commit has earned.
type message struct {
	topic string
	body  body
	// document names the job whose document belongs into the body, "" for none.
	document string
	// asker is who asked; nil for a message to all subscribers.
	asker  router.Subscriber
	origin *router.Origin
	qos    byte
}

// body makes a payload; document is that of message.document, resolved, or "".
type body interface{ payload(document string) []byte }

// maxDocuments is the number of job documents kept at hand.
const maxDocuments = 256

// outbox publishes messages in the order in which they were added, on one goroutine, so that commits
// do not wait for subscribers.
type outbox struct {
	service *Service

	mu      sync.Mutex
	ready   sync.Cond
	queue   []message
	closed  bool
	stopped chan struct{}

	documents map[string]document // of the goroutine
}

type document struct {
	text    string
	expires time.Duration
}

func newOutbox(s *Service) *outbox {
	o := &outbox{service: s, stopped: make(chan struct{}), documents: make(map[string]document)}
	o.ready.L = &o.mu
	return o
}

func (o *outbox) add(lists ...[]message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, list := range lists {
		o.queue = append(o.queue, list...)
	}
	o.ready.Broadcast()
}

// drained waits until few messages wait.
func (o *outbox) drained() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 16*batch && !o.closed {
		o.ready.Wait()
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.ready.Broadcast()
	o.mu.Unlock()
	<-o.stopped
}

func (o *outbox) run() {
	defer close(o.stopped)
	publisher := o.service.cfg.Router.NewPublisher()
	var list []message
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.ready.Wait()
		}
		if len(o.queue) == 0 {
			o.mu.Unlock()
			return
		}
		list, o.queue = o.queue, list[:0]
		o.ready.Broadcast()
		o.mu.Unlock()
		for i, m := range list {
			list[i] = message{}
			o.publish(publisher, m)
			if i%64 == 63 {
				publisher.Flush()
			}
		}
		publisher.Flush()
		clear(o.documents) // a job of the same name may be another one the next time
	}
}

func (o *outbox) publish(publisher *router.Publisher, m message) {
	text := ""
	if m.document != "" {
		text = o.document(m.document)
	}
	p := &router.Publication{Topic: m.topic, Payload: m.body.payload(text), QoS: 1, Origin: o.service.origin}
	if m.asker == nil {
		publisher.Publish(p)
		return
	}
	p.QoS, p.To, p.Connection = min(m.qos, 1), m.asker, m.origin
	publisher.Direct(p)
}

// document returns the document of a job as it is handed out now.
func (o *outbox) document(id string) string {
	d, ok := o.documents[id]
	if !ok {
		var err error
		d.text, d.expires, err = o.service.raw(id)
		if err != nil {
			o.service.cfg.Log.Debug("read job document", "job_id", id, "error", err)
		}
		if len(o.documents) >= maxDocuments {
			clear(o.documents)
		}
		o.documents[id] = d
	}
	return resolve(d.text, d.expires, o.service.cfg.Sign)
}
