package provisioning

import (
	"strings"

	"github.com/berth-iot/berth/internal/registry"
	"github.com/berth-iot/berth/internal/router"
)

// operation is what a device asks for.
type operation uint8

const (
	createKeys operation = iota
	createFromCSR
	provision
)

// request is a message of a device on its way to a worker.
type request struct {
	op       operation
	format   format
	template string
	topic    string
	payload  []byte
	asker    router.Subscriber
	origin   *router.Origin
	refused  bool // too many were waiting
}

const (
	certificatesPrefix = "$aws/certificates/"
	templatesPrefix    = "$aws/provisioning-templates/"
)

// parseTopic tells what a topic name asks for (AWS IoT developer guide, "Device provisioning MQTT
// API").
func parseTopic(name string) (r request, ok bool) {
	r.topic = name
	rest, certificates := strings.CutPrefix(name, certificatesPrefix)
	if !certificates {
		if rest, ok = strings.CutPrefix(name, templatesPrefix); !ok {
			return request{}, false
		}
	}
	op, last, ok := strings.Cut(rest, "/")
	if !ok {
		return request{}, false
	}
	switch {
	case certificates && op == "create":
		r.op = createKeys
	case certificates && op == "create-from-csr":
		r.op = createFromCSR
	case certificates:
		return request{}, false
	default:
		r.op, r.template = provision, op
		if last, ok = strings.CutPrefix(last, "provision/"); !ok || registry.CheckTemplateName(op) != nil {
			return request{}, false
		}
	}
	switch last {
	case "json":
		r.format = formatJSON
	case "cbor":
		r.format = formatCBOR
	default:
		return request{}, false
	}
	return r, true
}

// Requests that wait for a worker: up to maxWaiting are worked on, as many more are refused, and
// beyond that there is no answer.
const maxWaiting = 1024

// Owner returns the handler of a topic that devices ask on, nil for any other. See router.Own.
func (s *Service) Owner(name string) router.Handler {
	parsed, ok := parseTopic(name)
	if !ok {
		return nil
	}
	return func(p *router.Publication) {
		if p.NoLocal == nil {
			return // published over HTTP, or a will: there is no connection to answer to
		}
		r := parsed
		r.payload, r.asker, r.origin = append([]byte{}, p.Payload...), p.NoLocal, p.Origin
		s.submit(&r)
	}
}

// submit queues a request. It never blocks.
func (s *Service) submit(r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.waiting)
	if s.closed || n >= 2*maxWaiting {
		s.dropped.Add(1)
		return
	}
	if n >= maxWaiting {
		r.refused, r.payload = true, nil
	}
	s.waiting = append(s.waiting, r)
	if s.working < maxWorkers {
		s.working++
		s.workers.Go(s.work)
	}
}

// work answers requests until none is left.
func (s *Service) work() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.working--
			s.mu.Unlock()
			return
		}
		r := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.mu.Unlock()
		s.handle(r)
	}
}
